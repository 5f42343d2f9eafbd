//! Telemetry becomes the pose of a frame: what the drone said before and after it, interpolated.
//!
//! Messages may come late, out of order, twice, or with a jump in them; each input (position,
//! height, platform, gimbal, field of view) has a history of its own, bounded in time and number.
//! Nothing is interpolated across a jump, and none is made up: an input that nobody said in time is
//! named as stale, as assumed (from the configuration), or the pose is refused and the input named.
//!
//! # How uncertainty grows
//! To the deviations of the configuration (or those that the receiver says, if they are larger) are
//! added, as independent errors:
//! - between two messages, what an acceleration of [`Growth::acceleration`] does to a straight line:
//!   half of it times the time since the one times the time to the other;
//! - beyond the last message, while the movement is carried on, half of it times the time squared;
//! - beyond that, the speed seen last, at least [`Growth::drift`], times the whole age;
//! - the speed times the uncertainty of the time between telemetry and video;
//! - for as long as the history reaches, what a position or height that is believed again after a jump
//!   still is from where it was before: one of the two was wrong, and nobody knows which. A jump there
//!   and back adds nothing.
//!
//! # Telemetry that is late
//! Which time of the drone's a frame has is learned from the messages in the stream: the median distance
//! between the two clocks. A message can be held back on its way and none comes before it was sent, so one
//! that comes later than it should moves nothing, and its frames go without it; only what stays late for ten
//! times as long as the distance was known, at most [`LATE_BELIEVED`], is another distance. A message that
//! comes earlier than any before shows that those were late.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::pose::{Attitude, FieldOfView, Gimbal, Input, Pose, PoseSigma, Telemetry};
use super::turn::Turn;
use super::units::{Angle, EllipsoidHeight, Height, LatLon, SeaLevelHeight, TakeoffHeight};
use crate::base::{Culprit, Error, Kind};
use crate::config::TelemetryConfig;

/// Messages are kept this long, and an input that is silent for longer is as good as never said.
const HISTORY: SignedDuration = SignedDuration::from_secs(30);
/// Messages of one input that are kept: 100 a second for as long.
const MAX_SAMPLES: usize = 3_000;
/// So many messages that agree with each other make a jump believed.
const SETTLED: usize = 5;
/// So many messages of another time make a stepped clock believed.
const CLOCK_SETTLED: u32 = 3;
/// Metres that a measurement may be off without being a jump.
const JUMP_SLACK_M: f64 = 25.0;
/// Messages from which the distance between the drone's clock and the video's is taken.
const STREAM_WINDOW: usize = 33;
/// What the distance of a message that was not held back may be off by.
const STREAM_JITTER: SignedDuration = SignedDuration::from_millis(100);
/// A message that comes later than this was not held back: the stream has another time.
const LATEST: SignedDuration = SignedDuration::from_mins(10);
/// What comes late for so long does so because the clocks are that far apart.
const LATE_BELIEVED: SignedDuration = SignedDuration::from_mins(1);
/// A distance that differs by more than this is another clock, or another stream.
const STREAM_STEP: SignedDuration = SignedDuration::from_secs(1);
/// No drone that is told where it is says an earlier year.
const EARLIEST: i64 = 1_451_606_400; // 2016-01-01T00:00:00Z
/// A drone's clock that is further from this box's is wrong, or one of them is.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(24);
/// A range finder's word holds this long: the ground under a moving drone changes.
const RANGE_AGE_S: f64 = 0.3;

/// What a movement may do between and after messages.
struct Growth {
    /// In units per second squared.
    acceleration: f64,
    /// In units per second.
    drift: f64,
}

/// A small multicopter brakes with this.
const POSITION: Growth = Growth { acceleration: 4.0, drift: 5.0 };
const HEIGHT: Growth = Growth { acceleration: 2.0, drift: 2.0 };
/// In radians: 60 degrees per second squared, 10 degrees per second.
const ANGLE: Growth = Growth { acceleration: 1.05, drift: 0.175 };

