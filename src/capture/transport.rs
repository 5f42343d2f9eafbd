//! MPEG transport streams: over UDP, over SRT, out of files.
//!
//! ```text
//! udp    udpsrc ─┐
//! srt    srtsrc ─┤ filter ─ tsdemux ─┬─ leaky queue ─ decodebin ─ appsink, one picture, newest wins
//! file   filesrc ─ queue ─┘          └─ appsink, KLV packets, oldest first
//! ```
//!
//! The filter is `mpegts.rs`. A sender of UDP that stops says nothing, not even that it ended: the
//! watchdog over the age of the last picture is what notices.

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::fault::{self, Redactor};
use super::klv::KlvAssembler;
use super::mpegts::{PACKET, TransportFilter, looks_like_one};
use super::pipeline::{
    BACKLOG_PACKETS, Build, Pace, Reports, klv_branch, klv_sink, link_video, make, read_klv, refuse,
    stream_position, wiring,
};
use super::source::SourceMetadata;
use crate::base::{Culprit, Error, Kind, Result};
use crate::config::{CameraConfig, Secret, SourceUrl, SrtAddress, SrtMode, UdpAddress};

/// What the kernel keeps of UDP while this process is not looked at: a second of a fast stream.
const UDP_BUFFER: i32 = 4 << 20;
/// What SRT takes by itself; less leaves no time to ask again for what was lost.
const SRT_LATENCY_MS: u32 = 120;
/// Lengths of an SRT passphrase, bytes (SRT RFC draft, 6.1.5; libsrt refuses others).
const PASSPHRASE: std::ops::RangeInclusive<usize> = 10..=79;
/// So many bytes of a file show whether it is a transport stream.
const SHOWS: usize = 4 << 10;

/// Listens for a stream that is sent to this box, or to a group.
pub(super) fn udp(build: &Build, address: &UdpAddress) -> Result<()> {
    let src = build.add("udpsrc")?;
    let group = address.host.is_some_and(|h| h.is_multicast());
    if let Some(host) = address.host {
        src.set_property("address", host.to_string());
    }
    src.set_property("port", i32::from(address.port));
    src.set_property("buffer-size", UDP_BUFFER);
    src.set_property("retrieve-sender-address", false);
    // Two readers of one port would each get a part of the stream; of a group, each gets all.
    src.set_property("reuse", group);
    if let Some(interface) = &address.interface {
        // GStreamer would join nothing and wait for ever.
        if !Path::new("/sys/class/net").join(interface).exists() {
            return Err(fault::no_interface());
        }
        src.set_property("multicast-iface", interface);
    }
    demux(build, &src)
}

/// Calls, or waits for, the other side of SRT.
pub(super) fn srt(
    build: &Build,
    address: &SrtAddress,
    camera: &CameraConfig,
    passphrase: Option<&Secret>,
) -> Result<()> {
    let src = build.add("srtsrc")?;
    let host = if address.host.contains(':') { format!("[{}]", address.host) } else { address.host.clone() };
    src.set_property("uri", format!("srt://{host}:{}", address.port));
    src.set_property_from_str("mode", address.mode.as_str());
    let latency = if camera.latency_ms.0 == 0 { SRT_LATENCY_MS } else { camera.latency_ms.0 };
    src.set_property("latency", latency as i32);
    if address.mode == SrtMode::Listener {
        src.set_property("localaddress", if host.is_empty() { "0.0.0.0" } else { &host });
        src.set_property("localport", u32::from(address.port));
    }
    if let Some(id) = &address.stream_id {
        src.set_property("streamid", id);
    }
    if let Some(passphrase) = passphrase {
        let passphrase = passphrase.expose();
        if !PASSPHRASE.contains(&passphrase.len()) {
            return Err(Error::config(format!(
                "an SRT passphrase has {} to {} characters",
                PASSPHRASE.start(),
                PASSPHRASE.end()
            ))
            .remedy("set `password` or the file of `password_file` to the sender's passphrase"));
        }
        src.set_property("passphrase", passphrase);
    }
    // The supervisor brings it back, with its own waits and words.
    src.set_property("auto-reconnect", false);
    demux(build, &src)
}

