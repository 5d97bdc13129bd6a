//! Answers in HTTP: the envelope of the command line, with the status that belongs to its code.

use std::any::Any;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use crate::api::{Answered, envelope};
use crate::error::{Code, Error};

/// Why a request is refused.
#[derive(Debug)]
pub struct Refusal {
    error: Error,
    status: StatusCode,
    /// The connection is closed: what else the client sends on it is not understood.
    closes: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Refusal { error, status, closes: false }
    }
}

impl Refusal {
    /// A refusal with another status than that of its code.
    pub fn with_status(error: Error, status: StatusCode) -> Self {
        Refusal { error, status, closes: false }
    }

    /// The same, after which the connection is closed.
    #[must_use]
    pub fn closing(self) -> Self {
        Refusal { closes: true, ..self }
    }
}

/// The error where a panic ended what a request asked for, which is logged.
pub fn failed_inside(panic: &(dyn Any + Send)) -> Error {
    tracing::error!(panic = message_of(panic), "a request failed inside the server");
    Error::new(Code::Io, "the operation failed inside the server")
        .hint("the server prints why on standard error; AGENTPM_LOG_LEVEL=error logs it")
}

/// The message of a panic.
pub fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}

/// The answer to a request that was refused.
pub fn refused(refusal: Refusal) -> Response<Body> {
    let Refusal { error, status, closes } = refusal;
    let mut response = json_response(status, &envelope::refusal(&error));
    let mut set = |name: HeaderName, value: &'static str| {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    };
    if matches!(error.code, Code::RateLimit | Code::Busy) {
        set(header::RETRY_AFTER, "1");
    }
    if status == StatusCode::UNAUTHORIZED {
        set(header::WWW_AUTHENTICATE, "Bearer, Basic realm=\"agentpm\"");
    }
    if closes {
        set(header::CONNECTION, "close");
    }
    response
}

/// The answer to a call that was carried out.
pub fn answered(answered: &Answered, data: &Value, notices: Vec<String>) -> Response<Body> {
    let version = data["version"].as_u64();
    let mut response = json_response(StatusCode::OK, &envelope::answered(answered, data, notices));
    if let Some(version) = version.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok()) {
        response.headers_mut().insert(header::ETAG, version);
    }
    response
}

/// A document, which no browser may guess about or keep.
pub fn json_response(status: StatusCode, document: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{document}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
