//! A drone's sender: video and KLV in an MPEG transport stream, over UDP, SRT, or into a file.

// A helper that unwraps fails its test, which is what a test does.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

/// Pictures a second.
pub(crate) const FPS: u64 = 25;

/// A KLV packet with the key of MISB ST 0601 that tells its number; its value has no meaning.
pub(crate) fn klv(n: u64, length: u16) -> Vec<u8> {
    let mut packet = vec![6, 14, 43, 52, 2, 11, 1, 1, 14, 1, 3, 1, 1, 0, 0, 0];
    packet.push(0x82);
    packet.extend(length.to_be_bytes());
    packet.extend(n.to_be_bytes());
    packet.extend((8..length).map(|i| i.wrapping_mul(31).wrapping_add(n as u16) as u8));
    packet
}

/// The number that [`klv`] put into a packet.
pub(crate) fn number(packet: &[u8]) -> u64 {
    u64::from_be_bytes(packet[19..27].try_into().unwrap())
}

/// What it sends.
#[derive(Clone)]
pub(crate) struct Flight {
    /// The elements behind the multiplexer: where the stream goes.
    pub sink: String,
    /// Video encoder and what belongs to it.
    pub encoder: &'static str,
    /// Pictures in all; `None`: until it is dropped, in real time.
    pub pictures: Option<u64>,
    /// Each KLV packet is sent so many pictures after the one it belongs to.
    pub klv_late: u64,
    /// Bytes of value of a KLV packet; 0: none are sent.
    pub klv_bytes: u16,
}

impl Flight {
    pub(crate) fn to(sink: impl Into<String>) -> Self {
        Self {
            sink: sink.into(),
            encoder: "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 threads=1 ! h264parse",
            pictures: None,
            klv_late: 0,
            klv_bytes: 200,
        }
    }

    /// To a UDP port of this machine.
    pub(crate) fn udp(port: u16) -> Self {
        Self::to(format!("udpsink host=127.0.0.1 port={port} sync=false"))
    }

    /// Into a file, all of it before this returns.
    pub(crate) fn record(mut self, path: &Path, pictures: u64) {
        self.sink = format!("filesink location={}", path.display());
        self.pictures = Some(pictures);
        let drone = Drone::start(&self);
        let bus = drone.pipeline.bus().unwrap();
        let filter = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &filter).expect("recorded");
        assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    }
}

/// Sends until it is dropped.
pub(crate) struct Drone {
    pipeline: gst::Pipeline,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drone {
    pub(crate) fn start(flight: &Flight) -> Self {
        gst::init().unwrap();
        let klv_source = if flight.klv_bytes > 0 {
            "appsrc name=klv format=time caps=meta/x-klv,parsed=true ! mux."
        } else {
            ""
        };
        let live = flight.pictures.is_none();
        let launch = format!(
            "appsrc name=video format=time is-live={live} \
             caps=video/x-raw,format=I420,width=320,height=240,framerate={FPS}/1 ! {} ! mux. \
             mpegtsmux name=mux alignment=7 pat-interval=9000 pmt-interval=9000 ! {} {klv_source}",
            flight.encoder, flight.sink
        );
        let pipeline = gst::parse::launch(&launch).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = |name: &str| pipeline.by_name(name).and_then(|e| e.downcast::<gst_app::AppSrc>().ok());
        let (video, klv_out) = (source("video").unwrap(), source("klv"));
        pipeline.set_state(gst::State::Playing).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (stop, flight) = (stop.clone(), flight.clone());
            std::thread::spawn(move || feed(&flight, &video, klv_out.as_ref(), &stop))
        };
        Self { pipeline, stop, thread: Some(thread) }
    }
}

impl Drop for Drone {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.pipeline.set_state(gst::State::Null);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A picture that tells its number by its brightness: black and white edges, a band that steps.
fn picture(n: u64) -> Vec<u8> {
    let mut i420 = vec![128u8; 320 * 240 * 3 / 2];
    i420[..320 * 240].fill(16 + (n * 8 % 200) as u8);
    i420
}

fn feed(flight: &Flight, video: &gst_app::AppSrc, klv_out: Option<&gst_app::AppSrc>, stop: &AtomicBool) {
    let frame = gst::ClockTime::SECOND / FPS;
    let started = std::time::Instant::now();
    let buffer = |bytes: Vec<u8>, n: u64| {
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        let inside = buffer.get_mut().unwrap();
        inside.set_pts(frame * n);
        inside.set_duration(frame);
        buffer
    };
    let mut n = 0;
    while flight.pictures.is_none_or(|all| n < all) && !stop.load(Ordering::SeqCst) {
        if flight.pictures.is_none() {
            let due = Duration::from(frame) * n as u32;
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
        if let Some(out) = klv_out
            && let Some(of) = n.checked_sub(flight.klv_late)
            && out.push_buffer(buffer(klv(of, flight.klv_bytes), of)).is_err()
        {
            return;
        }
        if video.push_buffer(buffer(picture(n), n)).is_err() {
            return;
        }
        n += 1;
    }
    let _ = video.end_of_stream();
    if let Some(out) = klv_out {
        let _ = out.end_of_stream();
    }
}

const PACKET: usize = 188;

fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |mut crc, byte| {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = if crc >> 31 == 1 { (crc << 1) ^ 0x04c1_1db7 } else { crc << 1 };
        }
        crc
    })
}

