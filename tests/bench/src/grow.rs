//! How cost grows: with keys and tenants, with a conversation's length, with how many conversations are kept, with load.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use crate::events::{Face, between};
use crate::http::{self, Answer};
use crate::targets::{KEY, Target, authorization, further_key};

/// Asks once, and gives the body of the answer.
pub(crate) fn ask(address: SocketAddr, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut socket = TcpStream::connect(address)?;
    socket.write_all(request)?;
    let (mut answer, mut body, mut buffer) = (Answer::new(), Vec::new(), vec![0; 64 * 1024]);
    loop {
        let count = socket.read(&mut buffer)?;
        ensure!(count > 0, "closed before the answer's end");
        if answer.feed(buffer.get(..count).unwrap_or_default(), |part| body.extend_from_slice(part))? {
            break;
        }
    }
    if answer.status >= 300 {
        bail!("{}: {}", answer.status, String::from_utf8_lossy(&body));
    }
    Ok(body)
}

/// A target that asks on in a conversation which has so many messages.
pub(crate) fn conversation(address: SocketAddr, messages: usize) -> anyhow::Result<Target> {
    let mut transcript = String::new();
    // The first turn adds its answer.
    for number in 0..messages.saturating_sub(1) {
        let role = if number % 2 == 0 { "user" } else { "assistant" };
        let comma = if number > 0 { "," } else { "" };
        transcript
            .push_str(&format!("{comma}{{\"role\":\"{role}\",\"content\":\"Message {number} of many\"}}"));
    }
    let body = format!("{{\"assistant\":\"openai-0-0\",\"messages\":[{transcript}]}}");
    let answer = ask(address, &http::post("/v1/chat", &authorization(KEY), &body))?;
    let id = between(&answer, b"\"conversation_id\":\"").context("no conversation")?;
    let id = String::from_utf8_lossy(id);
    let mut target = crate::targets::native_target(address, "openai", true);
    target.name = format!("gateway ({messages} messages)");
    let body = format!("{{\"conversation_id\":\"{id}\",\"message\":\"And then?\"}}");
    target.whole = http::post("/v1/chat", &authorization(KEY), &body);
    Ok(target)
}

/// A target that lists conversations, of which so many are kept.
pub(crate) fn list(address: SocketAddr, conversations: usize) -> Target {
    let mut target = crate::targets::native_target(address, "openai", true);
    target.name = format!("gateway ({conversations} kept)");
    let head = format!("GET /v1/conversations HTTP/1.1\r\nhost: 127.0.0.1\r\n{}\r\n", authorization(KEY));
    target.whole = head.into_bytes();
    target.whole_text = b"\"object\":\"list\"".to_vec();
    target.face = Face::Gateway;
    target
}

/// Targets for connections each of which has a key of its own.
pub(crate) fn keyed(address: SocketAddr, keys: usize, connections: usize) -> Vec<Target> {
    let target = |number: usize| {
        let mut target = crate::targets::dialect_target(address);
        target.name = format!("gateway ({keys} keys and tenants)");
        let whole = String::from_utf8_lossy(&target.whole).into_owned();
        // Spread over all of them.
        let key = further_key(number.saturating_mul(keys) / connections.max(1));
        target.whole = whole.replace(&authorization(KEY), &authorization(&key)).into_bytes();
        target
    };
    (0..connections).map(target).collect()
}

/// Puts copies of the one conversation that a store has beside it, each changed a second after the one before. False where there is
/// no `sqlite3` to do it with.
pub(crate) fn fill(file: &Path, conversations: usize) -> anyhow::Result<bool> {
    let columns = "tenant, assistant, provider, user_id, title, metadata, message_count, preview, preview_position, \
                   next_position, upstream_id, created_at";
    let sql = format!(
        "PRAGMA synchronous = OFF; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {conversations}) \
         INSERT INTO conversations (id, {columns}, updated_at) \
         SELECT randomblob(16), {columns}, updated_at - 1000 * i FROM n, (SELECT * FROM conversations LIMIT 1);"
    );
    let done = Command::new("sqlite3").arg(file).arg(sql).stdin(Stdio::null()).output();
    let Ok(done) = done else { return Ok(false) };
    ensure!(done.status.success(), "sqlite3: {}", String::from_utf8_lossy(&done.stderr));
    Ok(true)
}

/// Makes one conversation.
pub(crate) fn begin(address: SocketAddr) -> anyhow::Result<()> {
    let body = "{\"assistant\":\"openai-0-0\"}";
    ask(address, &http::post("/v1/conversations", &authorization(KEY), body)).map(|_| ())
}