fn seconds(to: Timestamp, from: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

trait Sample: Copy + PartialEq {
    /// Part of the way to `other`, beyond 1 carried on. `None`: there is no way between them.
    fn between(&self, other: &Self, part: f64) -> Option<Self>;
    /// Metres or radians from `other`. `None`: they do not compare.
    fn apart(&self, other: &Self) -> Option<f64>;
    /// The way from `self` to `other` in metres: north and east, or up. `None` for what is no place.
    fn way(&self, _other: &Self) -> Option<[f64; 2]> {
        None
    }
}

impl Sample for LatLon {
    fn between(&self, other: &Self, part: f64) -> Option<Self> {
        let lat = self.lat().degrees() + (other.lat() - self.lat()).degrees() * part;
        LatLon::from_degrees(lat, self.lon().towards(other.lon(), part).signed().degrees())
    }

    fn apart(&self, other: &Self) -> Option<f64> {
        self.way(other).map(|[north, east]| north.hypot(east))
    }

    fn way(&self, other: &Self) -> Option<[f64; 2]> {
        const RADIUS_M: f64 = 6_371_000.0;
        let north = (other.lat() - self.lat()).radians();
        let east = (other.lon() - self.lon()).signed().radians() * self.lat().radians().cos();
        Some([RADIUS_M * north, RADIUS_M * east])
    }
}

impl Sample for Height {
    fn between(&self, other: &Self, part: f64) -> Option<Self> {
        let mix = |a: f64, b: f64| a + (b - a) * part;
        match (self, other) {
            (Self::Ellipsoid(a), Self::Ellipsoid(b)) => Some(Self::Ellipsoid(EllipsoidHeight(mix(a.0, b.0)))),
            (Self::SeaLevel(a), Self::SeaLevel(b)) => Some(Self::SeaLevel(SeaLevelHeight(mix(a.0, b.0)))),
            (Self::Takeoff(a), Self::Takeoff(b)) => Some(Self::Takeoff(TakeoffHeight(mix(a.0, b.0)))),
            _ => None,
        }
    }

    fn apart(&self, other: &Self) -> Option<f64> {
        self.way(other).map(|[up, _]| up.abs())
    }

    fn way(&self, other: &Self) -> Option<[f64; 2]> {
        match (self, other) {
            (Self::Ellipsoid(a), Self::Ellipsoid(b)) => Some([b.0 - a.0, 0.0]),
            (Self::SeaLevel(a), Self::SeaLevel(b)) => Some([b.0 - a.0, 0.0]),
            (Self::Takeoff(a), Self::Takeoff(b)) => Some([b.0 - a.0, 0.0]),
            _ => None,
        }
    }
}

impl Sample for Attitude {
    fn between(&self, other: &Self, part: f64) -> Option<Self> {
        Some(Turn::from(*self).towards(Turn::from(*other), part).attitude())
    }

    fn apart(&self, other: &Self) -> Option<f64> {
        Some(Turn::from(*self).apart(Turn::from(*other)))
    }
}

/// The angles of a gimbal, whichever world they are against: the order of the turns is the same.
fn angles(gimbal: &Gimbal) -> Attitude {
    match *gimbal {
        Gimbal::Platform { azimuth, elevation, roll } => Attitude { yaw: azimuth, pitch: elevation, roll },
        Gimbal::World(attitude) => attitude,
    }
}

impl Sample for Gimbal {
    fn between(&self, other: &Self, part: f64) -> Option<Self> {
        let mixed = angles(self).between(&angles(other), part)?;
        match (self, other) {
            (Self::Platform { .. }, Self::Platform { .. }) => {
                Some(Self::Platform { azimuth: mixed.yaw, elevation: mixed.pitch, roll: mixed.roll })
            }
            (Self::World(_), Self::World(_)) => Some(Self::World(mixed)),
            _ => None,
        }
    }

    fn apart(&self, other: &Self) -> Option<f64> {
        match (self, other) {
            (Self::Platform { .. }, Self::Platform { .. }) | (Self::World(_), Self::World(_)) => {
                angles(self).apart(&angles(other))
            }
            _ => None,
        }
    }
}

/// A zoom moves in steps and says so when it has moved: held, not interpolated.
impl Sample for FieldOfView {
    fn between(&self, _: &Self, _: f64) -> Option<Self> {
        None
    }

    fn apart(&self, _: &Self) -> Option<f64> {
        None
    }
}

/// A measured distance.
#[derive(Clone, Copy, PartialEq)]
struct Range(f64);

impl Sample for Range {
    fn between(&self, other: &Self, part: f64) -> Option<Self> {
        Some(Self(self.0 + (other.0 - self.0) * part))
    }

    fn apart(&self, _: &Self) -> Option<f64> {
        None
    }
}

#[derive(Clone, Copy)]
struct Entry<S> {
    at: Timestamp,
    value: S,
    /// There was a jump before it.
    broken: bool,
}

/// What became of a message's part.
#[derive(Clone, Copy, PartialEq)]
enum Taken {
    Kept,
    Repeated,
    TooOld,
    /// A jump of so many metres; the first message of it.
    Doubted(f64),
    StillDoubted,
    Settled,
}

/// The history of one input.
struct Track<S> {
    entries: VecDeque<Entry<S>>,
    /// Messages that would be a jump, and are not believed yet.
    doubted: Vec<(Timestamp, S)>,
    /// Metres a second beyond which it is a jump.
    max_speed: Option<f64>,
    outliers: u64,
}

/// What a track says about one time.
struct Look<S> {
    value: S,
    /// Seconds to the nearest message.
    age: f64,
    /// Units a second.
    rate: f64,
    /// Half the time since the one message times the time to the other, in seconds squared.
    curve: f64,
    /// Seconds for which the value is held without a movement.
    held: f64,
    /// There is a jump near.
    doubted: bool,
}

impl<S: Sample> Track<S> {
    fn new(max_speed: Option<f64>) -> Self {
        Self { entries: VecDeque::new(), doubted: Vec::new(), max_speed, outliers: 0 }
    }

    fn fits(&self, (from, a): (Timestamp, &S), (to, b): (Timestamp, &S)) -> Result<(), f64> {
        match (self.max_speed, a.apart(b)) {
            (Some(speed), Some(metres)) => {
                let reach = JUMP_SLACK_M + speed * seconds(to, from).abs();
                if metres <= reach { Ok(()) } else { Err(metres) }
            }
            _ => Ok(()),
        }
    }

    fn insert(&mut self, at: Timestamp, value: S) -> Taken {
        if self.entries.back().is_some_and(|newest| newest.at.duration_since(at) > HISTORY) {
            return Taken::TooOld;
        }
        let place = self.entries.partition_point(|e| e.at < at);
        if self.entries.get(place).is_some_and(|e| e.at == at) {
            return Taken::Repeated;
        }
        let before = place.checked_sub(1).map_or(Ok(()), |n| {
            let entry = &self.entries[n];
            self.fits((entry.at, &entry.value), (at, &value))
        });
        let after = match self.entries.get(place) {
            Some(next) if !next.broken => self.fits((at, &value), (next.at, &next.value)),
            _ => Ok(()),
        };
        match (before, after) {
            (Ok(()), Ok(())) if place == self.entries.len() && self.is_nearer_to_doubted(at, &value) => {
                let metres = self.entries.back().and_then(|last| last.value.apart(&value));
                self.doubt(at, value, metres.unwrap_or(0.0))
            }
            (Ok(()), Ok(())) => {
                if self.doubted.first().is_some_and(|(first, _)| at >= *first) {
                    self.outliers += self.doubted.drain(..).count() as u64;
                }
                self.entries.insert(place, Entry { at, value, broken: false });
                self.prune();
                Taken::Kept
            }
            (Err(metres), _) if place == self.entries.len() => self.doubt(at, value, metres),
            _ => {
                self.outliers += 1;
                Taken::StillDoubted
            }
        }
    }

    /// Whether it goes on from messages that are not believed rather than from those that are: given a little
    /// time, what jumped could have been flown.
    fn is_nearer_to_doubted(&self, at: Timestamp, value: &S) -> bool {
        let (Some((last, jumped)), Some(trusted)) = (self.doubted.last(), self.entries.back()) else {
            return false;
        };
        let near = |other: &S| other.apart(value).unwrap_or(f64::INFINITY);
        *last < at && near(jumped) < near(&trusted.value)
    }

    fn doubt(&mut self, at: Timestamp, value: S, metres: f64) -> Taken {
        match self.doubted.last() {
            Some((last, _)) if *last >= at => return Taken::StillDoubted,
            Some((last, earlier)) if self.fits((*last, earlier), (at, &value)).is_err() => {
                self.outliers += self.doubted.drain(..).count() as u64;
            }
            _ => {}
        }
        self.doubted.push((at, value));
        match self.doubted.len() {
            1 => Taken::Doubted(metres),
            n if n < SETTLED => Taken::StillDoubted,
            _ => {
                let settled = std::mem::take(&mut self.doubted).into_iter().enumerate();
                self.entries.extend(settled.map(|(n, (at, value))| Entry { at, value, broken: n == 0 }));
                self.prune();
                Taken::Settled
            }
        }
    }

    fn prune(&mut self) {
        let Some(newest) = self.entries.back().map(|e| e.at) else { return };
        while self.entries.len() > MAX_SAMPLES
            || self.entries.front().is_some_and(|e| newest.duration_since(e.at) > HISTORY)
        {
            self.entries.pop_front();
        }
    }

    /// Metres from where it would be without the jumps that were believed, as far as the history reaches.
    fn leapt(&self, at: Timestamp) -> f64 {
        let neighbours = self.entries.iter().zip(self.entries.iter().skip(1));
        let jumps = neighbours.filter(|(_, to)| to.broken && to.at <= at);
        let [a, b] = jumps
            .filter_map(|(from, to)| from.value.way(&to.value))
            .fold([0.0, 0.0], |sum, way| [sum[0] + way[0], sum[1] + way[1]]);
        a.hypot(b)
    }

    /// Units a second between two neighbours.
    fn rate(a: &Entry<S>, b: &Entry<S>) -> f64 {
        match (b.broken, a.value.apart(&b.value)) {
            (false, Some(apart)) => apart / seconds(b.at, a.at).max(1e-3),
            _ => 0.0,
        }
    }

    fn look(&self, at: Timestamp, extrapolate: f64) -> Option<Look<S>> {
        let place = self.entries.partition_point(|e| e.at <= at);
        let before = place.checked_sub(1).map(|n| &self.entries[n]);
        let earlier = place.checked_sub(2).map(|n| &self.entries[n]);
        let after = self.entries.get(place);
        let doubted = self.doubted.first().is_some_and(|(first, _)| at >= *first);
        let held = |entry: &Entry<S>, rate: f64, doubted: bool| {
            let gap = seconds(at, entry.at).abs();
            Look { value: entry.value, age: gap, rate, curve: 0.0, held: gap, doubted }
        };
        Some(match (before, after) {
            (None, None) => return None,
            (Some(a), _) if a.at == at => {
                let rate = after.map(|b| Self::rate(a, b)).or(earlier.map(|e| Self::rate(e, a)));
                held(a, rate.unwrap_or(0.0), doubted)
            }
            (Some(a), Some(b)) => {
                let (since, until) = (seconds(at, a.at), seconds(b.at, at));
                let mixed = if b.broken { None } else { a.value.between(&b.value, since / (since + until)) };
                match mixed {
                    Some(value) => Look {
                        value,
                        age: since.min(until),
                        rate: Self::rate(a, b),
                        curve: since * until / 2.0,
                        held: 0.0,
                        doubted,
                    },
                    None if since <= until => held(a, 0.0, doubted || b.broken),
                    None => held(b, 0.0, doubted || b.broken),
                }
            }
            (Some(a), None) => {
                let since = seconds(at, a.at);
                let rate = earlier.map_or(0.0, |e| Self::rate(e, a));
                let carried = earlier
                    .filter(|e| !a.broken && since <= extrapolate && seconds(a.at, e.at) <= 2.0)
                    .and_then(|e| e.value.between(&a.value, 1.0 + since / seconds(a.at, e.at)));
                match carried {
                    Some(value) => {
                        Look { value, age: since, rate, curve: since * since / 2.0, held: 0.0, doubted }
                    }
                    None => held(a, rate, doubted),
                }
            }
            (None, Some(b)) => held(b, 0.0, doubted),
        })
    }

    /// Whether a message that is better for `at` is to be expected within the wait.
    fn is_due(&self, at: Timestamp, extrapolate: f64, wait: f64, max_age: f64) -> bool {
        let Some(newest) = self.entries.back() else { return false };
        let newest_at = self.doubted.last().map_or(newest.at, |(last, _)| (*last).max(newest.at));
        let late = seconds(at, newest_at);
        let looked_back = self.entries.len().min(9);
        let Some(first) = self.entries.get(self.entries.len() - looked_back).filter(|_| looked_back > 1)
        else {
            return false;
        };
        let interval = seconds(newest.at, first.at) / (looked_back - 1) as f64;
        late > extrapolate && late <= max_age.max(wait) && interval <= wait
    }
}

/// Something about the telemetry that a person should be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Notice {
    /// The input jumped so many metres further than the drone can have moved. It is not believed
    /// until messages agree with each other.
    Jumped(Input, f64),
    /// The messages after a jump agree: they are believed from now on.
    Settled(Input),
    /// The drone's clock stepped from the one time to the other, or was silent as long: what was known
    /// is forgotten.
    ClockStepped(Timestamp, Timestamp),
    /// The time between the drone's clock and the video's changed: another stream, or a clock that
    /// was set.
    StreamStepped,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jumped(input, metres) => {
                write!(f, "the drone's {input} jumped {metres:.0} m: not believed until it is consistent")
            }
            Self::Settled(input) => write!(f, "the drone's {input} is consistent again"),
            Self::ClockStepped(from, to) => {
                write!(
                    f,
                    "the drone's clock stepped from {from} to {to}, or it was silent: what it said before is forgotten"
                )
            }
            Self::StreamStepped => f.write_str("the drone's clock and the video's moved against each other"),
        }
    }
}

