//! Errors at the edge: one type, and the table that gives each error its status. Nothing else in the workspace chooses one.
//!
//! A route answers with an [`ApiError`]; what it becomes is written by [`render`], once the request's id is known.

use std::error::Error;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use chat::{ErrorCode, ErrorKind, ProviderName, StoreError, TurnError, TurnId};
use engine::Refused;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::openai::{self, Dialect};

/// The turn that an answer is about.
pub(crate) const TURN_ID: HeaderName = HeaderName::from_static("x-turn-id");
/// Tells the official clients of the OpenAI dialect not to try again by themselves.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// What a caller is told, and what only the log is told.
#[derive(Debug, Clone)]
pub(crate) struct ApiError(Arc<Problem>);

#[derive(Debug)]
struct Problem {
    error: TurnError,
    turn_id: Option<TurnId>,
    cause: Option<Box<dyn Error + Send + Sync>>,
    /// It is how a turn ended: the same request again would begin another.
    ended: bool,
}

/// The table: error → status. No `_`, so that a new code does not compile until it has a status.
pub(crate) fn status_of(code: ErrorCode) -> StatusCode {
    use ErrorCode as E;
    match code {
        E::InvalidJson | E::UnknownField | E::MissingField | E::InvalidValue => StatusCode::BAD_REQUEST,
        E::MissingKey | E::InvalidKey | E::ExpiredKey => StatusCode::UNAUTHORIZED,
        E::ForbiddenHost | E::AssistantNotAllowed | E::NotPermitted | E::AdminOnly => StatusCode::FORBIDDEN,
        E::ConversationNotFound | E::TurnNotFound | E::AssistantNotFound | E::RouteNotFound => {
            StatusCode::NOT_FOUND
        }
        E::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        E::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        E::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        E::ConversationBusy | E::IdempotencyConflict | E::ReplyNotKept => StatusCode::CONFLICT,
        E::Unsupported | E::ProviderRejected | E::ContextTooLong | E::ContentRefused => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        E::KeyRateLimit | E::KeyConcurrency | E::KeyBudget | E::ProviderRateLimit => {
            StatusCode::TOO_MANY_REQUESTS
        }
        E::ProviderError
        | E::ProviderAuth
        | E::ProviderAccount
        | E::ProviderNotFound
        | E::ProviderEmpty
        | E::ProviderProtocol => StatusCode::BAD_GATEWAY,
        E::BreakerOpen | E::Overloaded | E::Draining | E::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        E::ConnectTimeout | E::HeadersTimeout | E::FirstTextTimeout | E::IdleTimeout | E::TotalTimeout => {
            StatusCode::GATEWAY_TIMEOUT
        }
        E::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// How long to wait where the error itself does not say; none where waiting does not help.
fn default_wait(code: ErrorCode) -> Option<u64> {
    match code {
        ErrorCode::Overloaded
        | ErrorCode::StoreUnavailable
        | ErrorCode::BreakerOpen
        | ErrorCode::KeyConcurrency
        | ErrorCode::KeyRateLimit
        | ErrorCode::ProviderRateLimit
        | ErrorCode::ConversationBusy => Some(1),
        ErrorCode::Draining => Some(5),
        _ => None,
    }
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        TurnError::new(code, message).into()
    }

    /// The field, parameter or header `param` is at fault.
    pub(crate) fn invalid(param: &str, message: impl Into<String>) -> Self {
        TurnError::new(ErrorCode::InvalidValue, message).about(param).into()
    }

    /// A fault of ours: the caller learns nothing but that, the log gets the cause.
    pub(crate) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = TurnError::new(ErrorCode::Internal, "something went wrong inside");
        Self(Arc::new(Problem { error, turn_id: None, cause: Some(cause.into()), ended: false }))
    }

    /// How a turn ended, as the answer to who asked for it. A repeat is not to be repeated again.
    pub(crate) fn of_turn(mut error: TurnError, turn: TurnId, repeat: bool) -> Self {
        if repeat {
            error.retryable = false;
            error.retry_after = None;
        }
        Self(Arc::new(Problem { error, turn_id: Some(turn), cause: None, ended: true }))
    }

    /// The same, told in the words of another route: `name` gives that route's name for a field.
    pub(crate) fn renamed(mut self, name: impl FnOnce(&str) -> Option<&'static str>) -> Self {
        if let Some(problem) = Arc::get_mut(&mut self.0)
            && let Some(name) = problem.error.param.as_deref().and_then(name)
        {
            problem.error.param = Some(name.to_owned());
        }
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        status_of(self.0.error.code)
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> ErrorCode {
        self.0.error.code
    }
}

impl From<TurnError> for ApiError {
    fn from(error: TurnError) -> Self {
        Self(Arc::new(Problem { error, turn_id: None, cause: None, ended: false }))
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let Refused { error, turn_id, cause } = refused;
        Self(Arc::new(Problem { error: *error, turn_id, cause, ended: false }))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Refused::from(error).into()
    }
}

impl IntoResponse for ApiError {
    /// Status and headers; the body is written by [`render`].
    fn into_response(self) -> Response {
        let status = self.status();
        let error = &self.0.error;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if let Some(turn) = self.0.turn_id {
            insert(headers, TURN_ID, &turn.to_string());
        }
        let wait = error.retry_after.or_else(|| default_wait(error.code));
        // Not `retryable`, as the contract has it, and yet it passes; unless the turn itself was stopped.
        let passes = error.retryable || error.code == ErrorCode::ConversationBusy && !self.0.ended;
        if let Some(seconds) = wait.filter(|_| passes) {
            headers.insert(RETRY_AFTER, seconds.max(1).into());
        }
        // The official clients repeat a 409 as well: what somebody has stopped would run after all.
        let repeated = status.is_server_error() || status == StatusCode::CONFLICT && self.0.ended;
        if repeated && !passes {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Sets a header whose value we made ourselves; one that cannot be a header is left out.
pub(crate) fn insert(headers: &mut http::HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The answer to a request that went wrong.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(crate) struct Envelope<'a> {
    /// What went wrong.
    error: Shown<'a>,
}

/// What went wrong.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ErrorDetail")]
pub(crate) struct Shown<'a> {
    /// What sort of answer it wants.
    r#type: ErrorKind,
    /// Which error.
    code: ErrorCode,
    /// A sentence for people.
    message: &'a str,
    /// The field, parameter or header that is at fault.
    param: Option<&'a str>,
    /// The request: as in `x-request-id`, and in the gateway's log.
    request_id: &'a str,
    /// The turn that it is about.
    turn_id: Option<TurnId>,
    /// The provider that failed.
    provider: Option<&'a ProviderName>,
    /// Whether the same request may do better later.
    retryable: bool,
}

/// Writes the body of an answer that is an error, and tells the log what only the log may know.
pub(crate) fn render(mut response: Response, request_id: &str, dialect: Dialect) -> Response {
    let Some(ApiError(problem)) = response.extensions_mut().remove::<ApiError>() else {
        return response;
    };
    if let Some(cause) = &problem.cause {
        let cause = chain(cause.as_ref());
        match problem.error.code {
            ErrorCode::Internal => tracing::error!(%cause, "a request failed inside"),
            code => tracing::warn!(%code, %cause, "a request was refused"),
        }
    }
    let error = &problem.error;
    let envelope = Envelope {
        error: Shown {
            r#type: error.kind,
            code: error.code,
            message: &error.message,
            param: error.param.as_deref(),
            request_id,
            turn_id: problem.turn_id,
            provider: error.provider.as_ref(),
            retryable: error.retryable,
        },
    };
    let body = match dialect {
        Dialect::Native => serde_json::to_vec(&envelope).unwrap_or_default(),
        Dialect::OpenAi => openai::failure(error),
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.body_mut() = Body::from(body);
    response
}

/// An error and what caused it, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_the_status_of_its_type() {
        for code in ErrorCode::ALL {
            let status = status_of(*code).as_u16();
            let expected: &[u16] = match code.kind() {
                ErrorKind::InvalidRequest => &[400, 405, 413, 415],
                ErrorKind::Unauthorized => &[401],
                ErrorKind::Forbidden => &[403],
                ErrorKind::NotFound => &[404],
                ErrorKind::Conflict => &[409],
                ErrorKind::Unsupported | ErrorKind::Rejected => &[422],
                ErrorKind::RateLimited => &[429],
                ErrorKind::Upstream => &[502],
                ErrorKind::Unavailable => &[503],
                ErrorKind::Timeout => &[504],
                ErrorKind::Internal => &[500],
            };
            assert!(expected.contains(&status), "{code} → {status}");
            let retryable = matches!(status, 429 | 503 | 504) || *code == ErrorCode::ProviderError;
            assert_eq!(code.retryable(), retryable, "{code}");
        }
    }

    #[test]
    fn a_repeat_is_not_to_be_repeated() {
        let mut error = TurnError::new(ErrorCode::TotalTimeout, "too long");
        error.retry_after = Some(3);
        let first = ApiError::of_turn(error.clone(), TurnId::new(), false).into_response();
        assert_eq!(first.headers()[RETRY_AFTER], "3");
        assert!(!first.headers().contains_key(SHOULD_RETRY));
        let repeat = ApiError::of_turn(error, TurnId::new(), true).into_response();
        assert!(!repeat.headers().contains_key(RETRY_AFTER));
        assert_eq!(repeat.headers()[SHOULD_RETRY], "false");
        assert!(repeat.headers().contains_key(TURN_ID));
    }
}
