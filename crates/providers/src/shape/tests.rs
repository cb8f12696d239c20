use super::*;

/// What is read of a body in one piece, and in every two pieces, and byte by byte: must be the same, texts put together.
fn read(label: &str, body: &[u8]) -> Result<Vec<Item>, Unreadable> {
    let pieces = |pieces: &[&[u8]]| {
        let mut headers = HeaderMap::new();
        if !label.is_empty() {
            headers.insert("content-type", label.parse().unwrap());
        }
        let mut shape = Shape::new(&headers, 1000);
        let mut items: Vec<Item> = Vec::new();
        let mut take = |shape: &mut Shape| -> Result<(), Unreadable> {
            while let Some(item) = shape.next_item()? {
                match (items.last_mut(), item) {
                    (Some(Item::Text(before)), Item::Text(text)) => before.push_str(&text),
                    (_, item) => items.push(item),
                }
            }
            Ok(())
        };
        for piece in pieces {
            shape.push(&Bytes::copy_from_slice(piece));
            take(&mut shape)?;
        }
        shape.finish();
        take(&mut shape)?;
        Ok(items)
    };
    let whole = pieces(&[body]);
    for cut in 0..body.len() {
        let (left, right) = body.split_at(cut);
        assert_eq!(pieces(&[left, right]), whole, "cut at {cut}");
    }
    assert_eq!(pieces(&body.chunks(1).collect::<Vec<_>>()), whole);
    whole
}

fn json(text: &str) -> Result<Vec<Item>, Unreadable> {
    Ok(vec![Item::Json(Bytes::copy_from_slice(text.as_bytes()))])
}

fn frames(frames: &[(Option<&str>, &str)]) -> Result<Vec<Item>, Unreadable> {
    let frame = |(event, data): &(Option<&str>, &str)| {
        Item::Frame(sse::Frame { event: event.map(str::to_owned), data: (*data).to_owned() })
    };
    Ok(frames.iter().map(frame).collect())
}

fn text(text: &str) -> Result<Vec<Item>, Unreadable> {
    Ok(vec![Item::Text(text.to_owned())])
}

#[test]
fn json_is_json_whatever_its_label() {
    for label in ["application/json", "text/plain; charset=utf-8", "", "text/event-stream", "text/html"] {
        assert_eq!(read(label, b" {\"a\":\n1}\n"), json(" {\"a\":\n1}\n"), "{label}");
        assert_eq!(read(label, b"{\"a\":1}\n\n"), json("{\"a\":1}\n\n"), "{label}");
    }
    assert_eq!(read("application/problem+json", b"\"yes\""), json("\"yes\""));
    assert_eq!(read("application/json", b"[1,]"), json("[1,]"));
    assert_eq!(read("application/json", b"{\"cut"), json("{\"cut"));
}

#[test]
fn an_event_stream_is_one_whatever_its_label() {
    for label in ["application/json", "text/plain", "", "text/event-stream; charset=utf-8"] {
        assert_eq!(
            read(label, b"\n: hi\r\n\r\ndata: {\"a\":1}\r\n\r\nevent: end\ndata:x\n\n"),
            frames(&[(None, "{\"a\":1}"), (Some("end"), "x")]),
            "{label}"
        );
        assert_eq!(read(label, "\u{feff}data: ы\n".as_bytes()), frames(&[(None, "ы")]), "{label}");
    }
}

#[test]
fn lines_of_json() {
    let two = frames(&[(None, "{\"a\":1}"), (None, "{\"b\":2}")]);
    for label in ["application/x-ndjson", "application/json", "text/plain", ""] {
        assert_eq!(read(label, b"{\"a\":1}\r\n\n{\"b\":2}"), two, "{label}");
    }
    assert_eq!(read("application/json-seq", b"\x1e{\"a\":1}\n\x1e{\"b\":2}\n"), two);
    assert_eq!(read("application/x-ndjson", b"{\"a\":1}\n"), frames(&[(None, "{\"a\":1}")]));
}

#[test]
fn raw_text_is_passed_on_as_it_comes() {
    assert_eq!(read("text/plain", "\n Привет, data: x".as_bytes()), text("\n Привет, data: x"));
    assert_eq!(read("", b"dat"), text("dat"));
    assert_eq!(read("text/plain", b"[1] says so"), text("[1] says so"));
    assert_eq!(read("text/event-stream", b"Note: hi\nyou"), text("Note: hi\nyou"));
    assert_eq!(read("text/event-stream", b"note: hi\n\ndata: x"), frames(&[(None, "x")]));
    assert_eq!(read("text/plain", b"a\xff"), Err(Unreadable));
    assert_eq!(read("text/plain", b"a\xd0"), Err(Unreadable));
    let mut shape = Shape::new(&HeaderMap::new(), 1000);
    shape.push(&Bytes::from_static(b"Hello"));
    assert_eq!(shape.next_item(), Ok(Some(Item::Text("Hello".into()))));
}

#[test]
fn pages_and_too_much_cannot_be_read() {
    assert_eq!(read("", b" <!DOCTYPE html><p>"), Err(Unreadable));
    assert_eq!(read("text/html", b"Oops"), Err(Unreadable));
    assert_eq!(read("text/plain", b""), Ok(vec![]));
    assert_eq!(read("application/json", b" "), Ok(vec![]));
    let mut shape = Shape::new(&HeaderMap::new(), 1000);
    shape.push(&Bytes::from(format!("{{\"a\":\"{}", "x".repeat(1000))));
    assert_eq!(shape.next_item(), Err(Unreadable));
}
