use super::*;
use proptest::prelude::*;

fn name(s: &str) -> Name {
    Name::new(s).unwrap()
}

fn rules(door: &str, way: Way) -> DoorRules {
    let mut config = DoorConfig::new(name(door), name("cam"));
    config.direction = way;
    config.zone = Some(name("tower"));
    config.lockout.failures = 3;
    DoorRules::of(&config)
}

fn person(reference: &str) -> Person {
    let until = Timestamp::from_second(1_800_000_000).unwrap();
    Person { reference: reference.into(), lease: Lease::Runs, until, in_hours: true, has_template: true }
}

fn verdict(outcome: Outcome) -> Verdict {
    let fail = |name, reason| Check::fail(name, reason);
    let checks = match outcome {
        Outcome::Match => {
            vec![Check::pass(CheckName::ReferencePortrait), Check::pass(CheckName::FaceComparison)]
        }
        Outcome::NoMatch => vec![fail(CheckName::FaceComparison, Reason::BelowThreshold)],
        Outcome::NoFace => vec![fail(CheckName::LiveFace, Reason::NoFaceSeen)],
        Outcome::MultipleFaces => vec![fail(CheckName::LiveFace, Reason::SeveralPeople)],
        Outcome::PresentationAttackSuspected => {
            vec![fail(CheckName::PresentationAttack, Reason::MovedAsFlat)]
        }
        Outcome::Timeout => vec![Check::not_checked(CheckName::FaceComparison, Reason::DeadlineReached)],
        _ => vec![fail(CheckName::Camera, Reason::CameraUnavailable)],
    };
    Verdict { outcome, checks, compared: None }
}

/// Two doors into a tower, one out of it.
struct Play {
    doorman: Doorman,
    now: Instant,
    at: Timestamp,
    next: u128,
    changes: Vec<Change>,
}

impl Play {
    fn new() -> Self {
        Self::with([rules("north", Way::In), rules("south", Way::In), rules("exit", Way::Out)])
    }

    fn with(rules: [DoorRules; 3]) -> Self {
        Self {
            doorman: Doorman::new(rules.to_vec(), Memory::default()),
            now: Instant::now(),
            at: Timestamp::from_second(1_790_000_000).unwrap(),
            next: 1,
            changes: Vec::new(),
        }
    }

    fn wait(&mut self, s: f64) {
        let by = Duration::from_secs_f64(s);
        self.now += by;
        self.at = self.at.checked_add(by).unwrap();
    }

    fn arrive(&mut self, door: usize, kind: ReadKind, digest: u64, declines: bool) -> (Uuid, Arrived) {
        let session = Uuid::from_u128(self.next);
        self.next += 1;
        (session, self.doorman.arrive(self.now, door, session, Arrival { kind, digest, declines }))
    }

    fn ruled(&mut self, ruling: Ruling) -> Ruling {
        self.changes.extend(ruling.changes.clone());
        let names: Vec<_> = ruling.checks.iter().map(|c| c.name).collect();
        assert_eq!(names, GATE_CHECKS);
        assert_eq!(ruling.outcome == GateOutcome::Denied, ruling.reason.is_some());
        ruling
    }

    /// A card is read, its holder looked up.
    fn card(&mut self, door: usize, who: &str, lookup: Lookup) -> (Uuid, Next) {
        let digest = who.bytes().fold(7, |h, b| h * 31 + u64::from(b));
        let (session, arrived) = self.arrive(door, ReadKind::Card, digest, false);
        assert_eq!(arrived, Arrived::Begun);
        let next = self.doorman.admit(self.now, self.at, session, lookup).unwrap();
        if let Next::Decided(ruling) = &next {
            self.ruled((**ruling).clone());
        }
        (session, next)
    }

    fn holder(&mut self, door: usize, who: &str) -> (Uuid, Next) {
        self.card(door, who, Lookup::Holder(person(who)))
    }

    /// The whole way of a person to whom this happens before the camera.
    fn comes(&mut self, door: usize, who: &str, outcome: Outcome) -> Result<Ruling, Reason> {
        let ruling = match self.holder(door, who) {
            (_, Next::Decided(ruling)) => *ruling,
            (session, Next::Look) => {
                let ruling =
                    self.doorman.seen(self.now, self.at, session, &verdict(outcome), Lease::Runs).unwrap();
                self.ruled(ruling)
            }
            (_, Next::AskStaff) => panic!("nobody declined"),
        };
        self.wait(10.0);
        match ruling.reason {
            None => Ok(ruling),
            Some(reason) => Err(reason),
        }
    }
}

