//! Cursor-on-Target over UDP and TCP: the maps of the people on foot.
//!
//! Each output is a task of its own that knows the markers which live. It says each again after half its
//! stale time, and all of them when a connection is new: a client that was away sees what it missed. Nothing
//! waits for an output; of what one is late with the newest word about each candidate is what counts, and
//! what did not fit into its queue is counted.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use crate::base::backoff::Backoff;
use crate::base::{Clock, Culprit, Error, Result, Shutdown};
use crate::config::{CotConfig, CotUrl};
use crate::event::SearchDetection;
use crate::search::cot::{self, Marker};

/// Words that wait for one output.
const WAITING: usize = 128;
/// Markers that live at once; the oldest goes.
const MAX_MARKERS: usize = 512;
/// A peer that takes no bytes for this long is gone.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// To connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Between two attempts.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(15);

/// How one output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CotState {
    /// Where it goes.
    pub url: CotUrl,
    /// Messages sent since the daemon started.
    pub sent: u64,
    /// Words that did not fit into its queue, and messages that could not be sent.
    pub dropped: u64,
    /// Why nothing can be sent now.
    pub trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Counts {
    fn trouble(&self, why: Option<String>) {
        *self.trouble.lock().unwrap_or_else(|e| e.into_inner()) = why;
    }
}

#[derive(Debug)]
struct Output {
    config: CotConfig,
    queue: mpsc::Sender<SearchDetection>,
    counts: Arc<Counts>,
}

/// The outputs. They end with the stop.
#[derive(Debug)]
pub struct Cot {
    outputs: Vec<Output>,
}

impl Cot {
    /// Starts one task for each output. `simulated`: the flight is a replay, and the messages say so.
    pub fn start(
        configs: &[CotConfig],
        simulated: bool,
        clock: &Arc<dyn Clock>,
        runtime: &tokio::runtime::Handle,
        stop: &Shutdown,
    ) -> Self {
        let outputs = configs
            .iter()
            .map(|config| {
                let (queue, words) = mpsc::channel(WAITING);
                let counts = Arc::<Counts>::default();
                let task = Task {
                    config: config.clone(),
                    simulated,
                    clock: clock.clone(),
                    counts: counts.clone(),
                    live: BTreeMap::new(),
                };
                runtime.spawn(task.run(words, stop.clone()));
                Output { config: config.clone(), queue, counts }
            })
            .collect();
        Self { outputs }
    }

