//! The doors of a box as one pure state machine: what was read, what the gallery and the camera
//! said, what time it is; out come decisions.
//!
//! No thread, no clock, no disk. All doors are in one machine because a card can be at two of them.
//!
//! # A session
//!
//! A credential begins a session at a door ([`Doorman::arrive`]). Whoever holds it is looked up,
//! and [`Doorman::admit`] makes every check that needs no face; what stands then is a decision, a
//! look through the camera, or, for people who decline it, a question to staff. The same
//! credential read again meanwhile, or just after, is the same session: readers repeat
//! themselves, and a card that is held a moment too long is neither passed back nor a new try.
//!
//! # What is remembered
//!
//! Failures per person and the side of the zone a person is on. Each is a [`Change`], which
//! whoever runs the machine makes durable before it tells the decision: a restart gives nobody new
//! tries. A grant forgives the failures. A person fails by another face, by a picture of one, by
//! and by a reader's no, not by standing badly or walking away. PINs can be guessed by trying, and
//! a guess has no person: they are counted per door, and then only PINs are refused there.
//!
//! # Passing back
//!
//! Whoever went into a zone by a credential and has not come out is not let in by it again, until
//! `forgive` is over. The way out is never barred by this: a box must not keep people in.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::session::Verdict;
use crate::base::Name;
use crate::config::{DoorConfig, Fallback, Way};
use crate::event::{
    Check, CheckName, CheckStatus, EquipmentRead, GateOutcome, Means, Movement, Outcome, ReadKind, Reason,
};

/// A credential read again this soon after its decision is the reader repeating itself.
const REPEAT: Duration = Duration::from_secs(2);
/// Equipment read this long before a credential belongs to its session.
pub const CLAIM: Duration = Duration::from_secs(10);
/// Equipment that stays within a reader's reach is told once until it was away for this long.
const AWAY: Duration = Duration::from_secs(60);
/// A session of which nothing was heard for this long after its window is lost.
const LOST: Duration = Duration::from_secs(3);
/// A watch that ended in time is heard of before its passage is over.
const SLACK: Duration = Duration::from_millis(500);
/// Sessions at a door that are looked up or wait for staff.
pub const MAX_SESSIONS: usize = 16;
/// Tags of one session, or without one.
pub const MAX_TAGS: usize = 256;
/// People whose failures or whereabouts are known: a full gallery, twice.
const MAX_REMEMBERED: usize = 200_000;

/// The checks of a decision, in the order in which every decision lists them.
pub const GATE_CHECKS: [CheckName; 13] = [
    CheckName::Credential,
    CheckName::Lease,
    CheckName::WeeklyHours,
    CheckName::Lockout,
    CheckName::OnePlace,
    CheckName::PassBack,
    CheckName::ReferenceTemplate,
    CheckName::Camera,
    CheckName::LiveFace,
    CheckName::FaceQuality,
    CheckName::PresentationAttack,
    CheckName::FaceComparison,
    CheckName::StaffConfirmation,
];

/// What a door goes by.
#[derive(Clone, Debug)]
pub struct DoorRules {
    /// The door.
    pub name: Name,
    /// Which way it leads.
    pub way: Way,
    /// The zone it leads into or out of.
    pub zone: Option<Name>,
    /// After this long nobody is thought to be in a zone any more.
    pub forgive: Duration,
    /// The face is seen within this time of the credential.
    pub window: Duration,
    /// A PIN and staff instead of a face.
    pub fallback: bool,
    /// Staff decide within this time.
    pub staff_within: Duration,
    /// The passage after a grant.
    pub passage: Duration,
    /// From any other door to this one takes at least this long.
    pub travel: Duration,
    /// So many failures …
    pub failures: u32,
    /// … within this time …
    pub within: Duration,
    /// … and nothing is looked at for this time.
    pub locked: Duration,
}

impl DoorRules {
    /// The rules of a configured door.
    pub fn of(config: &DoorConfig) -> Self {
        let minutes = |n: u32| Duration::from_secs(u64::from(n) * 60);
        Self {
            name: config.name.clone(),
            way: config.direction,
            zone: config.zone.clone(),
            forgive: minutes(config.forgive_min),
            window: config.window_ms.duration(),
            fallback: config.fallback == Fallback::PinAndStaff,
            staff_within: config.staff_within_ms.duration(),
            passage: config.passage_ms.duration(),
            travel: config.travel_ms.duration(),
            failures: config.lockout.failures,
            within: minutes(config.lockout.within_min),
            locked: minutes(config.lockout.locked_min),
        }
    }
}

