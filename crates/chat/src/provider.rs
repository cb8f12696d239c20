//! What the gateway asks of a provider, and what a provider gives back.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Content, ErrorCode, FinishReason, Metadata, Part, Progress, Role, Source, Timestamp, TurnId, UpstreamIds,
    Usage, UserId,
};

/// What the gateway did in place of a provider that does not do it itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Emulated {
    /// Earlier messages were quoted in the new one.
    History,
    /// The system text was quoted in the message.
    System,
    /// An answer in one piece was streamed as one delta.
    Stream,
}

/// Whether something can be had, and from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Offer {
    /// The provider does it.
    Native,
    /// The gateway does it in the provider's place.
    Emulated,
    /// It cannot be had: asking for it is refused.
    Unsupported,
}

/// What an assistant can do: shown in `GET /v1/assistants`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Capabilities {
    /// Text as it comes.
    pub stream: Offer,
    /// Earlier messages are known.
    pub history: Offer,
    /// A system text.
    pub system: Offer,
    /// Image parts.
    pub images: Offer,
    /// `search_filters`.
    pub search_filters: Offer,
    /// Citations in the text.
    pub citations: Offer,
    /// Tokens or money reported.
    pub usage: Offer,
    /// An operator's message put in at the provider.
    pub inject: Offer,
    /// The provider's own history can be read: adopt and sync.
    pub upstream_history: Offer,
}

/// How a provider comes by what was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// It keeps nothing: every call is given the history.
    Replay,
    /// It keeps a thread of its own under an id; a call is given what the thread lacks.
    Thread {
        /// It remembers only as many messages as each call tells it to (`context_messages`): what it was told longer ago, the
        /// system text included, is told again.
        windowed: bool,
    },
}

/// The provider's side of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// The provider's id of it.
    pub id: String,
    /// Nothing has been said in it yet.
    pub fresh: bool,
}

/// An earlier message, as far as a provider is told.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryMessage {
    /// Who spoke.
    pub role: Role,
    /// The speaker's name.
    pub author: String,
    /// What was said.
    pub content: Content,
}

/// What a provider is asked: everything that one call needs.
#[derive(Debug, Clone)]
pub struct Request {
    /// The turn that this is for.
    pub turn_id: TurnId,
    /// What is asked there: `assistantCode`, `botId`, `assistantId`, `chatbot_id` or model.
    pub upstream_id: String,
    /// The operator's instructions; none when the thread has been told already.
    pub system: Option<String>,
    /// Earlier messages that the provider does not know, oldest first; already cut to `context_messages`.
    pub history: Vec<HistoryMessage>,
    /// The user's message.
    pub message: Content,
    /// The end user.
    pub user: Option<UserId>,
    /// The provider's thread: an id that the gateway made ([`Provider::new_thread`]) or that the provider gave before.
    pub thread: Option<Thread>,
    /// How many earlier messages the provider may remember.
    pub context_messages: u32,
    /// Search filters, passed on as they are.
    pub search_filters: Option<Arc<RawValue>>,
    /// The client's words about the turn.
    pub metadata: Metadata,
    /// The client reads piece by piece. False: it wants the whole, and the provider's plainest call will do.
    pub stream: bool,
    /// What the OpenAI dialect passes through: the client's own body, a JSON object, read by the `openai` provider alone.
    pub extension: Option<Arc<str>>,
    /// Is told of every attempt.
    pub observer: Arc<dyn AttemptObserver>,
    /// When the turn ends at the latest: nothing is waited for beyond it.
    pub deadline: Instant,
}

/// A piece of an answer.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Text to append: never what was given before, whatever the provider repeats.
    Text(String),
    /// All text so far was wrong: this stands in its place. Citations fall with it.
    Replace(String),
    /// All sources known so far.
    Sources(Vec<Source>),
    /// At this place the text rests on these sources.
    Citation(Vec<String>),
    /// What the provider is doing.
    Progress(Progress),
    /// The gateway does this in the provider's place.
    Emulated(Emulated),
    /// The model that answers.
    Model(String),
    /// The provider's ids, as far as known.
    Upstream(UpstreamIds),
    /// The id of the provider's thread, for the next turn.
    Thread(String),
    /// What the call used, as far as known; a later one adds to it.
    Usage(Usage),
    /// A call of a client's tool ([`Part::ToolCall`]).
    ToolCall(Part),
    /// A frame for the OpenAI dialect, as it came: JSON.
    Extension(Arc<str>),
    /// The reply is whole, or the provider says why it is not. The last piece: a stream that ends without it has broken off.
    End(Option<FinishReason>),
}

