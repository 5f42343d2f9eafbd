//! Transport streams against real senders: UDP, SRT, files, RTSP with KLV; and every way one fails.

#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use vigil::base::mailbox::{Received, Receiver};
use vigil::base::{Kind, Shutdown, SystemClock};
use vigil::capture::{
    Camera, CameraStatus, Frame, GstOpener, Metadata, MetadataReader, MetadataReceived, Opener, Recorded,
    SampleData, SampleRange, probe, read_file, read_flight,
};
use vigil::config::{CameraConfig, Millis, Secret};
use vigil::event::CameraCondition;

use crate::support::camera::config;
use crate::support::drone::{Drone, FPS, Flight, klv, number, synchronous};
use crate::support::rtsp::{RtspServer, Setup, free_port, free_udp_port, resident_kib};

const LONG: Duration = Duration::from_secs(120);

struct Watched {
    camera: Camera,
    frames: Receiver<Frame>,
    packets: MetadataReader,
    status: watch::Receiver<CameraStatus>,
    stop: Shutdown,
}

/// A camera whose silence is soon noticed, and a busy machine's too.
fn impatient(name: &str, url: &str) -> CameraConfig {
    let mut config = config(name, url);
    config.stall_after_ms = Millis(1_500);
    config.connect_within_ms = Millis(4_000);
    config
}

fn open(config: &CameraConfig) -> Watched {
    let stop = Shutdown::new();
    let opener: Arc<dyn Opener> = Arc::new(GstOpener::new().unwrap());
    let (camera, frames) = Camera::start(config, opener, Arc::new(SystemClock::default()), &stop).unwrap();
    let (status, packets) = (camera.status(), camera.metadata());
    Watched { camera, frames, packets, status, stop }
}

impl Watched {
    fn until(&self, what: &str, wanted: impl Fn(&CameraStatus) -> bool) -> CameraStatus {
        let started = Instant::now();
        while started.elapsed() < LONG {
            let status = self.status.borrow().clone();
            if wanted(&status) {
                return status;
            }
            // Read as a consumer does: what waits too long is thrown away.
            let _ = self.frames.recv(Duration::from_millis(10));
            while self.packets.try_recv().is_some() {}
        }
        panic!("not {what} within {LONG:?}: {:?} {:?}", self.status.borrow(), self.camera.stats());
    }

    fn live(&self) {
        self.until("live", |s| s.state == CameraCondition::Live);
    }

    fn because(&self, reason: &str) -> CameraStatus {
        self.until(reason, |s| s.reason.as_deref().is_some_and(|r| r.contains(reason)))
    }

    fn frame(&self) -> Frame {
        match self.frames.recv(LONG) {
            Received::Value(frame) => frame,
            other => panic!("no frame: {other:?} {:?}", self.status.borrow()),
        }
    }

