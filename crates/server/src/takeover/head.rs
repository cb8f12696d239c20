//! Which answers are written without the library, and their heads as the library would write them.

use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;

/// What a request says about how its answer is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Whether the connection ends with the answer.
    pub(crate) close: bool,
}

impl Terms {
    /// None where the library is to write the answer, whatever it is: of all that HTTP/1 knows, only the plain case is ours.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        let headers = request.headers();
        let plain = request.version() == Version::HTTP_11
            && matches!(*request.method(), Method::GET | Method::POST)
            && [TRANSFER_ENCODING, UPGRADE].iter().all(|name| !headers.contains_key(name));
        plain.then(|| Self { close: closes(headers) })
    }
}

/// Whether an answer is an event stream with nothing else about it.
pub(crate) fn is_event_stream<B: Body>(response: &Response<B>) -> bool {
    let headers = response.headers();
    let connection = headers.get_all(CONNECTION).iter().all(|value| value == "close");
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream")
        && response.status() == StatusCode::OK
        && connection
        && [CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER, DATE].iter().all(|name| !headers.contains_key(name))
        && !response.body().is_end_stream()
        && response.body().size_hint().exact().is_none()
}

/// The head of a stream that is sent in chunks. `close`: the connection ends with it.
pub(super) fn encode(headers: &HeaderMap, close: bool) -> Bytes {
    let mut head = BytesMut::with_capacity(512);
    head.put_slice(b"HTTP/1.1 200 OK\r\n");
    let mut line = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            head.put_slice(part);
        }
    };
    for (name, value) in headers {
        line(name.as_str(), value.as_bytes());
    }
    if close && !headers.contains_key(CONNECTION) {
        line("connection", b"close");
    }
    line("transfer-encoding", b"chunked");
    line("date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    head.put_slice(b"\r\n");
    head.freeze()
}

/// Whether the connection ends with this message.
pub(super) fn closes(headers: &HeaderMap) -> bool {
    let closes = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"))
    };
    headers.get_all(CONNECTION).iter().any(closes)
}
