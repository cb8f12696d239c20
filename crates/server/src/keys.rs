//! Who calls: keys of the configuration, keys of the store, browsers' tokens, and the caller of an open gateway.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use chat::{
    AllowedAssistants, AssistantName, Caller, ErrorCode, KeyId, KeyRecord, Maintenance, Permission,
    Permissions, StoreError, Timestamp,
};
use subtle::ConstantTimeEq;
use tokio::sync::{OnceCell, oneshot};

use crate::error::ApiError;
use crate::live::Lives;
use crate::tasks::Tasks;
use crate::token::{self, Claims};
use crate::{KeySpec, Limits, hash_secret};

/// What was read of a key is believed for so long: "within a second" with something to spare.
const FRESH: Duration = Duration::from_millis(750);
/// A key that was good is believed for so long while the store does not answer.
const STALE: Duration = Duration::from_secs(300);
/// So long a store is waited for where a key is known already: one that is slower is told of later.
const PATIENCE: Duration = Duration::from_millis(100);
/// How many look-ups of each outcome are remembered.
const REMEMBERED_MAX: usize = 8192;
/// The longest credential that is looked at, in bytes.
const CREDENTIAL_BYTES_MAX: usize = 8192;

/// A key as callers are checked against it.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) caller: Arc<Caller>,
    pub(crate) limits: Limits,
    expires_at: Option<Timestamp>,
    revoked: bool,
    hash: [u8; 32],
}

impl Key {
    pub(crate) fn id(&self) -> KeyId {
        self.caller.key
    }

    fn check(&self, now: Timestamp) -> Result<(), ApiError> {
        if self.revoked {
            return Err(invalid());
        }
        match self.expires_at {
            Some(end) if end <= now => Err(ApiError::new(ErrorCode::ExpiredKey, "the key has expired")),
            _ => Ok(()),
        }
    }
}

impl From<KeySpec> for Key {
    fn from(spec: KeySpec) -> Self {
        let caller = Caller {
            tenant: spec.tenant,
            key: spec.id,
            key_name: spec.name.into(),
            assistants: spec.assistants,
            may: spec.may,
            admin: spec.admin,
            user: None,
        };
        Self {
            caller: Arc::new(caller),
            limits: spec.limits,
            expires_at: spec.expires_at,
            revoked: false,
            hash: spec.hash,
        }
    }
}

impl TryFrom<KeyRecord> for Key {
    type Error = serde_json::Error;

    fn try_from(record: KeyRecord) -> Result<Self, serde_json::Error> {
        let KeyRecord { id, key, revoked_at, .. } = record;
        let limits =
            if key.limits.is_empty() { Limits::default() } else { serde_json::from_str(&key.limits)? };
        let spec = KeySpec {
            id,
            name: key.name,
            hash: key.hash,
            tenant: key.tenant,
            assistants: key
                .assistants
                .map_or(AllowedAssistants::All, |names| AllowedAssistants::These(names.into())),
            may: key.may,
            admin: key.admin,
            expires_at: key.expires_at,
            limits,
        };
        Ok(Self { revoked: revoked_at.is_some(), ..spec.into() })
    }
}

/// An authenticated caller.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The key, or the key that issued the token.
    pub(crate) key: Arc<Key>,
    pub(crate) caller: Arc<Caller>,
    /// When a token ends; none for a key.
    pub(crate) token_ends: Option<Timestamp>,
}

/// Finds out who calls.
#[derive(Debug)]
pub(crate) struct Keys {
    configured: ArcSwap<Configured>,
    remembered: Arc<Mutex<Remembered>>,
    tasks: Tasks,
    maintenance: Arc<dyn Maintenance>,
    secret: OnceCell<[u8; 32]>,
    /// The caller of an open gateway.
    open: Option<Arc<Key>>,
    /// Whose connections are to be cut off once their key is gone.
    pub(crate) lives: Lives,
}

#[derive(Debug, Default)]
struct Configured {
    /// By the first bytes of the hash, which tell nothing; the rest is compared in constant time.
    by_hash: HashMap<[u8; 8], Vec<Arc<Key>>>,
    by_id: HashMap<KeyId, Arc<Key>>,
}

impl Configured {
    fn new(specs: Vec<KeySpec>) -> Self {
        let mut configured = Self::default();
        for spec in specs {
            let key = Arc::new(Key::from(spec));
            configured.by_hash.entry(head(&key.hash)).or_default().push(Arc::clone(&key));
            configured.by_id.insert(key.id(), key);
        }
        configured
    }

    fn by_hash(&self, hash: &[u8; 32]) -> Option<&Arc<Key>> {
        self.by_hash.get(&head(hash))?.iter().find(|key| bool::from(key.hash.ct_eq(hash)))
    }
}

