//! Why a request is not done, as problem+json.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use image::Refusal;
use model::{Reason, settings::BadSetting};
use store::{Outage, Store};
use wire::rest::{PROBLEM_TYPE, Problem};

/// Why a request is not done. Boxed: results of handlers stay small.
#[derive(Debug)]
pub(crate) struct Fault {
    problem: Box<Problem>,
    outage: Option<Unexplained>,
}

/// What the database said when it did not work at all, on its way to where its name is known.
#[derive(Clone, Debug)]
struct Unexplained(Arc<store::Error>);

/// Says in the answer to a request which database does not work, and what helps.
pub(crate) async fn explain(State(store): State<Store>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let unexplained = response.extensions().get::<Unexplained>();
    let Some(outage) = unexplained.and_then(|error| store.outage(&error.0)) else {
        return response;
    };
    let Outage { code, sentence, remedy } = outage;
    tracing::error!(error = sentence, remedy, "the database did not do it");
    Fault::new(StatusCode::SERVICE_UNAVAILABLE, code, sentence).remedy(remedy).into_response()
}

impl Fault {
    /// A problem with a stable `code` and a sentence of this case.
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let mut title = code.replace('-', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let problem = Problem {
            kind: format!("urn:qvd:problem:{code}"),
            title,
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            remedy: String::new(),
        };
        Self { problem: Box::new(problem), outage: None }
    }

    /// The same with what a person can do about it.
    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.problem.remedy = remedy.into();
        self
    }

    /// There is no such thing.
    pub(crate) fn not_found(noun: &str, name: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is no {noun} {name}"))
            .remedy(format!("`qa {} list` shows those there are", noun.to_lowercase()))
    }

    /// The request makes no sense.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed", detail)
    }

    /// Who asks may not.
    pub(crate) fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail).remedy("run qa as root")
    }

    /// Something went wrong in here; the log has more.
    pub(crate) fn internal(doing: &str, error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        tracing::error!(error = text, "{doing}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("{doing}: {text}"))
            .remedy("see the log of the api")
    }

    /// A reason of a VM.
    pub(crate) fn reason(status: StatusCode, reason: &Reason) -> Self {
        Self::new(status, reason.code.as_str(), reason.text()).remedy(reason.remedy())
    }

    /// The sentence.
    pub(crate) fn detail(&self) -> &str {
        &self.problem.detail
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Self { problem, outage } = self;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, Json(problem)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        if let Some(outage) = outage {
            response.extensions_mut().insert(outage);
        }
        response
    }
}

impl From<store::Error> for Fault {
    fn from(error: store::Error) -> Self {
        use store::Error;
        if error.is_outage() {
            let fault = Self::new(StatusCode::SERVICE_UNAVAILABLE, "database", error.to_string());
            return Self { outage: Some(Unexplained(Arc::new(error))), ..fault };
        }
        let (status, code) = match &error {
            Error::NotFound { .. } => (StatusCode::NOT_FOUND, "not-found"),
            Error::Exists { .. } => (StatusCode::CONFLICT, "exists"),
            Error::InUse { .. } => (StatusCode::CONFLICT, "in-use"),
            Error::FixedTag { .. } => (StatusCode::CONFLICT, "fixed-tag"),
            Error::NoVersion { .. } => (StatusCode::CONFLICT, "no-version"),
            Error::NoAddress { .. } => (StatusCode::CONFLICT, "no-address"),
            Error::BadAddress { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "bad-address"),
            _ => return Self::internal("the database did not do it", &error),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<BadSetting> for Fault {
    fn from(error: BadSetting) -> Self {
        let fault = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-setting", error.to_string());
        match error {
            BadSetting::Unknown { suggestion: None, .. } => {
                fault.remedy("`qa config get` shows all settings")
            }
            BadSetting::FileOnly(_) => {
                fault.remedy("edit /etc/qvd/node.conf on the host and restart qvd there")
            }
            BadSetting::Unknown { .. } | BadSetting::Value { .. } | BadSetting::Circular(_) => {
                fault
            }
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let (code, remedy) = (refusal.code(), refusal.remedy());
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            code,
            format!("the image is refused: {refusal}"),
        )
        .remedy(remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_all_its_parts() {
        let Fault { problem, .. } = Fault::not_found("OSF", "desktop");
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"type":"urn:qvd:problem:not-found","title":"Not found","status":404,"code":"not-found","detail":"there is no OSF desktop","remedy":"`qa osf list` shows those there are"}"#
        );
    }
}
