//! The table of keys: what the configuration may hold, with meaning, range and default of each.
//!
//! The parser reads by it, `check --print` prints by it and `config/reference.toml` is generated from it, so that the three
//! cannot differ.

/// A table of the file.
#[derive(Debug)]
pub(crate) struct Section {
    /// What it is about.
    pub(crate) doc: &'static str,
    /// Its keys, in the order of the reference.
    pub(crate) keys: &'static [Key],
    /// Whether keys that are not listed here are somebody else's (a provider's own) and not unknown.
    pub(crate) open: bool,
}

/// A key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) preset: Preset,
    pub(crate) doc: &'static str,
}

/// What stands when the key does not. The texts are TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preset {
    /// This value.
    Is(&'static str),
    /// Nothing; the text is an example.
    Nothing(&'static str),
    /// An error; the text is an example.
    Required(&'static str),
}

/// What a key takes.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Any text.
    Text,
    /// Text that is nowhere shown; `NAME_file` names a file to read it from.
    Secret,
    /// A URL with one of these schemes, perhaps with a password in it; `NAME_file` names a file to read it from.
    Url(&'static [&'static str]),
    /// An address and a port.
    Address(Empty),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A list of these words.
    Words(&'static [&'static str]),
    /// `250ms`, `30s`: from, to; the third says whether `0` is taken as well.
    Duration(&'static str, &'static str, Zero),
    /// `64KiB`: from, to.
    Size(&'static str, &'static str),
    /// A whole number: from, to.
    Integer(u64, u64),
    /// A number: from, to.
    Number(f64, f64),
    /// A decimal number in quotes, not negative.
    Amount,
    /// `true` or `false`.
    Flag,
    /// Names with values that are nowhere shown.
    Headers,
    /// A table.
    Table(&'static Section),
    /// A table of tables under names of the operator's.
    Named(&'static Section, &'static str),
    /// A list of tables.
    List(&'static Section),
}

/// Whether a duration of nothing is taken, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zero {
    /// It is, and means what the key's description says.
    Taken,
    /// It is not.
    Refused,
}

/// Whether an empty text is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    /// It is: it turns the thing off.
    Taken,
    /// It is not.
    Refused,
}

use Preset::{Is, Nothing, Required};
use Shape::{
    Address, Amount, Duration, Flag, Headers, Integer, List, Named, Number, Secret, Size, Table, Text, Texts,
    Url, Word, Words,
};

const fn key(name: &'static str, shape: Shape, preset: Preset, doc: &'static str) -> Key {
    Key { name, shape, preset, doc }
}

const fn section(doc: &'static str, keys: &'static [Key]) -> Section {
    Section { doc, keys, open: false }
}

/// The file.
pub(crate) static FILE: Section = section(
    "",
    &[
        key("server", Table(&SERVER), Is("{}"), ""),
        key("storage", Table(&STORAGE), Is("{}"), ""),
        key("cluster", Table(&CLUSTER), Nothing(""), ""),
        key("turns", Table(&TURNS), Is("{}"), ""),
        key("defaults", Table(&DEFAULTS), Is("{}"), ""),
        key("providers", Named(&PROVIDER, "tunnel"), Is("{}"), ""),
        key("assistants", Named(&ASSISTANT, "support"), Is("{}"), ""),
        key("keys", List(&KEY), Is("[]"), ""),
        key("observability", Table(&OBSERVABILITY), Is("{}"), ""),
    ],
);

