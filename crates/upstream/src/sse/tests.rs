use bytes::Bytes;
use proptest::prelude::*;

use super::{Frame, FrameError, Limits, Reader};

/// The frames of these pieces, and the error after them.
fn read<'a>(limits: Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let mut reader = Reader::new(limits);
    let mut frames = Vec::new();
    let mut drain = |reader: &mut Reader| loop {
        match reader.next_frame() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    };
    for piece in pieces {
        reader.push(&Bytes::copy_from_slice(piece));
        if let Some(error) = drain(&mut reader) {
            return (frames, Some(error));
        }
    }
    reader.finish();
    let error = drain(&mut reader);
    (frames, error)
}

fn frames(text: &str) -> Vec<Frame> {
    let (frames, error) = read(Limits::default(), [text.as_bytes()]);
    assert_eq!(error, None);
    frames
}

fn frame(event: Option<&str>, data: &str) -> Frame {
    Frame { event: event.map(str::to_owned), data: data.to_owned() }
}

/// The same rules over the whole text at once, with no thought for cost.
fn reference(bytes: &[u8], limits: Limits) -> (Vec<Frame>, Option<FrameError>) {
    let mut frames = Vec::new();
    let error = reference_frames(bytes, limits.frame_bytes_max, &mut frames).err();
    (frames, error)
}

fn reference_frames(bytes: &[u8], max: usize, frames: &mut Vec<Frame>) -> Result<(), FrameError> {
    let mut event: Option<Vec<u8>> = None;
    let mut event_after: Option<Vec<u8>> = None;
    let mut data: Option<Vec<u8>> = None;
    for (number, line) in reference_lines(bytes).into_iter().enumerate() {
        if line.len() > max {
            return Err(FrameError::TooLong);
        }
        let line = if number == 0 { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line) } else { &line };
        let whole = data.as_deref().is_some_and(is_object);
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = match colon {
            Some(0) => continue,
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"" => {
                let named = event_after.take().or(event.take());
                emit(named, data.take(), frames)?;
            }
            b"data" => {
                if whole {
                    emit(event.take(), data.take(), frames)?;
                    event = event_after.take();
                }
                join(&mut data, value, max)?;
            }
            b"event" => {
                str::from_utf8(value).map_err(|_| FrameError::Encoding)?;
                *(if data.is_some() { &mut event_after } else { &mut event }) = Some(value.to_vec());
            }
            b"id" | b"retry" => {}
            _ if data.is_some() && !whole => join(&mut data, line, max)?,
            _ => {}
        }
    }
    emit(event_after.or(event), data, frames)
}

fn reference_lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    let mut rest = bytes.iter().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'\r' | b'\n' => {
                if *byte == b'\r' {
                    rest.next_if_eq(&&b'\n');
                }
                lines.push(Vec::new());
            }
            other => lines.last_mut().unwrap().push(*other),
        }
    }
    // What follows the last line's end is a line only if there is something.
    lines.pop_if(|last| last.is_empty());
    lines
}

fn is_object(data: &[u8]) -> bool {
    match serde_json::from_slice::<serde_json::Value>(
        &String::from_utf8_lossy(data).into_owned().into_bytes(),
    ) {
        Ok(serde_json::Value::Object(_)) => true,
        Ok(serde_json::Value::Array(items)) => items.first().is_some_and(serde_json::Value::is_object),
        _ => false,
    }
}

fn join(data: &mut Option<Vec<u8>>, value: &[u8], max: usize) -> Result<(), FrameError> {
    let joined = match data.take() {
        Some(before) => [before.as_slice(), b"\n", value].concat(),
        None => value.to_vec(),
    };
    if joined.len() > max {
        return Err(FrameError::TooLong);
    }
    *data = Some(joined);
    Ok(())
}

