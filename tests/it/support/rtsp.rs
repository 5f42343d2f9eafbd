//! A real RTSP camera, and the ways one misbehaves that a real one cannot be told to.

// Shared with the benches, which use a part of it.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use gstreamer::prelude::*;
use gstreamer_rtsp_server as server;
use server::prelude::*;
use server::{gio, glib};

/// Where the video is mounted.
pub const PATH: &str = "/live";

/// What the camera shows.
#[derive(Clone, Debug)]
pub struct Setup {
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    /// The stream ends after so many pictures.
    pub pictures: Option<u32>,
    /// User and password it asks for, with Digest.
    pub login: Option<(String, String)>,
    /// PEM of certificate and key: `rtsps`.
    pub tls: Option<String>,
    /// In place of the moving pattern: the whole description, ending in a payloader `pay0`.
    pub launch: Option<String>,
    /// Sent again and again by an `appsrc` called `klv` in that description.
    pub klv: Option<Vec<u8>>,
    /// It takes so long to start its source when a client asks what it has.
    pub wakes_in: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            width: 320,
            height: 240,
            fps: 25,
            pictures: None,
            login: None,
            tls: None,
            launch: None,
            klv: None,
            wakes_in: Duration::ZERO,
        }
    }
}

/// A port that nobody else takes: below those that the system gives to whoever connects without asking
/// for one, and never the same twice in this process. A port that the system itself found free may be the
/// near end of somebody's connection a moment later, for as long as that connection lasts.
pub fn free_port() -> u16 {
    port_that(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
}

/// The same for datagrams.
pub fn free_udp_port() -> u16 {
    port_that(|port| UdpSocket::bind(("0.0.0.0", port)).is_ok())
}

fn port_that(is_free: impl Fn(u16) -> bool) -> u16 {
    static GIVEN: AtomicUsize = AtomicUsize::new(0);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let end = range.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(32_768);
    let (first, count) = (10_000, usize::from(u16::max(end, 12_000) - 10_000));
    // Another process of these tests begins elsewhere.
    let start = std::process::id() as usize * 251;
    for _ in 0..count {
        let place = (start + GIVEN.fetch_add(1, Ordering::SeqCst)) % count;
        let port = first + u16::try_from(place).unwrap();
        if is_free(port) {
            return port;
        }
    }
    panic!("no port is free");
}

/// A camera at `rtsp://127.0.0.1:{port}/live`: H.264, one encoder per client. Stops when dropped.
pub struct RtspServer {
    port: u16,
    scheme: &'static str,
    context: glib::MainContext,
    main: glib::MainLoop,
    valves: Arc<Mutex<Vec<gstreamer::Element>>>,
    frozen: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RtspServer {
    /// Starts on a fixed port, so that it can come back on the same one.
    pub fn start(port: u16, setup: Setup) -> Self {
        gstreamer::init().unwrap();
        let context = glib::MainContext::new();
        let main = glib::MainLoop::new(Some(&context), false);
        let valves = Arc::new(Mutex::new(Vec::new()));
        let frozen = Arc::new(AtomicBool::new(false));
        let (ready, started) = std::sync::mpsc::channel();
        let thread = {
            let (context, main) = (context.clone(), main.clone());
            let (valves, frozen, setup) = (valves.clone(), frozen.clone(), setup.clone());
            std::thread::spawn(move || {
                let run = || {
                    let server = build(port, &setup, valves, frozen);
                    // The port may still be held for a moment by the server before.
                    let mut id = None;
                    for _ in 0..1_000 {
                        id = server.attach(Some(&context)).ok();
                        if id.is_some() {
                            break;
                        }
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    ready.send(id.is_some()).unwrap();
                    let Some(id) = id else { return };
                    main.run();
                    // Not `SourceId::remove`: that panics for a source of another context.
                    if let Some(source) = context.find_source_by_id(&id) {
                        source.destroy();
                    }
                    server.client_filter(Some(&mut |_, client| {
                        client.close();
                        server::RTSPFilterResult::Remove
                    }));
                    drop(server);
                    for _ in 0..1_000 {
                        if !context.iteration(false) {
                            break;
                        }
                    }
                };
                context.with_thread_default(run).unwrap();
            })
        };
        assert!(started.recv().unwrap(), "the test's RTSP server cannot listen on {port}");
        let scheme = if setup.tls.is_some() { "rtsps" } else { "rtsp" };
        Self { port, scheme, context, main, valves, frozen, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        url(self.scheme, self.port)
    }

    /// No picture leaves the camera; the connection stays.
    pub fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::SeqCst);
        for valve in self.valves.lock().unwrap().iter() {
            valve.set_property("drop", frozen);
        }
    }
}

impl RtspServer {
    /// Ends the stream of every client, as a camera does that changes its settings.
    pub fn end_streams(&self) {
        for valve in self.valves.lock().unwrap().iter() {
            if let Some(pad) = valve.static_pad("sink") {
                pad.send_event(gstreamer::event::Eos::new());
            }
        }
    }
}

pub fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://127.0.0.1:{port}{PATH}")
}

fn build(
    port: u16,
    setup: &Setup,
    valves: Arc<Mutex<Vec<gstreamer::Element>>>,
    frozen: Arc<AtomicBool>,
) -> server::RTSPServer {
    let server = server::RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service(&port.to_string());
    // Clients are served, and closed, by the server's own thread: closing one from beside the thread
    // that serves it now and then leaves that thread reading a closed connection, millions of times.
    server.thread_pool().unwrap().set_max_threads(0);
    let factory = server::RTSPMediaFactory::new();
    let end = setup.pictures.map(|n| format!("num-buffers={n}")).unwrap_or_default();
    let launch = setup.launch.clone().unwrap_or_else(|| {
        format!(
            "( videotestsrc is-live=true pattern=ball {end} ! \
             video/x-raw,format=I420,width={},height={},framerate={}/1 ! valve name=valve ! \
             x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 threads=1 ! \
             rtph264pay name=pay0 pt=96 config-interval=-1 )",
            setup.width, setup.height, setup.fps
        )
    });
    factory.set_launch(&launch);
    let (klv, wakes_in) = (setup.klv.clone(), setup.wakes_in);
    factory.set_shared(false);
    factory.connect_media_configure(move |_, media| {
        std::thread::sleep(wakes_in);
        let Ok(bin) = media.element().downcast::<gstreamer::Bin>() else { return };
        let source = bin.by_name("klv").and_then(|e| e.downcast::<gstreamer_app::AppSrc>().ok());
        if let Some((source, packet)) = source.zip(klv.clone()) {
            std::thread::spawn(move || {
                // Between its clock and the time at which that one began the source has a moment in which it
                // stamps with the hours since the machine was started, and the server keeps such a packet, and
                // all behind it, for as many hours.
                while source.current_state() != gstreamer::State::Playing {
                    if source.parent().is_none() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                while source.push_buffer(gstreamer::Buffer::from_slice(packet.clone())).is_ok() {
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
        if let Some(valve) = bin.by_name("valve") {
            valve.set_property("drop", frozen.load(Ordering::SeqCst));
            let mut valves = valves.lock().unwrap();
            valves.retain(|v| v.ref_count() > 1);
            valves.push(valve);
        }
    });
    if setup.login.is_some() || setup.tls.is_some() {
        let auth = server::RTSPAuth::new();
        if let Some((user, password)) = &setup.login {
            let token = server::RTSPToken::builder().field("media.factory.role", "viewer").build();
            auth.set_supported_methods(server::gst_rtsp::RTSPAuthMethod::Digest);
            auth.add_digest(user, password, &token);
            let role = gstreamer::Structure::builder("viewer")
                .field("media.factory.access", true)
                .field("media.factory.construct", true)
                .build();
            factory.add_role_from_structure(&role);
        }
        if let Some(pem) = &setup.tls {
            let certificate = gio::TlsCertificate::from_pem(pem).unwrap();
            auth.set_tls_certificate(Some(&certificate));
        }
        server.set_auth(Some(&auth));
    }
    server.mount_points().unwrap().add_factory(PATH, factory);
    server
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        let main = self.main.clone();
        self.context.invoke(move || main.quit());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A peer that accepts connections and never says a word.
pub struct SilentPeer {
    port: u16,
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl SilentPeer {
    pub fn start(port: u16) -> Self {
        let listener = listen(port);
        let stop = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(AtomicUsize::new(0));
        let thread = {
            let (stop, accepted) = (stop.clone(), accepted.clone());
            std::thread::spawn(move || {
                let mut held = Vec::new();
                while let Ok((stream, _)) = listener.accept() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    accepted.fetch_add(1, Ordering::SeqCst);
                    held.push(stream);
                }
            })
        };
        Self { port, stop, accepted, thread: Some(thread) }
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for SilentPeer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(port: u16) -> TcpListener {
    for _ in 0..1_000 {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("cannot listen on {port}");
}

/// The cable between box and camera: forwards TCP, and can be cut so that neither side notices.
pub struct Cable {
    port: u16,
    cut: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Cable {
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (cut_, stop_) = (cut.clone(), stop.clone());
        std::thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                if stop_.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (from, into) in [
                    (near.try_clone().unwrap(), far.try_clone().unwrap()),
                    (far.try_clone().unwrap(), near.try_clone().unwrap()),
                ] {
                    let (cut, stop) = (cut_.clone(), stop_.clone());
                    std::thread::spawn(move || forward(from, into, &cut, &stop));
                }
            }
        });
        Self { port, cut, stop }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Nothing passes any more, not even the end of a connection.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }
}

fn forward(mut from: TcpStream, mut into: TcpStream, cut: &AtomicBool, stop: &AtomicBool) {
    let mut buffer = [0u8; 16 << 10];
    let _ = from.set_read_timeout(Some(Duration::from_millis(50)));
    loop {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        if cut.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                if into.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = into.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Open descriptors of this process.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Memory of this process that is in RAM, in KiB.
pub fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Threads of this process.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}
