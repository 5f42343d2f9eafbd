use super::*;
use crate::event::{Band, PersonRef, SearchTerms};
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq)]
struct Person(u8);

impl Likeness for Person {
    fn similarity(&self, other: &Self) -> f32 {
        if self.0 == other.0 { 0.9 } else { 0.0 }
    }
    fn fuse(weighted: &[(&Self, f32)]) -> Option<Self> {
        weighted.first().map(|(p, _)| (*p).clone())
    }
}

const RULES: LookoutRules = LookoutRules { pictures: 3, same_person: 0.4, pass_gap: Duration::from_secs(30) };

fn seen(track: u64, x: f32, width: f32) -> Seen {
    Seen { track, width, landmarks: [[x, 0.0]; 5] }
}

fn sighted(person: u8) -> Sighted {
    Sighted {
        entry: Uuid::from_u128(person.into()),
        person: PersonRef::new(format!("m-{person}")).unwrap(),
        authority: "police/7".to_owned().try_into().unwrap(),
        band: Band::Above,
        terms: SearchTerms { searched: 1, fpir: 1e-4, fmr: 1e-4, population: "test".into() },
    }
}

/// A lookout, a clock, and everybody below 10 missing.
struct World {
    lookout: Lookout<Person>,
    start: Instant,
    ms: u64,
    looked_up: Vec<u8>,
    told: Vec<News>,
}