fn emit(event: Option<Vec<u8>>, data: Option<Vec<u8>>, frames: &mut Vec<Frame>) -> Result<(), FrameError> {
    let Some(data) = data else { return Ok(()) };
    let data = String::from_utf8(data).map_err(|_| FrameError::Encoding)?;
    let event = event.map(|name| String::from_utf8(name).unwrap()).filter(|name| !name.is_empty());
    frames.push(Frame { event, data });
    Ok(())
}

#[test]
fn reads_what_the_standard_says() {
    assert_eq!(
        frames("data: a\n\ndata:b\r\n\r\ndata:  c\r\r"),
        [frame(None, "a"), frame(None, "b"), frame(None, " c")]
    );
    assert_eq!(frames("\u{feff}data: a\ndata\ndata: b\n\n"), [frame(None, "a\n\nb")]);
    assert_eq!(frames(": ping\nid: 7\nretry: 10\nevent: x\ndata: a\n\n"), [frame(Some("x"), "a")]);
    assert_eq!(frames("data: a\nevent: x\n\ndata: b\n\n"), [frame(Some("x"), "a"), frame(None, "b")]);
    assert_eq!(frames("event: x\nevent: y\ndata: a\n\n"), [frame(Some("y"), "a")]);
    assert_eq!(frames("event: x\n\ndata:\n\n"), [frame(None, "")]);
    assert_eq!(frames("event:\ndata: a\n\n"), [frame(None, "a")]);
    assert_eq!(frames("data: a: b\n\n"), [frame(None, "a: b")]);
    assert_eq!(frames("\n\n\r\n"), []);
}

#[test]
fn the_end_of_the_bytes_ends_a_frame() {
    for text in ["data: a", "data: a\n", "data: a\r", "data: a\n\n"] {
        assert_eq!(frames(text), [frame(None, "a")], "{text:?}");
    }
    assert_eq!(frames("data: {}\ndata: [DONE]"), [frame(None, "{}"), frame(None, "[DONE]")]);
}

#[test]
fn a_complete_object_is_ended_by_the_next_data_line() {
    assert_eq!(
        frames("data: {\"a\":1}\ndata: {\"a\":\"}\\\"{\"}\ndata: [DONE]\n"),
        [frame(None, "{\"a\":1}"), frame(None, "{\"a\":\"}\\\"{\"}"), frame(None, "[DONE]")]
    );
    assert_eq!(
        frames("event: x\ndata: {}\nevent: y\ndata: {}\ndata: [{}]\ndata: end\n\n"),
        [frame(Some("x"), "{}"), frame(Some("y"), "{}"), frame(None, "[{}]"), frame(None, "end")]
    );
    // Printed over several lines, with and without a field name; an unknown field after a complete object is no part of it.
    assert_eq!(
        frames("data: {\ndata: \"a\":\ndata: 1}\ndata: {}\n\n"),
        [frame(None, "{\n\"a\":\n1}"), frame(None, "{}")]
    );
    assert_eq!(frames("data: {\n  \"a\": 1\n}\nserver: x\n\n"), [frame(None, "{\n  \"a\": 1\n}")]);
    // What is no object may be text whose line feeds count.
    for text in ["42", "[1]", "[1", "\"a\"", "true", "{x}", "{]", "[", ""] {
        let joined = format!("{text}\n");
        assert_eq!(frames(&format!("data: {text}\ndata:\n\n")), [frame(None, &joined)], "{text:?}");
    }
}

#[test]
fn sizes_are_bounded() {
    let limits = Limits { frame_bytes_max: 16 };
    let error = |text: &str| read(limits, [text.as_bytes()]).1;
    assert_eq!(error("data: 0123456789\ndata: 12345\n\n"), None);
    assert_eq!(error("data: 0123456789\ndata: 123456\n\n"), Some(FrameError::TooLong));
    assert_eq!(error(": 012345678901234\n"), Some(FrameError::TooLong));
    assert_eq!(error(&"x".repeat(17)), Some(FrameError::TooLong));

    let mut reader = Reader::new(limits);
    reader.push(&Bytes::from("data: a\n\ndata: 0123456789a"));
    assert_eq!(reader.next_frame(), Ok(Some(frame(None, "a"))));
    for _ in 0..2 {
        assert_eq!(reader.next_frame(), Err(FrameError::TooLong));
        reader.push(&Bytes::from("data: b\n\n"));
        reader.finish();
    }
}

