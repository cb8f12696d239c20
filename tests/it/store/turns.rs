//! Turns: accepted, kept on the way, ended once, read back as they were.

use std::sync::Arc;

use chat::{
    Attempt, AttemptOutcome, Checkpoint, Content, ConversationStore, Emulated, ErrorCode, EventLog, LogSlice,
    Maintenance, MessageStatus, Part, Progress, Role, StoreError, ThreadUpdate, Turn, TurnError, TurnStatus,
    TurnTarget, UpstreamIds, Usage, WhenBusy,
};

use super::bed::{Bed, assistant, at, end_of, new_conversation, row, says, source, turn, turn_in, user};

super::suite![
    a_turn_makes_its_conversation,
    an_ended_turn_is_read_back_whole,
    a_replaced_text_keeps_its_log,
    a_running_turn_shows_its_last_checkpoint,
    an_end_is_recorded_once,
    another_owner_is_fenced_off,
    a_failed_turn_stays_out_of_the_history,
    the_history_is_the_last_messages,
    a_user_is_fixed_by_the_first_turn,
    a_turn_moves_its_conversation,
    other_tenants_see_no_turn,
    what_was_left_running_is_found,
    odd_text_comes_back_to_the_byte,
];

async fn a_turn_makes_its_conversation(bed: &Bed) {
    let mut begun = new_conversation(5);
    begun.title = Some("A title".into());
    begun.messages = vec![says(Role::System, "Be brief", 1), says(Role::Assistant, "Yes", 2)];
    let id = begun.id;
    let accepted = bed.accept(turn(TurnTarget::New(Box::new(begun)), "Hello", 5)).await.unwrap();
    assert_eq!((accepted.position, accepted.waits_for, accepted.thread), (3, None, None));
    let history: Vec<_> = accepted.history.iter().map(|message| message.role).collect();
    assert_eq!(history, [Role::System, Role::Assistant]);
    let kept = bed.store.conversation(&bed.tenant, id).await.unwrap();
    assert_eq!(kept, accepted.conversation);
    assert_eq!((kept.message_count, kept.preview.as_deref()), (3, Some("Hello")));
    assert_eq!((kept.created_at, kept.updated_at), (at(5), at(5)));
    assert_eq!(bed.texts(id).await, ["Be brief", "Yes", "Hello"]);
}

async fn an_ended_turn_is_read_back_whole(bed: &Bed) {
    let id = bed.conversation(0).await;
    let mut new = turn_in(id, "Hello", 1);
    new.metadata.insert("a".into(), 1.into());
    let mut end = end_of(&new, id, "", 9);
    let mut log = EventLog::started(Arc::new(end.turn.clone()));
    log.progress(Progress::step("web_search"));
    log.delta("Here");
    log.set_sources(vec![source("1")]);
    log.cite(vec!["1".into()]);
    log.delta(" it is");
    let message = chat::TurnMessage { id: new.reply_id, content: log.content(), created_at: at(9) };
    end.turn = Turn {
        status: TurnStatus::Incomplete,
        assistant: assistant("docs"),
        model: Some("gpt".into()),
        finish_reason: Some(chat::FinishReason::Length),
        message: Some(message),
        sources: vec![source("1")],
        usage: Some(Usage { input_tokens: Some(1), ..Usage::default() }),
        emulated: vec![Emulated::History],
        attempts: vec![Attempt {
            assistant: assistant("support"),
            provider: new.provider.clone(),
            outcome: AttemptOutcome::Failed(ErrorCode::ProviderRateLimit),
            status: Some(429),
            duration_ms: 12,
            usage: None,
        }],
        upstream: UpstreamIds { message_id: Some("m1".into()), ..UpstreamIds::default() },
        error: Some(TurnError {
            retry_after: Some(7),
            ..TurnError::new(ErrorCode::IdleTimeout, "silent").at(&new.provider)
        }),
        ..end.turn
    };
    end.log = log.slice_ended();
    let (turn_id, ended) = (new.id, end.turn.clone());
    log.end(Arc::new(ended.clone()));
    bed.accept(new).await.unwrap();
    bed.store.end_turn(&bed.tenant, end).await.unwrap();

    let stored = bed.store.turn(&bed.tenant, turn_id).await.unwrap();
    assert_eq!(stored.turn, ended);
    assert_eq!(stored.asked.0, assistant("support"));
    let pieces = stored.log.iter().map(|slice| (slice.text.as_str(), slice.marks.as_str()));
    let restored = EventLog::restore(pieces, &Arc::new(ended.clone()), Some(&Arc::new(ended))).unwrap();
    assert_eq!(events(&restored), events(&log));
    let reply = bed.messages(id).await.pop().unwrap();
    assert_eq!((reply.role, reply.status, reply.position), (Role::Assistant, MessageStatus::Incomplete, 2));
    assert_eq!((reply.turn_id, reply.sources.len()), (Some(turn_id), 1));
    let kept = bed.store.conversation(&bed.tenant, id).await.unwrap();
    assert_eq!((kept.assistant, kept.updated_at, kept.message_count), (assistant("support"), at(9), 2));
}

