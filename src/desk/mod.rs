//! The box's local face: the HTTP interface of the document reader and the hotel's software, the
//! status page, health and metrics.
//!
//! | route | what |
//! |---|---|
//! | `POST /v1/verify` | `multipart/form-data` with a file `portrait`, files of the chip (`ef_sod`, `dg1`, `dg2` …), the text `mrz` and optional JSON `request`, or `application/json` with files in base64; answers `{result, event, recorded}` |
//! | `POST /v1/credential` | `application/json`, as `cmd/credential`; answers `{decision, event, recorded}` |
//! | `POST /v1/confirm` | `application/json`, as `cmd/confirm`; the same answer |
//! | `POST /v1/identify` | `application/json`, as `cmd/identify`; answers `{result, candidates, event, recorded}` |
//! | `GET /v1/identify` | searches whose candidates wait for a clerk |
//! | `POST /v1/identify/{session}/confirm`, `…/reject` | a clerk decides; answers `{result, event, recorded}` |
//! | `POST /v1/gallery/put`, `…/revoke`, `…/list` | `application/json`, as the body of the commands of these names; answers `GalleryDone`, or a `GalleryPage` |
//! | `GET /v1/status` | [`Snapshot`], the faults found in it, and the last results |
//! | `GET /v1/events` | server-sent events: every envelope as it was recorded, and as `prompt` what a guest is asked to do |
//! | `GET /v1/search` | the newest event of each candidate of a search, and of the ground looked at |
//! | `GET /healthz` | 200, or 503 with the reasons why no decision can be taken |
//! | `GET /metrics` | OpenMetrics |
//! | `GET /` | the status page, one file, nothing from elsewhere |
//!
//! Errors are `{"error": {"kind", "message", "remedy"}}`.
//!
//! Whoever asks has a token ([`access`]), unless the room listens on loopback and the configuration
//! says that this machine may do without. Then a page in a browser on the same machine is the attacker to
//! think of: a foreign `Host` (DNS rebinding) or `Origin` (cross-site request) is refused before anything
//! is read ([`guard`]). An address that others can reach takes TLS and tokens. Every resource has a bound:
//! connections, requests a minute, requests in work, event streams, bytes of a body, seconds for a
//! handshake, for a header, for a body and for a write.
//!
//! The rest of the house is seen through [`DeskBackend`] only.

mod access;
mod doors;
mod feed;
mod fault;
mod gallery;
mod guard;
mod identify;
mod metrics;
mod page;
mod routes;
mod serve;
mod snapshot;
mod tls;
mod verify;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::broadcast;
use zeroize::Zeroizing;

use crate::auth::Caller;
use crate::base::{Clock, Culprit, Error, Kind, Result, Shutdown};
use crate::config::{DeskConfig, DeskTlsConfig};
use crate::document::DocumentRequest;
use crate::event::{
    ConfirmCommand, CredentialCommand, Envelope, GalleryDone, GalleryList, GalleryPage, GalleryPut,
    GalleryRevoke, IdentifyCommand, IdentifyResult, IdentifyWaiting, Refusal, VerifyResult,
};
use crate::gate::{ClerkWord, DoorAnswer, Identified, Prompt};

pub use snapshot::{Fault, RefusalCount, Snapshot};

/// A future that an object-safe trait can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A verification asked for over HTTP.
pub struct VerifyAsk {
    /// The fields of the request, without portrait and document: what `cmd/verify` carries over MQTT.
    pub request: serde_json::Map<String, serde_json::Value>,
    /// The portrait's file, as sent; absent only when `mode` is `document_only` or the document has
    /// one. Overwritten when dropped.
    pub portrait: Option<Zeroizing<Vec<u8>>>,
    /// What else was read of the document. Overwritten when dropped.
    pub document: Option<DocumentRequest>,
}

impl std::fmt::Debug for VerifyAsk {
    /// The portrait's size only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyAsk")
            .field("request", &self.request)
            .field("portrait_bytes", &self.portrait.as_ref().map(|p| p.len()))
            .field("document", &self.document)
            .finish()
    }
}

/// The answer to a [`VerifyAsk`].
#[derive(Clone, Debug, Serialize)]
pub struct VerifyAnswer {
    /// How the verification ended.
    pub result: VerifyResult,
    /// The event as it was made durable; absent when it could not be.
    pub event: Option<Envelope>,
    /// Whether the event is on disk. A result that is not recorded must open nothing.
    pub recorded: bool,
}

/// Something asked about the gallery.
#[derive(Debug)]
pub enum GalleryAsk {
    /// Enrol a person.
    Put(Box<GalleryPut>),
    /// End a person's entry.
    Revoke(GalleryRevoke),
    /// List who is enrolled.
    List(GalleryList),
}

/// What comes of a [`GalleryAsk`].
#[derive(Debug)]
pub enum GalleryAnswer {
    /// How a change ended.
    Done(GalleryDone),
    /// Who is enrolled.
    Page(GalleryPage),
}

