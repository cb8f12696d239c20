//! API keys as operators paste them.

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

/// An API key, without the scheme that it was pasted with (`Bearer x`, `Bearer: x`). Can be put in a header: it holds neither
/// control nor other characters that a header does not take, and is not empty.
#[derive(Debug, Clone)]
pub(crate) struct Credential(SecretString);

impl Credential {
    /// Takes a key as it was pasted; none when it is empty or cannot stand in a header.
    pub(crate) fn parse(pasted: &str) -> Option<Self> {
        let mut key = pasted.trim();
        if let Some((scheme, rest)) = key.split_at_checked("bearer".len())
            && scheme.eq_ignore_ascii_case("bearer")
            && (rest.is_empty() || rest.starts_with([' ', ':']))
        {
            key = rest.trim_start_matches([' ', ':']);
        }
        let fits = !key.is_empty() && HeaderValue::from_str(key).is_ok();
        fits.then(|| Self(SecretString::from(key)))
    }

    /// The `Authorization` header with this scheme (`Bearer`), or bare; marked sensitive.
    pub(crate) fn header(&self, scheme: Option<&str>) -> HeaderValue {
        let key = self.0.expose_secret();
        let value = scheme.map_or_else(|| key.to_owned(), |scheme| format!("{scheme} {key}"));
        // Checked by `parse`: an empty header is the answer to what cannot happen.
        let mut value = HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }

    /// The key itself, to be blotted out of the provider's words.
    pub(crate) fn secret(&self) -> &SecretString {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pasted = SecretString::deserialize(deserializer)?;
        Self::parse(pasted.expose_secret()).ok_or_else(|| {
            serde::de::Error::custom("the key is empty or has characters that no header takes")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_scheme_is_taken_off() {
        for pasted in ["abc", " Bearer abc", "Bearer: abc", "bearer:abc", "BEARER  abc "] {
            assert_eq!(Credential::parse(pasted).unwrap().header(Some("Bearer")), "Bearer abc", "{pasted}");
        }
        assert_eq!(Credential::parse("bearerabc").unwrap().header(None), "bearerabc");
        assert!(Credential::parse("Bearer ").is_none());
        assert!(Credential::parse("a\nb").is_none());
        let shown =
            format!("{:?}", (Credential::parse("abc"), Credential::parse("abc").unwrap().header(None)));
        assert!(!shown.contains("abc"), "{shown}");
    }
}
