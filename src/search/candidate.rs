//! One thing on the ground: what is believed of it, where it is, and what was told about it.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::evidence::Beliefs;
use super::fuse::{self, M2, Moving, Placed, Still};
use crate::event::{
    DetectionState, DetectorName, PoseInputs, PositionMethod, Radiometry, SearchDetection, TargetClass,
    ThermalPolarity,
};

/// Seconds without being in view after which a look is one of a new pass.
pub(super) const PASS_S: f64 = 10.0;
/// What can be one of two places is no more than this far apart, metres: nobody is recognised by a place that
/// nobody knows.
const VAGUE_M: f64 = 25.0;
/// Square of the Mahalanobis distance beyond which something is not where it was: one still thing in 3,000.
const MOVED: f64 = 16.0;
/// What moves is taken to go on as it did for this long out of sight, seconds.
const COAST_S: f64 = 3.0;
/// Nothing on the ground is followed that is faster, m/s.
const FASTEST: f64 = 40.0;

/// Seconds from `earlier` to `later`; negative if they are the other way round.
pub(super) fn seconds(later: Timestamp, earlier: Timestamp) -> f64 {
    later.duration_since(earlier).as_secs_f64()
}

/// One warm shape of one frame, on the ground.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    pub(super) pixel: [f64; 2],
    /// Side of a square of its box, pixels.
    pub(super) size_px: f64,
    pub(super) sight: super::evidence::Sight,
    pub(super) detectors: [bool; 2],
    pub(super) placed: Placed,
    pub(super) method: PositionMethod,
    pub(super) chip: Option<Arc<[u8]>>,
}

/// Where in the picture it was last, against where its place was expected to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Track {
    pub(super) time: Timestamp,
    pub(super) pixel: [f64; 2],
    /// Seen minus expected: the shared error, in pixels.
    pub(super) offset: [f64; 2],
    pub(super) size_px: f64,
}

/// What was told last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) time: Timestamp,
    pub(super) ce90_m: f64,
    pub(super) class: TargetClass,
    pub(super) likelihood: f64,
    pub(super) is_target: bool,
    pub(super) at: [f64; 2],
    /// Whether it was seen since.
    pub(super) seen_since: bool,
}

/// Facts of the frame in which it was seen last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) inputs: PoseInputs,
    pub(super) inputs_age_ms: u64,
    pub(super) method: PositionMethod,
    pub(super) radiometry: Radiometry,
    pub(super) polarity: Option<ThermalPolarity>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Candidate {
    pub(super) id: Uuid,
    pub(super) beliefs: Beliefs,
    still: Still,
    moving: Moving,
    /// Whether it moves, as far as was seen.
    moves: bool,
    /// Its first place in this pass, with what that may be off by, and the line of sight to it.
    first: ([f64; 2], M2),
    first_line: [f64; 3],
    /// When this pass began, and how often it was seen since.
    pass: (Timestamp, u32),
    pub(super) first_seen: Timestamp,
    pub(super) last_seen: Timestamp,
    /// When its place was last in view, and the line of sight with which this view began.
    last_in_view: Timestamp,
    view_line: [f64; 3],
    pub(super) looks: u32,
    pub(super) misses: u32,
    size_m: f64,
    pub(super) warmest_k: Option<f64>,
    detectors: [bool; 2],
    pub(super) facts: Facts,
    /// Others that were seen in one frame with it, and so are not it.
    seen_with: BTreeSet<Uuid>,
    /// Those of earlier passes that it may be, with what was believed of each when this one was first seen: what
    /// they were missed by since is no evidence against them if they are it.
    #[serde(skip)]
    elders: Vec<(Uuid, Beliefs)>,
    pub(super) told: Option<Told>,
    /// What was told last, for the export; absent while nothing was.
    pub(super) last_word: Option<Box<SearchDetection>>,
    #[serde(skip)]
    pub(super) track: Option<Track>,
    #[serde(skip)]
    pub(super) chip: Option<(f32, Arc<[u8]>)>,
}

impl Candidate {
    pub(super) fn new(
        id: Uuid,
        time: Timestamp,
        seen: &Observation,
        line: [f64; 3],
        beliefs: Beliefs,
        facts: Facts,
    ) -> Self {
        let first = (seen.placed.at, seen.placed.shared);
        let mut new = Self {
            id,
            beliefs,
            still: Still::new(&seen.placed),
            moving: Moving::new(&seen.placed),
            moves: false,
            first,
            first_line: line,
            pass: (time, 1),
            first_seen: time,
            last_seen: time,
            last_in_view: time,
            view_line: line,
            looks: 1,
            misses: 0,
            size_m: seen.sight.size_m,
            warmest_k: None,
            detectors: [false; 2],
            facts,
            seen_with: BTreeSet::new(),
            elders: Vec::new(),
            told: None,
            last_word: None,
            track: None,
            chip: None,
        };
        // Its place is where it was seen.
        new.note(time, seen, Some(seen.pixel));
        new
    }

