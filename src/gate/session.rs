//! One verification as a pure state machine: observations in, one verdict out.
//!
//! No thread, no clock, no model: every call says what time it is. The station feeds it and does
//! what it asks for ([`Want`]).
//!
//! # Which pictures count
//!
//! A picture counts when one person stands out in it: the second-largest face has less than
//! `dominance` of the largest one's width. The largest face is the guest. The evidence is of one
//! track; when the guest's track changes it starts over, and so it does when a picture's template
//! is not the same person's as those before (a swap within a track): two people are never
//! averaged. The first `first_look` good pictures are embedded as they come, because the guest
//! waits; after them only the best picture of every [`SLOT`].
//!
//! # How often it looks
//!
//! The live template is compared with the portrait at most twice in a session: early, after
//! `first_look` good pictures, at a tenth of the site's false match rate, and last, after
//! `last_look` pictures, [`PATIENCE`] after the first good one, or when the time runs out, at nine
//! tenths of it. A stranger who passes must pass one of the two, so by the union bound
//! P(false match) ≤ 0.1·FMR + 0.9·FMR = FMR, however much the looks depend on each other. A look
//! that was spent stays spent when the evidence starts over, whoever stands there then.
//!
//! With a presentation check nothing is compared before the check is passed, so the person who is
//! compared is the one who passed it, and an attacker learns nothing about the comparison first.

use std::time::{Duration, Instant};

use super::presentation::{Challenge, Landmarks, Side, Step};
use crate::event::{Check, CheckName, Outcome, Reason};

/// After the first `first_look` pictures, the best picture of each such time is embedded.
pub const SLOT: Duration = Duration::from_millis(120);
/// The last look comes at most this long after the first good picture, if there are enough.
pub const PATIENCE: Duration = Duration::from_millis(1_000);
/// A camera that is not live may come back for this long before the answer is `error`: the
/// longest wait between two attempts of the capture supervisor. A clerk rather waits a moment
/// than sends the guest through again, but not for a camera that is gone.
pub const CAMERA_GRACE: Duration = Duration::from_millis(1_500);
/// Turned pictures that must show the same person before the presentation check is passed, and
/// that must not before it is failed.
const TURNED_TEMPLATES: u32 = 2;

/// What stands for a face: compared and fused, never looked into.
pub trait Likeness: Sized {
    /// Cosine similarity, −1 to 1.
    fn similarity(&self, other: &Self) -> f32;
    /// The weighted mean; `None` when nothing is left of it.
    fn fuse(weighted: &[(&Self, f32)]) -> Option<Self>;
}

/// What a session goes by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Good pictures before the early look.
    pub first_look: u32,
    /// Good pictures before the last look; at least `first_look`.
    pub last_look: u32,
    /// The second-largest face may have less than this share of the largest one's width.
    pub dominance: f32,
    /// Similarity that passes the early look; none if the calibration knows no stricter rate.
    pub early: Option<f32>,
    /// Similarity that passes the last look.
    pub last: f32,
    /// Two live pictures below this similarity do not show one person.
    pub same_person: f32,
    /// The presentation check: which side, how many degrees.
    pub turn: Option<(Side, f32)>,
}

/// One face in a picture.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its track.
    pub track: u64,
    /// Width of its box, pixels.
    pub width: f32,
    /// Its landmarks.
    pub landmarks: Landmarks,
}

/// How good the guest's face is in a picture.
#[derive(Clone, Copy, Debug)]
pub struct Grade {
    /// Orders pictures; above zero. Also the picture's weight.
    pub rank: f32,
    /// Why the picture cannot be compared, the gravest first.
    pub shortfall: Option<Reason>,
}

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Part of the live template.
    Evidence,
    /// Proof that the turned head is still the same person's.
    Turned,
}

/// What the session asks its station to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing: the next picture.
    Nothing,
    /// Embed the guest's face of this picture, then call [`Session::template`].
    Embed(Use),
    /// Hold this picture in place of the one held: it is the best of its time.
    Hold,
    /// Embed the picture that is held, drop it, then call [`Session::template`] as evidence.
    EmbedHeld,
}

/// What the guest has to do, for whoever shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Instruction {
    /// Look into the camera and hold still.
    LookAhead,
    /// Turn the head to the own left.
    TurnLeft,
    /// Turn the head to the own right.
    TurnRight,
    /// The movement was seen.
    Done,
}

/// The comparison that decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// Cosine similarity.
    pub score: f32,
    /// What it was compared with.
    pub threshold: f32,
    /// Live pictures in it.
    pub pictures: u32,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The outcome.
    pub outcome: Outcome,
    /// Every check, in the order of [`CheckName`].
    pub checks: Vec<Check>,
    /// Present once a look decided.
    pub compared: Option<Compared>,
}

enum Portrait<L> {
    Awaited,
    Ready(L),
    Unusable(Reason),
    /// Nothing is compared here: the pictures are gathered for a search.
    NotWanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presentation {
    NotAsked,
    Open,
    Passed,
    Failed(Reason),
}

#[derive(Debug, Default)]
struct Tally {
    empty: u32,
    crowded: u32,
    single: u32,
    shortfalls: Vec<(Reason, u32)>,
}

impl Tally {
    fn shortfall(&mut self, reason: Reason) {
        match self.shortfalls.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, n)) => *n += 1,
            None => self.shortfalls.push((reason, 1)),
        }
    }

    fn worst(&self) -> Option<Reason> {
        self.shortfalls.iter().max_by_key(|(_, n)| *n).map(|(r, _)| *r)
    }
}