/// Why there is no pose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPose {
    /// Telemetry for these inputs is on its way: ask again shortly.
    NotYet(Vec<Input>),
    /// Nobody said these inputs, and the configuration assumes nothing for them.
    Missing(Vec<Input>),
    /// It is not known which time of the drone's the frame has.
    NoTime,
}

fn names(inputs: &[Input]) -> String {
    inputs.iter().map(|input| input.as_str()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for NoPose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYet(inputs) => write!(f, "the drone has not said {} of this moment yet", names(inputs)),
            Self::Missing(inputs) => write!(f, "the drone does not say its {}", names(inputs)),
            Self::NoTime => f.write_str("the drone's telemetry and the video have no time in common yet"),
        }
    }
}

impl std::error::Error for NoPose {}

impl From<NoPose> for Error {
    fn from(none: NoPose) -> Self {
        let error = Error::new(Kind::Unavailable, Culprit::Camera, none.to_string());
        match none {
            NoPose::Missing(_) => {
                error.remedy("make the drone say it, or write it in [search.telemetry.assume]")
            }
            NoPose::NotYet(_) | NoPose::NoTime => error,
        }
    }
}

/// Whether a drone's clock can be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// Nothing was said yet.
    Unknown,
    /// Near this box's clock.
    Plausible,
    /// Before 2016: it was never set. The telemetry can still be aligned with the video.
    Unset,
    /// More than a day from this box's clock.
    Astray,
}

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimelineCounts {
    /// Messages.
    pub messages: u64,
    /// Parts of messages with a time that was known already.
    pub repeated: u64,
    /// Parts that came too late to be of use.
    pub too_old: u64,
    /// Parts that were not believed, for a jump.
    pub jumped: u64,
    /// Messages whose time was far from all others.
    pub strange_time: u64,
}