/// The pieces of an answer. An error is the last item; dropping the stream abandons the call.
pub type PieceStream = Pin<Box<dyn Stream<Item = Result<Piece, ProviderError>> + Send>>;

/// Which of the clocks ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clock {
    /// To a connection.
    Connect,
    /// To the response's headers.
    Headers,
    /// To the first text.
    FirstText,
    /// Between two pieces.
    Idle,
    /// In all.
    Total,
}

/// Whether a call that failed can have done something at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Certainly nothing.
    None,
    /// Perhaps.
    Possible,
}

/// What went wrong at a provider, by what the receiver can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Our credential is not taken (401, 403).
    Credentials,
    /// Our account there has no credit (402).
    Account,
    /// What is asked there does not exist (404).
    NotFound,
    /// The request is refused (any other 4xx).
    Rejected,
    /// More text than it takes.
    TooLong,
    /// The content is refused: asking elsewhere would be going round a policy.
    Filtered,
    /// Too many calls (429), or no place within our own limit for the provider.
    Busy {
        /// When to come back, where it says so.
        retry_after: Option<Duration>,
    },
    /// Not now (503).
    Unavailable {
        /// When to come back, where it says so.
        retry_after: Option<Duration>,
    },
    /// It failed (any other 5xx).
    Failed,
    /// A clock ran out.
    TimedOut(Clock),
    /// It answered without a word.
    Empty,
    /// Its answer cannot be read, or ends without the sign that it is whole.
    Protocol,
    /// No connection: refused, unresolved, no common TLS.
    Unreachable,
    /// The connection broke after the request was sent.
    Broken,
    /// It has failed too often of late: it was not asked.
    BreakerOpen {
        /// When it will be tried again.
        retry_after: Duration,
    },
    /// It has no such operation.
    Unsupported,
}

impl Failure {
    /// The code that clients see.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Credentials => ErrorCode::ProviderAuth,
            Self::Account => ErrorCode::ProviderAccount,
            Self::NotFound => ErrorCode::ProviderNotFound,
            Self::Rejected => ErrorCode::ProviderRejected,
            Self::TooLong => ErrorCode::ContextTooLong,
            Self::Filtered => ErrorCode::ContentRefused,
            Self::Busy { .. } => ErrorCode::ProviderRateLimit,
            Self::Unavailable { .. } | Self::Failed | Self::Unreachable | Self::Broken => {
                ErrorCode::ProviderError
            }
            Self::TimedOut(Clock::Connect) => ErrorCode::ConnectTimeout,
            Self::TimedOut(Clock::Headers) => ErrorCode::HeadersTimeout,
            Self::TimedOut(Clock::FirstText) => ErrorCode::FirstTextTimeout,
            Self::TimedOut(Clock::Idle) => ErrorCode::IdleTimeout,
            Self::TimedOut(Clock::Total) => ErrorCode::TotalTimeout,
            Self::Empty => ErrorCode::ProviderEmpty,
            Self::Protocol => ErrorCode::ProviderProtocol,
            Self::BreakerOpen { .. } => ErrorCode::BreakerOpen,
            Self::Unsupported => ErrorCode::Unsupported,
        }
    }

    /// Whether the call can have done something at the provider.
    #[must_use]
    pub fn effect(self) -> Effect {
        match self {
            Self::Credentials
            | Self::Account
            | Self::NotFound
            | Self::Rejected
            | Self::TooLong
            | Self::Filtered
            | Self::Busy { .. }
            | Self::Unavailable { .. }
            | Self::Unreachable
            | Self::TimedOut(Clock::Connect)
            | Self::BreakerOpen { .. }
            | Self::Unsupported => Effect::None,
            Self::Failed | Self::TimedOut(_) | Self::Empty | Self::Protocol | Self::Broken => {
                Effect::Possible
            }
        }
    }

    /// When the provider asks to come back, or the breaker will let somebody through.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after } | Self::Unavailable { retry_after } => retry_after,
            Self::BreakerOpen { retry_after } => Some(retry_after),
            _ => None,
        }
    }

    /// Whether a request left for the provider: such a call stands in the ledger.
    #[must_use]
    pub fn was_sent(self) -> bool {
        !matches!(
            self,
            Self::Unreachable | Self::TimedOut(Clock::Connect) | Self::BreakerOpen { .. } | Self::Unsupported
        )
    }
}

