//! What the table of keys can't say: names that must point somewhere, keys that exclude each other, secrets that are too short.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use chat::{AllowedAssistants, AssistantName, Cost, KeyId, Permission, ProviderName, TenantId, WhenBusy};
use engine::{Assistant, Catalog, OnDisconnect, ProviderEntry, Settings};
use secrecy::{ExposeSecret, SecretString};
use server::{Budget, KeySpec, Limits, Per, Reserve, Tls, hash_secret};

use super::build::{self, Built};
use super::problem::{Collector, suggestion};
use super::read::Reader;
use super::values::Values;
use super::{Config, Drain, LogFormat, Observability, Seen, Storage};

/// A secret of a key in the file has at least so many characters.
const SECRET_CHARACTERS_MIN: usize = 16;

/// The configuration that these values make. What is wrong is noted; then what is given back is not to be used.
pub(super) fn config(values: &mut Values, reader: &mut Reader<'_>, before: &[Built]) -> Option<Config> {
    build::complete(values, reader);
    let problems = &mut reader.problems;
    let empty = Values::default();
    let table = |name| values.table(name).unwrap_or(&empty);

    let (server, mut files) = server(table("server"), problems);
    let storage = storage(table("storage"));
    let cluster = values.table("cluster").and_then(|table| cluster_of(table, problems));
    if let Some(cluster) = values.table("cluster")
        && !storage.url.expose_secret().starts_with("postgres")
    {
        let message = "several gateways need one PostgreSQL store: set `storage.url` to `postgres://…`";
        problems.add(cluster.at.as_ref(), "cluster", message);
    }
    let turns = turns(table("turns"), table("server"));
    let built = build::providers(values, turns.reply_bytes_max, before, problems);
    let assistants = assistants(values, &built, problems);
    let keys = keys(values, &assistants, problems);

    let entries: Vec<Arc<ProviderEntry>> = built.iter().map(|built| Arc::clone(&built.entry)).collect();
    // A fallback that points nowhere has been noted above, with its line.
    let catalog = Catalog::new(entries, assistants).ok()?;
    files.extend(build::files(values));
    let observability = table("observability");
    Some(Config {
        server,
        drain: Drain {
            delay: table("server").duration("drain_delay"),
            timeout: table("server").duration("drain_timeout"),
        },
        storage,
        cluster,
        turns,
        catalog: Arc::new(catalog),
        built,
        keys,
        observability: Observability {
            log_format: match observability.text("log_format") {
                "text" => LogFormat::Text,
                _ => LogFormat::Json,
            },
            log_content: observability.flag("log_content"),
            otlp_endpoint: observability
                .secret("otlp_endpoint")
                .filter(|url| !url.expose_secret().is_empty())
                .cloned(),
        },
        files,
        printed: String::new(),
    })
}

fn cluster_of(table: &Values, problems: &mut Collector) -> Option<cluster::Config> {
    let mut config = cluster::Config::new(table.secret("redis")?.clone());
    config.ca_file = table.some_text("ca_file").map(PathBuf::from);
    if let Err(error) = config.check() {
        let key = match error {
            cluster::OpenError::Url => "redis",
            cluster::OpenError::Authorities(_) | cluster::OpenError::NoAuthority => "ca_file",
        };
        problems.add(table.at.as_ref(), format!("cluster.{key}"), error.to_string());
    }
    Some(config)
}