static SERVER: Section = section(
    "What clients and operators call.",
    &[
        key("listen", Address(Empty::Refused), Is("\"127.0.0.1:8080\""), "What clients call."),
        key(
            "admin_listen",
            Address(Empty::Taken),
            Is("\"127.0.0.1:9090\""),
            "`/metrics` and `/admin/…`. An empty text turns it off.",
        ),
        key("max_body", Size("1KiB", "64MiB"), Is("\"1MiB\""), "The largest request body."),
        key(
            "max_reply",
            Size("1KiB", "256MiB"),
            Is("\"8MiB\""),
            "A provider's text beyond it is cut: the turn is `incomplete` with `provider_protocol`.",
        ),
        key(
            "drain_delay",
            Duration("1ms", "1h", Zero::Taken),
            Is("\"0s\""),
            "After SIGTERM `/readyz` says 503 at once; turns are accepted for so long still, until load balancers know.",
        ),
        key(
            "drain_timeout",
            Duration("1ms", "1h", Zero::Taken),
            Is("\"30s\""),
            "Then new turns are refused as `draining` and running ones may go on for so long. What still runs ends `incomplete`.",
        ),
        key(
            "heartbeat",
            Duration("100ms", "5m", Zero::Refused),
            Is("\"15s\""),
            "How often a comment line is written to an idle event stream.",
        ),
        key(
            "cors_origins",
            Texts,
            Is("[]"),
            "Web pages that may call from a browser: `[\"https://shop.example\"]`, or `[\"*\"]` for all.",
        ),
        key(
            "open",
            Flag,
            Is("false"),
            "Serve without any key: only on a loopback address, and only for requests whose `Host` is loopback.",
        ),
        key("tls", Table(&TLS), Nothing(""), ""),
    ],
);

static TLS: Section = section(
    "HTTPS for what clients call. The files are read again when they change.",
    &[
        key("certificate", Text, Required("\"/etc/switchboard/tls.crt\""), "The chain, as PEM."),
        key("key", Text, Required("\"/etc/switchboard/tls.key\""), "The private key, as PEM."),
    ],
);

static STORAGE: Section = section(
    "Where conversations, turns, keys and the ledger are kept.",
    &[
        key(
            "url",
            Url(&["sqlite", "postgres", "postgresql", "memory"]),
            Is("\"sqlite:data/switchboard.db\""),
            "`sqlite:relative/path.db`, `sqlite:/absolute/path.db`, `postgres://user:password@host/database`, or `memory:`, which keeps nothing.",
        ),
        key(
            "retention",
            Duration("1s", "36500d", Zero::Taken),
            Is("\"0s\""),
            "Conversations unchanged for longer are erased, with messages and turns; `0` keeps them. The ledger keeps its sums.",
        ),
    ],
);

static CLUSTER: Section = section(
    "Several gateways as one. Leave it out for a single one. Needs a PostgreSQL store.",
    &[
        key(
            "redis",
            Url(&["redis", "rediss"]),
            Required("\"redis://127.0.0.1:6379\""),
            "Shared limits, live events and hints of the breakers. If it is gone the gateways work on with limits of their own.",
        ),
        key(
            "ca_file",
            Text,
            Is("\"\""),
            "A PEM file of the authorities that vouch for a `rediss` server, in place of the system's.",
        ),
    ],
);

static TURNS: Section = section(
    "How turns are run.",
    &[
        key(
            "on_disconnect",
            Word(&["continue", "cancel"]),
            Is("\"continue\""),
            "What happens to a turn whose client left in mid-stream.",
        ),
        key(
            "when_busy",
            Word(&["reject", "queue", "interrupt"]),
            Is("\"reject\""),
            "What a second turn in a conversation gets: a 409, a place in the queue, or the first one is cancelled.",
        ),
        key(
            "idempotency_window",
            Duration("1s", "30d", Zero::Refused),
            Is("\"24h\""),
            "How long an `Idempotency-Key` is remembered.",
        ),
    ],
);

macro_rules! provider_keys {
    ($($own:expr,)*) => {
        &[
            $($own,)*
            key("connect_timeout", Duration("1ms", "10m", Zero::Refused), Is("\"5s\""), "To a connection, name resolution and TLS included."),
            key("headers_timeout", Duration("1ms", "1h", Zero::Refused), Is("\"60s\""), "To the headers of a stream. A call for a whole answer is bounded by the next alone."),
            key("first_text_timeout", Duration("1ms", "1h", Zero::Refused), Is("\"120s\""), "To the first text."),
            key("idle_timeout", Duration("1ms", "1h", Zero::Refused), Is("\"60s\""), "Between two pieces of a stream. A provider's own pings count as life."),
            key("total_timeout", Duration("1ms", "24h", Zero::Refused), Is("\"15m\""), "For a whole turn."),
            key("hedge_after", Duration("1ms", "1h", Zero::Taken), Is("\"0s\""), "No text after so long: the fallback is asked as well and the first text wins. `0s` is off."),
            key("retry", Table(&RETRY), Is("{}"), ""),
            key("breaker", Table(&BREAKER), Is("{}"), ""),
            key("max_concurrency", Integer(1, 1_000_000), Is("256"), "Calls under way at once; more wait."),
            key("requests_per_minute", Integer(0, 1_000_000), Is("0"), "What the provider allows us; turns wait for it. 0: no limit."),
            key("proxy", Url(&["http", "https", "socks5", "socks5h"]), Is("\"\""), "An outgoing proxy."),
            key("ca_file", Text, Is("\"\""), "A PEM file of further certificate authorities."),
        ]
    };
}

