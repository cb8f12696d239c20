//! The documented requests get the documented answers.

use serde_json::{Value, json};

use super::{BOT, CHAT, Stage, assistant};

/// The names of an object's members, in order.
fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn gptunnel_answers_as_documented_and_bills_by_its_prices() {
    let stage = Stage::open(1).await;
    let answer = stage.ask("gptunnel", "ai08158128", false).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let body = answer.json();
    let members = ["id", "chatId", "assistantId", "assistantCode", "message", "model", "usage"];
    assert_eq!(names(&body), members);
    assert_eq!(body["chatId"], CHAT);
    assert_eq!(body["assistantCode"], "ai08158128");
    assert_eq!(body["id"].as_str().unwrap().len(), 24);
    let usage = &body["usage"];
    let number = |name: &str| usage[name].as_f64().unwrap();
    assert_eq!(number("prompt_tokens"), 2.0, "«Hello» is five characters");
    let letters = body["message"].as_str().unwrap().chars().count();
    assert_eq!(number("completion_tokens"), letters.div_ceil(4) as f64);
    assert!((number("prompt_cost") - number("prompt_tokens") * 1.35 / 1000.0).abs() < 1e-9);
    assert!((number("completion_cost") - number("completion_tokens") * 2.7 / 1000.0).abs() < 1e-9);
    assert!((number("total_cost") - number("prompt_cost") - number("completion_cost")).abs() < 1e-9);
    let calls = stage.journal.settled("ai08158128", 1).await;
    let billed = calls[0].usage.unwrap();
    assert_eq!(billed.total_cost, number("total_cost"));
    assert_eq!(calls[0].authorization, simulator::Scheme::Bare);
    assert!(!format!("{calls:?}").contains("sim-key"));
}

#[tokio::test]
async fn gptunnel_streams_in_the_form_that_the_id_chooses() {
    let stage = Stage::open(1).await;
    let stream = stage.ask("gptunnel", "ai08158128", true).await;
    assert_eq!(stream.header("content-type"), "text/event-stream");
    assert!(stream.text.ends_with("data: [DONE]\n\n"));
    let events = stream.events();
    let said: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert!(events.last().unwrap()["usage"]["total_cost"].is_number());
    assert_eq!(said, stage.ask("gptunnel", "ai08158128", false).await.json()["message"]);
    let json = stage.ask("gptunnel", "shape-json", true).await;
    assert!(json.json()["message"].is_string());
    let lines = stage.ask("gptunnel", "shape-ndjson", true).await;
    assert!(lines.text.lines().count() > 10);
    assert!(lines.text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    let raw = stage.ask("gptunnel", "shape-raw-text", true).await;
    assert!(raw.text.contains("You said: «Hello»."));
    let old = stage.ask("gptunnel", "shape-2024", false).await.json();
    assert!(old["spendTokenCount"].is_u64() && old.get("usage").is_none());
}

#[tokio::test]
async fn mygptassistants_answers_streams_and_announces_its_limit() {
    let stage = Stage::open(1).await;
    let answer = stage.ask("mygptassistants", "bot_support", false).await;
    let body = answer.json();
    assert_eq!(names(&body), ["success", "data"]);
    assert_eq!(names(&body["data"]), ["response", "conversationId", "messageId"]);
    assert_eq!(answer.header("x-ratelimit-limit"), "100");
    let reset: u64 = answer.header("x-ratelimit-reset").parse().unwrap();
    assert!((1_500_000_000..10_000_000_000).contains(&reset), "seconds since 1970");
    let stream = stage.ask("mygptassistants", "bot_support", true).await;
    let events = stream.events();
    let (last, chunks) = events.split_last().unwrap();
    let said: String = chunks.iter().map(|chunk| chunk["message"].as_str().unwrap()).collect();
    assert_eq!(last["bot"]["text"], said);
    assert!(last["conversationId"].as_str().unwrap().starts_with("conv_"));
    assert!(stream.text.contains("event: chunk\n") && stream.text.contains("event: result\n"));
    let stream = stage.ask("mygptassistants", "shape-no-id", true).await;
    assert!(!stream.text.contains("conversationId"));
    let raw = stage.ask("mygptassistants", "shape-raw-data", true).await;
    assert!(raw.text.starts_with("data: ") && !raw.text.contains('{'));
    let null = stage.ask("mygptassistants", "shape-error-null", false).await.json();
    assert_eq!(null.get("error"), Some(&Value::Null));
}

#[tokio::test]
async fn unleash_cites_its_sources_and_ends_a_stream_with_the_whole() {
    let stage = Stage::open(1).await;
    let body = json!({
        "messages": [{"text": "Be brief", "role": "System"}, {"text": "Hello", "role": "User"}],
        "assistantId": null,
        "enterpriseSearch": {"filters": {"appId": ["jira"], "isStarred": null, "own": 7}},
        "stream": false,
    });
    let answer = stage.post("/unleash/chats", &body).await;
    let whole = answer.json();
    assert_eq!(whole["type"], "Full");
    assert_eq!(answer.header("requestid"), whole["requestId"]);
    assert_eq!(whole["resources"][0]["appId"], "jira");
    assert_eq!(whole["references"][0]["resourceId"], whole["resources"][0]["id"]);
    assert_eq!(whole["message"]["parts"][1], json!({"type": "InlineReference", "indices": [0]}));
    assert!(whole.to_string().contains("My instructions say «Be brief»."));
    let stream = stage.ask("unleash", assistant("unleash"), true).await;
    assert!(stream.text.lines().all(|line| line.is_empty() || line.starts_with("data: {")));
    let events = stream.events();
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..5], ["Request", "Progress", "Resources", "References", "Message"]);
    assert_eq!(kinds[kinds.len() - 2..], ["Message", "Full"]);
    let text = |parts: &Value| -> String {
        parts.as_array().unwrap().iter().filter_map(|part| part["text"].as_str()).collect()
    };
    let said: String = events
        .iter()
        .filter(|event| event["type"] == "Message")
        .map(|event| text(&event["message"]["parts"]))
        .collect();
    assert_eq!(said, text(&events.last().unwrap()["message"]["parts"]));
    assert_eq!(stream.text.matches("InlineReference").count(), 4, "two in pieces, two in the whole");
    let last = stage.ask("unleash", "shape-references-last", true).await.events();
    assert_eq!(last[last.len() - 2]["type"], "References");
    let flat = stage.ask("unleash", "shape-flat-message+shape-lower-case", true).await.events();
    assert_eq!(flat[4]["parts"][0]["type"], "text");
}

