//! Making a call again whose answer came to nothing after its head: broken off, or taken back by the provider's own word, before
//! there was anything that a reader could have.

use chat::{Piece, ProviderError, UpstreamIds};
use http::HeaderMap;
use upstream::{Answered, Response};

use crate::decoder::Decoder;
use crate::link::Link;

/// Makes the decoder of an answer, given its headers: once for each attempt.
pub(crate) trait Start: Fn(&HeaderMap) -> Box<dyn Decoder> + Send + 'static {}

impl<F: Fn(&HeaderMap) -> Box<dyn Decoder> + Send + 'static> Start for F {}

/// What it takes to make a call again.
pub(crate) struct Again {
    link: Link,
    answered: Option<Answered>,
    /// Pieces that come before all others, with each attempt.
    first: Vec<Piece>,
    start: Box<dyn Start>,
}

impl std::fmt::Debug for Again {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Again")
    }
}

impl Again {
    pub(crate) fn new(
        link: Link,
        answered: Option<Answered>,
        first: Vec<Piece>,
        start: Box<dyn Start>,
    ) -> Self {
        Self { link, answered, first, start }
    }

    /// Asks again after this error. None when nothing was sent: the error stands.
    pub(crate) async fn ask(&mut self, error: &ProviderError) -> Option<Result<Response, ProviderError>> {
        let answered = self.answered.take()?;
        let result = self.link.again(&answered, error).await?;
        self.answered = result.as_ref().ok().and_then(Response::answered);
        Some(result)
    }

    /// The decoder of an answer with these headers.
    pub(crate) fn decoder(&self, headers: &HeaderMap) -> Box<dyn Decoder> {
        (self.start)(headers)
    }

    /// The provider's id of the call, where the answer's headers have one, and the pieces that come before all others.
    pub(crate) fn first(&self, headers: &HeaderMap) -> (Option<String>, Vec<Piece>) {
        let request_id = self.link.request_id(headers);
        let ids = UpstreamIds { request_id: request_id.clone(), ..UpstreamIds::default() };
        let mut first = self.first.clone();
        first.extend(request_id.is_some().then_some(Piece::Upstream(ids)));
        (request_id, first)
    }
}