#[test]
fn what_is_not_utf_8_is_an_error() {
    assert_eq!(
        read(Limits::default(), [&b"data: a\n\ndata: \xff\n\n"[..]]),
        (vec![frame(None, "a")], Some(FrameError::Encoding))
    );
    assert_eq!(read(Limits::default(), [&b": \xff\ndata: a\n\n"[..]]), (vec![frame(None, "a")], None));
}

#[test]
fn a_large_frame_in_small_pieces_is_read_once() {
    // Were anything read again for each piece or line, these would take hours.
    for (length, size) in [(1 << 20, 1), (8_000_000, 1024)] {
        let text = format!("data: {{\"a\":\"{}\"}}\n\n", "x".repeat(length));
        let (frames, error) = read(Limits::default(), text.as_bytes().chunks(size));
        assert_eq!((frames.len(), error), (1, None));
    }
    for line in ["data: {\n", "data: \n", "data: [\n", "{ \n", "data: \"\n"] {
        let text = format!("data: {{\n{}", line.repeat(200_000));
        let (frames, error) = read(Limits::default(), text.as_bytes().chunks(1024));
        assert_eq!((frames.len(), error), (1, None));
    }
}

#[test]
fn every_cut_gives_the_same_frames() {
    let text = "\u{feff}event: x\r\ndata: {\"ж\":\r\ndata: \"😀\"}\r\n\r\n: c\rdata: a\rdata: b\r\r\ndata: {}\ndata: {}\ndata: z"
        .as_bytes();
    let whole = reference(text, Limits::default());
    assert_eq!(whole.0.len(), 5);
    for first in 0..=text.len() {
        for second in first..=text.len() {
            let pieces = [&text[..first], &text[first..second], &text[second..]];
            assert_eq!(read(Limits::default(), pieces), whole, "cut at {first} and {second}");
        }
    }
    assert_eq!(read(Limits::default(), text.chunks(1)), whole);
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        6 => prop::sample::select(&[
            "data:", "data: ", "data", "event: ", "event:x", "id: 1", "retry: 1", ": c", ":", " ", "a", "foo: b", "é😀", "\u{feff}",
            "{\"a\":1}", "{", "}", "[", "]", "[{}]", "\"", "\\", "1", "[DONE]",
        ][..]).prop_map(|part| part.as_bytes().to_vec()),
        5 => prop::sample::select(&["\n", "\r", "\r\n", "\n\n"][..]).prop_map(|part| part.as_bytes().to_vec()),
        3 => prop::sample::select(&["\ndata: ", "\ndata: {}", "\ndata: {\"b\":[", "\n]}", "\nevent: y\n"][..])
            .prop_map(|part| part.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..3),
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_pieces_give_what_the_reference_gives(
        text in stream(),
        sizes in prop::collection::vec(0_usize..9, 1..12),
        frame_bytes_max in prop_oneof![Just(1_000_000_usize), 4_usize..40],
    ) {
        let limits = Limits { frame_bytes_max };
        let expected = reference(&text, limits);
        let mut pieces = Vec::new();
        let mut rest = text.as_slice();
        let mut sizes = sizes.iter().cycle().chain([&1]);
        while !rest.is_empty() {
            let size = *sizes.next().unwrap();
            let (piece, after) = rest.split_at(size.max(usize::from(pieces.len() > 200)).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(read(limits, pieces), expected.clone());
        prop_assert_eq!(read(limits, [text.as_slice()]), expected);
    }
}
