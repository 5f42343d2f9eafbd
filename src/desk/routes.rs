//! The routes, and what every answer has in common.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt};
use uuid::Uuid;

use super::DeskBackend;
use super::access::{Access, Peer};
use super::fault::ApiError;
use super::feed::{Feed, News};
use super::guard::Guard;
use super::metrics::Metrics;
use super::{doors, gallery, identify, page, verify};
use crate::auth::Caller;
use crate::base::{Clock, Culprit, Error, Kind};
use crate::config::{DeskConfig, Role};
use crate::event::{Envelope, EventKind};

/// Open event streams.
const MAX_STREAMS: usize = 16;
/// Results on the status page.
const RESULTS_SHOWN: usize = 12;

/// Every route, how it is asked, and the role that it takes; none if everybody may ask. A path that does
/// not stand here leads nowhere.
const ROUTES: [(&str, &str, Option<Role>); 15] = [
    ("/", "GET", None),
    ("/healthz", "GET", None),
    ("/metrics", "GET", Some(Role::Reader)),
    ("/v1/status", "GET", Some(Role::Desk)),
    ("/v1/events", "GET", Some(Role::Desk)),
    ("/v1/search", "GET", Some(Role::Desk)),
    ("/v1/verify", "POST", Some(Role::Reader)),
    ("/v1/credential", "POST", Some(Role::Reader)),
    ("/v1/confirm", "POST", Some(Role::Desk)),
    ("/v1/identify", "GET, POST", Some(Role::Desk)),
    ("/v1/identify/{session}/confirm", "POST", Some(Role::Desk)),
    ("/v1/identify/{session}/reject", "POST", Some(Role::Desk)),
    ("/v1/gallery/put", "POST", Some(Role::Installer)),
    ("/v1/gallery/revoke", "POST", Some(Role::Installer)),
    ("/v1/gallery/list", "POST", Some(Role::Installer)),
];

/// The route that `path` is; a part in braces stands for any one part.
fn known(path: &str) -> Option<&'static (&'static str, &'static str, Option<Role>)> {
    ROUTES.iter().find(|(route, ..)| {
        let (mut parts, mut asked) = (route.split('/'), path.split('/'));
        loop {
            match (parts.next(), asked.next()) {
                (None, None) => return true,
                (Some(part), Some(asked)) if part == asked || part.starts_with('{') => {}
                _ => return false,
            }
        }
    })
}

/// What the routes share.
pub(super) struct State {
    pub(super) backend: Arc<dyn DeskBackend>,
    pub(super) feed: Feed,
    pub(super) metrics: Metrics,
    pub(super) verify: verify::Limits,
    pub(super) doors: doors::Limits,
    pub(super) gallery: gallery::Limits,
    access: Access,
    guard: Guard,
    streams: Arc<Semaphore>,
}

impl State {
    pub(super) fn new(
        config: &DeskConfig,
        local: SocketAddr,
        backend: Arc<dyn DeskBackend>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            metrics: Metrics::new(backend.clone()),
            backend,
            feed: Feed::new(),
            verify: verify::Limits::new(config),
            doors: doors::Limits::new(),
            gallery: gallery::Limits::new(),
            access: Access::new(config, clock),
            guard: Guard::new(local, config.tls.is_some()),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        }
    }
}

/// All routes.
pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(page::get))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/events", get(events))
        .route("/v1/search", get(search))
        .route("/v1/verify", post(verify::post).layer(DefaultBodyLimit::max(state.verify.body())))
        .route("/v1/credential", post(doors::credential).layer(DefaultBodyLimit::max(doors::MAX_BODY)))
        .route("/v1/confirm", post(doors::confirm).layer(DefaultBodyLimit::max(doors::MAX_BODY)))
        .route(
            "/v1/identify",
            get(identify::waiting).post(identify::post).layer(DefaultBodyLimit::max(doors::MAX_BODY)),
        )
        .route(
            "/v1/identify/{session}/confirm",
            post(identify::confirm).layer(DefaultBodyLimit::max(doors::MAX_BODY)),
        )
        .route(
            "/v1/identify/{session}/reject",
            post(identify::reject).layer(DefaultBodyLimit::max(doors::MAX_BODY)),
        )
        .route("/v1/gallery/put", post(gallery::put).layer(DefaultBodyLimit::max(gallery::MAX_BODY)))
        .route("/v1/gallery/revoke", post(gallery::revoke).layer(DefaultBodyLimit::max(doors::MAX_BODY)))
        .route("/v1/gallery/list", post(gallery::list).layer(DefaultBodyLimit::max(doors::MAX_BODY)))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown)
        .layer(axum::middleware::from_fn_with_state(state.clone(), around))
        .with_state(state)
}

