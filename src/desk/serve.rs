//! Connections: how many, and how slow they may be.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, broadcast};
use tokio::time::Sleep;

use super::access::Peer;
use super::routes::{self, State};
use super::tls::Tls;
use crate::base::Shutdown;

/// Open connections. A desk has one document reader, a page or two, and a scraper.
const MAX_CONNECTIONS: usize = 64;
/// A request's header must be complete within this time; also how long a connection may idle.
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// Largest header.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// A client that takes no byte of its answer for this long is gone.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Requests in work when the stop comes have this long to end.
const DRAIN: Duration = Duration::from_secs(3);
/// Wait after the system refused to give a connection: no descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Serves until `stop`.
pub(super) async fn run(listener: TcpListener, state: Arc<State>, tls: Option<Arc<Tls>>, stop: Shutdown) {
    let events = tokio::spawn(follow_events(state.clone(), stop.clone()));
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let router = routes::router(state.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.wait() => break,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, Peer(peer.ip())),
            Err(e) => {
                tracing::warn!("desk: cannot accept a connection: {e}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        // Above the bound the connection is closed at once: whoever is there finds out now.
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            state.metrics.refused_connections.inc();
            continue;
        };
        let service = FromPeer { inner: TowerToHyperService::new(router.clone()), peer };
        let (tls, stop) = (tls.clone(), stop.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let _ = stream.set_nodelay(true);
            let stream = Impatient::new(stream);
            let Some(tls) = tls else { return speak(stream, service, stop).await };
            // Certificates are read now and then, off the network's threads.
            let Ok(acceptor) = tokio::task::spawn_blocking(move || tls.acceptor()).await else { return };
            match tokio::time::timeout(HEADER_WITHIN, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => speak(stream, service, stop).await,
                Ok(Err(e)) => tracing::debug!("desk: no TLS with a client: {e}"),
                Err(_) => tracing::debug!("desk: a client did not finish its TLS handshake"),
            }
        });
    }
    drop(listener);
    state.feed.close();
    // All permits are back once every connection has ended.
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    if tokio::time::timeout(DRAIN, connections.acquire_many(all)).await.is_err() {
        tracing::warn!("desk: requests were still in work {} s after the stop", DRAIN.as_secs());
    }
    let _ = events.await;
}

/// Serves one connection until it or the room ends.
async fn speak<S>(stream: S, service: FromPeer, stop: Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = result {
        tracing::debug!("desk: connection ended: {e}");
    }
}

/// The routes, told who is at the other end.
struct FromPeer {
    inner: TowerToHyperService<axum::Router>,
    peer: Peer,
}

impl hyper::service::Service<hyper::Request<hyper::body::Incoming>> for FromPeer {
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = <TowerToHyperService<axum::Router> as hyper::service::Service<
        hyper::Request<hyper::body::Incoming>,
    >>::Future;

    fn call(&self, mut request: hyper::Request<hyper::body::Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.inner.call(request)
    }
}

/// Moves recorded events to the feed and counts them.
async fn follow_events(state: Arc<State>, stop: Shutdown) {
    let (mut events, mut prompts) = (state.backend.subscribe(), state.backend.prompts());
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            // Prompts that were missed are over; when they end, events end as well.
            Ok(prompt) = prompts.recv() => {
                state.feed.prompt(prompt);
                continue;
            }
            () = stop.wait() => return,
        };
        match event {
            Ok(envelope) => {
                state.metrics.count(&envelope);
                state.feed.push(envelope);
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                state.metrics.missed_events.inc_by(missed);
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// A connection that fails when its peer takes nothing for [`WRITE_WITHIN`].
struct Impatient {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream) -> Self {
        Self { stream, stalled: None }
    }

    fn bounded<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let sleep = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_WITHIN)));
        match sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.bounded(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.bounded(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
