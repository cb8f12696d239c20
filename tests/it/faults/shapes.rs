//! Whatever an answer is framed, shaped or labelled as, the turn says what the simulator meant.
//!
//! What it meant is had from the simulator itself: the request of the journal is made once more by hand and read by the plainest
//! reading. So that both get the same text, a framing or a fault is played once (`-times-1`) and nothing is remembered
//! (`shape-no-memory`).

use serde_json::{Value, json};
use simulator::Call;

use super::stage::{Cast, Stage, Told, Way};

/// What becomes of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Becomes {
    /// `completed`, with the text that was meant.
    Whole,
    /// `completed`, with the correction of `fault-final-differs`.
    Corrected,
    /// `incomplete`, `provider_protocol`, with the text that was meant: nothing says that it is all.
    Unsure,
    /// `failed`, with this code.
    Fails(&'static str),
}

use Becomes::{Corrected, Fails, Unsure, Whole};

/// Characters of several bytes, for framings that break them.
const QUESTION: &str = "Что нового? What’s new?";

/// A provider, an id, and what becomes of it streamed and whole.
type Row = (String, Becomes, Becomes);

/// Legal frames of every sort, and the illegal ones that are tolerated.
const FRAMINGS: [&str; 10] = [
    "cr",
    "crlf",
    "bom",
    "no-space",
    "several-data",
    "comments",
    "no-blank-end",
    "no-blanks",
    "one-byte",
    "split",
];

/// The rows that are the same for all providers. `more` is appended to each id.
fn common(more: &str) -> Vec<Row> {
    let framings = FRAMINGS.iter().map(|name| format!("fault-framing-{name}-times-1"));
    let bodies =
        ["label-text", "label-json", "label-events", "label-none", "json-for-stream", "stream-for-json"];
    let bodies = bodies.iter().map(|name| format!("fault-{name}-times-1"));
    let pieces = ["fault-cumulative-times-1", "fault-slow-headers-5-times-1", "fault-slow-text-5-times-1"];
    let both = "fault-cumulative+fault-framing-crlf-times-1";
    let pieces = pieces.iter().chain([&both, &"shape-no-memory~plain"]).map(|id| (*id).to_owned());
    let ids = framings.chain(bodies).chain(pieces);
    ids.map(|id| (format!("{id}+shape-no-memory{more}"), Whole, Whole)).collect()
}

fn rows(kind: &str) -> Vec<Row> {
    let mut rows = common("");
    // Text without a frame under the label of one: only providers whose form is unknown can be meant to send it.
    rows.push(("fault-text-as-events-times-1+shape-no-memory".into(), bare(kind), bare(kind)));
    for (own, name, _) in
        simulator::SHAPES.iter().filter(|(own, name, _)| *own == kind && *name != "put-in-json")
    {
        let (streamed, whole) = shape(own, name);
        rows.push((format!("shape-{name}+shape-no-memory"), streamed, whole));
        // Each shape in a frame that is not the usual one as well.
        rows.push((format!("shape-{name}+fault-framing-crlf-times-1+shape-no-memory"), streamed, whole));
    }
    let differs = "fault-final-differs-times-1+shape-no-memory".to_owned();
    rows.push(match kind {
        "mygptassistants" => (differs, Corrected, Whole),
        "unleash" => (differs, Corrected, Corrected),
        _ => (differs, Whole, Whole),
    });
    if kind == "gigachat" {
        // Whether it streams is the bot's setting: all again for one that does.
        rows.extend(common("+shape-openai-chunks"));
        // Raw text has no pieces to repeat, and none can be told from a broken server's words under the label of JSON.
        let text = common("+shape-raw-text").into_iter();
        rows.extend(text.filter(|(id, ..)| !id.contains("cumulative") && !id.contains("label-json")));
    }
    rows
}

