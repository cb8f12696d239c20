//! Why the engine did not do what it was asked.

use chat::{AssistantName, ErrorCode, Permission, StoreError, TurnError, TurnId};

/// A refusal: the error that the caller is to see, in the contract's words. Statuses are the server's to choose.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", .error.code, .error.message)]
pub struct Refused {
    /// What the caller sees.
    pub error: Box<TurnError>,
    /// The turn that it is about.
    pub turn_id: Option<TurnId>,
    /// What the log sees.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Refused {
    /// A refusal with this code and sentence.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        TurnError::new(code, message).into()
    }

    /// The same, about this field of the request.
    #[must_use]
    pub fn about(mut self, param: impl Into<String>) -> Self {
        self.error.param = Some(param.into());
        self
    }

    /// A request that makes no sense in this field.
    #[must_use]
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidValue, message).about(param)
    }

    /// What may work in a moment.
    fn store_unavailable(message: &str) -> Self {
        let mut refused = Self::new(ErrorCode::StoreUnavailable, message);
        refused.error.retry_after = Some(1);
        refused
    }
}

impl From<TurnError> for Refused {
    fn from(error: TurnError) -> Self {
        Self { error: Box::new(error), turn_id: None, cause: None }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let refused = match &error {
            StoreError::NoConversation => {
                Self::new(ErrorCode::ConversationNotFound, "there is no such conversation")
            }
            StoreError::NoTurn => Self::new(ErrorCode::TurnNotFound, "there is no such turn"),
            StoreError::NoMessage => {
                Self::invalid("message_id", "there is no such message in this conversation")
            }
            StoreError::NoKey => Self::new(ErrorCode::RouteNotFound, "there is no such key"),
            StoreError::Cursor => Self::invalid("cursor", "this is not a cursor of this list"),
            StoreError::Busy { running } => {
                let mut refused = Self::new(
                    ErrorCode::ConversationBusy,
                    "another turn runs in this conversation: wait for its end, or send `when_busy`",
                );
                refused.turn_id = Some(*running);
                refused
            }
            StoreError::OtherUser => Self::invalid("user", "the conversation belongs to another user"),
            StoreError::Conflict => Self::new(
                ErrorCode::IdempotencyConflict,
                "this Idempotency-Key was used with another request: use a new key for a new request",
            ),
            StoreError::Fenced | StoreError::Damaged(_) => {
                Self::new(ErrorCode::Internal, "something went wrong inside")
            }
            StoreError::Unavailable(_) | StoreError::InDoubt(_) => {
                Self::store_unavailable("the gateway's store does not answer: try again")
            }
            StoreError::NoIndex(_) => Self::store_unavailable(
                "the search does not know all that was written yet: try again, all else works as ever",
            ),
        };
        let worth_a_log = matches!(
            error,
            StoreError::Fenced
                | StoreError::Damaged(_)
                | StoreError::Unavailable(_)
                | StoreError::NoIndex(_)
                | StoreError::InDoubt(_)
        );
        Self { cause: if worth_a_log { Some(Box::new(error)) } else { None }, ..refused }
    }
}

pub(crate) fn no_assistant(name: &AssistantName) -> Refused {
    Refused::new(
        ErrorCode::AssistantNotFound,
        format!("there is no assistant `{name}`: GET /v1/assistants lists them"),
    )
    .about("assistant")
}

pub(crate) fn not_allowed(name: &AssistantName) -> Refused {
    Refused::new(ErrorCode::AssistantNotAllowed, format!("this key may not use the assistant `{name}`"))
        .about("assistant")
}

pub(crate) fn lacks(permission: Permission) -> Refused {
    Refused::new(
        ErrorCode::NotPermitted,
        format!("this needs a key with `may = [\"{}\"]`", permission.as_str()),
    )
}