fn server(values: &Values, problems: &mut Collector) -> (server::Config, Vec<Seen>) {
    let mut config = server::Config::default();
    // A wrong address has been noted, and its default stands in its place.
    if let Ok(listen) = values.text("listen").parse() {
        config.listen = listen;
    }
    config.admin_listen = values.some_text("admin_listen").and_then(|address| address.parse().ok());
    if config.admin_listen == Some(config.listen) && config.listen.port() != 0 {
        problems.add(
            values.at("admin_listen"),
            values.path("admin_listen"),
            "must be another address than `listen`, or \"\" to turn it off",
        );
    }
    config.body_bytes_max = values.size("max_body");
    config.heartbeat = values.duration("heartbeat");
    config.cors_origins =
        values.texts("cors_origins").unwrap_or_default().iter().map(|(origin, _)| origin.clone()).collect();
    for (origin, at) in values.texts("cors_origins").unwrap_or_default() {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        if origin != "*" && host.is_none_or(|host| host.is_empty() || host.contains('/')) {
            let message = format!(
                "`{origin}` is no origin: scheme, host and port alone, such as `https://shop.example`"
            );
            problems.add(Some(at), values.path("cors_origins"), message);
        }
    }
    config.open = values.flag("open");
    // Whoever reaches the admin listener without a key makes keys: it has to be as near as the other.
    for (name, listen) in [("listen", Some(config.listen)), ("admin_listen", config.admin_listen)] {
        if let Some(listen) = listen.filter(|listen| config.open && !listen.ip().is_loopback()) {
            let message =
                format!("serving without keys is for a loopback address alone, and `{name}` is {listen}");
            problems.add(values.at("open"), values.path("open"), message);
        }
    }
    let mut files = Vec::new();
    if let Some(tls) = values.table("tls") {
        for name in ["certificate", "key"] {
            let file = PathBuf::from(tls.text(name));
            if let Err(error) = std::fs::File::open(&file)
                && !tls.text(name).is_empty()
            {
                let message = format!("cannot read `{}`: {error}", file.display());
                problems.add(tls.at(name), tls.path(name), message);
            }
            files.push(Seen::now(&file));
        }
        let pair = Tls { certificate: tls.text("certificate").into(), key: tls.text("key").into() };
        // What cannot be read has been told.
        let read = ["certificate", "key"].iter().all(|name| std::fs::File::open(tls.text(name)).is_ok());
        if let Err(problem) = pair.check()
            && read
        {
            problems.add(
                tls.at("certificate"),
                tls.path("certificate"),
                format!("cannot be used: {problem}"),
            );
        }
        config.tls = Some(pair);
    }
    (config, files)
}

fn storage(values: &Values) -> Storage {
    Storage {
        url: values.secret("url").cloned().unwrap_or_else(|| SecretString::from("memory:")),
        retention: values.some_duration("retention"),
    }
}

fn turns(values: &Values, server: &Values) -> Settings {
    Settings {
        on_disconnect: match values.text("on_disconnect") {
            "cancel" => OnDisconnect::Cancel,
            _ => OnDisconnect::Continue,
        },
        when_busy: match values.text("when_busy") {
            "queue" => WhenBusy::Queue,
            "interrupt" => WhenBusy::Interrupt,
            _ => WhenBusy::Reject,
        },
        idempotency_window: values.duration("idempotency_window"),
        reply_bytes_max: server.size("max_reply"),
        ..Settings::default()
    }
}

fn assistants(values: &Values, built: &[Built], problems: &mut Collector) -> Vec<Assistant> {
    let all = values.named("assistants");
    let providers = values.named("providers");
    let mut assistants = Vec::new();
    for (name, assistant) in all {
        let parsed = name.parse::<AssistantName>();
        if let Err(error) = &parsed {
            let message = format!("the name {error}: letters, digits and . _ - : make one");
            problems.add(assistant.at.as_ref(), &assistant.path, message);
        }
        let wanted = assistant.text("provider");
        if !wanted.is_empty() && !providers.iter().any(|(name, _)| name == wanted) {
            let hint = suggestion(wanted, providers.iter().map(|(name, _)| name.as_str()));
            let message = format!("there is no provider `{wanted}`{hint}");
            problems.add(assistant.at("provider"), assistant.path("provider"), message);
        }
        let fallback = fallback(name, assistant, all, problems);
        // A provider that could not be made has been noted at its own place.
        let provider = built.iter().find(|built| built.entry.name.as_str() == wanted);
        if let (Ok(name), Some(provider)) = (parsed, provider) {
            assistants.push(Assistant {
                name,
                provider: Arc::clone(&provider.entry),
                upstream_id: assistant.text("upstream_id").to_owned(),
                description: assistant.text("description").to_owned(),
                fallback,
                system: assistant.some_text("system").map(str::to_owned),
                context_messages: assistant.integer("context_messages"),
                meters: engine::Meters::default(),
            });
        }
    }
    assistants
}