/// Why a provider did not answer, or not to the end.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct ProviderError {
    /// What the receiver can do about it.
    pub failure: Failure,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// The provider's words: at most 2 KiB, without control characters, secrets blotted out. May be shown to clients; is logged
    /// only with `log_content`.
    pub message: Option<String>,
    /// The provider's id of the call: its support asks for it.
    pub request_id: Option<String>,
    /// What the call used, where a failed one reports it.
    pub usage: Option<Usage>,
    /// Sources that came without an answer.
    pub sources: Vec<Source>,
    /// The call never left: a place at the provider could not be had in time. Only then is a `Busy` not in the ledger.
    pub unsent: bool,
}

impl ProviderError {
    /// A failure, with nothing known beside it.
    #[must_use]
    pub fn new(failure: Failure) -> Self {
        Self {
            failure,
            status: None,
            message: None,
            request_id: None,
            usage: None,
            sources: Vec::new(),
            unsent: false,
        }
    }

    /// The same with the provider's words.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// The same with the HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Whether a request left for the provider.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        !self.unsent && self.failure.was_sent()
    }
}

impl From<Failure> for ProviderError {
    fn from(failure: Failure) -> Self {
        Self::new(failure)
    }
}

impl fmt::Display for ProviderError {
    /// Never the provider's words: they can hold what users wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the provider failed: {}", self.failure.code())?;
        if let Some(status) = self.status {
            write!(f, " (status {status})")?;
        }
        Ok(())
    }
}

/// An attempt that failed and is followed by another at the same provider.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptReport {
    /// What went wrong.
    pub failure: Failure,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// How long the attempt took.
    pub duration: Duration,
    /// How long until the next one.
    pub retry_in: Duration,
    /// The call never left.
    pub unsent: bool,
}

/// Is told what each attempt of a call does, while it does it.
pub trait AttemptObserver: Send + Sync + fmt::Debug {
    /// A request is being sent now: the clock to the first text begins.
    fn began(&self);
    /// The head of its answer came, with this 2xx status.
    fn answered(&self, _status: u16) {}
    /// It failed and will be sent again. The last failure is not reported here: it is the call's own error.
    fn failed(&self, report: AttemptReport);
    /// Resolves once that failure is noted wherever it has to be, or soon at any rate: the next attempt is not sent before.
    fn noted(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
    /// Whether the attempt under way is dropped because it gave no text in time.
    fn gave_up(&self) -> bool {
        false
    }
    /// Headers for the request of the attempt that began last, by which the provider may go on with the caller's trace (W3C trace
    /// context). None, unless traces are kept.
    fn trace_headers(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// A message to put in at the provider without asking for a reply.
#[derive(Debug, Clone)]
pub struct Injection {
    /// What it is put in at.
    pub upstream_id: String,
    /// The provider's thread.
    pub thread: Thread,
    /// Who speaks: an operator's name.
    pub author: String,
    /// What is said.
    pub text: String,
}

/// A message of the provider's own history.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamMessage {
    /// The provider's id of it.
    pub id: Option<String>,
    /// Who spoke: an unknown role is an assistant's.
    pub role: Role,
    /// The speaker as the provider names them, where that is neither user nor assistant.
    pub author: Option<String>,
    /// What was said.
    pub text: String,
    /// When.
    pub created_at: Option<Timestamp>,
}

/// A conversation as the provider lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamConversation {
    /// The provider's id of it.
    pub id: String,
    /// The beginning of its text.
    pub preview: Option<String>,
    /// How many messages there are.
    pub message_count: Option<u64>,
    /// When it was begun.
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
}

/// A page of the provider's own list.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamPage {
    /// The page's conversations.
    pub items: Vec<UpstreamConversation>,
    /// Whether there are more.
    pub has_more: bool,
}