/// Whether a file is a transport stream, by its first bytes.
pub(super) fn is_one(path: &Path) -> Result<bool> {
    let io = |e| Error::io(Culprit::Camera, format!("cannot read {}", path.display()), e);
    let mut start = Vec::new();
    std::fs::File::open(path).map_err(io)?.take(SHOWS as u64).read_to_end(&mut start).map_err(io)?;
    Ok(looks_like_one(&start))
}

/// Reads a file.
pub(super) fn file(build: &Build, path: &Path) -> Result<()> {
    let queue = read(path, |element| build.add(element))?;
    demux(build, &queue)
}

/// Reads a file, from front to back: the queue keeps the demultiplexer from reading here and there.
fn read(path: &Path, add: impl Fn(&str) -> Result<gst::Element>) -> Result<gst::Element> {
    let (src, queue) = (add("filesrc")?, add("queue")?);
    src.set_property("location", path);
    src.set_property("blocksize", 64u32 << 10);
    queue.set_property("max-size-buffers", 8u32);
    src.link(&queue).map_err(|_| wiring("the file"))?;
    Ok(queue)
}

/// What stands behind every kind of source.
fn demux(build: &Build, from: &gst::Element) -> Result<()> {
    let demux = build.add("tsdemux")?;
    demux.set_property("latency", 0i32);
    let live = !matches!(from.factory().map(|f| f.name()).as_deref(), Some("queue"));
    let queue = if live { build.leaky_queue(BACKLOG_PACKETS)? } else { build.add("queue")? };
    let decoder = build.decoder()?;
    from.link(&demux).map_err(|_| wiring("the transport stream"))?;
    queue.link(&decoder).map_err(|_| wiring("queue to decodebin"))?;
    filter(&demux, &build.reports);
    let (video, reports, pipeline) = (queue.downgrade(), build.reports.clone(), build.pipeline.downgrade());
    let pace = build.pace;
    demux.connect_pad_added(move |_, pad| {
        let Some((queue, pipeline)) = video.upgrade().zip(pipeline.upgrade()) else { return };
        match kind(pad) {
            Pad::Video => {
                reports.watch_video(pad);
                link_video(pad, &queue, &reports);
            }
            // Whoever reads every frame reads the packets in their order, from beside.
            Pad::Klv if pace == Pace::Freshest => {
                if let Err(e) = klv_branch(&pipeline, pad, &reports, !live) {
                    tracing::warn!("the camera's KLV stream cannot be read: {}", e.chain());
                }
            }
            Pad::Klv | Pad::Other => {}
        }
    });
    Ok(())
}

enum Pad {
    Video,
    Klv,
    Other,
}

fn kind(pad: &gst::Pad) -> Pad {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    match caps.structure(0).map(|s| s.name().as_str()) {
        Some("meta/x-klv") => Pad::Klv,
        Some(name) if name.starts_with("video/") || name.starts_with("image/") => Pad::Video,
        _ => Pad::Other,
    }
}

/// Puts the filter before a demultiplexer.
fn filter(demux: &gst::Element, reports: &Arc<Reports>) {
    *reports.transport.lock().unwrap_or_else(|e| e.into_inner()) = Some(TransportFilter::new());
    let Some(pad) = demux.static_pad("sink") else { return };
    let reports = reports.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data else {
            return gst::PadProbeReturn::Ok;
        };
        let mut out = Vec::new();
        {
            let mut filter = reports.transport.lock().unwrap_or_else(|e| e.into_inner());
            let (Some(filter), Ok(bytes)) = (filter.as_mut(), buffer.map_readable()) else {
                return refuse(info);
            };
            filter.push(&bytes, &mut out);
        }
        if out.is_empty() {
            info.flow_res = Ok(gst::FlowSuccess::Ok);
            return gst::PadProbeReturn::Handled;
        }
        let mut passed = gst::Buffer::from_mut_slice(out);
        if let Some(new) = passed.get_mut() {
            new.set_pts(buffer.pts());
            new.set_dts(buffer.dts());
            new.set_flags(buffer.flags());
        }
        *buffer = passed;
        gst::PadProbeReturn::Ok
    });
}

