//! What an answer is: a refusal, a failure in disguise, or the answer.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use tokio::time::timeout;
use tower::Service;

use crate::around::call;
use crate::attempt::{Answer, Attempt};
use crate::{Body, Failure, Refusal, Response, Verdict, retry_after};

/// How long a refusal's body is read. It explains; nobody should wait for it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a refusal, or an answer that is wanted in one piece, and asks the call's classifier about anything but refusals.
pub(crate) async fn judge<S>((): (), attempt: Attempt, next: S) -> Result<Answer, Failure>
where
    S: Service<Attempt, Response = http::Response<Body>, Error = Failure>,
{
    let (classifier, one_piece) = (attempt.journey.call.classifier, attempt.journey.call.one_piece);
    let (head, mut body) = call(next, attempt.clone()).await?.into_parts();
    if !head.status.is_success() {
        return Err(Failure::Refused(Box::new(refusal(head, body).await)));
    }
    if let Some(observer) = &attempt.journey.call.observer {
        observer.answered(head.status);
    }
    let gathered = match one_piece.filter(|_| is_json(&head)) {
        Some(bytes_max) => body.gather(bytes_max).await,
        None => Ok(()),
    };
    let verdict = match (gathered, classifier) {
        // Whoever reads the body is told how it broke; here it is one more way to fail.
        (Err(Failure::Broken), _) => Verdict::Failed,
        (Ok(()), Some(classify)) => classify(head.status, &head.headers, body.peek().await?),
        (Ok(()), None) | (Err(_), _) => Verdict::Fine,
    };
    let response = Response { attempt: Some(attempt), ..Response::new(head.status, head.headers, body) };
    Ok(Answer { response, verdict })
}

/// Whether a body is labelled as JSON: nothing of it can be read before its end.
fn is_json(head: &Parts) -> bool {
    let label = head.headers.get(CONTENT_TYPE).and_then(|label| label.to_str().ok()).unwrap_or_default();
    let essence = label.split(';').next().unwrap_or_default().trim();
    let suffix = essence.len().checked_sub("+json".len()).and_then(|place| essence.get(place..));
    essence.eq_ignore_ascii_case("application/json")
        || essence.eq_ignore_ascii_case("text/json")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
}

async fn refusal(head: Parts, mut body: Body) -> Refusal {
    let mut beginning = BytesMut::new();
    // However it ends, what came by then is what there is.
    let _ = timeout(REFUSAL_TIMEOUT, read(&mut body, &mut beginning)).await;
    Refusal {
        status: head.status,
        retry_after: retry_after::read(head.status, &head.headers, SystemTime::now()),
        headers: head.headers,
        body: beginning.freeze(),
    }
}

async fn read(body: &mut Body, beginning: &mut BytesMut) {
    while let Some(Ok(piece)) = body.next().await {
        let room = Refusal::BODY_BYTES_MAX - beginning.len();
        let fits: Bytes = piece.slice(..piece.len().min(room));
        beginning.extend_from_slice(&fits);
        if piece.len() > room {
            return;
        }
    }
}
