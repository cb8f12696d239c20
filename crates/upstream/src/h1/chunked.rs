//! The chunked transfer coding, read.

/// Where in the coding the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the size; so many digits were seen.
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind the size: blanks, or an extension.
    Extension {
        size: u64,
    },
    /// The line feed behind a size.
    SizeEnd {
        size: u64,
    },
    /// In the data, so many bytes of which are to come.
    Data {
        left: u64,
    },
    /// The line end behind the data.
    DataReturn,
    DataEnd,
    /// In a line of the trailer; whether it is empty so far.
    Trailer {
        empty: bool,
    },
    /// The line feed of such a line.
    TrailerEnd {
        empty: bool,
    },
    Done,
}

/// Takes the coding off, however its bytes are cut.
#[derive(Debug)]
pub(super) struct Chunked {
    at: At,
    /// Bytes of extensions and trailers so far, which mean nothing to us.
    idle_bytes: usize,
}

/// Bytes that are not chunked as they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What follows the last data, where nothing else does: `\r\n0\r\n\r\n`.
const AFTER_LAST: usize = 7;

/// How much of a body may be extensions and trailers.
const IDLE_BYTES_MAX: usize = 64 * 1024;

impl Chunked {
    pub(super) fn new() -> Self {
        Self { at: At::Size { size: 0, digits: 0 }, idle_bytes: 0 }
    }

    /// Whether the end was read.
    pub(super) fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Reads bytes, and appends the data among them to `data`. Gives how many were read: all, but for those behind the end.
    pub(super) fn read(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<usize, Malformed> {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            if let At::Data { left } = self.at {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                let (piece, after) = rest.split_at(count);
                if data.capacity() == 0 {
                    // As much as it takes where this is all, which is then not copied again.
                    data.reserve_exact(if after.len() > AFTER_LAST { rest.len() } else { count });
                }
                data.extend_from_slice(piece);
                rest = after;
                let left = left - count as u64;
                self.at = if left == 0 { At::DataReturn } else { At::Data { left } };
                continue;
            }
            if self.at == At::Done {
                break;
            }
            self.at = self.next(*byte)?;
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }

    /// The state after a byte that is no data.
    fn next(&mut self, byte: u8) -> Result<At, Malformed> {
        Ok(match (self.at, byte) {
            (At::Size { size, digits }, digit) if digit.is_ascii_hexdigit() => {
                let digit = char::from(digit).to_digit(16).ok_or(Malformed)?;
                // Sixteen digits fill the number; zeros in front of it are no use to anybody.
                let digits = digits.checked_add(1).filter(|digits| *digits <= 16).ok_or(Malformed)?;
                At::Size { size: (size << 4) | u64::from(digit), digits }
            }
            (At::Size { digits: 0, .. }, _) => return Err(Malformed),
            (At::Size { size, .. } | At::Extension { size }, b'\r') => At::SizeEnd { size },
            (At::Size { size, .. }, b' ' | b'\t' | b';') => At::Extension { size },
            (At::Extension { size }, byte) if byte != b'\n' => self.idle(At::Extension { size })?,
            (At::SizeEnd { size: 0 }, b'\n') => At::Trailer { empty: true },
            (At::SizeEnd { size }, b'\n') => At::Data { left: size },
            (At::DataReturn, b'\r') => At::DataEnd,
            (At::DataEnd, b'\n') => At::Size { size: 0, digits: 0 },
            (At::Trailer { empty }, b'\r') => At::TrailerEnd { empty },
            (At::Trailer { .. }, byte) if byte != b'\n' => self.idle(At::Trailer { empty: false })?,
            (At::TrailerEnd { empty: true }, b'\n') => At::Done,
            (At::TrailerEnd { empty: false }, b'\n') => At::Trailer { empty: true },
            _ => return Err(Malformed),
        })
    }

    fn idle(&mut self, at: At) -> Result<At, Malformed> {
        self.idle_bytes += 1;
        if self.idle_bytes > IDLE_BYTES_MAX { Err(Malformed) } else { Ok(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool, usize), Malformed> {
        let (mut chunked, mut data, mut left) = (Chunked::new(), Vec::new(), 0);
        for piece in pieces {
            left += piece.len() - chunked.read(piece, &mut data)?;
        }
        Ok((data, chunked.is_done(), left))
    }

    const WHOLE: &[u8] = b"5\r\nhello\r\n00a;x=\"y\"\r\n, world!\r\n\r\n0\r\nx-trailer: 1\r\n\r\nHTTP";

    #[test]
    fn the_data_is_the_same_however_it_is_cut() {
        let expected = (b"hello, world!\r\n".to_vec(), true, 4);
        assert_eq!(read(&[WHOLE]), Ok(expected.clone()));
        for cut in 0..WHOLE.len() {
            let (first, second) = WHOLE.split_at(cut);
            assert_eq!(read(&[first, second]), Ok(expected.clone()), "{cut}");
        }
        let single: Vec<&[u8]> = WHOLE.chunks(1).collect();
        assert_eq!(read(&single), Ok(expected));
    }

    #[test]
    fn only_the_last_line_is_the_end() {
        for cut in 0..WHOLE.len() - 4 {
            assert!(!read(&[&WHOLE[..cut]]).unwrap().1, "{cut}");
        }
    }

    #[test]
    fn what_is_not_chunked_is_seen() {
        for wrong in [
            &b"zz\r\n"[..],
            b"\r\n",
            b"5\nhello",
            b"5\r\nhelloX",
            b"5\r\nhello\rX",
            b"11111111111111111\r\n",
            b"5;x\ny",
            b"0\r\nx\n",
            b"-5\r\n",
        ] {
            assert_eq!(read(&[wrong]), Err(Malformed), "{:?}", String::from_utf8_lossy(wrong));
        }
        let long = [b"1;".as_slice(), &vec![b'x'; IDLE_BYTES_MAX + 1]].concat();
        assert_eq!(read(&[&long]), Err(Malformed));
    }
}