/// Whether a credential's time runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It does.
    Runs,
    /// It has not begun.
    NotBegun,
    /// It is over.
    Over,
    /// It was taken back.
    Revoked,
}

impl Lease {
    fn check(self) -> Check {
        match self {
            Self::Runs => Check::pass(CheckName::Lease),
            Self::NotBegun => Check::fail(CheckName::Lease, Reason::LeaseNotBegun),
            Self::Over => Check::fail(CheckName::Lease, Reason::LeaseExpired),
            Self::Revoked => Check::fail(CheckName::Lease, Reason::LeaseRevoked),
        }
    }
}

/// The holder of a credential, as far as a door needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The pseudonym.
    pub reference: String,
    /// Whether the credential's time runs.
    pub lease: Lease,
    /// Until when.
    pub until: Timestamp,
    /// Whether this is one of the person's hours.
    pub in_hours: bool,
    /// Whether there is a template that the model in use can compare.
    pub has_template: bool,
}

/// What the gallery says about a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// This person holds it.
    Holder(Person),
    /// Nobody does.
    Unknown,
    /// The reader compared by itself and says no; whom it meant, if it said so.
    ReaderSaidNo(Option<Person>),
    /// The gallery cannot be read.
    Unavailable,
}

/// A credential arrives at a door.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// What was read.
    pub kind: ReadKind,
    /// Tells one credential from another for as long as a session lasts; nothing can be read
    /// from it.
    pub digest: u64,
    /// The person declines the camera.
    pub declines: bool,
}

/// What an arrival is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// A session has begun: look the holder up.
    Begun,
    /// The same credential again, while this session lasts or just after it: its decision counts.
    Again(Uuid),
    /// Too many sessions wait at this door.
    Full,
}

/// What follows the checks without a face.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Nothing: it is decided.
    Decided(Box<Ruling>),
    /// Compare the face at the door with the holder's template.
    Look,
    /// Wait for staff.
    AskStaff,
}

/// Something to be remembered over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A failure of this subject: a person, or [`pins_at`] a door.
    Failed {
        /// Who.
        subject: String,
        /// When.
        at: Timestamp,
    },
    /// The failures of this subject are forgiven.
    Forgiven {
        /// Who.
        subject: String,
    },
    /// A person went into a zone or out of it.
    Moved {
        /// Who.
        person: String,
        /// The zone.
        zone: Name,
        /// Which way.
        way: Way,
        /// When.
        at: Timestamp,
    },
}

/// The subject under which guessed PINs of a door are counted. No pseudonym contains a space.
pub fn pins_at(door: &Name) -> String {
    format!("pins at {door}")
}

/// A decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruling {
    /// The session.
    pub session: Uuid,
    /// The door's number.
    pub door: usize,
    /// What was presented.
    pub kind: ReadKind,
    /// How.
    pub means: Means,
    /// The holder, if there is one.
    pub person: Option<String>,
    /// Whether the door may open.
    pub outcome: GateOutcome,
    /// Why not.
    pub reason: Option<Reason>,
    /// Every check, in the order of [`GATE_CHECKS`].
    pub checks: Vec<Check>,
    /// Equipment read until now.
    pub equipment: Vec<EquipmentRead>,
    /// Tags that are no equipment.
    pub unknown_tags: u32,
    /// To be made durable before anybody is told.
    pub changes: Vec<Change>,
}

/// What happened at a door besides.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// The session that let somebody through.
    pub session: Option<Uuid>,
    /// The door's number.
    pub door: usize,
    /// Who was let through.
    pub person: Option<String>,
    /// The passage's checks.
    pub checks: Vec<Check>,
    /// All equipment of the session.
    pub equipment: Vec<EquipmentRead>,
    /// Tags that are no equipment.
    pub unknown_tags: u32,
}

/// How the watch over a passage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// To its end, and nobody followed.
    Alone,
    /// A second face came close behind.
    Followed,
    /// Not to its end; why.
    Cut(Reason),
}