/// The history of one drone's telemetry.
///
/// ```
/// use vigil::config::{TelemetryConfig, TelemetryKind};
/// use vigil::geo::{Timeline, klv};
///
/// let mut timeline = Timeline::new(&TelemetryConfig::new(TelemetryKind::Klv));
/// # let (klv_bytes, stream_time, frame_time) = (Vec::<u8>::new(), std::time::Duration::ZERO, std::time::Duration::ZERO);
/// for found in klv::Reader::new().read(&klv_bytes) {
///     if let Ok(decoded) = found.set() {
///         for notice in timeline.push_at(decoded.set.telemetry(), stream_time) {
///             println!("{notice}");
///         }
///     }
/// }
/// match timeline.pose_at(frame_time, true) {
///     Ok(pose) => println!("{pose:?}"),
///     Err(none) => println!("{none}"),
/// }
/// ```
pub struct Timeline {
    config: TelemetryConfig,
    position: Track<LatLon>,
    height: Track<Height>,
    platform: Track<Attitude>,
    gimbal: Track<Gimbal>,
    view: Track<FieldOfView>,
    range: Track<Range>,
    /// What the picture spans, where the drone does not say it.
    field_of_view: Option<FieldOfView>,
    newest: Option<Timestamp>,
    /// A time far from all others, and how many messages agreed with it.
    strange: Option<(Timestamp, u32)>,
    /// What messages of the stream say of its time.
    stream: StreamClock,
    accuracy: Option<(f64, f64)>,
    counts: TimelineCounts,
}

