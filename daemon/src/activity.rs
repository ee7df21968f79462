//! Knows whether anybody uses the daemon, so that an idle one can leave.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body::{Frame, SizeHint};
use prost::bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use crate::clock::Clock;

/// Calls that say nothing about users: the local worker is always there, and probes prove little.
const UNCOUNTED: [&str; 2] = ["/windlass.worker.", "/grpc.health."];

/// Counts the calls that users have open, streams included.
#[derive(Clone)]
pub(crate) struct Activity {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

struct State {
    open: usize,
    /// Monotonic time of the last sign of life.
    last: Duration,
}

impl Activity {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let state = Arc::new(Mutex::new(State { open: 0, last: clock.monotonic() }));
        Self { state, clock }
    }

    /// How long nobody has had a call open; zero while somebody has.
    pub(crate) fn quiet_for(&self) -> Duration {
        let state = self.lock();
        if state.open > 0 { Duration::ZERO } else { self.clock.monotonic() - state.last }
    }

    /// Counts from now on, as if a call had just ended.
    pub(crate) fn touch(&self) {
        self.lock().last = self.clock.monotonic();
    }

    fn begin(&self) -> OpenCall {
        self.lock().open += 1;
        OpenCall(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts as a call until dropped.
struct OpenCall(Activity);

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.touch();
        self.0.lock().open -= 1;
    }
}

impl<S> Layer<S> for Activity {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, activity: self.clone() }
    }
}

/// A service whose calls are counted.
#[derive(Clone)]
pub(crate) struct Counted<S> {
    inner: S,
    activity: Activity,
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let counted = !UNCOUNTED.iter().any(|prefix| path.starts_with(prefix));
        let call = counted.then(|| self.activity.begin());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(match call {
                Some(call) => answer.map(|body| Body::new(CountedBody { body, _call: call })),
                None => answer,
            })
        })
    }
}

/// An answer that counts as an open call until it has been sent or given up.
struct CountedBody {
    body: Body,
    _call: OpenCall,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Poll::Ready(ready!(Pin::new(&mut self.body).poll_frame(context)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
