//! Conversations beyond turns: messages put in, forks, what is said upstream, erasing.

use chat::{
    Delivery, ErrorCode, MessageStatus, Permissions, Piece, Role, TurnStatus, UpstreamConversation,
    UpstreamMessage,
};
use engine::{Ask, NewConversationAsk, PutMessage};

use crate::kit::{Act, Kit, Options, Scripted, ask, caller, read_until};

fn put(role: Role, text: &str) -> PutMessage {
    PutMessage { role, author: None, text: text.to_owned() }
}

fn adopt(upstream: &str) -> NewConversationAsk {
    NewConversationAsk {
        assistant: "a".parse().unwrap(),
        user: None,
        title: None,
        metadata: chat::Metadata::new(),
        upstream_conversation_id: Some(upstream.to_owned()),
    }
}

fn said(role: Role, text: &str) -> UpstreamMessage {
    UpstreamMessage {
        id: Some(format!("up-{text}")),
        role,
        author: None,
        text: text.to_owned(),
        created_at: None,
    }
}

async fn threaded() -> Kit {
    Kit::with(Options::default(), [Scripted::threads(), Scripted::replay(), Scripted::replay()]).await
}

#[tokio::test]
async fn a_message_put_in_is_told_with_the_next_turn() {
    let kit = Kit::new().await;
    let me = caller("t");
    let conversation = kit.say("1", None).await.conversation_id.unwrap();
    let (message, delivery) =
        kit.engine.put_message(&me, conversation, put(Role::System, "Be brief"), None).await.unwrap();
    assert_eq!(
        (message.role, message.author.as_str(), delivery),
        (Role::System, "system", Delivery::NextTurn)
    );
    kit.say("2", Some(conversation)).await;
    assert_eq!(kit.a().last_history(), ["1", "ok", "Be brief"]);
    let mut plain = me.clone();
    plain.may = Permissions::default();
    for role in [Role::Operator, Role::System] {
        let refused = kit.engine.put_message(&plain, conversation, put(role, "x"), None).await.unwrap_err();
        assert_eq!(refused.error.code, ErrorCode::NotPermitted);
    }
    assert!(kit.engine.put_message(&plain, conversation, put(Role::User, "x"), None).await.is_ok());
}

#[tokio::test]
async fn a_message_put_in_during_a_turn_stands_after_it() {
    let kit = threaded().await;
    let me = caller("t");
    let gate = crate::kit::Gate::new();
    kit.a().plays([vec![Act::Wait(gate.clone())], crate::kit::text(&["reply"])].concat());
    let mut reader = kit.engine.chat(&me, ask("a", "1")).await.unwrap();
    read_until(&mut reader, |events| !events.is_empty()).await;
    let conversation = kit.engine.turn(&me, reader.turn_id()).await.unwrap().conversation_id.unwrap();
    let (_, delivery) =
        kit.engine.put_message(&me, conversation, put(Role::Operator, "hold on"), None).await.unwrap();
    assert_eq!(delivery, Delivery::NextTurn, "not upstream, where it would stand before the reply");
    gate.open();
    reader.end().await;
    let page = chat::PageRequest { limit: 10, cursor: None };
    let messages = kit.engine.messages(&me, conversation, false, page).await.unwrap().items;
    let texts: Vec<_> = messages.iter().map(|one| one.content.text().into_owned()).collect();
    assert_eq!(texts, ["1", "reply", "hold on"]);
    kit.say("2", Some(conversation)).await;
    assert_eq!(kit.a().last_history(), ["hold on"]);
}

#[tokio::test]
async fn an_operators_message_goes_upstream_where_that_is_offered() {
    let kit = threaded().await;
    let me = caller("t");
    let conversation = kit.say("1", None).await.conversation_id.unwrap();
    let message = PutMessage { author: Some("ann".into()), ..put(Role::Operator, "I take over") };
    let (_, delivery) = kit.engine.put_message(&me, conversation, message, None).await.unwrap();
    assert_eq!(delivery, Delivery::Upstream);
    let injected = kit.a().injected.lock().unwrap().clone();
    assert_eq!((injected[0].author.as_str(), injected[0].text.as_str()), ("ann", "I take over"));
    assert_eq!(injected[0].thread.id, kit.a().last().thread.unwrap().id);
    kit.say("2", Some(conversation)).await;
    assert!(kit.a().last_history().is_empty(), "the thread has it already");
}

