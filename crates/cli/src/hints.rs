//! Breakers of one provider in several gateways learn from each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cluster::{Cluster, HintKind, Hints};
use upstream::Upstream;

use crate::config::Built;

/// Passes hints between breakers and the cluster.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    hints: Hints,
    /// The providers in force, by name.
    upstreams: Arc<Mutex<HashMap<String, Upstream>>>,
}

impl Exchange {
    pub(crate) fn open(cluster: &Cluster) -> Self {
        let upstreams: Arc<Mutex<HashMap<String, Upstream>>> = Arc::default();
        let heard = Arc::clone(&upstreams);
        let hints = cluster.hints(move |hint| {
            let upstream = heard.lock().unwrap_or_else(PoisonError::into_inner).get(&hint.provider).cloned();
            // Another gateway may have providers that this one has not, or not yet.
            let Some(upstream) = upstream else { return };
            upstream.hint(match hint.kind {
                HintKind::Failing => upstream::Hint::Failing(hint.lasts),
                HintKind::Paused => upstream::Hint::Paused(hint.lasts),
            });
        });
        Self { hints, upstreams }
    }

    /// From now on these are the providers.
    pub(crate) fn set(&self, built: &[Built]) {
        let mut upstreams = HashMap::with_capacity(built.len());
        for built in built {
            let (hints, provider) = (self.hints.clone(), built.entry.name.to_string());
            upstreams.insert(provider.clone(), built.upstream.clone());
            built.upstream.on_hint(move |hint| {
                let (kind, lasts) = match hint {
                    upstream::Hint::Failing(lasts) => (HintKind::Failing, lasts),
                    upstream::Hint::Paused(lasts) => (HintKind::Paused, lasts),
                };
                hints.tell(cluster::Hint { provider: provider.clone(), kind, lasts });
            });
        }
        *self.upstreams.lock().unwrap_or_else(PoisonError::into_inner) = upstreams;
    }
}
