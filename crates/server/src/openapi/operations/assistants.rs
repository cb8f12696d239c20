//! Assistants, use, and tokens.

use chat::ErrorCode as E;
use chat::{AssistantName, UsageSum};
use engine::{AssistantView, UpstreamConversationView};

use super::super::errors::UPSTREAM;
use super::super::operation::{Door, Operation, operation};
use super::super::schemas::Schemas;
use super::conversations::time;
use crate::routes::reply::List;
use crate::routes::tokens::{Issued, Wanted};

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    let name = schemas.asked::<AssistantName>();
    let sums = schemas.answered::<List<UsageSum>>();
    vec![
        operation("GET /v1/assistants", "listAssistants", "Assistants", Door::Clients)
            .does("List assistants", "What this key may use, and what each can do.")
            .json(200, "All of them.", schemas.answered::<List<AssistantView>>()),
        operation("GET /v1/assistants/{name}", "readAssistant", "Assistants", Door::Clients)
            .does("Read an assistant", "")
            .path("name", name.clone(), E::AssistantNotFound)
            .json(200, "The assistant.", schemas.answered::<AssistantView>())
            .fails(&[E::AssistantNotAllowed]),
        operation("GET /v1/assistants/{name}/conversations", "listUpstreamConversations", "Assistants", Door::Clients)
            .does(
                "List the provider's own conversations",
                "What can be adopted, where the provider shows a list (else `unsupported`). Those that another tenant holds are left \
                 out. Needs `may = [\"adopt\"]`.",
            )
            .path("name", name, E::AssistantNotFound)
            .query("since", "Those since then: a moment, or a day from its beginning.", time())
            .paged()
            .json(200, "A page.", schemas.answered::<List<UpstreamConversationView>>())
            .fails(UPSTREAM)
            .fails(&[E::AssistantNotAllowed, E::NotPermitted, E::ConversationNotFound, E::Unsupported]),
        operation("GET /v1/usage", "readUsage", "Usage", Door::Clients)
            .does("Read what was used", "This tenant's sums by day, assistant and provider. Not for browsers' tokens.")
            .query("since", "From this day on.", time())
            .query("until", "To this day, it included.", time())
            .json(200, "The sums.", sums)
            .fails(&[E::NotPermitted]),
        operation("POST /v1/tokens", "createToken", "Tokens", Door::Clients)
            .does(
                "Issue a bearer for a browser",
                "It sees one user's conversations only and spends the key's limits. Needs `may = [\"tokens\"]`.",
            )
            .body(schemas.asked::<Wanted>())
            .json(201, "The bearer.", schemas.answered::<Issued>())
            .fails(&[E::NotPermitted, E::AssistantNotAllowed, E::AssistantNotFound]),
    ]
}