#[test]
fn what_the_camera_saw_decides_and_each_no_has_its_own_reason() {
    for (outcome, reason) in [
        (Outcome::NoMatch, Reason::BelowThreshold),
        (Outcome::NoFace, Reason::NoFaceSeen),
        (Outcome::MultipleFaces, Reason::SeveralPeople),
        (Outcome::PresentationAttackSuspected, Reason::MovedAsFlat),
        (Outcome::Timeout, Reason::DeadlineReached),
        (Outcome::Error, Reason::CameraUnavailable),
    ] {
        assert_eq!(Play::new().comes(0, "p", outcome).unwrap_err(), reason);
    }
    let ruling = Play::new().comes(0, "p", Outcome::Match).unwrap();
    assert_eq!(ruling.person.as_deref(), Some("p"));
    let template = ruling.checks.iter().find(|c| c.name == CheckName::ReferenceTemplate).unwrap();
    assert_eq!(template.status, CheckStatus::Pass, "the portrait's check is the template's here");
}

#[test]
fn what_the_gallery_says_decides_before_anybody_is_looked_at() {
    let p = || person("p");
    for (lookup, reason) in [
        (Lookup::Unknown, Reason::UnknownCredential),
        (Lookup::Unavailable, Reason::GalleryUnavailable),
        (Lookup::ReaderSaidNo(None), Reason::ReaderSaidNo),
        (Lookup::ReaderSaidNo(Some(p())), Reason::ReaderSaidNo),
        (Lookup::Holder(Person { lease: Lease::Over, ..p() }), Reason::LeaseExpired),
        (Lookup::Holder(Person { lease: Lease::NotBegun, ..p() }), Reason::LeaseNotBegun),
        (Lookup::Holder(Person { lease: Lease::Revoked, ..p() }), Reason::LeaseRevoked),
        (Lookup::Holder(Person { in_hours: false, ..p() }), Reason::OutsideHours),
        (Lookup::Holder(Person { has_template: false, ..p() }), Reason::NoTemplate),
    ] {
        let mut play = Play::new();
        let (_, next) = play.card(0, "p", lookup.clone());
        let Next::Decided(ruling) = next else { panic!("{lookup:?}: {next:?}") };
        assert_eq!((ruling.outcome, ruling.reason), (GateOutcome::Denied, Some(reason)));
        for face in [CheckName::Camera, CheckName::FaceComparison] {
            let check = ruling.checks.iter().find(|c| c.name == face).unwrap();
            assert_eq!(check.status, CheckStatus::NotChecked);
        }
    }
}

