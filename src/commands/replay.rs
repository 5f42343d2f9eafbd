//! `vigil replay`: a recorded flight through the whole chain.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{flight, print_line};
use crate::base::{Culprit, Error, Kind, Name, Result, progress::Progress};
use crate::capture::{Recorded, read_flight};
use crate::config::{Config, ModelsConfig, SearchConfig, TelemetryConfig, TelemetryKind};
use crate::event::{DetectionState, EventKind, SearchDetection, TargetClass};
use crate::geo::Loading;
use crate::geo::dji::{Cue, SrtReader};
use crate::infer::{Manifest, Runtime, sha256_file};
use crate::search::{Chain, MissionOrder, Outcome, geojson, kml};

/// Subtitles are told this long before the picture they stand under.
const AHEAD: Duration = Duration::from_millis(1_000);

/// Plays a recorded flight again, through the whole chain: detection, places, evidence, coverage.
///
/// Faster than it was flown, and the same recording gives the same events every time: nothing depends on
/// how fast this machine is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    vigil replay flight.ts --flat 412                            telemetry is in the stream, the ground is level\n  \
    vigil replay flight.ts --terrain /srv/srtm --out found       writes events, GeoJSON and KML into found/\n  \
    vigil replay DJI_0042.MP4 --srt DJI_0042.SRT --flat 412 --fov 57\n  \
    vigil replay flight.ts --config /etc/vigil/vigil.toml --json as the box is configured, one event a line\n\n\
    Exit codes: 0 played, 65 the recording cannot be read, 66 it is not there, 78 wrong configuration.")]
pub(super) struct Args {
    /// The recording: MPEG-TS with KLV, a video with --srt, or a folder of TIFF pictures.
    #[arg(value_name = "FLIGHT")]
    flight: PathBuf,
    /// Take [search] from this configuration; other options go before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The drone's subtitle file.
    #[arg(long, value_name = "FILE")]
    srt: Option<PathBuf>,
    /// A folder of elevation models; may be repeated.
    #[arg(long, value_name = "DIR")]
    terrain: Vec<PathBuf>,
    /// Level ground, metres above sea level: where there is no elevation model.
    #[arg(long, value_name = "METRES", allow_negative_numbers = true)]
    flat: Option<f64>,
    /// What the picture spans from left to right, degrees: where the telemetry does not say it.
    #[arg(long, value_name = "DEGREES")]
    fov: Option<f64>,
    /// The mission's area: a file with a GeoJSON polygon.
    #[arg(long, value_name = "FILE")]
    area: Option<PathBuf>,
    /// Write events.jsonl, search.geojson and search.kml into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Directory of the models and their manifest, where no configuration names it.
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// Print events as JSON, one a line, the summary last.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    let (models, search) = configured(&args)?;
    let runtime = Runtime::load(&models)?;
    let manifest = Arc::new(Manifest::load(&models.dir)?);
    let mut chain = flight::chain(&runtime, &manifest, &search, Loading::Now, seed(&args.flight)?)?;
    if let Some(path) = &args.area {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::io(Culprit::Request, format!("cannot read {}", path.display()), e))?;
        let order = MissionOrder::from_json(format!("{{\"area\":{}}}", text.trim()).as_bytes())
            .map_err(|e| e.context(path.display().to_string()))?;
        // By the drone's clock it begins with the first frame; nothing before counts.
        chain.search_mut().start(order, Timestamp::UNIX_EPOCH)?;
    }
    let mut writer = Writer::new(&args)?;
    let began = Instant::now();
    let flown = play(&args, &search, &mut chain, &mut writer)?;
    let end = chain.now().unwrap_or(Timestamp::UNIX_EPOCH);
    let (snapshot, outcomes) = chain.search_mut().stop(end);
    writer.all(outcomes)?;
    if let (Some(dir), Some(snapshot)) = (&args.out, snapshot) {
        let report = snapshot.report()?;
        write(&dir.join("search.geojson"), &geojson(&report)?)?;
        write(&dir.join("search.kml"), &kml(&report)?)?;
    }
    writer.summary(&chain, flown, began.elapsed())
}

