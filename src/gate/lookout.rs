//! Looking for missing persons among those who walk by: which pictures of whom are embedded, when a
//! passer-by is looked up, and what of that is news. Pure, as the session is.
//!
//! # A pass
//!
//! A pass is one person's walk through the picture: one track of faces, cut where two templates do not
//! show one person. Of a pass the templates of its best few pictures are kept, no picture, and they are
//! looked up at most [`LOOKS`] times: once when there are enough or [`PATIENCE`] after the first, and once
//! more at its end if the pictures became better. Each look is a chance to take a stranger for somebody
//! else, so the rate of a pass is divided between them (the union bound, as in
//! [`session`](super::session)). When a pass is over everything of it is dropped, and drops overwrite.
//!
//! # A sighting
//!
//! A pass in which a missing person was recognised is told once: at once if it is known which way the
//! person goes, otherwise when it is, at the end of the pass or after [`HOLD`]. Whoever is recognised again
//! within `pass_gap` is in the same pass still, whatever the tracks say.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::people::Sighted;
use super::session::{Likeness, Seen};
use crate::event::Travel;

/// How often the people of one pass are looked up at most.
pub const LOOKS: u32 = crate::gallery::WATCH_LOOKS;
/// Whoever lingers is looked up this long after the first good picture.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// A sighting waits for its direction this long.
pub const HOLD: Duration = Duration::from_secs(2);
/// A face unseen for longer than this has left.
pub const GONE_AFTER: Duration = Duration::from_secs(1);
/// People in view who are told apart; others are not looked at until somebody has left.
const MAX_PASSES: usize = 32;
/// Recognised people who are remembered for `pass_gap`.
const MAX_RECENT: usize = 64;
/// A picture has to be so much better to take another one's place.
const BETTER: f32 = 1.1;
/// Growth of a face that says towards or away, and sideways movement in widths of the face that says left
/// or right.
const GROWTH: f32 = 1.25;
const ASIDE: f32 = 0.75;
/// Whoever has not moved for this long stays.
const STILL: Duration = Duration::from_secs(1);

/// What a lookout goes by.
#[derive(Clone, Copy, Debug)]
pub struct LookoutRules {
    /// Pictures of a pass that are fused.
    pub pictures: usize,
    /// Two pictures below this similarity do not show one person.
    pub same_person: f32,
    /// Whoever was not recognised for this long passes anew.
    pub pass_gap: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    x: f32,
    width: f32,
    at: Instant,
    time: Timestamp,
}

struct Pass<L> {
    key: u64,
    track: u64,
    first: Place,
    last: Place,
    best: Vec<(L, f32)>,
    first_good: Option<Instant>,
    looks: u32,
    /// The evidence is another one than at the last look.
    fresh: bool,
    /// Recognised, and when it was.
    sighted: Option<(Sighted, Instant)>,
    told: bool,
    over: bool,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Step<L> {
    /// Look this person up and say so with [`Lookout::answer`]; `first` is the pass's first look.
    LookUp {
        /// Names the pass.
        key: u64,
        /// The person.
        probe: L,
        /// Whether the pass was not looked up before.
        first: bool,
    },
    /// Tell that this person was seen.
    Tell(News),
}

/// A sighting.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// Whom.
    pub sighted: Sighted,
    /// When the pass began.
    pub first_seen: Timestamp,
    /// Its newest picture.
    pub last_seen: Timestamp,
    /// Which way.
    pub travel: Travel,
    /// Pictures in the template.
    pub pictures: u32,
}

/// The people in view of one camera.
pub struct Lookout<L> {
    rules: LookoutRules,
    passes: Vec<Pass<L>>,
    recent: Vec<(Uuid, Instant)>,
    next_key: u64,
    /// A pass was dropped since the last [`Lookout::take_left`].
    left: bool,
}

