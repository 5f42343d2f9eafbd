//! `POST /v1/verify`.
//!
//! A place among the requests in work is taken before a byte of the body is read, so that memory
//! is bounded by places × body. Buffers of this module that held a portrait are overwritten; the
//! network stack's own read buffers are reused by the next request and are not.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt;
use zeroize::{Zeroize, Zeroizing};

use super::VerifyAsk;
use super::fault::ApiError;
use super::routes::State;
use crate::base::{Culprit, Error, Kind};
use crate::config::DeskConfig;
use crate::document::chip::FileId;
use crate::document::lds::{MAX_CHIP_BYTES, MAX_FILE_BYTES, all_files, word};
use crate::document::{DocumentRequest, shown_path};
use crate::event::{DocumentCommand, PersonalText};

/// Requests in work. One camera serves one guest at a time; the rest is room for a second
/// camera and for a reader that asks again.
const MAX_IN_WORK: usize = 4;
/// Largest `request` part, and room for the multipart frame around all parts.
const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Largest `mrz` part.
const MAX_MRZ_BYTES: usize = 1024;
/// The whole body must have come within this time.
pub(super) const BODY_WITHIN: Duration = Duration::from_secs(15);
/// Of a body that is too large, this much is still read, so that the client gets to see the
/// answer instead of a reset connection.
const MAX_DRAIN_BYTES: usize = 64 * 1024 * 1024;
/// And for this long.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);

/// What a request may take.
#[derive(Debug)]
pub(super) struct Limits {
    portrait: usize,
    places: Semaphore,
}

impl Limits {
    pub(super) fn new(config: &DeskConfig) -> Self {
        Self { portrait: config.max_portrait_bytes as usize, places: Semaphore::new(MAX_IN_WORK) }
    }

    /// The portrait and the chip's files, as files or as base64, and the rest.
    pub(super) fn body(&self) -> usize {
        (self.portrait + MAX_CHIP_BYTES) / 3 * 4 + 4 + 2 * MAX_REQUEST_BYTES
    }
}

/// The route.
pub(super) async fn post(Shared(state): Shared<Arc<State>>, request: Request) -> Result<Response, ApiError> {
    let Ok(_place) = state.verify.places.try_acquire() else {
        return Err(ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            Error::new(Kind::Unavailable, Culprit::Request, format!("{MAX_IN_WORK} requests are in work"))
                .remedy("wait for their answers, then ask again"),
        ));
    };
    let ask = match tokio::time::timeout(BODY_WITHIN, read(&state.verify, request)).await {
        Ok(ask) => ask?,
        Err(_) => {
            return Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                Error::new(
                    Kind::Timeout,
                    Culprit::Request,
                    format!("the request was not complete after {} s", BODY_WITHIN.as_secs()),
                )
                .remedy("send the whole body at once"),
            ));
        }
    };
    let has_portrait = ask.portrait.is_some() || ask.document.as_ref().is_some_and(|d| d.has_portrait());
    if !has_portrait && ask.request.get("mode").and_then(Value::as_str) != Some("document_only") {
        return Err(ApiError::bad_request(
            Kind::Usage,
            "the request has no `portrait`",
            "send the portrait's file, the chip's `dg2`, or {\"mode\": \"document_only\"} if the guest declines the camera",
        ));
    }
    let answer = state.backend.verify(ask).await?;
    Ok(Json(answer).into_response())
}

/// Reads the body, whichever way it is written.
async fn read(limits: &Limits, request: Request) -> Result<VerifyAsk, ApiError> {
    let content_type = media_type(request.headers());
    let read = match content_type.as_str() {
        "multipart/form-data" => Read::Multipart,
        "application/json" => Read::Json,
        other => {
            let what = if other.is_empty() { "no Content-Type" } else { other };
            let message = format!("{what} is not a request this box reads");
            drain(request.into_body()).await;
            return Err(ApiError::wrong_type(message, "send multipart/form-data or application/json"));
        }
    };
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse::<usize>().ok());
    if declared.is_some_and(|n| n > limits.body()) {
        drain(request.into_body()).await;
        return Err(ApiError::too_large("the request", limits.body() as u64));
    }
    match read {
        Read::Multipart => read_multipart(limits, request).await,
        Read::Json => read_json(limits, request).await,
    }
}