/// Equipment that was read; `None` is a tag that is none.
type Tag = Option<Name>;

#[derive(Debug, Default)]
struct Tags {
    known: Vec<Name>,
    unknown: u32,
}

impl Tags {
    fn add(&mut self, tag: &Tag) {
        match tag {
            Some(name) if self.known.contains(name) || self.known.len() >= MAX_TAGS => {}
            Some(name) => self.known.push(name.clone()),
            None => self.unknown = self.unknown.saturating_add(1),
        }
    }

    fn read(&self, way: Way) -> Vec<EquipmentRead> {
        let movement = match way {
            Way::In => Movement::BroughtBack,
            Way::Out => Movement::TakenOut,
        };
        self.known.iter().map(|name| EquipmentRead { equipment: name.clone(), movement }).collect()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    LookedUp,
    Looked,
    Staff,
}

#[derive(Debug)]
struct Open {
    id: Uuid,
    arrival: Arrival,
    means: Means,
    stage: Stage,
    /// When the stage is over at the latest.
    until: Instant,
    person: Option<String>,
    checks: Vec<Check>,
    tags: Tags,
}

impl Open {
    /// When it ends, whatever became of whoever was asked.
    fn over(&self) -> Instant {
        if self.stage == Stage::Staff { self.until } else { self.until + LOST }
    }
}

#[derive(Debug)]
struct Passing {
    session: Uuid,
    person: Option<String>,
    tags: Tags,
    until: Instant,
    /// How the watch will be said to have ended if nobody says otherwise.
    watched: Watched,
}

#[derive(Debug)]
struct Place {
    rules: DoorRules,
    open: Vec<Open>,
    last: Option<(u64, Uuid, Instant)>,
    passing: Option<Passing>,
    /// Tags that no session has claimed: which, since when, and when it was last read.
    loose: VecDeque<(Tag, Instant)>,
    /// Tags told without a session, and when they were last read.
    told: HashMap<Name, Instant>,
}

/// What the machine knows from before.
#[derive(Debug, Default)]
pub struct Memory {
    failures: HashMap<String, VecDeque<Timestamp>>,
    places: HashMap<(String, Name), (Way, Timestamp)>,
    /// Where a person's credential was read last.
    seen: HashMap<String, (usize, Instant)>,
    /// When credentials that were read here end, by their digest. Not durable, and nobody's: the
    /// gallery forgets an entry when its time is over, and its holder is to hear that it ended, not
    /// that it never was.
    ends: HashMap<u64, Timestamp>,
}

impl Memory {
    /// Remembers a change; the machine does so by itself for its own.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Failed { subject, at } => {
                make_room(&mut self.failures, |f| f.back().copied());
                let failures = self.failures.entry(subject.clone()).or_default();
                failures.push_back(*at);
                // No configuration counts further than this.
                if failures.len() > 100 {
                    failures.pop_front();
                }
            }
            Change::Forgiven { subject } => drop(self.failures.remove(subject)),
            Change::Moved { person, zone, way, at } => {
                make_room(&mut self.places, |(_, at)| Some(*at));
                self.places.insert((person.clone(), zone.clone()), (*way, *at));
            }
        }
    }

    /// Until when `subject` is locked out.
    fn locked(&self, subject: &str, rules: &DoorRules, now: Timestamp) -> bool {
        let Some(failures) = self.failures.get(subject) else { return false };
        let enough = rules.failures.max(1) as usize;
        let Some(first) = failures.len().checked_sub(enough) else { return false };
        let (Some(first), Some(last)) = (failures.get(first), failures.back()) else { return false };
        // A clock that went back must not shorten it: what lies in the future was just now.
        last.duration_since(*first) <= long(rules.within) && now.duration_since(*last) < long(rules.locked)
    }
}

fn long(d: Duration) -> SignedDuration {
    SignedDuration::try_from(d).unwrap_or(SignedDuration::MAX)
}