/// The whole text in one frame's place. What counts as whole is §3.2.
fn bare(kind: &str) -> Becomes {
    match kind {
        "gptunnel" | "gigachat" => Whole,
        "mygptassistants" => Unsure,
        _ => Fails("provider_protocol"),
    }
}

fn shape(kind: &str, name: &str) -> (Becomes, Becomes) {
    match (kind, name) {
        // Raw text has no sign of its end, and a final event or `[DONE]` is what counts there.
        ("mygptassistants", "raw-text" | "raw-data") => (Unsure, Whole),
        // Documents are no answer.
        ("gigachat", "documents") => (Fails("provider_empty"), Fails("provider_empty")),
        _ => (Whole, Whole),
    }
}

/// What the provider says to the same request when nothing goes wrong, by the plainest reading.
async fn meant(stage: &Stage, call: &Call, told: &Told) -> String {
    let mut body = call.body.as_ref().clone();
    if call.provider == "mygptassistants" {
        // The conversation's id chooses the words, and is the provider's.
        let Some(conversation) = told.turn["upstream"]["conversation_id"].as_str() else {
            return String::new();
        };
        body["conversationId"] = json!(conversation);
    }
    let path = call.path.replace("/stream", "/message");
    if body["stream"] == json!(true) {
        body["stream"] = json!(false);
        body.as_object_mut().unwrap().remove("stream_options");
    }
    plain(&stage.post(call.provider, &path, &body).await)
}

/// The text of an answer in any of the forms of the documents.
fn plain(answer: &str) -> String {
    if answer.starts_with("data: ") {
        let events =
            answer.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        let said = |data| {
            let event: Value = serde_json::from_str(data).unwrap();
            event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
        };
        return events.map(said).collect();
    }
    let Ok(answer) = serde_json::from_str::<Value>(answer) else { return answer.to_owned() };
    let places =
        ["", "/message", "/data/response", "/response", "/answer/answer", "/choices/0/message/content"];
    if let Some(text) = places.iter().find_map(|place| answer.pointer(place)?.as_str()) {
        return text.to_owned();
    }
    if let Some(parts) = answer["message"]["parts"].as_array() {
        return parts.iter().filter_map(|part| part["text"].as_str()).collect();
    }
    let rows = answer.as_array().into_iter().flatten();
    rows.filter(|row| row["role"] == "assistant").filter_map(|row| row["content"].as_str()).collect()
}

/// What must not depend on whether the client reads a stream: what is there, where its value is another with each call.
fn gist(turn: &Value) -> Value {
    let there = |place: &str| turn.pointer(place).is_some_and(|value| !value.is_null());
    let ids = ["/upstream/request_id", "/upstream/conversation_id", "/upstream/message_id"].map(there);
    json!({
        "status": turn["status"], "model": there("/model"), "error": turn["error"]["code"], "ids": ids,
        "sources": turn["sources"], "usage": there("/usage"), "cost": there("/usage/cost"),
        "assistant": turn["assistant"], "attempts": turn["attempts"].as_array().unwrap().len(),
    })
}