/// Why [`Session::run_out`] is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ran {
    Time,
    Camera,
    Fault,
}

/// One verification.
pub struct Session<L> {
    rules: Rules,
    decide_by: Instant,
    portrait: Portrait<L>,
    down_since: Option<Instant>,
    tally: Tally,
    guest: Option<u64>,
    landmarks: Option<Landmarks>,
    evidence: Vec<(L, f32)>,
    first_good: Option<Instant>,
    held: Option<(Instant, f32)>,
    early_spent: bool,
    challenge: Option<Challenge>,
    presentation: Presentation,
    turned: (u32, u32),
    instruction: Option<Instruction>,
    pending_rank: f32,
    verdict: Option<Verdict>,
    gathered: Option<Vec<Check>>,
}

impl<L: Likeness> Session<L> {
    /// A session that compares nothing: its pictures are gathered until there are `last_look` of them,
    /// or [`PATIENCE`] after the first good one, and then [`Session::gathered`] has the checks. It has a verdict
    /// only where it failed.
    pub fn gathering(rules: Rules, now: Instant, decide_by: Instant, camera_live: bool) -> Self {
        let rules = Rules { early: None, ..rules };
        Self { portrait: Portrait::NotWanted, ..Self::new(rules, now, decide_by, camera_live) }
    }

    /// The checks of a gathering session that has what it wants.
    pub fn gathered(&self) -> Option<&[Check]> {
        self.gathered.as_deref()
    }

    /// What was gathered: the template, and how many pictures are in it.
    pub fn into_gathered(self) -> Option<(L, u32)> {
        let pictures = self.evidence.len() as u32;
        self.fused().map(|template| (template, pictures))
    }

    /// Begins at `now`; the verdict is there at `decide_by` at the latest.
    pub fn new(rules: Rules, now: Instant, decide_by: Instant, camera_live: bool) -> Self {
        let challenge = rules.turn.map(|(side, degrees)| Challenge::new(side, degrees));
        Self {
            decide_by,
            portrait: Portrait::Awaited,
            down_since: (!camera_live).then_some(now),
            tally: Tally::default(),
            guest: None,
            landmarks: None,
            evidence: Vec::with_capacity(rules.last_look as usize),
            first_good: None,
            held: None,
            early_spent: rules.early.is_none(),
            presentation: if challenge.is_some() { Presentation::Open } else { Presentation::NotAsked },
            instruction: challenge.as_ref().map(|_| Instruction::LookAhead),
            challenge,
            turned: (0, 0),
            pending_rank: 0.0,
            verdict: None,
            gathered: None,
            rules,
        }
    }

    /// The verdict, once there is one. It does not change any more.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// The templates of the guest and of the reference, the guest's track, and nothing else that
    /// was seen: for whoever watches on after the verdict.
    pub fn into_known(self) -> (Vec<L>, Option<u64>) {
        let live = self.fused();
        let reference = match self.portrait {
            Portrait::Ready(reference) => Some(reference),
            Portrait::Awaited | Portrait::Unusable(_) | Portrait::NotWanted => None,
        };
        (live.into_iter().chain(reference).collect(), self.guest)
    }

    /// An instruction that the guest has not been given yet.
    pub fn take_instruction(&mut self) -> Option<Instruction> {
        self.instruction.take()
    }

    /// Whether the portrait is still awaited.
    pub fn awaits_portrait(&self) -> bool {
        matches!(self.portrait, Portrait::Awaited)
    }

    /// The next moment at which [`Session::tick`] has something to do, nothing else happening.
    pub fn wake(&self) -> Instant {
        let down = self.down_since.map(|t| t + CAMERA_GRACE);
        let held = self.held.map(|(t, _)| t + SLOT);
        let ready = self.may_look() && !self.awaits_portrait();
        let patience = self.first_good.filter(|_| ready).map(|t| t + PATIENCE);
        [down, held, patience].into_iter().flatten().fold(self.decide_by, Instant::min)
    }

    /// The portrait's template, or why there is none.
    pub fn portrait(&mut self, now: Instant, portrait: Result<L, Reason>) {
        if self.verdict.is_some() || !self.awaits_portrait() {
            return;
        }
        match portrait {
            Ok(template) => {
                self.portrait = Portrait::Ready(template);
                self.look(now);
            }
            Err(reason) => {
                self.portrait = Portrait::Unusable(reason);
                let outcome = match reason {
                    Reason::PortraitNoFace
                    | Reason::PortraitSeveralFaces
                    | Reason::PortraitTooSmall
                    | Reason::PortraitPoor => Outcome::PoorQuality,
                    _ => Outcome::Error,
                };
                self.finish(outcome, None, Reason::EarlierCheckFailed);
            }
        }
    }

    /// The camera's state changed, or is what it was.
    pub fn camera(&mut self, now: Instant, live: bool) {
        self.down_since = if live { None } else { self.down_since.or(Some(now)) };
    }

    /// Something inside the box broke: ends the session.
    pub fn fault(&mut self, now: Instant) {
        self.run_out(now, Ran::Fault);
    }

