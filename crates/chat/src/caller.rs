//! Who asks, and what they may do.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AssistantName, KeyId, LedgerRow, TenantId, UserId};

/// Something beyond chatting that a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Put in messages as operator or system.
    Operator,
    /// See and adopt conversations that were begun upstream.
    Adopt,
    /// Ask in the name of an end user where the provider takes that (`account = "user"`).
    ActAsUser,
    /// Issue short-lived bearers for browsers.
    Tokens,
}

impl Permission {
    /// Every permission there is.
    pub const ALL: &'static [Self] = &[Self::Operator, Self::Adopt, Self::ActAsUser, Self::Tokens];

    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Adopt => "adopt",
            Self::ActAsUser => "act_as_user",
            Self::Tokens => "tokens",
        }
    }
}

/// A set of permissions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Permissions(Vec<Permission>);

impl Permissions {
    /// Whether `permission` is among them.
    #[must_use]
    pub fn has(&self, permission: Permission) -> bool {
        self.0.contains(&permission)
    }

    /// Them, in order, each once.
    #[must_use]
    pub fn list(&self) -> &[Permission] {
        &self.0
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(all: I) -> Self {
        let mut list: Vec<_> = all.into_iter().collect();
        list.sort_unstable();
        list.dedup();
        Self(list)
    }
}

/// The assistants that a key may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AllowedAssistants {
    /// All, also those to come.
    #[default]
    All,
    /// These.
    These(Arc<[AssistantName]>),
}

impl AllowedAssistants {
    /// Whether the assistant is among them.
    #[must_use]
    pub fn allows(&self, name: &AssistantName) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(name),
        }
    }

    /// Their names for a query; none where there is no bound.
    #[must_use]
    pub fn bound(&self) -> Option<&[AssistantName]> {
        match self {
            Self::All => None,
            Self::These(names) => Some(names),
        }
    }
}

/// Who asks: an authenticated key, or a browser's token issued by one.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose conversations, turns and usage.
    pub tenant: TenantId,
    /// The key, or the key that issued the token.
    pub key: KeyId,
    /// The key's name, for logs and metrics.
    pub key_name: Arc<str>,
    /// The assistants that may be used.
    pub assistants: AllowedAssistants,
    /// What else may be done.
    pub may: Permissions,
    /// Whether the admin routes are open.
    pub admin: bool,
    /// A browser's token: only this user's conversations are seen, and every turn is theirs.
    pub user: Option<UserId>,
}

/// What a key has set aside for a running turn: a place among its concurrent turns, a reserve of its budgets.
///
/// The engine holds it from acceptance to the end of the turn. Dropping it frees the place, whatever way the turn ended.
pub trait Lease: Send + Sync + std::fmt::Debug {
    /// Replaces the reserve by what the turn's calls cost. Called once, with all of the turn's ledger rows.
    fn settle(&self, rows: &[LedgerRow]);
}
