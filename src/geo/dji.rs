//! DJI's subtitle files: a line of telemetry for each picture or second of a video, in as many
//! dialects as there are drones.
//!
//! What their words mean, and by what evidence:
//! - `GPS(a,b,c)`: longitude first where `c` counts satellites (Mavic, Phantom), latitude first where
//!   `c` is a height with a unit (Matrice 300). A first number beyond 90 settles it in either.
//! - `rel_alt`, `BAROMETER`, `Hb`, `H …m`: metres above the place of take-off, by barometer. `abs_alt`:
//!   metres above sea level, by a barometer that knows the weather badly: it is taken only where
//!   nothing better is said. `altitude` alone does not say above what: it is taken where the
//!   configuration says so.
//! - `G.PRY`, `gb_pitch` …: the gimbal against north and the horizon. `F.PRY`: the aircraft. Both in the
//!   order pitch, roll, yaw.
//! - `focal_len` belongs to the colour camera and its crop, not to the thermal one: no field of view
//!   follows from it.
//! - Dates have no zone. The first one, less the configured offset, sets the time of the video's start;
//!   from there on the subtitles' own times count, which are the video's.
//!
//! The reader goes through the file once, line by line, and keeps one subtitle.

use std::fmt;
use std::io::{BufRead, Read as _};
use std::time::Duration;

use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::pose::{Attitude, Gimbal, Telemetry, TelemetrySource};
use super::units::{Angle, Height, LatLon, SeaLevelHeight, TakeoffHeight};
use crate::base::{Culprit, Error, Kind, Result};
use crate::config::{AltitudeAbove, TelemetryConfig};

/// Longest line. The longest known has 400 bytes.
const MAX_LINE: usize = 4_096;
/// Lines of one subtitle. The most known are 6.
const MAX_LINES: usize = 32;

/// In which order a position's numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Each number has its name.
    Named,
    /// Longitude, latitude, number of satellites.
    LongitudeFirst,
    /// Latitude, longitude, height.
    LatitudeFirst,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "each number has its name",
            Self::LongitudeFirst => "longitude first: the third number counts satellites",
            Self::LatitudeFirst => {
                "latitude first: the third number is a height, or the numbers leave no choice"
            }
        })
    }
}

/// One subtitle.
#[derive(Clone, Debug, PartialEq)]
pub struct Cue {
    /// The line where it starts, from 1.
    pub line: u64,
    /// When it is shown, from the video's start.
    pub start: Duration,
    /// What it says. Its time is that of the video's start and [`Cue::start`].
    pub telemetry: Telemetry,
    /// Where the drone took off.
    pub home: Option<LatLon>,
    /// How its position is written.
    pub order: Option<Order>,
    /// It says an altitude and not above what, and the configuration does not say it either.
    pub altitude_unknown: bool,
}

/// A subtitle that cannot be used: where, and what it lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CueFault {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong or missing.
    pub what: String,
}

impl fmt::Display for CueFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for CueFault {}

impl From<CueFault> for Error {
    fn from(fault: CueFault) -> Self {
        Error::new(Kind::Malformed, Culprit::Request, fault.to_string())
            .remedy("take the subtitle file as the drone wrote it; this subtitle is left out")
    }
}

/// Reads subtitles one by one. After a fault it goes on with the next one; after an error of the
/// file itself it ends.
///
/// ```
/// use vigil::config::{TelemetryConfig, TelemetryKind};
/// use vigil::geo::dji::SrtReader;
///
/// let text = "1\n00:00:00,000 --> 00:00:01,000\nGPS (8.2090, 47.4692, 18), D 49.21m, H 45.60m\n";
/// let config = TelemetryConfig::new(TelemetryKind::DjiSrt);
/// let cues: Vec<_> = SrtReader::new(text.as_bytes(), &config).collect::<Result<_, _>>()?;
/// assert_eq!(cues[0].telemetry.position.unwrap().lat().degrees(), 47.4692);
/// # Ok::<(), vigil::base::Error>(())
/// ```
pub struct SrtReader<R> {
    input: R,
    line: u64,
    utc_offset_s: i32,
    altitude_above: Option<AltitudeAbove>,
    /// The time of the video's start, and that of the first date, once something was read.
    start: Option<Timestamp>,
    cues: u64,
    positions: u64,
    last_start: Option<Duration>,
    ended: bool,
}