    /// A picture was looked at, with these faces in it. Returns the guest's face, whose quality
    /// [`Session::grade`] wants next; `None` when nobody stands out.
    pub fn picture(&mut self, now: Instant, faces: &[Seen]) -> Option<usize> {
        if self.tick(now) == Want::EmbedHeld {
            // The station ticks before every picture; a caller that does not loses the held one.
            self.held = None;
        }
        if self.verdict.is_some() {
            return None;
        }
        self.down_since = None;
        let usable = |s: &Seen| s.width.is_finite() && s.width > 0.0;
        let largest = (0..faces.len())
            .filter(|&i| usable(&faces[i]))
            .max_by(|&a, &b| faces[a].width.total_cmp(&faces[b].width));
        let Some(largest) = largest else {
            self.tally.empty += 1;
            return None;
        };
        let limit = faces[largest].width * self.rules.dominance;
        if faces.iter().enumerate().any(|(i, s)| i != largest && s.width >= limit) {
            self.tally.crowded += 1;
            return None;
        }
        self.tally.single += 1;
        if self.guest.is_some_and(|g| g != faces[largest].track) {
            self.start_over();
        }
        self.guest = Some(faces[largest].track);
        self.landmarks = Some(faces[largest].landmarks);
        Some(largest)
    }

    /// How good the guest's face is in the picture just seen.
    pub fn grade(&mut self, now: Instant, grade: Grade) -> Want {
        let Some(landmarks) = self.landmarks.take() else { return Want::Nothing };
        if self.verdict.is_some() {
            return Want::Nothing;
        }
        let turning =
            self.challenge.as_ref().is_some_and(Challenge::asked) && self.presentation == Presentation::Open;
        match grade.shortfall {
            Some(Reason::TurnedAway) if turning => {}
            Some(reason) => {
                self.tally.shortfall(reason);
                return Want::Nothing;
            }
            None => {}
        }
        self.pending_rank = grade.rank.max(f32::MIN_POSITIVE);
        if self.presentation == Presentation::Open
            && let Some(want) = self.movement(now, &landmarks)
        {
            return want;
        }
        self.look(now);
        if self.verdict.is_some() || grade.shortfall.is_some() {
            return Want::Nothing;
        }
        let have = self.evidence.len();
        if have >= self.rules.last_look as usize || (turning && have >= self.rules.first_look as usize) {
            return Want::Nothing;
        }
        if have < self.rules.first_look as usize {
            return Want::Embed(Use::Evidence);
        }
        match self.held {
            Some((_, rank)) if rank >= self.pending_rank => Want::Nothing,
            Some((since, _)) => {
                self.held = Some((since, self.pending_rank));
                Want::Hold
            }
            None => {
                self.held = Some((now, self.pending_rank));
                Want::Hold
            }
        }
    }

    /// Lets time pass: may ask for the held picture, may end the session.
    pub fn tick(&mut self, now: Instant) -> Want {
        if self.verdict.is_some() {
            return Want::Nothing;
        }
        if now >= self.decide_by {
            self.run_out(now, Ran::Time);
        } else if self.down_since.is_some_and(|t| now.saturating_duration_since(t) >= CAMERA_GRACE) {
            self.run_out(now, Ran::Camera);
        } else if let Some((since, rank)) = self.held
            && now.saturating_duration_since(since) >= SLOT
        {
            self.held = None;
            self.pending_rank = rank;
            return Want::EmbedHeld;
        } else {
            self.look(now);
        }
        Want::Nothing
    }

    /// The template that was asked for; `None` if the model could make nothing of the picture.
    pub fn template(&mut self, now: Instant, purpose: Use, template: Option<L>) {
        if self.verdict.is_some() {
            return;
        }
        let Some(template) = template else { return };
        let same = match self.fused() {
            Some(known) => known.similarity(&template) >= self.rules.same_person,
            None => true,
        };
        match purpose {
            Use::Evidence => {
                if !same {
                    let guest = self.guest;
                    self.start_over();
                    self.guest = guest;
                }
                if self.evidence.len() < self.rules.last_look as usize {
                    self.first_good.get_or_insert(now);
                    self.evidence.push((template, self.pending_rank));
                }
            }
            Use::Turned if same => self.turned.0 += 1,
            Use::Turned => self.turned.1 += 1,
        }
        self.settle_presentation();
        self.look(now);
    }

    fn fused(&self) -> Option<L> {
        let weighted: Vec<_> = self.evidence.iter().map(|(t, w)| (t, *w)).collect();
        if weighted.is_empty() { None } else { L::fuse(&weighted) }
    }

    /// Another person, or perhaps: nothing of the evidence counts any more. Looks stay spent.
    fn start_over(&mut self) {
        self.evidence.clear();
        self.first_good = None;
        self.held = None;
        self.guest = None;
        if let Some(challenge) = &mut self.challenge
            && self.presentation != Presentation::NotAsked
        {
            challenge.restart();
            self.presentation = Presentation::Open;
            self.turned = (0, 0);
            self.instruction = Some(Instruction::LookAhead);
        }
    }

    /// Feeds the presentation check; `Some` when it wants the picture for itself.
    fn movement(&mut self, now: Instant, landmarks: &Landmarks) -> Option<Want> {
        let challenge = self.challenge.as_mut()?;
        let asked = challenge.asked();
        let step = challenge.see(now, landmarks);
        match step {
            Step::Ask => {
                self.instruction = Some(match challenge.side() {
                    Side::Left => Instruction::TurnLeft,
                    Side::Right => Instruction::TurnRight,
                });
            }
            Step::LookAhead if asked => self.instruction = Some(Instruction::LookAhead),
            Step::Flat => {
                self.presentation = Presentation::Failed(Reason::MovedAsFlat);
                self.finish(Outcome::PresentationAttackSuspected, None, Reason::EarlierCheckFailed);
                return Some(Want::Nothing);
            }
            _ => {}
        }
        self.settle_presentation();
        let wanted = matches!(step, Step::Turned | Step::Performed)
            && self.presentation == Presentation::Open
            && !self.evidence.is_empty();
        wanted.then_some(Want::Embed(Use::Turned))
    }

