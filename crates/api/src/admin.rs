//! The administrator's socket: who may speak, and what there is to ask.

use std::{io, sync::Arc};

use axum::{
    Router, middleware,
    routing::{delete, get, patch, post, put},
};
use http::{Method, StatusCode, Uri};
use tokio::net::UnixListener;

use crate::{
    configs,
    context::Context,
    dis,
    fault::Fault,
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
        .route("/users/{id}", delete(users::delete))
        .route("/users/{id}/password", put(users::set_password))
        .route("/hosts", get(hosts::list).post(hosts::add))
        .route("/osfs", get(osfs::list).post(osfs::add))
        .route("/osfs/{id}", patch(osfs::edit).delete(osfs::delete))
        .route("/dis", get(dis::list).post(dis::add::add))
        .route("/dis/{id}", delete(dis::delete))
        .route("/dis/{id}/tags/{tag}", put(dis::tag).delete(dis::untag))
        .route("/vms", get(vms::list).post(vms::add))
        .route("/vms/{id}", get(vms::wait::get).patch(vms::edit).delete(vms::delete))
        .route("/vms/{id}/start", post(vms::start))
        .route("/vms/{id}/stop", post(vms::stop))
        .route("/vms/{id}/why", get(vms::why))
        .route("/configs", get(configs::list).patch(configs::change))
        .route("/ssl", get(ssl::get).put(ssl::put))
        .route("/operations", get(operations::list))
        .route("/audit", get(operations::audit))
        .route("/status", get(status::get));
    Router::new()
        .nest("/api/v1", v1)
        .fallback(nowhere)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn(peer::guard))
        .with_state(context)
}

async fn nowhere(uri: Uri) -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "no-such-path", format!("there is nothing at {}", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Fault {
    let detail = format!("{} takes no {method}", uri.path());
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", detail)
}