/// What came of asking a provider whether its credential works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// It works.
    Works,
    /// The provider has no free way to ask.
    NotOffered,
}

/// How a provider is doing: for admins.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ProviderStatus {
    /// The breaker: `closed`, `open`, `half_open`.
    #[schemars(extend("enum" = ["closed", "open", "half_open"]))]
    pub breaker: &'static str,
    /// Calls under way.
    pub in_flight: usize,
    /// The last error's code, while none of its calls has gone well since.
    pub last_error: Option<ErrorCode>,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
}

/// Answers turns by asking one assistant service. Implementations translate; they keep nothing of a conversation and open no
/// connection of their own.
#[async_trait]
pub trait Provider: Send + Sync + fmt::Debug + 'static {
    /// What it can do, as configured.
    fn capabilities(&self) -> Capabilities;

    /// How it comes by what was said before.
    fn memory(&self) -> Memory;

    /// A new id for a thread, where the gateway makes it: committed to the store before the provider sees it. None where the
    /// provider makes it, or keeps no threads.
    fn new_thread(&self) -> Option<String> {
        None
    }

    /// Whether it takes images as `data:` URLs, where it takes images at all.
    fn takes_data_urls(&self) -> bool {
        false
    }

    /// Whether it reads [`Request::extension`]: what a client of the OpenAI dialect sent reaches the model as it is.
    fn passes_through(&self) -> bool {
        false
    }

    /// Whether the usage that it reports says what a turn cost in money. Of no meaning where it reports no usage.
    fn reports_cost(&self) -> bool {
        true
    }

    /// Whether it acts in the name of the turn's end user: then the turn must name one, and the key must be allowed to
    /// ([`crate::Permission::ActAsUser`]).
    fn acts_as_user(&self) -> bool {
        false
    }

    /// Whether a call made now would be refused because the breaker is open, and for how much longer.
    fn closed_for(&self) -> Option<Duration> {
        None
    }

    /// Starts answering; resolves once the service has accepted the call, not once it is done. Dropping the stream abandons it.
    ///
    /// # Errors
    /// A failure before the first piece is returned here; a later one is the stream's last item.
    async fn answer(&self, request: Request) -> Result<PieceStream, ProviderError>;

    /// Puts a message into the provider's history without asking for a reply.
    ///
    /// # Errors
    /// [`Failure::Unsupported`] where the provider has no such call; else as for an answer.
    async fn inject(&self, _injection: Injection) -> Result<(), ProviderError> {
        Err(Failure::Unsupported.into())
    }

    /// All messages of one of the provider's conversations, oldest first.
    ///
    /// # Errors
    /// [`Failure::Unsupported`] where the provider has no history; [`Failure::NotFound`] where it has no such conversation.
    async fn history(
        &self,
        _upstream_id: &str,
        _conversation: &str,
    ) -> Result<Vec<UpstreamMessage>, ProviderError> {
        Err(Failure::Unsupported.into())
    }

    /// A page of the provider's own list of conversations: `page` counts from 1, `limit` is 1 to 100.
    ///
    /// # Errors
    /// [`Failure::Unsupported`] where the provider has no list.
    async fn conversations(
        &self,
        _upstream_id: &str,
        _since: Option<Timestamp>,
        _page: u32,
        _limit: u32,
    ) -> Result<UpstreamPage, ProviderError> {
        Err(Failure::Unsupported.into())
    }

    /// Asks whether the credential works, where that is free.
    ///
    /// # Errors
    /// The provider does not take the credential, or cannot be asked.
    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::NotOffered)
    }

    /// How it is doing.
    fn status(&self) -> ProviderStatus;
}