/// Forgets the oldest tenth when a map is full.
fn make_room<K: Clone + Eq + std::hash::Hash, V>(
    map: &mut HashMap<K, V>,
    at: impl Fn(&V) -> Option<Timestamp>,
) {
    if map.len() < MAX_REMEMBERED {
        return;
    }
    let mut times: Vec<_> = map.values().filter_map(&at).collect();
    times.sort_unstable();
    let before = times.get(times.len() / 10).copied();
    map.retain(|_, v| at(v) > before);
}

/// All doors of a box.
#[derive(Debug)]
pub struct Doorman {
    places: Vec<Place>,
    memory: Memory,
    /// Passages that the next one ended.
    over: Vec<Passage>,
}

impl Doorman {
    /// Keeps these doors, knowing `memory` from before.
    pub fn new(rules: Vec<DoorRules>, memory: Memory) -> Self {
        let place = |rules| Place {
            rules,
            open: Vec::new(),
            last: None,
            passing: None,
            loose: VecDeque::new(),
            told: HashMap::new(),
        };
        Self { places: rules.into_iter().map(place).collect(), memory, over: Vec::new() }
    }

    /// A door's rules.
    pub fn rules(&self, door: usize) -> Option<&DoorRules> {
        self.places.get(door).map(|p| &p.rules)
    }

    /// The sessions at a door that wait for staff, each with its end.
    pub fn waiting(&self, door: usize) -> Vec<(Uuid, Instant)> {
        let open = self.places.get(door).map_or(&[][..], |p| &p.open);
        open.iter().filter(|o| o.stage == Stage::Staff).map(|o| (o.id, o.until)).collect()
    }

    /// The next moment at which [`Doorman::expire`] has something to do.
    pub fn wake(&self) -> Option<Instant> {
        let open = self.places.iter().flat_map(|p| &p.open).map(Open::over);
        let passing = self.places.iter().filter_map(|p| p.passing.as_ref()).map(|p| p.until);
        let loose = self.places.iter().filter_map(|p| p.loose.front()).map(|(_, since)| *since + CLAIM);
        open.chain(passing).chain(loose).min()
    }

    /// A credential was read at `door`; `session` is the new session's if it begins one.
    pub fn arrive(&mut self, now: Instant, door: usize, session: Uuid, arrival: Arrival) -> Arrived {
        let Some(place) = self.places.get_mut(door) else { return Arrived::Full };
        if let Some(open) = place.open.iter().find(|o| o.arrival.digest == arrival.digest) {
            return Arrived::Again(open.id);
        }
        if let Some((digest, id, at)) = place.last
            && digest == arrival.digest
            && now.saturating_duration_since(at) < REPEAT
        {
            return Arrived::Again(id);
        }
        if place.open.len() >= MAX_SESSIONS {
            return Arrived::Full;
        }
        let mut tags = Tags::default();
        place.loose.drain(..).for_each(|(tag, _)| tags.add(&tag));
        place.open.push(Open {
            id: session,
            arrival,
            means: if arrival.declines { Means::PinAndStaff } else { Means::CredentialAndFace },
            stage: Stage::LookedUp,
            until: now + place.rules.window,
            person: None,
            checks: Vec::new(),
            tags,
        });
        Arrived::Begun
    }

    /// The number of the door at which a session is under way.
    pub fn door_of(&self, session: Uuid) -> Option<usize> {
        self.open(session).map(|(door, _)| door)
    }

    fn open(&self, session: Uuid) -> Option<(usize, usize)> {
        self.places
            .iter()
            .enumerate()
            .find_map(|(door, place)| Some((door, place.open.iter().position(|o| o.id == session)?)))
    }