/// Where the payload of a transport packet begins.
fn payload(packet: &[u8]) -> usize {
    if packet[3] & 0x20 != 0 { 5 + usize::from(packet[4]) } else { 4 }
}

/// Makes the metadata of a recorded stream synchronous (MISB ST 1402): stream type 0x15, metadata
/// descriptors, stream id 0xFC, each packet in a cell of its own.
pub(crate) fn synchronous(stream: &[u8]) -> Vec<u8> {
    let (mut out, mut tables, mut metadata, mut counter) = (Vec::new(), Vec::new(), None, 0u8);
    let mut pes: Vec<u8> = Vec::new();
    let mut flush = |pes: &mut Vec<u8>, pid: u16, out: &mut Vec<u8>| {
        if pes.is_empty() {
            return;
        }
        let header = 9 + usize::from(pes[8]);
        let klv = pes.split_off(header);
        pes[3] = 0xfc;
        pes.extend([0, counter, 0xdf, (klv.len() >> 8) as u8, klv.len() as u8]);
        pes.extend(klv);
        let length = (pes.len() - 6) as u16;
        pes[4..6].copy_from_slice(&length.to_be_bytes());
        for (n, piece) in pes.chunks(180).enumerate() {
            let [hi, lo] = pid.to_be_bytes();
            let start = if n == 0 { 0x40 } else { 0 };
            let stuffing = PACKET - 4 - piece.len();
            out.extend([0x47, start | hi, lo, 0x30 | counter & 15, (stuffing - 1) as u8, 0]);
            out.extend(std::iter::repeat_n(0xff, stuffing - 2));
            out.extend(piece);
            counter = counter.wrapping_add(1);
        }
        pes.clear();
    };
    for packet in stream.chunks_exact(PACKET) {
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let body = &packet[payload(packet).min(PACKET)..];
        if pid == 0 {
            let table = u16::from_be_bytes([body[11] & 0x1f, body[12]]);
            tables = vec![table];
            out.extend(packet);
        } else if tables.contains(&pid) {
            let section = &body[1..];
            let length = 3 + usize::from(u16::from_be_bytes([section[1], section[2]]) & 0xfff);
            let info = usize::from(u16::from_be_bytes([section[10], section[11]]) & 0xfff);
            let mut table = section[..10].to_vec();
            table.extend([0xf0, 0]);
            let mut at = 12 + info;
            while at < length - 4 {
                let entry = &section[at..];
                let size = 5 + usize::from(u16::from_be_bytes([entry[3], entry[4]]) & 0xfff);
                if entry[0] == 6 {
                    metadata = Some(u16::from_be_bytes([entry[1] & 0x1f, entry[2]]));
                    table.extend([0x15, entry[1], entry[2], 0xf0, 22, 0x26, 9, 0x01, 0x00, 0xff]);
                    table.extend(b"KLVA");
                    table.extend([0x00, 0x0f, 0x27, 9, 0xc0, 0, 0, 0xc0, 0, 0, 0xc0, 0, 0]);
                } else {
                    table.extend(&entry[..size]);
                }
                at += size;
            }
            let length = table.len() - 3 + 4;
            table[1] = 0xb0 | (length >> 8) as u8;
            table[2] = length as u8;
            table.extend(crc32(&table).to_be_bytes());
            let mut whole = packet[..4].to_vec();
            whole[3] = 0x10 | whole[3] & 15;
            whole.push(0);
            whole.extend(table);
            whole.resize(PACKET, 0xff);
            out.extend(whole);
        } else if Some(pid) == metadata {
            if packet[1] & 0x40 != 0 {
                flush(&mut pes, pid, &mut out);
            }
            pes.extend(body);
        } else {
            out.extend(packet);
        }
    }
    if let Some(pid) = metadata {
        flush(&mut pes, pid, &mut out);
    }
    out
}