    fn settle_presentation(&mut self) {
        if self.presentation != Presentation::Open || self.verdict.is_some() {
            return;
        }
        let performed = self.challenge.as_ref().is_some_and(Challenge::performed);
        if self.turned.1 >= TURNED_TEMPLATES {
            self.presentation = Presentation::Failed(Reason::FaceChanged);
            self.finish(Outcome::PresentationAttackSuspected, None, Reason::EarlierCheckFailed);
        } else if performed && self.turned.0 >= TURNED_TEMPLATES {
            self.presentation = Presentation::Passed;
            self.instruction = Some(Instruction::Done);
        }
    }

    fn may_look(&self) -> bool {
        self.evidence.len() >= (self.rules.first_look as usize).max(1)
            && matches!(self.presentation, Presentation::NotAsked | Presentation::Passed)
    }

    /// Looks, if a look is due.
    fn look(&mut self, now: Instant) {
        if self.verdict.is_some() || self.gathered.is_some() || !self.may_look() {
            return;
        }
        if !self.early_spent
            && let Some(early) = self.rules.early
            && let Some(score) = self.score()
        {
            self.early_spent = true;
            if score >= early {
                self.decide(Outcome::Match, score, early);
                return;
            }
        }
        let enough = self.evidence.len() >= self.rules.last_look as usize;
        let waited = self.first_good.is_some_and(|t| now.saturating_duration_since(t) >= PATIENCE);
        if enough || waited {
            self.last_look();
        }
    }

    fn last_look(&mut self) {
        if matches!(self.portrait, Portrait::NotWanted) {
            self.gathered = Some(self.checks(None, None, Reason::NotRequested));
            return;
        }
        if let Some(score) = self.score() {
            let outcome = if score >= self.rules.last { Outcome::Match } else { Outcome::NoMatch };
            self.decide(outcome, score, self.rules.last);
        }
    }

    /// The similarity of evidence and portrait. What is not a number matches nobody.
    fn score(&self) -> Option<f32> {
        let Portrait::Ready(portrait) = &self.portrait else { return None };
        let score = self.fused()?.similarity(portrait);
        Some(if score.is_finite() { score } else { -1.0 })
    }

    fn decide(&mut self, outcome: Outcome, score: f32, threshold: f32) {
        let pictures = self.evidence.len() as u32;
        self.finish(outcome, Some(Compared { score, threshold, pictures }), Reason::EarlierCheckFailed);
    }

    /// No more pictures will come: answer with what is there.
    fn run_out(&mut self, now: Instant, why: Ran) {
        if self.verdict.is_some() {
            return;
        }
        if why != Ran::Fault && self.may_look() {
            self.last_look();
            if self.verdict.is_some() || self.gathered.is_some() {
                return;
            }
        }
        let good_enough = self.evidence.len() >= (self.rules.first_look as usize).max(1);
        let (single, crowded) = (self.tally.single, self.tally.crowded);
        let (outcome, rest) = match why {
            Ran::Fault => (Outcome::Error, Reason::InternalFault),
            Ran::Camera => (Outcome::Error, Reason::EarlierCheckFailed),
            Ran::Time if self.tally.empty + crowded + single == 0 => {
                (Outcome::Error, Reason::EarlierCheckFailed)
            }
            Ran::Time if good_enough => (Outcome::Timeout, Reason::DeadlineReached),
            Ran::Time if single + crowded == 0 => (Outcome::NoFace, Reason::EarlierCheckFailed),
            Ran::Time if crowded >= single => (Outcome::MultipleFaces, Reason::EarlierCheckFailed),
            Ran::Time if self.tally.worst().is_some() => (Outcome::PoorQuality, Reason::EarlierCheckFailed),
            Ran::Time => (Outcome::Timeout, Reason::DeadlineReached),
        };
        if why == Ran::Camera {
            self.down_since.get_or_insert(now);
        }
        self.finish(outcome, None, rest);
    }

    /// Writes the verdict. `rest` is the reason of every check that was not come to.
    fn finish(&mut self, outcome: Outcome, compared: Option<Compared>, rest: Reason) {
        let checks = self.checks(Some(outcome), compared, rest);
        self.verdict = Some(Verdict { outcome, checks, compared });
    }