impl<L: Likeness> Lookout<L> {
    /// Nobody in view.
    pub fn new(rules: LookoutRules) -> Self {
        Self { rules, passes: Vec::new(), recent: Vec::new(), next_key: 0, left: false }
    }

    /// Whether anything is kept of anybody who was not recognised.
    pub fn is_empty(&self) -> bool {
        self.passes.is_empty()
    }

    /// Whether anybody has left since the last call: what models and buffers hold of them has to go.
    pub fn take_left(&mut self) -> bool {
        std::mem::take(&mut self.left)
    }

    /// A picture was looked at.
    pub fn picture(&mut self, at: Instant, time: Timestamp, faces: &[Seen]) {
        for face in faces.iter().filter(|f| f.width.is_finite() && f.width > 0.0) {
            let x = face.landmarks.iter().map(|p| p[0]).sum::<f32>() / 5.0;
            let place = Place { x, width: face.width, at, time };
            match self.passes.iter_mut().find(|p| p.track == face.track && !p.over) {
                Some(pass) => pass.last = place,
                None => self.begin(face.track, place),
            }
        }
        self.tick(at);
    }

    /// Lets time pass: whoever was not seen for a while has left.
    pub fn tick(&mut self, now: Instant) {
        for pass in &mut self.passes {
            pass.over |= now.saturating_duration_since(pass.last.at) > GONE_AFTER;
        }
        let gap = self.rules.pass_gap;
        self.recent.retain(|(_, at)| now.saturating_duration_since(*at) < gap);
    }

    /// Everybody has left: the camera serves somebody else, or the box stops.
    pub fn end(&mut self) {
        self.passes.iter_mut().for_each(|p| p.over = true);
    }

    /// Forgets everybody at once.
    pub fn clear(&mut self) {
        self.left |= !self.passes.is_empty();
        self.passes.clear();
    }

    fn begin(&mut self, track: u64, place: Place) {
        if self.passes.len() >= MAX_PASSES {
            return;
        }
        self.next_key += 1;
        self.passes.push(Pass {
            key: self.next_key,
            track,
            first: place,
            last: place,
            best: Vec::with_capacity(self.rules.pictures),
            first_good: None,
            looks: 0,
            fresh: false,
            sighted: None,
            told: false,
            over: false,
        });
    }

    /// Whether a picture of this track and rank is to be embedded.
    pub fn wants(&self, track: u64, rank: f32) -> bool {
        let Some(pass) = self.passes.iter().find(|p| p.track == track && !p.over) else { return false };
        // Whoever was recognised, or looked up for the last time, needs no more pictures.
        if pass.sighted.is_some() || pass.looks >= LOOKS {
            return false;
        }
        let worst = pass.best.iter().map(|(_, r)| *r).fold(f32::INFINITY, f32::min);
        pass.best.len() < self.rules.pictures || rank > worst * BETTER
    }

    /// The template of a picture that was wanted.
    pub fn template(&mut self, now: Instant, track: u64, rank: f32, template: L) {
        let same_person = self.rules.same_person;
        let Some(at) = self.passes.iter().position(|p| p.track == track && !p.over) else { return };
        let pass = &mut self.passes[at];
        if fused(&pass.best).is_some_and(|known| known.similarity(&template) < same_person) {
            // Another person took the first one's place in the track.
            pass.over = true;
            let place = pass.last;
            self.begin(track, place);
        }
        let most = self.rules.pictures;
        let Some(pass) = self.passes.iter_mut().find(|p| p.track == track && !p.over) else { return };
        pass.first_good.get_or_insert(now);
        if pass.best.len() >= most
            && let Some(worst) =
                (0..pass.best.len()).min_by(|&a, &b| pass.best[a].1.total_cmp(&pass.best[b].1))
        {
            pass.best.swap_remove(worst);
        }
        pass.best.push((template, rank.max(f32::MIN_POSITIVE)));
        pass.fresh = true;
    }

