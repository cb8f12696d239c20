//! A stream of OpenAI's dialect that breaks, on the wire: the error is there whole, and the transfer has no end.

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::crash::bed::{Bed, SECRET};

#[tokio::test]
async fn the_error_is_sent_and_then_the_transfer_breaks_off() {
    let bed = Bed::new(&[("cut", "unleash", "fault-cut-after-2")], "", "").await;
    let gateway = bed.start().await;
    let ways = [reqwest::Client::builder().http1_only(), reqwest::Client::builder().http2_prior_knowledge()];
    for way in ways {
        let client = way.no_proxy().build().unwrap();
        let body = json!({"model": "cut", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
        let asked = client.post(format!("{}/openai/v1/chat/completions", gateway.url)).bearer_auth(SECRET);
        let asked = asked.header("content-type", "application/json").body(body.to_string());
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let version = answer.version();
        let (mut bytes, mut stream) = (Vec::new(), answer.bytes_stream());
        let broken = loop {
            match stream.next().await {
                Some(Ok(piece)) => bytes.extend(piece),
                end => break end,
            }
        };
        assert!(matches!(broken, Some(Err(_))), "{version:?}: no client may take it for whole");
        let text = String::from_utf8(bytes).unwrap();
        let last = text.strip_suffix("\n\n").unwrap().rsplit("\n\n").next().unwrap();
        let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "provider_error", "{version:?}");
        assert!(text.matches("\"content\"").count() > 1 && !text.contains("[DONE]"), "{version:?}: {text}");
    }
}
