//! One frame being looked at: which shapes are which candidates, what that says of them, and what is told.

use jiff::Timestamp;
use uuid::Uuid;

use super::assign::{self, Pair};
use super::candidate::{Candidate, Facts, Observation, PASS_S, seconds};
use super::coverage::Viewpoint;
use super::evidence::{Beliefs, Sight};
use super::fuse::{self, Placed};
use super::ids::Ids;
use super::machine::{
    CoverageView, Find, Ground, Look, MAX_CANDIDATES, Mission, Outcome, SearchSetup, SearchStats, after,
};
use super::outline::Outline;
use super::word::{end, is_news, say};
use crate::event::{EndReason, PoseInput, PoseInputs, PositionMethod, Radiometry};
use crate::geo::{EllipsoidHeight, Geodetic, GroundFix, GroundMethod, Input, TangentPlane};
use crate::thermal::{PixelBox, ThermalDetector};

/// Shapes of one frame; the others are those of least score.
const MAX_FINDS: usize = 200;
/// Largest chip.
const MAX_CHIP_BYTES: usize = 16 * 1024;
/// Below this there is no evidence left: a candidate that was not told is forgotten, one that was ends.
const FORGET_BELOW: f64 = -2.0;
const END_BELOW: f64 = -0.5;
/// So many views without it, one after the other, and it is not there any more, whatever was seen before:
/// what half of all views show is missed by eight in one of 256.
const EMPTY_VIEWS: u32 = 8;
/// Something that moves is lost after this many seconds out of sight.
const LOST_S: f64 = 120.0;
/// Square of the Mahalanobis distance within which two may be one: 99.5 % of those that are.
const GATE: f64 = 10.6;
/// What leaving both alone costs, with the terms for size.
const GATE_COST: f64 = 14.0;
/// A candidate that was seen within so many seconds is where it was in the picture, but for its walking.
const TRACK_S: f64 = 1.5;
/// By so many of them is found out how far a gust has moved the picture.
const LEAST_MOVED: usize = 3;
/// After that what all frames err by drifts, too, metres a second.
const DRIFT: f64 = 0.3;
/// What was seen so often is a thing, which may be one that an earlier pass saw. Noise seldom comes
/// three times to one place.
const KNOWN_LOOKS: u32 = 3;
/// Square of the Mahalanobis distance within which two that were never seen at the same time are one: 99 % of
/// those that are, once the older one has been in view for [`KNOWN_LOOKS`] frames and might have been seen beside
/// the other; 78 % before that.
const SAME: f64 = 9.2;
const SURELY_SAME: f64 = 3.0;
/// The same for the outlines of one thing from different sides, 97 %.
const ALIKE: f64 = 9.0;
/// How well a shape's middle is known in the picture, pixels, and how fast people cross it, m/s.
const TRACK_PX: f64 = 3.0;
const TRACK_SPEED: f64 = 1.5;
/// A box that is nearer to the picture's edge may go on beyond it, pixels.
const EDGE_PX: f32 = 3.0;

/// One frame being looked at.
pub(super) struct Turn<'a, 'b> {
    pub(super) setup: &'a SearchSetup,
    pub(super) ids: &'a mut Ids,
    pub(super) stats: &'a mut SearchStats,
    pub(super) mission: &'a mut Mission,
    pub(super) look: &'a Look<'b>,
    pub(super) from: Viewpoint,
    /// Whether the camera's place is believed.
    pub(super) believed: bool,
    /// Whether it is known well enough to say what the picture does not show.
    pub(super) counts: bool,
    pub(super) out: Vec<Outcome>,
}

/// Where a candidate is in this picture.
#[derive(Clone, Copy)]
struct Glimpse {
    /// None: outside of it. It may be seen all the same, at the edge, because its place is not exact.
    pixel: Option<[f64; 2]>,
    line: [f64; 3],
    gsd_m: f64,
    /// Whether it is surely within the picture.
    within: bool,
}

