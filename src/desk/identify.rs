//! `/v1/identify`: a guest without papers is looked up, and a clerk decides. The only place where
//! candidates leave the box's memory.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State as Shared};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::doors;
use super::fault::ApiError;
use super::routes::State;
use crate::auth::Caller;
use crate::base::{Culprit, Error, Kind};
use crate::event::{IdentifyCommand, PersonRef};
use crate::gate::{ClerkWord, Identified};

type Answer = std::result::Result<Response, ApiError>;

/// A clerk's confirmation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmBody {
    person_ref: PersonRef,
    #[serde(default)]
    clerk: Option<String>,
}

/// A clerk's rejection.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RejectBody {
    #[serde(default)]
    clerk: Option<String>,
}

/// Who asks: the token's name. A desk without tokens does not know; then the clerk says it.
fn caller(request: &Request) -> Option<String> {
    request.extensions().get::<Caller>().and_then(|c| c.name.as_ref()).map(ToString::to_string)
}

/// Which clerk decides: whoever asks if that is known, whatever the request says.
fn clerk(caller: Option<String>, said: Option<String>) -> std::result::Result<String, ApiError> {
    let name = caller.or(said).ok_or_else(|| {
        let remedy = "add `clerk`, the pseudonym that the site uses for the member of staff";
        ApiError::bad_request(Kind::Usage, "the request does not say which clerk decides", remedy)
    })?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=48).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(name);
    }
    let remedy = "use 1 to 48 letters, digits, ., _ and -";
    Err(ApiError::bad_request(Kind::Usage, "`clerk` is not a pseudonym", remedy))
}

/// `POST /v1/identify`.
pub(super) async fn post(Shared(state): Shared<Arc<State>>, request: Request) -> Answer {
    let _place = doors::place(&state)?;
    let by = caller(&request).unwrap_or_else(|| "desk".to_owned());
    let command: IdentifyCommand = doors::read(request).await?;
    let Identified { answer, envelope } = state.backend.identify(command, by).await?;
    let (result, candidates) = (answer.result, answer.candidates);
    let body = json!({ "result": result, "candidates": candidates, "event": envelope, "recorded": true });
    Ok(Json(body).into_response())
}

/// `GET /v1/identify`.
pub(super) async fn waiting(Shared(state): Shared<Arc<State>>) -> Response {
    Json(json!({ "waiting": state.backend.identify_waiting() })).into_response()
}

/// `POST /v1/identify/{session}/confirm`.
pub(super) async fn confirm(
    Shared(state): Shared<Arc<State>>,
    Path(session): Path<String>,
    request: Request,
) -> Answer {
    let _place = doors::place(&state)?;
    let asks = caller(&request);
    let body: ConfirmBody = doors::read(request).await?;
    decide(&state, &session, ClerkWord::Confirm(body.person_ref), clerk(asks, body.clerk)?).await
}

/// `POST /v1/identify/{session}/reject`.
pub(super) async fn reject(
    Shared(state): Shared<Arc<State>>,
    Path(session): Path<String>,
    request: Request,
) -> Answer {
    let _place = doors::place(&state)?;
    let asks = caller(&request);
    let body: RejectBody = doors::read(request).await?;
    decide(&state, &session, ClerkWord::Reject, clerk(asks, body.clerk)?).await
}

async fn decide(state: &State, session: &str, word: ClerkWord, clerk: String) -> Answer {
    let session = Uuid::parse_str(session).map_err(|_| {
        Error::new(Kind::NotFound, Culprit::Request, "the session in the address is not one")
            .remedy("take it from the answer of /v1/identify")
    })?;
    let (result, envelope) = state.backend.identify_decide(session, word, clerk).await?;
    Ok(Json(json!({ "result": result, "event": envelope, "recorded": true })).into_response())
}
