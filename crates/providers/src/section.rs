//! A provider's table of the configuration.

use serde::de::DeserializeOwned;

/// Why a provider cannot be made from its settings. Never holds a setting's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BuildError {
    /// The setting at fault, so that file and line can be shown: `api_key`, `paths.message`.
    pub key: Option<String>,
    /// What is wrong with it.
    pub message: String,
}

impl BuildError {
    /// An error of this setting.
    #[must_use]
    pub fn at(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: Some(key.into()), message: message.into() }
    }
}

/// Reads a provider's own settings. `Config` denies unknown fields.
///
/// # Errors
/// A setting is unknown, missing or of the wrong type.
pub(crate) fn read<Config: DeserializeOwned>(section: toml::Table) -> Result<Config, BuildError> {
    section.try_into().map_err(|error: toml::de::Error| {
        let shown = error.to_string();
        let message = error.message().trim().to_owned();
        // The path stands at the end of the shown error (``in `refusal_codes` ``); an unknown or missing field is named in its text.
        let path = shown.rsplit_once("in `").and_then(|(_, rest)| rest.trim_end().strip_suffix('`'));
        let field = message.split('`').nth(1).filter(|_| message.contains(" field `"));
        let key = match (path, field) {
            (Some(path), Some(field)) if path != field => Some(format!("{path}.{field}")),
            (path, field) => path.or(field).map(str::to_owned),
        };
        // A value of the wrong type stands in the message, and may be half a secret.
        let message = match message.split_once(", expected ") {
            Some((found, expected)) if found.starts_with("invalid ") => format!("expected {expected}"),
            _ => message,
        };
        BuildError { key, message }
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Config {
        api_key: String,
        #[serde(default)]
        codes: Vec<String>,
    }

    fn error(text: &str) -> BuildError {
        read::<Config>(text.parse().unwrap()).unwrap_err()
    }

    #[test]
    fn the_key_at_fault_is_named_and_no_value_is_shown() {
        assert_eq!(error("api_key = 'k'\napi_kez = 'secret'").key.as_deref(), Some("api_kez"));
        assert_eq!(error("codes = []").key.as_deref(), Some("api_key"));
        let wrong = error("api_key = 12345678");
        assert_eq!(wrong.key.as_deref(), Some("api_key"), "{wrong:?}");
        assert!(!wrong.message.contains("12345678"), "{wrong:?}");
        let wrong = error("api_key = 'k'\ncodes = 'secret'");
        assert_eq!(wrong.key.as_deref(), Some("codes"), "{wrong:?}");
        assert!(!wrong.message.contains("secret"), "{wrong:?}");
    }
}