impl Turn<'_, '_> {
    pub(super) fn take(&mut self, ground: &mut Ground, dt: f64) {
        let now = self.look.time;
        if self.counts {
            let footprint: Vec<[f64; 2]> =
                self.look.footprint.iter().map(|p| ground.plane.metres(*p)).collect();
            ground.grid.look(&footprint, &self.from);
        }
        let observations = if self.believed { self.observations(ground) } else { Vec::new() };
        let mut glimpses: Vec<Option<Glimpse>> = Vec::with_capacity(ground.candidates.len());
        for candidate in &mut ground.candidates {
            candidate.predict(now, dt);
            glimpses.push(self.glimpse(&ground.plane, candidate));
        }
        let matched = self.matched(ground, &observations, &glimpses);
        let before: Vec<(Uuid, Beliefs)> = ground.candidates.iter().map(|c| (c.id, c.beliefs)).collect();
        let mut used = vec![false; observations.len()];
        let mut seen: Vec<usize> = Vec::with_capacity(matched.len());
        let cos_view = self.setup.view_deg.to_radians().cos();
        let false_finds = self.setup.detectors.false_per_frame.max(ground.idle_finds).clamp(0.01, 100.0);
        let pixels = f64::from(self.look.picture[0]) * f64::from(self.look.picture[1]);
        let mut pairs = matched.iter().peekable();
        for (n, candidate) in ground.candidates.iter_mut().enumerate() {
            let pair = pairs.next_if(|(c, _)| *c == n);
            let Some(glimpse) = glimpses[n] else { continue };
            // Noise would have been found within the gate with this probability.
            let noise =
                |spread: f64| (false_finds * std::f64::consts::PI * GATE * spread / pixels.max(1.0)).min(0.5);
            if let Some((_, o)) = pair {
                let observation = &observations[*o];
                used[*o] = true;
                seen.push(n);
                candidate.in_view(now, glimpse.line, cos_view);
                let spread = match candidate.track {
                    Some(track) => track_variance(track.size_px, seconds(now, track.time), glimpse.gsd_m),
                    None => {
                        let both = fuse::add(&candidate.spread(now), &observation.placed.total());
                        fuse::determinant(&both).max(0.0).sqrt() / (glimpse.gsd_m * glimpse.gsd_m).max(1e-9)
                    }
                };
                candidate.beliefs.hit(&self.setup.detectors, &observation.sight, noise(spread));
                candidate.saw(now, observation, glimpse.line, glimpse.pixel);
                candidate.facts = self.facts(observation.method);
            } else if glimpse.within && self.counts {
                candidate.in_view(now, glimpse.line, cos_view);
                let spread = track_variance(candidate.track.map_or(8.0, |t| t.size_px), 0.0, glimpse.gsd_m);
                candidate.beliefs.miss(glimpse.gsd_m, noise(spread));
                candidate.misses += 1;
            }
        }
        let begun = self.begin(ground, &observations, &used, &before);
        ground.idle_finds += (begun as f64 - ground.idle_finds) * 0.02;
        for (k, a) in seen.iter().enumerate() {
            for b in &seen[k + 1..] {
                let (ia, ib) = (ground.candidates[*a].id, ground.candidates[*b].id);
                ground.candidates[*a].seen_with(ib);
                ground.candidates[*b].seen_with(ia);
            }
        }
        let known: Vec<usize> =
            (0..ground.candidates.len()).filter(|n| ground.candidates[*n].last_seen == now).collect();
        self.merge(ground, &known);
        let there = ground.candidates.iter().map(|c| c.id).collect();
        ground.candidates.iter_mut().for_each(|c| c.forget_gone(&there));
        self.tell(ground);
        if now >= ground.next_map {
            ground.next_map = after(now, self.setup.coverage);
            let grid = ground.grid.clone();
            let (mission, target) = (self.mission.id, self.mission.target);
            self.out.push(Outcome::Coverage(CoverageView { mission, target, until: now, last: false, grid }));
        }
    }