impl<R> fmt::Debug for SrtReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtReader").field("line", &self.line).field("cues", &self.cues).finish()
    }
}

impl<R: BufRead> SrtReader<R> {
    /// Reads `input`. Of the configuration, `utc_offset` and `altitude_above` matter.
    pub fn new(input: R, config: &TelemetryConfig) -> Self {
        Self {
            input,
            line: 0,
            utc_offset_s: config.utc_offset.map_or(0, |o| o.seconds()),
            altitude_above: config.altitude_above,
            start: None,
            cues: 0,
            positions: 0,
            last_start: None,
            ended: false,
        }
    }

    /// The next line without its end; `None` at the end of the file.
    fn next_line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        let read = (&mut self.input)
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|e| Error::io(Culprit::Disk, "the subtitle file cannot be read", e))?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        if bytes.len() > MAX_LINE {
            let says = format!("line {}: longer than {MAX_LINE} bytes", self.line);
            return Err(Error::new(Kind::TooLarge, Culprit::Request, says)
                .remedy("name a subtitle file as the drone wrote it"));
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = if self.line == 1 { text.strip_prefix('\u{feff}').unwrap_or(&text) } else { &text };
        Ok(Some(text.trim().to_owned()))
    }

    fn read(&mut self) -> Result<Option<Result<Cue, CueFault>>> {
        let mut lines: Vec<String> = Vec::new();
        let mut first = 0;
        loop {
            match self.next_line()? {
                None if lines.is_empty() => return self.end(),
                None => break,
                Some(line) if line.is_empty() && lines.is_empty() => {}
                Some(line) if line.is_empty() => break,
                Some(line) => {
                    if lines.is_empty() {
                        first = self.line;
                    }
                    if lines.len() == MAX_LINES {
                        let says = format!("line {}: a subtitle of more than {MAX_LINES} lines", self.line);
                        return Err(Error::new(Kind::TooLarge, Culprit::Request, says)
                            .remedy("name a subtitle file as the drone wrote it"));
                    }
                    lines.push(line);
                }
            }
        }
        self.cues += 1;
        Ok(Some(self.cue(first, &lines)))
    }

    fn end(&mut self) -> Result<Option<Result<Cue, CueFault>>> {
        let none = |what: &str, remedy: &str| {
            Error::new(Kind::Malformed, Culprit::Request, what.to_owned()).remedy(remedy)
        };
        if self.cues == 0 {
            return Err(none(
                "the file holds no subtitles",
                "turn on subtitles in the drone's camera settings and record again",
            ));
        }
        if self.positions == 0 {
            return Err(none(
                "no subtitle says a position",
                "this drone's subtitles hold camera settings only: use its other telemetry",
            ));
        }
        Ok(None)
    }

    fn cue(&mut self, first: u64, lines: &[String]) -> Result<Cue, CueFault> {
        let fault = |at: usize, what: String| CueFault { line: first + at as u64, what };
        if lines[0].is_empty() || !lines[0].bytes().all(|b| b.is_ascii_digit()) {
            return Err(fault(
                0,
                format!("a subtitle starts with its number, not with {:?}", short(&lines[0])),
            ));
        }
        let (shown, text_from) = match lines.get(1).map(|l| (l, l.split_once("-->"))) {
            None => return Err(fault(0, "the subtitle has no time and no text".to_owned())),
            Some((line, Some((from, _)))) => match offset(from.trim()) {
                Some(start) => (Some(start), 2),
                None => return Err(fault(1, format!("{:?} is no time of a subtitle", short(line)))),
            },
            Some(_) => (None, 1),
        };
        let mut said = Said::default();
        for (n, line) in lines.iter().enumerate().skip(text_from) {
            said.read(line).map_err(|what| fault(n, what))?;
        }
        if lines.len() == text_from {
            return Err(fault(text_from - 1, "the subtitle has no text".to_owned()));
        }

        // The first date and the first subtitle's time give the time of the video's start.
        let wall = said.wall.and_then(|civil| {
            let utc = civil.to_zoned(TimeZone::UTC).ok()?.timestamp();
            utc.checked_sub(SignedDuration::from_secs(i64::from(self.utc_offset_s))).ok()
        });
        let start = match (self.start, wall, shown) {
            (Some(start), ..) => start,
            (None, Some(wall), shown) => {
                let shown = SignedDuration::try_from(shown.unwrap_or_default()).unwrap_or_default();
                wall.checked_sub(shown).unwrap_or(wall)
            }
            (None, None, Some(_)) => Timestamp::UNIX_EPOCH,
            (None, None, None) => {
                return Err(fault(0, "the subtitle has neither a time nor a date".to_owned()));
            }
        };
        self.start = Some(start);
        let at = match (shown, wall) {
            (Some(shown), _) => shown,
            (None, Some(wall)) => Duration::try_from(wall.duration_since(start))
                .map_err(|_| fault(0, "the date lies before that of the first subtitle".to_owned()))?,
            (None, None) => return Err(fault(0, "the subtitle has neither a time nor a date".to_owned())),
        };
        let time = SignedDuration::try_from(at)
            .ok()
            .and_then(|at| start.checked_add(at).ok())
            .ok_or_else(|| fault(0, "the subtitle's time is beyond all time".to_owned()))?;
        if self.last_start.is_some_and(|last| at < last) {
            return Err(fault(0, "the subtitle's time lies before that of the one before it".to_owned()));
        }
        self.last_start = Some(at);

        let position = said.position().map_err(|what| fault(lines.len() - 1, what))?;
        if position.is_none() && self.positions > 0 {
            return Err(fault(
                lines.len() - 1,
                "the subtitle says no position, and those before did".to_owned(),
            ));
        }
        self.positions += u64::from(position.is_some());
        let (height, altitude_unknown) = said.height(self.altitude_above);
        Ok(Cue {
            line: first,
            start: at,
            telemetry: Telemetry {
                time,
                source: TelemetrySource::DjiSrt,
                position: position.map(|(position, _)| position),
                height,
                platform: said.platform.map(attitude),
                gimbal: said.gimbal.or(said.named_gimbal()).map(|g| Gimbal::World(attitude(g))),
                field_of_view: None,
                slant_range_m: None,
            },
            home: said.home,
            order: position.map(|(_, order)| order),
            altitude_unknown,
        })
    }
}

