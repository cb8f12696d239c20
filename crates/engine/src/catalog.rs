//! Which assistant is whose: names to providers, fallbacks, capabilities.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chat::{AssistantName, Capabilities, Provider, ProviderName, ProviderStatus};
use schemars::JsonSchema;
use serde::Serialize;

use crate::meters::Meters;

/// The clocks of a provider that the engine keeps itself. The others are the upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// To the first text, from the moment an attempt is sent.
    pub first_text: Duration,
    /// For a whole turn that asks this provider first, waiting in a queue included.
    pub total: Duration,
    /// No text after so long: the fallback is asked as well. None: never.
    pub hedge_after: Option<Duration>,
}

/// A provider as configured.
#[derive(Debug, Clone)]
pub struct ProviderEntry {
    /// Its name.
    pub name: ProviderName,
    /// What sort it is, for people.
    pub kind: &'static str,
    /// Who answers.
    pub provider: Arc<dyn Provider>,
    /// Its clocks.
    pub clocks: Clocks,
}

/// An assistant as configured.
#[derive(Debug, Clone)]
pub struct Assistant {
    /// Its name.
    pub name: AssistantName,
    /// Its provider.
    pub provider: Arc<ProviderEntry>,
    /// What is asked there.
    pub upstream_id: String,
    /// Words for people.
    pub description: String,
    /// Who is asked when this one cannot answer, in order.
    pub fallback: Vec<AssistantName>,
    /// What the provider is told before every conversation; none when empty.
    pub system: Option<String>,
    /// How many earlier messages the provider is given.
    pub context_messages: u32,
    /// What is counted of it: the default, when it is made.
    pub meters: Meters,
}

/// All assistants and providers of one configuration. Running turns keep the catalog that they began with.
#[derive(Debug, Default)]
pub struct Catalog {
    order: Vec<AssistantName>,
    assistants: HashMap<AssistantName, Arc<Assistant>>,
    providers: Vec<Arc<ProviderEntry>>,
}

/// Why assistants do not make a catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// A fallback names no assistant, or the assistant itself.
    #[error("the fallback `{fallback}` of `{assistant}` is not another assistant")]
    Fallback {
        /// Whose fallback.
        assistant: AssistantName,
        /// What it names.
        fallback: AssistantName,
    },
}

impl Catalog {
    /// A catalog of these, in this order.
    ///
    /// # Errors
    /// A fallback points nowhere.
    pub fn new(providers: Vec<Arc<ProviderEntry>>, assistants: Vec<Assistant>) -> Result<Self, CatalogError> {
        let order: Vec<_> = assistants.iter().map(|assistant| assistant.name.clone()).collect();
        for assistant in &assistants {
            if let Some(fallback) =
                assistant.fallback.iter().find(|name| **name == assistant.name || !order.contains(name))
            {
                return Err(CatalogError::Fallback {
                    assistant: assistant.name.clone(),
                    fallback: fallback.clone(),
                });
            }
        }
        let assistants = assistants.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect();
        Ok(Self { order, assistants, providers })
    }

    /// An assistant by name.
    #[must_use]
    pub fn assistant(&self, name: &AssistantName) -> Option<&Arc<Assistant>> {
        self.assistants.get(name)
    }

    /// All assistants in the configuration's order.
    pub fn assistants(&self) -> impl Iterator<Item = &Arc<Assistant>> {
        self.order.iter().filter_map(|name| self.assistants.get(name))
    }

    /// All providers.
    #[must_use]
    pub fn providers(&self) -> &[Arc<ProviderEntry>] {
        &self.providers
    }
}

/// An assistant as `GET /v1/assistants` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Assistant")]
pub struct AssistantView {
    /// Its name.
    pub name: AssistantName,
    /// Always `assistant`.
    #[schemars(extend("const" = "assistant"))]
    pub object: &'static str,
    /// Words for people.
    pub description: String,
    /// Its provider.
    pub provider: ProviderName,
    /// What sort of provider.
    pub kind: &'static str,
    /// Who is asked when it cannot answer.
    pub fallback: Vec<AssistantName>,
    /// How many earlier messages its provider is given.
    pub context_messages: u32,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Whether what a client of the OpenAI dialect sends reaches the model as it is. Not shown.
    #[serde(skip)]
    pub passes_through: bool,
}

impl From<&Assistant> for AssistantView {
    fn from(assistant: &Assistant) -> Self {
        Self {
            name: assistant.name.clone(),
            object: "assistant",
            description: assistant.description.clone(),
            provider: assistant.provider.name.clone(),
            kind: assistant.provider.kind,
            fallback: assistant.fallback.clone(),
            context_messages: assistant.context_messages,
            capabilities: assistant.provider.provider.capabilities(),
            passes_through: assistant.provider.provider.passes_through(),
        }
    }
}

/// A provider as `GET /admin/providers` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Provider")]
pub struct ProviderView {
    /// Its name.
    pub name: ProviderName,
    /// Always `provider`.
    #[schemars(extend("const" = "provider"))]
    pub object: &'static str,
    /// What sort it is.
    pub kind: &'static str,
    /// How it is doing.
    #[serde(flatten)]
    pub status: ProviderStatus,
}