    /// What is to be done now; to be asked until there is nothing.
    pub fn step(&mut self, now: Instant) -> Option<Step<L>> {
        let pictures = self.rules.pictures;
        for pass in &mut self.passes {
            let waited = pass.first_good.is_some_and(|t| now.saturating_duration_since(t) >= PATIENCE);
            let due = pass.over || pass.looks == 0 && (pass.best.len() >= pictures || waited);
            if pass.fresh && pass.sighted.is_none() && pass.looks < LOOKS && due {
                pass.fresh = false;
                if let Some(probe) = fused(&pass.best) {
                    let first = pass.looks == 0;
                    pass.looks += 1;
                    return Some(Step::LookUp { key: pass.key, probe, first });
                }
            }
            let Some((sighted, at)) = pass.sighted.as_ref().filter(|_| !pass.told) else { continue };
            let travel = pass.travel();
            let moves = !matches!(travel, Travel::Unknown | Travel::Stayed);
            if moves || pass.over || now.saturating_duration_since(*at) >= HOLD {
                pass.told = true;
                let news = News {
                    sighted: sighted.clone(),
                    first_seen: pass.first.time,
                    last_seen: pass.last.time,
                    travel,
                    pictures: pass.best.len() as u32,
                };
                return Some(Step::Tell(news));
            }
        }
        let before = self.passes.len();
        let recent = &mut self.recent;
        self.passes.retain(|p| {
            if let (true, Some((sighted, _))) = (p.over, &p.sighted) {
                remember(recent, sighted.entry, p.last.at);
            }
            !p.over
        });
        self.left |= self.passes.len() < before;
        None
    }

    /// What came of looking a person up.
    pub fn answer(&mut self, now: Instant, key: u64, found: Option<Sighted>) {
        let Some(sighted) = found else { return };
        let known = self.recent.iter().any(|(entry, _)| *entry == sighted.entry)
            || self
                .passes
                .iter()
                .any(|p| p.key != key && p.sighted.as_ref().is_some_and(|(s, _)| s.entry == sighted.entry));
        remember(&mut self.recent, sighted.entry, now);
        if let Some(pass) = self.passes.iter_mut().find(|p| p.key == key) {
            pass.told = known;
            pass.sighted = Some((sighted, now));
        }
    }
}

fn remember(recent: &mut Vec<(Uuid, Instant)>, entry: Uuid, at: Instant) {
    match recent.iter_mut().find(|(known, _)| *known == entry) {
        Some((_, last)) => *last = (*last).max(at),
        None => {
            if recent.len() >= MAX_RECENT
                && let Some(oldest) = (0..recent.len()).min_by_key(|&i| recent[i].1)
            {
                recent.swap_remove(oldest);
            }
            recent.push((entry, at));
        }
    }
}

fn fused<L: Likeness>(best: &[(L, f32)]) -> Option<L> {
    let weighted: Vec<_> = best.iter().map(|(t, w)| (t, *w)).collect();
    if weighted.is_empty() { None } else { L::fuse(&weighted) }
}

impl<L> Pass<L> {
    fn travel(&self) -> Travel {
        let Place { x, width, at, .. } = self.first;
        let growth = (self.last.width / width).ln() / GROWTH.ln();
        let aside = (self.last.x - x) / ((self.last.width + width) / 2.0) / ASIDE;
        // `max` passes over what is not a number, which says nothing.
        let moved = growth.abs().max(aside.abs()) >= 1.0;
        if !moved {
            let watched = self.last.at.saturating_duration_since(at);
            return if watched >= STILL { Travel::Stayed } else { Travel::Unknown };
        }
        match (growth.abs() >= aside.abs(), growth > 0.0, aside > 0.0) {
            (true, true, _) => Travel::Towards,
            (true, false, _) => Travel::Away,
            (false, _, true) => Travel::Right,
            (false, _, false) => Travel::Left,
        }
    }
}

#[cfg(test)]
mod tests;
