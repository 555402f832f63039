//! Axum's extractors, with refusals as problem+json.

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::{StatusCode, request::Parts};
use serde::de::DeserializeOwned;

use crate::fault::Fault;

/// The longest JSON body of a request, in bytes.
const BODY_MAX: usize = 1 << 20;

/// The parts of the path.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

/// The query.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

/// The body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(refusal) => {
                Err(Fault::new(StatusCode::NOT_FOUND, "no-such-path", refusal.body_text()))
            }
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(refusal) => Err(Fault::malformed(refusal.body_text())),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        let bytes = axum::body::to_bytes(request.into_body(), BODY_MAX)
            .await
            .map_err(|error| Fault::malformed(format!("the body cannot be read: {error}")))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Fault::malformed(error.to_string()))
    }
}