/// How far the drone's clock is from the stream's.
#[derive(Debug, Default)]
struct StreamClock {
    /// Drone's clock less stream time, of the last messages that were not held back.
    distances: VecDeque<SignedDuration>,
    /// The stream times of the first and the last of all that had this distance.
    confirmed: Option<(SignedDuration, SignedDuration)>,
    /// Another distance: the first message of it with its time, and how many agreed.
    strange: Option<(SignedDuration, Timestamp, u32)>,
    /// Messages come earlier than could be: until more is known, no time is.
    doubted: bool,
    /// The stream time from which on every message comes late.
    late_since: Option<SignedDuration>,
}

impl StreamClock {
    /// The median distance.
    fn distance(&self) -> Option<SignedDuration> {
        let mut all: Vec<_> = self.distances.iter().copied().collect();
        let middle = all.len() / 2;
        (!all.is_empty()).then(|| *all.select_nth_unstable(middle).1)
    }

    /// Takes a message of `time` that came at `stream`; `goes_on` says that the drone's clock was not set back
    /// with it. Whether the distance is another one from now on, by so much that it is news.
    fn learn(&mut self, time: Timestamp, stream: SignedDuration, goes_on: bool) -> bool {
        let Some(distance) = time.as_duration().checked_sub(stream) else { return false };
        let usual = self.distance();
        let step = usual.map_or(Some(SignedDuration::ZERO), |usual| distance.checked_sub(usual));
        let within = |limit: SignedDuration| step.is_some_and(|step| step.abs() <= limit);
        if within(STREAM_JITTER) {
            (self.strange, self.doubted, self.late_since) = (None, false, None);
            self.confirmed = Some((self.confirmed.map_or(stream, |(first, _)| first), stream));
            self.distances.push_back(distance);
            if self.distances.len() > STREAM_WINDOW {
                self.distances.pop_front();
            }
            return false;
        }
        let late = step.is_some_and(|step| step.is_negative()) && within(LATEST);
        let believed = if late && goes_on {
            (self.strange, self.doubted) = (None, false);
            let since = *self.late_since.get_or_insert(stream);
            stream.checked_sub(since).is_none_or(|lasted| lasted > self.patience())
        } else {
            self.doubted = !late && !within(STREAM_STEP);
            self.agrees(distance, time)
        };
        if believed {
            let distances = VecDeque::from([distance]);
            *self = Self { distances, confirmed: Some((stream, stream)), ..Self::default() };
        }
        believed && !within(STREAM_STEP)
    }

