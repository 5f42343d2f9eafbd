//! Errors as HTTP answers.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::base::{Culprit, Error, Kind};
use crate::event::Refusal;

/// An error on its way to an HTTP client.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    error: Error,
    refusal: Option<Refusal>,
    /// After so many seconds it may be asked again.
    retry_s: u64,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, error: Error) -> Self {
        Self { status, error, refusal: None, retry_s: 1 }
    }

    /// Whoever asks may not, or not now.
    pub(super) fn refused(refusal: Refusal, error: Error, retry: Duration) -> Self {
        let status = match refusal {
            Refusal::RoleTooLow => StatusCode::FORBIDDEN,
            Refusal::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::UNAUTHORIZED,
        };
        let retry_s = retry.as_secs() + u64::from(retry.subsec_nanos() > 0);
        Self { refusal: Some(refusal), retry_s: retry_s.max(1), ..Self::new(status, error) }
    }

    /// The request's words are wrong.
    pub(super) fn bad_request(kind: Kind, message: impl Into<String>, remedy: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Error::new(kind, Culprit::Request, message).remedy(remedy))
    }

    /// The body or a part of it is larger than accepted.
    pub(super) fn too_large(what: &str, limit: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Error::new(Kind::TooLarge, Culprit::Request, format!("{what} is larger than {limit} bytes"))
                .remedy("send a smaller picture, or raise `desk.max_portrait_bytes`"),
        )
    }

    /// A format that is not taken.
    pub(super) fn wrong_type(message: String, remedy: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Error::new(Kind::Unsupported, Culprit::Request, message).remedy(remedy),
        )
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            Kind::Usage | Kind::Malformed => StatusCode::BAD_REQUEST,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Refused => StatusCode::FORBIDDEN,
            Kind::Unavailable | Kind::Timeout | Kind::NoSpace | Kind::Cancelled => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Kind::Config | Kind::Permission | Kind::Corrupt | Kind::Mismatch | Kind::Internal => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), "desk: {}", self.error.chain());
        } else {
            tracing::debug!(status = self.status.as_u16(), "desk: {}", self.error.chain());
        }
        let body = json!({ "error": {
            "kind": self.error.kind().as_str(),
            "message": self.error.what(),
            "remedy": self.error.advice(),
            "reason": self.refusal,
        }});
        let mut response = (self.status, axum::Json(body)).into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(self.retry_s));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6750 section 3: no error code where there was no token.
            let challenge = match self.refusal {
                Some(Refusal::NoToken) => "Bearer realm=\"vigil\"",
                _ => "Bearer realm=\"vigil\", error=\"invalid_token\"",
            };
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
