//! A provider's way out: sends a call, and runs the answer through shape and decoder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chat::{Failure, Piece, PieceStream, ProviderError, ProviderStatus, Request};
use http::{HeaderMap, Method};
use upstream::{Answered, Call, Classifier, Lost, Repeat, Response, Upstream};

use crate::Context;
use crate::again::{Again, Start};
use crate::decoder::Driver;
use crate::failure::{Bridge, Judge};
use crate::health::Health;

/// What a provider sends: made by its `encode`, pure.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// The method.
    pub(crate) method: Method,
    /// What is appended to the base URL, its segments percent-encoded ([`segment`]).
    pub(crate) path: String,
    /// Headers of this call; `content-type: application/json` is added where there is a body.
    pub(crate) headers: HeaderMap,
    /// The body; empty for none.
    pub(crate) body: Bytes,
    /// Whether the clock to the response's headers runs: only where a stream was asked for, as other calls answer when they are done.
    pub(crate) headers_clock: bool,
}

/// What every provider is built around.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    upstream: Upstream,
    judge: Judge,
    health: Arc<Health>,
    bytes_max: usize,
    classifier: Option<Classifier>,
    request_id_headers: &'static [&'static str],
}

impl Link {
    /// How long a call outside of a turn may take (a probe, a list).
    const ASK_MAX: Duration = Duration::from_secs(60);

    /// A way out. `classifier` finds failures that hide in a 2xx; `request_id_headers` name the provider's id of a call, in order of
    /// preference.
    pub(crate) fn new(
        upstream: Upstream,
        context: &Context,
        judge: Judge,
        classifier: Option<Classifier>,
        request_id_headers: &'static [&'static str],
    ) -> Self {
        // JSON may write a character in six bytes that is two (`\u043f`), and says other things beside the text.
        let bytes_max = context.reply_bytes_max.saturating_mul(4).saturating_add(1024 * 1024);
        Self { upstream, judge, health: Arc::default(), bytes_max, classifier, request_id_headers }
    }

    /// The judge of this provider's failures.
    pub(crate) fn judge(&self) -> &Judge {
        &self.judge
    }

    /// How the provider is doing.
    pub(crate) fn status(&self) -> ProviderStatus {
        self.health.status(&self.upstream)
    }

    /// How long a call made now would be refused for.
    pub(crate) fn closed_for(&self) -> Option<Duration> {
        self.upstream.closed_for()
    }

    /// Asks for a reply. `first` are pieces that come before all others; `start` makes the decoder, given the answer's headers.
    ///
    /// # Errors
    /// The call failed or was refused.
    pub(crate) async fn answer(
        &self,
        request: &Request,
        outgoing: Outgoing,
        repeat: Repeat,
        first: Vec<Piece>,
        start: impl Start,
    ) -> Result<PieceStream, ProviderError> {
        let observer = Bridge { observer: Arc::clone(&request.observer), judge: self.judge.clone() };
        // A call without a stream has no clock to its headers, and the other way round.
        let one_piece = !outgoing.headers_clock;
        let response =
            self.send(outgoing, repeat, one_piece, Some(Arc::new(observer)), request.deadline).await?;
        let again = Again::new(self.clone(), response.answered(), first, Box::new(start));
        let (request_id, first) = again.first(&response.headers);
        let decoder = again.decoder(&response.headers);
        let driver = Driver {
            judge: self.judge.clone(),
            health: Arc::clone(&self.health),
            stream: request.stream,
            bytes_max: self.bytes_max,
            request_id,
            again: Some(again),
        };
        Ok(driver.run(response, first, decoder))
    }

    /// Makes a call again whose answer came to nothing with this error, if it may be; none when nothing was sent.
    pub(crate) async fn again(
        &self,
        answered: &Answered,
        error: &ProviderError,
    ) -> Option<Result<Response, ProviderError>> {
        let lost = match error.failure {
            Failure::Broken => Lost::Broke,
            _ => Lost::Said(Judge::verdict(error)),
        };
        let result = self.upstream.again(answered, lost).await?;
        Some(result.map_err(|failure| self.refused(failure)))
    }

    /// Makes a call outside of a turn (a list, a probe, a message put in) and reads the whole answer.
    ///
    /// # Errors
    /// The call failed or was refused, or the answer is too long.
    pub(crate) async fn ask(&self, outgoing: Outgoing, repeat: Repeat) -> Result<Bytes, ProviderError> {
        let deadline = Instant::now().checked_add(Self::ASK_MAX).unwrap_or_else(Instant::now);
        let response = self.send(outgoing, repeat, true, None, deadline).await?;
        let (status, request_id) = (response.status.as_u16(), self.request_id(&response.headers));
        let whole = response.whole(self.bytes_max).await.map_err(|failure| {
            let mut error = self.judge.transport(failure).with_status(status);
            error.request_id = request_id;
            self.failed(error)
        })?;
        self.health.well();
        Ok(self.judge.body(whole))
    }

    /// Remembers an error for admins, and gives it back.
    pub(crate) fn failed(&self, error: ProviderError) -> ProviderError {
        self.health.failed(&error);
        error
    }

    async fn send(
        &self,
        outgoing: Outgoing,
        repeat: Repeat,
        one_piece: bool,
        observer: Option<Arc<dyn upstream::Observer>>,
        deadline: Instant,
    ) -> Result<Response, ProviderError> {
        let mut headers = outgoing.headers;
        if !outgoing.body.is_empty() {
            let json = http::HeaderValue::from_static("application/json");
            headers.entry(http::header::CONTENT_TYPE).or_insert(json);
        }
        let call = Call {
            method: outgoing.method,
            path: outgoing.path,
            headers,
            body: outgoing.body,
            repeat,
            headers_clock: outgoing.headers_clock,
            one_piece: one_piece.then_some(self.bytes_max),
            classifier: self.classifier,
            observer,
            deadline,
        };
        self.upstream.send(call).await.map_err(|failure| self.refused(failure))
    }

    /// What a failure is that came in an answer's place.
    fn refused(&self, failure: upstream::Failure) -> ProviderError {
        let id = match &failure {
            upstream::Failure::Refused(refusal) => self.request_id(&refusal.headers),
            _ => None,
        };
        let mut error = self.judge.transport(failure);
        error.request_id = error.request_id.or(id);
        self.failed(error)
    }

    /// The provider's id of a call, from its answer's headers.
    pub(crate) fn request_id(&self, headers: &HeaderMap) -> Option<String> {
        self.request_id_headers
            .iter()
            .find_map(|name| headers.get(*name)?.to_str().ok())
            .and_then(|id| self.judge.shown(id))
    }
}

/// A path segment, percent-encoded: an id of the configuration or of a provider, which may hold anything. A segment of dots alone
/// would be taken for a way up and is encoded as well.
pub(crate) fn segment(text: &str) -> String {
    let dots = text.bytes().all(|byte| byte == b'.');
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') || (byte == b'.' && !dots) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
    }
    encoded
}

/// A body of JSON.
///
/// # Errors
/// It cannot be written: never, for the types of this crate.
pub(crate) fn json_body(body: &impl serde::Serialize) -> Result<Bytes, ProviderError> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|_| Failure::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_stay_segments() {
        assert_eq!(segment("bot_1-a.b~c"), "bot_1-a.b~c");
        assert_eq!(segment("a/b?c#d%e ы"), "a%2Fb%3Fc%23d%25e%20%D1%8B");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