fn events(log: &EventLog) -> Vec<(u64, chat::Event)> {
    let mut all = Vec::new();
    while let Some((seq, event)) = log.next_after(all.last().map_or(0, |(seq, _)| *seq)) {
        all.push((seq, event.to_owned()));
    }
    // The turn as it started is made from what is kept of it, so here it is as it ended.
    all.retain(|(_, event)| !matches!(event, chat::Event::Started(_)));
    all
}

async fn a_replaced_text_keeps_its_log(bed: &Bed) {
    let id = bed.conversation(0).await;
    let new = turn_in(id, "Hello", 1);
    let mut end = end_of(&new, id, "right", 2);
    let mut log = EventLog::started(Arc::new(end.turn.clone()));
    log.delta("wrong");
    log.replace("right");
    end.log = log.slice_ended();
    end.log_text_is_reply = false;
    let (turn_id, slice) = (new.id, end.log.clone());
    bed.accept(new).await.unwrap();
    bed.store.end_turn(&bed.tenant, end).await.unwrap();
    let stored = bed.store.turn(&bed.tenant, turn_id).await.unwrap();
    assert_eq!(stored.log, [slice]);
    assert_eq!(stored.turn.message.unwrap().content.text(), "right");
}

async fn a_running_turn_shows_its_last_checkpoint(bed: &Bed) {
    let id = bed.conversation(0).await;
    let mut new = turn_in(id, "Hello", 1);
    new.user = Some(user("eve"));
    let (turn_id, reply_id, key) = (new.id, new.reply_id, new.key);
    bed.accept(new).await.unwrap();
    let before = bed.store.turn(&bed.tenant, turn_id).await.unwrap();
    assert_eq!((before.turn.status, before.turn.message.is_none()), (TurnStatus::InProgress, true));

    let mut log = EventLog::started(Arc::new(before.turn.clone()));
    log.delta("One");
    let first = checkpoint(&log, 0, 64);
    let seen = log.last_seq();
    log.delta(" two");
    log.set_sources(vec![source("1")]);
    let mut second = checkpoint(&log, seen, 128);
    second.upstream = r#"{"request_id":"r","model":"gpt","usage":{"input_tokens":3}}"#.into();
    second.in_flight = vec![row(turn_id, 1, &bed.tenant, key)];
    second.ledger = vec![row(turn_id, 0, &bed.tenant, key)];
    // Whoever is not told that a checkpoint was kept sends its events again, and more behind them.
    let mut longer = second.clone();
    longer.reserved_seq = 129;
    for kept in [first.clone(), first, second.clone(), longer] {
        bed.store.checkpoint(&bed.tenant, turn_id, "one", kept).await.unwrap();
    }
    let nothing_new = Checkpoint { reserved_seq: 200, ..second };
    let nothing_new =
        Checkpoint { slice: LogSlice { text: String::new(), marks: "[]".into() }, ..nothing_new };
    bed.store.checkpoint(&bed.tenant, turn_id, "one", nothing_new).await.unwrap();

    let stored = bed.store.turn(&bed.tenant, turn_id).await.unwrap();
    let message = stored.turn.message.unwrap();
    assert_eq!((message.id, message.content.text().as_ref()), (reply_id, "One two"));
    assert_eq!((stored.turn.sources.len(), stored.reserved_seq, stored.log.len()), (1, 200, 2));
    assert_eq!(
        (stored.turn.model.as_deref(), stored.turn.upstream.request_id.as_deref()),
        (Some("gpt"), Some("r"))
    );
    assert_eq!((stored.user, stored.owner.as_str(), stored.position), (Some(user("eve")), "one", 1));
    assert_eq!(bed.texts(id).await, ["Hello"], "the reply is a message once it has ended");
    assert_eq!(bed.store.usage(&bed.tenant, chat::UsageRange::default()).await.unwrap()[0].turns, 1);

    let unsettled = bed.store.unsettled(&bed.tenant, turn_id).await.unwrap().unwrap();
    assert_eq!(unsettled.stored.reply_id, reply_id);
    assert_eq!(unsettled.in_flight, [row(turn_id, 1, &bed.tenant, key)]);
}

