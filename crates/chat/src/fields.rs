//! Where the fields of a JSON object stand in its text.
//!
//! What is passed on as it came is known to be JSON: it was read before. Reading it again only to find a few of its fields would go
//! through it byte by byte; here strings are passed over many bytes at a time, and what stands in values is not looked at.

use memchr::memchr2;

/// The fields of an object in a text that is known to be JSON, in order, as they stand: names without their quotation marks, and values.
///
/// None where the text is no object, and where a name has something escaped, which takes a closer look. Of a text that is no JSON the
/// fields are any parts of it.
#[must_use]
pub fn fields(json: &str) -> Option<Vec<(&str, &str)>> {
    let mut walk = Walk { bytes: json.as_bytes(), at: 0 };
    let mut fields = Vec::with_capacity(16);
    walk.take(b'{')?;
    if walk.take(b'}').is_none() {
        loop {
            walk.take(b'"')?;
            let from = walk.at;
            let Escapes(0) = walk.string()? else { return None };
            let name = json.get(from..walk.at.checked_sub(1)?)?;
            walk.take(b':')?;
            walk.space();
            let from = walk.at;
            walk.value()?;
            fields.push((name, json.get(from..walk.at)?));
            if walk.take(b',').is_none() {
                walk.take(b'}')?;
                break;
            }
        }
    }
    walk.space();
    (walk.at == json.len()).then_some(fields)
}

/// How many escapes a string has.
struct Escapes(usize);

/// A place in a text. What returns an option stands behind what it has looked at, or returns none.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// This byte, if it is the next that is no white space.
    fn take(&mut self, wanted: u8) -> Option<()> {
        self.space();
        (self.peek() == Some(wanted)).then(|| self.at += 1)
    }

    /// What is behind a string's quotation mark, with that at its end.
    fn string(&mut self) -> Option<Escapes> {
        let mut escapes = 0;
        loop {
            let rest = self.bytes.get(self.at..)?;
            // Most strings are shorter than it takes to begin to look for something in the way that is made for long ones.
            let short = rest.first_chunk::<8>().map(|block| marked(u64::from_le_bytes(*block)));
            self.at += match short {
                Some(place @ 0..8) => place,
                Some(_) => 8 + memchr2(b'"', b'\\', rest.get(8..)?)?,
                None => memchr2(b'"', b'\\', rest)?,
            };
            if self.peek() == Some(b'"') {
                self.at += 1;
                return Some(Escapes(escapes));
            }
            // What is escaped is no end, whatever it is.
            escapes += 1;
            self.at += 2;
        }
    }

    fn value(&mut self) -> Option<()> {
        let from = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    self.string()?;
                    if depth == 0 {
                        return Some(());
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Some(());
                    }
                }
                // The end of a number or a word: whoever follows says whether something was there.
                b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => {
                    return (self.at > from).then_some(());
                }
                _ => {}
            }
            self.at += 1;
        }
    }
}

/// Where in eight bytes, the first in the lowest, a quotation mark or a backslash comes first; eight where there is none.
fn marked(bytes: u64) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let is = |byte: u8| {
        let zero = bytes ^ (EACH * u64::from(byte));
        // A zero borrows from the highest bit, which it has not set itself; above it others may do so by mistake.
        zero.wrapping_sub(EACH) & !zero & (EACH << 7)
    };
    (is(b'"') | is(b'\\')).trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_they_stand() {
        let json = " { \"a\" : \"x\\\"}\\\\\" ,\"b\":[1,{\"c\":\"]\"}, [] ],\"\":-1.5e3 , \"d\":{},\"e\":null,\"ы\":true}\n";
        let expected = [
            ("a", "\"x\\\"}\\\\\""),
            ("b", "[1,{\"c\":\"]\"}, [] ]"),
            ("", "-1.5e3"),
            ("d", "{}"),
            ("e", "null"),
            ("ы", "true"),
        ];
        assert_eq!(fields(json).as_deref(), Some(&expected[..]));
        assert_eq!(fields(" { } "), Some(Vec::new()));
        for length in 0..40 {
            let text = format!("\"{}\"", "!#[]ы\\\"".chars().cycle().take(length).collect::<String>());
            let text = if text.ends_with("\\\"") { format!("{text}\"") } else { text };
            let json = format!("{{\"{}\":{text},\"b\":1}}", "n".repeat(length));
            let found = fields(&json).unwrap();
            assert_eq!(found.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [&*text, "1"], "{json}");
        }
    }

    #[test]
    fn what_is_no_plain_object_has_none() {
        for other in [
            "",
            "[]",
            "1",
            "\"a\"",
            "{\"a\\n\":1}",
            "{\"a\":1",
            "{\"a\":",
            "{\"a\":}",
            "{\"a\"}",
            "{\"a\":1}2",
            "{\"a\":\"",
            "{\"a\":\"\\",
        ] {
            assert_eq!(fields(other), None, "{other}");
        }
    }
}
