//! A fault does at the socket what its name says.

use serde_json::{Value, json};
use simulator::{CALLS_MAX, Outcome};
use tokio::io::AsyncReadExt;

use super::{Stage, assistant, in_time, providers, read_out, read_until};

/// The sign that an answer is complete, per provider, as it stands at the end of a stream.
fn completion(provider: &str) -> &'static str {
    match provider {
        "mygptassistants" => "event: result",
        "unleash" => "\"type\":\"Full\"",
        _ => "[DONE]",
    }
}

#[tokio::test]
async fn every_row_of_the_table_is_played_by_every_provider() {
    let stage = Stage::open(1).await;
    let endless = [
        "silence",
        "headers-only",
        "stall-after",
        "hold-after",
        "pings",
        "reset",
        "close",
        "cut-after",
        "endless-line",
    ];
    for (form, _) in simulator::TABLE {
        if endless.iter().any(|name| form.contains(name)) && !form.contains("STATUS") {
            continue;
        }
        let id = form.replace("STATUS", "503").replace("flaky-P", "flaky-0").replace("-N", "-3");
        let id = id.replace("-MS", "-1").replace("-S", "-3");
        for provider in providers() {
            for stream in [false, true] {
                let answer = stage.ask(provider, &id, stream).await;
                assert_ne!(answer.status, 404, "{provider} does not know {id}");
            }
        }
    }
    let listed = stage.get("/_simulator/faults").await.json();
    assert_eq!(listed["faults"].as_array().unwrap().len(), simulator::TABLE.len());
    assert_eq!(listed["shapes"].as_array().unwrap().len(), simulator::SHAPES.len());
}

#[tokio::test]
async fn a_held_answer_goes_on_when_it_is_released() {
    let stage = Stage::open(1).await;
    let id = "fault-hold-after-1";
    for provider in providers() {
        for stream in [false, true] {
            let mut socket = stage.dial(provider, id, stream).await;
            read_until(&mut socket, "\r\n\r\n").await;
            assert_eq!(stage.journal.calls().last().unwrap().outcome, Outcome::Open, "{provider}");
            // Of another id is not of this one.
            for other in ["fault-hold-after-2", id] {
                let path = format!("/_simulator/release?upstream_id={other}");
                assert_eq!(stage.send(stage.request("POST", &path)).await.status, 204);
            }
            stage.journal.wait_for(id, |calls| calls.iter().all(|call| call.outcome == Outcome::Whole)).await;
        }
    }
}

#[tokio::test]
async fn statuses_come_with_or_without_a_wait() {
    let stage = Stage::open(1).await;
    for provider in providers() {
        for status in [400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504] {
            let answer = stage.ask(provider, &format!("fault-{status}"), false).await;
            assert_eq!(answer.status, status, "{provider}");
            assert_eq!(answer.header("retry-after"), "", "{provider}");
            assert!(answer.json().is_object());
        }
        let answer = stage.ask(provider, "fault-503-retry-after-7", true).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "7"), "{provider}");
        let before = now();
        let answer = stage.ask(provider, "fault-429-reset-9", true).await;
        let reset: u64 = answer.header("x-ratelimit-reset").parse().unwrap();
        assert!((before + 9..before + 60).contains(&reset), "{provider}");
        assert_eq!(answer.headers.get_all("x-ratelimit-reset").iter().count(), 1);
        let text = stage.ask(provider, "fault-too-long", false).await.text;
        assert!(text.contains("context_length_exceeded"), "{provider}: {text}");
        let page = stage.ask(provider, "fault-html-200", false).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
        let moved = stage.ask(provider, "fault-redirect", false).await;
        assert_eq!((moved.status, moved.header("location")), (302, "/_simulator/redirected"));
        let error = stage.ask(provider, "fault-success-false", false).await;
        assert_eq!(error.status, 200);
    }
    assert_eq!(stage.ask("mygptassistants", "fault-success-false", false).await.json()["success"], false);
    assert_eq!(stage.ask("gptunnel", "fault-code-1001", false).await.json()["code"], 1001);
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs()
}

