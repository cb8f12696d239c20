//! Browsers' tokens: short-lived bearers that a key issues for one of its users.
//!
//! A token carries all that it says and is signed with a secret that the gateways of one store share, so nothing is kept of it. The
//! key that issued it is looked up at each use: revoking the key ends its tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chat::{AssistantName, KeyId, TenantId, Timestamp, UserId};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// What every token begins with.
pub(crate) const PREFIX: &str = "swt_";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claims {
    /// The key that issued it.
    #[serde(rename = "k")]
    pub(crate) key: KeyId,
    /// The key's tenant when it did.
    #[serde(rename = "t")]
    pub(crate) tenant: TenantId,
    /// Whose conversations are seen.
    #[serde(rename = "u")]
    pub(crate) user: UserId,
    /// Which assistants may be used; none: those of the key.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub(crate) assistants: Option<Vec<AssistantName>>,
    /// When it ends.
    #[serde(rename = "e")]
    pub(crate) expires_at: Timestamp,
}

impl Claims {
    /// The token.
    pub(crate) fn sign(&self, secret: &[u8; 32]) -> Result<String, serde_json::Error> {
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self)?);
        let seal = URL_SAFE_NO_PAD.encode(sealed(&claims, secret).finalize().into_bytes());
        Ok(format!("{PREFIX}{claims}.{seal}"))
    }

    /// What a token says, if we signed it. Whether it has expired is the caller's to ask.
    pub(crate) fn verify(token: &str, secret: &[u8; 32]) -> Option<Self> {
        let (claims, seal) = token.strip_prefix(PREFIX)?.split_once('.')?;
        let seal = URL_SAFE_NO_PAD.decode(seal).ok()?;
        sealed(claims, secret).verify_slice(&seal).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

fn sealed(claims: &str, secret: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC itself fills a short key up with zeros.
    let mut block = [0; 64];
    block.iter_mut().zip(secret).for_each(|(to, from)| *to = *from);
    Hmac::<Sha256>::new(&block.into()).chain_update(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_signed_is_believed() {
        let claims = Claims {
            key: KeyId::new(),
            tenant: "shop".parse().unwrap(),
            user: "ann".parse().unwrap(),
            assistants: Some(vec!["support".parse().unwrap()]),
            expires_at: Timestamp::from_millis(1_700_000_000_000),
        };
        let (secret, other) = ([7; 32], [8; 32]);
        let token = claims.sign(&secret).unwrap();
        assert_eq!(Claims::verify(&token, &secret), Some(claims.clone()));
        assert_eq!(Claims::verify(&token, &other), None);
        let forged = Claims { user: "bob".parse().unwrap(), ..claims }.sign(&other).unwrap();
        let seal = token.split_once('.').unwrap().1;
        let mixed = format!("{}.{seal}", forged.split_once('.').unwrap().0);
        assert_eq!(Claims::verify(&mixed, &secret), None);
        assert_eq!(Claims::verify(token.strip_suffix(char::is_alphanumeric).unwrap_or(""), &secret), None);
        for broken in ["", "swt_", "swt_.", "swt_a.b", "swt_é.é"] {
            assert_eq!(Claims::verify(broken, &secret), None);
        }
    }
}