fn checkpoint(log: &EventLog, after: u64, reserved_seq: u64) -> Checkpoint {
    let slice = log.slice_after(after);
    let last_seq = log.last_seq();
    Checkpoint { slice, after_seq: after, reserved_seq, last_seq, ..Checkpoint::default() }
}

async fn an_end_is_recorded_once(bed: &Bed) {
    let id = bed.conversation(0).await;
    let new = turn_in(id, "Hello", 1);
    let mut end = end_of(&new, id, "Hi", 2);
    end.ledger = vec![row(new.id, 0, &bed.tenant, new.key)];
    let again = end_of(&new, id, "Something else", 3);
    bed.accept(new).await.unwrap();
    bed.store.end_turn(&bed.tenant, end.clone()).await.unwrap();
    bed.store.end_turn(&bed.tenant, end).await.unwrap();
    bed.store.end_turn(&bed.tenant, again).await.unwrap();
    assert_eq!(bed.texts(id).await, ["Hello", "Hi"]);
    let kept = bed.store.conversation(&bed.tenant, id).await.unwrap();
    assert_eq!((kept.message_count, kept.updated_at), (2, at(2)));
}

async fn another_owner_is_fenced_off(bed: &Bed) {
    let id = bed.conversation(0).await;
    let new = turn_in(id, "Hello", 1);
    let end = end_of(&new, id, "Hi", 2);
    let turn_id = new.id;
    bed.accept(new).await.unwrap();
    let other = chat::TurnEnd { owner: "two".into(), ..end.clone() };
    assert!(matches!(bed.store.end_turn(&bed.tenant, other).await, Err(StoreError::Fenced)));
    let kept = bed.store.checkpoint(&bed.tenant, turn_id, "two", Checkpoint::default()).await;
    assert!(matches!(kept, Err(StoreError::Fenced)));
    bed.store.end_turn(&bed.tenant, end).await.unwrap();
    let late = bed.store.checkpoint(&bed.tenant, turn_id, "one", Checkpoint::default()).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "whoever ended it took it over");
}

async fn a_failed_turn_stays_out_of_the_history(bed: &Bed) {
    let id = bed.conversation(0).await;
    bed.exchange(id, "first", "answer", 1).await;
    let failed = bed.exchange(id, "failing", "", 3).await;
    let accepted = bed.accept(turn_in(id, "third", 5)).await.unwrap();
    let given: Vec<_> = accepted.history.iter().map(|message| message.content.text().into_owned()).collect();
    assert_eq!(given, ["first", "answer"]);
    let shown = bed.messages(id).await;
    assert_eq!((shown[2].status, shown[2].turn_id), (MessageStatus::Failed, Some(failed)));
    assert_eq!(bed.store.turn(&bed.tenant, failed).await.unwrap().turn.status, TurnStatus::Failed);
}

async fn the_history_is_the_last_messages(bed: &Bed) {
    let id = bed.conversation(0).await;
    for number in 0..5 {
        bed.exchange(id, &format!("q{number}"), &format!("a{number}"), number * 2 + 1).await;
    }
    let mut new = turn_in(id, "more", 20);
    new.context_messages = 3;
    let accepted = bed.accept(new).await.unwrap();
    let given: Vec<_> = accepted.history.iter().map(|message| message.content.text().into_owned()).collect();
    assert_eq!(given, ["a3", "q4", "a4"]);
    assert_eq!(accepted.position, 11);
}

async fn a_user_is_fixed_by_the_first_turn(bed: &Bed) {
    let id = bed.conversation(0).await;
    bed.exchange(id, "nobody", "hi", 1).await;
    let mut named = turn_in(id, "eve", 3);
    named.user = Some(user("eve"));
    let end = end_of(&named, id, "hi", 4);
    assert_eq!(bed.accept(named).await.unwrap().conversation.user, Some(user("eve")));
    bed.store.end_turn(&bed.tenant, end).await.unwrap();
    let mut other = turn_in(id, "adam", 5);
    other.user = Some(user("adam"));
    assert!(matches!(bed.accept(other).await, Err(StoreError::OtherUser)));
    assert_eq!(bed.accept(turn_in(id, "unnamed", 6)).await.unwrap().conversation.user, Some(user("eve")));
}

async fn a_turn_moves_its_conversation(bed: &Bed) {
    let id = bed.conversation(0).await;
    let mut new = turn_in(id, "to docs", 1);
    (new.assistant, new.provider) = (assistant("docs"), "leash".parse().unwrap());
    bed.accept(new).await.unwrap();
    let kept = bed.store.conversation(&bed.tenant, id).await.unwrap();
    assert_eq!((kept.assistant.as_str(), kept.provider.as_str()), ("docs", "leash"));
}

