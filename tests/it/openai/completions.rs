//! `/v1/chat/completions` over assistants: whole and streamed, and what becomes of a stream that breaks.

use chat::{FinishReason, Part, Piece, Role, Source, Usage};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{Stage, asked, broken, chunks, data, end, error, say, text};
use crate::gateway::{KEY, request};
use crate::kit::{self, Act, Gate};

fn usage() -> Act {
    let usage = Usage { input_tokens: Some(3), output_tokens: Some(2), total_tokens: Some(5), cost: None };
    Act::Give(Piece::Usage(usage))
}

#[tokio::test]
async fn a_completion_in_one_piece() {
    let stage = Stage::open().await;
    stage.support.plays(vec![
        Act::Give(Piece::Model("gpt-4o".into())),
        say("Hello"),
        usage(),
        end(Some(FinishReason::Stop)),
    ]);
    let answer = stage.complete(asked("support", false)).await;
    let mut json = answer.json();
    let turn = answer.header("x-turn-id").unwrap().replace("turn_", "chatcmpl-");
    assert_eq!(json["id"], turn);
    assert!(json["created"].as_i64().unwrap() > 1_600_000_000);
    json["id"] = Value::Null;
    json["created"] = Value::Null;
    let expected = json!({
        "id": null,
        "object": "chat.completion",
        "created": null,
        "model": "support",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    });
    assert_eq!(json, expected);
    assert_eq!(answer.header("x-upstream-model"), Some("gpt-4o"));
    assert_eq!(answer.header("x-ignored-parameters"), None);
    assert_eq!(stage.gateway.get("/v1/conversations").await.json()["data"], json!([]), "nothing is kept");
}

#[tokio::test]
async fn a_completion_in_chunks() {
    let stage = Stage::open().await;
    let source = Source { id: "1".into(), ..Source::default() };
    stage.support.plays(vec![
        say("Hel"),
        Act::Give(Piece::Sources(vec![source])),
        say("lo"),
        usage(),
        end(None),
    ]);
    let mut body = asked("support", true);
    body["stream_options"] = json!({"include_usage": true});
    let answer = stage.complete(body).await;
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    assert_eq!(data(&answer).last().unwrap(), "[DONE]");
    let mut all = chunks(&answer);
    let id = answer.header("x-turn-id").unwrap().replace("turn_", "chatcmpl-");
    for chunk in &mut all {
        assert_eq!(chunk["id"].as_str(), Some(id.as_str()));
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["model"], "support");
        let rest = chunk.as_object_mut().unwrap();
        rest.retain(|name, _| !["id", "object", "model", "created"].contains(&name.as_str()));
    }
    let choice = |delta: Value, reason: Value| json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason});
    let source = json!({"id": "1", "title": null, "url": null, "snippet": null, "kind": null, "app": null});
    let expected = json!([
        {"choices": [choice(json!({"role": "assistant", "content": ""}), Value::Null)], "usage": null},
        {"choices": [choice(json!({"content": "Hel"}), Value::Null)], "usage": null},
        {"choices": [choice(json!({"content": "lo"}), Value::Null)], "usage": null},
        {"choices": [choice(json!({}), json!("stop"))], "usage": null, "sources": [source]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
    ]);
    assert_eq!(Value::Array(all), expected);
}

#[tokio::test]
async fn usage_comes_only_where_it_is_asked_for() {
    let stage = Stage::open().await;
    stage.support.plays(vec![say("a"), usage(), end(None)]);
    let all = chunks(&stage.complete(asked("support", true)).await);
    assert!(all.iter().all(|chunk| chunk.get("usage").is_none()), "{all:?}");
}