#[tokio::test]
async fn a_connection_is_reset_or_closed_where_the_id_says() {
    let stage = Stage::open(1).await;
    for provider in providers() {
        for stream in [false, true] {
            let played = async |id: &str| {
                let (bytes, reset) = read_out(stage.dial(provider, id, stream).await).await;
                (String::from_utf8(bytes).unwrap(), reset)
            };
            assert_eq!(played("fault-reset").await, (String::new(), true), "{provider}");
            assert_eq!(played("fault-close").await, (String::new(), false), "{provider}");
            let (cut, reset) = played("fault-cut-after-2").await;
            assert!(cut.contains("\r\n\r\n") && !reset, "{provider}");
            assert!(!cut.ends_with("\r\n0\r\n\r\n"), "{provider}: a proper end");
            let (reset_text, reset) = played("fault-reset-after-2").await;
            assert!(reset, "{provider} {stream}: {reset_text}");
            // The ids differ and so do the texts, but not how much came before the fault.
            let delivered = |text: &str| match stream {
                true => text.matches("data: ").count(),
                false => text.split_once("\r\n\r\n").unwrap().1.len(),
            };
            assert_eq!(delivered(&reset_text), delivered(&cut), "{provider}");
            assert!(delivered(&cut) >= 2, "{provider}: {cut}");
        }
        let end = read_chunked(&stage, provider, "fault-end-after-2").await;
        assert!(!end.contains(completion(provider)), "{provider}");
        let calls = in_time(stage.journal.settled("fault-cut-after-2", 1)).await;
        assert!(calls.iter().all(|call| call.outcome == Outcome::Cut));
        assert_eq!(
            stage.journal.calls_for("fault-reset").iter().filter(|call| call.status.is_some()).count(),
            0
        );
    }
}

/// Reads a streamed answer to its proper end, as it is on the wire.
async fn read_chunked(stage: &Stage, provider: &str, id: &str) -> String {
    read_until(&mut stage.dial(provider, id, true).await, "\r\n0\r\n\r\n").await
}

