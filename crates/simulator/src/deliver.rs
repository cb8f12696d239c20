//! Sending an answer the way its plan wants it sent, or something else instead.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::Pace;
use crate::body::{Ending, Played, Rhythm};
use crate::connection::{NoResponse, Wire};
use crate::exchange::{Exchange, Refusal, Reply};
use crate::faults::{Break, Fault, Wait};
use crate::journal::{Entry, Outcome, now_ms};
use crate::script::{Kind, Media, Script};

/// A JSON answer is cut into pieces of so many bytes where a fault counts pieces.
const JSON_PIECE_BYTES: usize = 24;

/// An endless line is sent in blocks of this size, in bytes.
const FILLER_BYTES: usize = 64 * 1024;

/// And ends after so many: 1 GiB.
const FILLER_BLOCKS: u64 = 16 * 1024;

/// How long a person waits for an answer that comes in one piece.
const THINKING: Duration = Duration::from_millis(600);

/// Sends what the provider answers.
pub(crate) async fn answer(
    mut exchange: Exchange,
    mut reply: Reply,
    wire: Arc<Wire>,
    mut entry: Entry,
) -> Response {
    if let Fault::SlowHeaders(time) = exchange.plan.fault {
        tokio::time::sleep(time).await;
    }
    if let Some(bare) = &exchange.bare {
        reply.script = Script::new(Media::Text, exchange.plan.framing, bare.len());
        reply.script.push_text(Kind::Text, None, bare);
    }
    let mut script = reply.script;
    let media = script.media;
    script.finish();
    let whole = script.bytes.len();
    let mut rhythm =
        Rhythm { pace: exchange.world.pace, before_text: Duration::ZERO, seed: exchange.world.seed };
    if media == Media::Json && rhythm.pace == Pace::Human {
        rhythm.before_text = THINKING;
    }
    let ending = spoil(&exchange, &mut script, &mut rhythm);
    // What is cut short promised all of it; what ends cleanly promised what it sends.
    let length = if matches!(ending, Ending::Cut | Ending::Reset | Ending::Stall) {
        whole
    } else {
        script.bytes.len()
    };
    entry.answered(reply.status, exchange.usage);
    let label = match exchange.plan.fault {
        Fault::Label(label) => label,
        Fault::TextAsEvents => Some(Media::Events.label()),
        _ => Some(media.label()),
    };
    let chunked = matches!(exchange.plan.fault, Fault::HeadersOnly | Fault::Pings(_) | Fault::EndlessLine);
    let empty = script.bytes.is_empty() && matches!(ending, Ending::Clean);
    if empty {
        entry.end(Outcome::Whole);
    }
    let body = Played::new(script, rhythm, ending, wire, entry);
    let body = match (exchange.plan.fault, exchange.hold.take()) {
        (Fault::Hold(texts), Some(hold)) => body.hold_after(texts, hold),
        _ => body,
    };
    let body = if chunked { body } else { body.announce(media, length) };
    let mut response = Response::new(if empty { Body::empty() } else { Body::new(body) });
    *response.status_mut() = status(reply.status);
    let headers = response.headers_mut();
    (exchange.dialect.headers)(&exchange.request_id, headers);
    if let Some(label) = label.filter(|_| !(empty && media == Media::Text)) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(label));
    }
    if media == Media::Events {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}

/// Does to the script what the plan wants, and says how it ends.
fn spoil(exchange: &Exchange, script: &mut Script, rhythm: &mut Rhythm) -> Ending {
    let fault = exchange.plan.fault;
    let counts_pieces =
        matches!(fault, Fault::After(..) | Fault::Hold(_) | Fault::SlowPieces(_) | Fault::EndlessLine);
    if script.media == Media::Json && counts_pieces {
        script.slice_evenly(JSON_PIECE_BYTES);
    }
    match fault {
        Fault::After(count, kind) => return spoil_after(exchange, script, count, kind),
        Fault::HeadersOnly => {
            script.truncate(0);
            return Ending::Stall;
        }
        Fault::SlowText(time) => rhythm.before_text = time,
        Fault::SlowPieces(time) => rhythm.pace = Pace::Every(time),
        Fault::Pings(time) => {
            let json = script.media == Media::Json;
            script.truncate(if json { 0 } else { script.after_text(0) });
            let bytes = Bytes::from_static(if script.media == Media::Events { b": ping\n\n" } else { b"\n" });
            return Ending::Repeat { bytes, every: Some(time), times: u64::MAX };
        }
        Fault::EmptyBody => script.truncate(0),
        Fault::EndlessLine => {
            script.truncate(script.after_text(1));
            if script.media == Media::Events {
                script.push_raw(Kind::Text, b"data: \"");
            }
            let bytes = Bytes::from(vec![b'a'; FILLER_BYTES]);
            return Ending::Repeat { bytes, every: None, times: FILLER_BLOCKS };
        }
        _ => {}
    }
    Ending::Clean
}

