//! Heads: of a request, written; of an answer, read.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use crate::client::AGENT;

/// How many headers an answer may have.
const HEADERS_MAX: usize = 100;

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// Whether the connection can be used again after the body.
    pub(super) keep_alive: bool,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    Chunked,
    /// It ends with the connection.
    Close,
}

/// What stands in the head of each request to one server.
#[derive(Debug)]
pub(super) struct Fixed {
    /// The lines of host and agent.
    host: Vec<u8>,
    agent: Vec<u8>,
}

impl Fixed {
    /// For this server. The port that the URL's scheme means is not said.
    pub(super) fn new(url: &Uri) -> Option<Self> {
        let authority = url.authority()?;
        let port = authority.port_u16().filter(|port| *port != super::port_of(url.scheme()));
        let host = if port.is_some() { authority.as_str() } else { authority.host() };
        let (mut host_line, mut agent_line) = (Vec::new(), Vec::new());
        put(&mut host_line, &HOST, host.as_bytes());
        put(&mut agent_line, &USER_AGENT, AGENT.as_bytes());
        Some(Self { host: host_line, agent: agent_line })
    }
}

/// Appends a header.
fn put(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    let name = name.as_str().as_bytes();
    head.reserve(name.len() + value.len() + 4);
    head.extend_from_slice(name);
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Writes a request's head.
pub(super) fn encode(parts: &Parts, body: &Bytes, fixed: &Fixed) -> Bytes {
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let (mut host, mut agent, mut accept, mut coding) = (true, true, true, true);
    for name in parts.headers.keys() {
        host &= *name != HOST;
        agent &= *name != USER_AGENT;
        accept &= *name != ACCEPT;
        coding &= *name != ACCEPT_ENCODING;
    }
    let mut head = Vec::with_capacity(512);
    for piece in [
        parts.method.as_str().as_bytes(),
        b" ",
        path.as_bytes(),
        b" HTTP/1.1\r\n",
        if host { &fixed.host } else { &[][..] },
        if agent { &fixed.agent } else { &[][..] },
        if accept { b"accept: */*\r\n" } else { &[][..] },
        if coding { b"accept-encoding: gzip\r\n" } else { &[][..] },
    ] {
        head.extend_from_slice(piece);
    }
    // Ours to say, whatever else is configured.
    for (name, value) in parts.headers.iter().filter(|(name, _)| !framing(name)) {
        put(&mut head, name, value.as_bytes());
    }
    if !body.is_empty() || matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
        put(&mut head, &CONTENT_LENGTH, itoa::Buffer::new().format(body.len()).as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

fn framing(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING || *name == CONNECTION
}

/// Which headers there are of those that say how the answer ends: what is not there need not be looked up.
#[derive(Debug, Default)]
struct Says {
    length: bool,
    coding: bool,
    connection: bool,
}

/// How much may come with a head for the headers to share its memory, which they may hold for as long as the body goes on.
const SHARED_BYTES_MAX: usize = 1024;

/// Reads an answer's head: it and its length in bytes; none while it is not whole. The heads of interim answers (1xx) are skipped by
/// whoever reads.
///
/// # Errors
/// It is none: what about it is wrong.
pub(super) fn decode(bytes: &Bytes, without_body: bool) -> Result<Option<(Head, usize)>, &'static str> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut response, bytes, &mut headers) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err("no head of an answer"),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("no status")?;
    let shared = bytes.len() - length <= SHARED_BYTES_MAX;
    let mut map = HeaderMap::with_capacity(response.headers.len());
    let mut says = Says::default();
    for header in &*response.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| "a header's name")?;
        let value = match shared {
            true => HeaderValue::from_maybe_shared(bytes.slice_ref(header.value)),
            false => HeaderValue::from_bytes(header.value),
        };
        says.length |= name == CONTENT_LENGTH;
        says.coding |= name == TRANSFER_ENCODING;
        says.connection |= name == CONNECTION;
        map.append(name, value.map_err(|_| "a header's value")?);
    }
    let is_new = response.version == Some(1);
    let framing = if without_body || status.is_informational() || matches!(status.as_u16(), 204 | 304) {
        Framing::None
    } else {
        body_framing(&map, is_new, &says)?
    };
    let said = |word: &str| {
        if !says.connection {
            return false;
        }
        let words = map.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        words.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
    };
    let keep_alive = framing != Framing::Close && if is_new { !said("close") } else { said("keep-alive") };
    Ok(Some((Head { status, headers: map, framing, keep_alive }, length)))
}

/// Whether this is how HTTP/2 begins, or ends because it was not spoken to it: a frame of settings, or of leave-taking, for the whole
/// connection. No answer of HTTP/1 begins with a zero.
pub(super) fn is_newer(bytes: &[u8]) -> bool {
    matches!(bytes, [0, _, _, 4 | 7, _, 0, 0, 0, 0, ..])
}

