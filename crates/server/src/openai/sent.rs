//! What a client of the dialect has been sent: this dialect appends, and cannot take text back.
//!
//! The text itself is in the turn's log; here it would be kept once more for each reader. Its length and a hash are enough to know
//! whether another text begins with it.

/// Text that was sent, and how far the reply as it now stands repeats it.
#[derive(Debug, Default)]
pub(super) struct Sent {
    text: Seen,
    /// What of the reply as it stands has been read: as much as was sent, unless the reply was begun anew.
    again: Seen,
}

/// The reply says something else than what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Differs;

/// A text that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    bytes: usize,
    /// FNV-1a: the same however the text is cut.
    hash: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { bytes: 0, hash: 0xcbf2_9ce4_8422_2325 }
    }
}

impl Seen {
    fn push(&mut self, text: &str) {
        self.bytes += text.len();
        self.hash =
            text.bytes().fold(self.hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    }
}

impl Sent {
    /// The reply goes on so; gives back what of it is to be sent. What differs is told once as much has been read as was sent: nothing
    /// is given back before.
    pub(super) fn append<'a>(&mut self, text: &'a str) -> Result<&'a str, Differs> {
        let missing = self.text.bytes.saturating_sub(self.again.bytes);
        let (again, new) = match text.len() <= missing {
            true => (text, ""),
            false => text.split_at_checked(missing).ok_or(Differs)?,
        };
        self.again.push(again);
        if self.is_whole() && self.again != self.text {
            return Err(Differs);
        }
        if !new.is_empty() {
            self.text.push(new);
            self.again = self.text;
        }
        Ok(new)
    }

    /// The reply begins anew with this.
    pub(super) fn replace<'a>(&mut self, text: &'a str) -> Result<&'a str, Differs> {
        self.again = Seen::default();
        self.append(text)
    }

    /// Whether the reply as it stands has all that was sent: an end that comes before takes text back.
    pub(super) fn is_whole(&self) -> bool {
        self.again.bytes == self.text.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_not_sent_again() {
        let mut sent = Sent::default();
        assert_eq!(sent.append("Hello"), Ok("Hello"));
        assert_eq!(sent.replace("Hello wor"), Ok(" wor"));
        assert_eq!(sent.append("ld"), Ok("ld"));
        assert_eq!(sent.replace("Hel"), Ok(""));
        assert!(!sent.is_whole());
        assert_eq!(sent.append("lo world!"), Ok("!"));
        assert!(sent.is_whole());
    }

    #[test]
    fn what_differs_is_told_before_anything_more_is_sent() {
        let after = |given: &[&str]| {
            let mut sent = Sent::default();
            assert_eq!(sent.replace("Héllo"), Ok("Héllo"));
            let (last, before) = given.split_last().unwrap();
            let mut take = Sent::replace as fn(&mut Sent, &'static str) -> _;
            for text in before {
                assert_eq!(take(&mut sent, text.to_string().leak()), Ok(""), "{given:?}");
                take = Sent::append;
            }
            (take(&mut sent, last.to_string().leak()), sent.is_whole())
        };
        assert_eq!(after(&["Helium"]).0, Err(Differs));
        assert_eq!(after(&["Hé", "l", "l", "a"]).0, Err(Differs));
        assert_eq!(after(&["Hél", "!!!"]).0, Err(Differs));
        assert_eq!(after(&["Hellé"]).0, Err(Differs), "cut within a character");
        // One that is shorter is not whole.
        assert_eq!(after(&["Help"]), (Ok(""), false));
        assert_eq!(after(&["Hé", "llo"]), (Ok(""), true));
    }

    #[test]
    fn however_it_is_cut() {
        let text = "Grüße, 世界! And more.";
        for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let (one, two) = text.split_at(at);
            let mut sent = Sent::default();
            assert_eq!(sent.append(text), Ok(text));
            assert_eq!((sent.replace(one), sent.append(two)), (Ok(""), Ok("")), "{at}");
            assert!(sent.is_whole());
        }
    }
}
