//! What may be passed on of a provider's words.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};

use crate::redaction::Redaction;

/// Makes a provider's words fit to be shown: no control characters, no configured secret, at most [`Self::BYTES_MAX`].
#[derive(Clone)]
pub(crate) struct Blotter {
    /// Longest first, so that a secret that holds another goes as a whole.
    secrets: Arc<[SecretString]>,
    /// The key that this provider is called with, if it is long enough to be told from a word.
    own: Option<Arc<SecretString>>,
}

impl Blotter {
    /// How much of a provider's words is passed on.
    pub(crate) const BYTES_MAX: usize = 2 * 1024;

    /// What stands in a secret's place.
    pub(crate) const BLOT: &'static str = "[secret]";

    /// Shorter keys are words that stand in a key's place where none is needed (`EMPTY`, `ollama`): replies may well have them.
    const OWN_BYTES_MIN: usize = 8;

    /// Blots out these and this provider's own.
    pub(crate) fn new<'a>(configured: &'a [SecretString], own: Option<&'a SecretString>) -> Self {
        let mut secrets: Vec<_> = configured
            .iter()
            .chain(own)
            .filter(|secret| !secret.expose_secret().trim().is_empty())
            .map(|secret| SecretString::from(secret.expose_secret().trim()))
            .collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        let own = own.filter(|own| own.expose_secret().len() >= Self::OWN_BYTES_MIN).cloned().map(Arc::new);
        Self { secrets: secrets.into(), own }
    }

    /// Watches a reply for the provider's own key.
    pub(crate) fn redaction(&self) -> Redaction {
        Redaction::new(self.own.clone())
    }

    /// A whole body without the provider's own key.
    pub(crate) fn body(&self, body: Bytes) -> Bytes {
        let Some(own) = &self.own else { return body };
        match std::str::from_utf8(&body) {
            Ok(text) if text.contains(own.expose_secret()) => {
                Bytes::from(text.replace(own.expose_secret(), Self::BLOT))
            }
            _ => body,
        }
    }

    /// The words as they may be shown; none when nothing is left of them.
    pub(crate) fn blot(&self, words: &str) -> Option<String> {
        // Control characters first: a secret with one in its middle would not be found else.
        let mut clean = String::with_capacity(words.len());
        for c in words.chars() {
            if matches!(c, '\n' | '\r' | '\t') {
                clean.push(' ');
            } else if !c.is_control() {
                clean.push(c);
            }
        }
        for secret in &*self.secrets {
            if clean.contains(secret.expose_secret()) {
                clean = clean.replace(secret.expose_secret(), Self::BLOT);
            }
        }
        let clean = clean.trim();
        let end = clean.floor_char_boundary(Self::BYTES_MAX);
        let clean = clean.get(..end).unwrap_or_default();
        (!clean.is_empty()).then(|| clean.to_owned())
    }
}

impl fmt::Debug for Blotter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blotter").field("secrets", &self.secrets.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_cleaned_and_blotted() {
        let secrets = [SecretString::from("sk-1"), SecretString::from("sk-12345"), SecretString::from("")];
        let blotter = Blotter::new(&secrets, None);
        assert_eq!(
            blotter.blot("bad\nkey sk-12\u{0}345, sk-1\u{7}").as_deref(),
            Some("bad key [secret], [secret]")
        );
        assert_eq!(blotter.blot(" \u{0}\n"), None);
        let long = blotter.blot(&"ы".repeat(3000)).unwrap();
        assert_eq!(long.len(), Blotter::BYTES_MAX);
    }
}