    /// Where it is now: on the plane, and its height.
    pub(super) fn at(&self) -> [f64; 2] {
        if self.moves { self.moving.at() } else { self.still.at() }
    }

    pub(super) fn hae_m(&self) -> f64 {
        self.still.hae_m()
    }

    pub(super) fn up_variance(&self) -> f64 {
        self.still.up_variance()
    }

    fn own(&self) -> M2 {
        if self.moves { self.moving.own() } else { self.still.own() }
    }

    /// Covariance of its place.
    pub(super) fn covariance(&self) -> M2 {
        fuse::add(&self.own(), &self.still.shared())
    }

    /// Covariance of the difference between its place and that of another look; something that was not seen
    /// for a while may have moved a little without being known to.
    pub(super) fn spread(&self, now: Timestamp) -> M2 {
        let roamed = if self.moves { 0.0 } else { (0.3 * seconds(now, self.last_seen)).clamp(0.0, 3.0) };
        fuse::add(&self.covariance(), &[[roamed * roamed, 0.0], [0.0, roamed * roamed]])
    }

    pub(super) fn movement(&self) -> Option<([f64; 2], f64)> {
        self.moves.then(|| (self.moving.speed(), self.moving.speed_variance().max(0.0).sqrt()))
    }

    pub(super) fn size_m(&self) -> f64 {
        self.size_m
    }

    pub(super) fn detectors(&self) -> Vec<DetectorName> {
        [DetectorName::Learned, DetectorName::Hotspot]
            .into_iter()
            .zip(self.detectors)
            .filter_map(|(name, saw)| saw.then_some(name))
            .collect()
    }

    /// Its place is in view at `now`, along `line` (a unit vector from the camera). Whether this look is one
    /// of a new view is noted.
    pub(super) fn in_view(&mut self, now: Timestamp, line: [f64; 3], cos_view: f64) {
        let dot: f64 = (0..3).map(|k| line[k] * self.view_line[k]).sum();
        if dot < cos_view || seconds(now, self.last_in_view).abs() > PASS_S {
            self.beliefs.next_view();
            self.view_line = line;
        }
        self.last_in_view = now;
    }

    /// Moves on to `now`. What is out of sight may have gone anywhere: its place stays where it was seen, and is
    /// known less and less.
    pub(super) fn predict(&mut self, now: Timestamp, dt: f64) {
        if seconds(now, self.last_seen) <= COAST_S {
            self.moving.predict(dt);
        } else {
            self.moving.wander(dt);
        }
    }

    /// It was seen as `seen`; `expected` is where in the picture its place is, if it is in it.
    pub(super) fn saw(
        &mut self,
        now: Timestamp,
        seen: &Observation,
        line: [f64; 3],
        expected: Option<[f64; 2]>,
    ) {
        let since = seconds(now, self.last_seen).max(0.0);
        if since > PASS_S && !self.moves {
            // Between passes other errors than its walking displace it: motion is what one pass shows.
            self.moving = Moving::new(&seen.placed);
            self.first = (seen.placed.at, seen.placed.shared);
            (self.first_line, self.pass) = (line, (now, 0));
        } else {
            self.moving.update(&seen.placed, since);
        }
        self.pass.1 += 1;
        if !self.moves {
            self.still.add(&seen.placed, since);
            self.moves = self.has_moved(now, line, &seen.placed);
        } else if self.has_stopped() {
            self.moves = false;
            self.still = Still::new(&seen.placed);
            self.first = (seen.placed.at, seen.placed.shared);
            (self.first_line, self.pass) = (line, (now, 0));
        }
        self.looks += 1;
        self.note(now, seen, expected);
        self.last_seen = now;
        if let Some(told) = &mut self.told {
            told.seen_since = true;
        }
    }

    fn note(&mut self, now: Timestamp, seen: &Observation, expected: Option<[f64; 2]>) {
        self.track = expected.map(|expected| Track {
            time: now,
            pixel: seen.pixel,
            offset: [seen.pixel[0] - expected[0], seen.pixel[1] - expected[1]],
            size_px: seen.size_px,
        });
        // The nearest looks show the size best; a slow mean forgets a box that was cut off.
        self.size_m += (seen.sight.size_m - self.size_m) * 0.2;
        if let Some(k) = seen.sight.kelvin.map(f64::from) {
            self.warmest_k = Some(self.warmest_k.map_or(k, |old| old + (k - old) * 0.2));
        }
        for (all, saw) in self.detectors.iter_mut().zip(seen.detectors) {
            *all |= saw;
        }
        if let Some(chip) = &seen.chip
            && self.chip.as_ref().is_none_or(|(score, _)| *score < seen.sight.score)
        {
            self.chip = Some((seen.sight.score, chip.clone()));
        }
    }