    fn packet(&self) -> Metadata {
        match self.packets.recv(LONG) {
            MetadataReceived::Packet(packet) => packet,
            other => panic!("no packet: {other:?} {:?}", self.status.borrow()),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.request();
        if !std::thread::panicking() {
            assert!(self.camera.join(LONG), "the camera's thread does not end");
        }
    }
}

/// The number of the picture, by its brightness; pictures 25 apart look alike.
fn shown(frame: &Frame) -> u64 {
    let samples = frame.to_samples(None).unwrap();
    assert_eq!(samples.range(), SampleRange::Studio);
    let SampleData::Eight(v) = samples.data() else { panic!("not 8 bit") };
    let mean = v.iter().map(|s| u64::from(*s)).sum::<u64>() as f64 / v.len() as f64;
    ((mean - 16.0) / 8.0).round() as u64
}

/// Packets are whole, in order, and on the axis of the frames: the packet of a frame's number has its
/// stream time.
#[track_caller]
fn aligned(frames: &[Frame], packets: &[Metadata]) {
    assert!(frames.len() >= 5 && packets.len() >= 5, "{} {}", frames.len(), packets.len());
    for pair in packets.windows(2) {
        assert_eq!(number(&pair[1].bytes), number(&pair[0].bytes) + 1, "in order, none lost");
    }
    let mut checked = 0;
    for packet in packets {
        assert_eq!(packet.bytes, klv(number(&packet.bytes), 200), "byte for byte");
        assert!(packet.stamped);
        let at = packet.at.unwrap();
        let same = |f: &&Frame| {
            let t = f.stream_time().unwrap();
            t.opening == at.opening && t.position.abs_diff(at.position) < Duration::from_millis(5)
        };
        if let Some(frame) = frames.iter().find(same) {
            assert_eq!(shown(frame), number(&packet.bytes) % 25, "{at:?}");
            checked += 1;
        }
    }
    assert!(checked >= 5, "{checked} frames have a packet of their time");
}

/// So many frames, and the packets up to the last of them, out of one opening from which nothing was lost
/// on the way: a machine that is too busy to receive loses datagrams, and the room counts them.
fn collect(w: &Watched, count: usize) -> (Vec<Frame>, Vec<Metadata>) {
    let started = Instant::now();
    loop {
        while w.packets.try_recv().is_some() {}
        let begun = w.camera.stats();
        let (mut frames, mut packets) = (Vec::new(), Vec::new());
        while frames.len() < count {
            frames.push(w.frame());
            packets.extend(std::iter::from_fn(|| w.packets.try_recv()));
        }
        let last = frames.last().unwrap().stream_time().unwrap();
        while packets.last().is_none_or(|p: &Metadata| p.at.unwrap() < last) {
            packets.push(w.packet());
        }
        let ended = w.camera.stats();
        if (ended.attempts, ended.drops.lost) == (begun.attempts, begun.drops.lost) {
            return (frames, packets);
        }
        println!("collected anew: {begun:?} became {ended:?}");
        assert!(started.elapsed() < LONG, "{begun:?} became {ended:?}");
    }
}

#[test]
fn udp_brings_frames_and_klv_on_one_axis_and_comes_back() {
    let port = free_udp_port();
    let w = open(&impatient("udp", &format!("udp://127.0.0.1:{port}")));
    let status = w.because("no picture within 4000 ms");
    assert!(status.reason.unwrap().ends_with("nothing is sent to this port"));
    let drone = Drone::start(&Flight::udp(port));
    w.live();
    let (frames, packets) = collect(&w, 40);
    aligned(&frames, &packets);
    // The drone is gone; UDP does not say so.
    drop(drone);
    let status = w.until("stalled", |s| s.state == CameraCondition::Stalled);
    assert!(status.reason.unwrap().contains("no new picture for 1500 ms"));
    let _drone = Drone::start(&Flight::udp(port));
    w.live();
    let (frames, packets) = collect(&w, 40);
    assert!(frames.last().unwrap().stream_time().unwrap().opening > 1);
    aligned(&frames, &packets);
    assert_eq!(w.camera.stats().drops.metadata, 0);
}

#[test]
fn h265_and_a_multicast_group() {
    if gstreamer_lacks("x265enc") {
        println!("left out: H.265 over multicast (this machine has no x265enc)");
        return;
    }
    let port = free_udp_port();
    let mut flight = Flight::to(format!(
        "udpsink host=239.255.77.7 port={port} multicast-iface=lo auto-multicast=true sync=false"
    ));
    flight.encoder = "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! h265parse";
    let _drone = Drone::start(&flight);
    let w = open(&config("group", &format!("udp://239.255.77.7@lo:{port}")));
    w.live();
    let (frames, packets) = collect(&w, 20);
    aligned(&frames, &packets);
}

fn gstreamer_lacks(element: &str) -> bool {
    gstreamer::init().unwrap();
    gstreamer::ElementFactory::find(element).is_none()
}

#[test]
fn srt_with_a_passphrase_and_with_a_wrong_one() {
    let port = free_udp_port();
    let mut flight = Flight::to(format!(
        "srtsink uri=srt://127.0.0.1:{port}?mode=listener passphrase=correct-horse pbkeylen=16 \
         wait-for-connection=false sync=false latency=2000"
    ));
    flight.klv_bytes = 200;
    let drone = Drone::start(&flight);
    let url = format!("srt://127.0.0.1:{port}?streamid=night-flight");
    let mut wrong = config("wrong", &url);
    wrong.password = Some(Secret::new("wrong-horse-1"));
    let opener: Arc<dyn Opener> = Arc::new(GstOpener::new().unwrap());
    let e = probe(&wrong, &opener).unwrap_err();
    assert_eq!(e.kind(), Kind::Refused, "{e}");
    assert!(e.to_string().contains("passphrase") && e.to_string().contains("srt://127.0.0.1"), "{e}");
    for secret in ["wrong-horse-1", "correct-horse", "night-flight"] {
        assert!(!e.chain().contains(secret), "{}", e.chain());
    }
    wrong.password = Some(Secret::new("short"));
    let e = probe(&wrong, &opener).unwrap_err();
    assert!(e.to_string().contains("10 to 79 characters") && !e.to_string().contains("short"), "{e}");
    let mut right = config("srt", &url);
    right.password = Some(Secret::new("correct-horse"));
    let w = open(&right);
    w.live();
    let (frames, packets) = collect(&w, 30);
    aligned(&frames, &packets);
    drop(drone);
    w.until("lost", |s| s.state != CameraCondition::Live);
    let _drone = Drone::start(&flight);
    w.live();
}

#[test]
fn srt_that_waits_for_the_drone_to_call() {
    let port = free_udp_port();
    let w = open(&config("listener", &format!("srt://:{port}?mode=listener")));
    let flight =
        Flight::to(format!("srtsink uri=srt://127.0.0.1:{port}?mode=caller sync=false latency=2000"));
    let _drone = Drone::start(&flight);
    w.live();
    let (frames, packets) = collect(&w, 20);
    aligned(&frames, &packets);
}

#[test]
fn nobody_at_an_srt_address_is_said_so() {
    let port = free_udp_port();
    let mut config = config("nobody", &format!("srt://127.0.0.1:{port}"));
    config.connect_within_ms = Millis(20_000);
    let opener: Arc<dyn Opener> = Arc::new(GstOpener::new().unwrap());
    let e = probe(&config, &opener).unwrap_err();
    assert!(e.to_string().contains("nobody answers at this SRT address"), "{e}");
}

/// In a process of its own: its memory is measured.
#[test]
fn noise_on_the_port_costs_nothing_and_is_named() {
    crate::support::in_a_process_of_its_own("stream::child_that_hears_noise");
}

#[test]
#[ignore = "run by noise_on_the_port_costs_nothing_and_is_named"]
fn child_that_hears_noise() {
    let port = free_udp_port();
    let w = open(&impatient("noise", &format!("udp://127.0.0.1:{port}")));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut state = 7u64;
    let mut noise = [0u8; 1316];
    let mut send = |sync: bool| {
        for b in &mut noise {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *b = (state >> 56) as u8;
        }
        if sync {
            // Packets in their form, with anything in them.
            noise.chunks_mut(188).for_each(|p| p[0] = 0x47);
        }
        let _ = socket.send_to(&noise, ("127.0.0.1", port));
    };
    let started = Instant::now();
    while !w.status.borrow().reason.as_deref().is_some_and(|r| r.contains("not an MPEG transport stream")) {
        (0..50).for_each(|_| send(false));
        std::thread::sleep(Duration::from_millis(5));
        assert!(started.elapsed() < LONG, "{:?}", w.status.borrow());
    }
    let before = resident_kib();
    let started = Instant::now();
    while !w.status.borrow().reason.as_deref().is_some_and(|r| r.contains("names no program")) {
        (0..50).for_each(|_| send(true));
        std::thread::sleep(Duration::from_millis(5));
        assert!(started.elapsed() < LONG, "{:?}", w.status.borrow());
    }
    let grown = resident_kib().saturating_sub(before);
    println!("noise: grown by {grown} KiB");
    assert!(grown < 64 << 10, "{grown} KiB");
    let _drone = Drone::start(&Flight::udp(port));
    w.live();
}

#[test]
fn a_file_is_read_in_stream_order_the_same_every_time() {
    let dir = tempfile::tempdir().unwrap();
    for late in [0, 20] {
        let path = dir.path().join(format!("late{late}.ts"));
        let mut flight = Flight::to("");
        flight.klv_late = late;
        flight.record(&path, 100);
        let read = || {
            let (mut order, mut frames, mut packets) = (Vec::new(), Vec::new(), Vec::new());
            for item in read_flight(&path).unwrap() {
                match item.unwrap() {
                    Recorded::Frame(f) => {
                        order.push((f.stream_time(), 'f'));
                        frames.push(f);
                    }
                    Recorded::Metadata(m) => {
                        order.push((m.at, 'k'));
                        packets.push(m);
                    }
                }
            }
            (order, frames, packets)
        };
        let (order, frames, packets) = read();
        assert_eq!(order, read().0, "the same every time");
        assert_eq!(frames.len(), 100);
        assert_eq!(packets.len() as u64, 100 - late);
        aligned(&frames, &packets);
        // Even packets that were sent later than their picture stand before the next one.
        let times: Vec<_> = order.iter().map(|(t, _)| t.unwrap()).collect();
        assert!(times.is_sorted(), "late by {late}");
    }
    // Without telemetry, and asked for pictures only, it is a video as any other.
    let path = dir.path().join("late0.ts");
    assert_eq!(read_file(&path).unwrap().filter_map(Result::ok).count(), 100);
}

/// Which GStreamer 1.22 by itself does not know.
#[test]
fn synchronous_metadata_is_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flight.ts");
    Flight::to("").record(&path, 60);
    std::fs::write(&path, synchronous(&std::fs::read(&path).unwrap())).unwrap();
    let (mut frames, mut packets) = (Vec::new(), Vec::new());
    for item in read_flight(&path).unwrap() {
        match item.unwrap() {
            Recorded::Frame(f) => frames.push(f),
            Recorded::Metadata(m) => packets.push(m),
        }
    }
    assert_eq!((frames.len(), packets.len()), (60, 60));
    aligned(&frames, &packets);
}

