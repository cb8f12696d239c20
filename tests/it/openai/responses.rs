//! `/v1/responses`: whole, streamed, in the background, continued, read again from anywhere.

use chat::{FinishReason, Role};
use http::Method;
use serde_json::{Value, json};

use super::{Stage, broken, end, error, say};
use crate::gateway::{Answer, Gateway, KEY, request, whole};
use crate::kit::{self, Act, Gate};

/// The events: number, type, data.
fn events(answer: &Answer) -> Vec<(u64, String, Value)> {
    let frames = answer.text.split_terminator("\n\n").filter(|frame| !frame.starts_with(':'));
    let read = |frame: &str| {
        let (kind, data) = frame.split_once('\n').unwrap();
        let kind = kind.strip_prefix("event: ").unwrap().to_owned();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["type"], kind.as_str());
        (data["sequence_number"].as_u64().unwrap(), kind, data)
    };
    frames.map(read).collect()
}

async fn delete(gateway: &Gateway, path: &str) -> Answer {
    gateway.send(request(Method::DELETE, path, KEY, "")).await
}

#[tokio::test]
async fn a_response_in_one_piece() {
    let stage = Stage::open().await;
    stage.docs.plays(vec![say("Hello"), end(Some(FinishReason::Stop))]);
    let body = json!({"model": "docs", "input": "hi", "instructions": "be short", "temperature": 0.1, "truncation": "auto", "metadata": {"k": "v"}});
    let answer = stage.respond(body).await;
    assert_eq!(answer.header("x-ignored-parameters"), Some("temperature, truncation"));
    let json = answer.json();
    assert_eq!(json["id"], answer.header("x-turn-id").unwrap().replace("turn_", "resp_"));
    for (name, value) in [
        ("object", json!("response")),
        ("status", json!("completed")),
        ("model", json!("docs")),
        ("error", Value::Null),
        ("incomplete_details", Value::Null),
        ("instructions", json!("be short")),
        ("metadata", json!({"k": "v"})),
        ("store", json!(true)),
        ("tools", json!([])),
        ("usage", Value::Null),
    ] {
        assert_eq!(json[name], value, "{name}");
    }
    let content = json!([{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]);
    let id = json["output"][0]["id"].clone();
    let output = json!([{"type": "message", "id": id, "status": "completed", "role": "assistant", "content": content}]);
    assert_eq!(json["output"], output);
    let asked = stage.docs.last();
    assert_eq!((asked.history[0].role, asked.history[0].content.text().as_ref()), (Role::System, "be short"));
    let again =
        stage.gateway.get(&format!("/openai/v1/responses/{}", json["id"].as_str().unwrap())).await.json();
    assert_eq!((&again["output"], &again["created_at"]), (&json["output"], &json["created_at"]));
}

#[tokio::test]
async fn a_response_in_events() {
    let stage = Stage::open().await;
    stage.docs.plays(kit::text(&["Hel", "lo"]));
    let answer = stage.respond(json!({"model": "docs", "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}], "stream": true})).await;
    let all = events(&answer);
    let kinds: Vec<_> = all.iter().map(|(number, kind, _)| format!("{number} {kind}")).collect();
    let expected = [
        "0 response.created",
        "1 response.in_progress",
        "2 response.output_item.added",
        "3 response.content_part.added",
        "4 response.output_text.delta",
        "5 response.output_text.delta",
        "6 response.output_text.done",
        "7 response.content_part.done",
        "8 response.output_item.done",
        "9 response.completed",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(all[0].2["response"]["status"], "in_progress");
    assert_eq!(all[5].2["delta"], "lo");
    assert_eq!(all[6].2["text"], "Hello");
    assert_eq!(all[9].2["response"]["output"][0], all[8].2["item"]);
    let ids = [&all[2].2["item"]["id"], &all[4].2["item_id"], &all[8].2["item"]["id"]];
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");

    // Read again from anywhere it is the same, by number.
    let id = all[0].2["response"]["id"].as_str().unwrap().to_owned();
    for after in 0..=9 {
        let path = format!("/v1/responses/{id}?stream=true&starting_after={after}");
        let rest = events(&stage.gateway.get(&path).await);
        let expected: Vec<_> = all.iter().filter(|(number, ..)| *number > after).cloned().collect();
        assert_eq!(rest, expected, "after {after}");
    }
    assert_eq!(
        error(&stage.gateway.get(&format!("/v1/responses/{id}?stream=true&starting_after=x")).await).0,
        400
    );
}

#[tokio::test]
async fn in_the_background_a_response_is_watched_while_it_runs() {
    let stage = Stage::open().await;
    let gate = Gate::new();
    stage.docs.plays(vec![say("Hel"), Act::Wait(gate.clone()), say("lo"), end(None)]);
    let answer = stage.respond(json!({"model": "docs", "input": "hi", "background": true})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("in_progress")));
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let live = stage
        .gateway
        .open(request(Method::GET, &format!("/v1/responses/{id}?stream=true&starting_after=1"), KEY, ""))
        .await;
    gate.open();
    let live = events(&whole(live).await);
    assert_eq!(live[0].0, 2);
    assert_eq!(live.last().unwrap().1, "response.completed");
    let again = events(&stage.gateway.get(&format!("/v1/responses/{id}?stream=true&starting_after=1")).await);
    assert_eq!(again, live);
    assert_eq!(
        stage.gateway.get(&format!("/v1/responses/{id}")).await.json()["output"][0]["content"][0]["text"],
        "Hello"
    );
}

#[tokio::test]
async fn a_background_response_is_stopped() {
    let stage = Stage::open().await;
    stage.docs.plays(vec![say("Hel"), Act::Hang]);
    let body = json!({"model": "docs", "input": "hi", "background": true, "stream": true});
    let response = stage.gateway.open(request(Method::POST, "/v1/responses", KEY, body.to_string())).await;
    assert_eq!(response.status(), 200, "at once: before there is text");
    let answer = response.headers()["x-turn-id"].to_str().unwrap().replace("turn_", "resp_");
    let cancelled = stage.gateway.post(&format!("/v1/responses/{answer}/cancel"), json!({})).await.json();
    assert_eq!(cancelled["status"], "cancelled");
    let again = stage.gateway.post(&format!("/v1/responses/{answer}/cancel"), json!({})).await.json();
    assert_eq!(again["status"], "cancelled");
}

#[tokio::test]
async fn what_breaks_has_failed() {
    let stage = Stage::open().await;
    stage.docs.plays(broken(&["Hel"]));
    let all = events(&stage.respond(json!({"model": "docs", "input": "hi", "stream": true})).await);
    let last: Vec<_> = all.iter().rev().take(2).collect();
    assert_eq!((last[1].1.as_str(), &last[1].2["response"]["status"]), ("response.failed", &json!("failed")));
    assert_eq!((last[0].1.as_str(), &last[0].2["error"]["code"]), ("error", &json!("provider_error")));
    assert_eq!(last[0].2["code"], "provider_error");
    let id = all[0].2["response"]["id"].as_str().unwrap();
    let kept = stage.gateway.get(&format!("/v1/responses/{id}")).await.json();
    assert_eq!((&kept["status"], &kept["error"]["code"]), (&json!("failed"), &json!("provider_error")));
    assert_eq!(kept["output"][0]["content"][0]["text"], "Hel");
    assert_eq!(kept["output"][0]["status"], "incomplete");
    let again = events(&stage.gateway.get(&format!("/v1/responses/{id}?stream=true")).await);
    assert_eq!(again, all);
    let last = all.last().unwrap().0;
    let after = |number| format!("/v1/responses/{id}?stream=true&starting_after={number}");
    assert!(stage.gateway.get(&after(last)).await.text.is_empty());
    let beyond = stage.gateway.get(&after(last + 1)).await;
    assert_eq!((beyond.status.as_u16(), &beyond.json()["error"]["param"]), (400, &json!("starting_after")));
    stage.docs.plays(broken(&["Hel"]));
    assert_eq!(error(&stage.respond(json!({"model": "docs", "input": "hi"})).await).0, 502);

    stage.docs.plays(vec![say("Hel"), end(Some(FinishReason::Length))]);
    let short = stage.respond(json!({"model": "docs", "input": "hi"})).await;
    assert_eq!((short.status.as_u16(), &short.json()["status"]), (200, &json!("incomplete")));
    assert_eq!(short.json()["incomplete_details"], json!({"reason": "max_output_tokens"}));

    // What was sent is not taken back, also when it is read again.
    stage.support.plays(broken(&["Hello"]));
    stage.docs.plays(kit::text(&["Bye"]));
    let all = events(&stage.respond(json!({"model": "support", "input": "hi", "stream": true})).await);
    let last: Vec<_> = all.iter().rev().take(2).collect();
    assert_eq!((last[1].1.as_str(), last[0].1.as_str()), ("response.failed", "error"));
    assert_eq!(last[1].2["response"]["status"], "failed");
    assert_eq!(last[1].2["response"]["error"]["code"], "provider_error");
    let id = all[0].2["response"]["id"].as_str().unwrap();
    assert_eq!(events(&stage.gateway.get(&format!("/v1/responses/{id}?stream=true")).await), all);
    assert_eq!(
        stage.gateway.get(&format!("/v1/responses/{id}")).await.json()["output"][0]["content"][0]["text"],
        "Bye"
    );
}

#[tokio::test]
async fn a_response_goes_on_after_another() {
    let stage = Stage::open().await;
    let first = stage.respond(json!({"model": "docs", "input": "one"})).await.json();
    let after = |input: &str| json!({"previous_response_id": first["id"], "input": input});
    let second = stage.respond(after("two")).await.json();
    assert_eq!(stage.docs.last_history(), ["one", "ok"]);
    assert_eq!(second["conversation"], first["conversation"], "it was the last one");
    assert_eq!(second["previous_response_id"], first["id"]);
    assert_eq!(second["model"], "docs");
    let branch = stage.respond(after("three")).await.json();
    assert_eq!(stage.docs.last_history(), ["one", "ok"], "the second is not in this branch");
    assert_ne!(branch["conversation"], first["conversation"]);
    let third = stage
        .respond(json!({"conversation": first["conversation"], "input": "four", "model": "support"}))
        .await
        .json();
    assert_eq!(stage.support.last_history(), ["one", "ok", "two", "ok"]);
    assert_eq!(third["conversation"], first["conversation"]);
    let items = stage
        .gateway
        .get(&format!("/v1/responses/{}/input_items", second["id"].as_str().unwrap()))
        .await
        .json();
    assert_eq!((&items["object"], items["data"].as_array().unwrap().len()), (&json!("list"), 1));
    assert_eq!(items["data"][0]["content"], json!([{"type": "input_text", "text": "two"}]));

    let nowhere = json!({"previous_response_id": format!("resp_{}", "0".repeat(32)), "input": "x"});
    assert_eq!(error(&stage.respond(nowhere).await).2, "turn_not_found");
    let both =
        json!({"previous_response_id": first["id"], "conversation": first["conversation"], "input": "x"});
    assert_eq!(error(&stage.respond(both).await).3, "previous_response_id");
}

#[tokio::test]
async fn a_repeated_request_goes_on_once() {
    let stage = Stage::open().await;
    let first = stage.respond(json!({"model": "docs", "input": "one"})).await.json();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let body = json!({"previous_response_id": first["id"], "input": "two"});
        let mut call = request(Method::POST, "/v1/responses", KEY, body.to_string());
        call.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        ids.push(stage.gateway.send(call).await.json()["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(stage.gateway.get("/v1/conversations").await.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_response_is_erased_with_its_conversation() {
    let stage = Stage::open().await;
    let first = stage.respond(json!({"model": "docs", "input": "one"})).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let second = stage.respond(json!({"previous_response_id": first, "input": "two"})).await;
    assert_eq!(second.status, 200);
    assert_eq!(error(&delete(&stage.gateway, &format!("/v1/responses/{first}")).await).0, 422);
    let alone = stage.respond(json!({"model": "docs", "input": "one"})).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let erased = delete(&stage.gateway, &format!("/v1/responses/{alone}")).await.json();
    assert_eq!(erased, json!({"id": alone, "object": "response", "deleted": true}));
    assert_eq!(error(&stage.gateway.get(&format!("/v1/responses/{alone}")).await).0, 404);
}

#[tokio::test]
async fn a_response_takes_no_conversation_along_that_is_not_its_own() {
    let stage = Stage::open().await;
    let gateway = &stage.gateway;
    let kept = async |response: &str, conversation: &str| {
        let refused = delete(gateway, &format!("/v1/responses/{response}")).await;
        assert_eq!(refused.status, 422);
        assert_eq!(refused.json()["error"]["code"], "unsupported");
        assert_eq!(gateway.get(&format!("/v1/conversations/{conversation}")).await.status, 200);
    };
    let ids = |answer: &Value| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&answer["id"]), text(&answer["conversation"]["id"]))
    };
    let say = async |body: Value| ids(&stage.respond(body).await.json());

    // Made before it.
    let made = gateway.post("/openai/v1/conversations", json!({})).await.json()["id"].clone();
    let (response, conversation) = say(json!({"model": "docs", "input": "one", "conversation": made})).await;
    assert_eq!(made, conversation.as_str());
    kept(&response, &conversation).await;
    // Made by a turn that is no response.
    let chat = gateway.post("/v1/chat", json!({"assistant": "docs", "message": "one"})).await.json();
    let turn = chat["id"].as_str().unwrap().split_once('_').unwrap().1;
    kept(&format!("resp_{turn}"), chat["conversation_id"].as_str().unwrap()).await;
    // Gone on with by other means.
    let (response, conversation) = say(json!({"model": "docs", "input": "one"})).await;
    let items = json!({"items": [{"type": "message", "role": "user", "content": "put in"}]});
    let put = gateway.post(&format!("/openai/v1/conversations/{conversation}/items"), items).await;
    assert_eq!(put.status, 200);
    kept(&response, &conversation).await;
    let (response, conversation) = say(json!({"model": "docs", "input": "one"})).await;
    let change = json!({"metadata": {"mine": "yes"}});
    let changed = gateway.post(&format!("/openai/v1/conversations/{conversation}"), change).await;
    assert_eq!(changed.status, 200);
    kept(&response, &conversation).await;
    // What its own input brought along is its own.
    let input = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}]);
    let (response, conversation) = say(json!({"model": "docs", "input": input})).await;
    assert_eq!(delete(gateway, &format!("/v1/responses/{response}")).await.status, 200);
    assert_eq!(gateway.get(&format!("/v1/conversations/{conversation}")).await.status, 404);
}