    /// How long it is not believed that what comes late is another distance: the longer, the better the present
    /// one is known.
    fn patience(&self) -> SignedDuration {
        let known = self.confirmed.and_then(|(first, last)| last.checked_sub(first)).unwrap_or_default();
        known.checked_mul(10).unwrap_or(LATE_BELIEVED).clamp(STREAM_STEP, LATE_BELIEVED)
    }

    /// Whether so many messages, one after the other, agree on another distance. While no picture brings the
    /// stream's clock a demultiplexer guesses times, and no two of them agree.
    fn agrees(&mut self, distance: SignedDuration, time: Timestamp) -> bool {
        let series = match self.strange {
            Some((first, since, count))
                if distance.checked_sub(first).is_some_and(|off| off.abs() <= STREAM_JITTER) =>
            {
                (first, since, count + 1)
            }
            _ => (distance, time, 1),
        };
        self.strange = Some(series);
        let (_, since, count) = series;
        count >= CLOCK_SETTLED && time.duration_since(since).abs() >= STREAM_JITTER * 2
    }

    /// The drone's time at `stream`.
    fn time(&self, stream: SignedDuration) -> Option<Timestamp> {
        let distance = self.distance().filter(|_| !self.doubted)?;
        Timestamp::from_duration(distance.checked_add(stream)?).ok()
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline").field("newest", &self.newest).field("counts", &self.counts).finish()
    }
}

impl Timeline {
    /// An empty history.
    pub fn new(config: &TelemetryConfig) -> Self {
        let speed = Some(f64::from(config.max_speed_mps));
        Self {
            config: config.clone(),
            position: Track::new(speed),
            height: Track::new(speed),
            platform: Track::new(None),
            gimbal: Track::new(None),
            view: Track::new(None),
            range: Track::new(None),
            field_of_view: None,
            newest: None,
            strange: None,
            stream: StreamClock::default(),
            accuracy: None,
            counts: TimelineCounts::default(),
        }
    }

    /// The same, knowing what the picture spans where the drone does not say it: that of the lens
    /// ([`FieldOfView::from_config`]). Poses name it as assumed.
    #[must_use]
    pub fn assuming(mut self, field_of_view: Option<FieldOfView>) -> Self {
        self.field_of_view = field_of_view;
        self
    }

    fn forget(&mut self) {
        let (config, counts, accuracy) = (self.config.clone(), self.counts, self.accuracy);
        let field_of_view = self.field_of_view;
        let stream = std::mem::take(&mut self.stream);
        *self = Self { counts, accuracy, field_of_view, stream, ..Self::new(&config) };
    }

    /// Takes a message whose time and the video's frames are by one clock.
    pub fn push(&mut self, telemetry: Telemetry) -> Vec<Notice> {
        let mut notices = Vec::new();
        self.counts.messages += 1;
        let at = telemetry.time;
        if let Some(newest) = self.newest
            && at.duration_since(newest).abs() > HISTORY
        {
            let agreed = match self.strange {
                Some((last, agreed)) if at.duration_since(last).abs() <= HISTORY => agreed + 1,
                _ => 1,
            };
            if agreed < CLOCK_SETTLED {
                self.strange = Some((at, agreed));
                self.counts.strange_time += 1;
                return notices;
            }
            self.forget();
            notices.push(Notice::ClockStepped(newest, at));
        }
        self.strange = None;
        self.newest = Some(self.newest.map_or(at, |newest| newest.max(at)));

        let counts = &mut self.counts;
        let mut count = |input: Option<Input>, taken: Taken| match taken {
            Taken::Kept => {}
            Taken::Repeated => counts.repeated += 1,
            Taken::TooOld => counts.too_old += 1,
            Taken::StillDoubted => counts.jumped += 1,
            Taken::Doubted(metres) => {
                counts.jumped += 1;
                notices.extend(input.map(|input| Notice::Jumped(input, metres)));
            }
            Taken::Settled => notices.extend(input.map(Notice::Settled)),
        };
        if let Some(position) = telemetry.position {
            count(Some(Input::Position), self.position.insert(at, position));
        }
        if let Some(height) = telemetry.height {
            count(Some(Input::Height), self.height.insert(at, height));
        }
        if let Some(platform) = telemetry.platform {
            count(None, self.platform.insert(at, platform));
        }
        if let Some(gimbal) = telemetry.gimbal {
            count(None, self.gimbal.insert(at, gimbal));
        }
        if let Some(view) = telemetry.field_of_view {
            count(None, self.view.insert(at, view));
        }
        if let Some(range) = telemetry.slant_range_m.filter(|range| range.is_finite() && *range > 0.0) {
            count(None, self.range.insert(at, Range(range)));
        }
        notices
    }

