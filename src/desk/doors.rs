//! `POST /v1/credential` and `POST /v1/confirm`: what the commands of the same names are over MQTT.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Semaphore;
use zeroize::Zeroize;

use super::fault::ApiError;
use super::routes::State;
use crate::base::{Culprit, Error, Kind, Result};
use crate::event::{ConfirmCommand, CredentialCommand};
use crate::gate::DoorAnswer;

/// Largest body of either.
pub(super) const MAX_BODY: usize = 4096;
/// Requests in work: each waits for a decision, at a door that staff are called to for a minute.
const MAX_IN_WORK: usize = 32;

/// What requests may take.
#[derive(Debug)]
pub(super) struct Limits(Semaphore);

impl Limits {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(MAX_IN_WORK))
    }
}

/// A credential was read.
pub(super) async fn credential(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> std::result::Result<Response, ApiError> {
    let _place = place(&state)?;
    let command: CredentialCommand = read(request).await?;
    answer(state.backend.credential(command).await)
}

/// Staff decide.
pub(super) async fn confirm(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> std::result::Result<Response, ApiError> {
    let _place = place(&state)?;
    let command: ConfirmCommand = read(request).await?;
    answer(state.backend.confirm(command).await)
}

pub(super) fn place(state: &State) -> std::result::Result<tokio::sync::SemaphorePermit<'_>, ApiError> {
    state.doors.0.try_acquire().map_err(|_| {
        let what = format!("{MAX_IN_WORK} requests wait at the doors and for searches");
        let error = Error::new(Kind::Unavailable, Culprit::Request, what).remedy("ask again later");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, error)
    })
}

/// Reads a body. No message repeats what was sent: it may be a PIN.
pub(super) async fn read<T: DeserializeOwned>(request: Request) -> std::result::Result<T, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if !kind.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json") {
        return Err(ApiError::wrong_type(
            "this is not a request this box reads".into(),
            "send application/json",
        ));
    }
    let body = Bytes::from_request(request, &()).await.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Error::new(
                Kind::TooLarge,
                Culprit::Request,
                format!("the request is larger than {MAX_BODY} bytes"),
            ),
        ),
        _ => ApiError::bad_request(Kind::Malformed, e.body_text(), "send the whole body"),
    })?;
    let command = crate::gate::read_command(&body);
    // Sole owner of the buffer, which is the rule here: overwrite it.
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
    Ok(command?)
}

fn answer(answer: Result<DoorAnswer>) -> std::result::Result<Response, ApiError> {
    let DoorAnswer { decision, envelope } = answer?;
    let recorded = envelope.is_some();
    Ok(Json(json!({ "decision": decision, "event": envelope, "recorded": recorded })).into_response())
}
