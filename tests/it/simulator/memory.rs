//! What is remembered, and that the same seed gives the same answers.

use serde_json::{Value, json};

use super::{BOT, CHAT, Stage, assistant, providers};

#[tokio::test]
async fn gptunnel_remembers_only_as_much_as_it_is_told_to() {
    let stage = Stage::open(1).await;
    let say = async |message: &str, context: Option<u64>| {
        let mut body = json!({"chatId": CHAT, "assistantCode": "ai08158128", "message": message});
        if let Some(context) = context {
            body["maxContext"] = context.into();
        }
        stage.post("/gptunnel/v1/assistant/chat", &body).await.json()
    };
    say("My name is Ada.", Some(10)).await;
    let forgotten = say("What is my name?", None).await;
    assert_eq!(forgotten["usage"]["context_messages"], 0);
    assert!(!forgotten["message"].as_str().unwrap().contains("Ada"));
    let known = say("What is my name?", Some(10)).await;
    assert_eq!(known["usage"]["context_messages"], 4);
    let text = known["message"].as_str().unwrap();
    assert!(text.contains("I remember 4 earlier messages; the first was «My name is Ada.»."), "{text}");
    assert!(text.contains("Your name is Ada."));
    let partly = say("What did I say first?", Some(3)).await;
    assert_eq!(partly["usage"]["context_messages"], 3);
    assert!(!partly["message"].as_str().unwrap().contains("«My name is Ada.»"));
}

#[tokio::test]
async fn mygptassistants_keeps_histories_and_pages_them() {
    let stage = Stage::open(1).await;
    let base = "/mygptassistants/api/v1/chat/bot_sales";
    let mut ids = Vec::new();
    for number in 0..5 {
        let body = json!({"message": format!("Question {number}"), "metadata": {"a": 1}});
        let answer = stage.post(&format!("{base}/message"), &body).await.json();
        ids.push(answer["data"]["conversationId"].as_str().unwrap().to_owned());
    }
    let body = json!({"message": "What did I say first?", "conversationId": ids[0]});
    let answer = stage.post(&format!("{base}/message"), &body).await.json();
    assert_eq!(answer["data"]["conversationId"], ids[0].as_str());
    assert!(
        answer["data"]["response"].as_str().unwrap().contains("The first thing you said was «Question 0».")
    );
    let history = stage.get(&format!("{base}/conversations/{}", ids[0])).await.json();
    let messages = history["data"]["messages"].as_array().unwrap();
    assert_eq!(history["data"]["metadata"]["messageCount"], 4);
    assert_eq!((&messages[0]["role"], &messages[0]["content"]), (&json!("user"), &json!("Question 0")));
    assert_eq!(
        (&messages[3]["id"], &messages[3]["content"]),
        (&answer["data"]["messageId"], &answer["data"]["response"])
    );
    let page = stage.get(&format!("{base}/conversations?page=2&limit=2")).await.json();
    assert_eq!(page["data"]["pagination"], json!({"page": 2, "limit": 2, "total": 5, "hasMore": true}));
    let last = stage.get(&format!("{base}/conversations?page=3&limit=2")).await.json();
    assert_eq!(last["data"]["pagination"]["hasMore"], false);
    assert_eq!(last["data"]["conversations"].as_array().unwrap().len(), 1);
    let all = stage.get(&format!("{base}/conversations?since=2024-01-15T10:00:00Z")).await.json();
    let listed: Vec<_> =
        all["data"]["conversations"].as_array().unwrap().iter().map(|row| row["id"].as_str()).collect();
    assert!(ids.iter().all(|id| listed.contains(&Some(id))));
    let none = stage.get(&format!("{base}/conversations?since=2999-01-01")).await.json();
    assert_eq!(none["data"]["pagination"]["total"], 0);
    for path in ["page=0", "limit=0", "limit=101", "since=yesterday"] {
        assert_eq!(stage.get(&format!("{base}/conversations?{path}")).await.status, 400, "{path}");
    }
    let other = format!("/mygptassistants/api/v1/chat/bot_support/conversations/{}", ids[0]);
    let other = stage.get(&other).await;
    assert_eq!((other.status, other.json()["success"].clone()), (404, json!(false)));
    let lost =
        stage.post(&format!("{base}/message"), &json!({"message": "Hi", "conversationId": "conv_x"})).await;
    assert_eq!(lost.status, 404);
}

#[tokio::test]
async fn unleash_takes_a_replay_or_a_thread() {
    let stage = Stage::open(1).await;
    let text = |answer: &Value| answer["message"]["parts"].to_string();
    let first = json!({"messages": [{"text": "My name is Ada.", "role": "User"}]});
    let first = stage.post("/unleash/chats", &first).await.json();
    let thread = &first["threadId"];
    let next = json!({"messages": [{"text": "What is my name?", "role": "User"}], "threadId": thread});
    let next = stage.post("/unleash/chats", &next).await.json();
    assert!(text(&next).contains("I remember 2 earlier messages"), "{next}");
    assert!(text(&next).contains("Your name is Ada."));
    assert_eq!(&next["threadId"], thread);
    let replay = json!({"messages": [
        {"text": "My name is Bob.", "role": "User"},
        {"text": "Hello!", "role": "Assistant"},
        {"text": "What is my name?", "role": "User"},
    ]});
    let replay = stage.post("/unleash/chats", &replay).await.json();
    assert!(
        text(&replay).contains("I remember 2 earlier messages")
            && text(&replay).contains("Your name is Bob.")
    );
    let lost = json!({"messages": [{"text": "Hi", "role": "User"}], "threadId": "lost"});
    assert_eq!(stage.post("/unleash/chats", &lost).await.status, 404);
}

#[tokio::test]
async fn gigachat_puts_a_clients_message_in_without_a_reply() {
    let stage = Stage::open(1).await;
    let say = async |user: &str, prompt: &str| {
        let body = json!({"conversation_id": "c", "user_id": user, "prompt": prompt});
        stage.post(&format!("/gigachat/chatbots/{BOT}/conversations"), &body).await
    };
    say("user:1", "My name is Ada.").await;
    let put_in = say("client:support", "A person speaking.").await;
    assert_eq!((put_in.status, put_in.text.as_str()), (201, ""));
    let answer = say("user:1", "Do you remember?").await.json();
    assert!(answer["message"].as_str().unwrap().contains("I remember 3 earlier messages"));
}

#[tokio::test]
async fn the_same_seed_gives_the_same_answers() {
    let (one, two, other) = (Stage::open(7).await, Stage::open(7).await, Stage::open(8).await);
    for provider in providers() {
        let id = assistant(provider);
        let mut answers = Vec::new();
        for stage in [&one, &two, &other] {
            let mut body = stage.ask(provider, id, false).await.json();
            // The clock is nobody's seed.
            let fields = body.as_object_mut().unwrap();
            fields.remove("created");
            fields.remove("created_at");
            answers.push(body);
        }
        assert_eq!(answers[0], answers[1], "{provider}");
        assert_ne!(answers[0], answers[2], "{provider}");
    }
}