    /// Takes a message that came within the video's stream at `stream`, and learns from it which time
    /// of the drone's a frame has. One that was held back moves nothing.
    pub fn push_at(&mut self, telemetry: Telemetry, stream: Duration) -> Vec<Notice> {
        let stream = SignedDuration::try_from(stream).unwrap_or(SignedDuration::MAX);
        let time = telemetry.time;
        let goes_on = self.newest.is_none_or(|newest| time > newest);
        let stepped = self.stream.learn(time, stream, goes_on);
        let mut notices = self.push(telemetry);
        if stepped {
            notices.push(Notice::StreamStepped);
        }
        notices
    }

    /// The video begins anew: its stream times have nothing to do with those before.
    pub fn new_stream(&mut self) {
        self.stream = StreamClock::default();
    }

    /// Which time of the drone's the stream had at `stream`. `None` while that is not known, or in
    /// doubt.
    pub fn drone_time(&self, stream: Duration) -> Option<Timestamp> {
        self.stream.time(SignedDuration::try_from(stream).ok()?)
    }

    /// The receiver says how far off its positions are, horizontally and vertically, one standard
    /// deviation each in metres. Where that is more than the configuration says, it is believed.
    pub fn set_accuracy(&mut self, horizontal_m: f64, vertical_m: f64) {
        self.accuracy =
            (horizontal_m.is_finite() && vertical_m.is_finite()).then_some((horizontal_m, vertical_m));
    }

    /// What became of messages so far.
    pub fn counts(&self) -> TimelineCounts {
        self.counts
    }

    /// The newest message's time, by the drone's clock.
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// Whether the drone's clock can be true, beside this box's.
    pub fn clock(&self, now: Timestamp) -> ClockState {
        match self.newest {
            None => ClockState::Unknown,
            Some(newest) if newest.as_second() < EARLIEST => ClockState::Unset,
            Some(newest) if newest.duration_since(now).abs() > CLOCK_TOLERANCE => ClockState::Astray,
            Some(_) => ClockState::Plausible,
        }
    }

    /// The pose of the frame that the stream had at `stream`; see [`Timeline::pose`].
    pub fn pose_at(&self, stream: Duration, may_wait: bool) -> Result<Pose, NoPose> {
        self.pose(self.drone_time(stream).ok_or(NoPose::NoTime)?, may_wait)
    }