    /// What the gallery says. `None` if there is no such session at this stage.
    pub fn admit(&mut self, now: Instant, at: Timestamp, session: Uuid, lookup: Lookup) -> Option<Next> {
        use CheckName::{Credential, Lockout, OnePlace, WeeklyHours};
        let (door, index) = self.open(session)?;
        let rules = self.places[door].rules.clone();
        let open = &self.places[door].open[index];
        if open.stage != Stage::LookedUp {
            return None;
        }
        let (arrival, means) = (open.arrival, open.means);
        let pins = (arrival.kind == ReadKind::Pin).then(|| pins_at(&rules.name));
        let mut changes = Vec::new();
        let mut failed = |subject: &str| changes.push(Change::Failed { subject: subject.to_owned(), at });

        // Guessing is answered before it is said whether the guess was right.
        if pins.as_ref().is_some_and(|pins| self.memory.locked(pins, &rules, at)) {
            let check = Check::fail(Lockout, Reason::LockedOut);
            return Some(self.refuse(now, door, index, check, Vec::new()));
        }
        let (person, fault) = match lookup {
            Lookup::Holder(person) => (Some(person), None),
            Lookup::Unknown if self.memory.ends.get(&arrival.digest).is_some_and(|end| *end <= at) => {
                (None, Some(Lease::Over.check()))
            }
            Lookup::Unknown => {
                pins.as_deref().into_iter().for_each(&mut failed);
                (None, Some(Check::fail(Credential, Reason::UnknownCredential)))
            }
            Lookup::ReaderSaidNo(person) => {
                person.iter().for_each(|p| failed(&p.reference));
                (person, Some(Check::fail(Credential, Reason::ReaderSaidNo)))
            }
            Lookup::Unavailable => (None, Some(Check::not_checked(Credential, Reason::GalleryUnavailable))),
        };
        let reference = person.as_ref().map(|p| p.reference.clone());
        self.places[door].open[index].person.clone_from(&reference);
        // Whoever is locked out is told so, whatever else is wrong this time.
        if let Some(reference) = &reference
            && self.memory.locked(reference, &rules, at)
        {
            let check = Check::fail(Lockout, Reason::LockedOut);
            return Some(self.refuse(now, door, index, check, Vec::new()));
        }
        if let Some(fault) = fault {
            return Some(self.refuse(now, door, index, fault, changes));
        }
        let (Some(person), Some(reference)) = (person, reference) else { return None };

        make_room(&mut self.memory.ends, |end| Some(*end));
        self.memory.ends.insert(arrival.digest, person.until);
        let elsewhere = self.elsewhere(now, door, &reference, rules.travel);
        self.memory.seen.retain(|_, (_, at)| now.saturating_duration_since(*at) < Duration::from_secs(600));
        self.memory.seen.insert(reference.clone(), (door, now));
        let hours = if person.in_hours {
            Check::pass(WeeklyHours)
        } else {
            Check::fail(WeeklyHours, Reason::OutsideHours)
        };
        let one_place =
            if elsewhere { Check::fail(OnePlace, Reason::AtAnotherDoor) } else { Check::pass(OnePlace) };
        let pass_back = self.pass_back(at, &rules, &reference);
        let made = [
            Check::pass(Credential),
            person.lease.check(),
            hours,
            Check::pass(Lockout),
            one_place,
            pass_back,
        ];
        for check in made {
            if check.status == CheckStatus::Fail {
                return Some(self.refuse(now, door, index, check, changes));
            }
            self.places[door].open[index].checks.push(check);
        }
        let open = &mut self.places[door].open[index];
        if means == Means::PinAndStaff {
            if !rules.fallback {
                let check = Check::not_checked(CheckName::StaffConfirmation, Reason::NotConfigured);
                return Some(self.refuse(now, door, index, check, changes));
            }
            open.stage = Stage::Staff;
            open.until = now + rules.staff_within;
            return Some(Next::AskStaff);
        }
        if !person.has_template {
            let check = Check::fail(CheckName::ReferenceTemplate, Reason::NoTemplate);
            return Some(self.refuse(now, door, index, check, changes));
        }
        open.stage = Stage::Looked;
        Some(Next::Look)
    }

    /// Whether the person's credential is at another door now, or was a moment ago.
    fn elsewhere(&self, now: Instant, door: usize, person: &str, travel: Duration) -> bool {
        let open = self.places.iter().enumerate().any(|(other, place)| {
            other != door && place.open.iter().any(|o| o.person.as_deref() == Some(person))
        });
        let lately = self
            .memory
            .seen
            .get(person)
            .is_some_and(|(other, at)| *other != door && now.saturating_duration_since(*at) < travel);
        !travel.is_zero() && (open || lately)
    }