enum Read {
    Multipart,
    Json,
}

/// The media type without its parameters, in lower case; empty if there is none.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

/// Reads and forgets what a client is still sending, within bounds.
async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    let reading = async {
        let mut seen = 0;
        while let Some(Ok(chunk)) = stream.next().await {
            seen += chunk.len();
            if seen > MAX_DRAIN_BYTES {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_WITHIN, reading).await;
}

async fn read_multipart(limits: &Limits, request: Request) -> Result<VerifyAsk, ApiError> {
    let mut form = Multipart::from_request(request, &()).await.map_err(|e| {
        ApiError::bad_request(Kind::Malformed, e.body_text(), "send multipart/form-data with a boundary")
    })?;
    match read_parts(limits, &mut form).await {
        Ok(ask) => Ok(ask),
        Err(refused) => {
            // The rest of the body, as far as it is within its bound: see MAX_DRAIN_BYTES.
            let rest = async { while let Ok(Some(_)) = form.next_field().await {} };
            let _ = tokio::time::timeout(DRAIN_WITHIN, rest).await;
            Err(refused)
        }
    }
}

async fn read_parts(limits: &Limits, form: &mut Multipart) -> Result<VerifyAsk, ApiError> {
    let (mut portrait, mut fields, mut mrz) = (None, None, None);
    let mut files: Vec<(FileId, Zeroizing<Vec<u8>>)> = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|e| multipart_error(limits, &e))? {
        let kind = field.content_type().unwrap_or("");
        let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        match field.name().unwrap_or("") {
            "portrait" if portrait.is_none() => {
                if !(kind.is_empty() || kind.starts_with("image/") || kind == "application/octet-stream") {
                    return Err(ApiError::wrong_type(
                        format!("the part `portrait` is sent as {kind}"),
                        "send a JPEG, PNG, BMP or JPEG 2000 file",
                    ));
                }
                portrait = Some(read_field(limits, field, "the portrait", limits.portrait).await?);
            }
            "request" if fields.is_none() => {
                if !matches!(kind.as_str(), "" | "application/json" | "text/plain") {
                    return Err(ApiError::wrong_type(
                        format!("the part `request` is sent as {kind}"),
                        "send it as application/json",
                    ));
                }
                let bytes = read_field(limits, field, "the part `request`", MAX_REQUEST_BYTES).await?;
                fields = Some(object(&bytes)?);
            }
            "mrz" if mrz.is_none() => {
                let bytes = read_field(limits, field, "the part `mrz`", MAX_MRZ_BYTES).await?;
                let text = std::str::from_utf8(&bytes).map_err(|_| {
                    ApiError::bad_request(
                        Kind::Malformed,
                        "the part `mrz` is no text",
                        "send its lines as text",
                    )
                })?;
                mrz = Some(PersonalText::new(text));
            }
            name => match all_files().find(|file| word(*file) == name) {
                Some(file) if files.iter().all(|(other, _)| *other != file) => {
                    let what = format!("the part `{name}`");
                    // Of all parts together the body's own limit takes care.
                    let bytes = read_field(limits, field, &what, MAX_FILE_BYTES).await?;
                    files.push((file, bytes));
                }
                file if file.is_some() || matches!(name, "portrait" | "request" | "mrz") => {
                    let message = format!("the part `{name}` comes twice");
                    return Err(ApiError::bad_request(Kind::Usage, message, "send each part once"));
                }
                _ => {
                    let message = format!("there is no part {name:?} in this request");
                    let remedy = "send `portrait`, `request`, `mrz`, `ef_com`, `ef_sod` and `dg1` to `dg16`";
                    return Err(ApiError::bad_request(Kind::Usage, message, remedy));
                }
            },
        }
    }
    if portrait.as_ref().is_some_and(|p| p.is_empty()) {
        return Err(empty_portrait());
    }
    let mut request = fields.unwrap_or_default();
    if request.contains_key("portrait") {
        return Err(ApiError::bad_request(
            Kind::Usage,
            "the portrait is inside `request`",
            "send it as the file part `portrait`",
        ));
    }
    let mut document = document(&mut request)?;
    if mrz.is_some() || !files.is_empty() {
        let document = document.get_or_insert_default();
        if mrz.is_some() && document.mrz.is_some() {
            let message = "the zone stands in `request` and in the part `mrz`";
            return Err(ApiError::bad_request(Kind::Usage, message, "send it once"));
        }
        document.mrz = mrz.or(document.mrz.take());
        for (file, bytes) in files {
            document.files.add(file, bytes)?;
        }
    }
    Ok(VerifyAsk { request, portrait, document })
}