#[tokio::test]
async fn the_status_waits_for_the_first_text() {
    let stage = Stage::open().await;
    let gate = Gate::new();
    stage.support.plays(vec![Act::Wait(gate.clone()), say("a"), end(None)]);
    let call = request(Method::POST, "/v1/chat/completions", KEY, asked("support", true).to_string());
    let mut opening = std::pin::pin!(stage.gateway.open(call));
    assert!(futures_util::poll!(&mut opening).is_pending());
    while stage.support.calls() == 0 {
        tokio::task::yield_now().await;
        assert!(futures_util::poll!(&mut opening).is_pending(), "no status before the first text");
    }
    gate.open();
    let response = opening.await;
    assert_eq!(response.status(), StatusCode::OK);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert!(bytes.ends_with(b"data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_turn_that_fails_before_its_first_text_has_its_status() {
    let stage = Stage::open().await;
    let busy = || {
        chat::ProviderError::new(chat::Failure::Busy { retry_after: Some(std::time::Duration::from_secs(7)) })
    };
    for stream in [false, true] {
        stage.docs.plays(vec![Act::Refuse(busy())]);
        let answer = stage.complete(asked("docs", stream)).await;
        assert_eq!(error(&answer), (429, "rate_limited".into(), "provider_rate_limit".into(), Value::Null));
        assert_eq!(answer.header("retry-after"), Some("7"));
        stage.docs.plays(vec![Act::Refuse(chat::ProviderError::new(chat::Failure::Credentials))]);
        let answer = stage.complete(asked("docs", stream)).await;
        assert_eq!(error(&answer).0, 502);
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
}

#[tokio::test]
async fn a_turn_that_somebody_stopped_is_not_to_be_asked_for_again() {
    let stage = Stage::open().await;
    for stream in [false, true] {
        stage.docs.plays(vec![Act::Hang]);
        let mut body = asked("docs", stream);
        body["store"] = json!(true);
        let call = request(Method::POST, "/v1/chat/completions", KEY, body.to_string());
        let stopping = async {
            let conversations = loop {
                let list = stage.gateway.get("/v1/conversations").await.json();
                match list["data"][0]["id"].as_str() {
                    Some(id) => break format!("/v1/conversations/{id}"),
                    None => tokio::task::yield_now().await,
                }
            };
            let messages = stage.gateway.get(&format!("{conversations}/messages")).await.json();
            let turn = messages["data"][0]["turn_id"].as_str().unwrap();
            let stopped = stage.gateway.post(&format!("/v1/chat/{turn}/cancel"), json!({})).await;
            assert_eq!(stopped.json()["status"], "cancelled");
            stage.gateway.send(request(Method::DELETE, &conversations, KEY, "")).await;
        };
        let (answer, ()) = tokio::join!(stage.gateway.send(call), stopping);
        assert_eq!((error(&answer).0, error(&answer).2.as_str()), (409, "conversation_busy"));
        assert_eq!((answer.header("x-should-retry"), answer.header("retry-after")), (Some("false"), None));
    }
}

#[tokio::test]
async fn what_a_reply_cost_is_no_bare_number() {
    let stage = Stage::open().await;
    let cost = json!({"amount": "0.5", "currency": "RUB"});
    let usage = || {
        let cost = serde_json::from_value(cost.clone()).unwrap();
        Act::Give(Piece::Usage(Usage { input_tokens: Some(3), cost: Some(cost), ..Usage::default() }))
    };
    stage.docs.plays(vec![say("a"), usage(), end(None)]);
    let told = stage.complete(asked("docs", false)).await.json()["usage"].clone();
    assert_eq!((&told["billed"], &told["cost"]), (&cost, &Value::Null));
    stage.docs.plays(vec![say("a"), usage(), end(None)]);
    let told = stage.respond(json!({"model": "docs", "input": "hi"})).await.json()["usage"].clone();
    assert_eq!((&told["billed"], &told["cost"]), (&cost, &Value::Null));
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error() {
    let stage = Stage::open().await;
    stage.docs.plays(broken(&["Hel"]));
    let answer = stage.complete(asked("docs", true)).await;
    assert_eq!(answer.status, 200);
    let all = chunks(&answer);
    assert_eq!(text(&all), "Hel");
    let last = all.last().unwrap();
    assert_eq!(last["error"]["code"], "provider_error");
    assert_eq!(last["error"].as_object().unwrap().len(), 4);
    assert!(!answer.text.contains("[DONE]"));
    stage.docs.plays(broken(&["Hel"]));
    assert_eq!(
        error(&stage.complete(asked("docs", false)).await).0,
        502,
        "a whole answer that broke is no answer"
    );
}

#[tokio::test]
async fn a_recovery_that_continues_is_sent_on() {
    let stage = Stage::open().await;
    stage.support.plays(broken(&["Hel", "lo"]));
    stage.docs.plays(kit::text(&["He", "llo wor", "ld"]));
    let answer = stage.complete(asked("support", true)).await;
    assert_eq!(text(&chunks(&answer)), "Hello world");
    assert_eq!(data(&answer).last().unwrap(), "[DONE]");
    let last = chunks(&answer).pop().unwrap();
    assert_eq!(last["model"], "docs", "the assistant that answered");
}

#[tokio::test]
async fn a_recovery_that_differs_or_ends_short_is_a_break() {
    for other in [&["Help!"][..], &["Hel"][..]] {
        let stage = Stage::open().await;
        stage.support.plays(broken(&["Hello"]));
        stage.docs.plays(kit::text(other));
        let answer = stage.complete(asked("support", true)).await;
        let all = chunks(&answer);
        assert_eq!(text(&all), "Hello", "nothing is taken back, nothing is spliced");
        assert_eq!(all.last().unwrap()["error"]["code"], "provider_error", "{other:?}");
        assert!(!answer.text.contains("[DONE]"));
        stage.support.plays(broken(&["Hello"]));
        stage.docs.plays(kit::text(other));
        let whole = stage.complete(asked("support", false)).await.json();
        assert_eq!(
            whole["choices"][0]["message"]["content"],
            other.concat(),
            "a whole answer has the recovery's text"
        );
    }
}

#[tokio::test]
async fn a_replacement_that_begins_with_what_was_sent_is_none() {
    let stage = Stage::open().await;
    let replace = |text: &str| Act::Give(Piece::Replace(text.to_owned()));
    stage.docs.plays(vec![say("Hello"), replace("Hello world"), replace("Hell"), say("o world!"), end(None)]);
    let answer = stage.complete(asked("docs", true)).await;
    assert_eq!(text(&chunks(&answer)), "Hello world!");
    assert_eq!(data(&answer).last().unwrap(), "[DONE]");
    stage.docs.plays(vec![say("Hello"), replace("Bye"), end(None)]);
    let answer = stage.complete(asked("docs", true)).await;
    assert_eq!(chunks(&answer).last().unwrap()["error"]["type"], "upstream");
}

#[tokio::test]
async fn an_answer_that_stopped_short_is_one() {
    for (reason, word) in [(FinishReason::Length, "length"), (FinishReason::ContentFilter, "content_filter")]
    {
        let stage = Stage::open().await;
        stage.docs.plays(vec![say("Hel"), end(Some(reason))]);
        let answer = stage.complete(asked("docs", false)).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["choices"][0]["finish_reason"]),
            (200, &json!(word))
        );
        stage.docs.plays(vec![say("Hel"), end(Some(reason))]);
        let answer = stage.complete(asked("docs", true)).await;
        assert_eq!(chunks(&answer).last().unwrap()["choices"][0]["finish_reason"], word);
        assert_eq!(data(&answer).last().unwrap(), "[DONE]");
    }
}

#[tokio::test]
async fn parameters_of_models_are_ignored_and_named() {
    let stage = Stage::open().await;
    for stream in [false, true] {
        let mut body = asked("docs", stream);
        for (name, value) in [
            ("temperature", json!(0.1)),
            ("max_tokens", json!(5)),
            ("x_new", json!({"a": 1})),
            ("stop", Value::Null),
            ("n", json!(1)),
        ] {
            body[name] = value;
        }
        let answer = stage.complete(body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-ignored-parameters"), Some("temperature, max_tokens, x_new"));
    }
    assert!(stage.docs.last().extension.is_none());
}

#[tokio::test]
async fn what_would_change_the_reply_is_refused() {
    let stage = Stage::open().await;
    for (name, value) in [
        ("tools", json!([{"type": "function", "function": {"name": "f"}}])),
        ("functions", json!([{"name": "f"}])),
        ("n", json!(2)),
        ("response_format", json!({"type": "json_object"})),
        ("logprobs", json!(true)),
    ] {
        let mut body = asked("docs", true);
        body[name] = value;
        let answer = stage.complete(body).await;
        assert_eq!(error(&answer), (422, "unsupported".into(), "unsupported".into(), name.into()));
    }
    let mut body = asked("docs", false);
    body["messages"] = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}]}]);
    assert_eq!(error(&stage.complete(body).await).3, "messages");
    let mut body = asked("docs", false);
    body["messages"] =
        json!([{"role": "user", "content": "a"}, {"role": "tool", "tool_call_id": "1", "content": "b"}]);
    assert_eq!(error(&stage.complete(body).await).3, "messages[1].role");
    assert_eq!(stage.docs.calls(), 0);
}