/// Why no picture comes out of a transport stream.
pub(super) fn silence(filter: &TransportFilter, url: &SourceUrl) -> &'static str {
    let figures = filter.figures();
    match filter.program() {
        _ if figures.bytes == 0 && matches!(url, SourceUrl::Udp(..)) => "nothing is sent to this port",
        _ if figures.bytes == 0 => "nothing comes",
        // In much noise some bytes stand as a packet's do.
        _ if figures.packets.saturating_mul(PACKET as u64) <= figures.bytes / 10 => {
            "what comes is not an MPEG transport stream"
        }
        None if filter.without_video() => "the stream has no video that this box decodes",
        None => "the stream names no program (no PAT or PMT)",
        Some(_) if figures.scrambled > 0 => "the stream is encrypted",
        Some(_) => "the video stopped, or no key picture came",
    }
}

/// What stands in a file, in its order.
enum Event {
    Packet(SourceMetadata),
    /// The video is here.
    Video(Duration),
    /// It holds no stream.
    Nothing,
}

/// Reads the KLV packets of a transport stream in a file beside its pictures, in the same order every
/// time: they come from one thread, and how far to read ahead depends on the stream alone.
pub(super) struct KlvReader {
    events: Option<Receiver<Event>>,
    pipeline: gst::Pipeline,
    /// Packets to hand over.
    ready: VecDeque<SourceMetadata>,
    /// Packets since the last picture of the file: whether their times are good, the next picture tells.
    held: VecDeque<SourceMetadata>,
    /// There was no picture for so long that what came since has a guessed time.
    guessed: bool,
    /// How far the video was read past.
    video: Duration,
    ended: bool,
}

impl std::fmt::Debug for KlvReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KlvReader").field("video", &self.video).finish_non_exhaustive()
    }
}

/// A packet stands at most so much later in the file than the picture of its time.
const READ_AHEAD: Duration = Duration::from_secs(2);
/// The stream's clock comes with the pictures. Without one for this long the demultiplexer guesses what time
/// a packet has, and begins anew with the next picture.
const CLOCK_LASTS: Duration = Duration::from_secs(2);
/// Packets without a time between two pictures, at most.
const MOST_HELD: usize = 1000;
/// A file that gives nothing for this long is given up.
const NOTHING_FOR: Duration = Duration::from_secs(20);

