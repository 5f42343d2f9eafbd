//! `vigil telemetry`: looks at what a drone says, before anybody relies on it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::print_line;
use crate::base::error::Context as _;
use crate::base::{Culprit, Error, Kind, Result};
use crate::capture::{PacketReader, read_packets};
use crate::config::{AltitudeAbove, TelemetryConfig, TelemetryKind, UtcOffset};
use crate::geo::dji::SrtReader;
use crate::geo::klv::{Found, KEY, Reader, Tag};
use crate::geo::{Gimbal, Height, Input, Telemetry, Timeline};

/// Bytes at the beginning of a file by which its kind is found out.
const LOOKED_AT: usize = 64 * 1024;
const PIECE: usize = 64 * 1024;
/// Different faults and remarks that are told of one file; the rest is counted.
const MOST_TOLD: usize = 40;

/// Looks at recorded telemetry: what is said how often, what is missing, what is damaged.
///
/// Files: transport streams with MISB ST 0601 KLV in them, such KLV by itself, and DJI subtitles; the kind
/// is found out by the content.
///
/// Exit code 0 if every input of a position is said and nothing is damaged; 1 if something is
/// damaged or does not fit; 2 if nothing is, but an input is not said (the configuration can assume
/// it); sysexits codes otherwise (65: not telemetry, 66: a file is not there).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    vigil telemetry flight.ts\n  \
    vigil telemetry DJI_0042.SRT --utc-offset +08:00 --altitude-above takeoff\n  \
    vigil telemetry *.SRT --json")]
pub(super) struct Args {
    /// The files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How far the clock of a subtitle file was ahead of UTC: +08:00
    #[arg(long, value_name = "OFFSET", value_parser = UtcOffset::parse, allow_hyphen_values = true)]
    utc_offset: Option<UtcOffset>,
    /// What a subtitle file's `altitude` is measured from: takeoff or sea_level
    #[arg(long, value_name = "WHAT", value_parser = above)]
    altitude_above: Option<AltitudeAbove>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn above(text: &str) -> std::result::Result<AltitudeAbove, &'static str> {
    match text {
        "takeoff" => Ok(AltitudeAbove::Takeoff),
        "sea_level" => Ok(AltitudeAbove::SeaLevel),
        _ => Err("write takeoff or sea_level"),
    }
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    let mut reports = Vec::new();
    for file in &args.files {
        reports.push(look(file, &args).context(|| file.display().to_string())?);
    }
    if args.json {
        let all: Vec<Value> = reports.iter().map(Report::json).collect();
        print_line(&format!("{:#}", Value::from(all)))?;
    } else {
        let all: Vec<String> = reports.iter().map(Report::table).collect();
        print_line(all.join("\n").trim_end())?;
    }
    match reports.iter().map(Report::code).reduce(|a, b| if a == 1 || b == 1 { 1 } else { a.max(b) }) {
        None | Some(0) => Ok(()),
        Some(code) => std::process::exit(code),
    }
}

/// What was said of one input.
#[derive(Default)]
struct Seen {
    messages: u64,
    first: String,
    last: String,
}

/// What one file says.
struct Report {
    file: String,
    kind: &'static str,
    messages: u64,
    times: Option<(Timestamp, Timestamp)>,
    seen: [Seen; Input::ALL.len()],
    timeline: Timeline,
    /// What is damaged or does not fit: how often, and where first.
    faults: BTreeMap<String, (u64, String)>,
    /// What else is worth knowing, and how often.
    remarks: BTreeMap<String, u64>,
}

