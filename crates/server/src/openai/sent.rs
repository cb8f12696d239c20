//! What a client of the dialect has been sent: this dialect appends, and cannot take text back.

/// Text that was sent, and how far the reply as it now stands repeats it.
#[derive(Debug, Default)]
pub(super) struct Sent {
    text: String,
    /// How many bytes of `text` the reply as it stands has repeated; all of them, unless it was begun anew.
    repeated: usize,
}

/// The reply says something else than what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Differs;

impl Sent {
    /// The reply goes on so; gives back what of it is to be sent.
    pub(super) fn append<'a>(&mut self, text: &'a str) -> Result<&'a str, Differs> {
        let rest = self.text.get(self.repeated..).unwrap_or_default();
        if rest.starts_with(text) && !rest.is_empty() {
            self.repeated += text.len();
            return Ok("");
        }
        let new = text.strip_prefix(rest).ok_or(Differs)?;
        self.text.push_str(new);
        self.repeated = self.text.len();
        Ok(new)
    }

    /// The reply begins anew with this.
    pub(super) fn replace<'a>(&mut self, text: &'a str) -> Result<&'a str, Differs> {
        self.repeated = 0;
        self.append(text)
    }

    /// Whether the reply as it stands has all that was sent: an end that comes before takes text back.
    pub(super) fn is_whole(&self) -> bool {
        self.repeated == self.text.len()
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
    fn what_differs_is_told() {
        let mut sent = Sent::default();
        assert_eq!(sent.replace("Hello"), Ok("Hello"));
        assert_eq!(sent.replace("Help"), Err(Differs));
        let mut sent = Sent::default();
        assert_eq!(sent.append("Hello"), Ok("Hello"));
        assert_eq!(sent.replace("Hell"), Ok(""));
        assert_eq!(sent.append("!"), Err(Differs));
    }
}