    fn pass_back(&self, at: Timestamp, rules: &DoorRules, person: &str) -> Check {
        let Some(zone) = &rules.zone else {
            return Check::not_checked(CheckName::PassBack, Reason::NotConfigured);
        };
        let known = self.memory.places.get(&(person.to_owned(), zone.clone()));
        let known =
            known.filter(|(_, since)| at.duration_since(*since) < long(rules.forgive)).map(|(way, _)| *way);
        match (rules.way, known) {
            (Way::In, Some(Way::In)) => Check::fail(CheckName::PassBack, Reason::PassedBack),
            (Way::In, _) | (Way::Out, Some(Way::In)) => Check::pass(CheckName::PassBack),
            // Nobody is kept in because the box did not see them come.
            (Way::Out, _) => Check::not_checked(CheckName::PassBack, Reason::WhereaboutsUnknown),
        }
    }

    fn refuse(
        &mut self,
        now: Instant,
        door: usize,
        index: usize,
        check: Check,
        changes: Vec<Change>,
    ) -> Next {
        let reason = check.reason;
        let rest = Reason::EarlierCheckFailed;
        Next::Decided(Box::new(self.rule(
            now,
            door,
            index,
            GateOutcome::Denied,
            reason,
            vec![check],
            rest,
            changes,
        )))
    }

    /// Ends a session. `made` are the checks made last; those that nobody came to are not made for
    /// the reason `rest`.
    #[allow(clippy::too_many_arguments)]
    fn rule(
        &mut self,
        now: Instant,
        door: usize,
        index: usize,
        outcome: GateOutcome,
        reason: Option<Reason>,
        made: Vec<Check>,
        rest: Reason,
        changes: Vec<Change>,
    ) -> Ruling {
        let place = &mut self.places[door];
        if outcome == GateOutcome::Granted {
            self.over.extend(place.end_passage(door));
        }
        let mut open = place.open.swap_remove(index);
        place.last = Some((open.arrival.digest, open.id, now));
        open.checks.extend(made);
        let checks = GATE_CHECKS.map(|name| {
            let made = open.checks.iter().find(|c| c.name == name).cloned();
            made.unwrap_or_else(|| match (name, open.means) {
                (CheckName::StaffConfirmation, Means::CredentialAndFace) => {
                    Check::not_checked(name, Reason::NotRequested)
                }
                _ => Check::not_checked(name, rest),
            })
        });
        changes.iter().for_each(|c| self.memory.apply(c));
        let ruling = Ruling {
            session: open.id,
            door,
            kind: open.arrival.kind,
            means: open.means,
            person: open.person.clone(),
            outcome,
            reason,
            checks: checks.to_vec(),
            equipment: open.tags.read(place.rules.way),
            unknown_tags: open.tags.unknown,
            changes,
        };
        if outcome == GateOutcome::Granted && !place.rules.passage.is_zero() {
            // Nobody watches whom the camera was not to look at.
            let watched = match open.means {
                Means::PinAndStaff => Watched::Cut(Reason::DeclinedByGuest),
                Means::CredentialAndFace => Watched::Cut(Reason::CameraUnavailable),
            };
            place.passing = Some(Passing {
                session: open.id,
                person: open.person,
                tags: open.tags,
                until: now + place.rules.passage + SLACK,
                watched,
            });
        }
        ruling
    }

    fn grant(&mut self, now: Instant, at: Timestamp, door: usize, index: usize, made: Vec<Check>) -> Ruling {
        let place = &self.places[door];
        let mut changes = Vec::new();
        if let Some(person) = &place.open[index].person {
            if self.memory.failures.contains_key(person) {
                changes.push(Change::Forgiven { subject: person.clone() });
            }
            if let Some(zone) = &place.rules.zone {
                let (person, zone) = (person.clone(), zone.clone());
                changes.push(Change::Moved { person, zone, way: place.rules.way, at });
            }
        }
        let rest = match place.open[index].means {
            Means::PinAndStaff => Reason::DeclinedByGuest,
            Means::CredentialAndFace => Reason::NotRequested,
        };
        self.rule(now, door, index, GateOutcome::Granted, None, made, rest, changes)
    }

    /// Refuses a session whose credential's time ended while the person stood at the door.
    fn ended_meanwhile(&mut self, now: Instant, door: usize, index: usize, lease: Lease) -> Option<Ruling> {
        if lease == Lease::Runs {
            return None;
        }
        let open = &mut self.places[door].open[index];
        open.checks.retain(|c| c.name != CheckName::Lease);
        let check = lease.check();
        let reason = check.reason;
        let rest = Reason::EarlierCheckFailed;
        Some(self.rule(now, door, index, GateOutcome::Denied, reason, vec![check], rest, Vec::new()))
    }