#[tokio::test]
async fn what_is_not_to_be_stored_is_not() {
    let stage = Stage::open().await;
    let answer = stage.respond(json!({"model": "docs", "input": "one", "store": false})).await.json();
    assert_eq!((&answer["store"], &answer["conversation"]), (&json!(false), &Value::Null));
    assert_eq!(
        error(&stage.gateway.get(&format!("/v1/responses/{}", answer["id"].as_str().unwrap())).await).0,
        404
    );
    let background = json!({"model": "docs", "input": "one", "store": false, "background": true});
    assert_eq!(error(&stage.respond(background).await).3, "store");
}

#[tokio::test]
async fn wrong_requests_name_the_field() {
    let stage = Stage::open().await;
    for (body, status, param) in [
        (json!({"input": "a"}), 400, "model"),
        (json!({"model": "docs"}), 400, "input"),
        (json!({"model": "docs", "input": []}), 400, "input"),
        (json!({"model": "docs", "input": ""}), 400, "input[0].content"),
        (json!({"model": "docs", "input": [{"role": "assistant", "content": "a"}]}), 400, "input"),
        (
            json!({"model": "docs", "input": [{"type": "function_call_output", "call_id": "1", "output": "x"}]}),
            422,
            "input[0]",
        ),
        (json!({"model": "docs", "input": "a", "tools": [{"type": "web_search"}]}), 422, "tools"),
        (
            json!({"model": "docs", "input": "a", "text": {"format": {"type": "json_object"}}}),
            422,
            "text.format",
        ),
        (json!({"model": "nobody", "input": "a"}), 404, "model"),
    ] {
        let answer = stage.respond(body.clone()).await;
        assert_eq!((error(&answer).0, error(&answer).3), (status, json!(param)), "{body}");
    }
}