#[test]
fn whose_entry_is_gone_because_its_time_was_over_hears_that_it_is_over() {
    let mut play = Play::new();
    let until = play.at.checked_add(Duration::from_secs(60)).unwrap();
    let (session, next) = play.card(0, "p", Lookup::Holder(Person { until, ..person("p") }));
    assert_eq!(next, Next::Look);
    play.doorman.seen(play.now, play.at, session, &verdict(Outcome::NoFace), Lease::Runs).unwrap();
    play.wait(30.0);
    let unknown = |play: &mut Play| match play.card(0, "p", Lookup::Unknown).1 {
        Next::Decided(ruling) => ruling.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(unknown(&mut play), Some(Reason::UnknownCredential), "erased before");
    play.wait(30.0);
    assert_eq!(unknown(&mut play), Some(Reason::LeaseExpired));
}

#[test]
fn nobody_climbs_the_score_and_a_restart_forgives_nobody() {
    let mut play = Play::new();
    // Standing badly is no failure.
    for _ in 0..9 {
        assert_eq!(play.comes(0, "p", Outcome::NoFace).unwrap_err(), Reason::NoFaceSeen);
    }
    for _ in 0..2 {
        assert_eq!(play.comes(0, "p", Outcome::NoMatch).unwrap_err(), Reason::BelowThreshold);
    }
    // At another door it is the same person.
    assert_eq!(play.comes(1, "p", Outcome::PresentationAttackSuspected).unwrap_err(), Reason::MovedAsFlat);
    assert_eq!(play.comes(0, "p", Outcome::Match).unwrap_err(), Reason::LockedOut);
    assert_eq!(
        play.comes(0, "q", Outcome::Match).map(|r| r.outcome),
        Ok(GateOutcome::Granted),
        "nobody else is"
    );

    let mut memory = Memory::default();
    play.changes.iter().for_each(|c| memory.apply(c));
    play.doorman = Doorman::new(vec![rules("north", Way::In)], memory);
    assert_eq!(play.comes(0, "p", Outcome::Match).unwrap_err(), Reason::LockedOut, "after a restart");
    // A clock that goes back shortens nothing.
    play.at = play.at.checked_sub(Duration::from_secs(86_400)).unwrap();
    assert_eq!(play.comes(0, "p", Outcome::Match).unwrap_err(), Reason::LockedOut);
    play.at = play.at.checked_add(Duration::from_secs(86_400)).unwrap();
    play.wait(15.0 * 60.0);
    assert!(play.comes(0, "p", Outcome::Match).is_ok());
    play.wait(13.0 * 3600.0);
    for _ in 0..2 {
        assert_eq!(
            play.comes(0, "p", Outcome::NoMatch).unwrap_err(),
            Reason::BelowThreshold,
            "forgiven by the grant"
        );
    }
}

#[test]
fn guessed_pins_lock_the_keypad_and_not_the_cards() {
    let mut play = Play::new();
    let pin = |play: &mut Play, n: u64, lookup| {
        let (session, _) = play.arrive(0, ReadKind::Pin, n, false);
        let next = play.doorman.admit(play.now, play.at, session, lookup).unwrap();
        play.wait(3.0);
        match next {
            Next::Decided(ruling) => ruling.reason.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    for n in 0..3 {
        assert_eq!(pin(&mut play, n, Lookup::Unknown), Reason::UnknownCredential);
    }
    assert_eq!(pin(&mut play, 9, Lookup::Holder(person("p"))), Reason::LockedOut);
    assert!(play.comes(0, "p", Outcome::Match).is_ok());
    // A fingerprint reader's no counts for the person whom it meant, at every door.
    let mut play = Play::new();
    for _ in 0..3 {
        let no = play.card(0, "p", Lookup::ReaderSaidNo(Some(person("p")))).1;
        assert!(matches!(no, Next::Decided(r) if r.reason == Some(Reason::ReaderSaidNo)));
        play.wait(3.0);
    }
    assert_eq!(play.comes(1, "p", Outcome::Match).unwrap_err(), Reason::LockedOut);
}

#[test]
fn a_lease_that_ends_before_the_camera_opens_nothing() {
    for lease in [Lease::Over, Lease::Revoked] {
        let mut play = Play::new();
        let (session, _) = play.holder(0, "p");
        let ruling = play.doorman.seen(play.now, play.at, session, &verdict(Outcome::Match), lease).unwrap();
        let ruling = play.ruled(ruling);
        assert_eq!(ruling.reason, lease.check().reason);
        assert!(ruling.changes.is_empty());
        play.wait(10.0);
        let (session, _) = decline(&mut play, 1);
        let ruling = play.doorman.confirm(play.now, play.at, session, true, lease).unwrap();
        assert_eq!(ruling.outcome, GateOutcome::Denied);
    }
}

#[test]
fn one_card_is_not_at_two_doors() {
    let mut play = Play::new();
    let (first, next) = play.holder(0, "p");
    assert_eq!(next, Next::Look);
    play.wait(7.0);
    // Still under way at the first, although the way to the second would have been possible.
    assert!(matches!(play.holder(1, "p").1, Next::Decided(r) if r.reason == Some(Reason::AtAnotherDoor)));
    assert!(play.doorman.seen(play.now, play.at, first, &verdict(Outcome::Match), Lease::Runs).is_some());
    play.wait(3.0);
    assert_eq!(play.comes(2, "p", Outcome::Match).unwrap_err(), Reason::AtAnotherDoor, "too fast");
    assert!(play.comes(2, "p", Outcome::Match).is_ok());
}

#[test]
fn a_card_handed_back_opens_nothing_and_nobody_is_kept_in() {
    let mut play = Play::new();
    let pass_back = |r: &Ruling| r.checks.iter().find(|c| c.name == CheckName::PassBack).unwrap().clone();
    let out = play.comes(2, "p", Outcome::Match).unwrap();
    assert_eq!(pass_back(&out).reason, Some(Reason::WhereaboutsUnknown), "out without having come in");
    assert!(play.comes(0, "p", Outcome::Match).is_ok());
    assert_eq!(play.comes(0, "p", Outcome::Match).unwrap_err(), Reason::PassedBack);
    assert_eq!(play.comes(1, "p", Outcome::Match).unwrap_err(), Reason::PassedBack, "the zone's other door");
    let out = play.comes(2, "p", Outcome::Match).unwrap();
    assert_eq!(pass_back(&out).status, CheckStatus::Pass);
    assert!(play.comes(1, "p", Outcome::Match).is_ok());
    play.wait(12.0 * 3600.0);
    assert!(play.comes(1, "p", Outcome::Match).is_ok(), "forgiven");

    // A grant that was not durable let nobody in.
    play.comes(2, "p", Outcome::Match).unwrap();
    let ruling = play.comes(0, "p", Outcome::Match).unwrap();
    play.doorman.withdraw(play.at, &ruling);
    assert!(play.comes(0, "p", Outcome::Match).is_ok());
}

#[test]
fn a_reader_that_repeats_itself_begins_one_session() {
    let mut play = Play::new();
    let (first, _) = play.arrive(0, ReadKind::Card, 5, false);
    assert_eq!(play.arrive(0, ReadKind::Card, 5, false).1, Arrived::Again(first));
    let (other, arrived) = play.arrive(0, ReadKind::Card, 6, false);
    assert_eq!(arrived, Arrived::Begun, "another card is another session");
    play.doorman.admit(play.now, play.at, first, Lookup::Holder(person("p"))).unwrap();
    play.doorman.seen(play.now, play.at, first, &verdict(Outcome::Match), Lease::Runs).unwrap();
    play.wait(1.9);
    assert_eq!(play.arrive(0, ReadKind::Card, 5, false).1, Arrived::Again(first));
    play.doorman.admit(play.now, play.at, other, Lookup::Unknown).unwrap();
    play.wait(2.1);
    assert_eq!(play.arrive(0, ReadKind::Card, 5, false).1, Arrived::Begun);
    for n in 0..50 {
        play.arrive(1, ReadKind::Card, n, false);
    }
    assert_eq!(play.arrive(1, ReadKind::Card, 99, false).1, Arrived::Full);
}

#[test]
fn a_session_of_which_nothing_is_heard_ends() {
    let mut play = Play::new();
    let (session, next) = play.holder(0, "p");
    assert_eq!(next, Next::Look);
    play.wait(10.0);
    assert!(play.doorman.expire(play.now).0.is_empty());
    play.wait(1.0);
    let (mut rulings, _) = play.doorman.expire(play.now);
    let ruling = play.ruled(rulings.remove(0));
    assert_eq!((ruling.session, ruling.reason), (session, Some(Reason::InternalFault)));
    assert_eq!(play.doorman.seen(play.now, play.at, session, &verdict(Outcome::Match), Lease::Runs), None);
}

fn decline(play: &mut Play, door: usize) -> (Uuid, Next) {
    let (session, _) = play.arrive(door, ReadKind::Pin, 77, true);
    (session, play.doorman.admit(play.now, play.at, session, Lookup::Holder(person("p"))).unwrap())
}

#[test]
fn people_who_decline_the_camera_are_let_in_by_staff() {
    let mut play = Play::new();
    let (session, next) = decline(&mut play, 0);
    assert_eq!(next, Next::AskStaff);
    assert_eq!(play.doorman.waiting(0), [(session, play.now + Duration::from_secs(60))]);
    // Meanwhile others come and go.
    assert!(play.comes(0, "q", Outcome::Match).is_ok());
    let ruling = play.doorman.confirm(play.now, play.at, session, true, Lease::Runs).unwrap();
    let ruling = play.ruled(ruling);
    assert_eq!((ruling.outcome, ruling.means), (GateOutcome::Granted, Means::PinAndStaff));
    for check in &ruling.checks {
        let face = [CheckName::Camera, CheckName::FaceComparison, CheckName::ReferenceTemplate];
        if face.contains(&check.name) {
            assert_eq!(check.reason, Some(Reason::DeclinedByGuest), "no face was looked at");
        }
    }
    assert_eq!(play.doorman.confirm(play.now, play.at, session, true, Lease::Runs), None, "once");
    assert_eq!(play.doorman.waiting(0), []);

    let mut play = Play::new();
    let (session, _) = decline(&mut play, 0);
    let ruling = play.doorman.confirm(play.now, play.at, session, false, Lease::Runs).unwrap();
    assert_eq!(play.ruled(ruling).reason, Some(Reason::RefusedByStaff));
    play.wait(5.0);
    decline(&mut play, 0);
    assert!(play.doorman.expire(play.now).0.is_empty());
    play.wait(60.0);
    let (rulings, _) = play.doorman.expire(play.now);
    assert_eq!(rulings[0].reason, Some(Reason::StaffAbsent));

    let mut closed = rules("north", Way::In);
    closed.fallback = false;
    let mut play = Play::with([closed.clone(), closed.clone(), closed]);
    assert!(matches!(decline(&mut play, 0).1, Next::Decided(r) if r.reason == Some(Reason::NotConfigured)));
}

#[test]
fn equipment_goes_with_the_person_and_is_told_without_one() {
    let mut play = Play::new();
    let drone = Some(name("drone-2"));
    play.doorman.tag(play.now, 2, drone.clone());
    play.doorman.tag(play.now, 2, None);
    play.wait(1.0);
    let (session, _) = play.holder(2, "p");
    play.doorman.tag(play.now, 2, drone.clone());
    let ruling =
        play.doorman.seen(play.now, play.at, session, &verdict(Outcome::Match), Lease::Runs).unwrap();
    let read = |n: &str, movement| EquipmentRead { equipment: name(n), movement };
    assert_eq!(ruling.equipment, [read("drone-2", Movement::TakenOut)], "each piece once");
    assert_eq!(ruling.unknown_tags, 1);
    // In the doorway another tag is read; then the watch is over.
    play.doorman.tag(play.now, 2, Some(name("battery")));
    let passage = play.doorman.watched(session, Watched::Alone).unwrap();
    assert_eq!(passage.session, Some(session));
    assert_eq!(passage.equipment, [read("drone-2", Movement::TakenOut), read("battery", Movement::TakenOut)]);
    assert_eq!(passage.checks, [Check::pass(CheckName::Tailgating)]);

    // Nobody presented anything.
    play.wait(5.0);
    play.doorman.tag(play.now, 0, drone.clone());
    play.doorman.tag(play.now, 1, None);
    assert!(play.doorman.expire(play.now).1.is_empty());
    play.wait(10.0);
    let (_, passages) = play.doorman.expire(play.now);
    assert_eq!(passages.len(), 1, "a tag in a coat is nobody's business: {passages:?}");
    assert_eq!(
        (passages[0].session, &passages[0].equipment),
        (None, &vec![read("drone-2", Movement::BroughtBack)])
    );
    assert_eq!(passages[0].checks[0].reason, Some(Reason::NothingPresented));
    // Left lying beside the antenna it is not told again.
    for _ in 0..20 {
        play.wait(10.0);
        play.doorman.tag(play.now, 0, drone.clone());
        assert!(play.doorman.expire(play.now).1.is_empty());
    }
}

#[test]
fn who_follows_is_told_and_what_was_not_watched_is_not_passed() {
    let mut play = Play::new();
    let ruling = play.comes(0, "p", Outcome::Match).unwrap();
    play.now -= Duration::from_secs(10);
    let passage = play.doorman.watched(ruling.session, Watched::Followed).unwrap();
    assert_eq!(passage.checks, [Check::fail(CheckName::Tailgating, Reason::FollowedClosely)]);
    assert_eq!(play.doorman.watched(ruling.session, Watched::Alone), None, "told once");
    play.wait(20.0);
    // The next person's session ends the watch.
    let first = play.comes(0, "q", Outcome::Match).unwrap();
    assert_eq!(play.doorman.watched(first.session, Watched::Cut(Reason::CameraBusy)), None);
    play.comes(0, "r", Outcome::Match).unwrap();
    let (_, passages) = play.doorman.expire(play.now);
    assert_eq!(passages[0].checks, [Check::not_checked(CheckName::Tailgating, Reason::CameraBusy)]);
    assert_eq!(passages[1].checks, [Check::not_checked(CheckName::Tailgating, Reason::CameraUnavailable)]);
}

#[derive(Clone, Debug)]
enum Op {
    Read { door: usize, who: u8, declines: bool },
    LookUp(u8),
    See(u8),
    Staff(bool),
    Tag(usize, bool),
    Wait(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0usize..4, 0u8..3, any::<bool>()).prop_map(|(door, who, declines)| Op::Read { door, who, declines }),
        4 => (0u8..8).prop_map(Op::LookUp),
        4 => (0u8..7).prop_map(Op::See),
        1 => any::<bool>().prop_map(Op::Staff),
        1 => (0usize..4, any::<bool>()).prop_map(|(d, k)| Op::Tag(d, k)),
        2 => (0u32..200_000).prop_map(Op::Wait),
    ]
}

proptest! {
    #[test]
    fn every_session_is_decided_at_most_once_and_never_granted_without_its_checks(
        ops in proptest::collection::vec(op(), 0..150),
    ) {
        let mut play = Play::new();
        let mut open: Vec<Uuid> = Vec::new();
        let mut decided = std::collections::HashSet::new();
        let outcomes = [Outcome::Match, Outcome::Match, Outcome::NoMatch, Outcome::NoFace,
            Outcome::PresentationAttackSuspected, Outcome::Timeout, Outcome::Error];
        for op in ops {
            let mut rulings = Vec::new();
            match op {
                Op::Read { door, who, declines } => {
                    let kind = if declines { ReadKind::Pin } else { ReadKind::Card };
                    let (session, arrived) = play.arrive(door, kind, u64::from(who) + if declines { 10 } else { 0 }, declines);
                    if arrived == Arrived::Begun { open.push(session); }
                }
                Op::LookUp(n) => if let Some(&session) = open.last() {
                    let p = person(&format!("p{}", n % 2));
                    let lookup = match n {
                        0 => Lookup::Unknown,
                        1 => Lookup::Unavailable,
                        2 => Lookup::ReaderSaidNo(Some(p)),
                        3 => Lookup::Holder(Person { lease: Lease::Over, ..p }),
                        _ => Lookup::Holder(p),
                    };
                    if let Some(Next::Decided(r)) = play.doorman.admit(play.now, play.at, session, lookup) {
                        rulings.push(*r);
                    }
                },
                Op::See(n) => if let Some(&session) = open.last() {
                    rulings.extend(play.doorman.seen(play.now, play.at, session, &verdict(outcomes[n as usize]), Lease::Runs));
                },
                Op::Staff(admit) => if let Some(&session) = open.last() {
                    rulings.extend(play.doorman.confirm(play.now, play.at, session, admit, Lease::Runs));
                },
                Op::Tag(door, known) => play.doorman.tag(play.now, door, known.then(|| name("drone"))),
                Op::Wait(ms) => {
                    play.wait(f64::from(ms) / 1e3);
                    let (expired, passages) = play.doorman.expire(play.now);
                    rulings.extend(expired);
                    for passage in passages {
                        prop_assert!(passage.session.is_none_or(|s| decided.contains(&s)));
                    }
                }
            }
            for ruling in rulings {
                let ruling = play.ruled(ruling);
                prop_assert!(decided.insert(ruling.session), "decided twice");
                open.retain(|s| *s != ruling.session);
                let passed = |name| ruling.checks.iter().any(|c| c.name == name && c.status == CheckStatus::Pass);
                let granted = ruling.outcome == GateOutcome::Granted;
                if granted {
                    for check in [CheckName::Credential, CheckName::Lease, CheckName::WeeklyHours, CheckName::Lockout, CheckName::OnePlace] {
                        prop_assert!(passed(check), "{ruling:?}");
                    }
                    prop_assert!(!ruling.checks.iter().any(|c| c.status == CheckStatus::Fail));
                    prop_assert_eq!(passed(CheckName::FaceComparison), ruling.means == Means::CredentialAndFace);
                    prop_assert_eq!(passed(CheckName::StaffConfirmation), ruling.means == Means::PinAndStaff);
                }
            }
        }
    }
}