fn body_framing(headers: &HeaderMap, is_new: bool, says: &Says) -> Result<Framing, &'static str> {
    if says.coding
        && let Some(last) = headers.get_all(TRANSFER_ENCODING).iter().next_back()
    {
        if !is_new {
            return Err("an encoding that its version does not have");
        }
        let last = last.to_str().map_err(|_| "the encoding")?.rsplit(',').next().unwrap_or_default();
        let chunked = last.trim().eq_ignore_ascii_case("chunked");
        return Ok(if chunked { Framing::Chunked } else { Framing::Close });
    }
    if !says.length {
        return Ok(Framing::Close);
    }
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        // Some servers and proxies say it twice, also in one line.
        for word in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let one = number(word).ok_or("the length")?;
            if length.is_some_and(|other| other != one) {
                return Err("two lengths");
            }
            length = Some(one);
        }
    }
    Ok(length.map_or(Framing::Close, Framing::Length))
}

/// A number of digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    let add = |sum: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing_of(head: &str) -> Result<(Framing, bool), &'static str> {
        decode(&Bytes::copy_from_slice(head.as_bytes()), false).map(|read| {
            let (head, _) = read.unwrap();
            (head.framing, head.keep_alive)
        })
    }

    #[test]
    fn an_answer_says_where_it_ends() {
        let read = |fields: &str| framing_of(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        assert_eq!(read("content-length: 5\r\n"), Ok((Framing::Length(5), true)));
        assert_eq!(read("content-length: 5, 5\r\nContent-Length: 5\r\n"), Ok((Framing::Length(5), true)));
        assert_eq!(
            read("transfer-encoding: gzip, Chunked\r\ncontent-length: 5\r\n"),
            Ok((Framing::Chunked, true))
        );
        assert_eq!(read("transfer-encoding: gzip\r\n"), Ok((Framing::Close, false)));
        assert_eq!(read("connection: x, Close\r\ncontent-length: 0\r\n"), Ok((Framing::Length(0), false)));
        assert_eq!(read(""), Ok((Framing::Close, false)));
        for wrong in [
            "content-length: +5\r\n",
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length:\r\n",
            "content-length: 5,\r\n",
            "content-length: 18446744073709551616\r\n",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(framing_of("HTTP/1.1 204 No Content\r\n\r\n"), Ok((Framing::None, true)));
        assert_eq!(
            framing_of("HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\n"),
            Ok((Framing::Length(5), true))
        );
        assert_eq!(
            framing_of("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n"),
            Ok((Framing::Length(5), false))
        );
        assert!(framing_of("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let head = Bytes::from_static(b"HTTP/1.1 200 OK\r\nx-a: 1\r\n\r\nrest");
        for cut in 0..head.len() - 4 {
            assert!(decode(&head.slice(..cut), false).unwrap().is_none(), "{cut}");
        }
        let (read, length) = decode(&head, false).unwrap().unwrap();
        assert_eq!((read.headers["x-a"].as_bytes(), length), (&b"1"[..], head.len() - 4));
        assert!(decode(&Bytes::from_static(b"SSH-2.0-OpenSSH_9.6\r\n"), false).is_err());
    }

    #[test]
    fn the_other_protocol_is_known_by_its_first_frame() {
        let settings = [0, 0, 18, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
        assert!(is_newer(&settings) && !is_newer(&settings[..8]) && !is_newer(b"HTTP/1.1 200 OK\r\n\r\n"));
    }

    #[test]
    fn a_host_is_said_with_the_port_that_its_scheme_does_not_mean() {
        for (url, host) in [
            ("http://a.test:80/", "a.test"),
            ("https://a.test:443/", "a.test"),
            ("http://a.test:443/", "a.test:443"),
            ("https://a.test:80/", "a.test:80"),
            ("https://[::1]:8443/", "[::1]:8443"),
        ] {
            let (parts, body) = http::Request::get(url).body(Bytes::new()).unwrap().into_parts();
            let head = encode(&parts, &body, &Fixed::new(&parts.uri).unwrap());
            let line = format!("host: {host}\r\n");
            assert!(std::str::from_utf8(&head).unwrap().contains(&line), "{url}");
        }
    }

    #[test]
    fn what_a_call_says_itself_is_said_once() {
        let request = http::Request::post("http://a.test/b?c=d")
            .header("accept", "text/event-stream")
            .header("content-length", "7")
            .header("host", "other.test")
            .header("x-two", "1")
            .header("x-two", "2");
        let (parts, body) = request.body(Bytes::from_static(b"{}")).unwrap().into_parts();
        let head = encode(&parts, &body, &Fixed::new(&parts.uri).unwrap());
        let expected = format!(
            "POST /b?c=d HTTP/1.1\r\nuser-agent: {AGENT}\r\naccept-encoding: gzip\r\naccept: text/event-stream\r\nhost: other.test\r\n\
             x-two: 1\r\nx-two: 2\r\ncontent-length: 2\r\n\r\n"
        );
        assert_eq!(std::str::from_utf8(&head).unwrap(), expected);
    }
}