impl<R: BufRead> Iterator for SrtReader<R> {
    type Item = Result<Cue>;

    /// A fault of one subtitle is an error of the kind [`Kind::Malformed`], after which the next one
    /// follows; after any other error, and the file's own faults, nothing does.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.read() {
            Ok(Some(Ok(cue))) => Some(Ok(cue)),
            Ok(Some(Err(fault))) => Some(Err(fault.into())),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(e) => {
                self.ended = true;
                Some(Err(e))
            }
        }
    }
}

fn attitude([pitch, roll, yaw]: [f64; 3]) -> Attitude {
    let a = Angle::from_degrees;
    Attitude { yaw: a(yaw).compass(), pitch: a(pitch), roll: a(roll) }
}

/// Enough of a line to find it, without what a terminal would obey.
fn short(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// `00:15:04,904`.
fn offset(text: &str) -> Option<Duration> {
    let (clock, millis) = text.split_once([',', '.'])?;
    let mut parts = clock.split(':').map(digits);
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || minutes > 59 || seconds > 59 || millis.len() != 3 || hours > 999 {
        return None;
    }
    Some(Duration::from_millis(((hours * 60 + minutes) * 60 + seconds) * 1000 + digits(millis)?))
}

fn digits(text: &str) -> Option<u64> {
    (!text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// A number, with a unit behind it that is left off.
fn number(text: &str) -> Option<f64> {
    let text = text.trim().trim_end_matches("m/s").trim_end_matches(['m', 'M', '°']).trim();
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.'));
    text.parse().ok().filter(|n: &f64| plain && n.is_finite())
}

/// `2022-08-07 13:40:40,774,808`, `2017.8.5 14:11:51`, `2023-05-01 10:11:12.345`.
fn wall_clock(line: &str) -> Option<DateTime> {
    let (day, clock) = line.split_once(' ')?;
    let mut parts = day.split(['-', '.']).map(digits);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || !(1990..2200).contains(&year) {
        return None;
    }
    let mut parts = clock.splitn(2, [',', '.']);
    let mut hms = parts.next()?.split(':').map(digits);
    let (h, m, s) = (hms.next()??, hms.next()??, hms.next()??);
    // Milliseconds, and behind another comma microseconds.
    let mut fraction = parts.next().unwrap_or("0").split(',');
    let millis = digits(fraction.next()?).filter(|n| *n < 1000)?;
    let micros = fraction.next().map_or(Some(0), digits).filter(|n| *n < 1000)?;
    let day = jiff::civil::Date::new(year as i16, i8::try_from(month).ok()?, i8::try_from(day).ok()?)
        .ok()
        .filter(|day| *day >= date(1990, 1, 1))?;
    let time = jiff::civil::Time::new(
        i8::try_from(h).ok()?,
        i8::try_from(m).ok()?,
        i8::try_from(s).ok()?,
        (millis * 1_000_000 + micros * 1_000) as i32,
    );
    Some(day.to_datetime(time.ok()?))
}

/// What one subtitle's text says.
#[derive(Default)]
struct Said {
    wall: Option<DateTime>,
    /// The numbers of `GPS(…)`, and whether the third has a unit.
    gps: Option<(f64, f64, bool)>,
    home: Option<LatLon>,
    lat: Option<f64>,
    lon: Option<f64>,
    above_takeoff: Option<f64>,
    above_sea: Option<f64>,
    altitude: Option<f64>,
    platform: Option<[f64; 3]>,
    gimbal: Option<[f64; 3]>,
    gb: [Option<f64>; 3],
}

impl Said {
    fn read(&mut self, line: &str) -> Result<(), String> {
        let mut text = line;
        // Markup says nothing.
        while let Some(rest) = text.trim_start().strip_prefix('<') {
            let Some((_, after)) = rest.split_once('>') else {
                return Err("the text is cut off within a tag".to_owned());
            };
            text = after;
        }
        let text = text.trim().trim_end_matches("</font>").trim();
        for (n, part) in text.split(['(', '[']).enumerate() {
            let closed = part.contains([')', ']']);
            if n > 0 && !closed {
                return Err(format!("the text is cut off in {:?}", short(part)));
            }
        }
        if let Some(wall) = wall_clock(text) {
            self.wall.get_or_insert(wall);
            return Ok(());
        }
        // HOME(…) and a date may stand in one line.
        if let Some((_, after)) = text.split_once(") ")
            && let Some(wall) = wall_clock(after)
        {
            self.wall.get_or_insert(wall);
        }
        for inside in text.split('[').skip(1).filter_map(|part| part.split_once(']')) {
            self.named(inside.0)?;
        }
        for (name, numbers) in groups(text) {
            self.group(name, numbers)?;
        }
        for word in ["BAROMETER:", "Hb:"] {
            if let Some((_, after)) = text.split_once(word) {
                let value = after.split_whitespace().next().unwrap_or_default();
                let height =
                    number(value).ok_or_else(|| format!("{word} has no number: {:?}", short(value)))?;
                self.above_takeoff = Some(height);
            }
        }
        // `…, H 45.60m, …`
        if let Some((_, after)) = text.split_once(", H ") {
            let value = after.split(',').next().unwrap_or_default();
            match number(value) {
                Some(height) => self.above_takeoff = Some(height),
                None if value.trim() == "n/a" => {}
                None => return Err(format!("H has no number: {:?}", short(value))),
            }
        }
        Ok(())
    }

    /// `rel_alt: 1.300 abs_alt: 120.5`, `latitude : -34.8`.
    fn named(&mut self, inside: &str) -> Result<(), String> {
        let words: Vec<&str> = inside.split([' ', ':', ',']).filter(|w| !w.is_empty()).collect();
        for pair in words.windows(2) {
            let [name, value] = pair else { continue };
            let slot = match *name {
                "latitude" => &mut self.lat,
                // The misspelling is the drone's.
                "longitude" | "longtitude" => &mut self.lon,
                "rel_alt" => &mut self.above_takeoff,
                "abs_alt" => &mut self.above_sea,
                "altitude" => &mut self.altitude,
                "gb_pitch" => &mut self.gb[0],
                "gb_roll" => &mut self.gb[1],
                "gb_yaw" => &mut self.gb[2],
                _ => continue,
            };
            *slot = Some(number(value).ok_or_else(|| format!("{name} has no number: {:?}", short(value)))?);
        }
        Ok(())
    }

    fn group(&mut self, name: &str, numbers: &str) -> Result<(), String> {
        let parts: Vec<&str> = numbers.split(',').map(str::trim).collect();
        let values = || -> Result<Vec<f64>, String> {
            parts
                .iter()
                .map(|p| number(p).ok_or_else(|| format!("{name} has no number: {:?}", short(p))))
                .collect()
        };
        match (name, parts.len()) {
            ("GPS", 3) if parts.iter().all(|p| *p == "n/a") => {}
            ("GPS", 3) => {
                let v = values()?;
                self.gps = Some((v[0], v[1], parts[2].ends_with(['m', 'M'])));
            }
            ("HOME", 2 | 3) => {
                let v = values()?;
                self.home = LatLon::from_degrees(v[1], v[0]);
            }
            ("F.PRY" | "G.PRY", 3) => {
                let v = values()?;
                let slot = if name == "F.PRY" { &mut self.platform } else { &mut self.gimbal };
                *slot = Some([v[0], v[1], v[2]]);
            }
            ("GPS" | "HOME" | "F.PRY" | "G.PRY", n) => return Err(format!("{name} has {n} numbers")),
            _ => {}
        }
        Ok(())
    }

    fn named_gimbal(&self) -> Option<[f64; 3]> {
        let [pitch, roll, yaw] = self.gb;
        Some([pitch?, roll.unwrap_or(0.0), yaw?])
    }

    fn position(&self) -> Result<Option<(LatLon, Order)>, String> {
        let (lat, lon, order) = match (self.lat, self.lon, self.gps) {
            (Some(lat), Some(lon), _) => (lat, lon, Order::Named),
            (Some(_), None, _) => return Err("the subtitle has a latitude and no longitude".to_owned()),
            (None, Some(_), _) => return Err("the subtitle has a longitude and no latitude".to_owned()),
            (None, None, None) => return Ok(None),
            (None, None, Some((a, b, unit))) => {
                // Beyond 90 it is no latitude, whatever the third number says.
                if a.abs() <= 90.0 && (unit || b.abs() > 90.0) {
                    (a, b, Order::LatitudeFirst)
                } else {
                    (b, a, Order::LongitudeFirst)
                }
            }
        };
        // A receiver without a fix says 0, 0, which lies in the sea off Africa.
        if lat == 0.0 && lon == 0.0 {
            return Ok(None);
        }
        match LatLon::from_degrees(lat, lon) {
            Some(position) => Ok(Some((position, order))),
            None => Err(format!("latitude {lat} and longitude {lon} are no place")),
        }
    }

    /// The height, and whether there is one of which nobody says above what.
    fn height(&self, above: Option<AltitudeAbove>) -> (Option<Height>, bool) {
        let takeoff = |m: f64| Height::Takeoff(TakeoffHeight(m));
        let sea = |m: f64| Height::SeaLevel(SeaLevelHeight(m));
        let altitude = match above {
            Some(AltitudeAbove::Takeoff) => self.altitude.map(takeoff),
            Some(AltitudeAbove::SeaLevel) => self.altitude.map(sea),
            None => None,
        };
        let height = self.above_takeoff.map(takeoff).or(altitude).or(self.above_sea.map(sea));
        (height, height.is_none() && self.altitude.is_some())
    }
}

/// The names before round brackets and what stands inside.
fn groups(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (before, after) = rest.split_once('(')?;
        let (inside, behind) = after.split_once(')')?;
        rest = behind;
        let name = before.trim_end().rsplit([' ', ',', ')']).next().unwrap_or_default();
        Some((name, inside))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TelemetryKind, UtcOffset};
    use proptest::prelude::*;

    fn config() -> TelemetryConfig {
        TelemetryConfig::new(TelemetryKind::DjiSrt)
    }

    fn read(text: &str) -> Vec<Result<Cue, String>> {
        SrtReader::new(text.as_bytes(), &config()).map(|c| c.map_err(|e| e.what())).collect()
    }

    fn one(text: &str) -> Cue {
        let all = read(&format!("1\n00:00:02,000 --> 00:00:03,000\n{text}\n"));
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone().unwrap()
    }

    fn place(cue: &Cue) -> (f64, f64) {
        let p = cue.telemetry.position.unwrap();
        ((p.lat().degrees() * 1e6).round() / 1e6, (p.lon().degrees() * 1e6).round() / 1e6)
    }

    #[test]
    fn the_order_of_numbers_is_decided_by_evidence() {
        for (text, at, order) in [
            ("GPS(149.0251,-20.2533,16) BAROMETER:1.9", (-20.2533, 149.0251), Order::LongitudeFirst),
            ("GPS (8.2090, 47.4692, 18), D 1m, H 45.60m", (47.4692, 8.209), Order::LongitudeFirst),
            ("GPS(36.6146,-6.1120,0.0M) BAROMETER:0.3M", (36.6146, -6.112), Order::LatitudeFirst),
            ("GPS(36.6146,120.5,9)", (36.6146, 120.5), Order::LatitudeFirst),
            ("GPS(120.5,36.6146,10.0M)", (36.6146, 120.5), Order::LongitudeFirst),
            ("[latitude : -34.86] [longtitude : -57.82]", (-34.86, -57.82), Order::Named),
        ] {
            let cue = one(text);
            assert_eq!((place(&cue), cue.order), (at, Some(order)), "{text}");
        }
    }

    #[test]
    fn heights_by_their_names() {
        let at = "[latitude: 30.0] [longitude: 120.0]";
        let height = |text: &str| one(&format!("{at} {text}")).telemetry.height;
        assert_eq!(height("[rel_alt: 1.300 abs_alt: 120.5]"), Some(Height::Takeoff(TakeoffHeight(1.3))));
        assert_eq!(height("[abs_alt: 120.5]"), Some(Height::SeaLevel(SeaLevelHeight(120.5))));
        assert_eq!(height("[altitude: 27.3]"), None);
        assert!(one(&format!("{at} [altitude: 27.3]")).altitude_unknown);
        let told = TelemetryConfig { altitude_above: Some(AltitudeAbove::SeaLevel), ..config() };
        let text = format!("1\n00:00:02,000 --> 00:00:03,000\n{at} [altitude: 27.3]");
        let cue = SrtReader::new(text.as_bytes(), &told).next().unwrap().unwrap();
        assert_eq!(cue.telemetry.height, Some(Height::SeaLevel(SeaLevelHeight(27.3))));
        let mini =
            one("F/2.8, SS 30.15, GPS (-121.7458, 48.0771, 17), D 221.21m, H 200.70m, H.S n/a, V.S n/a");
        assert_eq!(mini.telemetry.height, Some(Height::Takeoff(TakeoffHeight(200.7))));
    }

    #[test]
    fn turns_of_gimbal_and_aircraft() {
        let cue = one("GPS (-59.4, -34.6, 16), HOME (-59.40, -34.65, 7.60m), H 17.39m, \
            F.PRY (-8.9°, 2.9°, -75.0°), G.PRY (-27.3°, 0.0°, -76.0°)");
        let Some(Gimbal::World(gimbal)) = cue.telemetry.gimbal else { panic!() };
        assert!((gimbal.pitch.degrees() + 27.3).abs() < 1e-9 && (gimbal.yaw.degrees() - 284.0).abs() < 1e-9);
        let platform = cue.telemetry.platform.unwrap();
        assert!((platform.roll.degrees() - 2.9).abs() < 1e-9);
        assert!((cue.home.unwrap().lat().degrees() + 34.65).abs() < 1e-9);
        let cue = one("[latitude: 30.0] [longitude: 120.0] [gb_yaw: 12.5 gb_pitch: -90.0 gb_roll: 0.0]");
        let Some(Gimbal::World(gimbal)) = cue.telemetry.gimbal else { panic!() };
        assert!((gimbal.yaw.degrees() - 12.5).abs() < 1e-9 && (gimbal.pitch.degrees() + 90.0).abs() < 1e-9);
    }

    #[test]
    fn dates_give_the_start_and_subtitles_the_rest() {
        for (text, at) in [
            ("2022-08-07 13:40:40,774,808", "2022-08-07T13:40:40.774808Z"),
            ("2017.8.5 14:11:51", "2017-08-05T14:11:51Z"),
            ("2023-05-01 10:11:12.345", "2023-05-01T10:11:12.345Z"),
            ("HOME(149.0251,-20.2532) 2017.08.05 14:11:51", "2017-08-05T14:11:51Z"),
            ("nothing", "1970-01-01T00:00:02Z"),
        ] {
            let cue = one(&format!("{text}\n[latitude: 30.0] [longitude: 120.0]"));
            assert_eq!(cue.telemetry.time, at.parse().unwrap(), "{text}");
            assert_eq!(cue.start, Duration::from_secs(2));
        }
        let zone = TelemetryConfig { utc_offset: Some(UtcOffset::parse("+08:00").unwrap()), ..config() };
        let text = "1\n2017.08.05 14:11:51,393\n[latitude: 30] [longitude: 120]\n\n\
            2\n2017.08.05 14:11:52,393\n[latitude: 30] [longitude: 120]\n";
        let cues: Vec<_> = SrtReader::new(text.as_bytes(), &zone).map(|c| c.unwrap()).collect();
        assert_eq!(cues[0].telemetry.time, "2017-08-05T06:11:51.393Z".parse().unwrap());
        assert_eq!((cues[0].start, cues[1].start), (Duration::ZERO, Duration::from_secs(1)));
        assert_eq!(wall_clock("2017.13.05 14:11:51"), None);
        assert_eq!(wall_clock("0000.01.05 14:11:51"), None);
    }

    #[test]
    fn what_is_broken_is_named_with_its_line() {
        let good = "1\n00:00:00,000 --> 00:00:01,000\nGPS(1.5,2.5,9)\n\n";
        for (text, says) in [
            (String::new(), "the file holds no subtitles"),
            ("\n\n\n".to_owned(), "the file holds no subtitles"),
            ("1\n".to_owned(), "line 1: the subtitle has no time and no text"),
            ("1\n00:00:00,000 --> 00:00:01,000\n".to_owned(), "line 2: the subtitle has no text"),
            ("1\nGPS(1.5,2.5,9)\n".to_owned(), "line 1: the subtitle has neither a time nor a date"),
            ("x\n".to_owned(), "line 1: a subtitle starts with its number, not with \"x\""),
            ("1\n0:0 --> 1\nx\n".to_owned(), "line 2: \"0:0 --> 1\" is no time of a subtitle"),
            (format!("{good}2\n00:00:01,000 --> 2\nISO:100"), "line 7: the subtitle says no position"),
            (
                format!("{good}2\n00:00:01,000 --> 2\n[iso : 1] [latit"),
                "line 7: the text is cut off in \"latit\"",
            ),
            (format!("{good}2\n00:00:01,000 --> 2\nGPS(1.5,x,9)"), "line 7: GPS has no number: \"x\""),
            (format!("{good}2\n00:00:01,000 --> 2\nGPS(1.5,9)"), "line 7: GPS has 2 numbers"),
            (format!("{good}2\n00:00:01,000 --> 2\nGPS(1.5,inf,9)"), "line 7: GPS has no number"),
            (format!("{good}2\n00:00:01,000 --> 2\nGPS(181,2,9)"), "line 7: latitude 2 and longitude 181"),
            (
                format!("{good}2\n00:00:01,000 --> 2\n[latitude: 1]"),
                "line 7: the subtitle has a latitude and no",
            ),
            (format!("{good}2\n00:00:01,000 --> 2\n<font size"), "line 7: the text is cut off within a tag"),
            (
                "1\n00:00:05,000 --> 6\nGPS(1,2,9)\n\n2\n00:00:04,000 --> 5\nGPS(1,2,9)".to_owned(),
                "line 5: the subtitle's time lies before",
            ),
        ] {
            let all = read(&text);
            let last = all.iter().filter_map(|c| c.as_ref().err()).next_back().cloned();
            let first = all.iter().find_map(|c| c.as_ref().err()).cloned();
            let said = [first, last].into_iter().flatten().any(|e| e.contains(says));
            assert!(said, "{text:?}: {all:?}");
        }
        let settings = read("1\n00:00:00,000 --> 00:00:01,000\n[iso : 100]\n");
        assert!(settings[1].as_ref().unwrap_err().contains("no subtitle says a position"));
        // A fault costs its subtitle and no other.
        let all =
            read(&format!("{good}2\n00:00:01,000 --> 2\nISO\n\n3\n00:00:02,000 --> 3\nGPS(1.5,2.5,9)\n"));
        assert_eq!(all.iter().map(|c| c.is_ok()).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn endless_lines_and_subtitles_are_refused() {
        let line = "x".repeat(MAX_LINE * 20);
        let all = read(&line);
        assert!(all.len() == 1 && all[0].as_ref().unwrap_err().contains("longer than 4096 bytes"));
        let all = read(&"1\n".repeat(1000));
        assert!(all.len() == 1 && all[0].as_ref().unwrap_err().contains("more than 32 lines"));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(
            parts in prop::collection::vec(prop::sample::select(vec![
                "1", "\n", "\n\n", "00:00:00,000 --> 00:00:01,000", "GPS", "(", ")", "[", "]", "HOME", "12.5",
                ",", " ", "latitude", "longitude", ":", "2017.08.05 14:11:51", "H ", "m", "n/a", "é", "<font>", "<",
                "G.PRY", "°", "BAROMETER:", "-91", "1e400", "\u{feff}", "\r\n",
            ]), 0..60),
        ) {
            let text: String = parts.concat();
            let all = read(&text);
            prop_assert!(!all.is_empty());
            for cue in all.into_iter().flatten() {
                prop_assert!(cue.telemetry.position.is_none_or(|p| p.lat().degrees().abs() <= 90.0));
            }
        }

        #[test]
        fn a_flight_comes_back(lat in -89.0..89.0f64, lon in -179.0..179.0f64, up in -50.0..500.0f64, n in 1usize..20) {
            prop_assume!(lat.abs() > 0.001);
            let mut text = String::new();
            for i in 0..n {
                text += &format!("{}\n00:00:{i:02},000 --> 00:00:{:02},000\n[latitude: {lat:.6}] \
                    [longitude: {lon:.6}] [rel_alt: {up:.3} abs_alt: 9.000]\n\n", i + 1, i + 1);
            }
            let all = read(&text);
            prop_assert_eq!(all.len(), n);
            for (i, cue) in all.into_iter().enumerate() {
                let cue = cue.unwrap();
                let at = cue.telemetry.position.unwrap();
                prop_assert!((at.lat().degrees() - lat).abs() < 1e-6 && (at.lon().degrees() - lon).abs() < 1e-6);
                prop_assert_eq!(cue.start, Duration::from_secs(i as u64));
            }
        }
    }
}