fn spoil_after(exchange: &Exchange, script: &mut Script, count: usize, kind: Break) -> Ending {
    let at = script.after_text(count);
    match kind {
        Break::Garbage => {
            let garbage: &[u8] = match script.media {
                Media::Events => b"data: {\"broken\": \xff\xfe nothing}\n\n",
                Media::Lines => b"{\"broken\": \xff\xfe\n",
                Media::Json | Media::Text => b"\xff\xfe{]",
            };
            script.insert(at, garbage);
            return Ending::Clean;
        }
        Break::Error => {
            let refusal = Refusal::new(500, "Something went wrong in the middle of the answer");
            let error = (exchange.dialect.error)(&refusal, &exchange.plan, &exchange.request_id);
            script.truncate(at);
            let event = exchange.dialect.error_event;
            script.push_text(Kind::Text, event, &error);
            return Ending::Clean;
        }
        Break::Reset | Break::Cut | Break::Stall | Break::End => script.truncate(at),
    }
    match kind {
        Break::Reset => Ending::Reset,
        Break::Cut => Ending::Cut,
        Break::Stall => Ending::Stall,
        Break::End | Break::Garbage | Break::Error => Ending::Clean,
    }
}

/// Sends the provider's error.
pub(crate) fn refuse(exchange: &Exchange, refusal: &Refusal, mut entry: Entry) -> Response {
    let body = (exchange.dialect.error)(refusal, &exchange.plan, &exchange.request_id);
    entry.answered(refusal.status, None);
    entry.end(Outcome::Whole);
    page(exchange, refusal.status, exchange.dialect.error_label, body)
}

/// Does what the plan wants done instead of answering.
pub(crate) async fn instead(exchange: &Exchange, wire: &Wire, mut entry: Entry) -> Response {
    let fault = exchange.plan.fault;
    match fault {
        Fault::Silence => std::future::pending().await,
        Fault::ResetBefore | Fault::CloseBefore => {
            if fault == Fault::ResetBefore {
                wire.reset_on_close();
            }
            entry.end(Outcome::Cut);
            let mut response = Response::new(Body::empty());
            response.extensions_mut().insert(NoResponse);
            response
        }
        Fault::Status(status, wait) => {
            let mut response = refuse(exchange, &Refusal::new(status, reason(status)), entry);
            put_wait(response.headers_mut(), wait);
            response
        }
        Fault::TooLong => {
            let message = "This model's maximum context length is 8192 tokens. Please reduce the length of the messages.";
            refuse(exchange, &Refusal::new(400, message).code("context_length_exceeded"), entry)
        }
        Fault::Filtered => {
            let message = "The message was filtered by the content policy.";
            refuse(exchange, &Refusal::new(400, message).code("content_filter"), entry)
        }
        _ => {
            let (status, label, body) = other(exchange);
            entry.answered(status, None);
            entry.end(Outcome::Whole);
            let mut response = page(exchange, status, label, body);
            if fault == Fault::Redirect {
                let target = HeaderValue::from_static("/_simulator/redirected");
                response.headers_mut().insert(header::LOCATION, target);
            }
            response
        }
    }
}

/// Answers that are no error of the provider's: status, label, body.
fn other(exchange: &Exchange) -> (u16, &'static str, String) {
    match exchange.plan.fault {
        // The sibling API's form [D]; that this endpoint would answer so is a guess [I]. What stands beside the
        // code is unknown [U].
        Fault::Code(code) => (200, "application/json", json!({"code": code, "data": null}).to_string()),
        Fault::Html(status) => {
            let page = "<!DOCTYPE html>\n<html><head><title>Something went wrong</title></head>\n\
                        <body><h1>Something went wrong</h1><p>nginx</p></body></html>\n";
            (status, "text/html; charset=utf-8", page.to_owned())
        }
        Fault::Redirect => (302, "text/plain; charset=utf-8", String::new()),
        _ => {
            let refusal = Refusal::new(400, "This is an error in spite of its status");
            let body = (exchange.dialect.error)(&refusal, &exchange.plan, &exchange.request_id);
            (200, "application/json", body)
        }
    }
}

fn page(exchange: &Exchange, code: u16, label: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status(code);
    (exchange.dialect.headers)(&exchange.request_id, response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(label));
    response
}

fn put_wait(headers: &mut HeaderMap, wait: Wait) {
    let (name, value) = match wait {
        Wait::Unsaid => return,
        Wait::RetryAfter(seconds) => (header::RETRY_AFTER, seconds),
        Wait::Reset(seconds) => {
            (HeaderName::from_static("x-ratelimit-reset"), (now_ms() / 1_000).saturating_add(seconds))
        }
        Wait::ResetMillis(seconds) => (
            HeaderName::from_static("x-ratelimit-reset"),
            now_ms().saturating_add(seconds.saturating_mul(1_000)),
        ),
    };
    headers.insert(name, HeaderValue::from(value));
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The usual words for a status.
fn reason(code: u16) -> &'static str {
    match code {
        401 => "Unauthorized",
        402 => "Insufficient balance",
        403 => "Access denied",
        404 => "Not found",
        408 => "Request timeout",
        413 => "Request too large",
        422 => "The request cannot be processed",
        429 => "Rate limit exceeded",
        400..=499 => "The request is invalid",
        503 => "Temporarily unavailable",
        504 => "Gateway timeout",
        _ => "Internal server error",
    }
}