/// What this room needs from the rest of the house.
pub trait DeskBackend: Send + Sync + 'static {
    /// Verifies. The future ends within the request's deadline and never waits for longer; it is
    /// dropped when the requester goes away.
    fn verify(&self, ask: VerifyAsk) -> BoxFuture<'_, Result<VerifyAnswer>>;

    /// Something was read at a door. The future ends when the door has decided.
    fn credential(&self, command: CredentialCommand) -> BoxFuture<'_, Result<DoorAnswer>>;

    /// Staff decide about a person who declined the camera.
    fn confirm(&self, command: ConfirmCommand) -> BoxFuture<'_, Result<DoorAnswer>>;

    /// Looks up a guest without papers; `by` asks. The future ends within the request's deadline and the
    /// disk's time.
    fn identify(&self, _command: IdentifyCommand, _by: String) -> BoxFuture<'_, Result<Identified>> {
        Box::pin(async { Err(nobody_is_looked_up()) })
    }

    /// Searches whose candidates wait for a clerk.
    fn identify_waiting(&self) -> Vec<IdentifyWaiting> {
        Vec::new()
    }

    /// A clerk, `by`, decides about the candidates of a search.
    fn identify_decide(
        &self,
        _session: uuid::Uuid,
        _word: ClerkWord,
        _by: String,
    ) -> BoxFuture<'_, Result<(IdentifyResult, Envelope)>> {
        Box::pin(async { Err(nobody_is_looked_up()) })
    }

    /// Asks about the gallery. Whoever asks was found to be allowed to.
    fn gallery(&self, ask: GalleryAsk, caller: Caller) -> BoxFuture<'_, Result<GalleryAnswer>>;

    /// A request was refused: it is counted, and may be an alarm. `route` is one of this room's.
    fn refused(&self, reason: Refusal, route: &str);

    /// How the box is now. Called on the network's runtime for every scrape and every second per
    /// open status page: it must not block.
    fn snapshot(&self) -> Snapshot;

    /// Every event from now on, once it is recorded. Called once, at the start.
    fn subscribe(&self) -> broadcast::Receiver<Envelope>;

    /// What guests are asked to do from now on. Called once, at the start.
    fn prompts(&self) -> broadcast::Receiver<Prompt>;
}

/// The answer of a box without `[identify]`.
pub fn nobody_is_looked_up() -> Error {
    Error::new(Kind::NotFound, Culprit::Request, "this box looks nobody up")
        .remedy("add [identify] to its configuration")
}

/// The running room. It stops with the signal given to [`Desk::start`].
#[derive(Debug)]
pub struct Desk {
    local_addr: SocketAddr,
    tls: bool,
    task: tokio::task::JoinHandle<()>,
}

impl Desk {
    /// Binds the port and serves on `runtime` until `stop` is requested; then no new request is
    /// taken, and those in work have a few seconds to end.
    pub fn start(
        config: &DeskConfig,
        backend: Arc<dyn DeskBackend>,
        clock: Arc<dyn Clock>,
        stop: &Shutdown,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self> {
        Self::start_on(Self::bind(config)?, config, backend, clock, stop, runtime)
    }

    /// Takes the port and does not serve yet: whoever connects waits. A port that is taken is
    /// found out before anything else is started.
    pub fn bind(config: &DeskConfig) -> Result<TcpListener> {
        let listen = config.listen;
        if !listen.ip().is_loopback() && (config.tls.is_none() || config.tokens.is_empty()) {
            return Err(Error::config(format!("desk.listen: {listen} can be reached from other machines"))
                .remedy("add [desk.tls] and a [[desk.token]] (vigil desk token), or listen on 127.0.0.1"));
        }
        if let Some(tls) = &config.tls {
            tls::load(tls)?;
        }
        TcpListener::bind(listen)
            .and_then(|l| l.set_nonblocking(true).map(|()| l))
            .map_err(|e| bind_error(listen, e))
    }

    /// Serves on what [`Desk::bind`] gave, as [`Desk::start`] does.
    pub fn start_on(
        listener: TcpListener,
        config: &DeskConfig,
        backend: Arc<dyn DeskBackend>,
        clock: Arc<dyn Clock>,
        stop: &Shutdown,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self> {
        let listen = config.listen;
        let local_addr = listener.local_addr().map_err(|e| bind_error(listen, e))?;
        let _inside = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(|e| bind_error(listen, e))?;

        let tls = config.tls.as_ref().map(tls::Tls::open).transpose()?.map(Arc::new);
        let has_tls = tls.is_some();
        let state = Arc::new(routes::State::new(config, local_addr, backend, clock));
        let task = runtime.spawn(serve::run(listener, state, tls, stop.clone()));
        Ok(Self { local_addr, tls: has_tls, task })
    }

    /// The address listened on, with the port that the system chose if the configuration said 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where a person finds the status page.
    pub fn url(&self) -> String {
        format!("{}://{}/", if self.tls { "https" } else { "http" }, self.local_addr)
    }

    /// Waits until the room has stopped; it does so only after the stop signal.
    pub async fn join(self) {
        if let Err(e) = self.task.await {
            tracing::error!("the desk ended badly: {e}");
        }
    }
}

/// Everything about the certificate that can be wrong without a client.
pub fn check_tls(config: &DeskTlsConfig) -> Result<()> {
    tls::load(config).map(drop)
}

fn bind_error(listen: SocketAddr, e: std::io::Error) -> Error {
    let in_use = e.kind() == std::io::ErrorKind::AddrInUse;
    let error = Error::io(Culprit::Host, format!("desk.listen: cannot listen on {listen}"), e);
    if in_use {
        error.remedy("another program holds this port: stop it, or choose another `desk.listen`")
    } else {
        error.remedy("choose another `desk.listen`")
    }
}
