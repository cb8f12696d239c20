//! From a request to a turn that is durable: who may ask whom, what of it can be done, and the commit.

use std::sync::Arc;
use std::time::Duration;

use chat::{
    Acceptance, Accepted, Caller, Content, Conversation, ErrorCode, HistoryMessage, MessageId, MessageStatus,
    NewConversation, NewMessage, NewTurn, Offer, Permission, Role, StoreError, StoredThread, ThreadUpdate,
    Timestamp, Turn, TurnError, TurnId, TurnStatus, TurnTarget, UserId, WhenBusy,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::Refused;
use crate::ask::{Ask, Prompt};
use crate::catalog::{Assistant, Catalog};
use crate::engine::{Inner, OnDisconnect, draining};
use crate::guard::{self, Guard};
use crate::observe::{TurnWatch, log_content};
use crate::question::{Question, told};
use crate::record::Recorder;
use crate::refused::{lacks, no_assistant, not_allowed};
use crate::registry::Reservation;
use crate::running::{Left, Reader, Running, Stop, Whose};
use crate::thread::AskedThread;
use crate::turn::Job;
use crate::{doubt, follow, membership, publish, thread, unread};

/// How many turns may wait in one conversation.
const QUEUE_MAX: u32 = 16;
/// How often a turn looks whether it may begin when the store does not say how the one before it stands.
const QUEUE_LOOK: Duration = Duration::from_millis(100);

/// How long a repeat waits for the turn that the same request makes at the same time.
const FOUND_WITHIN: Duration = Duration::from_secs(15);

/// Who is asked, and with what.
struct Plan {
    /// The assistant asked and its fallbacks that can do what is asked.
    candidates: Vec<Arc<Assistant>>,
    asked: Arc<Assistant>,
    user: Option<UserId>,
    context_messages: u32,
    message: Content,
    earlier: Vec<(Role, Content)>,
}

/// A turn that is accepted and has its place.
struct Admitted {
    running: Arc<Running>,
    deadline: Instant,
    /// None when nothing is kept.
    accepted: Option<Accepted>,
    unstored_key: Option<String>,
}

/// The life of a turn from its request to where it begins to ask; gives the rest, if there is any. `answer` is told as soon as the
/// turn is accepted, or why it is not.
///
/// Two futures, so that what is needed to accept a turn takes no room for as long as it runs.
pub(crate) async fn run(
    inner: Arc<Inner>,
    caller: Caller,
    mut ask: Ask,
    answer: oneshot::Sender<Result<Reader, Refused>>,
) -> Option<BoxFuture<'static, ()>> {
    let plan = match plan(&inner, &caller, &mut ask).await {
        Ok(plan) => plan,
        Err(refused) => {
            // Nobody waits for the answer any more when it cannot be sent.
            let _ = answer.send(Err(refused));
            return None;
        }
    };
    let id = TurnId::new();
    let reservation = inner.registry.reserve(id);
    // Looked at once the turn has its place: whoever drains waits for all that have one.
    if inner.refuses_turns() {
        let _ = answer.send(Err(draining()));
        return None;
    }
    let admitted = match Box::pin(admit(&inner, &caller, &mut ask, &plan, reservation, id)).await {
        Ok(Ok(admitted)) => admitted,
        Ok(Err((first, stored))) => {
            // Rare, and large: its place is not in every turn.
            let _ = answer.send(Box::pin(repeat(&inner, &caller, first, stored)).await);
            return None;
        }
        Err(refused) => {
            let _ = answer.send(Err(refused));
            return None;
        }
    };
    let _ = answer.send(Ok(reader(&inner, &admitted.running, 0, false)));
    let watch = TurnWatch::new(&admitted.running.snapshot(), inner.propagation.clone());
    log_content(id, "user", &plan.message);
    let span = watch.span.clone();
    let guard = Guard { inner: Arc::clone(&inner), running: Arc::clone(&admitted.running), key: caller.key };
    let job = if admitted.accepted.as_ref().is_some_and(|accepted| accepted.waits_for.is_some()) {
        let begun = Box::pin(begin(inner, caller, ask, plan, admitted, watch)).instrument(span.clone());
        guard.around(begun).await??
    } else {
        // Nothing to wait for: no future, which would be made of copies of all this.
        let begun = || {
            let (bytes_max, recorder) = recorder(&inner, &admitted);
            job(caller, ask, plan, admitted, recorder, bytes_max, watch)
        };
        let Some(job) = guard::caught(|| span.in_scope(begun)) else {
            guard.end().await;
            return None;
        };
        job
    };
    // The request's span is around the turn's own, as it is here: the task's.
    Some(guard.around_all(job.run().instrument(span)).boxed())
}