fn configured(args: &Args) -> Result<(ModelsConfig, SearchConfig)> {
    let (models, mut search) = match &args.config {
        Some(path) => {
            let config = Config::load(path)?;
            let search = config.search.ok_or_else(|| {
                Error::config(format!("{} has no [search]", path.display()))
                    .remedy("add it, or leave --config out")
            })?;
            (config.models, search)
        }
        None => {
            let models = ModelsConfig { dir: args.models.clone(), ..ModelsConfig::default() };
            (models, SearchConfig::new(Name::new("drone")?))
        }
    };
    if args.srt.is_some() {
        search.telemetry = TelemetryConfig { file: args.srt.clone(), ..search.telemetry };
        search.telemetry.kind = TelemetryKind::DjiSrt;
    }
    if search.telemetry.kind == TelemetryKind::Mavlink {
        return Err(Error::config("a recording holds no MAVLink").remedy("play one with KLV, or name --srt"));
    }
    if !args.terrain.is_empty() {
        search.terrain.folders.clone_from(&args.terrain);
    }
    search.terrain.flat_m = args.flat.or(search.terrain.flat_m);
    search.optics.fov_deg = args.fov.or(search.optics.fov_deg);
    let ground = &search.terrain;
    if ground.folders.is_empty() && ground.flat_m.is_none() {
        return Err(Error::new(Kind::Usage, Culprit::Request, "nothing says how high the ground is")
            .remedy("name a folder of elevation models with --terrain, or level ground with --flat METRES"));
    }
    Ok((models, search))
}

/// The same for the same recording.
fn seed(path: &Path) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let io = |e| Error::io(Culprit::Request, format!("cannot read {}", path.display()), e);
    if path.is_dir() {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path).map_err(io)? {
            names.push(entry.map_err(io)?.file_name());
        }
        names.sort();
        for name in names {
            hash.update(name.as_encoded_bytes());
        }
    } else {
        hash.update(sha256_file(path).map_err(io)?);
    }
    Ok(hash.finalize().into())
}

/// Plays everything; how long the flight was, by the stream.
fn play(args: &Args, search: &SearchConfig, chain: &mut Chain, writer: &mut Writer) -> Result<Duration> {
    let mut subtitles = match &search.telemetry.file {
        Some(path) if search.telemetry.kind == TelemetryKind::DjiSrt => {
            Some(Subtitles::open(path, &search.telemetry)?)
        }
        _ => None,
    };
    let mut bar = Progress::new("frames", 0);
    let mut notices: BTreeMap<String, u64> = BTreeMap::new();
    let (mut flown, mut last) = (Duration::ZERO, Duration::ZERO);
    for item in read_flight(&args.flight)? {
        match item.map_err(|e| e.context(args.flight.display().to_string()))? {
            Recorded::Metadata(packet) => {
                for notice in chain.klv(&packet.bytes, packet.at.map(|t| t.position)) {
                    *notices.entry(notice.to_string()).or_default() += 1;
                }
            }
            Recorded::Frame(frame) => {
                let at = frame.stream_time().map_or(last, |t| t.position);
                (flown, last) = (flown + at.saturating_sub(last), at);
                if let Some(subtitles) = &mut subtitles {
                    for cue in subtitles.until(at + AHEAD)? {
                        for notice in chain.tell(cue.telemetry, Some(cue.start)) {
                            *notices.entry(notice.to_string()).or_default() += 1;
                        }
                    }
                }
                let outcomes = chain.frame(&frame)?;
                writer.all(outcomes)?;
                bar.add(1);
            }
        }
    }
    drop(bar);
    let outcomes = chain.flush();
    writer.all(outcomes)?;
    for (notice, times) in notices.iter().take(20) {
        eprintln!("{notice} ({times} times)");
    }
    if let Some(broken) = subtitles.map(|s| s.broken).filter(|n| *n > 0) {
        eprintln!("{broken} subtitles could not be used; `vigil telemetry` says why");
    }
    Ok(flown)
}

/// A subtitle file that is read as the video goes on.
struct Subtitles {
    reader: SrtReader<BufReader<File>>,
    next: Option<Cue>,
    broken: u64,
}

impl Subtitles {
    fn open(path: &Path, config: &TelemetryConfig) -> Result<Self> {
        let file = File::open(path)
            .map_err(|e| Error::io(Culprit::Request, format!("cannot read {}", path.display()), e))?;
        Ok(Self { reader: SrtReader::new(BufReader::new(file), config), next: None, broken: 0 })
    }

    fn until(&mut self, at: Duration) -> Result<Vec<Cue>> {
        let mut out = Vec::new();
        loop {
            match self.next.take() {
                Some(cue) if cue.start <= at => out.push(cue),
                Some(cue) => {
                    self.next = Some(cue);
                    return Ok(out);
                }
                None => match self.reader.next() {
                    Some(Ok(cue)) => self.next = Some(cue),
                    // One torn subtitle is not the file.
                    Some(Err(e)) if e.kind() == Kind::Malformed => self.broken += 1,
                    Some(Err(e)) => return Err(e),
                    None => return Ok(out),
                },
            }
        }
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
        .map_err(|e| Error::io(Culprit::Disk, format!("cannot write {}", path.display()), e))
}

/// Where events go.
struct Writer {
    json: bool,
    file: Option<File>,
    numbers: BTreeMap<uuid::Uuid, SearchDetection>,
    order: Vec<uuid::Uuid>,
    searched: Option<f64>,
    seen_m2: f64,
}

impl Writer {
    fn new(args: &Args) -> Result<Self> {
        let file = match &args.out {
            Some(dir) => {
                let io = |e| Error::io(Culprit::Disk, format!("cannot write into {}", dir.display()), e);
                std::fs::create_dir_all(dir).map_err(io)?;
                Some(File::create(dir.join("events.jsonl")).map_err(io)?)
            }
            None => None,
        };
        let (numbers, order) = (BTreeMap::new(), Vec::new());
        Ok(Self { json: args.json, file, numbers, order, searched: None, seen_m2: 0.0 })
    }

