//! What the configuration makes: providers behind their ways out. Only a provider can say what is wrong with its own settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Clocks, ProviderEntry};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use providers::Kind;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use upstream::{Authorities, BreakerConfig, RetryConfig, Upstream};

use super::Seen;
use super::check::provider_name;
use super::print::{self, Secrets};
use super::problem::{Collector, suggestion};
use super::read::Reader;
use super::schema::PROVIDER;
use super::values::{self, Entry, Value, Values};

/// A provider that was made, and from what.
#[derive(Debug, Clone)]
pub struct Built {
    /// The provider.
    pub entry: Arc<ProviderEntry>,
    /// Its way out.
    pub upstream: Upstream,
    /// A hash of everything that it was made from: the same again makes the same provider.
    fingerprint: [u8; 32],
}

/// Completes the providers' tables by what only their kind knows: the public address, and which of their own keys are secrets that
/// may stand in files (`api_key_file` for `api_key`).
pub(super) fn complete(values: &mut Values, reader: &mut Reader<'_>) {
    let Some(Value::Named(all)) = values.entries.get_mut("providers").map(|entry| &mut entry.value) else {
        return;
    };
    for (_, provider) in all {
        let Some(kind) = providers::kind(provider.text("kind")) else { continue };
        if provider.secret("base_url").is_none() && !provider.is_wrong("base_url") {
            let value = Value::Secret(SecretString::from(kind.default_base_url));
            provider.entries.insert("base_url", Entry { value, at: None });
        }
        let names: Vec<String> = provider.rest_at.keys().cloned().collect();
        for name in names {
            let Some(stem) = name.strip_suffix("_file").filter(|stem| is_secret_of(kind, stem)) else {
                continue;
            };
            let at = provider.rest_at.get(&name).cloned().unwrap_or_default();
            if provider.rest_at.contains_key(stem) {
                let message = format!("stands beside `{stem}`: only one of them can be used");
                reader.problems.add(Some(&at), provider.path(&name), message);
            } else if let Some(secret) = reader.raw_secret_file(provider, &name) {
                provider.rest.insert(stem.to_owned(), toml::Value::String(secret));
            }
            provider.rest.remove(&name);
            provider.rest_at.remove(&name);
            provider.rest_at.insert(stem.to_owned(), at);
        }
    }
}

/// Makes all providers, or takes them over from `before`. One that cannot be made is noted and left out.
pub(super) fn providers(
    values: &Values,
    reply_bytes_max: usize,
    before: &[Built],
    problems: &mut Collector,
) -> Vec<Built> {
    let mut secrets = values::secrets(values);
    for (_, provider) in values.named("providers") {
        for (name, value) in &provider.rest {
            if is_secret(provider, name)
                && let Some(text) = value.as_str()
                && !text.is_empty()
            {
                secrets.push(SecretString::from(text));
            }
        }
    }
    let context = providers::Context { secrets: secrets.into(), reply_bytes_max };
    let all = All { context, before, authorities: Authorities::default() };
    let providers = values.named("providers").iter();
    providers.filter_map(|(name, provider)| one(name, provider, &all, problems)).collect()
}

/// What all providers are made with.
struct All<'a> {
    context: providers::Context,
    before: &'a [Built],
    authorities: Authorities,
}

/// Further files that were read for them.
pub(super) fn files(values: &Values) -> Vec<Seen> {
    let all = values.named("providers").iter();
    all.filter_map(|(_, provider)| Some(Seen::now(Path::new(provider.some_text("ca_file")?)))).collect()
}

/// Whether a key of a provider's own table is a secret.
pub(super) fn is_secret(provider: &Values, name: &str) -> bool {
    providers::kind(provider.text("kind")).is_none_or(|kind| is_secret_of(kind, name))
}

fn is_secret_of(kind: &Kind, name: &str) -> bool {
    let schema = (kind.settings)();
    let secret = schema.pointer(&format!("/properties/{name}/writeOnly"));
    secret.and_then(serde_json::Value::as_bool).unwrap_or(false)
}

fn one(name: &str, provider: &Values, all: &All<'_>, problems: &mut Collector) -> Option<Built> {
    let noted = problems.count();
    let parsed = provider_name(name, provider, problems);
    let kind_name = provider.text("kind");
    let Some(kind) = providers::kind(kind_name) else {
        if !kind_name.is_empty() {
            let hint = suggestion(kind_name, providers::KINDS.iter().map(|kind| kind.name));
            let message = format!("there is no sort of provider `{kind_name}`{hint}");
            problems.add(provider.at("kind"), provider.path("kind"), message);
        }
        return None;
    };
    unknown(kind, provider, problems);
    let config = upstream_config(name, kind, provider, problems);
    // A value that could not be read has been noted with its line: the provider would say that it is missing.
    let unread = provider.rest_at.keys().any(|key| !key.contains('.') && !provider.rest.contains_key(key));
    if problems.count() > noted || unread {
        return None;
    }
    let (parsed, config) = (parsed?, config?);

    let fingerprint = fingerprint(name, provider, &all.context);
    if let Some(same) = all.before.iter().find(|built| built.fingerprint == fingerprint) {
        return Some(same.clone());
    }
    let upstream = match Upstream::open_with(config, &all.authorities) {
        Ok(upstream) => upstream,
        Err(error) => {
            let (key, message) = of_upstream(&error);
            problems.add(provider.at(key), provider.path(key), message);
            return None;
        }
    };
    match providers::build(kind.name, provider.rest.clone(), upstream.clone(), all.context.clone()) {
        Ok(built) => Some(Built {
            entry: Arc::new(ProviderEntry {
                name: parsed,
                kind: kind.name,
                provider: built,
                clocks: Clocks {
                    first_text: provider.duration("first_text_timeout"),
                    total: provider.duration("total_timeout"),
                    hedge_after: provider.some_duration("hedge_after"),
                },
            }),
            upstream,
            fingerprint,
        }),
        Err(error) => {
            let key = error.key.as_deref().unwrap_or_default();
            problems.add(place(provider, key), provider.path(key), error.message);
            None
        }
    }
}

