//! The answers to requests that went wrong: which statuses and codes a route has, as responses.

use std::sync::LazyLock;

use chat::ErrorCode;
use chat::ErrorCode as E;
use serde_json::{Map, Value, json};

use crate::error::status_of;
use crate::openai::Dialect;

/// Sets of codes that many routes share: each is described once.
const SHARED: &[(&str, &[ErrorCode])] = &[
    ("BadQuery", QUERY),
    ("BadBody", BODY),
    ("Unauthorized", &[E::MissingKey, E::InvalidKey, E::ExpiredKey]),
    ("Forbidden", &[E::ForbiddenHost]),
    ("AdminOnly", &[E::ForbiddenHost, E::AdminOnly]),
    ("NoConversation", &[E::ConversationNotFound]),
    ("NoAssistant", &[E::AssistantNotFound]),
    ("Nowhere", &[E::RouteNotFound]),
    ("MethodNotAllowed", &[E::MethodNotAllowed]),
    ("IdempotencyConflict", &[E::IdempotencyConflict]),
    ("BodyTooLarge", &[E::BodyTooLarge]),
    ("UnsupportedMediaType", &[E::UnsupportedMediaType]),
    ("RateLimited", &[E::KeyRateLimit]),
    ("Internal", &[E::Internal]),
    ("Overloaded", &[E::Overloaded]),
    ("Unavailable", &[E::Overloaded, E::StoreUnavailable]),
    ("StoreUnavailable", &[E::StoreUnavailable]),
    (
        "Timeout",
        &[E::ConnectTimeout, E::HeadersTimeout, E::FirstTextTimeout, E::IdleTimeout, E::TotalTimeout],
    ),
];

/// The same of OpenAI's dialect, whose errors have another form.
const SHARED_OF_OPENAI: &[(&str, &[ErrorCode])] = &[
    ("OpenAiBadQuery", &[E::InvalidValue]),
    ("OpenAiBadBody", &[E::InvalidJson, E::MissingField, E::InvalidValue]),
    ("OpenAiUnauthorized", &[E::MissingKey, E::InvalidKey, E::ExpiredKey]),
    ("OpenAiForbidden", &[E::ForbiddenHost]),
    ("OpenAiNoConversation", &[E::ConversationNotFound]),
    ("OpenAiNoModel", &[E::AssistantNotFound]),
    ("OpenAiNoItem", &[E::ConversationNotFound, E::RouteNotFound]),
    ("OpenAiUnsupported", &[E::Unsupported]),
    ("OpenAiBodyTooLarge", &[E::BodyTooLarge]),
    ("OpenAiUnsupportedMediaType", &[E::UnsupportedMediaType]),
    ("OpenAiRateLimited", &[E::KeyRateLimit]),
    ("OpenAiInternal", &[E::Internal]),
    ("OpenAiUnavailable", &[E::Overloaded, E::StoreUnavailable]),
];

/// What any route can say to its query.
pub(super) const QUERY: &[ErrorCode] = &[E::UnknownField, E::InvalidValue];
/// What any route that reads a body can say to it.
pub(super) const BODY: &[ErrorCode] = &[E::InvalidJson, E::UnknownField, E::MissingField, E::InvalidValue];
/// What comes of a call of the provider.
pub(super) const UPSTREAM: &[ErrorCode] = &[
    E::ProviderRejected,
    E::ContextTooLong,
    E::ContentRefused,
    E::ProviderRateLimit,
    E::ProviderError,
    E::ProviderAuth,
    E::ProviderAccount,
    E::ProviderNotFound,
    E::ProviderEmpty,
    E::ProviderProtocol,
    E::BreakerOpen,
    E::ConnectTimeout,
    E::HeadersTimeout,
    E::FirstTextTimeout,
    E::IdleTimeout,
    E::TotalTimeout,
];