    fn all(&mut self, outcomes: Vec<Outcome>) -> Result<()> {
        for outcome in outcomes {
            match outcome {
                Outcome::Detection(detection) => {
                    let time = detection.last_seen;
                    self.event(EventKind::SearchDetection, time, &json!(&*detection))?;
                    if !self.numbers.contains_key(&detection.candidate) {
                        self.order.push(detection.candidate);
                    }
                    if !self.json && detection.state != DetectionState::Update {
                        print_line(&self.line(&detection))?;
                    }
                    self.numbers.insert(detection.candidate, *detection);
                }
                Outcome::Coverage(view) => {
                    let coverage = view.event();
                    self.event(EventKind::SearchCoverage, coverage.until, &json!(&coverage))?;
                    (self.searched, self.seen_m2) = (coverage.searched_share, coverage.seen_m2);
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, kind: EventKind, time: Timestamp, data: &serde_json::Value) -> Result<()> {
        let line = json!({ "type": kind.cloud_event_type(), "time": time, "data": data }).to_string();
        if let Some(file) = &mut self.file {
            writeln!(file, "{line}").map_err(|e| Error::io(Culprit::Disk, "cannot write events.jsonl", e))?;
        }
        if self.json { print_line(&line) } else { Ok(()) }
    }

    fn line(&self, d: &SearchDetection) -> String {
        let number = self.order.iter().position(|id| *id == d.candidate).map_or(0, |n| n + 1);
        let state = match d.state {
            DetectionState::New => "new",
            DetectionState::Update => "update",
            DetectionState::End => "end",
        };
        format!(
            "{:.0}  #{number:<3} {state:<4} {:<11} {:>3.0} %  {:.6}, {:.6}  within {:.1} m  {} views{}",
            d.last_seen,
            word(d.class),
            d.likelihoods.of(d.class) * 100.0,
            d.position.lat,
            d.position.lon,
            d.position.ce90_m,
            d.views,
            if d.is_target { "" } else { "  (not what is looked for)" },
        )
    }

    fn summary(&self, chain: &Chain, flown: Duration, took: Duration) -> Result<()> {
        let stats = chain.stats();
        let targets = self.numbers.values().filter(|d| d.is_target).count();
        let speed = flown.as_secs_f64() / took.as_secs_f64().max(1e-9);
        let blind = chain.blind().map(ToString::to_string);
        if self.json {
            return print_line(
                &json!({ "summary": {
                    "frames": stats.frames, "looks": stats.looks, "repeated": stats.repeated,
                    "unseeing": stats.unseeing, "unplaced": stats.unplaced, "broken_packets": stats.broken_packets,
                    "targets": targets, "others": self.numbers.len() - targets, "searched_share": self.searched,
                    "seen_m2": self.seen_m2, "flown_s": flown.as_secs_f64(), "took_s": took.as_secs_f64(),
                    "times_real_time": speed, "blind": blind,
                }})
                .to_string(),
            );
        }
        print_line(&format!(
            "\n{targets} found, {} other candidates; {:.2} ha looked at",
            self.numbers.len() - targets,
            self.seen_m2 / 1e4,
        ))?;
        print_line(&format!(
            "{} frames: {} placed, {} repeated, {} unseeing, {} without a place; {:.0} s flown in {:.1} s, {speed:.1} times real time",
            stats.frames,
            stats.looks,
            stats.repeated,
            stats.unseeing,
            stats.unplaced,
            flown.as_secs_f64(),
            took.as_secs_f64(),
        ))?;
        match blind {
            Some(why) if stats.looks == 0 => Err(Error::new(
                Kind::Unavailable,
                Culprit::Request,
                format!("no frame could be placed: {why}"),
            )
            .remedy("`vigil telemetry` shows what the drone says")),
            _ => Ok(()),
        }
    }
}

fn word(class: TargetClass) -> &'static str {
    match class {
        TargetClass::Person => "person",
        TargetClass::Vehicle => "vehicle",
        TargetClass::Animal => "animal",
        TargetClass::WarmObject => "warm object",
    }
}