#[tokio::test]
async fn a_fork_has_the_history_and_no_thread() {
    let kit = threaded().await;
    let me = caller("t");
    let conversation = kit.say("1", None).await.conversation_id.unwrap();
    kit.say("2", Some(conversation)).await;
    let page = chat::PageRequest { limit: 10, cursor: None };
    let messages = kit.engine.messages(&me, conversation, false, page).await.unwrap().items;
    let fork = kit.engine.fork(&me, conversation, Some(messages[1].id), None).await.unwrap();
    assert_eq!(fork.message_count, 2);
    kit.say("other", Some(fork.id)).await;
    assert_eq!(kit.a().last_history(), ["1", "ok"]);
    assert!(kit.a().last().thread.unwrap().fresh);
    let refused = kit.engine.fork(&me, conversation, Some(chat::MessageId::new()), None).await.unwrap_err();
    assert_eq!(
        (refused.error.code, refused.error.param.as_deref()),
        (ErrorCode::InvalidValue, Some("message_id"))
    );
}

#[tokio::test]
async fn a_conversation_is_adopted_with_its_history_and_kept_in_step() {
    let kit = threaded().await;
    let me = caller("t");
    *kit.a().history.lock().unwrap() = vec![said(Role::User, "before"), said(Role::Assistant, "answered")];
    let adopted = kit.engine.create_conversation(&me, adopt("theirs"), None).await.unwrap();
    assert_eq!((adopted.message_count, adopted.upstream_conversation_id.as_deref()), (2, Some("theirs")));
    let refused = kit.engine.create_conversation(&caller("other"), adopt("theirs"), None).await.unwrap_err();
    assert_eq!(
        refused.error.code,
        ErrorCode::ConversationNotFound,
        "one that any conversation holds already"
    );
    let refused = kit.engine.create_conversation(&me, adopt("gone"), None).await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::ConversationNotFound);
    kit.say("now", Some(adopted.id)).await;
    let last = kit.a().last();
    assert_eq!((last.thread.unwrap().id.as_str(), last.history.len()), ("theirs", 0));
    // Upstream knows what the gateway sent, and something that was said elsewhere.
    let elsewhere = [said(Role::User, "now"), said(Role::Assistant, "ok"), said(Role::User, "elsewhere")];
    kit.a().history.lock().unwrap().extend(elsewhere);
    assert_eq!(kit.engine.sync(&me, adopted.id).await.unwrap(), 1);
    assert_eq!(kit.engine.sync(&me, adopted.id).await.unwrap(), 0);
    kit.say("next", Some(adopted.id)).await;
    assert!(kit.a().last_history().is_empty(), "the provider knows what it has said itself");
    let refused = kit.engine.create_conversation(
        &me,
        NewConversationAsk { assistant: "b".parse().unwrap(), ..adopt("x") },
        None,
    );
    assert_eq!(refused.await.unwrap_err().error.code, ErrorCode::Unsupported);
}

#[tokio::test]
async fn the_providers_list_hides_what_others_hold() {
    let kit = threaded().await;
    let listed = |id: &str| UpstreamConversation {
        id: id.to_owned(),
        preview: None,
        message_count: Some(1),
        created_at: None,
        updated_at: None,
    };
    *kit.a().listed.lock().unwrap() = vec![listed("mine"), listed("free"), listed("others")];
    let mine = kit.engine.create_conversation(&caller("t"), adopt("mine"), None).await.unwrap();
    kit.engine.create_conversation(&caller("other"), adopt("others"), None).await.unwrap();
    let page = chat::PageRequest { limit: 10, cursor: None };
    let page =
        kit.engine.upstream_conversations(&caller("t"), &"a".parse().unwrap(), None, page).await.unwrap();
    let seen: Vec<_> =
        page.items.iter().map(|one| (one.upstream_conversation_id.as_str(), one.conversation_id)).collect();
    assert_eq!(seen, [("mine", Some(mine.id)), ("free", None)]);
}

#[tokio::test]
async fn what_a_turn_made_upstream_is_nobody_elses() {
    let listing = Scripted::own_threads();
    let options = Options { fallback: vec!["b"], ..Options::default() };
    let kit = Kit::with(options, [Scripted::replay(), listing, Scripted::replay()]).await;
    let (me, other) = (caller("t"), caller("other"));
    let names = |id: &str| [vec![Act::Give(Piece::Thread(id.into()))], crate::kit::text(&["ok"])].concat();
    // Made by a fallback, by a turn that is not kept, and by one whose conversation is erased.
    kit.a().plays(vec![Act::Refuse(chat::Failure::Failed.into())]);
    kit.b().plays(names("of-fallback"));
    kit.turn(ask("a", "1")).await;
    kit.b().plays(names("unstored"));
    kit.turn(Ask { store: false, ..ask("b", "2") }).await;
    kit.b().plays(names("erased"));
    let erased = kit.turn(ask("b", "3")).await.conversation_id.unwrap();
    kit.engine.finish(std::time::Duration::from_secs(60)).await;
    kit.engine.delete_conversation(&me, erased).await.unwrap();
    let all = ["of-fallback", "unstored", "erased", "nobodys"];
    let one = |id: &str| UpstreamConversation {
        id: id.to_owned(),
        preview: Some("secret".into()),
        message_count: None,
        created_at: None,
        updated_at: None,
    };
    *kit.b().listed.lock().unwrap() = all.iter().map(|id| one(id)).collect();
    let page = || chat::PageRequest { limit: 10, cursor: None };
    let seen = async |caller| {
        let page =
            kit.engine.upstream_conversations(&caller, &"b".parse().unwrap(), None, page()).await.unwrap();
        page.items.into_iter().map(|one| one.upstream_conversation_id).collect::<Vec<_>>()
    };
    // The notes are written beside the turns.
    while seen(other.clone()).await.len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(seen(other.clone()).await, ["nobodys"]);
    assert_eq!(seen(me.clone()).await, all);
    let adopted = NewConversationAsk { assistant: "b".parse().unwrap(), ..adopt("erased") };
    let refused = kit.engine.create_conversation(&other, adopted, None).await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::ConversationNotFound);
}