/// Around every route: the guard and whoever asks before it, common headers and the count after it.
async fn around(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let known = known(request.uri().path());
    // Bounded label values: anything else is one value.
    let route = known.map_or("other", |(path, ..)| path).to_owned();
    // What leads nowhere is told to those who may ask at all.
    let needed = known.map_or(Some(Role::Reader), |(.., role)| *role);
    let mut response = match allowed(&state, needed, &route, request) {
        Ok(request) if known.is_some() => next.run(request).await,
        Ok(request) => unknown(request).await.into_response(),
        Err(refused) => refused.into_response(),
    };
    state.metrics.count_request(route, response.status().as_u16());
    const COMMON: [(HeaderName, &str); 4] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in COMMON {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The request with its [`Caller`], if this page may ask and whoever asks may.
fn allowed(
    state: &State,
    needed: Option<Role>,
    route: &str,
    mut request: Request,
) -> Result<Request, ApiError> {
    state.guard.check(request.uri(), request.headers())?;
    let Some(Peer(peer)) = request.extensions().get().copied() else {
        return Err(Error::internal("a request came from nowhere").into());
    };
    match state.access.check(needed, peer, request.headers()) {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            Ok(request)
        }
        Err(refused) => {
            state.backend.refused(refused.reason, route);
            Err(refused.error)
        }
    }
}

async fn unknown(request: Request) -> ApiError {
    ApiError::from(
        Error::new(Kind::NotFound, Culprit::Request, format!("there is no {:?} here", request.uri().path()))
            .remedy(format!("the routes are {}", ROUTES.map(|(path, ..)| path).join(", "))),
    )
}

async fn wrong_method(request: Request) -> ApiError {
    let right = known(request.uri().path()).map_or("GET", |(_, how, _)| how);
    let message = format!("{} does not answer {}", request.uri().path(), request.method());
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Error::new(Kind::Usage, Culprit::Request, message).remedy(format!("use {right}")),
    )
}

async fn healthz(Shared(state): Shared<Arc<State>>, caller: Option<Extension<Caller>>) -> Response {
    let faults = state.backend.snapshot().all_faults();
    let (status, word) = match faults.first() {
        None => (StatusCode::OK, "ok"),
        Some(worst) if worst.stops_decisions => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
        Some(_) => (StatusCode::OK, "degraded"),
    };
    // What is wrong with the box is for those who may ask.
    let says = match caller {
        Some(_) => json!({ "status": word, "reasons": faults }),
        None => json!({ "status": word }),
    };
    (status, Json(says)).into_response()
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> Result<Response, ApiError> {
    let text = state.metrics.encode()?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

async fn status(Shared(state): Shared<Arc<State>>) -> Response {
    let snapshot = state.backend.snapshot();
    let faults = snapshot.all_faults();
    let results: Vec<_> = state
        .feed
        .last()
        .into_iter()
        .filter(|e| {
            [EventKind::VerifyResult, EventKind::GateDecision].iter().any(|k| e.ty == k.cloud_event_type())
        })
        .take(RESULTS_SHOWN)
        .collect();
    let results: Vec<&Envelope> = results.iter().map(|e| &**e).collect();
    Json(json!({ "snapshot": snapshot, "faults": faults, "results": results })).into_response()
}

/// What a search has found, and the ground that was looked at: for a page that was not there from the start.
async fn search(Shared(state): Shared<Arc<State>>) -> Response {
    let events = state.feed.search();
    let events: Vec<&Envelope> = events.iter().map(|e| &**e).collect();
    Json(json!({ "events": events })).into_response()
}

async fn events(
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, std::convert::Infallible>>>, ApiError> {
    let permit = state.streams.clone().try_acquire_owned().map_err(|_| {
        ApiError::from(
            Error::new(Kind::Unavailable, Culprit::Request, format!("{MAX_STREAMS} event streams are open"))
                .remedy("close a status page"),
        )
    })?;
    let after =
        headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| Uuid::parse_str(v).ok());
    let (backlog, live) = state.feed.follow(after);
    let Some(live) = live else {
        return Err(Error::new(Kind::Unavailable, Culprit::Vigil, "the box is stopping").into());
    };
    let live = BroadcastStream::new(live).map(|item| match item {
        Ok(News::Event(envelope)) => to_sse(&envelope),
        // As with an envelope, this cannot fail.
        Ok(News::Prompt(prompt)) => {
            Event::default().event("prompt").data(serde_json::to_string(&*prompt).unwrap_or_default())
        }
        Err(BroadcastStreamRecvError::Lagged(missed)) => {
            Event::default().event("missed").data(missed.to_string())
        }
    });
    let backlog: Vec<Event> = backlog.iter().map(|e| to_sse(e)).collect();
    // A first event: the client knows that the stream is open before anything happens.
    let first = Event::default().event("open").retry(std::time::Duration::from_secs(1)).data("");
    let stream = tokio_stream::once(first).chain(tokio_stream::iter(backlog)).chain(live).map(move |event| {
        let _ = &permit;
        Ok(event)
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

fn to_sse(envelope: &Envelope) -> Event {
    let name = envelope.ty.strip_prefix("vigil.v1.").unwrap_or(&envelope.ty);
    // Serialising an envelope cannot fail, and JSON on one line has no line break; if it ever did,
    // the stream goes on without it.
    let data = serde_json::to_string(envelope).unwrap_or_default();
    Event::default().id(envelope.id.to_string()).event(name).data(data)
}