/// The settings of every provider that it may override.
pub(crate) static DEFAULTS: Section =
    section("For every provider. Each key may stand in a provider's own table as well.", provider_keys![]);

static RETRY: Section = section(
    "When a call that certainly had no effect is sent again.",
    &[
        key("attempts", Integer(1, 20), Is("3"), "Attempts in all, the first included."),
        key(
            "base",
            Duration("1ms", "10m", Zero::Refused),
            Is("\"500ms\""),
            "The longest first pause; doubled each time, with full jitter.",
        ),
        key("cap", Duration("1ms", "1h", Zero::Refused), Is("\"32s\""), "The longest pause of all."),
        key(
            "budget_percent",
            Integer(0, 100),
            Is("20"),
            "At most so many of a hundred recent calls may be retries; ten are always allowed.",
        ),
        key(
            "ambiguous",
            Flag,
            Is("false"),
            "Send again what may have had an effect, too: a turn may then be billed twice.",
        ),
    ],
);

static BREAKER: Section = section(
    "When a provider is not asked for a while.",
    &[
        key("window", Duration("10ms", "1h", Zero::Refused), Is("\"30s\""), "The span that is looked at."),
        key("failures", Number(0.01, 1.0), Is("0.5"), "The share of failed calls that opens it."),
        key("minimum", Integer(1, 1_000_000), Is("10"), "Fewer calls in the span never open it."),
        key(
            "cool_down",
            Duration("1ms", "1h", Zero::Refused),
            Is("\"15s\""),
            "How long it stays open before one call probes.",
        ),
    ],
);

/// `[providers.NAME]`. The keys that are not here are the provider's own.
pub(crate) static PROVIDER: Section = Section {
    doc: "A provider: a vendor's API with one credential. The keys of [defaults] may stand here as well.",
    keys: provider_keys![
        key("kind", Text, Required("\"openai\""), "What sort of provider."),
        key(
            "base_url",
            Url(&["http", "https"]),
            Nothing("\"https://…\""),
            "Where it is called; the vendor's public address when left out.",
        ),
        key("headers", Headers, Is("{}"), "Further fixed headers on every call."),
    ],
    open: true,
};

static ASSISTANT: Section = section(
    "An assistant: the name that clients ask for, and what it points at.",
    &[
        key("provider", Text, Required("\"tunnel\""), "The name of a table under [providers]."),
        key(
            "upstream_id",
            Text,
            Is("\"\""),
            "What is asked there: the provider's assistant, bot, chatbot or model.",
        ),
        key("description", Text, Is("\"\""), "Words for people."),
        key("fallback", Texts, Is("[]"), "Assistants that are tried in order when this one can't answer."),
        key("system", Text, Is("\"\""), "What the provider is told before every conversation."),
        key(
            "context_messages",
            Integer(0, 1000),
            Is("20"),
            "How many earlier messages the provider is given, or told to remember.",
        ),
    ],
);