/// The responses of these errors, by status.
pub(super) fn responses(
    codes: &[ErrorCode],
    form: Dialect,
    about_turn: bool,
    limited: bool,
) -> Map<String, Value> {
    let known = match form {
        Dialect::Native => SHARED,
        Dialect::OpenAi => SHARED_OF_OPENAI,
    };
    let mut statuses: Vec<_> = codes.iter().map(|code| status_of(*code).as_u16()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let mut responses = Map::new();
    for status in statuses {
        let of_status: Vec<_> = ErrorCode::ALL
            .iter()
            .copied()
            .filter(|code| status_of(*code).as_u16() == status && codes.contains(code))
            .collect();
        let shared = known.iter().find(|(_, set)| {
            !about_turn && set.len() == of_status.len() && set.iter().all(|code| of_status.contains(code))
        });
        let response = match shared {
            Some((name, _)) => json!({"$ref": format!("#/components/responses/{name}")}),
            None => response(&of_status, form, about_turn, limited),
        };
        responses.insert(status.to_string(), response);
    }
    responses
}

/// The shared responses, for `components`.
pub(super) fn shared() -> Map<String, Value> {
    // Said by the HTTP library before any route is found.
    let headers =
        json!({"description": "The request's head (URL and headers) is too large. The answer has no body."});
    let of = |sets: &'static [(&str, &[ErrorCode])], form| {
        sets.iter().map(move |(name, codes)| {
            let limited = !codes.contains(&E::AdminOnly);
            ((*name).to_owned(), response(codes, form, false, limited))
        })
    };
    of(SHARED, Dialect::Native)
        .chain(of(SHARED_OF_OPENAI, Dialect::OpenAi))
        .chain([("HeadersTooLarge".to_owned(), headers)])
        .collect()
}

fn response(codes: &[ErrorCode], form: Dialect, about_turn: bool, limited: bool) -> Value {
    let schema = match form {
        Dialect::Native => "#/components/schemas/Error",
        Dialect::OpenAi => "#/components/schemas/OpenAiError",
    };
    let lines: Vec<_> = codes.iter().map(|code| format!("- `{code}`: {}", meaning(*code))).collect();
    let words: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
    let mut headers = Map::new();
    let mut header = |name: &str, wanted: bool| {
        if wanted {
            headers.insert(name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
        }
    };
    let status = codes.first().map_or(500, |code| status_of(*code).as_u16());
    header("x-request-id", true);
    header("x-turn-id", about_turn);
    // A busy conversation is worth waiting for, though the request as it stands is no error of the moment.
    header("retry-after", codes.iter().any(|code| code.retryable() || *code == ErrorCode::ConversationBusy));
    // Stands there with a 409, too, when somebody has stopped the turn: OpenAI's clients repeat any.
    let stopped = form == Dialect::OpenAi && codes.contains(&ErrorCode::ConversationBusy);
    header("x-should-retry", status >= 500 || stopped);
    header("www-authenticate", status == 401);
    header("allow", status == 405);
    // Who is not known has no limit to be told of.
    header("ratelimit-policy", limited && status != 401);
    header("ratelimit", limited && status != 401);
    json!({
        "description": lines.join("\n"),
        "headers": headers,
        "content": {"application/json": {"schema": {
            "allOf": [
                {"$ref": schema},
                {"properties": {"error": {"properties": {"code": {"enum": words}}}}},
            ],
        }}},
    })
}

/// What a code says, in its own documentation's words.
fn meaning(code: ErrorCode) -> String {
    static SCHEMA: LazyLock<Value> =
        LazyLock::new(|| schemars::SchemaGenerator::default().into_root_schema_for::<ErrorCode>().to_value());
    let choices = SCHEMA.get("oneOf").and_then(Value::as_array);
    choices
        .and_then(|all| {
            all.iter().find(|one| one.get("const").and_then(Value::as_str) == Some(code.as_str()))
        })
        .and_then(|one| one.get("description")?.as_str())
        .unwrap_or_default()
        .to_owned()
}