fn fallback(
    name: &str,
    assistant: &Values,
    all: &[(String, Values)],
    problems: &mut Collector,
) -> Vec<AssistantName> {
    let mut fallback = Vec::new();
    for (wanted, at) in assistant.texts("fallback").unwrap_or_default() {
        let others = all.iter().map(|(other, _)| other.as_str()).filter(|other| *other != name);
        let message = if wanted == name {
            Some(format!("`{wanted}` cannot be its own fallback"))
        } else if others.clone().any(|other| other == wanted) {
            None
        } else {
            Some(format!("there is no assistant `{wanted}`{}", suggestion(wanted, others)))
        };
        match (message, wanted.parse::<AssistantName>()) {
            (Some(message), _) => problems.add(Some(at), assistant.path("fallback"), message),
            (None, Ok(wanted)) if fallback.contains(&wanted) => {
                problems.add(Some(at), assistant.path("fallback"), format!("`{wanted}` stands twice"));
            }
            (None, Ok(wanted)) => fallback.push(wanted),
            // Noted where the assistant itself stands.
            (None, Err(_)) => {}
        }
    }
    fallback
}

fn keys(values: &Values, assistants: &[Assistant], problems: &mut Collector) -> Vec<KeySpec> {
    let mut keys = Vec::new();
    let mut names = HashSet::new();
    let mut secrets: HashMap<KeyId, &str> = HashMap::new();
    for table in values.list("keys") {
        let name = table.text("name");
        if !name.is_empty() && !names.insert(name) {
            problems.add(
                table.at("name"),
                table.path("name"),
                format!("another key is called `{name}`, too"),
            );
        }
        let hash = hash(table, problems);
        if let Some(other) = hash.and_then(|hash| secrets.insert(KeyId::of_hash(&hash), name)) {
            let message = format!("`{name}` has the same secret as `{other}`");
            problems.add(table.at("secret"), table.path("secret"), message);
        }
        let given = if table.some_text("tenant").is_some() { "tenant" } else { "name" };
        let tenant = table.text(given).parse::<TenantId>();
        if let Err(error) = tenant
            && !table.text(given).is_empty()
        {
            problems.add(table.at(given), table.path(given), error.to_string());
        }
        let allowed = allowed(table, values, problems);
        let limits = limits(table, &allowed, assistants, problems);
        let may = table.texts("may").unwrap_or_default();
        let may = Permission::ALL.iter().filter(|one| may.iter().any(|(word, _)| word == one.as_str()));
        // A key without a secret or a tenant that can be used has been noted.
        if let (Some(hash), Ok(tenant)) = (hash, tenant) {
            keys.push(KeySpec {
                id: KeyId::of_hash(&hash),
                name: name.to_owned(),
                hash,
                tenant,
                assistants: allowed,
                may: may.copied().collect(),
                admin: table.flag("admin"),
                expires_at: None,
                limits,
            });
        }
    }
    keys
}