    /// The frame's shapes on the ground. What both detectors saw is one shape.
    fn observations(&mut self, ground: &Ground) -> Vec<Observation> {
        let mut finds: Vec<&Find> = self.look.finds.iter().filter(|f| f.hotspot.score.is_finite()).collect();
        // The network's first, each by falling score.
        finds.sort_by(|a, b| {
            let network = |f: &Find| f.hotspot.detector == ThermalDetector::Learned;
            network(b).cmp(&network(a)).then(b.hotspot.score.total_cmp(&a.hotspot.score))
        });
        let mut out: Vec<(Observation, PixelBox)> = Vec::new();
        for find in finds {
            let Some(fix) = &find.ground else {
                self.stats.unplaced += 1;
                continue;
            };
            let spot = &find.hotspot;
            let centre = spot.bbox.centre();
            if spot.detector == ThermalDetector::Hotspot {
                let same = |o: &&mut (Observation, PixelBox)| {
                    o.0.detectors[0]
                        && !o.0.detectors[1]
                        && (o.1.iou(&spot.bbox) > 0.3 || holds(&o.1, centre))
                };
                if let Some((known, _)) = out.iter_mut().find(same) {
                    known.detectors[1] = true;
                    known.sight.kelvin = known.sight.kelvin.or(spot.kelvin.filter(|_| self.look.radiometric));
                    continue;
                }
            }
            if out.len() == MAX_FINDS {
                self.stats.overflowed += 1;
                continue;
            }
            let Some(placed) = placed(&ground.plane, fix) else {
                self.stats.unplaced += 1;
                continue;
            };
            let size_px = f64::from(spot.bbox.area().max(0.25)).sqrt();
            let gsd_m = if fix.gsd_m > 0.0 { fix.gsd_m } else { self.from.pixel * fix.slant_range_m };
            let learned = spot.detector == ThermalDetector::Learned;
            let outline = spot.extent.and_then(|e| {
                let [length, width, peak] = [e.length, e.width, e.peak].map(f64::from);
                let form = [(length * gsd_m).ln(), (length / width).ln(), peak.ln()];
                form.iter().all(|x| x.is_finite()).then_some(Outline { form, width_px: width })
            });
            let sight = Sight {
                class: spot.class,
                score: spot.score,
                learned,
                size_m: size_px * gsd_m,
                outline,
                cut: self.is_cut(&spot.bbox),
                gsd_m,
                kelvin: spot.kelvin.filter(|k| self.look.radiometric && k.is_finite()),
            };
            let method = match fix.method {
                GroundMethod::Terrain => PositionMethod::Terrain,
                GroundMethod::Flat => PositionMethod::Flat,
                GroundMethod::RangeFinder => PositionMethod::RangeFinder,
                GroundMethod::Fused => PositionMethod::Fused,
            };
            let chip = find.chip.clone().filter(|c| self.setup.chips && c.len() <= MAX_CHIP_BYTES);
            let pixel = centre.map(f64::from);
            out.push((
                Observation { pixel, size_px, sight, detectors: [learned, !learned], placed, method, chip },
                spot.bbox,
            ));
        }
        out.into_iter().map(|(o, _)| o).collect()
    }

    /// Whether a box reaches the picture's edge.
    fn is_cut(&self, bbox: &PixelBox) -> bool {
        let [w, h] = self.look.picture.map(|side| side as f32);
        bbox.x < EDGE_PX
            || bbox.y < EDGE_PX
            || bbox.x + bbox.width > w - EDGE_PX
            || bbox.y + bbox.height > h - EDGE_PX
    }

    fn glimpse(&self, plane: &TangentPlane, candidate: &Candidate) -> Option<Glimpse> {
        let at = candidate.at();
        let line = self.line_to(at)?;
        let slant =
            (at[0] - self.from.camera[0]).hypot(at[1] - self.from.camera[1]).hypot(self.from.height_m);
        let gsd_m = self.from.pixel * slant;
        let place = Geodetic { at: plane.place(at), height: EllipsoidHeight(candidate.hae_m()) };
        let pixel = (self.look.pixel_of)(&place);
        let recent = candidate.track.is_some_and(|t| seconds(self.look.time, t.time).abs() <= TRACK_S);
        // A place that is not well known may be outside although its middle is not.
        let own = candidate.covariance();
        let margin = if recent {
            8.0
        } else {
            2.0 * ((own[0][0] + own[1][1]) / 2.0).max(0.0).sqrt() / gsd_m.max(1e-6)
        };
        let within = pixel.is_some_and(|pixel| {
            (0..2).all(|k| {
                let side = f64::from(self.look.picture[k]);
                let margin = margin.min(side / 4.0);
                (margin..=side - margin).contains(&pixel[k])
            })
        });
        Some(Glimpse { pixel, line, gsd_m, within })
    }

    /// The direction from the camera to a place on the ground.
    fn line_to(&self, at: [f64; 2]) -> Option<[f64; 3]> {
        let (e, n, u) = (at[0] - self.from.camera[0], at[1] - self.from.camera[1], -self.from.height_m);
        let slant = (e * e + n * n + u * u).sqrt();
        (slant.is_finite() && slant > 0.0).then(|| [e / slant, n / slant, u / slant])
    }