async fn play(stage: &Stage, kind: &'static str, row: &Row, stream: bool) -> Result<Told, String> {
    let (id, streamed, whole) = row;
    // Another label for each, so that `-times-1` counts anew.
    let id = format!("{id}~{}", if stream { "streamed" } else { "whole" });
    let mut cast = Cast::new("a", kind, &id);
    if kind == "openai" && id.contains("cumulative") {
        // Pieces that repeat contradict OpenAI's documents: its adapter adds them up unless it is told otherwise.
        cast = cast.over(Way { settings: "text_mode = 'auto'", ..Way::default() });
    }
    stage.cast(&[cast]);
    let told = stage.chat(json!({"assistant": "a", "message": QUESTION, "stream": stream})).await;
    let calls = stage.calls(&id);
    let [call] = &calls[..] else { return Err(format!("{kind} {id}: asked {} times", calls.len())) };
    let becomes = if stream { *streamed } else { *whole };
    let status = match becomes {
        Whole | Corrected => ("completed", None),
        Unsure => ("incomplete", Some("provider_protocol")),
        Fails(code) => ("failed", Some(code)),
    };
    if (told.status(), told.error()) != status {
        return Err(format!("{kind} {id}: {:?}, not {status:?}", (told.status(), told.error())));
    }
    let meant = meant(stage, call, &told).await;
    let right = match becomes {
        // Without an id the words cannot be asked for again: there are those that each answer has.
        Whole if meant.is_empty() => told.text().contains(&format!("You said: «{QUESTION}»")),
        Whole => told.text() == meant,
        Corrected => told.text() == format!("On second thoughts: {meant}"),
        Unsure => told.text().contains(&format!("You said: «{QUESTION}»")),
        Fails(_) => told.turn["message"].is_null(),
    };
    if !right {
        return Err(format!("{kind} {id}: said {:?}, meant {meant:?}", told.text()));
    }
    if !usage_is_the_journals(call, &told, &id) {
        return Err(format!("{kind} {id}: {} for {:?}", told.turn["usage"], call.usage));
    }
    Ok(told)
}

/// Tokens and money are the journal's, where the answer says them.
fn usage_is_the_journals(call: &Call, told: &Told, id: &str) -> bool {
    // OpenAI's streams tell only who asked for it, and who did not ask for a stream did not.
    let silent = ["stream-for-json", "shape-no-usage", "shape-raw-text", "text-as-events", "shape-2024"];
    let usage = &told.turn["usage"];
    let billed = call.usage.filter(|_| !silent.iter().any(|shape| id.contains(shape)));
    let Some(billed) = billed.filter(|_| told.status() == "completed") else { return true };
    let amount = usage["cost"]["amount"].as_str().map(|amount| amount.parse::<f64>().unwrap());
    let cost = (call.provider == "gptunnel").then_some(billed.total_cost);
    usage["input_tokens"] == billed.prompt_tokens
        && usage["output_tokens"] == billed.completion_tokens
        && usage["total_tokens"] == billed.prompt_tokens + billed.completion_tokens
        && amount.zip(cost).is_none_or(|(amount, cost)| (amount - cost).abs() < 1e-12)
        && amount.is_some() == cost.is_some()
}

async fn every_row(kind: &'static str) {
    let stage = Stage::open().await;
    let mut wrong = Vec::new();
    for row in rows(kind) {
        let (streamed, whole) =
            match (play(&stage, kind, &row, true).await, play(&stage, kind, &row, false).await) {
                (Ok(streamed), Ok(whole)) => (streamed, whole),
                (streamed, whole) => {
                    wrong.extend([streamed, whole].into_iter().filter_map(Result::err));
                    continue;
                }
            };
        let differs = ["shape-2024", "shape-no-id", "raw", "text-as-events", "-for-"]
            .iter()
            .any(|part| row.0.contains(part));
        if row.1 == row.2 && !differs && gist(&streamed.turn) != gist(&whole.turn) {
            wrong.push(format!("{kind} {}: {}\nwhole: {}", row.0, gist(&streamed.turn), gist(&whole.turn)));
        }
        // Where the words are the same in both, so are the citations in them.
        let parts = |told: &Told| told.turn["message"]["parts"].clone();
        if kind == "unleash" && streamed.text() == whole.text() && parts(&streamed) != parts(&whole) {
            wrong.push(format!("{}: {:#}\nwhole: {:#}", row.0, parts(&streamed), parts(&whole)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn gptunnel_in_every_shape() {
    every_row("gptunnel").await;
}

#[tokio::test]
async fn mygptassistants_in_every_shape() {
    every_row("mygptassistants").await;
}

#[tokio::test]
async fn unleash_in_every_shape() {
    every_row("unleash").await;
}

#[tokio::test]
async fn gigachat_in_every_shape() {
    every_row("gigachat").await;
}

#[tokio::test]
async fn openai_in_every_shape() {
    every_row("openai").await;
}