    /// The pose at a frame's time, by the drone's clock (before `offset_ms`). With `may_wait` the answer
    /// is [`NoPose::NotYet`] while a message that would be better is to be expected; a caller that has
    /// waited for `wait_ms` asks without it.
    pub fn pose(&self, time: Timestamp, may_wait: bool) -> Result<Pose, NoPose> {
        let config = &self.config;
        let at = time
            .checked_add(SignedDuration::from_millis(i64::from(config.offset_ms)))
            .map_err(|_| NoPose::NoTime)?;
        let s = |millis: crate::config::Millis| millis.duration().as_secs_f64();
        let (extrapolate, wait, max_age) =
            (s(config.extrapolate_ms), s(config.wait_ms), s(config.max_age_ms));
        if may_wait {
            let mut due = Vec::new();
            // A field of view changes seldom and is said seldom: nothing waits for it.
            for (input, is_due) in [
                (Input::Position, self.position.is_due(at, extrapolate, wait, max_age)),
                (Input::Height, self.height.is_due(at, extrapolate, wait, max_age)),
                (Input::Platform, self.platform.is_due(at, extrapolate, wait, max_age)),
                (Input::Gimbal, self.gimbal.is_due(at, extrapolate, wait, max_age)),
            ] {
                if is_due {
                    due.push(input);
                }
            }
            if !due.is_empty() {
                return Err(NoPose::NotYet(due));
            }
        }

        let mut found = Inputs { max_age, ..Inputs::default() };
        let assume = &config.assume;
        let deg = |degrees: f32| Angle::from_degrees(f64::from(degrees));
        let position = found.take(Input::Position, self.position.look(at, extrapolate), None);
        let height = found.take(
            Input::Height,
            self.height.look(at, extrapolate),
            assume.height_m.map(|m| Height::Takeoff(TakeoffHeight(f64::from(m)))),
        );
        let fixed = assume.camera_elevation_deg.map(|elevation| Gimbal::Platform {
            azimuth: deg(assume.camera_azimuth_deg.unwrap_or(0.0)),
            elevation: deg(elevation),
            roll: Angle::ZERO,
        });
        let gimbal = found.take(Input::Gimbal, self.gimbal.look(at, extrapolate), fixed);
        let level = Attitude { yaw: Angle::ZERO, pitch: Angle::ZERO, roll: Angle::ZERO };
        let platform = match gimbal.as_ref().map(|g| g.value) {
            Some(Gimbal::World(_)) => Some(Look::said(level)),
            _ => found.take(Input::Platform, self.platform.look(at, extrapolate), None),
        };
        let view = found.take(Input::FieldOfView, self.view.look(at, extrapolate), self.field_of_view);
        let (Some(position), Some(height), Some(gimbal), Some(platform), Some(view)) =
            (position, height, gimbal, platform, view)
        else {
            found.missing.sort_unstable();
            return Err(NoPose::Missing(found.missing));
        };
        found.ages.sort_unstable();
        found.assumed.sort_unstable();
        found.stale.sort_unstable();

        let base = &config.sigma;
        let jitter = f64::from(base.time_ms) / 1000.0;
        let (said_h, said_v) = self.accuracy.unwrap_or((0.0, 0.0));
        let all = |parts: &[f64]| parts.iter().map(|p| p * p).sum::<f64>().sqrt();
        // A way of so many metres, on each of two axes.
        let leapt = self.position.leapt(at) / std::f64::consts::SQRT_2;
        let turned = all(&[platform.growth(&ANGLE, jitter), gimbal.growth(&ANGLE, jitter)]);
        let angle = |degrees: f32| Angle::from_radians(all(&[deg(degrees).radians(), turned]));
        let sigma = PoseSigma {
            horizontal_m: all(&[
                f64::from(base.horizontal_m).max(said_h),
                position.growth(&POSITION, jitter),
                leapt,
            ]),
            vertical_m: all(&[
                f64::from(base.vertical_m).max(said_v),
                height.growth(&HEIGHT, jitter),
                self.height.leapt(at),
            ]),
            yaw: angle(base.yaw_deg),
            pitch: angle(base.pitch_deg),
            roll: angle(base.roll_deg),
            field_of_view: deg(base.field_of_view_deg),
        };
        let range = self.range.look(at, 0.0).filter(|look| look.age <= RANGE_AGE_S);
        Ok(Pose {
            time,
            position: position.value,
            height: height.value,
            platform: platform.value,
            gimbal: gimbal.value,
            field_of_view: view.value,
            slant_range_m: range.map(|look| look.value.0),
            ages: found.ages,
            assumed: found.assumed,
            stale: found.stale,
            sigma,
        })
    }
}

impl<S> Look<S> {
    /// Known without a message.
    fn said(value: S) -> Self {
        Self { value, age: 0.0, rate: 0.0, curve: 0.0, held: 0.0, doubted: false }
    }

    /// What age and movement add to the uncertainty.
    fn growth(&self, growth: &Growth, jitter: f64) -> f64 {
        let curve = growth.acceleration * self.curve;
        let held = self.rate.max(growth.drift) * self.held;
        (curve * curve + held * held + (self.rate * jitter).powi(2)).sqrt()
    }
}

/// What was found of the inputs of one pose.
#[derive(Default)]
struct Inputs {
    max_age: f64,
    ages: Vec<(Input, Duration)>,
    assumed: Vec<Input>,
    stale: Vec<Input>,
    missing: Vec<Input>,
}

impl Inputs {
    fn take<S>(&mut self, input: Input, look: Option<Look<S>>, assumed: Option<S>) -> Option<Look<S>> {
        if let Some(look) = look.filter(|look| look.age <= HISTORY.as_secs_f64()) {
            self.ages.push((input, Duration::from_secs_f64(look.age)));
            if look.doubted || look.age > self.max_age {
                self.stale.push(input);
            }
            return Some(look);
        }
        match assumed {
            Some(value) => {
                self.assumed.push(input);
                Some(Look::said(value))
            }
            None => {
                self.missing.push(input);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