#[test]
fn a_file_played_as_a_camera_brings_its_klv_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flight.ts");
    Flight::to("").record(&path, 60);
    let mut config = config("file", &format!("file:{}", path.display()));
    config.repeat = true;
    let opened = Instant::now();
    let w = open(&config);
    w.live();
    let (frames, packets) = collect(&w, 40);
    aligned(&frames, &packets);
    let span = frames[39].stream_time().unwrap().position - frames[0].stream_time().unwrap().position;
    // Since the file was opened: on a busy machine the first of them is late, and the others need not be.
    let took = frames[39].info().arrived - opened;
    assert!(took + Duration::from_millis(500) > span, "in real time, not as fast as it reads: {took:?}");
    assert!(span >= Duration::from_secs(39) / FPS as u32);
    // Round and round.
    w.until("a second opening", |_| w.camera.stats().attempts >= 2);
    w.live();
}

#[test]
fn klv_over_rtsp() {
    let launch = "( videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1 ! \
                  x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 threads=1 ! \
                  rtph264pay name=pay0 pt=96 config-interval=-1 \
                  appsrc name=klv is-live=true format=time do-timestamp=true caps=meta/x-klv,parsed=true ! \
                  rtpklvpay name=pay1 pt=97 )";
    let setup = Setup { launch: Some(launch.into()), klv: Some(klv(7, 3_000)), ..Setup::default() };
    let server = RtspServer::start(free_port(), setup);
    let w = open(&config("gimbal", &server.url()));
    w.live();
    let packet = w.packet();
    assert_eq!(packet.bytes, klv(7, 3_000), "in several RTP packets, byte for byte");
    let frame = w.frame();
    let apart = frame.stream_time().unwrap().position.abs_diff(packet.at.unwrap().position);
    assert!(packet.stamped && apart < Duration::from_secs(30), "{apart:?}");
}

#[test]
fn a_port_that_somebody_holds_and_an_interface_that_is_not_there() {
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let opener: Arc<dyn Opener> = Arc::new(GstOpener::new().unwrap());
    let say = |url: &str| probe(&config("cam", url), &opener).unwrap_err().to_string();
    assert!(say(&format!("udp://127.0.0.1:{port}")).contains("cannot listen at the camera's port"));
    let e = say(&format!("srt://0.0.0.0:{port}?mode=listener"));
    assert!(e.contains("cannot listen at the camera's port"), "{e}");
    assert!(say("udp://203.0.113.9:5000").contains("does not have the address"));
    assert!(say("udp://239.1.1.1@nope0:5000").contains("does not have the network interface"));
}