fn head(hash: &[u8; 32]) -> [u8; 8] {
    let mut head = [0; 8];
    for (to, from) in head.iter_mut().zip(hash) {
        *to = *from;
    }
    head
}

/// How a key of the store is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lookup {
    Hash([u8; 32]),
    Id(KeyId),
}

/// What the store said of late. All are bounded, apart: a flood of wrong keys forgets no right one.
#[derive(Debug, Default)]
struct Remembered {
    found: HashMap<Lookup, (Instant, Arc<Key>)>,
    missing: HashMap<Lookup, Instant>,
    /// Known ones that are being looked up again.
    asking: HashSet<Lookup>,
}

impl Remembered {
    fn put(&mut self, lookup: Lookup, asked: Instant, key: Option<Arc<Key>>) {
        match key {
            Some(key) => {
                if self.found.len() >= REMEMBERED_MAX {
                    self.found.retain(|_, (asked, _)| asked.elapsed() < FRESH);
                }
                if self.found.len() < REMEMBERED_MAX {
                    self.found.insert(lookup, (asked, key));
                }
                self.missing.remove(&lookup);
            }
            None => {
                if self.missing.len() >= REMEMBERED_MAX {
                    self.missing.clear();
                }
                self.missing.insert(lookup, asked);
                self.found.remove(&lookup);
            }
        }
    }
}

impl Keys {
    pub(crate) fn new(
        specs: Vec<KeySpec>,
        maintenance: Arc<dyn Maintenance>,
        open: bool,
        tasks: Tasks,
    ) -> Self {
        Self {
            configured: ArcSwap::from_pointee(Configured::new(specs)),
            remembered: Arc::default(),
            tasks,
            maintenance,
            secret: OnceCell::new(),
            open: open.then(open_key).flatten().map(Arc::new),
            lives: Lives::default(),
        }
    }

    /// The configuration's keys, from now on.
    pub(crate) fn set(&self, specs: Vec<KeySpec>) {
        self.configured.store(Arc::new(Configured::new(specs)));
    }

    /// Whether no key is asked for.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Who presents this credential; none given is an error but on an open gateway.
    pub(crate) async fn identify(&self, credential: Option<&str>) -> Result<Identity, ApiError> {
        let now = Timestamp::now();
        if let Some(token) = credential.filter(|text| text.starts_with(token::PREFIX)) {
            return self.identify_token(token, now).await;
        }
        let key = match (&self.open, credential) {
            (Some(open), _) => Arc::clone(open),
            (None, None) => {
                let message = "send a key: `Authorization: Bearer <key>` or `x-api-key: <key>`";
                return Err(ApiError::new(ErrorCode::MissingKey, message));
            }
            (None, Some(secret)) if secret.is_empty() || secret.len() > CREDENTIAL_BYTES_MAX => {
                return Err(invalid());
            }
            (None, Some(secret)) => {
                let hash = hash_secret(secret);
                let configured = self.configured.load().by_hash(&hash).map(Arc::clone);
                match configured {
                    Some(key) => key,
                    None => self.kept(Lookup::Hash(hash), FRESH).await?.ok_or_else(invalid)?,
                }
            }
        };
        key.check(now)?;
        Ok(Identity { caller: Arc::clone(&key.caller), key, token_ends: None })
    }

    async fn identify_token(&self, token: &str, now: Timestamp) -> Result<Identity, ApiError> {
        let claims = Some(token).filter(|token| token.len() <= CREDENTIAL_BYTES_MAX);
        let secret = self.secret().await?;
        let claims = claims.and_then(|token| Claims::verify(token, &secret)).ok_or_else(invalid)?;
        if claims.expires_at <= now {
            return Err(ApiError::new(ErrorCode::ExpiredKey, "the token has expired"));
        }
        let key = self.by_id(claims.key, FRESH).await?.ok_or_else(invalid)?;
        key.check(now)?;
        if key.caller.tenant != claims.tenant || !key.caller.may.has(Permission::Tokens) {
            return Err(invalid());
        }
        let caller = Caller {
            tenant: claims.tenant,
            key: claims.key,
            key_name: Arc::clone(&key.caller.key_name),
            assistants: narrowed(&key.caller.assistants, claims.assistants),
            may: Permissions::default(),
            admin: false,
            user: Some(claims.user),
        };
        Ok(Identity { key, caller: Arc::new(caller), token_ends: Some(claims.expires_at) })
    }