async fn other_tenants_see_no_turn(bed: &Bed) {
    let id = bed.conversation(0).await;
    let new = turn_in(id, "mine", 1);
    let (turn_id, end) = (new.id, end_of(&new, id, "hi", 2));
    let foreign = bed.store.accept_turn(&bed.other, turn_in(id, "theirs", 1)).await;
    assert!(matches!(foreign, Err(StoreError::NoConversation)));
    bed.accept(new).await.unwrap();
    let other = &bed.other;
    assert!(matches!(bed.store.turn(other, turn_id).await, Err(StoreError::NoTurn)));
    assert!(matches!(bed.store.begin_turn(other, turn_id, "one", None, 1).await, Err(StoreError::NoTurn)));
    let kept = bed.store.checkpoint(other, turn_id, "one", Checkpoint::default()).await;
    assert!(matches!(kept, Err(StoreError::NoTurn)));
    assert!(matches!(bed.store.end_turn(other, end).await, Err(StoreError::NoTurn)));
    assert!(matches!(bed.store.running_turns(other, id).await, Err(StoreError::NoConversation)));
    assert_eq!(bed.store.turn(&bed.tenant, turn_id).await.unwrap().turn.status, TurnStatus::InProgress);
}

async fn what_was_left_running_is_found(bed: &Bed) {
    let id = bed.conversation(0).await;
    let mine = turn_in(id, "mine", 1);
    let mut waits = turn_in(id, "waits", 2);
    waits.when_busy = WhenBusy::Queue;
    let mut theirs = turn(TurnTarget::New(Box::new(new_conversation(3))), "theirs", 3);
    theirs.owner = "two".into();
    let (one, end) = (mine.id, end_of(&mine, id, "done", 4));
    let (two, three) = (waits.id, theirs.id);
    for new in [mine, waits] {
        bed.accept(new).await.unwrap();
    }
    bed.store.accept_turn(&bed.other, theirs).await.unwrap();
    let found = async |owner: Option<&str>| bed.store.open_turns(owner).await.unwrap();
    let (us, they) = (bed.tenant.clone(), bed.other.clone());
    assert_eq!(found(None).await, [(us.clone(), one), (us.clone(), two), (they.clone(), three)]);
    assert_eq!(found(Some("two")).await, [(they.clone(), three)]);
    assert_eq!(found(Some("three")).await, []);
    bed.store.end_turn(&bed.tenant, end).await.unwrap();
    assert_eq!(found(Some("one")).await, [(us, two)]);
    assert!(bed.store.unsettled(&bed.tenant, one).await.unwrap().is_none());
    assert!(bed.store.unsettled(&bed.tenant, three).await.unwrap().is_none(), "another tenant's");
    assert!(bed.store.unsettled(&they, three).await.unwrap().is_some());
}

async fn odd_text_comes_back_to_the_byte(bed: &Bed) {
    let id = bed.conversation(0).await;
    let odd = "nul \0 here, \u{10FFFE}0, 'quoted' \"twice\" %_\\ \u{1F600} e\u{301} \r\n";
    let mut new = turn_in(id, odd, 1);
    new.message.content = Content {
        parts: vec![
            Part::Text { text: odd.into() },
            Part::Image { url: "https://example.com/a.png".into() },
            Part::Text { text: "after".into() },
        ],
    };
    let (turn_id, said, end) = (new.id, new.message.content.clone(), end_of(&new, id, odd, 2));
    bed.accept(new).await.unwrap();
    let kept = Checkpoint {
        slice: LogSlice { text: odd.into(), marks: format!("[{}]", odd.len()) },
        ..Checkpoint::default()
    };
    bed.store.checkpoint(&bed.tenant, turn_id, "one", kept).await.unwrap();
    let running = bed.store.turn(&bed.tenant, turn_id).await.unwrap();
    assert_eq!(running.turn.message.unwrap().content.text(), odd);
    bed.store.end_turn(&bed.tenant, end.clone()).await.unwrap();
    let messages = bed.messages(id).await;
    assert_eq!((&messages[0].content, messages[1].content.text().as_ref()), (&said, odd));
    assert_eq!(bed.store.turn(&bed.tenant, turn_id).await.unwrap().log, [end.log]);
    let preview = bed.store.conversation(&bed.tenant, id).await.unwrap().preview;
    assert_eq!(preview.as_deref(), Some(odd));
    assert_eq!(end.thread, ThreadUpdate::Untouched);
}