/// What is compared with a client's secret; nothing when the key has none that can be used, which is noted.
fn hash(table: &Values, problems: &mut Collector) -> Option<[u8; 32]> {
    let hashed = table.some_text("hash");
    match (table.secret("secret"), hashed) {
        (Some(_), Some(_)) => {
            let message = "stands beside `secret`: only one of them can be used";
            problems.add(table.at("hash"), table.path("hash"), message);
            None
        }
        (Some(secret), None) => {
            let secret = secret.expose_secret();
            if secret.chars().count() < SECRET_CHARACTERS_MIN {
                let message = format!(
                    "has fewer than {SECRET_CHARACTERS_MIN} characters; `switchboard keys create` makes one that nobody can guess"
                );
                problems.add(table.at("secret"), table.path("secret"), message);
                return None;
            }
            if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
                let message =
                    "has characters that cannot stand in a header: white space, or others than ASCII";
                problems.add(table.at("secret"), table.path("secret"), message);
                return None;
            }
            Some(hash_secret(secret))
        }
        (None, Some(text)) => {
            let hash = text.strip_prefix("sha256:").and_then(from_hex);
            if hash.is_none() {
                let message = "must be `sha256:` and 64 hexadecimal digits";
                problems.add(table.at("hash"), table.path("hash"), message);
            }
            hash
        }
        (None, None) => {
            // A secret that is there but wrong (a missing variable) has been noted.
            if table.is_wrong("secret") || table.is_wrong("hash") {
                return None;
            }
            let message = "needs a `secret`, a `secret_file` or a `hash`";
            problems.add(table.at.as_ref(), table.path("secret"), message);
            None
        }
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (number, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(number * 2..number * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn allowed(table: &Values, values: &Values, problems: &mut Collector) -> AllowedAssistants {
    let Some(wanted) = table.texts("assistants") else { return AllowedAssistants::All };
    let all = values.named("assistants");
    let mut names: Vec<AssistantName> = Vec::new();
    for (name, at) in wanted {
        if all.iter().any(|(known, _)| known == name) {
            names.extend(name.parse().ok());
        } else {
            let hint = suggestion(name, all.iter().map(|(name, _)| name.as_str()));
            problems.add(Some(at), table.path("assistants"), format!("there is no assistant `{name}`{hint}"));
        }
    }
    AllowedAssistants::These(names.into())
}

fn limits(
    table: &Values,
    allowed: &AllowedAssistants,
    assistants: &[Assistant],
    problems: &mut Collector,
) -> Limits {
    let whole = |name| table.some_integer(name).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let amount = |values: &Values, name| values.some_text(name).and_then(|text| Cost::parse(text, ""));
    let budgets: Vec<Budget> = table
        .list("budgets")
        .iter()
        .map(|budget| Budget {
            per: if budget.text("per") == "month" { Per::Month } else { Per::Day },
            tokens: budget.some_integer("tokens"),
            cost: amount(budget, "cost").map(|cost| cost.amount),
            currency: budget.some_text("currency").map(str::to_owned),
        })
        .collect();
    for budget in table.list("budgets") {
        let currency = budget.text("currency");
        if !currency.is_empty() && (currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()))
        {
            let message = "must be three capital letters (ISO 4217), such as \"RUB\"";
            problems.add(budget.at("currency"), budget.path("currency"), message);
        }
    }
    let reserve = table.table("reserve").map_or_else(Reserve::default, |reserve| Reserve {
        tokens: reserve.some_integer("tokens").unwrap_or_default(),
        cost: amount(reserve, "cost").map(|cost| cost.amount).unwrap_or_default(),
    });
    let limits = Limits {
        requests_per_minute: whole("requests_per_minute"),
        burst: whole("burst"),
        concurrent_turns: whole("concurrent_turns"),
        budgets,
        reserve,
        shadow: table.flag("shadow"),
    };
    if let Err(error) = limits.check() {
        let name = error.param.split(['[', '.']).next().unwrap_or_default();
        problems.add(table.at(name), format!("{}.{}", table.path, error.param), error.problem);
    }
    let its = assistants.iter().filter(|assistant| allowed.allows(&assistant.name));
    for server::Unknowable { param, problem } in limits.unknowable(its) {
        problems.add(table.at("budgets"), table.path(&param), problem);
    }
    limits
}

/// The name of a provider, or what is wrong with it.
pub(super) fn provider_name(name: &str, values: &Values, problems: &mut Collector) -> Option<ProviderName> {
    name.parse::<ProviderName>()
        .map_err(|error| {
            let message = format!("the name {error}: letters, digits and . _ - : make one");
            problems.add(values.at.as_ref(), &values.path, message);
        })
        .ok()
}