/// A turn from its acceptance to where it may begin; none where it ends before that.
async fn begin(
    inner: Arc<Inner>,
    caller: Caller,
    ask: Ask,
    plan: Plan,
    admitted: Admitted,
    watch: TurnWatch,
) -> Option<Job> {
    let (reply_bytes_max, recorder) = recorder(&inner, &admitted);
    let (admitted, recorder) = match Box::pin(wait(&inner, &ask, &plan, admitted, recorder)).await {
        Ok(begun) => begun,
        Err(ended) => {
            watch.ended(&ended, &[], &[]);
            return None;
        }
    };
    Some(job(caller, ask, plan, admitted, recorder, reply_bytes_max, watch))
}

/// How long a reply may be, in bytes, and who writes down what becomes of the turn.
fn recorder(inner: &Arc<Inner>, admitted: &Admitted) -> (usize, Recorder) {
    let recorder = Recorder::new(Arc::clone(inner), &admitted.running, admitted.unstored_key.clone());
    (inner.settings.load().reply_bytes_max, recorder)
}

/// A reader of a turn that runs or has run here.
pub(crate) fn reader(inner: &Arc<Inner>, running: &Arc<Running>, after: u64, repeated: bool) -> Reader {
    let cancels = inner.settings.load().on_disconnect == OnDisconnect::Cancel;
    // Whoever runs a turn counts its readers, and asks whether there are others elsewhere; that one here has left says nothing.
    let left: Option<Left> = (running.owner.is_some() && (cancels || !running.stored)).then(|| {
        let inner = Arc::clone(inner);
        let left: Left = Box::new(move |running| {
            if running.readers() > 0 {
                return;
            }
            if cancels {
                unread::stop(&inner, running);
            }
            if !running.stored && running.settled.is_cancelled() {
                inner.registry.remove(running.id);
            }
        });
        left
    });
    Reader::new(Arc::clone(running), after, repeated, left)
}

/// Reads the turn that the same request made before.
pub(crate) async fn repeat(
    inner: &Arc<Inner>,
    caller: &Caller,
    id: TurnId,
    stored: bool,
) -> Result<Reader, Refused> {
    let found = tokio::time::timeout(FOUND_WITHIN, inner.registry.find(id)).await;
    match found {
        Ok(Some(running)) => return shown(inner, caller, &running),
        Ok(None) => {}
        // It is in doubt whether the turn was accepted, and the store does not say.
        Err(elapsed) => return Err(StoreError::Unavailable(Box::new(elapsed)).into()),
    }
    if !stored && let Some(running) = follow::unstored(inner, &caller.tenant, id).await {
        return shown(inner, caller, &running);
    }
    if !stored {
        let mut refused = Refused::new(
            ErrorCode::ReplyNotKept,
            "the turn of this Idempotency-Key has ended and was not to be kept (`store` is false)",
        );
        refused.turn_id = Some(id);
        return Err(refused);
    }
    let running = follow::find(inner, &caller.tenant, id).await?;
    shown(inner, caller, &running)
}

/// A repeat is bounded by the key like the turn itself: another key of the tenant may not read what it may not ask.
fn shown(inner: &Arc<Inner>, caller: &Caller, running: &Arc<Running>) -> Result<Reader, Refused> {
    if !caller.assistants.allows(&running.assistant) {
        return Err(not_allowed(&running.assistant));
    }
    if !running.visible_to(&caller.tenant, caller.user.as_ref(), &caller.assistants) {
        return Err(StoreError::NoTurn.into());
    }
    Ok(reader(inner, running, 0, true))
}