    /// Whether it is farther from where this pass saw it first than errors make it. An error that turns with
    /// the line of sight or with the drone moves the place of what lies still: it is allowed for as the line has
    /// turned, and wholly after twenty seconds.
    fn has_moved(&self, now: Timestamp, line: [f64; 3], look: &Placed) -> bool {
        let age = seconds(now, self.pass.0);
        let [ve, vn] = self.moving.speed();
        let speed = ve.hypot(vn);
        let sure = self.moving.speed_variance().max(1e-6).sqrt();
        if !(age > 2.0 && self.pass.1 >= 8 && speed < FASTEST && speed > 3.0 * sure) {
            return false;
        }
        let cosine: f64 = (0..3).map(|k| line[k] * self.first_line[k]).sum();
        let turned = (2.0 * (1.0 - cosine) + age / 20.0).min(1.0);
        let shared = fuse::add(&self.first.1, &look.shared);
        let spread = (shared[0][0] + shared[1][1]) / 2.0 * turned + 0.25;
        let own = fuse::add(&look.own, &self.moving.own());
        let allowed = fuse::add(&own, &[[spread, 0.0], [0.0, spread]]);
        let at = self.moving.at();
        fuse::mahalanobis2([at[0] - self.first.0[0], at[1] - self.first.0[1]], &allowed) > MOVED
    }

    /// Whether what moved stands.
    fn has_stopped(&self) -> bool {
        let [ve, vn] = self.moving.speed();
        ve.hypot(vn) < self.moving.speed_variance().max(1e-6).sqrt()
    }

    /// Whether its place agrees with that of `other`: the square of the Mahalanobis distance, and the logarithm of
    /// the area in which both would. None where one is too vague to be told from anything else.
    pub(super) fn apart(&self, other: &Self) -> Option<(f64, f64)> {
        let both = fuse::add(&self.covariance(), &other.covariance());
        let area = fuse::determinant(&both).max(1e-6);
        let (a, b) = (self.at(), other.at());
        let square = fuse::mahalanobis2([a[0] - b[0], a[1] - b[1]], &both);
        (area.sqrt() < VAGUE_M * VAGUE_M).then(|| (square, area.ln()))
    }

    /// What was believed of those that it may be, when it was first seen.
    pub(super) fn set_elders(&mut self, elders: Vec<(Uuid, Beliefs)>) {
        self.elders = elders;
    }

    /// The same thing as `elder`, which was first seen earlier: one record of both. The place is that of all looks.
    /// Looks of different times are evidence together; where the two were seen by turns, the stronger of
    /// the records stands, because both may rest on the same sights. The name and what was told are the
    /// caller's to choose.
    pub(super) fn joined(mut self, elder: &Self) -> Self {
        let before = self.elders.iter().find(|(id, _)| *id == elder.id).map(|(_, beliefs)| *beliefs);
        self.beliefs = if elder.last_seen < self.first_seen {
            before.unwrap_or(elder.beliefs).and_then(&self.beliefs)
        } else if elder.beliefs.something() > self.beliefs.something() {
            elder.beliefs
        } else {
            self.beliefs
        };
        if !self.moves && !elder.moves {
            self.still = self.still.joined(&elder.still);
        }
        for (all, saw) in self.detectors.iter_mut().zip(elder.detectors) {
            *all |= saw;
        }
        self.seen_with.extend(&elder.seen_with);
        self.first_seen = elder.first_seen;
        self.looks += elder.looks;
        self.misses += elder.misses;
        self.elders.clear();
        self
    }

    /// Known from now on by the name of `other`, and as what was told of it.
    pub(super) fn in_the_name_of(self, other: &Self) -> Self {
        Self { id: other.id, told: other.told.clone(), last_word: other.last_word.clone(), ..self }
    }

    /// Where its place is expected now in the picture in which it was seen last.
    pub(super) fn expect(&mut self, expected: Option<[f64; 2]>) {
        self.track = self.track.zip(expected).map(|(track, expected)| Track {
            offset: [track.pixel[0] - expected[0], track.pixel[1] - expected[1]],
            ..track
        });
    }

    pub(super) fn was_seen_with(&self, other: Uuid) -> bool {
        self.seen_with.contains(&other)
    }

    pub(super) fn seen_with(&mut self, other: Uuid) {
        self.seen_with.insert(other);
    }

    /// Forgets those that are no candidates any more, once they are more than the others.
    pub(super) fn forget_gone(&mut self, there: &BTreeSet<Uuid>) {
        if self.seen_with.len() > 2 * there.len() {
            self.seen_with.retain(|other| there.contains(other));
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.beliefs.is_sound() && self.still.is_sound() && self.moving.at().iter().all(|x| x.is_finite())
    }

    pub(super) fn state(&self) -> DetectionState {
        if self.told.is_some() { DetectionState::Update } else { DetectionState::New }
    }
}