static KEY: Section = section(
    "A key that clients authenticate with. Others can be kept in the store: `switchboard keys create`.",
    &[
        key("name", Text, Required("\"web-shop\""), "What it is called in logs and metrics."),
        key("secret", Secret, Nothing("\"${WEB_SHOP_KEY}\""), "At least 16 characters. Or:"),
        key("hash", Text, Nothing("\"sha256:<64 hexadecimal digits>\""), "The secret's SHA-256."),
        key(
            "tenant",
            Text,
            Nothing("\"shop\""),
            "Whose conversations, turns and usage it sees; its own name when left out.",
        ),
        key("assistants", Texts, Nothing("[\"support\"]"), "What it may use; all when left out."),
        key(
            "may",
            Words(&["operator", "adopt", "act_as_user", "tokens"]),
            Is("[]"),
            "What else it may do: put in messages as operator or system, take over upstream conversations, ask in an end user's name, issue tokens for browsers.",
        ),
        key("admin", Flag, Is("false"), "Whether the admin routes are open to it."),
        key("requests_per_minute", Integer(1, 10_000_000), Nothing("600"), "No limit when left out."),
        key(
            "burst",
            Integer(1, 10_000_000),
            Nothing("60"),
            "How many requests may come at once; a tenth of a minute's when left out.",
        ),
        key("concurrent_turns", Integer(1, 1_000_000), Nothing("100"), "No limit when left out."),
        key("budgets", List(&BUDGET), Is("[]"), ""),
        key("reserve", Table(&RESERVE), Nothing(""), ""),
        key("shadow", Flag, Is("false"), "Count and show the limits, but don't enforce them."),
    ],
);

static BUDGET: Section = section(
    "What may be spent: `[{ per = \"day\", tokens = 1000000 }, { per = \"month\", cost = \"500\", currency = \"RUB\" }]`.",
    &[
        key("per", Word(&["day", "month"]), Required("\"day\""), "The span, in UTC."),
        key("tokens", Integer(1, u64::MAX / 2), Nothing("1000000"), "All tokens together. Or:"),
        key("cost", Amount, Nothing("\"500\""), "Money, as a decimal in quotes."),
        key("currency", Text, Nothing("\"RUB\""), "Of the cost: three capital letters."),
    ],
);

static RESERVE: Section = section(
    "Set aside for each running turn and settled at its end.",
    &[
        key("tokens", Integer(0, u64::MAX / 2), Nothing("2000"), "Tokens."),
        key("cost", Amount, Nothing("\"1\""), "Money, in the currency of the budgets."),
    ],
);

static OBSERVABILITY: Section = section(
    "What is written about what happens.",
    &[
        key(
            "log_format",
            Word(&["json", "text"]),
            Is("\"json\""),
            "How the log on standard error is written.",
        ),
        key(
            "log_content",
            Flag,
            Is("false"),
            "Whether messages, replies and providers' words may stand in the log. Keys never do.",
        ),
        key(
            "otlp_endpoint",
            Url(&["http", "https"]),
            Is("\"\""),
            "A collector of OpenTelemetry spans, `http://collector:4318`: OTLP over HTTP, `/v1/traces` is appended. An empty text turns it off.",
        ),
    ],
);

impl Section {
    /// A key by name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of all keys.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        self.keys.iter().map(|key| key.name)
    }
}

impl Shape {
    /// Whether `NAME_file` may stand in the key's place.
    pub(crate) fn has_file_twin(&self) -> bool {
        matches!(self, Secret | Url(_))
    }

    /// What the key takes, in words.
    pub(crate) fn expected(&self) -> String {
        let words =
            |words: &[&str]| words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        match self {
            Text => "text".to_owned(),
            Secret => "text that is kept secret".to_owned(),
            Url(schemes) => format!("a URL with {}", schemes.join(", ")),
            Address(_) => "an address and port, such as \"127.0.0.1:8080\"".to_owned(),
            Word(all) => format!("one of {}", words(all)),
            Texts => "a list of texts".to_owned(),
            Words(all) => format!("a list of {}", words(all)),
            Duration(min, max, Zero::Refused) => format!("a duration from {min} to {max}, such as \"30s\""),
            Duration(min, max, Zero::Taken) => {
                format!("a duration from {min} to {max}, such as \"30s\", or \"0\"")
            }
            Size(min, max) => format!("a size from {min} to {max}, such as \"1MiB\""),
            Integer(min, max) if *max > u64::from(u32::MAX) => format!("a whole number from {min} on"),
            Integer(min, max) => format!("a whole number from {min} to {max}"),
            Number(min, max) => format!("a number from {min} to {max}"),
            Amount => "a decimal number in quotes, not negative, such as \"0.50\"".to_owned(),
            Flag => "true or false".to_owned(),
            Headers => "a table of header names and texts".to_owned(),
            Table(_) => "a table".to_owned(),
            Named(..) => "a table of tables".to_owned(),
            List(_) => "a list of tables".to_owned(),
        }
    }
}
