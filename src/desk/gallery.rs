//! `POST /v1/gallery/put`, `/v1/gallery/revoke` and `/v1/gallery/list`: what the hub's signed commands of
//! the same names are, for whoever holds a token of role `installer`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, FromRequest, Request, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use zeroize::Zeroize as _;

use super::fault::ApiError;
use super::routes::State;
use super::{GalleryAnswer, GalleryAsk};
use crate::auth::Caller;
use crate::base::{Culprit, Error, Kind};

/// Largest body: some photographs in base64.
pub(super) const MAX_BODY: usize = 24 * 1024 * 1024;
/// Requests in work. The photographs are looked at one after the other.
const MAX_IN_WORK: usize = 2;

/// What requests may take.
#[derive(Debug)]
pub(super) struct Limits(Semaphore);

impl Limits {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(MAX_IN_WORK))
    }
}

/// Enrol a person.
pub(super) async fn put(
    Shared(state): Shared<Arc<State>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    ask(&state, &caller, request, |put| GalleryAsk::Put(Box::new(put))).await
}

/// End a person's entry.
pub(super) async fn revoke(
    Shared(state): Shared<Arc<State>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    ask(&state, &caller, request, GalleryAsk::Revoke).await
}

/// List who is enrolled.
pub(super) async fn list(
    Shared(state): Shared<Arc<State>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    ask(&state, &caller, request, GalleryAsk::List).await
}

async fn ask<T: DeserializeOwned>(
    state: &State,
    caller: &Caller,
    request: Request,
    make: impl FnOnce(T) -> GalleryAsk,
) -> Result<Response, ApiError> {
    let _place = state.gallery.0.try_acquire().map_err(|_| {
        let what = format!("{MAX_IN_WORK} requests about the gallery are in work");
        let error = Error::new(Kind::Unavailable, Culprit::Request, what).remedy("wait for their answers");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, error)
    })?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if !kind.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json") {
        return Err(ApiError::wrong_type(
            "this is not a request this box reads".into(),
            "send application/json",
        ));
    }
    let reading = Bytes::from_request(request, &());
    let body = match tokio::time::timeout(super::verify::BODY_WITHIN, reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(e)) if e.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let what = format!("the request is larger than {MAX_BODY} bytes");
            let error = Error::new(Kind::TooLarge, Culprit::Request, what)
                .remedy("send fewer or smaller photographs");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error));
        }
        Ok(Err(e)) => {
            return Err(ApiError::bad_request(Kind::Malformed, e.body_text(), "send the whole body"));
        }
        Err(_) => {
            let error = Error::new(Kind::Timeout, Culprit::Request, "the request did not come in time");
            return Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                error.remedy("send the whole body at once"),
            ));
        }
    };
    let read = crate::gate::read_object(&body, MAX_BODY, false);
    // Sole owner of the buffer, which is the rule here: overwrite it.
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
    Ok(match state.backend.gallery(make(read?), caller.clone()).await? {
        GalleryAnswer::Done(done) => Json(done).into_response(),
        GalleryAnswer::Page(page) => Json(page).into_response(),
    })
}
