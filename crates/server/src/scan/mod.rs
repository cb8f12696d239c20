//! JSON that is looked at and not read: whether a text is an object in which no field is given twice, and where its fields stand.
//!
//! Long strings are passed over many bytes at a time, and nothing is made of anything: that costs a fifth of what a parser does, which
//! goes byte by byte where it passes over something. What is rare (names with escapes, numbers that may be too large, halves of
//! characters) is left to one.

use memchr::memchr2;

/// In an object with more fields than this, comparing each with all before it takes too long.
const FIELDS_MAX: usize = 64;
/// How deep values may stand in one another: less than what the parser takes.
const DEPTH_MAX: usize = 64;
/// Numbers of so many bytes are within the bounds of every type for numbers of such a kind.
const NUMBER_BYTES_MAX: usize = 18;

/// The fields of the object that the text is, in order: their names, in which nothing is escaped, and their values as they are written.
///
/// None where the text is no JSON object, where some object in it has a field twice, and where that takes a closer look.
pub(crate) fn fields(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut scan = Scan { text, at: 0, fields: Vec::with_capacity(16), has_escapes: false };
    if scan.take()? != b'{' {
        return None;
    }
    scan.object(DEPTH_MAX)?;
    scan.skip_space();
    (scan.at == text.len()).then_some(scan.fields)
}

/// Strings are taken for short up to so many bytes.
const SHORT: usize = 32;

/// Goes through a text. What returns an option stands behind what it has looked at, or returns none.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// The fields of all objects that are open, outermost first.
    fields: Vec<(&'a str, &'a str)>,
    /// Whether the last string had any.
    has_escapes: bool,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte that is no white space.
    fn take(&mut self) -> Option<u8> {
        self.skip_space();
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Whether the next byte that is no white space is this one, which is then taken.
    fn take_if(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let is_it = self.peek() == Some(wanted);
        self.at += usize::from(is_it);
        is_it
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.take()? {
            b'"' => self.string().map(drop),
            b'{' => {
                let outer = self.fields.len();
                self.object(depth.checked_sub(1)?)?;
                self.fields.truncate(outer);
                Some(())
            }
            b'[' => self.array(depth.checked_sub(1)?),
            b't' => self.rest_of_word("rue"),
            b'f' => self.rest_of_word("alse"),
            b'n' => self.rest_of_word("ull"),
            b'-' | b'0'..=b'9' => {
                self.at -= 1;
                self.number()
            }
            _ => None,
        }
    }

    /// What is behind an object's bracket.
    fn object(&mut self, depth: usize) -> Option<()> {
        if self.take_if(b'}') {
            return Some(());
        }
        let begin = self.fields.len();
        loop {
            if self.take()? != b'"' {
                return None;
            }
            let name = self.string().filter(|_| !self.has_escapes)?;
            let before = self.fields.get(begin..)?;
            if before.len() >= FIELDS_MAX || before.iter().any(|(other, _)| *other == name) {
                return None;
            }
            if self.take()? != b':' {
                return None;
            }
            self.skip_space();
            let (place, from) = (self.fields.len(), self.at);
            self.fields.push((name, ""));
            self.value(depth)?;
            self.fields.get_mut(place)?.1 = self.text.get(from..self.at)?;
            match self.take()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// What is behind an array's bracket.
    fn array(&mut self, depth: usize) -> Option<()> {
        if self.take_if(b']') {
            return Some(());
        }
        loop {
            self.value(depth)?;
            match self.take()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// What is behind a string's quotation mark, up to the other one.
    fn string(&mut self) -> Option<&'a str> {
        let from = self.at;
        self.has_escapes = false;
        loop {
            self.at += plain_bytes(self.text.as_bytes().get(self.at..)?);
            let marked = self.text.as_bytes().get(self.at..)?;
            match marked {
                [b'"', ..] => {
                    let text = self.text.get(from..self.at)?;
                    self.at += 1;
                    return Some(text);
                }
                [b'\\', ..] => self.escape(marked)?,
                _ => return None,
            }
        }
    }

    /// What begins with a backslash.
    fn escape(&mut self, marked: &[u8]) -> Option<()> {
        self.has_escapes = true;
        match marked {
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
            // Half of a character needs its other half.
            [_, b'u', b'd' | b'D', ..] => self.halves(marked)?,
            [_, b'u', a, b, c, d, ..] if [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit) => self.at += 6,
            _ => return None,
        }
        Some(())
    }

    /// Two halves of a character, each with its escape.
    fn halves(&mut self, marked: &[u8]) -> Option<()> {
        let [_, _, _, high, a, b, b'\\', b'u', b'd' | b'D', low, c, d, ..] = marked else { return None };
        let are_halves = matches!(high, b'8' | b'9' | b'a' | b'b' | b'A' | b'B')
            && matches!(low, b'c'..=b'f' | b'C'..=b'F')
            && [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit);
        are_halves.then(|| self.at += 12)
    }

    fn rest_of_word(&mut self, rest: &str) -> Option<()> {
        self.text.as_bytes().get(self.at..)?.starts_with(rest.as_bytes()).then(|| self.at += rest.len())
    }

    /// A number without an exponent, of no more digits than are certain to be good.
    fn number(&mut self) -> Option<()> {
        let from = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let leads_with_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || leads_with_zero && whole > 1 {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return None;
            }
        }
        let is_certain = self.at - from <= NUMBER_BYTES_MAX && !matches!(self.peek(), Some(b'e' | b'E'));
        is_certain.then_some(())
    }

    /// How many digits stand here.
    fn digits(&mut self) -> usize {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - from
    }
}

/// How many bytes there are before the first that means something in a string: a quotation mark, a backslash, or what must not be
/// there. Most strings are shorter than it takes to look for that in the ways that are made for long ones.
fn plain_bytes(bytes: &[u8]) -> usize {
    let mut plain = 0;
    while let Some(block) = bytes.get(plain..).and_then(<[u8]>::first_chunk::<8>)
        && plain < SHORT
    {
        let marks = marks(u64::from_le_bytes(*block));
        if marks != 0 {
            return plain + marks.trailing_zeros() as usize / 8;
        }
        plain += block.len();
    }
    let rest = bytes.get(plain..).unwrap_or_default();
    let rest = rest.get(..memchr2(b'"', b'\\', rest).unwrap_or(rest.len())).unwrap_or_default();
    // Not `any`: without a way out in between, many are compared at once.
    if rest.iter().fold(false, |found, byte| found | (*byte < b' ')) {
        return plain + rest.iter().position(|byte| *byte < b' ').unwrap_or(rest.len());
    }
    plain + rest.len()
}

/// The same for eight bytes at once: the lowest bit that is set is in the first byte that is marked.
fn marks(bytes: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // A byte that is less than `below` borrows from the highest bit, which it has not set itself.
    let less = |bytes: u64, below: u64| bytes.wrapping_sub(EACH * below) & !bytes;
    let is = |byte: u8| less(bytes ^ (EACH * u64::from(byte)), 1);
    (is(b'"') | is(b'\\') | less(bytes, 0x20)) & (EACH << 7)
}

#[cfg(test)]
mod tests;