#[tokio::test]
async fn a_stall_keeps_the_connection_and_the_journal_sees_the_client_leave() {
    let stage = Stage::open(1).await;
    for (number, provider) in providers().enumerate() {
        let id = format!("fault-stall-after-2~{number}");
        let accepted = if provider == "gigachat" { 201 } else { 200 };
        let mut socket = stage.dial(provider, &id, true).await;
        let piece = if provider == "gptunnel" || provider == "openai" || provider == "gigachat" {
            "\"content\":\""
        } else {
            "message\":"
        };
        read_until(&mut socket, piece).await;
        let asked = if provider == "gigachat" { format!("{id}+shape-openai-chunks") } else { id };
        assert_eq!(stage.journal.calls_for(&asked)[0].outcome, Outcome::Open, "{provider}");
        drop(socket);
        let calls = in_time(stage.journal.settled(&asked, 1)).await;
        assert_eq!((calls[0].outcome, calls[0].status), (Outcome::ClientLeft, Some(accepted)), "{provider}");
        let silent = format!("fault-silence~{number}");
        let socket = stage.dial(provider, &silent, false).await;
        stage.journal.wait_for(&silent, |calls| !calls.is_empty()).await;
        drop(socket);
        let calls = in_time(stage.journal.settled(&silent, 1)).await;
        assert_eq!((calls[0].outcome, calls[0].status), (Outcome::ClientLeft, None), "{provider}");
        let mut socket = stage.dial(provider, "fault-headers-only", true).await;
        let head = read_until(&mut socket, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 20") && head.ends_with("\r\n\r\n"), "{provider}: {head}");
    }
}

#[tokio::test]
async fn pings_and_endless_lines_go_on() {
    let stage = Stage::open(1).await;
    for provider in providers() {
        let mut socket = stage.dial(provider, "fault-pings-1", true).await;
        let text = read_until(&mut socket, ": ping\n\n\r\n8\r\n: ping\n\n").await;
        assert!(!text.contains("You said"), "{provider}");
        let mut socket = stage.dial(provider, "fault-endless-line", true).await;
        let mut bytes = vec![0; 3 * 1024 * 1024];
        socket.read_exact(&mut bytes).await.unwrap();
        assert!(bytes.ends_with(&[b'a'; 1_000]), "{provider}");
    }
}

#[tokio::test]
async fn bodies_are_spoilt_as_named() {
    let stage = Stage::open(1).await;
    for provider in providers() {
        let fine = stage.ask(provider, assistant(provider), true).await;
        assert!(fine.text.contains(completion(provider)), "{provider}");
        let ended = stage.ask(provider, "fault-end-after-4", true).await;
        assert!(!ended.text.contains(completion(provider)), "{provider}");
        let garbage = stage.ask(provider, "fault-garbage-after-2", true).await;
        assert!(garbage.text.contains("data: {\"broken\": ") && garbage.text.contains(completion(provider)));
        let error = stage.ask(provider, "fault-error-after-2", true).await;
        assert!(error.text.contains("Something went wrong in the middle"), "{provider}");
        assert!(!error.text.contains(completion(provider)), "{provider}");
        let json = stage.ask(provider, "fault-json-for-stream", true).await;
        assert!(json.json().is_object(), "{provider}");
        let stream = stage.ask(provider, "fault-stream-for-json", false).await;
        assert_eq!(stream.header("content-type"), "text/event-stream", "{provider}");
        let label = stage.ask(provider, "fault-label-text", false).await;
        assert_eq!(label.header("content-type"), "text/plain; charset=utf-8");
        assert!(label.json().is_object(), "{provider}");
        assert_eq!(
            stage.ask(provider, "fault-label-json", true).await.header("content-type"),
            "application/json"
        );
        assert!(stage.ask(provider, "fault-label-none", true).await.headers.get("content-type").is_none());
        let bare = stage.ask(provider, "fault-text-as-events", true).await;
        assert!(bare.text.contains("You said") && !bare.text.contains("data:"), "{provider}");
        for stream in [false, true] {
            assert_eq!(stage.ask(provider, "fault-empty-body", stream).await.text, "", "{provider}");
            let silent = stage.ask(provider, "fault-no-text", stream).await.text;
            assert!(!silent.contains("You said") && !silent.is_empty(), "{provider}");
            let huge = stage.ask(provider, "fault-huge-300000", stream).await.text;
            assert!(huge.len() > 300_000, "{provider}");
        }
        let frame = stage.ask(provider, "fault-big-frame", true).await;
        assert!(frame.text.lines().any(|line| line.len() > 1024 * 1024), "{provider}");
        let short = stage.ask(provider, "fault-finish-length", true).await.text;
        if provider != "mygptassistants" && provider != "unleash" {
            assert!(short.contains("\"finish_reason\":\"length\""), "{provider}");
        }
    }
    let events = stage.ask("openai", "fault-cumulative", true).await.events();
    let texts: Vec<_> =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert!(texts.windows(2).all(|pair| pair[1].starts_with(pair[0])));
    let events = stage.ask("mygptassistants", "fault-final-differs", true).await.events();
    let said: String = events.iter().filter_map(|event| event["message"].as_str()).collect();
    let whole = events.last().unwrap()["bot"]["text"].as_str().unwrap();
    assert!(!whole.starts_with(&said) && whole.ends_with(&said));
}

#[tokio::test]
async fn framings_carry_the_same_text() {
    let stage = Stage::open(1).await;
    for provider in providers() {
        let framing =
            async |name: &str| stage.ask(provider, &format!("fault-framing-{name}"), true).await.text;
        assert!(!framing("cr").await.contains('\n'), "{provider}");
        assert!(framing("crlf").await.contains("\r\n\r\n"), "{provider}");
        assert!(framing("no-space").await.contains("data:{"), "{provider}");
        assert!(framing("several-data").await.contains("data: {\ndata: "), "{provider}");
        assert!(framing("comments").await.contains(": inside the event\n"), "{provider}");
        assert!(!framing("no-blank-end").await.ends_with("\n"), "{provider}");
        assert!(!framing("no-blanks").await.contains("\n\n"), "{provider}");
        let split = read_chunked(&stage, provider, "fault-framing-one-byte").await;
        assert!(split.contains("\r\n1\r\nd\r\n1\r\na\r\n1\r\nt\r\n1\r\na\r\n"), "{provider}");
        assert!(framing("one-byte").await.contains(completion(provider)));
        assert!(framing("split").await.contains(completion(provider)));
    }
    let mut socket = stage.dial("openai", "fault-framing-bom", true).await;
    read_until(&mut socket, "\u{feff}data: {").await;
    // A cut inside a character is the end of a chunk: «’», three bytes, in two.
    let mut socket = stage.dial("openai", "fault-framing-split", true).await;
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n0\r\n\r\n") {
        assert!(socket.read_buf(&mut bytes).await.unwrap() > 0);
    }
    let split = |pair: &[u8]| pair[0] >= 0xc0 && pair[1] == b'\r';
    assert!(bytes.windows(2).any(split), "no character was split");
    assert!(!bytes.windows(2).any(|pair| pair[0] >= 0xc0 && pair[1] >= 0x80), "one was not");
}

