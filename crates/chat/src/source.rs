//! What a reply rests on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A document, page or other thing that a provider names as a source of its reply. What the provider does not say is null.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// The provider's id of the source; citations name it.
    pub id: String,
    /// A title to show.
    pub title: Option<String>,
    /// Where it can be read.
    pub url: Option<String>,
    /// A piece of its text, or a subtitle.
    pub snippet: Option<String>,
    /// What sort of thing it is, in the provider's words: `file`, `page`, `document`.
    pub kind: Option<String>,
    /// The application it comes from: `confluence`, `slack`.
    pub app: Option<String>,
}