    /// Which observation is which candidate. A gust moves all shapes of a frame alike: by how much the first
    /// answer says, and the second does without it.
    fn matched(
        &self,
        ground: &Ground,
        observations: &[Observation],
        glimpses: &[Option<Glimpse>],
    ) -> Vec<(usize, usize)> {
        let answer = |shift: [f64; 2]| {
            let pairs = self.pairs(ground, observations, glimpses, shift);
            assign::assign(&pairs, ground.candidates.len(), observations.len(), GATE_COST)
        };
        let first = answer([0.0; 2]);
        let moved = first.iter().filter_map(|(c, o)| {
            let track = ground.candidates[*c].track?;
            let expected = glimpses[*c]?.pixel?;
            let fresh = seconds(self.look.time, track.time) <= TRACK_S;
            let pixel = observations[*o].pixel;
            fresh.then(|| [0, 1].map(|k| pixel[k] - expected[k] - track.offset[k]))
        });
        let moved: Vec<[f64; 2]> = moved.collect();
        if moved.len() < LEAST_MOVED {
            return first;
        }
        answer([0, 1].map(|k| {
            let mut along: Vec<f64> = moved.iter().map(|m| m[k]).collect();
            along.sort_by(f64::total_cmp);
            along[along.len() / 2]
        }))
    }

    /// Pairs that may be one, the picture being moved by `shift` against where it was expected.
    fn pairs(
        &self,
        ground: &Ground,
        observations: &[Observation],
        glimpses: &[Option<Glimpse>],
        shift: [f64; 2],
    ) -> Vec<Pair> {
        let now = self.look.time;
        let mut pairs = Vec::new();
        for (c, (candidate, glimpse)) in ground.candidates.iter().zip(glimpses).enumerate() {
            let Some(glimpse) = glimpse else { continue };
            // What an earlier pass saw is found again by `merge`.
            let since = seconds(now, candidate.last_seen);
            if !(0.0..=PASS_S).contains(&since) {
                continue;
            }
            let at = candidate.at();
            let track = candidate.track.zip(glimpse.pixel);
            let spread = candidate.spread(now);
            for (o, seen) in observations.iter().enumerate() {
                let (e, n) = (seen.placed.at[0] - at[0], seen.placed.at[1] - at[1]);
                let both = fuse::add(&spread, &seen.placed.total());
                let on_ground = fuse::mahalanobis2([e, n], &both);
                // What is known less well explains each shape worse.
                let (distance, vague) = match track {
                    // In the picture what all looks err by is gone; on the ground it only must not be absurd.
                    Some((track, pixel)) if on_ground < 5.0 * GATE => {
                        let off = [0, 1].map(|k| seen.pixel[k] - pixel[k] - track.offset[k] - shift[k]);
                        let [now, then] =
                            [since, 0.0].map(|age| track_variance(track.size_px, age, glimpse.gsd_m));
                        ((off[0] * off[0] + off[1] * off[1]) / now, (now / then).ln())
                    }
                    Some(_) => continue,
                    None => (on_ground, 1.0),
                };
                let size = (seen.sight.size_m.max(0.05) / candidate.size_m().max(0.05)).ln() / 0.8;
                let unlike = candidate.beliefs.unlike_sight(&seen.sight);
                let cost = distance + vague + (size * size).max(unlike);
                if distance < GATE && cost < GATE_COST {
                    pairs.push(Pair { candidate: c, observation: o, cost });
                }
            }
        }
        pairs
    }