    /// Every check; without an `outcome` nothing failed and nothing was compared.
    fn checks(&self, outcome: Option<Outcome>, compared: Option<Compared>, rest: Reason) -> Vec<Check> {
        use CheckName::{
            Camera, Document, FaceComparison, FaceQuality, LiveFace, PresentationAttack, ReferencePortrait,
        };
        let later = |name| Check::not_checked(name, rest);
        let looked = self.tally.empty + self.tally.crowded + self.tally.single;
        let good_enough = self.evidence.len() >= (self.rules.first_look as usize).max(1);
        let portrait_faulty = matches!(self.portrait, Portrait::Unusable(_));

        let portrait = match &self.portrait {
            Portrait::Ready(_) => Check::pass(ReferencePortrait),
            Portrait::NotWanted => Check::not_checked(ReferencePortrait, Reason::NotRequested),
            Portrait::Awaited if rest == Reason::InternalFault => later(ReferencePortrait),
            Portrait::Awaited => Check::not_checked(ReferencePortrait, Reason::DeadlineReached),
            Portrait::Unusable(r @ (Reason::InternalFault | Reason::NotRequested)) => {
                Check::not_checked(ReferencePortrait, *r)
            }
            Portrait::Unusable(reason) => Check::fail(ReferencePortrait, *reason),
        };
        let camera_down = self.down_since.is_some() && outcome == Some(Outcome::Error) && !portrait_faulty;
        let camera = if camera_down || (looked == 0 && rest != Reason::InternalFault && !portrait_faulty) {
            Check::fail(Camera, Reason::CameraUnavailable)
        } else if looked > 0 {
            Check::pass(Camera)
        } else {
            later(Camera)
        };
        let live_face = match outcome {
            Some(Outcome::NoFace) => Check::fail(LiveFace, Reason::NoFaceSeen),
            Some(Outcome::MultipleFaces) => Check::fail(LiveFace, Reason::SeveralPeople),
            _ if self.tally.single > 0 => Check::pass(LiveFace),
            _ => later(LiveFace),
        };
        let quality = match (good_enough, outcome, self.tally.worst()) {
            (true, ..) => Check::pass(FaceQuality),
            (false, Some(Outcome::PoorQuality), Some(reason)) if !portrait_faulty => {
                Check::fail(FaceQuality, reason)
            }
            _ => later(FaceQuality),
        };
        let presentation = match self.presentation {
            Presentation::NotAsked => Check::not_checked(PresentationAttack, Reason::NotRequested),
            Presentation::Passed => Check::pass(PresentationAttack),
            Presentation::Failed(reason) => Check::fail(PresentationAttack, reason),
            Presentation::Open if outcome == Some(Outcome::Timeout) => {
                Check::not_checked(PresentationAttack, Reason::ChallengeNotPerformed)
            }
            Presentation::Open => later(PresentationAttack),
        };
        let comparison = match (outcome, compared) {
            (Some(Outcome::Match), Some(_)) => Check::pass(FaceComparison),
            (Some(Outcome::NoMatch), Some(_)) => Check::fail(FaceComparison, Reason::BelowThreshold),
            _ => later(FaceComparison),
        };
        let document = Check::not_checked(Document, Reason::NotRequested);
        vec![document, portrait, camera, live_face, quality, presentation, comparison]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::CheckStatus;
    use proptest::prelude::*;
    use std::cell::Cell;

    thread_local! {
        /// How often something was compared with the portrait.
        static LOOKS: Cell<u32> = const { Cell::new(0) };
    }

    /// A direction in the plane; `portrait` ones count who is compared with them.
    #[derive(Clone, Debug)]
    struct Person {
        at: [f32; 2],
        portrait: bool,
    }

    impl Person {
        /// Somebody whose similarity to the portrait is `similarity`.
        fn like(similarity: f32) -> Self {
            Self { at: [similarity, (1.0 - similarity * similarity).max(0.0).sqrt()], portrait: false }
        }

        fn portrait() -> Self {
            Self { at: [1.0, 0.0], portrait: true }
        }
    }

    impl Likeness for Person {
        fn similarity(&self, other: &Self) -> f32 {
            if other.portrait {
                LOOKS.with(|n| n.set(n.get() + 1));
            }
            self.at[0] * other.at[0] + self.at[1] * other.at[1]
        }

        fn fuse(weighted: &[(&Self, f32)]) -> Option<Self> {
            let mut at = [0.0f32; 2];
            for (p, w) in weighted {
                at[0] += p.at[0] * w;
                at[1] += p.at[1] * w;
            }
            let length = at[0].hypot(at[1]);
            (length > 0.0).then(|| Self { at: at.map(|v| v / length), portrait: false })
        }
    }

    fn rules() -> Rules {
        Rules {
            first_look: 2,
            last_look: 6,
            dominance: 0.7,
            early: Some(0.45),
            last: 0.37,
            same_person: 0.4,
            turn: None,
        }
    }

    /// A head of average depth, turned by `yaw` degrees; flat if `depth` is 0.
    fn landmarks(yaw: f32, depth: f32) -> Landmarks {
        let (s, c) = yaw.to_radians().sin_cos();
        let p = |x: f32, y: f32, z: f32| [640.0 + 80.0 * (x * c + z * s), 360.0 + 80.0 * y];
        [p(-0.5, -0.5, 0.0), p(0.5, -0.5, 0.0), p(0.0, 0.05, depth), p(-0.4, 0.55, 0.0), p(0.4, 0.55, 0.0)]
    }

    struct Play {
        session: Session<Person>,
        now: Instant,
        end: Instant,
        heard: Vec<Instruction>,
    }

    const GOOD: Grade = Grade { rank: 1.0, shortfall: None };
    const EVERY: Duration = Duration::from_millis(40);

    impl Play {
        fn new(rules: Rules) -> Self {
            let now = Instant::now();
            let end = now + Duration::from_secs(3);
            Self { session: Session::new(rules, now, end, true), now, end, heard: Vec::new() }
        }

        fn with_portrait(rules: Rules) -> Self {
            let mut play = Self::new(rules);
            play.session.portrait(play.now, Ok(Person::portrait()));
            play
        }

        /// One picture, 40 ms after the last one, as a station would handle it.
        fn picture(&mut self, seen: &[Seen], grade: Grade, person: &Person) {
            self.now += EVERY;
            let want = self.session.tick(self.now);
            self.obey(want, person);
            if self.session.picture(self.now, seen).is_some() {
                let want = self.session.grade(self.now, grade);
                self.obey(want, person);
            }
        }

        fn obey(&mut self, want: Want, person: &Person) {
            let purpose = match want {
                Want::Embed(purpose) => purpose,
                Want::EmbedHeld => Use::Evidence,
                Want::Nothing | Want::Hold => return self.listen(),
            };
            self.session.template(self.now, purpose, Some(person.clone()));
            self.listen();
        }

        fn listen(&mut self) {
            self.heard.extend(self.session.take_instruction());
        }

        fn alone(&mut self, track: u64, person: &Person) {
            self.picture(&[seen(track, 100.0)], GOOD, person);
        }

        fn until_the_end(mut self, mut each: impl FnMut(&mut Self)) -> (Verdict, Duration, Vec<Instruction>) {
            let begin = self.now;
            while self.session.verdict().is_none() {
                assert!(self.now <= self.end + EVERY, "no verdict by the deadline");
                each(&mut self);
            }
            (self.session.verdict().unwrap().clone(), self.now - begin, self.heard)
        }
    }

    fn seen(track: u64, width: f32) -> Seen {
        Seen { track, width, landmarks: landmarks(0.0, 0.4) }
    }

    fn check(v: &Verdict, name: CheckName) -> (CheckStatus, Option<Reason>) {
        let c = v.checks.iter().find(|c| c.name == name).unwrap();
        (c.status, c.reason)
    }

    fn fails(v: &Verdict, name: CheckName, reason: Reason) {
        assert_eq!(check(v, name), (CheckStatus::Fail, Some(reason)), "{v:?}");
    }

    #[test]
    fn a_clear_match_takes_the_first_two_pictures() {
        let me = Person::like(0.8);
        let (v, after, _) = Play::with_portrait(rules()).until_the_end(|p| p.alone(1, &me));
        assert_eq!((v.outcome, v.compared.unwrap().pictures), (Outcome::Match, 2));
        assert_eq!(after, EVERY * 2);
        assert_eq!(v.compared.unwrap().threshold, 0.45);
    }

    #[test]
    fn between_the_lines_it_takes_the_last_look() {
        let me = Person::like(0.41);
        let (v, after, _) = Play::with_portrait(rules()).until_the_end(|p| p.alone(1, &me));
        assert_eq!((v.outcome, v.compared.unwrap().threshold), (Outcome::Match, 0.37));
        assert!(after > EVERY * 6 && after < Duration::from_millis(1_100), "{after:?}");
    }

    #[test]
    fn a_stranger_is_looked_at_twice_and_refused() {
        LOOKS.with(|n| n.set(0));
        let (v, after, _) = Play::with_portrait(rules()).until_the_end(|p| p.alone(1, &Person::like(0.1)));
        assert_eq!(v.outcome, Outcome::NoMatch);
        fails(&v, CheckName::FaceComparison, Reason::BelowThreshold);
        assert_eq!(LOOKS.with(Cell::get), 2);
        assert!(after < Duration::from_millis(1_100), "{after:?}");
    }

    #[test]
    fn one_guest_after_another_is_never_averaged() {
        let (a, b) = (Person::like(0.98), Person::like(0.0));
        // One picture of the right person, by track, then by face alone, then the wrong one's.
        for track_of_b in [2, 1] {
            let mut play = Play::with_portrait(rules());
            play.alone(1, &a);
            let (v, ..) = play.until_the_end(|p| p.alone(track_of_b, &b));
            assert_eq!(v.outcome, Outcome::NoMatch);
            assert!(v.compared.unwrap().score < 0.01, "A's picture counted");
        }
    }

    #[test]
    fn looks_stay_spent_when_people_take_turns() {
        LOOKS.with(|n| n.set(0));
        let stranger = Person::like(0.3);
        let mut i = 0;
        let (v, ..) = Play::with_portrait(rules()).until_the_end(|p| {
            i += 1;
            // A new track every three pictures: two are enough for an early look.
            p.alone(i / 3, &stranger);
        });
        assert_eq!(v.outcome, Outcome::NoMatch);
        assert!(LOOKS.with(Cell::get) <= 2);
    }

    #[test]
    fn the_box_does_not_choose_between_two_people() {
        let me = Person::like(0.9);
        let (v, after, _) = Play::with_portrait(rules())
            .until_the_end(|p| p.picture(&[seen(1, 100.0), seen(2, 71.0)], GOOD, &me));
        assert_eq!(v.outcome, Outcome::MultipleFaces);
        fails(&v, CheckName::LiveFace, Reason::SeveralPeople);
        assert!(after >= Duration::from_secs(3), "it waits for one of them to leave");
        let (v, ..) = Play::with_portrait(rules())
            .until_the_end(|p| p.picture(&[seen(2, 69.0), seen(1, 100.0)], GOOD, &me));
        assert_eq!(v.outcome, Outcome::Match);
    }

    #[test]
    fn nobody_poor_pictures_and_no_pictures_are_told_apart() {
        let me = Person::like(0.9);
        let (v, ..) = Play::with_portrait(rules()).until_the_end(|p| p.picture(&[], GOOD, &me));
        assert_eq!(v.outcome, Outcome::NoFace);
        fails(&v, CheckName::LiveFace, Reason::NoFaceSeen);

        let blurred = Grade { rank: 0.1, shortfall: Some(Reason::Blurred) };
        let (v, ..) =
            Play::with_portrait(rules()).until_the_end(|p| p.picture(&[seen(1, 90.0)], blurred, &me));
        assert_eq!(v.outcome, Outcome::PoorQuality);
        fails(&v, CheckName::FaceQuality, Reason::Blurred);

        let (v, ..) = Play::with_portrait(rules()).until_the_end(|p| {
            p.now += EVERY;
            p.session.tick(p.now);
        });
        assert_eq!(v.outcome, Outcome::Error);
        fails(&v, CheckName::Camera, Reason::CameraUnavailable);
    }

    #[test]
    fn a_lost_camera_gets_a_moment_and_no_more() {
        let (v, after, _) = Play::with_portrait(rules()).until_the_end(|p| {
            p.now += EVERY;
            p.session.camera(p.now, false);
            p.session.tick(p.now);
        });
        assert_eq!(v.outcome, Outcome::Error);
        fails(&v, CheckName::Camera, Reason::CameraUnavailable);
        assert!(after < CAMERA_GRACE + EVERY * 3, "{after:?}");

        let me = Person::like(0.9);
        let mut play = Play::with_portrait(rules());
        play.session.camera(play.now, false);
        play.now += Duration::from_millis(1_400);
        assert_eq!(play.until_the_end(|p| p.alone(1, &me)).0.outcome, Outcome::Match);
    }

    #[test]
    fn portraits_that_cannot_be_used_say_why() {
        for (reason, outcome) in [
            (Reason::PortraitUnreadable, Outcome::Error),
            (Reason::PortraitNoFace, Outcome::PoorQuality),
            (Reason::PortraitSeveralFaces, Outcome::PoorQuality),
            (Reason::PortraitTooSmall, Outcome::PoorQuality),
            (Reason::PortraitPoor, Outcome::PoorQuality),
        ] {
            let mut play = Play::new(rules());
            play.session.portrait(play.now, Err(reason));
            let v = play.session.verdict().unwrap();
            assert_eq!(v.outcome, outcome);
            fails(v, CheckName::ReferencePortrait, reason);
            assert_eq!(check(v, CheckName::Camera).0, CheckStatus::NotChecked);
        }
        // One that never comes.
        let (v, ..) = Play::new(rules()).until_the_end(|p| p.alone(1, &Person::like(0.9)));
        assert_eq!(v.outcome, Outcome::Timeout);
        assert_eq!(
            check(&v, CheckName::ReferencePortrait),
            (CheckStatus::NotChecked, Some(Reason::DeadlineReached))
        );
    }

    /// A guest who is asked to turn left and does `yaw(i)` in picture `i` since being asked.
    fn turning(
        depth: f32,
        person: impl Fn(f32) -> Person,
        yaw: impl Fn(usize) -> f32,
    ) -> (Verdict, Duration, Vec<Instruction>) {
        let mut asked = None::<usize>;
        let mut i = 0;
        let rules = Rules { turn: Some((Side::Left, 18.0)), ..rules() };
        Play::with_portrait(rules).until_the_end(|p| {
            i += 1;
            if asked.is_none() && p.heard.contains(&Instruction::TurnLeft) {
                asked = Some(i);
            }
            let now = asked.map_or(0.0, |at| yaw(i - at));
            let seen = Seen { track: 1, width: 100.0, landmarks: landmarks(now, depth) };
            let shortfall = (now.abs() > 30.0).then_some(Reason::TurnedAway);
            p.picture(&[seen], Grade { rank: 1.0, shortfall }, &person(now));
        })
    }

    fn gently(i: usize) -> f32 {
        (i as f32 * 4.0).min(40.0)
    }

    #[test]
    fn whoever_turns_as_asked_is_compared_then() {
        let (v, _, heard) = turning(0.4, |_| Person::like(0.8), gently);
        assert_eq!(v.outcome, Outcome::Match, "{v:?}");
        assert_eq!(check(&v, CheckName::PresentationAttack).0, CheckStatus::Pass);
        assert_eq!(heard, [Instruction::LookAhead, Instruction::TurnLeft, Instruction::Done]);
        let (v, ..) = turning(0.4, |_| Person::like(0.1), gently);
        assert_eq!(v.outcome, Outcome::NoMatch);
    }

    #[test]
    fn whoever_does_not_turn_is_not_compared() {
        for yaw in [|_| 0.0, |i| -gently(i)] as [fn(usize) -> f32; 2] {
            LOOKS.with(|n| n.set(0));
            let (v, ..) = turning(0.4, |_| Person::like(0.9), yaw);
            assert_eq!(v.outcome, Outcome::Timeout);
            assert_eq!(
                check(&v, CheckName::PresentationAttack),
                (CheckStatus::NotChecked, Some(Reason::ChallengeNotPerformed))
            );
            assert_eq!((LOOKS.with(Cell::get), v.compared), (0, None));
        }
    }

    #[test]
    fn a_turned_picture_is_suspected() {
        let (v, ..) = turning(0.0, |_| Person::like(0.9), gently);
        assert_eq!(v.outcome, Outcome::PresentationAttackSuspected);
        fails(&v, CheckName::PresentationAttack, Reason::MovedAsFlat);
    }

    #[test]
    fn another_face_on_the_turned_head_is_suspected() {
        let swap = |yaw: f32| if yaw > 15.0 { Person::like(0.0) } else { Person::like(0.98) };
        let (v, ..) = turning(0.4, swap, gently);
        assert_eq!(v.outcome, Outcome::PresentationAttackSuspected);
        fails(&v, CheckName::PresentationAttack, Reason::FaceChanged);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Wait(u16),
        Picture { faces: Vec<(u64, f32)>, yaw: f32, depth: f32, rank: f32, poor: bool, like: f32 },
        Portrait(bool),
        Camera(bool),
        NoTemplate,
        Fault,
    }

    fn op() -> impl Strategy<Value = Op> {
        let width = prop_oneof![Just(f32::NAN), Just(0.0), 1.0f32..400.0];
        let picture = (
            proptest::collection::vec((0u64..3, width), 0..4),
            -45.0f32..45.0,
            prop_oneof![Just(0.0f32), Just(0.4)],
            prop_oneof![Just(f32::NAN), Just(-1.0), 0.0f32..2.0],
            proptest::bool::weighted(0.2),
            prop_oneof![Just(f32::NAN), -1.0f32..1.0, 0.85f32..1.0],
        )
            .prop_map(|(faces, yaw, depth, rank, poor, like)| Op::Picture {
                faces,
                yaw,
                depth,
                rank,
                poor,
                like,
            });
        let steady = (0.5f32..1.0, -5.0f32..30.0).prop_map(|(like, yaw)| Op::Picture {
            faces: vec![(0, 100.0)],
            yaw,
            depth: 0.4,
            rank: 1.0,
            poor: false,
            like,
        });
        prop_oneof![
            4 => (0u16..400).prop_map(Op::Wait),
            8 => picture,
            16 => steady,
            2 => proptest::bool::weighted(0.8).prop_map(Op::Portrait),
            1 => any::<bool>().prop_map(Op::Camera),
            1 => Just(Op::NoTemplate),
            1 => proptest::bool::weighted(0.05).prop_map(|f| if f { Op::Fault } else { Op::Wait(1) }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_course_of_events_ends_once_in_time_and_never_in_an_unearned_match(
            ops in proptest::collection::vec(op(), 0..120),
            turn in any::<bool>(),
            early in any::<bool>(),
            first in 1u32..4,
            more in 0u32..4,
            live in any::<bool>(),
        ) {
            LOOKS.with(|n| n.set(0));
            let rules = Rules {
                first_look: first,
                last_look: first + more,
                early: early.then_some(0.45),
                turn: turn.then_some((Side::Left, 18.0)),
                ..rules()
            };
            let begin = Instant::now();
            let end = begin + Duration::from_millis(2_850);
            let mut now = begin;
            let mut session = Session::<Person>::new(rules.clone(), now, end, live);
            let mut first_verdict = None;
            let mut person = Person::like(0.9);
            for op in ops {
                now += Duration::from_millis(33);
                let mut want = session.tick(now);
                match op {
                    Op::Wait(ms) => now += Duration::from_millis(ms.into()),
                    Op::Portrait(true) => session.portrait(now, Ok(Person::portrait())),
                    Op::Portrait(false) => session.portrait(now, Err(Reason::PortraitNoFace)),
                    Op::Camera(live) => session.camera(now, live),
                    Op::NoTemplate => session.template(now, Use::Evidence, None),
                    Op::Fault => session.fault(now),
                    Op::Picture { faces, yaw, depth, rank, poor, like } => {
                        if let Want::Embed(_) | Want::EmbedHeld = want {
                            session.template(now, Use::Evidence, Some(person.clone()));
                        }
                        let faces: Vec<_> = faces
                            .into_iter()
                            .map(|(track, width)| Seen { track, width, landmarks: landmarks(yaw, depth) })
                            .collect();
                        person = Person::like(like);
                        want = Want::Nothing;
                        if session.picture(now, &faces).is_some() {
                            let shortfall = poor.then_some(Reason::Blurred);
                            want = session.grade(now, Grade { rank, shortfall });
                        }
                    }
                }
                match want {
                    Want::Embed(purpose) => session.template(now, purpose, Some(person.clone())),
                    Want::EmbedHeld => session.template(now, Use::Evidence, Some(person.clone())),
                    Want::Nothing | Want::Hold => {}
                }
                prop_assert!(session.wake() <= end);
                if let Some(verdict) = session.verdict() {
                    let first = first_verdict.get_or_insert_with(|| verdict.clone());
                    prop_assert_eq!(&*first, verdict, "the verdict changed");
                }
            }
            session.tick(now.max(end));
            let verdict = session.verdict().expect("no verdict at the deadline");
            if let Some(first) = first_verdict {
                prop_assert_eq!(&first, verdict);
            }
            let names: Vec<_> = verdict.checks.iter().map(|c| c.name).collect();
            prop_assert_eq!(&names[..], &crate::gate::CHECKS[..]);
            for c in &verdict.checks {
                prop_assert_eq!(c.status == CheckStatus::Pass, c.reason.is_none());
            }
            prop_assert!(LOOKS.with(Cell::get) <= 1 + u32::from(early), "more looks than the rate was split for");
            let passed = |name| check(verdict, name).0 == CheckStatus::Pass;
            if verdict.outcome == Outcome::Match {
                use CheckName::*;
                for name in [ReferencePortrait, Camera, LiveFace, FaceQuality, FaceComparison] {
                    prop_assert!(passed(name), "{name:?} of {verdict:?}");
                }
                let compared = verdict.compared.unwrap();
                prop_assert!(compared.score >= compared.threshold && compared.threshold >= rules.last);
                prop_assert!(compared.pictures >= first);
                if turn {
                    prop_assert!(passed(PresentationAttack));
                } else {
                    let why = (CheckStatus::NotChecked, Some(Reason::NotRequested));
                    prop_assert_eq!(check(verdict, PresentationAttack), why);
                }
            } else {
                prop_assert!(!passed(CheckName::FaceComparison));
            }
        }
    }
}