fn look(path: &Path, args: &Args) -> Result<Report> {
    let cannot = |e| Error::io(Culprit::Request, "cannot be read", e).remedy("name a readable file");
    let mut file = File::open(path).map_err(cannot)?;
    let mut head = Vec::new();
    (&mut file).take(LOOKED_AT as u64).read_to_end(&mut head).map_err(cannot)?;
    file.rewind().map_err(cannot)?;
    let subtitles = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("srt"));
    let transport = head.first() == Some(&0x47) && head.get(188) == Some(&0x47);
    let mut config = TelemetryConfig::new(if subtitles { TelemetryKind::DjiSrt } else { TelemetryKind::Klv });
    (config.utc_offset, config.altitude_above) = (args.utc_offset, args.altitude_above);
    let mut report = Report {
        file: path.display().to_string(),
        kind: "",
        messages: 0,
        times: None,
        seen: Default::default(),
        timeline: Timeline::new(&config),
        faults: BTreeMap::new(),
        remarks: BTreeMap::new(),
    };
    if head.windows(KEY.len()).any(|w| w == KEY) && !transport {
        report.klv(&mut file).map_err(cannot)?;
    } else if subtitles || head.windows(3).any(|w| w == b"-->") {
        report.subtitles(file, &config)?;
    } else if transport && let Some(packets) = read_packets(path)? {
        report.stream(packets)?;
    } else {
        return Err(Error::new(Kind::Malformed, Culprit::Request, "this is no telemetry that is known")
            .remedy("name a transport stream with ST 0601 KLV, a file of it, or a DJI subtitle file"));
    }
    Ok(report)
}

impl Report {
    fn klv(&mut self, file: &mut File) -> std::io::Result<()> {
        self.kind = "MISB ST 0601 KLV";
        let mut reader = Reader::new();
        let mut piece = vec![0; PIECE];
        loop {
            let read = file.read(&mut piece)?;
            let mut found = reader.push(&piece[..read]);
            if read == 0 {
                found.extend(reader.finish());
            }
            for found in found {
                let at = format!("byte {}", found.at);
                self.set(&found, &at, None);
            }
            if read == 0 {
                break;
            }
        }
        self.strange(&reader);
        Ok(())
    }

    /// Packets of a transport stream, each with its place in it.
    fn stream(&mut self, packets: PacketReader) -> Result<()> {
        self.kind = "a transport stream with MISB ST 0601 KLV";
        let mut reader = Reader::new();
        for packet in packets {
            let packet = packet?;
            let stream = packet.at.map(|at| at.position);
            let at = stream.map_or("a packet without a time".to_owned(), |at| {
                format!("second {:.1} of the stream", at.as_secs_f64())
            });
            for found in reader.read(&packet.bytes) {
                self.set(&found, &at, stream);
            }
            if !packet.stamped {
                self.remark(
                    "packets without a time of their own: they have that of the video beside them".to_owned(),
                );
            }
        }
        if self.messages == 0 && self.faults.is_empty() {
            return Err(Error::new(Kind::Malformed, Culprit::Request, "the transport stream holds no KLV")
                .remedy(
                    "make the drone's encoder put its telemetry into the stream, or name its subtitle file",
                ));
        }
        self.strange(&reader);
        Ok(())
    }

    fn strange(&mut self, reader: &Reader) {
        if reader.strange_bytes() > 0 {
            self.fault(format!("{} bytes belong to no set", reader.strange_bytes()), "the file".to_owned());
        }
    }

    /// One set, or why it is none; `stream` is its place in the video.
    fn set(&mut self, found: &Found, at: &str, stream: Option<Duration>) {
        let decoded = match found.set() {
            Err(fault) => return self.fault(fault.to_string(), at.to_owned()),
            Ok(decoded) => decoded,
        };
        for (tag, why) in &decoded.refused {
            self.fault(format!("item {tag} {why}"), at.to_owned());
        }
        for tag in &decoded.unstated {
            self.remark(format!("item {tag} says that it is not known"));
        }
        for tag in &decoded.repeated {
            self.remark(format!("item {tag} is repeated"));
        }
        if decoded.time_not_first {
            self.remark("the time is not the first item".to_owned());
        }
        if decoded.unknown > 0 {
            self.remark("items that are not understood".to_owned());
        }
        if decoded.security {
            self.remark("a security set, not looked into".to_owned());
        }
        match decoded.set.number(Tag::LS_VERSION) {
            Some(version) => self.remark(format!("version {version} of ST 0601")),
            None => self.remark("no version of ST 0601".to_owned()),
        }
        let flags = decoded.set.flags().unwrap_or_default();
        if flags.image_invalid() {
            self.remark("the camera says that the picture is of no use".to_owned());
        }
        if flags.black_hot() {
            self.remark("what is warm is dark (black-hot)".to_owned());
        }
        self.told(decoded.set.telemetry(), at, stream);
    }

