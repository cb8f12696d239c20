//! A fault of ours is an answer like any other. (The library's layer for it puts every body into a box.)

use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt;

use crate::around::{Next, Within};
use crate::error::ApiError;

/// Answers where what is within panics. The panic's own words are left out: they can hold what users wrote (an index into a text shows
/// the text).
pub(crate) async fn catch_panic<S: Within>(
    (): (),
    request: Request,
    next: Next<S>,
) -> Result<Response, ApiError> {
    // What is within is dropped with the panic; what requests share is behind locks that say when somebody panicked.
    let served = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    served.map_err(|_| ApiError::internal("a request panicked"))
}
