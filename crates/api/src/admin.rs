//! The administrator's socket: who may speak, and what there is to ask.

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{delete, get, patch, post, put},
};
use http::{Method, StatusCode, Uri, header};
use tokio::net::UnixListener;
use tokio_util::task::TaskTracker;

use crate::{
    configs,
    context::Context,
    dis,
    fault::{self, Fault},
    hosts, operations, osfs,
    peer::{self, Peer},
    ssl, status, users, vms,
};

/// What handlers get of the context.
pub(crate) type Shared = axum::extract::State<Arc<Context>>;

/// Serves until the api ends; requests under way are finished.
pub(crate) async fn serve(context: Arc<Context>, listener: UnixListener) -> io::Result<()> {
    let shutdown = context.shutdown().clone();
    let service = routes(context).into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

fn routes(context: Arc<Context>) -> Router {
    let v1 = Router::new()
        .route("/users", get(users::list).post(users::add))
        .route("/users/{id}", patch(users::edit).delete(users::delete))
        .route("/users/{id}/password", put(users::set_password))
        .route("/hosts", get(hosts::list).post(hosts::add))
        .route("/hosts/{id}", patch(hosts::edit))
        .route("/osfs", get(osfs::list).post(osfs::add))
        .route("/osfs/{id}", patch(osfs::edit).delete(osfs::delete))
        .route("/dis", get(dis::list))
        .route("/dis/{id}", delete(dis::delete))
        .route("/dis/{id}/tags/{tag}", put(dis::tag).delete(dis::untag))
        .route("/vms", get(vms::list).post(vms::add))
        .route("/vms/{id}", get(vms::wait::get).patch(vms::edit).delete(vms::delete))
        .route("/vms/{id}/why", get(vms::why))
        .route("/configs", get(configs::list).patch(configs::change))
        .route("/ssl", get(ssl::get).put(ssl::put))
        .route("/operations", get(operations::list))
        .route("/audit", get(operations::audit))
        .route("/status", get(status::get))
        .layer(middleware::from_fn(unconditional))
        // The two that obey `If-Match`.
        .route("/vms/{id}/start", post(vms::start))
        .route("/vms/{id}/stop", post(vms::stop))
        .layer(middleware::from_fn_with_state(context.work().clone(), to_the_end))
        // Who goes away while an image is taken in wants it no more.
        .route("/dis", post(dis::add::add));
    Router::new()
        .nest("/api/v1", v1)
        .fallback(nowhere)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(context.store().clone(), fault::explain))
        .layer(middleware::from_fn(peer::guard))
        .with_state(context)
}

/// A change is brought to its end, and noted, even if the one who asked for it goes away meanwhile.
async fn to_the_end(State(work): State<TaskTracker>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let done = work.spawn(next.run(request)).await;
    done.unwrap_or_else(|error| Fault::internal("the change broke off", &error).into_response())
}

/// What cannot be bound to a revision says so, instead of not caring.
async fn unconditional(request: Request, next: Next) -> Response {
    if !request.method().is_safe() && request.headers().contains_key(header::IF_MATCH) {
        let detail = format!("{} obeys no If-Match", request.uri().path());
        return Fault::new(StatusCode::PRECONDITION_FAILED, "no-if-match", detail)
            .remedy("leave it out: only the start and the stop of a VM can be bound to an ETag")
            .into_response();
    }
    next.run(request).await
}

async fn nowhere(uri: Uri) -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "no-such-path", format!("there is nothing at {}", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Fault {
    let detail = format!("{} takes no {method}", uri.path());
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", detail)
}

#[cfg(test)]
mod tests {
    use tokio::sync::{Notify, oneshot};
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_change_goes_on_when_nobody_waits_for_it_any_more() {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (done, is_done) = oneshot::channel();
        let done = Arc::new(std::sync::Mutex::new(Some(done)));
        let handler = {
            let (begun, go) = (begun.clone(), go.clone());
            move || async move {
                begun.notify_one();
                go.notified().await;
                done.lock().unwrap().take().unwrap().send(()).unwrap();
            }
        };
        let work = TaskTracker::new();
        let routes: Router = Router::new()
            .route("/", post(handler))
            .layer(middleware::from_fn_with_state(work.clone(), to_the_end));
        let request = Request::post("/").body(axum::body::Body::empty()).unwrap();
        tokio::select! {
            biased;
            _ = routes.oneshot(request) => panic!("it does not wait"),
            () = begun.notified() => {}
        }
        go.notify_one();
        is_done.await.expect("it was dropped with the one who asked");
        work.close();
        work.wait().await;
    }
}