    fn facts(&self, method: PositionMethod) -> Facts {
        let pose = self.look.pose;
        let name = |i: &Input| match i {
            Input::Position => PoseInput::Position,
            Input::Height => PoseInput::Height,
            Input::Platform => PoseInput::Platform,
            Input::Gimbal => PoseInput::Gimbal,
            Input::FieldOfView => PoseInput::FieldOfView,
        };
        let oldest = pose.ages.iter().map(|(_, age)| *age).max().unwrap_or_default();
        Facts {
            inputs: PoseInputs {
                assumed: pose.assumed.iter().map(name).collect(),
                stale: pose.stale.iter().map(name).collect(),
            },
            inputs_age_ms: u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX),
            method,
            radiometry: if self.look.radiometric {
                Radiometry::Radiometric
            } else {
                Radiometry::ContrastOnly
            },
            polarity: self.look.polarity,
        }
    }

    /// What is none of the known ones is a new one. How many that were.
    fn begin(
        &mut self,
        ground: &mut Ground,
        observations: &[Observation],
        used: &[bool],
        before: &[(Uuid, Beliefs)],
    ) -> usize {
        let mut begun = 0;
        let now = self.look.time;
        for (seen, _) in observations.iter().zip(used).filter(|(_, used)| !**used) {
            let Some(line) = self.line_to(seen.placed.at) else { continue };
            begun += 1;
            self.stats.begun += 1;
            self.mission.begun += 1;
            if ground.candidates.len() >= MAX_CANDIDATES {
                self.stats.crowded += 1;
                let least = (0..ground.candidates.len())
                    .min_by(|a, b| {
                        let key = |n: &usize| {
                            let c = &ground.candidates[*n];
                            (c.told.is_some(), c.beliefs.something())
                        };
                        key(a).0.cmp(&key(b).0).then(key(a).1.total_cmp(&key(b).1))
                    })
                    .unwrap_or(0);
                if ground.candidates[least].told.is_some() {
                    // All that there is room for was told: nothing of it is given up for what is new.
                    continue;
                }
                ground.candidates.remove(least);
            }
            let beliefs = Beliefs::started(&self.setup.detectors, &seen.sight);
            let id = self.ids.next(self.look.time);
            let facts = self.facts(seen.method);
            let mut new = Candidate::new(id, now, seen, line, beliefs, facts);
            let elders = ground.candidates.iter().filter(|c| {
                seconds(now, c.last_seen) > PASS_S && c.apart(&new).is_some_and(|(d, _)| d < 2.0 * SAME)
            });
            let elders = elders.filter_map(|c| before.iter().find(|(id, _)| *id == c.id).copied()).collect();
            new.set_elders(elders);
            // Seen beside all that were seen now: none of them is it.
            for other in ground.candidates.iter_mut().filter(|c| c.last_seen == self.look.time) {
                new.seen_with(other.id);
                other.seen_with(id);
            }
            ground.candidates.push(new);
        }
        begun
    }

    /// Candidates that are one: places that agree, and never seen beside each other. What an earlier pass saw is
    /// found again in this way alone, because on the ground the nearest shape of one frame is as soon noise as it.
    /// Where several may be one another they are paired so that all agree best.
    fn merge(&mut self, ground: &mut Ground, seen: &[usize]) {
        let now = self.look.time;
        let mut pairs: Vec<Pair> = Vec::new();
        for (o, &young) in seen.iter().enumerate() {
            let b = &ground.candidates[young];
            if b.looks < KNOWN_LOOKS {
                continue;
            }
            for (n, a) in ground.candidates.iter().enumerate() {
                // Two things in view are soon seen in one frame.
                let free = a.first_seen < b.first_seen
                    && (a.last_seen < b.first_seen || (a.last_seen < now && b.looks >= 8))
                    && !a.was_seen_with(b.id);
                let unlike = a.beliefs.unlike(&b.beliefs);
                if let Some((square, area)) = free.then(|| a.apart(b)).flatten()
                    && square < if a.beliefs.missed() >= KNOWN_LOOKS { SAME } else { SURELY_SAME }
                    && unlike < ALIKE
                {
                    // Of several the one whose place is known best; below what leaving both alone costs.
                    let cost = square + unlike + area.clamp(-6.0, 12.0) - 30.0;
                    pairs.push(Pair { candidate: n, observation: o, cost });
                }
            }
        }
        if pairs.is_empty() {
            return;
        }
        let one = assign::assign(&pairs, ground.candidates.len(), seen.len(), 2.0);
        let over: Vec<(Uuid, Uuid)> =
            one.iter().map(|(a, o)| (ground.candidates[*a].id, ground.candidates[seen[*o]].id)).collect();
        for (old, young) in over {
            let place = |id: Uuid, ground: &Ground| ground.candidates.iter().position(|c| c.id == id);
            let (Some(a), Some(b)) = (place(old, ground), place(young, ground)) else { continue };
            // Whatever was told keeps its name; of two that were told, the elder.
            let keep_old = ground.candidates[a].told.is_some() || ground.candidates[b].told.is_none();
            let (elder, younger) = (ground.candidates[a].clone(), ground.candidates[b].clone());
            let mut both = younger.clone().joined(&elder);
            let dropped = if keep_old {
                both = both.in_the_name_of(&elder);
                younger
            } else {
                elder
            };
            let place = Geodetic { at: ground.plane.place(both.at()), height: EllipsoidHeight(both.hae_m()) };
            both.expect((self.look.pixel_of)(&place));
            let kept = both.id;
            for other in &mut ground.candidates {
                if other.was_seen_with(dropped.id) {
                    other.seen_with(kept);
                }
            }
            ground.candidates[b] = both;
            ground.candidates.remove(a);
            if dropped.told.is_some() {
                end(
                    self.setup,
                    self.mission,
                    ground,
                    dropped,
                    (EndReason::Merged, Some(kept)),
                    &mut self.out,
                );
            }
        }
    }

    fn tell(&mut self, ground: &mut Ground) {
        let now = self.look.time;
        let threshold = ground.threshold(self.setup, self.mission.begun);
        ground.count_alike(self.mission.target, threshold);
        let mut n = 0;
        while n < ground.candidates.len() {
            let candidate = &ground.candidates[n];
            let something = candidate.beliefs.something();
            let over = match &candidate.told {
                None if something < FORGET_BELOW => {
                    ground.candidates.remove(n);
                    continue;
                }
                Some(_) if something < END_BELOW || candidate.beliefs.empty_views() >= EMPTY_VIEWS => {
                    Some(EndReason::OutOfEvidence)
                }
                Some(_) if candidate.movement().is_some() && seconds(now, candidate.last_seen) > LOST_S => {
                    Some(EndReason::Lost)
                }
                _ => None,
            };
            if let Some(reason) = over {
                let gone = ground.candidates.remove(n);
                end(self.setup, self.mission, ground, gone, (reason, None), &mut self.out);
                continue;
            }
            let due = match &candidate.told {
                None => is_due(candidate, threshold) && !may_be_known(&ground.candidates, candidate, now),
                Some(told) => {
                    let target = ground.target(self.setup, self.mission.target, threshold, candidate);
                    is_news(self.setup, target >= threshold, candidate, told, now)
                }
            };
            if due {
                say(self.setup, self.mission, ground, n, (now, threshold), &mut self.out);
            }
            n += 1;
        }
    }
}

