//! A network camera: MJPEG over HTTP (`multipart/x-mixed-replace`), in real time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::scene::{FPS, Reel};
use crate::base::{Culprit, Error, Result, Shutdown, supervise};

/// Clients at a time.
const MAX_CLIENTS: usize = 8;
/// Largest request header.
const MAX_HEADER: usize = 8 * 1024;
/// A client that takes nothing for this long is dropped.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the listener looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Program {
    /// Counts pictures.
    seq: u64,
    picture: Arc<[u8]>,
    showing: Arc<Reel>,
    /// Somebody else is to be shown next.
    next: Option<Arc<Reel>>,
    phase: Phase,
    frozen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Entering(usize),
    Staying(usize),
    Leaving(usize),
}

#[derive(Debug)]
struct Shared {
    program: Mutex<Program>,
    changed: Condvar,
    clients: AtomicUsize,
    stop: Shutdown,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Program> {
        self.program.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A running camera; it ends when dropped.
#[derive(Debug)]
pub struct Camera {
    shared: Arc<Shared>,
    addr: SocketAddr,
}

impl Camera {
    /// Listens on `listen` and shows `first`.
    pub fn start(listen: &str, first: Reel) -> Result<Self> {
        let cannot =
            |e| Error::io(Culprit::Host, format!("the demonstration's camera cannot use {listen}"), e);
        let listener = TcpListener::bind(listen).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let addr = listener.local_addr().map_err(cannot)?;
        let shared = Arc::new(Shared {
            program: Mutex::new(Program {
                seq: 0,
                picture: first.stay.first().map(|p| p.as_slice().into()).unwrap_or_default(),
                showing: Arc::new(first),
                next: None,
                phase: Phase::Entering(0),
                frozen: false,
            }),
            changed: Condvar::new(),
            clients: AtomicUsize::new(0),
            stop: Shutdown::new(),
        });
        let player = shared.clone();
        supervise::spawn("stage-player", move || play(&player))?;
        let accepter = shared.clone();
        supervise::spawn("stage-camera", move || accept(&listener, &accepter))?;
        Ok(Self { shared, addr })
    }

    /// Where the pictures are.
    pub fn url(&self) -> String {
        format!("http://{}/camera.mjpg", self.addr)
    }

    /// Who is there now steps away, then `reel` begins.
    pub fn show(&self, reel: impl Into<Arc<Reel>>) {
        self.shared.lock().next = Some(reel.into());
    }

    /// Waits until what was last given to [`Camera::show`] stands before the camera; false if that
    /// took longer than `timeout`.
    pub fn settled(&self, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        let mut program = self.shared.lock();
        while program.next.is_some() || !matches!(program.phase, Phase::Staying(_)) {
            let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) else {
                return false;
            };
            program = self.shared.changed.wait_timeout(program, left).unwrap_or_else(|e| e.into_inner()).0;
        }
        true
    }

    /// Stops or resumes giving new pictures; connections stay open, as with a camera that hangs.
    pub fn freeze(&self, frozen: bool) {
        self.shared.lock().frozen = frozen;
    }

    /// How many clients are watching.
    pub fn clients(&self) -> usize {
        self.shared.clients.load(Ordering::Relaxed)
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.shared.stop.request();
        self.shared.changed.notify_all();
    }
}

/// Moves the program on, picture by picture.
fn play(shared: &Shared) {
    let every = Duration::from_secs(1) / FPS;
    let mut due = Instant::now();
    loop {
        due += every;
        let now = Instant::now();
        if due < now {
            // Late: a camera does not catch up, it loses pictures.
            due = now;
        }
        if shared.stop.sleep(due.saturating_duration_since(now)) {
            return;
        }
        let mut program = shared.lock();
        if !program.frozen {
            program.step();
            shared.changed.notify_all();
        }
    }
}

impl Program {
    fn step(&mut self) {
        let reel = self.showing.clone();
        let (picture, phase) = match self.phase {
            Phase::Entering(n) if n < reel.enter.len() => (&reel.enter[n], Phase::Entering(n + 1)),
            // The round is finished before anybody leaves, so that nobody jumps.
            Phase::Entering(_) => (&reel.stay[0], Phase::Staying(1)),
            Phase::Staying(n) if self.next.is_some() && n >= reel.stay.len() => {
                self.phase = Phase::Leaving(reel.enter.len());
                return self.step();
            }
            Phase::Staying(n) => (&reel.stay[n % reel.stay.len()], Phase::Staying(n % reel.stay.len() + 1)),
            Phase::Leaving(n) if n > 0 => (&reel.enter[n - 1], Phase::Leaving(n - 1)),
            Phase::Leaving(_) => {
                if let Some(next) = self.next.take() {
                    self.showing = next;
                }
                self.phase = Phase::Entering(0);
                return self.step();
            }
        };
        self.picture = picture.as_slice().into();
        self.phase = phase;
        self.seq += 1;
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stop.requested() {
        let Ok((stream, _)) = listener.accept() else {
            if shared.stop.sleep(LOOK) {
                return;
            }
            continue;
        };
        if shared.clients.load(Ordering::Relaxed) >= MAX_CLIENTS {
            continue;
        }
        shared.clients.fetch_add(1, Ordering::Relaxed);
        let client = shared.clone();
        let served = supervise::spawn("stage-client", move || {
            // A client that goes away is the usual end.
            let _ = serve(stream, &client);
            client.clients.fetch_sub(1, Ordering::Relaxed);
        });
        if served.is_err() {
            shared.clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut header = Vec::new();
    let mut buffer = [0; 1024];
    while !header.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = stream.read(&mut buffer)?;
        if n == 0 || header.len() + n > MAX_HEADER {
            return Ok(());
        }
        header.extend_from_slice(&buffer[..n]);
    }
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=vigil\r\n\
          Cache-Control: no-store\r\nConnection: close\r\n\r\n",
    )?;
    let mut last = 0;
    let mut out = Vec::new();
    loop {
        let picture = {
            let mut program = shared.lock();
            while program.seq == last && !shared.stop.requested() {
                program = shared.changed.wait_timeout(program, PATIENCE).unwrap_or_else(|e| e.into_inner()).0;
            }
            last = program.seq;
            program.picture.clone()
        };
        if shared.stop.requested() {
            return Ok(());
        }
        out.clear();
        write!(out, "--vigil\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", picture.len())?;
        out.extend_from_slice(&picture);
        out.extend_from_slice(b"\r\n");
        stream.write_all(&out)?;
    }
}
