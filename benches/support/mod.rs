//! What the benches share: footage of a guest, a camera that plays it, processor time.

// Each bench uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use vigil::commands::demo::stage::{Person, Reel, Set, cast};

#[path = "../../tests/it/support/rtsp.rs"]
pub mod rtsp;

/// Pictures after which the footage begins again; the guest's movement fits it in whole turns.
const ROUND: u32 = 50;
/// What an ordinary camera spends on 720p25.
const KBIT_S_AT_720P25: u32 = 4_000;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A photograph that `make setup` fetched.
pub fn photo(file: &str) -> PathBuf {
    let path = root().join(".cache/photos").join(file);
    assert!(path.is_file(), "{} is not there: run `make setup`", path.display());
    path
}

/// Matroska file of H.264 in which one guest stands before a desk camera: `pictures` of them, `fps` of them a
/// second. Drawn and encoded once, and kept under `target/`, so that no encoder runs while something is measured.
pub fn footage(width: u32, height: u32, fps: u32, pictures: u32) -> PathBuf {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("guest-{width}x{height}@{fps}-{pictures}.mkv"));
    if path.is_file() {
        return path;
    }
    eprintln!("making {}", path.display());
    gst::init().unwrap();
    let units = encode(width, height);
    let partial = path.with_extension("partial");
    mux(&units, width, height, fps, pictures, &partial);
    std::fs::rename(&partial, &path).unwrap();
    path
}

/// One round as H.264, a picture each, the first of them a key picture.
fn encode(width: u32, height: u32) -> Vec<gst::Buffer> {
    let person = Person::open(&photo("obama.jpg"), &cast::OBAMA).unwrap();
    let reel = Reel::visit(&Set::new(width, height, 7), &person).unwrap();
    // The last ones are those in which the guest stays.
    let pictures = reel.frames();
    let pictures = &pictures[pictures.len() - ROUND as usize..];
    let kbit = (KBIT_S_AT_720P25 * (width * height / 1280) / 720).max(600);
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=in format=time max-bytes=0 \
         caps=video/x-raw,format=RGB,width={width},height={height},framerate=25/1 ! videoconvert ! \
         video/x-raw,format=I420 ! x264enc tune=zerolatency speed-preset=veryfast threads=1 bitrate={kbit} \
         key-int-max={ROUND} ! video/x-h264,profile=main,stream-format=byte-stream,alignment=au ! \
         appsink name=out sync=false"
    ))
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let input = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let output = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    // Rows of RGB are padded to four bytes; widths used here need no padding.
    assert!(width.is_multiple_of(4));
    for (n, jpeg) in (0..).zip(pictures) {
        let picture = image::load_from_memory(jpeg).unwrap().into_rgb8();
        let mut buffer = gst::Buffer::from_slice(picture.into_raw());
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(n * 40));
        input.push_buffer(buffer).unwrap();
    }
    input.end_of_stream().unwrap();
    let mut units = Vec::new();
    while let Ok(sample) = output.pull_sample() {
        units.push(sample.buffer_owned().unwrap());
    }
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(units.len(), ROUND as usize);
    units
}

fn mux(units: &[gst::Buffer], width: u32, height: u32, fps: u32, pictures: u32, path: &Path) {
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=in format=time block=true max-bytes=4000000 caps=video/x-h264,stream-format=byte-stream,\
         alignment=au,width={width},height={height},framerate={fps}/1 ! h264parse ! matroskamux ! filesink \
         location={}",
        path.display()
    ))
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let input = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for n in 0..pictures {
        let mut buffer = units[n as usize % units.len()].copy();
        let at = |n: u32| gst::ClockTime::from_nseconds(u64::from(n) * 1_000_000_000 / u64::from(fps));
        let b = buffer.get_mut().unwrap();
        b.set_pts(at(n));
        b.set_dts(at(n));
        b.set_duration(at(n + 1) - at(n));
        input.push_buffer(buffer).unwrap();
    }
    input.end_of_stream().unwrap();
    let end = pipeline.bus().unwrap().timed_pop_filtered(
        gst::ClockTime::from_seconds(120),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    assert!(matches!(end.unwrap().view(), gst::MessageView::Eos(_)), "the footage could not be written");
    pipeline.set_state(gst::State::Null).unwrap();
}

/// An RTSP camera that plays footage, in a process of its own, which is this bench called with `serve`.
pub struct CameraProcess {
    child: Child,
    pub url: String,
}

impl CameraProcess {
    pub fn start(footage: &Path) -> Self {
        let port = rtsp::free_port();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["serve", &port.to_string()])
            .arg(footage)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "the camera's process died");
        Self { child, url: rtsp::url("rtsp", port) }
    }
}

impl Drop for CameraProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The camera's process, if this is it: plays until its standard input is closed.
pub fn serve_if_asked() {
    let args: Vec<String> = std::env::args().collect();
    let Some(["serve", port, footage]) = args.get(1..4).map(|a| [&a[0][..], &a[1][..], &a[2][..]]) else {
        return;
    };
    let launch = format!(
        "( filesrc location={footage} ! matroskademux ! h264parse ! \
         rtph264pay name=pay0 pt=96 config-interval=-1 aggregate-mode=zero-latency )"
    );
    let setup = rtsp::Setup { launch: Some(launch), ..rtsp::Setup::default() };
    let _server = rtsp::RtspServer::start(port.parse().unwrap(), setup);
    println!("ready");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().lock().read_line(&mut String::new());
    std::process::exit(0);
}

/// Processor time, user and system, of this process.
pub fn cpu() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let of =
        |t: nix::sys::time::TimeVal| Duration::new(t.tv_sec().unsigned_abs(), (t.tv_usec() as u32) * 1_000);
    of(usage.user_time()) + of(usage.system_time())
}

/// Processor time of another process, in the kernel's steps of 10 ms.
pub fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = &stat[stat.rfind(')').unwrap() + 2..];
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

/// The value below which a share `q` of the sorted values lies.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

/// `p50 p95 p99 max` of milliseconds.
pub fn spread(values: &[f64]) -> String {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    let at = |q| quantile(&v, q);
    format!("p50 {:6.1}  p95 {:6.1}  p99 {:6.1}  max {:6.1}", at(0.5), at(0.95), at(0.99), at(1.0))
}

pub fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}