impl World {
    fn new() -> Self {
        Self {
            lookout: Lookout::new(RULES),
            start: Instant::now(),
            ms: 0,
            looked_up: Vec::new(),
            told: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    fn steps(&mut self) {
        let now = self.now();
        while let Some(step) = self.lookout.step(now) {
            match step {
                Step::LookUp { key, probe, .. } => {
                    self.looked_up.push(probe.0);
                    self.lookout.answer(now, key, (probe.0 < 10).then(|| sighted(probe.0)));
                }
                Step::Tell(news) => self.told.push(news),
            }
        }
    }

    /// 200 ms pass and a picture shows these: track, x, width, who.
    fn picture(&mut self, faces: &[(u64, f32, f32, u8)]) {
        self.ms += 200;
        let now = self.now();
        let time = Timestamp::from_millisecond(1_790_000_000_000 + self.ms as i64).unwrap();
        let seen: Vec<_> = faces.iter().map(|f| seen(f.0, f.1, f.2)).collect();
        self.lookout.picture(now, time, &seen);
        for face in faces {
            if self.lookout.wants(face.0, 0.5) {
                self.lookout.template(now, face.0, 0.5, Person(face.3));
            }
        }
        self.steps();
    }

    fn empty(&mut self, ms: u64) {
        for _ in 0..ms / 200 {
            self.picture(&[]);
        }
    }
}

#[test]
fn whoever_is_not_missing_is_looked_up_twice_at_most_and_forgotten() {
    let mut w = World::new();
    for i in 0..100 {
        w.picture(&[(1, i as f32, 100.0, 50)]);
    }
    assert_eq!(w.looked_up, [50], "once while nothing gets better");
    assert!(!w.lookout.is_empty() && !w.lookout.take_left());
    w.empty(1400);
    assert!(w.lookout.is_empty() && w.lookout.take_left() && w.told.is_empty());
    assert!(!w.lookout.take_left(), "told once");
    assert!(w.lookout.recent.is_empty(), "nothing is remembered of a stranger");
}

#[test]
fn a_better_picture_is_looked_up_at_the_end_and_never_more_than_that() {
    let mut w = World::new();
    let now = w.now();
    w.lookout.picture(now, Timestamp::UNIX_EPOCH, &[seen(1, 0.0, 50.0)]);
    let mut looks = 0;
    for rank in 1..50 {
        let rank = rank as f32 * 0.02 + 0.01;
        if w.lookout.wants(1, rank) {
            w.lookout.template(now, 1, rank, Person(50));
        }
        while let Some(step) = w.lookout.step(now) {
            looks += u32::from(matches!(step, Step::LookUp { .. }));
        }
    }
    assert_eq!(looks, 1, "the last look waits for the end");
    w.ms = 1200;
    w.lookout.tick(w.now());
    w.steps();
    assert_eq!(w.looked_up, [50]);
    assert!(w.lookout.is_empty());
}

#[test]
fn a_missing_person_is_told_once_a_pass_with_the_way_they_went() {
    let mut w = World::new();
    for i in 0..12 {
        w.picture(&[(1, 10.0 + 20.0 * i as f32, 100.0, 3)]);
    }
    assert_eq!(w.told.len(), 1, "{:?}", w.told);
    assert_eq!(w.told[0].travel, Travel::Right);
    assert!(w.told[0].first_seen < w.told[0].last_seen && w.told[0].pictures == 3);
    // The track breaks, and the person goes on in another one: the same pass.
    w.empty(1400);
    for i in 0..10 {
        w.picture(&[(2, 250.0 + 20.0 * i as f32, 100.0, 3)]);
    }
    w.empty(1400);
    assert_eq!(w.told.len(), 1);
    // Half a minute later somebody comes back.
    w.empty(32_000);
    for i in 0..12 {
        w.picture(&[(3, 500.0 - 20.0 * i as f32, 100.0, 3)]);
    }
    assert_eq!(w.told.len(), 2);
    assert_eq!(w.told[1].travel, Travel::Left);
}

#[test]
fn somebody_who_stays_for_long_is_one_pass() {
    let mut w = World::new();
    for _ in 0..500 {
        w.picture(&[(1, 10.0, 100.0, 3)]);
    }
    assert_eq!((w.told.len(), w.told[0].travel), (1, Travel::Stayed));
    w.empty(1400);
    for _ in 0..10 {
        w.picture(&[(2, 10.0, 100.0, 3)]);
    }
    w.empty(1400);
    assert_eq!(w.told.len(), 1, "seen a second ago");
}

#[test]
fn two_people_in_one_track_are_two_passes() {
    let mut w = World::new();
    w.picture(&[(1, 0.0, 100.0, 50)]);
    w.picture(&[(1, 0.0, 100.0, 3)]);
    for i in 0..12 {
        w.picture(&[(1, 0.0, 100.0 + 10.0 * i as f32, 3)]);
    }
    assert_eq!(w.looked_up[0], 50, "the first one too, by the picture there was");
    assert_eq!((w.told.len(), w.told[0].travel), (1, Travel::Towards));
    assert_eq!(w.told[0].sighted.person.as_str(), "m-3");
}

#[test]
fn ways_are_told_apart() {
    for (to, expected) in [
        ((0.0, 130.0), Travel::Towards),
        ((10.0, 75.0), Travel::Away),
        ((80.0, 100.0), Travel::Right),
        ((-80.0, 110.0), Travel::Left),
        ((10.0, 105.0), Travel::Stayed),
        ((f32::NAN, 100.0), Travel::Stayed),
    ] {
        let mut w = World::new();
        w.picture(&[(1, 0.0, 100.0, 3)]);
        w.ms += 600;
        w.picture(&[(1, to.0, to.1, 3)]);
        w.ms += 600;
        w.picture(&[(1, to.0, to.1, 3)]);
        w.empty(1400);
        assert_eq!(w.told[0].travel, expected, "{to:?}");
    }
}

#[test]
fn a_session_ends_every_pass_after_a_last_look() {
    let mut w = World::new();
    w.picture(&[(1, 0.0, 100.0, 3), (2, 300.0, 100.0, 50)]);
    assert!(w.looked_up.is_empty());
    w.lookout.end();
    w.steps();
    assert_eq!(w.looked_up.len(), 2);
    assert_eq!((w.told.len(), w.told[0].travel), (1, Travel::Unknown));
    assert!(w.lookout.is_empty());
}

proptest! {
    #[test]
    fn whatever_comes_is_bounded_and_ends(
        pictures in proptest::collection::vec(
            proptest::collection::vec((0u64..60, -1e4f32..1e4, 0f32..500.0, 0u8..20), 0..50), 0..60),
    ) {
        let mut w = World::new();
        for faces in &pictures {
            w.picture(faces);
            prop_assert!(w.lookout.passes.len() <= MAX_PASSES);
            prop_assert!(w.lookout.passes.iter().all(|p| p.best.len() <= 3 && p.looks <= LOOKS));
        }
        w.empty(1400);
        prop_assert!(w.lookout.is_empty());
        for news in &w.told {
            let same = w.told.iter().filter(|n| n.sighted.entry == news.sighted.entry).count();
            prop_assert_eq!(same, 1, "all of it lies within one gap");
        }
    }
}
