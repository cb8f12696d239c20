//! What can go wrong, in the words that clients see. Statuses are chosen by the server alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `type` of an error: what sort of answer it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request is wrong and will stay wrong.
    InvalidRequest,
    /// Who asks is not known.
    Unauthorized,
    /// Who asks is known and may not.
    Forbidden,
    /// No such thing, or not the caller's.
    NotFound,
    /// It does not go with what is there.
    Conflict,
    /// This assistant cannot do it.
    Unsupported,
    /// The provider refused the request.
    Rejected,
    /// Too much, too often.
    RateLimited,
    /// The provider failed.
    Upstream,
    /// Not now.
    Unavailable,
    /// It took too long.
    Timeout,
    /// Our fault.
    Internal,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident => $text:literal, $kind:ident, $retryable:literal;)*) => {
        /// The `code` of an error, as it stands in the contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl ErrorCode {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as clients see it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The `type` that goes with the code.
            #[must_use]
            pub fn kind(self) -> ErrorKind {
                match self { $(Self::$variant => ErrorKind::$kind,)* }
            }

            /// Whether the same request may do better later.
            #[must_use]
            pub fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }
        }
    };
}

codes! {
    /// The body is not JSON.
    InvalidJson => "invalid_json", InvalidRequest, false;
    /// A field that the request does not have.
    UnknownField => "unknown_field", InvalidRequest, false;
    /// A field that must be there is not.
    MissingField => "missing_field", InvalidRequest, false;
    /// A field's value is of the wrong type or out of range.
    InvalidValue => "invalid_value", InvalidRequest, false;
    /// No key was given.
    MissingKey => "missing_key", Unauthorized, false;
    /// The key is not known.
    InvalidKey => "invalid_key", Unauthorized, false;
    /// The key is past its time.
    ExpiredKey => "expired_key", Unauthorized, false;
    /// The `Host` is not one that an open gateway answers to.
    ForbiddenHost => "forbidden_host", Forbidden, false;
    /// The key may not use this assistant.
    AssistantNotAllowed => "assistant_not_allowed", Forbidden, false;
    /// The key's `may` lacks something.
    NotPermitted => "not_permitted", Forbidden, false;
    /// Only for keys with `admin`.
    AdminOnly => "admin_only", Forbidden, false;
    /// No such conversation.
    ConversationNotFound => "conversation_not_found", NotFound, false;
    /// No such turn.
    TurnNotFound => "turn_not_found", NotFound, false;
    /// No such assistant.
    AssistantNotFound => "assistant_not_found", NotFound, false;
    /// No such path.
    RouteNotFound => "route_not_found", NotFound, false;
    /// The path does not take this method.
    MethodNotAllowed => "method_not_allowed", InvalidRequest, false;
    /// The body is larger than `max_body`.
    BodyTooLarge => "body_too_large", InvalidRequest, false;
    /// The body is not labelled `application/json`.
    UnsupportedMediaType => "unsupported_media_type", InvalidRequest, false;
    /// Another turn runs in the conversation.
    ConversationBusy => "conversation_busy", Conflict, false;
    /// The idempotency key was used with another body.
    IdempotencyConflict => "idempotency_conflict", Conflict, false;
    /// The turn was not to be kept, and has ended.
    ReplyNotKept => "reply_not_kept", Conflict, false;
    /// The assistant cannot do what the request asks.
    Unsupported => "unsupported", Unsupported, false;
    /// The provider refused the request.
    ProviderRejected => "provider_rejected", Rejected, false;
    /// More text than the assistant takes.
    ContextTooLong => "context_too_long", Rejected, false;
    /// The provider refuses the content.
    ContentRefused => "content_refused", Rejected, false;
    /// The key's requests per minute are used up.
    KeyRateLimit => "key_rate_limit", RateLimited, true;
    /// The key has as many turns running as it may.
    KeyConcurrency => "key_concurrency", RateLimited, true;
    /// The key's budget is used up.
    KeyBudget => "key_budget", RateLimited, true;
    /// The provider's limit is reached.
    ProviderRateLimit => "provider_rate_limit", RateLimited, true;
    /// The provider failed.
    ProviderError => "provider_error", Upstream, true;
    /// The provider does not take the gateway's credential.
    ProviderAuth => "provider_auth", Upstream, false;
    /// The gateway's account at the provider has no credit.
    ProviderAccount => "provider_account", Upstream, false;
    /// What `upstream_id` names is not at the provider.
    ProviderNotFound => "provider_not_found", Upstream, false;
    /// The provider answered without a word.
    ProviderEmpty => "provider_empty", Upstream, false;
    /// The provider's answer cannot be read, or broke off.
    ProviderProtocol => "provider_protocol", Upstream, false;
    /// The provider has failed too often of late and is not asked.
    BreakerOpen => "breaker_open", Unavailable, true;
    /// The gateway has more to do than it can.
    Overloaded => "overloaded", Unavailable, true;
    /// The gateway is shutting down.
    Draining => "draining", Unavailable, true;
    /// The gateway's store does not answer.
    StoreUnavailable => "store_unavailable", Unavailable, true;
    /// No connection to the provider in time.
    ConnectTimeout => "connect_timeout", Timeout, true;
    /// No response headers in time.
    HeadersTimeout => "headers_timeout", Timeout, true;
    /// No text in time.
    FirstTextTimeout => "first_text_timeout", Timeout, true;
    /// The stream paused for too long.
    IdleTimeout => "idle_timeout", Timeout, true;
    /// The turn took too long.
    TotalTimeout => "total_timeout", Timeout, true;
    /// A fault of the gateway.
    Internal => "internal", Internal, false;
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a turn did not end well: the `error` of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TurnError {
    /// What sort of error.
    #[serde(rename = "type")]
    pub kind: ErrorKind,
    /// Which error.
    pub code: ErrorCode,
    /// A sentence for people.
    pub message: String,
    /// The request's field that is at fault.
    pub param: Option<String>,
    /// The provider that failed, as configured.
    pub provider: Option<crate::ProviderName>,
    /// Whether asking again may help. A repeat by idempotency key shows false, whatever it was.
    pub retryable: bool,
    /// Seconds after which a repeat makes sense; becomes `retry-after`, is not part of the object.
    #[serde(skip_serializing, default)]
    pub retry_after: Option<u64>,
}

impl TurnError {
    /// An error with this code and sentence, and what the code implies.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            kind: code.kind(),
            code,
            message: message.into(),
            param: None,
            provider: None,
            retryable: code.retryable(),
            retry_after: None,
        }
    }

    /// The same, at this provider.
    #[must_use]
    pub fn at(mut self, provider: &crate::ProviderName) -> Self {
        self.provider = Some(provider.clone());
        self
    }

    /// The same, for this field of the request.
    #[must_use]
    pub fn about(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_one_spelling() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert_eq!(serde_json::from_value::<ErrorCode>(code.as_str().into()).unwrap(), *code);
        }
    }
}
