//! Request bodies: whole, in bounded memory and bounded time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::Sleep;

use super::Problem;

/// How long the rest of a refused body is waited for.
const DISCARD_PATIENCE: Duration = Duration::from_secs(1);

/// The body did not end in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body did not end within {} s", .0.as_secs_f32())]
pub struct BodyTooSlow(pub Duration);

/// A body that fails with [`BodyTooSlow`] when it has not ended so long after its first reading.
pub(super) struct TimedBody {
    inner: Body,
    patience: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let patience = self.patience;
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(BodyTooSlow(patience).into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Gives every body so long to end.
pub(super) async fn in_time(State(patience): State<Duration>, request: Request, next: Next) -> Response {
    let timed = |inner| Body::new(TimedBody { inner, patience, deadline: None });
    next.run(request.map(timed)).await
}

/// Reads a body of at most `max_bytes`. Of a longer one nothing is kept, and as much again is read and forgotten, so that
/// its sender sees the answer.
///
/// # Errors
/// 413 if it is longer, 408 if it did not end in time, 400 if the connection broke.
pub async fn read_body(mut body: Body, max_bytes: usize) -> Result<Bytes, Problem> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max_bytes {
        discard(body, max_bytes.saturating_mul(2)).await;
        return Err(body_too_large(max_bytes));
    }
    let mut whole = Vec::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| body_unreadable(&error))?.into_data() else { continue };
        if whole.len() + data.len() > max_bytes {
            drop(whole);
            discard(body, max_bytes).await;
            return Err(body_too_large(max_bytes));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

/// Reads on, for a short while and up to `max_bytes`, and forgets what comes: a client that is still sending its body
/// would see a broken connection in place of the answer.
pub async fn discard(mut body: Body, max_bytes: usize) {
    let reading = async {
        let mut read = 0_usize;
        while let Some(Ok(frame)) = body.frame().await {
            read = read.saturating_add(frame.data_ref().map_or(0, Bytes::len));
            if read > max_bytes {
                return;
            }
        }
    };
    _ = tokio::time::timeout(DISCARD_PATIENCE, reading).await;
}

/// The 413 problem of a body that is longer than `max_bytes`.
pub fn body_too_large(max_bytes: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large")
        .detail(format!("at most {max_bytes} bytes, after decompression; send fewer items in one request"))
}

/// The problem of a body that broke off: 408 if it was too slow, else 400.
pub(super) fn body_unreadable(error: &(dyn std::error::Error + 'static)) -> Problem {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut too_slow = causes.filter_map(<dyn std::error::Error>::downcast_ref::<BodyTooSlow>);
    match too_slow.next() {
        Some(too_slow) => {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", "The body did not end in time")
                .detail(format!("{too_slow}; send it in smaller requests"))
        }
        None => Problem::new(StatusCode::BAD_REQUEST, "body-unreadable", "The body could not be read")
            .detail(super::Chain(error).to_string()),
    }
}
