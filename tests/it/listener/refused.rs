//! What is no HTTP is refused with a body and an id like anything else.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{connect, read_to_end, running};

const GOOD: &str = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";

/// Status, id and body of an answer.
fn refused(answer: &str) -> (String, String, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let field = |name: &str| {
        let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_else(|| panic!("no {name}: {answer:?}")).to_owned()
    };
    assert_eq!(field("content-type"), "application/json");
    assert_eq!(field("content-length"), body.len().to_string());
    (status, field("x-request-id"), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn what_is_no_http_is_refused_in_words() {
    let running = running(|_| {}).await;
    let large = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(40_000));
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(66_000));
    for (status, said) in [
        ("400", "hello?\r\n\r\n"),
        ("400", "GET /livez HTTP/1.1\r\nno colon\r\n\r\n"),
        ("400", "GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n"),
        ("431", &large),
        ("414,431", &long),
    ] {
        let mut socket = connect(&running).await;
        socket.write_all(said.as_bytes()).await.unwrap();
        let (got, id, body) = refused(&read_to_end(socket).await);
        assert!(status.contains(&got), "{got}");
        assert!(id.starts_with("req_"));
        let error = &body["error"];
        assert_eq!(error["request_id"], id);
        assert_eq!((&error["type"], &error["code"]), (&"invalid_request".into(), &"invalid_value".into()));
        assert_eq!((&error["retryable"], &error["turn_id"]), (&false.into(), &Value::Null));
    }
    running.leave().await;
}

#[tokio::test]
async fn a_good_request_before_it_is_answered_as_it_is() {
    let running = running(|_| {}).await;
    // One after the other, and both at once.
    for at_once in [false, true] {
        let mut socket = connect(&running).await;
        let mut good = String::new();
        let bad = "hello?\r\n\r\n";
        if at_once {
            socket.write_all(format!("{GOOD}{bad}").as_bytes()).await.unwrap();
        } else {
            socket.write_all(GOOD.as_bytes()).await.unwrap();
            while !good.ends_with('}') {
                let mut bytes = [0; 1024];
                let count = socket.read(&mut bytes).await.unwrap();
                good.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            }
            socket.write_all(bad.as_bytes()).await.unwrap();
        }
        good.push_str(&read_to_end(socket).await);
        let (good, bad) = good.split_at(good.rfind("HTTP/1.1 ").unwrap());
        assert!(good.starts_with("HTTP/1.1 200 OK\r\n"), "{good:?}");
        assert_eq!(refused(bad).0, "400");
    }
    running.leave().await;
}