#[tokio::test]
async fn a_fault_ends_after_its_times_and_a_flaky_one_follows_the_seed() {
    let stage = Stage::open(1).await;
    for provider in providers() {
        for expected in [503, 503, 200, 200] {
            let status = stage.ask(provider, "fault-503-times-2", false).await.status;
            assert_eq!(if status == 201 { 200 } else { status }, expected, "{provider}");
        }
        assert_eq!(stage.ask(provider, "fault-503-times-2~other", false).await.status, 503, "{provider}");
    }
    let twin = Stage::open(1).await;
    let mut broken = 0;
    for _ in 0..40 {
        let mut outcomes = Vec::new();
        for stage in [&stage, &twin] {
            let (path, body) = super::question("openai", "flaky-50", false);
            let request = stage.request("POST", &path).header("content-type", "application/json");
            outcomes.push(match request.body(body.to_string()).send().await {
                Ok(response) if response.status() == 200 => response.bytes().await.map_or(1, |_| 0),
                Ok(response) => response.status().as_u16(),
                Err(_) => 2,
            });
        }
        assert_eq!(outcomes[0], outcomes[1]);
        broken += u32::from(outcomes[0] != 0);
    }
    assert!((8..=32).contains(&broken), "{broken} of 40");
}

#[tokio::test]
async fn the_journal_can_be_read_and_cleared_over_http() {
    let stage = Stage::open(1).await;
    stage.ask("unleash", "fault-503~a", false).await;
    stage.ask("gptunnel", "ai08158128", false).await;
    let calls = stage.get("/_simulator/calls?upstream_id=fault-503~a").await.json();
    assert_eq!(calls["calls"].as_array().unwrap().len(), 1);
    let call = &calls["calls"][0];
    assert_eq!(
        (&call["provider"], &call["status"], &call["outcome"]),
        (&json!("unleash"), &json!(503), &json!("whole"))
    );
    assert_eq!((&call["path"], &call["authorization"]), (&json!("/unleash/chats"), &json!("bearer")));
    assert_eq!(call["body"]["messages"][0]["text"], "Hello");
    assert_eq!(calls["totals"]["gptunnel"]["calls"], 1);
    let all = stage.get("/_simulator/calls?provider=gptunnel").await.json();
    assert!(all["calls"][0]["usage"]["total_cost"].as_f64().unwrap() > 0.0);
    let request = stage.request("DELETE", "/_simulator/calls");
    assert_eq!(stage.send(request).await.status, 204);
    let none = stage.get("/_simulator/calls").await.json();
    assert_eq!((&none["calls"], &none["totals"]["unleash"]["calls"]), (&Value::Array(Vec::new()), &json!(1)));
    const { assert!(CALLS_MAX >= 1_000) };
}

#[tokio::test]
async fn errors_take_the_shape_that_the_id_chooses() {
    let stage = Stage::open(1).await;
    let coded = stage.ask("mygptassistants", "shape-error-code+fault-404", false).await.json();
    assert_eq!(coded["error"]["code"], "NOT_FOUND");
    assert!(coded.get("success").is_none());
    let text = stage.ask("mygptassistants", "fault-402+shape-error-text", true).await.json();
    assert_eq!((&text["error"], &text["statusCode"]), (&json!("PAYMENT_REQUIRED"), &json!(402)));
    let comma = stage.ask("gptunnel", "fault-401+shape-trailing-comma", false).await;
    assert!(comma.text.ends_with("\"code\":null,}}"));
    let object = stage.ask("gigachat", "fault-500+shape-error-object", false).await.json();
    assert_eq!(object["error"]["message"], "Internal server error");
    assert_eq!(stage.ask("gptunnel", "shape-error-object", false).await.status, 404, "another provider's");
}

#[tokio::test]
async fn shutdown_drops_what_is_open() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = simulator::Options { pace: simulator::Pace::Instant, ..simulator::Options::default() };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(simulator::serve(listener, options, stopped));
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    stop.send(()).unwrap();
    in_time(serving.join_next()).await.unwrap().unwrap();
    drop(socket);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