/// A field's bytes. The buffer has its final size from the start: growing it would leave copies
/// of the portrait behind.
async fn read_field(
    limits: &Limits,
    mut field: Field<'_>,
    what: &str,
    max: usize,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(max));
    while let Some(chunk) = field.chunk().await.map_err(|e| multipart_error(limits, &e))? {
        if bytes.len() + chunk.len() > max {
            return Err(ApiError::too_large(what, max as u64));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The request's `document`, taken out of it: what is in there is overwritten when it is dropped.
fn document(request: &mut Map<String, Value>) -> Result<Option<DocumentRequest>, ApiError> {
    let Some(value) = request.remove("document").filter(|v| !v.is_null()) else { return Ok(None) };
    let command: DocumentCommand = serde_path_to_error::deserialize(value).map_err(|e| {
        // The place only: the words of the error could be the document's.
        let message = format!("`document` cannot be read at `{}`", shown_path(e.path()));
        ApiError::bad_request(Kind::Usage, message, "see docs/reference/http.md for its fields")
    })?;
    Ok(Some(DocumentRequest::from_command(command)?))
}

async fn read_json(limits: &Limits, request: Request) -> Result<VerifyAsk, ApiError> {
    let body = Bytes::from_request(request, &()).await.map_err(|e| {
        if e.status() == StatusCode::PAYLOAD_TOO_LARGE {
            ApiError::too_large("the request", limits.body() as u64)
        } else {
            ApiError::bad_request(Kind::Malformed, e.body_text(), "send the whole body")
        }
    })?;
    let fields = object(&body);
    // Sole owner of the buffer, which is the rule here: overwrite it.
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
    let mut request = fields?;
    let portrait = match request.remove("portrait") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => {
            let text = Zeroizing::new(text);
            let most = text.len() / 4 * 3 + 3;
            let mut bytes = Zeroizing::new(Vec::with_capacity(most));
            STANDARD.decode_vec(text.trim().as_bytes(), &mut bytes).map_err(|e| {
                let message = format!("the portrait is not base64: {e}");
                ApiError::bad_request(Kind::Malformed, message, "send the file's bytes in standard base64")
            })?;
            if bytes.is_empty() {
                return Err(empty_portrait());
            }
            if bytes.len() > limits.portrait {
                return Err(ApiError::too_large("the portrait", limits.portrait as u64));
            }
            Some(bytes)
        }
        Some(_) => {
            return Err(ApiError::bad_request(
                Kind::Malformed,
                "the portrait is not a text",
                "send the file's bytes in standard base64",
            ));
        }
    };
    let document = document(&mut request)?;
    Ok(VerifyAsk { request, portrait, document })
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    serde_json::from_slice(bytes).map_err(|e| {
        // The position only: the words around it could be the portrait's.
        let message = format!("the request is not a JSON object (line {}, column {})", e.line(), e.column());
        ApiError::bad_request(Kind::Malformed, message, "send {} for every default")
    })
}

fn empty_portrait() -> ApiError {
    ApiError::bad_request(Kind::Malformed, "the portrait has 0 bytes", "send the picture's file")
}

fn multipart_error(limits: &Limits, e: &MultipartError) -> ApiError {
    if e.status() == StatusCode::PAYLOAD_TOO_LARGE {
        ApiError::too_large("the request", limits.body() as u64)
    } else {
        ApiError::bad_request(Kind::Malformed, e.body_text(), "send complete multipart/form-data")
    }
}