/// Takes what is said out of the request.
async fn plan(inner: &Inner, caller: &Caller, ask: &mut Ask) -> Result<Plan, Refused> {
    let catalog = inner.catalog.load_full();
    let conversation = match ask.conversation_id {
        Some(id) => Some(of_user(caller, inner.store.conversation(&caller.tenant, id).await?)?),
        None => None,
    };
    let name = match (&ask.assistant, &conversation) {
        (Some(name), _) => name,
        (None, Some(conversation)) => &conversation.assistant,
        (None, None) => {
            return Err(
                Refused::new(ErrorCode::MissingField, "say whom to ask: `assistant`").about("assistant")
            );
        }
    };
    let asked = catalog.assistant(name).ok_or_else(|| no_assistant(name))?;
    let bound = conversation.as_ref().map(|conversation| &conversation.assistant);
    if let Some(name) = [Some(name), bound].into_iter().flatten().find(|name| !caller.assistants.allows(name))
    {
        return Err(not_allowed(name));
    }
    let user = user_of(caller, ask, conversation.as_ref())?;
    if let Prompt::Transcript(all) = &ask.prompt
        && all.last().is_none_or(|(role, _)| *role != Role::User)
    {
        return Err(Refused::invalid("messages", "the last message must be the user's"));
    }
    can_do(asked, caller, ask, user.as_ref())?;
    let candidates = candidates(&catalog, asked, caller, ask, user.as_ref());
    let context_messages = ask.context_messages.unwrap_or_else(|| {
        candidates.iter().map(|assistant| assistant.context_messages).max().unwrap_or_default()
    });
    somebody_is_open(&candidates)?;
    if inner.registry.len() >= inner.settings.load().turns_max {
        let mut refused =
            Refused::new(ErrorCode::Overloaded, "the gateway runs as many turns as it can: try again");
        refused.error.retry_after = Some(1);
        return Err(refused);
    }
    let (message, earlier) = match std::mem::replace(&mut ask.prompt, Prompt::Transcript(Vec::new())) {
        Prompt::Message(message) => (message, Vec::new()),
        Prompt::Transcript(mut all) => (all.pop().map(|(_, last)| last).unwrap_or_default(), all),
    };
    Ok(Plan { candidates, asked: Arc::clone(asked), user, context_messages, message, earlier })
}

/// A conversation, if the caller's user (a browser's token has one) may see it. Whether the key may use its assistant is another
/// question.
pub(crate) fn of_user(caller: &Caller, conversation: Conversation) -> Result<Conversation, Refused> {
    match &caller.user {
        Some(user) if conversation.user.as_ref() != Some(user) => Err(StoreError::NoConversation.into()),
        _ => Ok(conversation),
    }
}

fn user_of(
    caller: &Caller,
    ask: &Ask,
    conversation: Option<&Conversation>,
) -> Result<Option<UserId>, Refused> {
    let named = match (&caller.user, &ask.user) {
        (Some(own), Some(other)) if own != other => {
            return Err(Refused::invalid("user", "this token speaks for another user"));
        }
        (Some(own), _) => Some(own),
        (None, named) => named.as_ref(),
    };
    let fixed = conversation.and_then(|conversation| conversation.user.as_ref());
    match (named, fixed) {
        (Some(named), Some(fixed)) if named != fixed => Err(StoreError::OtherUser.into()),
        (named, fixed) => Ok(named.or(fixed).cloned()),
    }
}

/// Refuses what the asked assistant cannot do, naming the field.
fn can_do(assistant: &Assistant, caller: &Caller, ask: &Ask, user: Option<&UserId>) -> Result<(), Refused> {
    let provider = &assistant.provider.provider;
    let capabilities = provider.capabilities();
    let cannot = |field: &str, what: &str| {
        Refused::new(ErrorCode::Unsupported, format!("the assistant `{}` takes no {what}", assistant.name))
            .about(field)
    };
    let (field, contents): (_, Vec<&Content>) = match &ask.prompt {
        Prompt::Message(message) => ("message", vec![message]),
        Prompt::Transcript(all) => ("messages", all.iter().map(|(_, content)| content).collect()),
    };
    let mut images = contents.iter().flat_map(|content| content.images()).peekable();
    if images.peek().is_some() && capabilities.images == Offer::Unsupported {
        return Err(cannot(field, "images"));
    }
    if images.any(is_data_url) && !provider.takes_data_urls() {
        return Err(cannot(field, "images as `data:` URLs: give a link"));
    }
    if let Some(field) = ask.extension.as_ref().and_then(|extension| extension.needs.as_deref())
        && !provider.passes_through()
    {
        return Err(cannot(field, &format!("`{field}`")));
    }
    if ask.search_filters.is_some() && capabilities.search_filters == Offer::Unsupported {
        return Err(cannot("search_filters", "search filters"));
    }
    if provider.acts_as_user() {
        if !caller.may.has(Permission::ActAsUser) {
            return Err(lacks(Permission::ActAsUser));
        }
        if user.is_none() {
            let sentence =
                format!("the assistant `{}` acts in the name of `user`: say who that is", assistant.name);
            return Err(Refused::new(ErrorCode::MissingField, sentence).about("user"));
        }
    }
    Ok(())
}