#[tokio::test]
async fn gigachat_answers_201_in_the_form_that_the_id_chooses() {
    let stage = Stage::open(1).await;
    let answer = stage.ask("gigachat", BOT, false).await;
    assert_eq!(answer.status, 201);
    assert!(answer.json()["message"].as_str().unwrap().contains("You said: «Hello»."));
    let documents = stage.ask("gigachat", "shape-documents", false).await.json();
    let members = [
        "id",
        "chatbot_id",
        "user_id",
        "name",
        "content",
        "metadata",
        "embedding",
        "created_at",
        "updated_at",
    ];
    assert_eq!(names(&documents[0]), members);
    let rows = stage.ask("gigachat", "shape-array", false).await.json();
    let roles: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["role"].as_str()).collect();
    assert_eq!(roles, [Some("assistant"), None, Some("user")]);
    assert!(rows[0]["created_at"].as_str() > rows[2]["created_at"].as_str());
    assert!(stage.ask("gigachat", "shape-json-string", false).await.json().is_string());
    let stream = stage.ask("gigachat", "shape-openai-chunks", false).await;
    assert_eq!(stream.header("content-type"), "text/event-stream");
    let raw = stage.ask("gigachat", "shape-raw-text", false).await;
    assert!(raw.text.contains("You said"));
    assert_eq!(stage.get("/gigachat/chatbots").await.status, 200);
}

#[tokio::test]
async fn openai_streams_counts_calls_tools_and_echoes() {
    let stage = Stage::open(1).await;
    let url = "/openai/v1/chat/completions";
    let mut body = json!({
        "model": "sim-model", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0.5, "x_own": [1],
    });
    let answer = stage.post(url, &body).await.json();
    assert_eq!(answer["x_echo"], json!({"temperature": 0.5, "x_own": [1]}));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let events = stage.post(url, &body).await;
    assert!(events.text.ends_with("data: [DONE]\n\n"));
    let events = events.events();
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events[0]["x_echo"], answer["x_echo"]);
    assert_eq!(events.last().unwrap()["usage"], answer["usage"]);
    let said: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, answer["choices"][0]["message"]["content"]);
    body["tools"] = json!([{"type": "function", "function": {"name": "look_up"}}]);
    body["messages"][0]["content"] = "Use the tool".into();
    let events = stage.post(url, &body).await.events();
    let calls: Vec<_> =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["tool_calls"].get(0)).collect();
    assert_eq!(calls[0]["function"]["name"], "look_up");
    let arguments: String =
        calls.iter().map(|call| call["function"]["arguments"].as_str().unwrap()).collect();
    assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap(), json!({"query": "Use the tool"}));
    body["messages"] = json!([
        {"role": "user", "content": "Use the tool"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1"}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ]);
    body["stream"] = false.into();
    body.as_object_mut().unwrap().remove("stream_options");
    let answer = stage.post(url, &body).await.json();
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().starts_with("The tool said «42»."));
    let models = stage.get("/openai/v1/models").await.json();
    assert_eq!(models["data"][0]["id"], "sim-model");
}