#[tokio::test]
async fn erasing_cancels_what_runs() {
    let kit = Kit::new().await;
    let me = caller("t");
    kit.a().plays(vec![Act::Give(Piece::Text("x".into())), Act::Hang]);
    let mut reader =
        kit.engine.chat(&me, Ask { user: Some("u".parse().unwrap()), ..ask("a", "1") }).await.unwrap();
    read_until(&mut reader, |events| events.len() >= 2).await;
    let id = kit.engine.turn(&me, reader.turn_id()).await.unwrap().conversation_id.unwrap();
    assert_eq!(kit.engine.delete_conversations_of(&me, &"u".parse().unwrap()).await.unwrap(), 1);
    assert_eq!(reader.end().await.status, TurnStatus::Cancelled);
    assert_eq!(
        kit.engine.conversation(&me, id).await.unwrap_err().error.code,
        ErrorCode::ConversationNotFound
    );
    assert_eq!(kit.engine.turn(&me, reader.turn_id()).await.unwrap_err().error.code, ErrorCode::TurnNotFound);
    let sums = kit.engine.usage(&me, chat::UsageRange::default()).await.unwrap();
    assert_eq!(sums[0].turns, 1, "the ledger keeps its sums");
}

#[tokio::test]
async fn nothing_of_another_tenant_is_there() {
    let kit = Kit::new().await;
    let (me, other) = (caller("t"), caller("other"));
    let turn = kit.say("secret", None).await;
    let id = turn.conversation_id.unwrap();
    let page = || chat::PageRequest { limit: 10, cursor: None };
    let gone = ErrorCode::ConversationNotFound;
    assert_eq!(kit.engine.conversation(&other, id).await.unwrap_err().error.code, gone);
    assert_eq!(kit.engine.messages(&other, id, false, page()).await.unwrap_err().error.code, gone);
    assert_eq!(kit.engine.delete_conversation(&other, id).await.unwrap_err().error.code, gone);
    assert_eq!(kit.engine.fork(&other, id, None, None).await.unwrap_err().error.code, gone);
    assert_eq!(kit.engine.sync(&other, id).await.unwrap_err().error.code, gone);
    let asked = Ask { conversation_id: Some(id), ..ask("a", "hi") };
    assert_eq!(kit.engine.chat(&other, asked).await.unwrap_err().error.code, gone);
    assert_eq!(kit.engine.turn(&other, turn.id).await.unwrap_err().error.code, ErrorCode::TurnNotFound);
    assert_eq!(kit.engine.cancel(&other, turn.id).await.unwrap_err().error.code, ErrorCode::TurnNotFound);
    assert!(kit.engine.events(&other, turn.id, 0).await.is_err());
    let seen = kit.engine.conversations(&other, chat::ConversationFilter::default(), page()).await.unwrap();
    assert!(seen.items.is_empty());
    // A browser's token sees its own user's alone.
    let mut browser = me.clone();
    browser.user = Some("u".parse().unwrap());
    assert_eq!(kit.engine.conversation(&browser, id).await.unwrap_err().error.code, gone);
    assert_eq!(kit.engine.turn(&browser, turn.id).await.unwrap_err().error.code, ErrorCode::TurnNotFound);
    // A key that may not use the assistant does not see its conversations, and is told so when it asks there.
    let mut bound = me.clone();
    bound.assistants = chat::AllowedAssistants::These(["b".parse().unwrap()].into());
    assert_eq!(kit.engine.conversation(&bound, id).await.unwrap_err().error.code, gone);
    let asked = Ask { conversation_id: Some(id), assistant: None, ..ask("a", "hi") };
    assert_eq!(kit.engine.chat(&bound, asked).await.unwrap_err().error.code, ErrorCode::AssistantNotAllowed);
    let messages = kit.engine.messages(&me, id, false, page()).await.unwrap().items;
    assert!(messages.iter().all(|message| message.status == MessageStatus::Completed));
}