fn is_data_url(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

/// The asked assistant and those of its fallbacks that can do what is asked: something that is asked for is never dropped in
/// silence.
fn candidates(
    catalog: &Catalog,
    asked: &Arc<Assistant>,
    caller: &Caller,
    ask: &Ask,
    user: Option<&UserId>,
) -> Vec<Arc<Assistant>> {
    let fallbacks = asked.fallback.iter().filter_map(|name| catalog.assistant(name));
    let able = fallbacks.filter(|assistant| can_do(assistant, caller, ask, user).is_ok());
    std::iter::once(asked).chain(able).cloned().collect()
}

/// Refuses at once when every candidate's breaker is open.
fn somebody_is_open(candidates: &[Arc<Assistant>]) -> Result<(), Refused> {
    let mut soonest: Option<(Duration, &Arc<Assistant>)> = None;
    for assistant in candidates {
        match assistant.provider.provider.closed_for() {
            None => return Ok(()),
            Some(wait) if soonest.is_none_or(|(least, _)| wait < least) => soonest = Some((wait, assistant)),
            Some(_) => {}
        }
    }
    let Some((wait, assistant)) = soonest else { return Ok(()) };
    let error = chat::ProviderError::new(chat::Failure::BreakerOpen { retry_after: wait });
    Err(crate::describe::describe(&error, assistant).into())
}

/// Makes the turn durable, and gives it its place. The inner error is the turn that the same request made before.
async fn admit(
    inner: &Arc<Inner>,
    caller: &Caller,
    ask: &mut Ask,
    plan: &Plan,
    reservation: Reservation,
    id: TurnId,
) -> Result<Result<Admitted, (TurnId, bool)>, Refused> {
    let deadline = Instant::now() + plan.asked.provider.clocks.total;
    let now = Timestamp::now();
    let reply_id = MessageId::new();
    let mut unstored_key = None;
    let owner = if ask.store { membership::owner(inner).await? } else { inner.membership.owner() };
    let repeatable = ask.idempotency.is_some();
    let accepted = if ask.store {
        let new = new_turn(inner, caller, ask, plan, (id, reply_id, &owner), now);
        match inner.store.accept_turn(&caller.tenant, new).await {
            Ok(Acceptance::Accepted(accepted)) => Some(*accepted),
            Ok(Acceptance::Repeat { turn_id, stored }) => return Ok(Err((turn_id, stored))),
            Err(error) => {
                if matches!(error, StoreError::InDoubt(_)) {
                    doubt::refuse(inner, &caller.tenant, &owner, refused(plan, id, now), reservation);
                }
                return Err(error.into());
            }
        }
    } else {
        if let Some(idempotency) = ask.idempotency.take() {
            let key = idempotency.key.clone();
            match inner.store.note_unstored(&caller.tenant, id, idempotency).await {
                Ok(None) => unstored_key = Some(key),
                Ok(Some(first)) => return Ok(Err(first)),
                Err(error) => {
                    if matches!(error, StoreError::InDoubt(_)) {
                        doubt::free(inner, &caller.tenant, (id, key), Some(reservation));
                    }
                    return Err(error.into());
                }
            }
        }
        None
    };
    let waits = accepted.as_ref().is_some_and(|accepted| accepted.waits_for.is_some());
    let status = if waits { TurnStatus::Queued } else { TurnStatus::InProgress };
    let conversation_id = accepted.as_ref().map(|accepted| accepted.conversation.id);
    let asked = (plan.asked.name.clone(), plan.asked.provider.name.clone());
    let mut turn = Turn::accepted(id, status, now, conversation_id, asked);
    turn.metadata = ask.metadata.clone();
    let user =
        accepted.as_ref().map_or_else(|| plan.user.clone(), |accepted| accepted.conversation.user.clone());
    let whose = Whose { tenant: caller.tenant.clone(), user, assistant: plan.asked.name.clone() };
    let running = Running::new(Arc::new(turn), whose, reply_id, owner, ask.store);
    let running = Arc::new(if repeatable { running } else { running.read_once() });
    reservation.fill(Arc::clone(&running));
    if let Some(live) = inner.live.get() {
        let (live, running) = (Arc::clone(live), Arc::clone(&running));
        let started = running.snapshot();
        inner.tasks.spawn(publish::publish(Arc::clone(inner), live, running, started));
    }
    if inner.leaving() {
        running.stop(Stop::Drain);
    }
    Ok(Ok(Admitted { running, deadline, accepted, unstored_key }))
}

/// What becomes of a turn of which nobody knows whether the store has it: its caller was told that it was not accepted.
fn refused(plan: &Plan, id: TurnId, now: Timestamp) -> Turn {
    let asked = (plan.asked.name.clone(), plan.asked.provider.name.clone());
    let mut turn = Turn::accepted(id, TurnStatus::Failed, now, None, asked);
    turn.completed_at = Some(now);
    let error = TurnError::new(ErrorCode::StoreUnavailable, "the gateway's store did not answer in time");
    turn.error = Some(error);
    turn
}

fn new_turn(
    inner: &Inner,
    caller: &Caller,
    ask: &mut Ask,
    plan: &Plan,
    (id, reply_id, owner): (TurnId, MessageId, &str),
    now: Timestamp,
) -> NewTurn {
    let settings = inner.settings.load();
    let message = |role: Role, content: Content| NewMessage {
        id: MessageId::new(),
        role,
        author: role.as_str().to_owned(),
        content,
        sources: Vec::new(),
        status: MessageStatus::Completed,
        created_at: now,
        upstream_message_id: None,
    };
    let target = match ask.conversation_id {
        Some(id) => TurnTarget::Existing(id),
        None => TurnTarget::New(Box::new(NewConversation {
            id: if ask.own_conversation {
                chat::ConversationId::from_uuid(id.uuid())
            } else {
                chat::ConversationId::new()
            },
            assistant: plan.asked.name.clone(),
            provider: plan.asked.provider.name.clone(),
            user: plan.user.clone(),
            title: None,
            metadata: chat::Metadata::new(),
            created_at: now,
            messages: plan.earlier.iter().map(|(role, content)| message(*role, content.clone())).collect(),
            thread: None,
        })),
    };
    NewTurn {
        id,
        target,
        assistant: plan.asked.name.clone(),
        provider: plan.asked.provider.name.clone(),
        user: plan.user.clone(),
        key: caller.key,
        message: message(Role::User, plan.message.clone()),
        reply_id,
        metadata: ask.metadata.clone(),
        when_busy: ask.when_busy.unwrap_or(settings.when_busy),
        queue_max: QUEUE_MAX,
        idempotency: ask.idempotency.take(),
        thread: thread::seed(&plan.asked),
        context_messages: plan.context_messages,
        request: String::new(),
        owner: owner.to_owned(),
        created_at: now,
    }
}

/// How a turn's wait came out when it does not begin.
enum NotBegun {
    Cancelled,
    Drained,
    OutOfTime,
}

/// Lets a queued turn wait until it may begin. The error is the turn as it ended before that: its end is recorded then.
async fn wait(
    inner: &Arc<Inner>,
    ask: &Ask,
    plan: &Plan,
    mut admitted: Admitted,
    recorder: Recorder,
) -> Result<(Admitted, Recorder), Box<Turn>> {
    let Some(mut before) = admitted.accepted.as_ref().and_then(|accepted| accepted.waits_for) else {
        return Ok((admitted, recorder));
    };
    let running = Arc::clone(&admitted.running);
    let interrupts = ask.when_busy.unwrap_or(inner.settings.load().when_busy) == WhenBusy::Interrupt;
    let not_begun = loop {
        let ahead = match inner.registry.find(before).await {
            Some(ahead) => Some(ahead),
            None => follow::find(inner, &running.tenant, before).await.ok(),
        };
        if let Some(ahead) = ahead.as_ref().filter(|_| interrupts) {
            ahead.stop(Stop::Cancel);
        }
        tokio::select! {
            biased;
            () = running.stop.cancelled() => {
                break if running.stop_reason() == Stop::Drain { NotBegun::Drained } else { NotBegun::Cancelled };
            }
            () = tokio::time::sleep_until(admitted.deadline) => break NotBegun::OutOfTime,
            () = settled_or_a_while(ahead) => {}
        }
        let seed = thread::seed(&plan.asked);
        let owner = running.owner.as_deref().map(String::as_str).unwrap_or_default();
        match inner.store.begin_turn(&running.tenant, running.id, owner, seed, plan.context_messages).await {
            Ok(begun) => {
                let mut turn = running.snapshot().as_ref().clone();
                turn.status = TurnStatus::InProgress;
                running.set_snapshot(Arc::new(turn));
                admitted.accepted = Some(begun);
                return Ok((admitted, recorder));
            }
            Err(StoreError::Busy { running: other }) => before = other,
            Err(StoreError::NoTurn) => running.stop(Stop::Cancel),
            Err(StoreError::Fenced) => running.stop(Stop::Fenced),
            Err(cause) => {
                tracing::warn!(turn.id = %running.id, error = %cause, "a queued turn could not begin, trying again");
                tokio::time::sleep(QUEUE_LOOK).await;
            }
        }
    };
    Err(Box::new(end_unbegun(&running, recorder, not_begun).await))
}

async fn settled_or_a_while(ahead: Option<Arc<Running>>) {
    match ahead {
        Some(ahead) => ahead.settled.cancelled().await,
        None => tokio::time::sleep(QUEUE_LOOK).await,
    }
}

async fn end_unbegun(running: &Arc<Running>, recorder: Recorder, why: NotBegun) -> Turn {
    let mut turn = running.snapshot().as_ref().clone();
    (turn.status, turn.error) = match why {
        NotBegun::Cancelled => (TurnStatus::Cancelled, None),
        NotBegun::Drained => {
            let error =
                TurnError::new(ErrorCode::Draining, "the gateway was shut down while the turn waited");
            (TurnStatus::Failed, Some(error))
        }
        NotBegun::OutOfTime => {
            let error = TurnError::new(
                ErrorCode::TotalTimeout,
                "the turn waited longer than `total_timeout` for the one before it",
            );
            (TurnStatus::Failed, Some(error))
        }
    };
    turn.completed_at = Some(Timestamp::now());
    let free = turn.status == TurnStatus::Failed;
    recorder.end(running, turn.clone(), ThreadUpdate::Untouched, Vec::new(), free).await;
    turn
}

fn job(
    caller: Caller,
    ask: Ask,
    plan: Plan,
    admitted: Admitted,
    recorder: Recorder,
    reply_bytes_max: usize,
    watch: TurnWatch,
) -> Job {
    let own_context = ask.context_messages.unwrap_or(plan.asked.context_messages);
    let (history, thread, position): (Vec<_>, Option<StoredThread>, i64) = match admitted.accepted {
        Some(accepted) => {
            (accepted.history.into_iter().map(told).collect(), accepted.thread, accepted.position)
        }
        None => {
            let number = |(place, (role, content)): (usize, &(Role, Content))| {
                let author = role.as_str().to_owned();
                let position = i64::try_from(place).unwrap_or(i64::MAX).saturating_add(1);
                (position, HistoryMessage { role: *role, author, content: content.clone() })
            };
            let history: Vec<_> = plan.earlier.iter().enumerate().map(number).collect();
            let position = i64::try_from(history.len()).unwrap_or(i64::MAX).saturating_add(1);
            (history, None, position)
        }
    };
    Job {
        running: admitted.running,
        caller,
        thread: AskedThread::new(&plan.asked, own_context, thread, position),
        candidates: plan.candidates,
        question: Question {
            history: Arc::new(history),
            message: plan.message,
            user: plan.user,
            context_messages: ask.context_messages,
            search_filters: ask.search_filters,
            metadata: ask.metadata,
            stream: ask.stream,
            extension: ask.extension.map(|extension| extension.body),
            instructions: ask.instructions,
        },
        reply_bytes_max,
        deadline: admitted.deadline,
        recorder,
        lease: ask.lease,
        watch,
    }
}