    /// What signs tokens.
    pub(crate) async fn secret(&self) -> Result<[u8; 32], ApiError> {
        let secret = self.secret.get_or_try_init(|| self.maintenance.secret("tokens")).await;
        Ok(*secret?)
    }

    async fn by_id(&self, id: KeyId, fresh: Duration) -> Result<Option<Arc<Key>>, StoreError> {
        if let Some(open) = self.open.as_ref().filter(|key| key.id() == id) {
            return Ok(Some(Arc::clone(open)));
        }
        let configured = self.configured.load().by_id.get(&id).map(Arc::clone);
        match configured {
            Some(key) => Ok(Some(key)),
            None => self.kept(Lookup::Id(id), fresh).await,
        }
    }

    /// A key of the store, read at most `fresh` ago; longer ago while the store does not answer, or not soon.
    async fn kept(&self, lookup: Lookup, fresh: Duration) -> Result<Option<Arc<Key>>, StoreError> {
        let known = {
            let mut remembered = remembered(&self.remembered);
            let known = match (remembered.found.get(&lookup), remembered.missing.get(&lookup)) {
                (Some((at, key)), _) if at.elapsed() < fresh => return Ok(Some(Arc::clone(key))),
                (None, Some(at)) if at.elapsed() < fresh => return Ok(None),
                (found, _) => found.filter(|(at, _)| at.elapsed() < STALE).map(|(_, key)| Arc::clone(key)),
            };
            if let Some(known) = &known
                && !remembered.asking.insert(lookup)
            {
                return Ok(Some(Arc::clone(known)));
            }
            known
        };
        let (all, maintenance) = (Arc::clone(&self.remembered), Arc::clone(&self.maintenance));
        let Some(known) = known else { return look_up(&all, maintenance.as_ref(), lookup).await };
        let (answer, answered) = oneshot::channel();
        self.tasks.spawn(async move {
            let asking = Asking(all, lookup);
            let found = look_up(&asking.0, maintenance.as_ref(), lookup).await;
            drop(asking);
            // Nobody may be waiting any more.
            let _ = answer.send(found);
        });
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(Ok(found))) => Ok(found),
            // The store is away, or slow: nobody who was known is turned away for that.
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Ok(Some(known)),
        }
    }

    /// Cuts off the readers whose key or token has ended.
    pub(crate) async fn cut_off(&self) {
        let now = Timestamp::now();
        for (id, token_ends) in self.lives.ids() {
            let ended = token_ends.is_some_and(|end| end <= now)
                || match self.by_id(id, Duration::ZERO).await {
                    Ok(Some(key)) => key.check(now).is_err(),
                    Ok(None) => true,
                    // Nobody is cut off because the store does not answer.
                    Err(_) => false,
                };
            if ended {
                self.lives.end(id, token_ends);
            }
        }
    }
}

fn remembered(all: &Mutex<Remembered>) -> MutexGuard<'_, Remembered> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks the store, and remembers what it says.
async fn look_up(
    all: &Mutex<Remembered>,
    maintenance: &dyn Maintenance,
    lookup: Lookup,
) -> Result<Option<Arc<Key>>, StoreError> {
    let asked = Instant::now();
    let record = match lookup {
        Lookup::Hash(hash) => maintenance.key_by_hash(&hash).await,
        Lookup::Id(id) => maintenance.key_by_id(id).await,
    };
    let key = record?.map(Key::try_from).transpose();
    let key = key.map_err(|error| StoreError::Damaged(Box::new(error)))?.map(Arc::new);
    remembered(all).put(lookup, asked, key.clone());
    Ok(key)
}

/// A look-up under way, also one that is given up.
struct Asking(Arc<Mutex<Remembered>>, Lookup);

impl Drop for Asking {
    fn drop(&mut self) {
        remembered(&self.0).asking.remove(&self.1);
    }
}

fn invalid() -> ApiError {
    ApiError::new(ErrorCode::InvalidKey, "the key is not valid")
}

fn narrowed(key: &AllowedAssistants, token: Option<Vec<AssistantName>>) -> AllowedAssistants {
    match token {
        None => key.clone(),
        Some(names) => AllowedAssistants::These(names.into_iter().filter(|name| key.allows(name)).collect()),
    }
}

/// Everybody, on a gateway that asks for no key.
fn open_key() -> Option<Key> {
    let hash = hash_secret("");
    let spec = KeySpec {
        id: KeyId::of_hash(&hash),
        name: "open".to_owned(),
        hash,
        // A literal that is a good name.
        tenant: "open".parse().ok()?,
        assistants: AllowedAssistants::All,
        may: Permission::ALL.iter().copied().collect(),
        admin: true,
        expires_at: None,
        limits: Limits::default(),
    };
    Some(spec.into())
}
