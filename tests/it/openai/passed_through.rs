//! What a provider of the same dialect is given and gives: every field, known or not.

use std::future::pending;

use chat::{Failure, Part, Piece, ProviderError};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Stage, asked, chunks, data, end, error, frame, say, text};
use crate::gateway::{Gateway, Plan};
use crate::kit::{self, Act};

fn delta(delta: Value) -> Act {
    frame(json!({"id": "x", "model": "gpt", "choices": [{"index": 0, "delta": delta}], "x_own": 1.50}))
}

#[tokio::test]
async fn frames_are_sent_as_they_came() {
    let stage = Stage::open().await;
    stage.model.plays(vec![
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"content": "Hello"})),
        say("Hello"),
        frame(json!({"id": "x", "model": "gpt", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})),
        end(None),
    ]);
    let mut body = asked("model", true);
    body["temperature"] = json!(0.5);
    let answer = stage.complete(body.clone()).await;
    let all = chunks(&answer);
    assert_eq!(all.len(), 3);
    assert_eq!(text(&all), "Hello");
    assert_eq!(all[0]["x_own"], 1.5);
    assert_eq!((&all[0]["model"], &all[0]["object"]), (&json!("model"), &Value::Null));
    assert_eq!(data(&answer).last().unwrap(), "[DONE]");
    assert_eq!(answer.header("x-upstream-model"), Some("gpt"));
    assert_eq!(answer.header("x-ignored-parameters"), None);
    assert_eq!(stage.model.last().extension.unwrap().get(), body.to_string(), "the client's own body");
}

#[tokio::test]
async fn native_readers_see_no_frames_and_no_gaps() {
    let stage = Stage::open().await;
    stage.model.plays(vec![
        delta(json!({"content": "Hel"})),
        say("Hel"),
        delta(json!({"content": "lo"})),
        say("lo"),
        end(None),
    ]);
    let mut body = asked("model", true);
    body["store"] = json!(true);
    let id = stage.complete(body).await.header("x-turn-id").unwrap().to_owned();
    let events = stage.gateway.get(&format!("/v1/chat/{id}/events")).await.events();
    let numbers: Vec<_> = events.iter().map(|event| event.0).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_call_of_a_tool_begins_the_stream() {
    let stage = Stage::open().await;
    let gate = kit::Gate::new();
    stage.model.plays(vec![
        delta(json!({"role": "assistant", "content": null})),
        delta(json!({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}}]})),
        Act::Wait(gate.clone()),
        Act::Give(Piece::ToolCall(Part::ToolCall {
            id: "1".into(),
            name: "f".into(),
            arguments: "{}".into(),
        })),
        end(Some(chat::FinishReason::ToolCalls)),
    ]);
    let mut body = asked("model", true);
    body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    let call = crate::gateway::request(
        http::Method::POST,
        "/v1/chat/completions",
        crate::gateway::KEY,
        body.to_string(),
    );
    let response = stage.gateway.open(call).await;
    assert_eq!(response.status(), 200, "before the call is whole");
    gate.open();
    let answer = crate::gateway::whole(response).await;
    assert_eq!(chunks(&answer).len(), 2);
    assert_eq!(data(&answer).last().unwrap(), "[DONE]");
}