    /// Hands a durable detection on to whoever wants it. Never waits.
    pub fn tell(&self, detection: &SearchDetection) {
        for output in &self.outputs {
            let mut word = detection.clone();
            // It is not sent, and a queue of pictures is large.
            word.chip = None;
            if output.queue.try_send(word).is_err() {
                output.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How they are.
    pub fn states(&self) -> Vec<CotState> {
        let state = |o: &Output| CotState {
            url: o.config.url,
            sent: o.counts.sent.load(Ordering::Relaxed),
            dropped: o.counts.dropped.load(Ordering::Relaxed),
            trouble: o.counts.trouble.lock().unwrap_or_else(|e| e.into_inner()).clone(),
        };
        self.outputs.iter().map(state).collect()
    }
}

struct Task {
    config: CotConfig,
    simulated: bool,
    clock: Arc<dyn Clock>,
    counts: Arc<Counts>,
    /// The newest word about each marker, and when it was said.
    live: BTreeMap<Uuid, (SearchDetection, Instant)>,
}

/// A way out.
enum Line {
    Udp(UdpSocket, SocketAddr),
    Tcp(OwnedReadHalf, OwnedWriteHalf),
}

impl Line {
    async fn open(config: &CotConfig) -> Result<Self> {
        let cannot = |e| Error::io(Culprit::Host, format!("cannot reach {}", config.url), e);
        match config.url {
            CotUrl::Udp(to) => {
                let any: SocketAddr = match to {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any).await.map_err(cannot)?;
                if to.ip().is_multicast() && to.is_ipv4() {
                    socket.set_multicast_ttl_v4(config.ttl.into()).map_err(cannot)?;
                }
                Ok(Self::Udp(socket, to))
            }
            CotUrl::Tcp(to) => {
                let stream = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(to))
                    .await
                    .map_err(|_| cannot(std::io::ErrorKind::TimedOut.into()))?
                    .map_err(cannot)?;
                let (read, write) = stream.into_split();
                Ok(Self::Tcp(read, write))
            }
        }
    }

    async fn send(&mut self, message: &str) -> std::io::Result<()> {
        let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
        match self {
            Self::Udp(socket, to) => socket.send_to(message.as_bytes(), *to).await.map(|_| ()),
            Self::Tcp(_, write) => {
                tokio::time::timeout(WRITE_WITHIN, write.write_all(message.as_bytes())).await.map_err(late)?
            }
        }
    }

    /// Ends when the peer hangs up. What a server says (pings, other people's markers) is read and passed over.
    async fn hung_up(&mut self) -> std::io::Error {
        match self {
            Self::Udp(..) => std::future::pending().await,
            Self::Tcp(read, _) => {
                let mut bytes = [0; 4096];
                loop {
                    match read.read(&mut bytes).await {
                        Ok(0) => return std::io::ErrorKind::ConnectionReset.into(),
                        Ok(_) => {}
                        Err(e) => return e,
                    }
                }
            }
        }
    }
}

impl Task {
    async fn run(mut self, mut words: mpsc::Receiver<SearchDetection>, stop: Shutdown) {
        let Ok(backoff) = Backoff::try_new(RETRY_MIN, RETRY_MAX) else { return };
        let mut waits = backoff.waits();
        loop {
            let e = match Line::open(&self.config).await {
                Ok(line) => {
                    self.counts.trouble(None);
                    let since = Instant::now();
                    let Some(e) = self.serve(line, &mut words, &stop).await else { return };
                    if since.elapsed() > RETRY_MAX {
                        waits.reset();
                    }
                    Error::io(Culprit::Host, format!("{} was lost", self.config.url), e)
                }
                Err(e) => e,
            };
            let wait = waits.next_wait();
            tracing::warn!(?wait, "Cursor-on-Target: {}", e.chain());
            self.counts.trouble(Some(e.to_string()));
            // Meanwhile words are still heard: the newest of each is said when the line is back.
            let until = Instant::now() + wait;
            loop {
                tokio::select! {
                    () = stop.wait() => return,
                    () = tokio::time::sleep_until(until) => break,
                    word = words.recv() => match word {
                        Some(word) => { self.note(word); }
                        None => return,
                    },
                }
            }
        }
    }

    /// Until the stop (`None`) or until the line is lost.
    async fn serve(
        &mut self,
        mut line: Line,
        words: &mut mpsc::Receiver<SearchDetection>,
        stop: &Shutdown,
    ) -> Option<std::io::Error> {
        let again = Duration::from_secs(u64::from(self.config.stale_s)) / 2;
        let all: Vec<Uuid> = self.live.keys().copied().collect();
        for id in all {
            if let Err(e) = self.say(&mut line, id).await {
                return Some(e);
            }
        }
        loop {
            let oldest = self
                .live
                .iter()
                .min_by_key(|(_, (_, said))| *said)
                .map(|(id, (_, said))| (*id, *said + again));
            let due = oldest.map_or_else(|| Instant::now() + again, |(_, at)| at);
            let sent = tokio::select! {
                () = stop.wait() => return None,
                e = line.hung_up() => Err(e),
                word = words.recv() => match word {
                    None => return None,
                    Some(word) => match self.note(word) {
                        Next::Say(id) => self.say(&mut line, id).await,
                        Next::Send(message) => self.send(&mut line, message).await,
                        Next::Nothing => Ok(()),
                    },
                },
                () = tokio::time::sleep_until(due) => match oldest {
                    Some((id, _)) => self.say(&mut line, id).await,
                    None => Ok(()),
                },
            };
            if let Err(e) = sent {
                return Some(e);
            }
        }
    }

    /// What a word means for the markers.
    fn note(&mut self, word: SearchDetection) -> Next {
        let id = word.candidate;
        let wanted = word.is_target || self.config.others;
        let stale = Duration::from_secs(self.config.stale_s.into());
        match cot::marker(&word) {
            Marker::Set if wanted => {
                if self.live.len() >= MAX_MARKERS && !self.live.contains_key(&id) {
                    // Version 7 identifiers rise with time: the first is the oldest.
                    self.live.pop_first();
                    self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                }
                self.live.insert(id, (word, Instant::now()));
                Next::Say(id)
            }
            Marker::Last if wanted => {
                self.live.remove(&id);
                self.made(cot::event(&word, self.clock.now(), stale, self.simulated))
            }
            // It is not what is looked for any more, or it is gone.
            _ if self.live.remove(&id).is_some() => self.made(cot::deletion(&word, self.clock.now())),
            _ => Next::Nothing,
        }
    }

    fn made(&self, message: Result<String>) -> Next {
        message.map_or_else(
            |e| {
                tracing::error!("Cursor-on-Target: {}", e.chain());
                Next::Nothing
            },
            Next::Send,
        )
    }

    async fn say(&mut self, line: &mut Line, id: Uuid) -> std::io::Result<()> {
        let stale = Duration::from_secs(self.config.stale_s.into());
        let Some((word, said)) = self.live.get_mut(&id) else { return Ok(()) };
        *said = Instant::now();
        match cot::event(word, self.clock.now(), stale, self.simulated) {
            Ok(message) => self.send(line, message).await,
            Err(e) => {
                tracing::error!("Cursor-on-Target: {}", e.chain());
                Ok(())
            }
        }
    }

    async fn send(&self, line: &mut Line, message: String) -> std::io::Result<()> {
        let sent = line.send(&message).await;
        let count = if sent.is_ok() { &self.counts.sent } else { &self.counts.dropped };
        count.fetch_add(1, Ordering::Relaxed);
        sent
    }
}

enum Next {
    Say(Uuid),
    Send(String),
    Nothing,
}