impl KlvReader {
    /// Opens the file once more; `None` if it is no transport stream.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        if !is_one(path)? {
            return Ok(None);
        }
        let pipeline = gst::Pipeline::new();
        let add = |element: &str| -> Result<gst::Element> {
            let e = make(element)?;
            pipeline.add(&e).map_err(|_| wiring(element))?;
            Ok(e)
        };
        let queue = read(path, add)?;
        let demux = add("tsdemux")?;
        queue.link(&demux).map_err(|_| wiring("the transport stream"))?;
        let reports = Arc::new(Reports::default());
        filter(&demux, &reports);
        let (sender, events) = sync_channel(256);
        if let Some(sink) = demux.static_pad("sink") {
            let (sender, demux) = (sender.clone(), demux.downgrade());
            // A file without a stream has nobody to say its end.
            sink.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
                if let Some(gst::PadProbeData::Event(event)) = &info.data
                    && event.type_() == gst::EventType::Eos
                    && demux.upgrade().is_some_and(|demux| demux.num_src_pads() == 0)
                {
                    // Whoever has gone needs no word.
                    let _ = sender.send(Event::Nothing);
                }
                gst::PadProbeReturn::Ok
            });
        }
        let weak = pipeline.downgrade();
        demux.connect_pad_added(move |_, pad| {
            let Some(pipeline) = weak.upgrade() else { return };
            let branch = match kind(pad) {
                Pad::Video => video_branch(&pipeline, pad, &reports, sender.clone()),
                Pad::Klv => packet_branch(&pipeline, pad, &reports, sender.clone()),
                Pad::Other => Ok(()),
            };
            if let Err(e) = branch {
                tracing::warn!("the file's KLV stream cannot be read: {}", e.chain());
            }
        });
        if pipeline.set_state(gst::State::Playing).is_err() {
            return Err(Error::new(
                Kind::Unavailable,
                Culprit::Host,
                "the file cannot be read a second time",
            ));
        }
        let events = Some(events);
        Ok(Some(Self {
            events,
            pipeline,
            ready: VecDeque::new(),
            held: VecDeque::new(),
            guessed: false,
            video: Duration::ZERO,
            ended: false,
        }))
    }

    /// The next packet that belongs before a picture at `position`, without those whose times are guessed;
    /// with `None`, the next of all.
    pub(super) fn before(&mut self, position: Option<Duration>) -> Result<Option<SourceMetadata>> {
        loop {
            if let Some(packet) = self.ready.front() {
                let due = position.is_none_or(|p| packet.position.is_none_or(|at| at <= p));
                return Ok(if due { self.ready.pop_front() } else { None });
            }
            if self.ended || position.is_some_and(|p| self.video > p + READ_AHEAD) {
                return Ok(None);
            }
            match self.event()? {
                Some(Event::Packet(packet)) if position.is_none() => self.ready.push_back(packet),
                Some(Event::Packet(packet)) => self.hold(packet),
                Some(Event::Video(at)) => {
                    self.video = self.video.max(at);
                    self.guessed = false;
                    self.ready.append(&mut self.held);
                }
                Some(Event::Nothing) | None => {
                    self.ended = true;
                    self.ready.append(&mut self.held);
                }
            }
        }
    }

    fn hold(&mut self, packet: SourceMetadata) {
        self.held.push_back(packet);
        let mut times = self.held.iter().filter_map(|p| p.position);
        let (first, last) = (times.next(), times.next_back());
        self.guessed |= first.zip(last).is_some_and(|(first, last)| last.saturating_sub(first) > CLOCK_LASTS)
            || self.held.len() > MOST_HELD;
        if self.guessed {
            self.held.clear();
        }
    }

    fn event(&mut self) -> Result<Option<Event>> {
        let Some(events) = &self.events else { return Ok(None) };
        let started = Instant::now();
        let mut over = false;
        loop {
            match events.recv_timeout(if over { Duration::ZERO } else { Duration::from_millis(20) }) {
                Ok(event) => return Ok(Some(event)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if over => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let Some(bus) = self.pipeline.bus() else { return Ok(None) };
            while let Some(message) = bus.pop() {
                match message.view() {
                    // What was sent before the end is in the channel by now.
                    gst::MessageView::Eos(_) => over = true,
                    gst::MessageView::Error(e) => {
                        let url = SourceUrl::File(String::new());
                        return Err(fault::from_bus(e, &url, &Redactor::default()));
                    }
                    _ => {}
                }
            }
            if started.elapsed() > NOTHING_FOR {
                let text = format!("no telemetry for {} s", NOTHING_FOR.as_secs());
                return Err(Error::new(Kind::Timeout, Culprit::Host, text));
            }
        }
    }
}

impl Drop for KlvReader {
    fn drop(&mut self) {
        // First, so that nobody waits for room in the channel.
        self.events = None;
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn video_branch(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    reports: &Arc<Reports>,
    sender: SyncSender<Event>,
) -> Result<()> {
    reports.watch_video(pad);
    let sink = make("fakesink")?;
    sink.set_property("async", false);
    sink.set_property("sync", false);
    pipeline.add(&sink).map_err(|_| wiring("fakesink"))?;
    sink.sync_state_with_parent().map_err(|_| wiring("fakesink"))?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(gst::PadProbeData::Buffer(buffer)) = &info.data
            && let Some(at) = stream_position(pad, buffer)
            && sender.send(Event::Video(at)).is_err()
        {
            return refuse(info);
        }
        gst::PadProbeReturn::Ok
    });
    let target = sink.static_pad("sink").ok_or_else(|| wiring("fakesink"))?;
    pad.link(&target).map(drop).map_err(|_| wiring("fakesink"))
}

fn packet_branch(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    reports: &Arc<Reports>,
    sender: SyncSender<Event>,
) -> Result<()> {
    let mut assembler = KlvAssembler::new();
    let reports = reports.clone();
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let mut gone = false;
            read_klv(&mut assembler, &sample, &reports, |packet| {
                gone |= sender.send(Event::Packet(packet)).is_err();
            });
            if gone { Err(gst::FlowError::Eos) } else { Ok(gst::FlowSuccess::Ok) }
        })
        .build();
    let sink = klv_sink(callbacks, false);
    pipeline.add(&sink).map_err(|_| wiring("the KLV branch"))?;
    sink.sync_state_with_parent().map_err(|_| wiring("the KLV branch"))?;
    let target = sink.static_pad("sink").ok_or_else(|| wiring("the KLV branch"))?;
    pad.link(&target).map(drop).map_err(|_| wiring("the KLV branch"))
}