#[tokio::test]
async fn all_messages_reach_the_assistant() {
    let stage = Stage::open().await;
    let mut body = asked("docs", false);
    body["messages"] = json!([
        {"role": "developer", "content": "be short"},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": "b", "audio": null},
        {"role": "user", "content": "c", "name": "Ada"},
    ]);
    body["user"] = json!("ada");
    body["metadata"] = json!({"k": "v"});
    assert_eq!(stage.complete(body).await.status, 200);
    let asked = stage.docs.last();
    let told: Vec<_> = asked.history.iter().map(|one| (one.role, one.content.text().into_owned())).collect();
    assert_eq!(
        told,
        [(Role::System, "be short".into()), (Role::User, "a".into()), (Role::Assistant, "b".into())]
    );
    assert_eq!(asked.message.parts, [Part::Text { text: "c".into() }]);
    assert_eq!(asked.user.unwrap().as_str(), "ada");
    assert_eq!(asked.metadata["k"], "v");
}

#[tokio::test]
async fn what_is_to_be_stored_is() {
    let stage = Stage::open().await;
    let mut body = asked("docs", false);
    body["store"] = json!(true);
    let id = stage.complete(body).await.header("x-turn-id").unwrap().to_owned();
    let turn = stage.gateway.get(&format!("/v1/chat/{id}")).await.json();
    assert_eq!(turn["message"]["text"], "ok");
    assert!(turn["conversation_id"].is_string());
}