    /// The person of a session.
    pub fn person(&self, session: Uuid) -> Option<&str> {
        let (door, index) = self.open(session)?;
        self.places[door].open[index].person.as_deref()
    }

    /// Everybody about whom something is remembered.
    pub fn remembered(&self) -> Vec<String> {
        let failures = self.memory.failures.keys().filter(|s| !s.contains(' '));
        let places = self.memory.places.keys().map(|(person, _)| person);
        let mut all: Vec<_> = failures.chain(places).cloned().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Forgets somebody.
    pub fn forget(&mut self, person: &str) {
        self.memory.failures.remove(person);
        self.memory.places.retain(|(p, _), _| p != person);
        self.memory.seen.remove(person);
    }

    /// What the camera saw; `lease` is how the credential stands at this moment. `None` if no such
    /// session is looked at.
    pub fn seen(
        &mut self,
        now: Instant,
        at: Timestamp,
        session: Uuid,
        verdict: &Verdict,
        lease: Lease,
    ) -> Option<Ruling> {
        let (door, index) = self.open(session)?;
        let open = &self.places[door].open[index];
        if open.stage != Stage::Looked {
            return None;
        }
        let made: Vec<Check> = verdict
            .checks
            .iter()
            .filter(|c| c.name != CheckName::Document)
            .map(|c| match c.name {
                CheckName::ReferencePortrait => Check { name: CheckName::ReferenceTemplate, ..c.clone() },
                _ => c.clone(),
            })
            .collect();
        if verdict.outcome == Outcome::Match {
            if let Some(ruling) = self.ended_meanwhile(now, door, index, lease) {
                return Some(ruling);
            }
            return Some(self.grant(now, at, door, index, made));
        }
        let subject = open
            .person
            .clone()
            .filter(|_| matches!(verdict.outcome, Outcome::NoMatch | Outcome::PresentationAttackSuspected));
        let changes = subject.into_iter().map(|subject| Change::Failed { subject, at }).collect();
        let decided = made.iter().find(|c| c.status == CheckStatus::Fail);
        let missing = made
            .iter()
            .find(|c| c.status == CheckStatus::NotChecked && c.reason != Some(Reason::NotRequested));
        let reason = decided.or(missing).and_then(|c| c.reason).or(Some(Reason::InternalFault));
        Some(self.rule(
            now,
            door,
            index,
            GateOutcome::Denied,
            reason,
            made,
            Reason::EarlierCheckFailed,
            changes,
        ))
    }

    /// A grant could not be made durable: nobody was let through.
    pub fn withdraw(&mut self, at: Timestamp, ruling: &Ruling) {
        for change in &ruling.changes {
            if let Change::Moved { person, zone, way, .. } = change {
                let way = if *way == Way::In { Way::Out } else { Way::In };
                self.memory.apply(&Change::Moved { person: person.clone(), zone: zone.clone(), way, at });
            }
        }
        if let Some(place) = self.places.get_mut(ruling.door) {
            place.passing.take_if(|p| p.session == ruling.session);
        }
    }

    /// Staff decide; `lease` is how the credential stands at this moment. `None` if no such session
    /// waits for them.
    pub fn confirm(
        &mut self,
        now: Instant,
        at: Timestamp,
        session: Uuid,
        admit: bool,
        lease: Lease,
    ) -> Option<Ruling> {
        let (door, index) = self.open(session)?;
        if self.places[door].open[index].stage != Stage::Staff {
            return None;
        }
        if admit {
            if let Some(ruling) = self.ended_meanwhile(now, door, index, lease) {
                return Some(ruling);
            }
            return Some(self.grant(now, at, door, index, vec![Check::pass(CheckName::StaffConfirmation)]));
        }
        Some(self.no_face(
            now,
            door,
            index,
            Check::fail(CheckName::StaffConfirmation, Reason::RefusedByStaff),
        ))
    }

    fn no_face(&mut self, now: Instant, door: usize, index: usize, check: Check) -> Ruling {
        let (reason, rest) = (check.reason, Reason::DeclinedByGuest);
        self.rule(now, door, index, GateOutcome::Denied, reason, vec![check], rest, Vec::new())
    }

    /// Lets time pass: staff who did not come, sessions of which nothing is heard any more, passages that are over, equipment that nobody
    /// accounts for.
    pub fn expire(&mut self, now: Instant) -> (Vec<Ruling>, Vec<Passage>) {
        let (mut rulings, mut passages) = (Vec::new(), std::mem::take(&mut self.over));
        for door in 0..self.places.len() {
            while let Some(index) = self.places[door].open.iter().position(|o| o.over() <= now) {
                let ruling = if self.places[door].open[index].stage == Stage::Staff {
                    let check = Check::not_checked(CheckName::StaffConfirmation, Reason::StaffAbsent);
                    self.no_face(now, door, index, check)
                } else {
                    let (reason, rest) = (Some(Reason::InternalFault), Reason::InternalFault);
                    self.rule(now, door, index, GateOutcome::Denied, reason, Vec::new(), rest, Vec::new())
                };
                rulings.push(ruling);
            }
            let place = &mut self.places[door];
            if place.passing.as_ref().is_some_and(|p| p.until <= now) {
                passages.extend(place.end_passage(door));
            }
            passages.extend(place.loose_ends(door, now));
        }
        (rulings, passages)
    }

    /// The watch over a passage ended.
    pub fn watched(&mut self, session: Uuid, watched: Watched) -> Option<Passage> {
        let (door, place) = self
            .places
            .iter_mut()
            .enumerate()
            .find(|(_, p)| p.passing.as_ref().is_some_and(|p| p.session == session))?;
        let passing = place.passing.as_mut()?;
        passing.watched = watched;
        // Tags may still come when the watch alone was cut.
        if matches!(watched, Watched::Cut(_)) { None } else { place.end_passage(door) }
    }

    /// A tag was read at `door`: a piece of equipment, or `None` for one that is none.
    pub fn tag(&mut self, now: Instant, door: usize, tag: Option<Name>) {
        let Some(place) = self.places.get_mut(door) else { return };
        if let Some(open) = place.open.last_mut() {
            open.tags.add(&tag);
        } else if let Some(passing) = &mut place.passing {
            passing.tags.add(&tag);
        } else if let Some(name) = &tag
            && let Some(last) = place.told.get_mut(name)
            && now.saturating_duration_since(*last) < AWAY
        {
            *last = now;
        } else if !place.loose.iter().any(|(t, _)| *t == tag) && place.loose.len() < MAX_TAGS {
            place.loose.push_back((tag, now));
        }
    }
}

impl Place {
    fn end_passage(&mut self, door: usize) -> Option<Passage> {
        let passing = self.passing.take()?;
        let name = CheckName::Tailgating;
        let check = match passing.watched {
            Watched::Alone => Check::pass(name),
            Watched::Followed => Check::fail(name, Reason::FollowedClosely),
            Watched::Cut(reason) => Check::not_checked(name, reason),
        };
        Some(Passage {
            session: Some(passing.session),
            door,
            person: passing.person,
            checks: vec![check],
            equipment: passing.tags.read(self.rules.way),
            unknown_tags: passing.tags.unknown,
        })
    }

    fn loose_ends(&mut self, door: usize, now: Instant) -> Option<Passage> {
        let first =
            self.loose.front().is_some_and(|(_, since)| now.saturating_duration_since(*since) >= CLAIM);
        if !first {
            return None;
        }
        let mut tags = Tags::default();
        self.told.retain(|_, last| now.saturating_duration_since(*last) < AWAY);
        for (tag, _) in self.loose.drain(..) {
            tags.add(&tag);
            if let Some(name) = tag.filter(|_| self.told.len() < MAX_TAGS) {
                self.told.insert(name, now);
            }
        }
        // A tag in somebody's coat is nobody's business.
        if tags.known.is_empty() {
            return None;
        }
        Some(Passage {
            session: None,
            door,
            person: None,
            checks: vec![Check::not_checked(CheckName::Credential, Reason::NothingPresented)],
            equipment: tags.read(self.rules.way),
            unknown_tags: tags.unknown,
        })
    }
}

#[cfg(test)]
mod tests;
