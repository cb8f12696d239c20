//! Query and path parameters: each is named when something is wrong with it.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use chat::{
    AssistantName, ConversationId, ErrorCode, KeyId, PageRequest, Timestamp, TurnError, TurnId, UsageRange,
};
use http::Uri;
use http::request::Parts;

use crate::app::App;
use crate::error::ApiError;

const LIMIT_DEFAULT: u32 = 20;
const LIMIT_MAX: u32 = 100;
const CURSOR_BYTES_MAX: usize = 4096;

/// The parameters behind the `?`.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads them; one that is not `known`, or stands twice, is an error.
    pub(crate) fn read(uri: &Uri, known: &[&str]) -> Result<Self, ApiError> {
        let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
            return Err(ApiError::new(ErrorCode::InvalidValue, "the query cannot be read"));
        };
        for (index, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() {
                    "this route takes none".to_owned()
                } else {
                    format!("this route knows `{}`", known.join("`, `"))
                };
                let message = format!("unknown query parameter: {known}");
                return Err(TurnError::new(ErrorCode::UnknownField, message).about(name.as_str()).into());
            }
            if pairs.iter().take(index).any(|(other, _)| other == name) {
                return Err(ApiError::invalid(name, format!("`{name}` is given twice")));
            }
        }
        Ok(Self(pairs))
    }

    /// Reads them where those that are not known do no harm: in OpenAI's dialect.
    pub(crate) fn lenient(uri: &Uri) -> Result<Self, ApiError> {
        let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
            return Err(ApiError::new(ErrorCode::InvalidValue, "the query cannot be read"));
        };
        Ok(Self(pairs))
    }

    /// The text of a parameter; none when it was left out.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// A parameter; none when it was left out. `is` says what it must be.
    pub(crate) fn value<T: FromStr>(&self, name: &str, is: &str) -> Result<Option<T>, ApiError> {
        let parse =
            |text: &str| text.parse().map_err(|_| ApiError::invalid(name, format!("`{name}` must be {is}")));
        self.text(name).map(parse).transpose()
    }

    /// A point in time, or a day: its first moment, or its last for `until`.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        // In a query an unescaped `+` is a space: `…T00:00:00+03:00` comes so from careless clients.
        let text = text.replace(' ', "+");
        let moment = if name == "until" { "T23:59:59.999Z" } else { "T00:00:00Z" };
        let time = text.parse().or_else(|_| format!("{text}{moment}").parse());
        time.map(Some).map_err(|_| {
            ApiError::invalid(
                name,
                format!("`{name}` must be a time: 2026-11-21T00:00:00Z, or a day: 2026-11-21"),
            )
        })
    }

    /// `limit` and `cursor`.
    pub(crate) fn page(&self) -> Result<PageRequest, ApiError> {
        let is = "a number from 1 to 100";
        let limit = self.value::<u32>("limit", is)?.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ApiError::invalid("limit", format!("`limit` must be {is}")));
        }
        let cursor = self.text("cursor").map(str::to_owned);
        if cursor.as_ref().is_some_and(|text| text.is_empty() || text.len() > CURSOR_BYTES_MAX) {
            return Err(ApiError::invalid("cursor", "this is not a cursor of this list"));
        }
        Ok(PageRequest { limit, cursor })
    }

    /// `since` and `until` of a sum by days.
    pub(crate) fn range(&self) -> Result<UsageRange, ApiError> {
        Ok(UsageRange { since: self.time("since")?, until: self.time("until")? })
    }
}

/// A route that takes no query parameters.
#[derive(Debug)]
pub(crate) struct NoParams;

impl FromRequestParts<App> for NoParams {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        Params::read(&parts.uri, &[]).map(|_| Self)
    }
}

/// What can stand in a path; what it is not, does not exist.
pub(crate) trait Named: FromStr {
    /// The answer to a name that cannot be one.
    const NOT_FOUND: (ErrorCode, &'static str);
}

impl Named for ConversationId {
    const NOT_FOUND: (ErrorCode, &'static str) =
        (ErrorCode::ConversationNotFound, "there is no such conversation");
}

impl Named for TurnId {
    const NOT_FOUND: (ErrorCode, &'static str) = (ErrorCode::TurnNotFound, "there is no such turn");
}

impl Named for AssistantName {
    const NOT_FOUND: (ErrorCode, &'static str) = (ErrorCode::AssistantNotFound, "there is no such assistant");
}

impl Named for KeyId {
    const NOT_FOUND: (ErrorCode, &'static str) = (ErrorCode::RouteNotFound, "there is no such key");
}

/// Reads a name; one that cannot be is not found.
pub(crate) fn named<T: Named>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| {
        let (code, message) = T::NOT_FOUND;
        ApiError::new(code, message)
    })
}

/// The path's one parameter.
#[derive(Debug)]
pub(crate) struct Name<T>(pub(crate) T);

impl<T: Named> FromRequestParts<App> for Name<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        // A parameter that is no UTF-8 names nothing.
        let text = Path::<String>::from_request_parts(parts, app)
            .await
            .map_or_else(|_| String::new(), |Path(text)| text);
        named(&text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<PageRequest, ErrorCode> {
        let uri = format!("/x?{query}").parse().unwrap();
        Params::read(&uri, &["limit", "cursor"]).and_then(|params| params.page()).map_err(|e| e.code())
    }

    #[test]
    fn limits_are_1_to_100() {
        assert_eq!(read("").unwrap(), PageRequest { limit: 20, cursor: None });
        assert_eq!(
            read("limit=100&cursor=a%20b").unwrap(),
            PageRequest { limit: 100, cursor: Some("a b".into()) }
        );
        for wrong in ["limit=0", "limit=101", "limit=", "limit=x", "limit=-1", "limit=1&limit=1", "cursor="] {
            assert_eq!(read(wrong), Err(ErrorCode::InvalidValue), "{wrong}");
        }
        assert_eq!(read("limti=1"), Err(ErrorCode::UnknownField));
    }

    #[test]
    fn times_are_moments_or_days() {
        let time = |text: &str| {
            let uri = format!("/x?{text}").parse().unwrap();
            let name = text.split_once('=').unwrap().0;
            Params::read(&uri, &[name]).unwrap().time(name).map(|time| time.unwrap().to_string())
        };
        assert_eq!(time("since=2026-11-21").unwrap(), "2026-11-21T00:00:00.000Z");
        assert_eq!(time("since=2026-11-21T03:00:00%2B03:00").unwrap(), "2026-11-21T00:00:00.000Z");
        assert_eq!(time("since=2026-11-21T03:00:00+03:00").unwrap(), "2026-11-21T00:00:00.000Z");
        assert_eq!(time("until=2026-11-21").unwrap(), "2026-11-21T23:59:59.999Z");
        assert!(time("since=yesterday").is_err());
        assert!(time("since=").is_err());
    }
}