#[tokio::test]
async fn a_repeated_request_is_the_same_turn() {
    let stage = Stage::open().await;
    let post = async |path: &str, body: Value| {
        let mut call = request(Method::POST, path, KEY, body.to_string());
        call.headers_mut().insert("idempotency-key", "one".parse().unwrap());
        stage.gateway.send(call).await
    };
    let mut body = asked("docs", false);
    body["store"] = json!(true);
    let first = post("/v1/chat/completions", body.clone()).await.json();
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let again = post("/openai/v1/chat/completions", body.clone()).await;
    assert_eq!(chunks(&again)[0]["id"], first["id"]);
    assert_eq!(text(&chunks(&again)), "ok");
    assert_eq!(stage.docs.calls(), 1);
    body["user"] = json!("other");
    assert_eq!(error(&post("/v1/chat/completions", body).await).2, "idempotency_conflict");
}

/// Asks so that the same request gets the same turn.
fn repeatable(model: &str) -> http::Request<axum::body::Body> {
    let mut body = asked(model, true);
    body["store"] = json!(true);
    let mut call = request(Method::POST, "/v1/chat/completions", KEY, body.to_string());
    call.headers_mut().insert("idempotency-key", http::HeaderValue::from_static("k"));
    call
}

/// The first chunks of an answer that goes on, until one says this.
async fn until(answer: &mut http::Response<axum::body::Body>, text: &str) {
    let mut said = String::new();
    while !said.contains(text) {
        let frame = answer.body_mut().frame().await.unwrap().unwrap();
        said += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn each_chunk_names_the_assistant_whose_text_it_is_however_late_it_is_read() {
    let model = |name: &str| Act::Give(Piece::Model(name.to_owned()));
    let break_off = || Act::Fail(chat::ProviderError::new(chat::Failure::Broken));
    let frame = |text: &str| {
        super::frame(
            json!({"id": "x", "model": "gpt-a", "choices": [{"index": 0, "delta": {"content": text}}]}),
        )
    };
    let (events, frames) = (
        vec![model("gpt-a"), say("Hello "), break_off()],
        vec![frame("Hello "), model("gpt-a"), say("Hello "), break_off()],
    );
    for (asked, play, passed_through) in [("support", events, false), ("model", frames, true)] {
        let stage = Stage::open().await;
        let provider = if passed_through { &stage.model } else { &stage.support };
        provider.plays(play);
        let gate = Gate::new();
        stage.docs.plays(vec![
            model("gpt-b"),
            say("Hello "),
            say("world"),
            Act::Wait(gate.clone()),
            end(None),
        ]);
        let mut first = stage.gateway.open(repeatable(asked)).await;
        until(&mut first, "world").await;
        // All of it is there when this one comes.
        let late = stage.gateway.open(repeatable(asked)).await;
        gate.open();
        let late = crate::gateway::whole(late).await;
        let all: Vec<_> = chunks(&late).into_iter().filter(|chunk| chunk.get("error").is_none()).collect();
        let said = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
        let authors: Vec<_> =
            all.iter().filter_map(|chunk| Some((said(chunk)?, chunk["model"].as_str()?))).collect();
        let support = [("", "support"), ("Hello ", "support"), ("world", "docs")];
        let model = [("Hello ", "model"), ("world", "docs")];
        let expected = if passed_through { &model[..] } else { &support[..] };
        let expected: Vec<_> = expected.iter().map(|(text, model)| ((*text).to_owned(), *model)).collect();
        assert_eq!(authors, expected);
        assert_eq!(late.header("x-upstream-model"), Some("gpt-a"), "the headers are those of the first text");
    }
}