    fn subtitles(&mut self, file: File, config: &TelemetryConfig) -> Result<()> {
        self.kind = "DJI subtitles";
        for cue in SrtReader::new(BufReader::new(file), config) {
            match cue {
                Ok(cue) => {
                    if let Some(order) = cue.order {
                        self.remark(format!("positions: {order}"));
                    }
                    if cue.altitude_unknown {
                        self.remark(
                            "an altitude, and nothing says above what: see altitude_above".to_owned(),
                        );
                    }
                    self.told(cue.telemetry, &format!("line {}", cue.line), None);
                }
                // A subtitle's own fault begins with its line; the file's own end the reading.
                Err(e) if e.kind() == Kind::Malformed && self.messages > 0 => match e.what().split_once(": ")
                {
                    Some((line, what)) if line.starts_with("line ") => {
                        self.fault(what.to_owned(), line.to_owned());
                    }
                    _ => self.fault(e.what(), "the file".to_owned()),
                },
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn told(&mut self, telemetry: Telemetry, at: &str, stream: Option<Duration>) {
        self.messages += 1;
        let time = telemetry.time;
        self.times = Some(self.times.map_or((time, time), |(a, b)| (a.min(time), b.max(time))));
        for (input, seen) in Input::ALL.into_iter().zip(&mut self.seen) {
            if let Some(said) = said(&telemetry, input) {
                seen.messages += 1;
                if seen.first.is_empty() {
                    seen.first.clone_from(&said);
                }
                seen.last = said;
            }
        }
        let notices = match stream {
            Some(stream) => self.timeline.push_at(telemetry, stream),
            None => self.timeline.push(telemetry),
        };
        for notice in notices {
            self.fault(notice.to_string(), at.to_owned());
        }
    }

    fn fault(&mut self, what: String, at: String) {
        if self.faults.len() < MOST_TOLD || self.faults.contains_key(&what) {
            self.faults.entry(what).or_insert((0, at)).0 += 1;
        } else {
            self.faults.entry("others".to_owned()).or_insert((0, at)).0 += 1;
        }
    }

    fn remark(&mut self, what: String) {
        if self.remarks.len() < MOST_TOLD || self.remarks.contains_key(&what) {
            *self.remarks.entry(what).or_default() += 1;
        }
    }

    fn seconds(&self) -> f64 {
        self.times.map_or(0.0, |(first, last)| last.duration_since(first).as_secs_f64())
    }

    fn rate(&self, messages: u64) -> Option<f64> {
        (messages > 1 && self.seconds() > 0.0).then(|| (messages - 1) as f64 / self.seconds())
    }

    /// Inputs that nobody says. A gimbal that knows north needs no platform.
    fn missing(&self) -> Vec<Input> {
        let north = self.seen[Input::Gimbal as usize].last.contains("against north");
        Input::ALL
            .into_iter()
            .zip(&self.seen)
            .filter(|(input, seen)| seen.messages == 0 && !(north && *input == Input::Platform))
            .map(|(input, _)| input)
            .collect()
    }

    fn code(&self) -> i32 {
        match (self.faults.is_empty(), self.missing().is_empty()) {
            (false, _) => 1,
            (true, false) => 2,
            (true, true) => 0,
        }
    }

    fn table(&self) -> String {
        let mut out = String::new();
        let times = match self.times {
            Some((first, last)) => format!(", {first} to {last}"),
            None => String::new(),
        };
        let _ = writeln!(out, "{}: {}, {} messages{times}", self.file, self.kind, self.messages);
        let _ = writeln!(out, "\n{:<14} {:>8} {:>8}  what", "input", "messages", "per s");
        let missing = self.missing();
        for (input, seen) in Input::ALL.into_iter().zip(&self.seen) {
            let rate = self.rate(seen.messages).map_or_else(String::new, |rate| format!("{rate:.1}"));
            let mut line = |what: &str| {
                let _ = writeln!(out, "{:<14} {:>8} {rate:>8}  {what}", input.as_str(), seen.messages);
            };
            if missing.contains(&input) {
                line("NOT SAID");
            } else if seen.messages == 0 {
                line("not said, and not needed");
            } else if seen.first == seen.last {
                line(&seen.first);
            } else {
                line(&format!("{}  to  {}", seen.first, seen.last));
            }
        }
        let _ = writeln!(out);
        for (what, (times, at)) in &self.faults {
            let _ = writeln!(out, "WRONG {times} x: {what} (first at {at})");
        }
        for (what, times) in &self.remarks {
            let _ = writeln!(out, "{times} x: {what}");
        }
        let _ = match self.code() {
            0 => writeln!(out, "every input is said"),
            1 => writeln!(out, "something is damaged or does not fit"),
            _ => {
                let names: Vec<_> = missing.iter().map(|i| i.as_str()).collect();
                writeln!(
                    out,
                    "not said: {}; [search.telemetry.assume] can say all but position and platform",
                    names.join(", ")
                )
            }
        };
        out
    }

    fn json(&self) -> Value {
        let inputs: serde_json::Map<String, Value> = Input::ALL
            .into_iter()
            .zip(&self.seen)
            .map(|(input, seen)| {
                let (first, last) = match seen.messages {
                    0 => (Value::Null, Value::Null),
                    _ => (seen.first.as_str().into(), seen.last.as_str().into()),
                };
                let rate = self.rate(seen.messages);
                let said =
                    json!({ "messages": seen.messages, "per_second": rate, "first": first, "last": last });
                (input.as_str().to_owned(), said)
            })
            .collect();
        json!({
            "file": self.file,
            "kind": self.kind,
            "messages": self.messages,
            "first": self.times.map(|t| t.0.to_string()),
            "last": self.times.map(|t| t.1.to_string()),
            "inputs": inputs,
            "missing": self.missing().iter().map(|i| i.as_str()).collect::<Vec<_>>(),
            "faults": self.faults.iter().map(|(what, (times, at))| json!({ "what": what, "times": times, "first_at": at })).collect::<Vec<_>>(),
            "remarks": self.remarks.iter().map(|(what, times)| json!({ "what": what, "times": times })).collect::<Vec<_>>(),
        })
    }
}

/// One input in words.
fn said(telemetry: &Telemetry, input: Input) -> Option<String> {
    let turned = |yaw: f64, pitch: f64, roll: f64| format!("{yaw:.1}° {pitch:.1}° {roll:.1}°");
    match input {
        Input::Position => {
            telemetry.position.map(|p| format!("{:.6}, {:.6}", p.lat().degrees(), p.lon().degrees()))
        }
        Input::Height => telemetry.height.map(|h| match h {
            Height::Ellipsoid(h) => format!("{:.1} m above the ellipsoid", h.0),
            Height::SeaLevel(h) => format!("{:.1} m above sea level", h.0),
            Height::Takeoff(h) => format!("{:.1} m above take-off", h.0),
        }),
        Input::Platform => telemetry.platform.map(|a| {
            format!("yaw pitch roll {}", turned(a.yaw.degrees(), a.pitch.degrees(), a.roll.degrees()))
        }),
        Input::Gimbal => telemetry.gimbal.map(|g| match g {
            Gimbal::Platform { azimuth, elevation, roll } => format!(
                "azimuth elevation roll {} against the platform",
                turned(azimuth.degrees(), elevation.degrees(), roll.degrees())
            ),
            Gimbal::World(a) => format!(
                "yaw pitch roll {} against north",
                turned(a.yaw.degrees(), a.pitch.degrees(), a.roll.degrees())
            ),
        }),
        Input::FieldOfView => telemetry.field_of_view.map(|view| match view.vertical {
            Some(vertical) => format!("{:.1}° x {:.1}°", view.horizontal.degrees(), vertical.degrees()),
            None => format!("{:.1}° wide", view.horizontal.degrees()),
        }),
    }
}