/// Whether a candidate that was not told has the evidence for it, and was compared with those that were known.
pub(super) fn is_due(candidate: &Candidate, threshold: f64) -> bool {
    candidate.told.is_none() && candidate.looks >= KNOWN_LOOKS && candidate.beliefs.something() >= threshold
}

/// Whether a candidate of this pass may yet turn out to be one that was told: it lies where that does, and they were
/// never seen beside each other. Few looks have another place and outline than many.
fn may_be_known(all: &[Candidate], new: &Candidate, now: Timestamp) -> bool {
    seconds(now, new.first_seen) < PASS_S
        && all.iter().any(|c| {
            c.told.is_some()
                && c.first_seen < new.first_seen
                && !c.was_seen_with(new.id)
                && c.apart(new).is_some_and(|(square, _)| square < SAME)
        })
}

fn track_variance(size_px: f64, age_s: f64, gsd_m: f64) -> f64 {
    let (near, later) = (age_s.clamp(0.0, TRACK_S), (age_s - TRACK_S).max(0.0));
    let walked = (TRACK_SPEED * near + DRIFT * later) / gsd_m.max(1e-3);
    let middle = TRACK_PX + 0.25 * size_px;
    middle * middle + walked * walked
}

fn holds(outer: &PixelBox, at: [f32; 2]) -> bool {
    let (x, y) = (at[0] - outer.x, at[1] - outer.y);
    (0.0..=outer.width).contains(&x) && (0.0..=outer.height).contains(&y)
}

/// A fix on the plane; none if its numbers are none.
fn placed(plane: &TangentPlane, fix: &GroundFix) -> Option<Placed> {
    let (c, s) = (&fix.covariance, &fix.shared);
    let at = plane.metres(fix.position.at);
    // What is not shared is at least a tenth of a metre, and never less than nothing.
    let own = |i: usize| (c[i][i] - s[i][i]).max(0.01);
    let cross = c[0][1] - s[0][1];
    let most = 0.99 * (own(0) * own(1)).sqrt();
    let placed = Placed {
        at,
        own: [[own(0), cross.clamp(-most, most)], [cross.clamp(-most, most), own(1)]],
        shared: [[s[0][0].max(0.0), s[0][1]], [s[1][0], s[1][1].max(0.0)]],
        hae_m: fix.position.height.0,
        own_up: own(2),
        shared_up: s[2][2].max(0.0),
    };
    let sound = placed
        .at
        .iter()
        .chain(placed.own.iter().flatten())
        .chain(placed.shared.iter().flatten())
        .all(|x| x.is_finite())
        && placed.hae_m.is_finite()
        && fix.slant_range_m.is_finite()
        && fix.gsd_m.is_finite();
    sound.then_some(placed)
}