#[tokio::test]
async fn another_tenant_sees_nothing() {
    let stage = Stage::open().await;
    let first = stage.respond(json!({"model": "docs", "input": "one"})).await.json();
    let (id, conversation) = (first["id"].as_str().unwrap(), first["conversation"]["id"].as_str().unwrap());
    stage.gateway.server.set_keys(vec![crate::gateway::key("the-key-of-a-stranger", |key| {
        key.tenant = "strangers".parse().unwrap()
    })]);
    let ask = async |method: Method, path: String, body: String| {
        stage.gateway.send(request(method, &path, "the-key-of-a-stranger", body)).await
    };
    for (method, path) in [
        (Method::GET, format!("/v1/responses/{id}")),
        (Method::GET, format!("/v1/responses/{id}?stream=true")),
        (Method::GET, format!("/v1/responses/{id}/input_items")),
        (Method::POST, format!("/v1/responses/{id}/cancel")),
        (Method::DELETE, format!("/v1/responses/{id}")),
        (Method::GET, format!("/openai/v1/conversations/{conversation}")),
        (Method::GET, format!("/openai/v1/conversations/{conversation}/items")),
        (Method::DELETE, format!("/openai/v1/conversations/{conversation}")),
    ] {
        assert_eq!(error(&ask(method.clone(), path.clone(), String::new()).await).0, 404, "{method} {path}");
    }
    for body in [
        json!({"previous_response_id": id, "input": "x"}),
        json!({"conversation": conversation, "input": "x"}),
    ] {
        assert_eq!(
            error(&ask(Method::POST, "/v1/responses".into(), body.to_string()).await).0,
            404,
            "{body}"
        );
    }
}
