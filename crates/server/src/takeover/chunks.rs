//! Frames of a body as chunks (RFC 9112, 7.1), written from where they lie.

use std::io::IoSlice;

use bytes::Bytes;

/// The most frames that are written together. Mostly one is there: an event stream's frame is all that its log has.
const FRAMES_MAX: usize = 4;
/// Before each frame there is a line, and something at the beginning and at the end.
const SLICES_MAX: usize = FRAMES_MAX * 2 + 2;
/// The end of the chunk before, a size in hexadecimal digits, and the line's end.
const LINE_BYTES_MAX: usize = 2 + 2 * size_of::<usize>() + 2;

/// What is being written: a head, frames, and the body's end, as far as there are any.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    head: Bytes,
    frames: [Bytes; FRAMES_MAX],
    count: usize,
    ended: bool,
    /// How many bytes of all this have been written.
    written: usize,
}

impl Chunks {
    pub(super) fn new(head: Bytes) -> Self {
        Self { head, ..Self::default() }
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.count == 0 && !self.ended
    }

    /// Whether no more frames fit in until these are written.
    pub(super) fn is_full(&self) -> bool {
        self.count == FRAMES_MAX
    }

    /// Adds a frame. An empty one would be the body's end, and is left out.
    pub(super) fn push(&mut self, frame: Bytes) {
        if let Some(place) = self.frames.get_mut(self.count)
            && !frame.is_empty()
        {
            *place = frame;
            self.count += 1;
        }
    }

    /// Adds the body's end.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Writes with this function, which says how much it took. Called again until nothing waits.
    pub(super) fn write<R>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let mut lines = [([0; LINE_BYTES_MAX], 0); FRAMES_MAX];
        for (index, (frame, line)) in self.frames().iter().zip(&mut lines).enumerate() {
            let (bytes, begin) = line;
            *begin = size_line(bytes, frame.len(), index > 0);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut skip = self.written;
        let mut count = 0;
        let mut add = |bytes| {
            let bytes: &[u8] = bytes;
            let left = bytes.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(bytes.len());
            if let Some(slice) = slices.get_mut(count)
                && !left.is_empty()
            {
                *slice = IoSlice::new(left);
                count += 1;
            }
        };
        add(&self.head);
        for (frame, (line, begin)) in self.frames().iter().zip(&lines) {
            add(line.get(*begin..).unwrap_or_default());
            add(frame);
        }
        add(self.tail());
        write(slices.get(..count).unwrap_or_default())
    }

    /// So many bytes more have been written.
    pub(super) fn advance(&mut self, count: usize) {
        self.written += count;
        let frames = self.frames().iter().enumerate();
        let mut line = [0; LINE_BYTES_MAX];
        let chunks = frames.map(|(index, frame)| {
            LINE_BYTES_MAX - size_line(&mut line, frame.len(), index > 0) + frame.len()
        });
        if self.written >= self.head.len() + chunks.sum::<usize>() + self.tail().len() {
            *self = Self::default();
        }
    }

    fn frames(&self) -> &[Bytes] {
        self.frames.get(..self.count).unwrap_or_default()
    }

    /// What follows the last frame.
    fn tail(&self) -> &'static [u8] {
        match (self.count > 0, self.ended) {
            (true, true) => b"\r\n0\r\n\r\n",
            (true, false) => b"\r\n",
            (false, true) => b"0\r\n\r\n",
            (false, false) => b"",
        }
    }
}

/// Writes the line before a chunk of so many bytes at the end of this; where it begins. `follows`: ends the chunk before it.
fn size_line(line: &mut [u8; LINE_BYTES_MAX], mut size: usize, follows: bool) -> usize {
    let mut begin = line.len();
    let mut put = |byte| {
        begin = begin.saturating_sub(1);
        if let Some(place) = line.get_mut(begin) {
            *place = byte;
        }
    };
    put(b'\n');
    put(b'\r');
    loop {
        put(match (size % 16) as u8 {
            digit @ 0..10 => b'0' + digit,
            digit => b'A' + digit - 10,
        });
        size /= 16;
        if size == 0 {
            break;
        }
    }
    if follows {
        put(b'\n');
        put(b'\r');
    }
    begin
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is written, so many bytes at a time.
    fn written(mut chunks: Chunks, at_a_time: usize) -> String {
        let mut all = Vec::new();
        while !chunks.is_empty() {
            let now: Vec<u8> =
                chunks.write(|slices| slices.iter().flat_map(|slice| slice.to_vec()).collect());
            assert!(!now.is_empty());
            let count = now.len().min(at_a_time);
            all.extend_from_slice(&now[..count]);
            chunks.advance(count);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn cut_anywhere_it_is_the_same() {
        let made = || {
            let mut chunks = Chunks::new(Bytes::from_static(b"HEAD\r\n\r\n"));
            for frame in ["a", "", "0123456789", &"x".repeat(0x1AF), "last"] {
                assert!(!chunks.is_full());
                chunks.push(Bytes::copy_from_slice(frame.as_bytes()));
            }
            assert!(chunks.is_full());
            chunks.end();
            chunks
        };
        let long = "x".repeat(0x1AF);
        let whole =
            format!("HEAD\r\n\r\n1\r\na\r\nA\r\n0123456789\r\n1AF\r\n{long}\r\n4\r\nlast\r\n0\r\n\r\n");
        for at_a_time in 1..=whole.len() {
            assert_eq!(written(made(), at_a_time), whole, "{at_a_time}");
        }
    }

    #[test]
    fn whatever_there_is() {
        assert!(Chunks::default().is_empty());
        let mut frame = Chunks::default();
        frame.push(Bytes::from_static(b"sixteen bytes in"));
        assert_eq!(written(frame, 1), "10\r\nsixteen bytes in\r\n");
        let mut end = Chunks::default();
        end.end();
        assert_eq!(written(end, 2), "0\r\n\r\n");
        assert_eq!(written(Chunks::new(Bytes::from_static(b"HEAD")), 3), "HEAD");
    }
}
