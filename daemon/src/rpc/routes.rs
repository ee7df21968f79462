use std::{
    collections::HashMap,
    convert::Infallible,
    future::ready,
    sync::Arc,
    task::{Context, Poll},
};

use tonic::body::Body;
use tonic::codegen::{
    BoxFuture,
    http::{Request, Response},
};
use tonic::{Status, server::NamedService};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

/// One service, whatever its type.
type Boxed = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Hands each call to the service that its path names.
#[derive(Clone, Default)]
pub(crate) struct Routes {
    services: Arc<HashMap<&'static str, Boxed>>,
}

impl Routes {
    /// With `service` too; a second one of the same name takes the place of the first.
    pub(crate) fn with<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let services = Arc::make_mut(&mut self.services);
        services.insert(S::NAME, BoxCloneSyncService::new(service));
        self
    }
}

impl Service<Request<Body>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let name = request.uri().path().strip_prefix('/').and_then(|path| path.split('/').next());
        match name.and_then(|name| self.services.get(name)) {
            Some(service) => Box::pin(service.clone().oneshot(request)),
            None => {
                let status = Status::unimplemented("this daemon has no such service");
                Box::pin(ready(Ok(status.into_http())))
            }
        }
    }
}
