//! Where a response goes on: in a conversation, or after an earlier response.

use chat::{ConversationId, ErrorCode, MessageId, PageRequest, Role, TurnError};
use engine::AssistantView;

use super::ask::Wanted;
use super::{PREFIX, Walk, shape};
use crate::app::App;
use crate::error::ApiError;
use crate::middleware::auth::Who;
use crate::openai::models;

/// Where the turn is to stand.
#[derive(Debug)]
pub(super) enum Place {
    /// In a conversation of its own.
    New,
    /// At the end of this one.
    End(ConversationId, String),
    /// In a copy of it that ends with this message: the response is not the conversation's last.
    Copy(ConversationId, String, MessageId),
    /// In a copy that was made.
    Copied(ConversationId),
}

impl Place {
    /// Finds it; nothing is made yet.
    pub(super) async fn of(app: &App, who: &Who, wanted: &Wanted) -> Result<Self, ApiError> {
        if let Some(conversation) = &wanted.conversation {
            let id = conversation.id().parse().map_err(|_| no_conversation())?;
            let found = app.engine.conversation(who.caller(), id).await;
            let found = found.map_err(|refused| ApiError::from(refused.about("conversation")))?;
            return Ok(Self::End(id, found.assistant.to_string()));
        }
        let Some(previous) = &wanted.previous_response_id else { return Ok(Self::New) };
        let turn = shape::turn_of(PREFIX, previous).ok_or_else(no_response)?;
        let found = app.engine.turn(who.caller(), turn).await;
        let found = found.map_err(|refused| ApiError::from(refused.about("previous_response_id")))?;
        let id = found.conversation_id.ok_or_else(no_response)?;
        let assistant = app.engine.conversation(who.caller(), id).await?.assistant.to_string();
        let page = PageRequest { limit: 1, cursor: None };
        let last = app.engine.messages(who.caller(), id, true, page).await?.items.pop();
        if last.is_none_or(|last| last.turn_id == Some(turn)) {
            return Ok(Self::End(id, assistant));
        }
        let mut walk = Walk::new(app, who.caller(), id, true);
        while let Some(message) = walk.next().await? {
            // The reply stands above the user's message of the same turn.
            if message.turn_id == Some(turn) && matches!(message.role, Role::Assistant | Role::User) {
                return Ok(Self::Copy(id, assistant, message.id));
            }
        }
        Err(no_response())
    }

    /// The conversation's own assistant.
    pub(super) fn assistant(&self, app: &App, who: &Who) -> Result<AssistantView, ApiError> {
        match self {
            Self::End(_, assistant) | Self::Copy(_, assistant, _) => models::asked(app, who, assistant),
            Self::New | Self::Copied(_) => {
                Err(TurnError::new(ErrorCode::MissingField, "name the `model` to ask").about("model").into())
            }
        }
    }

    /// The conversation to ask in; makes the copy.
    pub(super) async fn open(&mut self, app: &App, who: &Who) -> Result<Option<ConversationId>, ApiError> {
        match self {
            Self::New => Ok(None),
            Self::End(id, _) | Self::Copied(id) => Ok(Some(*id)),
            Self::Copy(from, _, up_to) => {
                let copy = app.engine.fork(who.caller(), *from, Some(*up_to), None).await?.id;
                *self = Self::Copied(copy);
                Ok(Some(copy))
            }
        }
    }

    /// The turn was refused: a copy that was made for it is of no use.
    pub(super) async fn give_back(&self, app: &App, who: &Who) {
        if let Self::Copied(id) = self
            && let Err(refused) = app.engine.delete_conversation(who.caller(), *id).await
        {
            tracing::warn!(conversation.id = %id, error = %refused, "a copy that is of no use could not be erased");
        }
    }
}

fn no_conversation() -> ApiError {
    let message = "there is no such conversation";
    TurnError::new(ErrorCode::ConversationNotFound, message).about("conversation").into()
}

fn no_response() -> ApiError {
    let message = "there is no such response";
    TurnError::new(ErrorCode::TurnNotFound, message).about("previous_response_id").into()
}