/// Where a provider's own key stands, or the table around it.
fn place<'a>(provider: &'a Values, key: &str) -> Option<&'a super::problem::Span> {
    let mut path = key;
    loop {
        if let Some(at) = provider.rest_at.get(path) {
            return Some(at);
        }
        match path.rsplit_once(['.', '[']) {
            Some((above, _)) => path = above,
            None => return provider.at(key),
        }
    }
}

/// Notes keys that are neither the gateway's nor this kind's.
fn unknown(kind: &Kind, provider: &Values, problems: &mut Collector) {
    let schema = (kind.settings)();
    let Some(own) = schema.get("properties").and_then(serde_json::Value::as_object) else { return };
    for name in provider.rest_at.keys().filter(|name| !name.contains('.') && !own.contains_key(*name)) {
        let mut known: Vec<&str> = own.keys().map(String::as_str).collect();
        for name in PROVIDER.names() {
            known.push(name);
        }
        let hint = suggestion(name, known.iter().copied());
        let message = format!("a provider of kind `{}` has no such key{hint}", kind.name);
        problems.add(provider.rest_at.get(name), provider.path(name), message);
    }
}

fn upstream_config(
    name: &str,
    kind: &Kind,
    provider: &Values,
    problems: &mut Collector,
) -> Option<upstream::Config> {
    let base_url = provider.secret("base_url").map_or(kind.default_base_url, |url| url.expose_secret());
    let base_url = base_url.trim_end_matches('/').parse::<Uri>();
    if base_url.is_err() {
        problems.add(provider.at("base_url"), provider.path("base_url"), "is not a URL");
    }
    let headers = headers(provider, problems);
    let empty = Values::default();
    let retry = provider.table("retry").unwrap_or(&empty);
    let breaker = provider.table("breaker").unwrap_or(&empty);
    Some(upstream::Config {
        name: name.to_owned(),
        base_url: base_url.ok()?,
        headers,
        connect_timeout: provider.duration("connect_timeout"),
        headers_timeout: provider.duration("headers_timeout"),
        idle_timeout: provider.duration("idle_timeout"),
        retry: RetryConfig {
            attempts_max: retry.integer("attempts"),
            base: retry.duration("base"),
            cap: retry.duration("cap"),
            budget_percent: retry.integer("budget_percent"),
            ambiguous: retry.flag("ambiguous"),
        },
        breaker: BreakerConfig {
            window: breaker.duration("window"),
            failures: breaker.number("failures"),
            minimum: breaker.integer("minimum"),
            cool_down: breaker.duration("cool_down"),
        },
        max_concurrency: usize::try_from(provider.integer("max_concurrency")).unwrap_or(usize::MAX),
        requests_per_minute: provider.integer("requests_per_minute"),
        proxy: provider
            .secret("proxy")
            .map(|proxy| proxy.expose_secret().to_owned())
            .filter(|proxy| !proxy.is_empty()),
        ca_file: provider.some_text("ca_file").map(PathBuf::from),
    })
}

fn headers(provider: &Values, problems: &mut Collector) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in provider.headers("headers") {
        match (name.parse::<HeaderName>(), HeaderValue::from_str(value.expose_secret())) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.append(name, value);
            }
            (Err(_), _) => {
                let message = format!("`{name}` is no name of a header");
                problems.add(provider.at("headers"), provider.path("headers"), message);
            }
            (Ok(_), Err(_)) => {
                let message = format!("`{name}` has a value that no header takes");
                problems.add(provider.at("headers"), provider.path("headers"), message);
            }
        }
    }
    headers
}

fn of_upstream(error: &upstream::BuildError) -> (&'static str, String) {
    use std::error::Error as _;
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    let key = match error {
        upstream::BuildError::Proxy(_) => "proxy",
        upstream::BuildError::Authorities(_) => "ca_file",
        upstream::BuildError::BaseUrl => "base_url",
        upstream::BuildError::Client(_) => "",
    };
    // A proxy's error may show its URL, and the password in it.
    if key == "proxy" { (key, error.to_string()) } else { (key, format!("{error}{cause}")) }
}

fn fingerprint(name: &str, provider: &Values, context: &providers::Context) -> [u8; 32] {
    let mut settings = String::new();
    print::body(&mut settings, &PROVIDER, provider, Secrets::Plain, &|_, _| false);
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    part(name.as_bytes());
    part(settings.as_bytes());
    part(&context.reply_bytes_max.to_le_bytes());
    for secret in context.secrets.iter() {
        part(secret.expose_secret().as_bytes());
    }
    if let Some(file) = provider.some_text("ca_file") {
        // The authorities may change in a file that keeps its name. One that cannot be read is the upstream's to tell.
        part(&std::fs::read(file).unwrap_or_default());
    }
    hash.finalize().into()
}