#[tokio::test]
async fn frames_that_break_off_are_continued_by_whoever_repeats_them() {
    let stage = Stage::open().await;
    let broken = || Act::Fail(ProviderError::new(Failure::Broken));
    let half =
        || vec![delta(json!({"content": "Hel"})), say("Hel"), delta(json!({"content": "lo"})), say("lo")];
    for (docs, frames) in [(vec!["Hello world"], false), (vec!["He", "l", "lo wor", "ld"], true)] {
        stage.model.plays(half().into_iter().chain([broken()]).collect());
        // Also one that has frames of its own: there is only one beginning.
        let own = |text: &&str| frames.then(|| delta(json!({"content": text})));
        let said = docs.iter().flat_map(|text| own(text).into_iter().chain([say(text)]));
        stage.docs.plays(said.chain([end(None)]).collect());
        let answer = stage.complete(asked("model", true)).await;
        let all = chunks(&answer);
        assert_eq!(text(&all), "Hello world", "{all:?}");
        assert_eq!((&all[0]["model"], &all.last().unwrap()["model"]), (&json!("model"), &json!("docs")));
        assert!(all.iter().all(|chunk| chunk["id"] == all[0]["id"]), "{all:?}");
        assert_eq!(all.last().unwrap()["choices"][0]["finish_reason"], "stop");
        assert_eq!(data(&answer).last().unwrap(), "[DONE]");
    }

    // What differs, ends short, or follows a tool's call cannot be taken back.
    let call =
        delta(json!({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{"}}]}));
    for (given, docs) in
        [(half(), "Help!"), (half(), "Hell"), (half().into_iter().chain([call]).collect(), "Hello world")]
    {
        stage.model.plays(given.into_iter().chain([broken()]).collect());
        stage.docs.plays(kit::text(&[docs]));
        let answer = stage.complete(asked("model", true)).await;
        assert_eq!(text(&chunks(&answer)), "Hello", "{docs}");
        assert_eq!(chunks(&answer).last().unwrap()["error"]["code"], "provider_error", "{docs}");
        assert!(!data(&answer).contains(&"[DONE]".to_owned()), "{docs}");
    }
}

#[tokio::test]
async fn who_speaks_is_not_yet_an_answer() {
    let stage = Stage::open().await;
    let broken = || ProviderError::new(Failure::Broken);

    // Another assistant may still give it.
    let silent = || vec![delta(json!({"role": "assistant"})), Act::Fail(broken())];
    stage.model.plays(silent());
    let mut body = asked("model", true);
    body["temperature"] = json!(0.5);
    let answer = stage.complete(body).await;
    assert_eq!(text(&chunks(&answer)), "ok");
    assert_eq!(chunks(&answer)[0]["model"], "docs");
    assert_eq!(answer.header("x-ignored-parameters"), Some("temperature"), "docs was not given it");

    // An assistant that takes no tools is not asked in the place of one that does.
    stage.model.plays(silent());
    let mut body = asked("model", true);
    body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    assert_eq!(error(&stage.complete(body).await).0, 502);
    assert_eq!(stage.docs.calls(), 1);
}

#[tokio::test]
async fn of_an_attempt_that_is_made_again_no_frame_is_sent() {
    let stage = Stage::open().await;
    let lost = || {
        let role = json!({"role": "assistant", "content": ""});
        [
            frame(json!({"id": "lost", "choices": [{"index": 0, "delta": role}]})),
            Act::Retried(Failure::Broken),
        ]
    };
    let answer = [
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"content": "Hello"})),
        say("Hello"),
        end(None),
    ];
    stage.model.plays(lost().into_iter().chain(lost()).chain(answer).collect());
    let all = chunks(&stage.complete(asked("model", true)).await);
    let own: Vec<_> = all.iter().map(|chunk| &chunk["x_own"]).collect();
    assert_eq!((text(&all).as_str(), own), ("Hello", vec![&json!(1.5), &json!(1.5)]), "{all:?}");

    // And what follows them may be another assistant's.
    stage.model.plays(lost().into_iter().chain([Act::Fail(ProviderError::new(Failure::Broken))]).collect());
    let all = chunks(&stage.complete(asked("model", true)).await);
    assert_eq!((text(&all).as_str(), &all[0]["model"]), ("ok", &json!("docs")), "{all:?}");

    // In one piece as well: the last frame is the answer, if it is of the call that answered.
    let own =
        json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}}], "x_own": true});
    stage.model.plays(lost().into_iter().chain([frame(own), say("a"), end(None)]).collect());
    assert_eq!(stage.complete(asked("model", false)).await.json()["x_own"], true);
    stage.model.plays(lost().into_iter().chain([say("a"), end(None)]).collect());
    let json = stage.complete(asked("model", false)).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "a");
}

#[tokio::test]
async fn a_whole_answer_is_the_providers_own() {
    let stage = Stage::open().await;
    let own = json!({"id": "x", "model": "gpt", "choices": [{"index": 0, "message": {"role": "assistant", "content": "a", "x_new": [1]}}], "x_own": true});
    stage.model.plays(vec![frame(own), Act::Give(Piece::Model("gpt".into())), say("a"), end(None)]);
    let answer = stage.complete(asked("model", false)).await;
    let json = answer.json();
    assert_eq!((&json["x_own"], &json["model"]), (&json!(true), &json!("model")));
    assert_eq!(json["choices"][0]["message"]["x_new"], json!([1]));
    assert_eq!(answer.header("x-upstream-model"), Some("gpt"));
}

/// A gateway in front of the simulated server.
async fn simulated() -> (Gateway, JoinSet<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    let options = simulator::Options { pace: simulator::Pace::Instant, ..simulator::Options::default() };
    serving.spawn(async move {
        simulator::serve(listener, options, pending::<()>()).await;
        Ok(())
    });
    struct Nothing;
    impl cli::config::Environment for Nothing {
        fn value(&self, _: &str) -> Option<String> {
            None
        }
        fn names(&self) -> Vec<String> {
            Vec::new()
        }
    }
    let text = format!(
        "[server]\nopen = true\n[providers.sim]\nkind = \"openai\"\nbase_url = \"http://{address}/openai/v1\"\napi_key = \"{}\"\n\
         [assistants.model]\nprovider = \"sim\"\nupstream_id = \"sim-model\"\n\
         [assistants.cut]\nprovider = \"sim\"\nupstream_id = \"fault-cut-after-2\"\n",
        simulator::KEY
    );
    let config = cli::config::Config::parse("t.toml", &text, &Nothing, &[]).unwrap();
    let gateway = Gateway::kept(Plan::default()).await;
    gateway.engine.set_catalog(config.catalog);
    (gateway, serving)
}

#[tokio::test]
async fn over_a_real_provider_all_fields_and_tools_go_both_ways() {
    let (gateway, _serving) = simulated().await;
    let own = json!({"temperature": 0.25, "x_new": {"deep": [1, 2.50]}, "tools": [{"type": "function", "function": {"name": "f"}}], "user": "ada"});
    for stream in [false, true] {
        let mut body = asked("model", stream);
        body["messages"] = json!([{"role": "user", "content": "use the tool"}]);
        body.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let answer = gateway.post("/v1/chat/completions", body).await;
        assert_eq!(answer.header("x-upstream-model"), Some("sim-model"));
        assert_eq!(answer.header("x-ignored-parameters"), None);
        if stream {
            let all = chunks(&answer);
            assert_eq!(all[0]["x_echo"], own);
            let arguments: String = all
                .iter()
                .filter_map(|chunk| {
                    chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str()
                })
                .collect();
            assert_eq!(arguments, r#"{"query":"use the tool"}"#);
            assert_eq!(data(&answer).last().unwrap(), "[DONE]");
        } else {
            let json = answer.json();
            assert_eq!(json["x_echo"], own);
            assert_eq!(json["choices"][0]["finish_reason"], "tool_calls");
            assert_eq!(json["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "f");
        }
    }
    let mut body = asked("model", false);
    body["messages"] = json!([
        {"role": "user", "content": "use the tool"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]);
    let said = gateway.post("/v1/chat/completions", body).await.json();
    assert!(said["choices"][0]["message"]["content"].as_str().unwrap().contains("sunny"), "{said}");
}

#[tokio::test]
async fn over_a_real_provider_a_break_is_told() {
    let (gateway, _serving) = simulated().await;
    let answer = gateway.post("/v1/chat/completions", asked("cut", true)).await;
    assert_eq!(answer.status, 200);
    assert!(!text(&chunks(&answer)).is_empty());
    assert_eq!(chunks(&answer).last().unwrap()["error"]["type"], "upstream");
    assert_eq!(error(&gateway.post("/v1/chat/completions", asked("cut", false)).await).0, 502);
}

#[tokio::test]
async fn responses_are_told_in_the_words_of_chat_completions() {
    let stage = Stage::open().await;
    let body = json!({
        "model": "model",
        "input": "hi",
        "temperature": 0.5,
        "max_output_tokens": 9,
        "truncation": "auto",
        "x_new": [1],
        "reasoning": {"effort": "low", "summary": null},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}],
        "tool_choice": {"type": "function", "name": "f"},
    });
    let answer = stage.respond(body.clone()).await;
    assert_eq!(answer.header("x-ignored-parameters"), Some("truncation"));
    let given: Value = serde_json::from_str(stage.model.last().extension.unwrap().get()).unwrap();
    let expected = json!({
        "temperature": 0.5,
        "max_completion_tokens": 9,
        "x_new": [1],
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "verbosity": "low",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    });
    assert_eq!(given, expected);
    for (name, value) in [
        ("tools", json!([{"type": "web_search"}])),
        ("top_logprobs", json!(2)),
        ("prompt", json!({"id": "p"})),
    ] {
        let mut wrong = body.clone();
        wrong[name] = value;
        assert_eq!(error(&stage.respond(wrong).await).3, name);
    }
}

#[tokio::test]
async fn a_response_calls_a_tool_and_is_told_what_came_of_it() {
    let (gateway, _serving) = simulated().await;
    let tools = json!([{"type": "function", "name": "f", "parameters": {"type": "object"}}]);
    let body = json!({"model": "model", "input": "use the tool", "tools": tools, "stream": true});
    let streamed = gateway.post("/v1/responses", body.clone()).await;
    for kind in [
        "response.output_item.added",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ] {
        assert!(streamed.text.contains(&format!("event: {kind}\n")), "{kind}: {}", streamed.text);
    }
    let mut whole = body;
    whole["stream"] = json!(false);
    let first = gateway.post("/v1/responses", whole).await.json();
    let call = &first["output"][0];
    assert_eq!(
        (&call["type"], &call["name"], &call["arguments"]),
        (&json!("function_call"), &json!("f"), &json!(r#"{"query":"use the tool"}"#))
    );
    let output = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"});
    let after = json!({"previous_response_id": first["id"], "input": [output], "tools": tools});
    let second = gateway.post("/v1/responses", after).await.json();
    let said = second["output"][0]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{second}"));
    assert!(said.contains("The tool said «sunny»"), "{said}");
    // The same without anything kept: the client sends all of it.
    let all = json!([{"role": "user", "content": "use the tool"}, call, output]);
    let alone = gateway
        .post("/v1/responses", json!({"model": "model", "input": all, "store": false, "tools": tools}))
        .await
        .json();
    assert!(alone["output"][0]["content"][0]["text"].as_str().unwrap().contains("sunny"), "{alone}");
    // And on with words.
    let third =
        gateway.post("/v1/responses", json!({"previous_response_id": second["id"], "input": "thanks"})).await;
    assert_eq!(third.status, 200, "{}", third.text);
}
