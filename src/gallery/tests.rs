use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::base::clock::ManualClock;
use crate::config::FalsePositiveRate;
use crate::event::{CredentialKind, EntryTerms, GalleryChange, GalleryReason, GalleryRevoke};
use crate::infer::{CalibrationPoint, CalibrationRow};

const START: &str = "2026-03-02T10:00:00Z";

pub(super) struct Bench {
    pub(super) dir: tempfile::TempDir,
    pub(super) clock: Arc<ManualClock>,
    pub(super) master: MasterKey,
    pub(super) config: GalleryConfig,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(START.parse().unwrap())),
            master: MasterKey::generate().unwrap(),
            config: GalleryConfig {
                purposes: Purpose::ALL.into(),
                timezone: Some(crate::config::Zone::try_new("Asia/Shanghai").unwrap()),
                ..GalleryConfig::default()
            },
        }
    }

    pub(super) fn setup(&self, model: &str) -> Setup {
        let model = ModelRef { name: "test".into(), sha256: model.repeat(64) };
        let points = [(1e-2, 0.32), (1e-3, 0.40), (1e-4, 0.45), (1e-5, 0.5)];
        let row = CalibrationRow {
            population: "everybody".into(),
            impostor_pairs: 16_000_000,
            points: points.map(|(fmr, score)| CalibrationPoint { fmr, score }).into(),
            impostor_median: None,
        };
        Setup {
            state_dir: self.dir.path().to_owned(),
            config: self.config.clone(),
            calibration: Calibration::new(model.clone(), vec![row]).unwrap(),
            model,
            clock: self.clock.clone(),
        }
    }

    pub(super) fn open(&self) -> Gallery {
        Gallery::open(self.setup("a"), self.master.clone()).unwrap()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Every byte of the state directory.
    fn image(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for file in std::fs::read_dir(self.dir.path()).unwrap() {
            all.extend(std::fs::read(file.unwrap().path()).unwrap());
        }
        all
    }
}

pub(super) fn face(seed: u64) -> Template {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut values = std::array::from_fn(|_| {
        // Twelve uniform numbers make a normal one, near enough.
        (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
    });
    Template::from_raw(&mut values).unwrap()
}

pub(super) fn person(n: u64) -> PersonRef {
    PersonRef::new(format!("p-{n:05}")).unwrap()
}

pub(super) fn terms(bench: &Bench, n: u64) -> EntryTerms {
    EntryTerms {
        person_ref: person(n),
        purpose: Purpose::Tenant,
        basis: "consent:form/1".parse().unwrap(),
        valid_from: None,
        valid_until: bench.now() + SignedDuration::from_hours(24 * 30),
        hours: None,
        language: None,
        credentials: vec![card(n)],
    }
}

fn card(n: u64) -> CredentialText {
    CredentialText { kind: CredentialKind::Card, value: format!("{n:010X}") }
}

fn me() -> Actor {
    Actor::new("operator:test").unwrap()
}

fn put(gallery: &Gallery, terms: EntryTerms, face: Template) -> std::result::Result<Outcome, Denied> {
    let source = format!("{:?}", face.values());
    let e = gallery.enrolment(terms, face, &[source.as_bytes()], Vec::new()).unwrap();
    gallery.put(&e, &me())
}

fn reason(result: std::result::Result<Outcome, Denied>) -> Refusal {
    match result {
        Err(Denied::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn alike(a: &Template, b: Option<Template>) -> bool {
    b.is_some_and(|b| a.similarity(&b) > 0.999)
}

#[test]
fn a_person_is_enrolled_found_by_the_card_and_there_after_a_restart() {
    let bench = Bench::new();
    let gallery = bench.open();
    let done = put(&gallery, terms(&bench, 1), face(1)).unwrap();
    assert_eq!(done.change, Some(GalleryChange::Enrolled));
    let same = put(&gallery, terms(&bench, 1), face(1)).unwrap();
    assert_eq!(same, Outcome { change: None, entry: done.entry }, "the same again changes nothing");
    drop(gallery);
    let gallery = bench.open();
    let holder = gallery.resolve(&card(1)).unwrap().unwrap();
    assert_eq!((holder.person, holder.standing), (person(1), Standing::Valid));
    assert_eq!(Some(holder.entry), done.entry);
    assert!(alike(&face(1), gallery.template(holder.entry)));
    assert_eq!(gallery.resolve(&card(2)).unwrap(), None);
    let again = put(&gallery, terms(&bench, 1), face(2)).unwrap();
    assert_eq!(again.change, Some(GalleryChange::Replaced));
    assert_eq!(gallery.template(holder.entry).map(|_| ()), None, "the old entry is gone");
    assert!(alike(&face(2), gallery.template(again.entry.unwrap())));
    assert_eq!(gallery.stats().entries, 1);
    // Nothing of it can be read without the key.
    let image = bench.image();
    for clear in [b"p-00001".as_slice(), b"form/1", b"0000000001"] {
        assert!(!image.windows(clear.len()).any(|w| w == clear), "{}", String::from_utf8_lossy(clear));
    }
}

#[test]
fn time_is_asked_at_the_moment_of_comparison() {
    let bench = Bench::new();
    let gallery = bench.open();
    let mut night = terms(&bench, 1);
    night.valid_from = Some(bench.now() + SignedDuration::from_hours(1));
    night.hours = Some("mon 20:00-02:00".parse().unwrap());
    night.valid_until = bench.now() + SignedDuration::from_hours(15);
    let id = put(&gallery, night, face(1)).unwrap().entry.unwrap();
    // 10:00 UTC is 18:00 in Shanghai, on a Monday.
    for (hours, standing) in [
        (0, Standing::NotYet),
        (1, Standing::OutOfHours),
        (1, Standing::Valid),
        (5, Standing::Valid),
        (1, Standing::OutOfHours),
        (7, Standing::Expired),
    ] {
        bench.clock.advance(Duration::from_secs(3600 * hours));
        assert_eq!(gallery.standing(id), Some(standing), "{}", bench.now());
        assert_eq!(gallery.template(id).is_some(), standing == Standing::Valid);
        let query = SearchQuery { purposes: vec![Purpose::Tenant], limit: 3, fpir: None };
        assert_eq!(
            gallery.search(&face(1), &query).unwrap().hits.len(),
            usize::from(standing == Standing::Valid)
        );
        assert_eq!(gallery.resolve(&card(1)).unwrap().unwrap().standing, standing);
    }
    // A clock that was never set erases nobody.
    bench.clock.set_wall(bench.now(), crate::base::TimeQuality::Unsynced);
    assert_eq!(gallery.maintain().unwrap().expired, 0);
    bench.clock.set_wall(bench.now(), crate::base::TimeQuality::Synced);
    assert_eq!(gallery.maintain().unwrap().expired, 1);
    assert_eq!((gallery.standing(id), gallery.stats().entries), (None, 0));
}

#[test]
fn what_is_against_the_rules_is_refused_and_noted() {
    let mut bench = Bench::new();
    bench.config.purposes = vec![Purpose::Tenant, Purpose::Guest];
    bench.config.max_entries = 2;
    let gallery = bench.open();
    put(&gallery, terms(&bench, 1), face(1)).unwrap();
    let twin = reason(put(&gallery, terms(&bench, 2), face(1)));
    assert_eq!((twin.reason, twin.alike), (GalleryReason::AlreadyEnrolled, vec![person(1)]));
    let e = Error::from(Denied::Refused(Refusal::of(GalleryReason::AlreadyEnrolled)));
    assert!(!e.to_string().contains("p-0"), "{e}");
    let mut taken = terms(&bench, 2);
    taken.credentials = vec![card(1)];
    assert_eq!(reason(put(&gallery, taken, face(2))).reason, GalleryReason::CredentialTaken);
    let mut staff = terms(&bench, 2);
    staff.purpose = Purpose::Staff;
    assert_eq!(reason(put(&gallery, staff, face(2))).reason, GalleryReason::PurposeNotAllowed);
    let mut old = terms(&bench, 2);
    old.valid_until = bench.now();
    assert_eq!(reason(put(&gallery, old, face(2))).reason, GalleryReason::AlreadyExpired);
    // Somebody looked: they are two people.
    let e = gallery.enrolment(terms(&bench, 2), face(1), &[b"x"], vec![person(1)]).unwrap();
    assert_eq!(gallery.put(&e, &me()).unwrap().change, Some(GalleryChange::Enrolled));
    assert_eq!(reason(put(&gallery, terms(&bench, 3), face(3))).reason, GalleryReason::GalleryFull);
    assert!(put(&gallery, terms(&bench, 2), face(9)).is_ok(), "a full gallery still replaces");
    let mut refused = 0;
    let verdict = gallery
        .audit_log(|body| {
            refused += usize::from(body.contains("\"refuse\""));
            assert!(!body.contains("p-0"), "{body}");
            Ok(())
        })
        .unwrap();
    assert_eq!((verdict.broken, refused), (None, 5));
}

#[test]
fn in_one_batch_nobody_is_enrolled_twice() {
    let bench = Bench::new();
    let gallery = bench.open();
    let make = |n, seed| gallery.enrolment(terms(&bench, n), face(seed), &[b"x"], Vec::new()).unwrap();
    let outcomes =
        gallery.put_all(&[make(1, 1), make(2, 1), make(3, 3), make(3, 3), make(3, 4)], &me()).unwrap();
    assert_eq!(outcomes[1].as_ref().unwrap_err().alike, vec![person(1)]);
    assert_eq!(outcomes[3].as_ref().unwrap().change, None);
    assert_eq!(gallery.stats().entries, 2);
    assert_eq!(gallery.notices(10).unwrap().last().unwrap().changed.entries, 2);
    drop(gallery);
    assert_eq!(bench.open().stats().entries, 2);
}

#[test]
fn one_process_sees_what_the_other_does() {
    let bench = Bench::new();
    let (a, b) = (bench.open(), bench.open());
    put(&a, terms(&bench, 1), face(1)).unwrap();
    assert_eq!(b.resolve(&card(1)).unwrap(), None);
    b.maintain().unwrap();
    assert_eq!(b.resolve(&card(1)).unwrap().unwrap().person, person(1));
    // Without a look in between: the transaction looks for itself.
    put(&a, terms(&bench, 2), face(2)).unwrap();
    assert_eq!(reason(put(&b, terms(&bench, 3), face(2))).reason, GalleryReason::AlreadyEnrolled);
    put(&b, terms(&bench, 3), face(3)).unwrap();
    b.erase(&person(1), &me()).unwrap();
    a.refresh().unwrap();
    assert_eq!(a.show(&person(1)), None);
    assert!(a.show(&person(3)).is_some());
    let told: Vec<_> = a.notices(100).unwrap().into_iter().map(|n| n.changed.change).collect();
    assert_eq!(
        told,
        [GalleryChange::Enrolled, GalleryChange::Enrolled, GalleryChange::Enrolled, GalleryChange::Erased]
    );
    let last = a.notices(100).unwrap()[2].number;
    b.noticed(last).unwrap();
    assert_eq!(a.notices(100).unwrap().len(), 1);
}

#[test]
fn the_wrong_key_and_the_wrong_model_are_refused_in_one_line() {
    let bench = Bench::new();
    put(&bench.open(), terms(&bench, 1), face(1)).unwrap();
    let e = Gallery::open(bench.setup("a"), MasterKey::generate().unwrap()).unwrap_err();
    assert_eq!(e.kind(), Kind::Config);
    assert!(e.to_string().contains("is sealed with key"), "{e}");
    let e = Gallery::open(bench.setup("b"), bench.master.clone()).unwrap_err();
    assert_eq!(e.kind(), Kind::Mismatch);
    assert!(e.to_string().contains("was enrolled with model") && !e.to_string().contains('\n'), "{e}");

    let gallery = Gallery::open_any_model(bench.setup("b"), bench.master.clone()).unwrap();
    assert_eq!(gallery.to_enrol_again(None).entries.len(), 1);
    assert_eq!(gallery.migrate(&me()).unwrap(), 1);
    let holder = gallery.resolve(&card(1)).unwrap().unwrap();
    assert_eq!(holder.standing, Standing::Awaiting);
    assert!(gallery.template(holder.entry).is_none());
    drop(gallery);
    let gallery = Gallery::open(bench.setup("b"), bench.master.clone()).unwrap();
    assert_eq!(gallery.to_enrol_again(None).entries.len(), 1);
    assert_eq!(put(&gallery, terms(&bench, 1), face(1)).unwrap().change, Some(GalleryChange::Replaced));
    assert_eq!(gallery.to_enrol_again(None).entries.len(), 0);
    assert!(Gallery::open(bench.setup("a"), bench.master.clone()).is_err());
}

/// What is on disk of one person: wrapped key, template, and the nonces and bodies of both.
fn traces(gallery: &Gallery, n: u64) -> Vec<Vec<u8>> {
    let db = lock(&gallery.0.db);
    let index = gallery.index();
    let row = &index.rows()[index.by_person(&person(n)).unwrap()];
    let slot = db::read_slot(&db.conn, row.slot).unwrap();
    let (wrapped, template) = slot.split_at(db::WRAPPED);
    [&wrapped[..24], &wrapped[24..], &template[..24], &template[24..], &template[24..56], &template[504..]]
        .map(<[u8]>::to_vec)
        .into()
}

fn found(image: &[u8], traces: &[Vec<u8>]) -> usize {
    // A hash of every eight bytes would be faster; the images are small.
    traces.iter().filter(|t| memchr(image, t)).count()
}

fn memchr(image: &[u8], wanted: &[u8]) -> bool {
    image.windows(8).enumerate().any(|(at, w)| w == &wanted[..8] && image[at..].starts_with(wanted))
}

#[test]
fn nothing_of_an_erased_person_is_in_the_state_directory() {
    let bench = Bench::new();
    let gallery = bench.open();
    let mut rng = StdRng::seed_from_u64(7);
    let (mut here, mut gone) = (BTreeSet::new(), Vec::new());
    for n in 0..90 {
        put(&gallery, terms(&bench, n), face(n)).unwrap();
        here.insert(n);
        if n % 3 == 2 {
            let victim = *here.iter().nth(rng.random_range(0..here.len())).unwrap();
            let traces = traces(&gallery, victim);
            if n % 2 == 0 {
                gallery.erase(&person(victim), &me()).unwrap();
                here.remove(&victim);
            } else {
                // A person enrolled anew leaves nothing of the old entry either.
                put(&gallery, terms(&bench, victim), face(10_000 + n)).unwrap();
            }
            gone.extend(traces);
        }
    }
    let image = bench.image();
    assert_eq!(found(&image, &gone), 0, "of {} traces", gone.len());
    // The search is able to find: what was not erased is there.
    let kept = traces(&gallery, *here.first().unwrap());
    assert_eq!(found(&image, &kept), kept.len());
    // A revoked person's template is gone, an expired person's everything.
    let (revoked, rest) = (*here.first().unwrap(), *here.last().unwrap());
    let template = traces(&gallery, revoked)[2..].to_vec();
    let revoke = GalleryRevoke { person_ref: person(revoked), credential: None, keep_record: true };
    assert_eq!(gallery.revoke(&revoke, &me()).unwrap().change, Some(GalleryChange::Revoked));
    let expired = traces(&gallery, rest);
    bench.clock.advance(Duration::from_secs(31 * 86_400));
    gallery.maintain().unwrap();
    assert_eq!(found(&bench.image(), &[template, expired].concat()), 0);
    assert_eq!(gallery.stats().entries, 0);
}

/// With the master key in hand: no 32 bytes of the image are a data key that opens the template.
#[test]
fn with_the_master_key_in_hand_the_template_cannot_be_recovered() {
    let bench = Bench::new();
    let gallery = bench.open();
    for n in 0..3 {
        put(&gallery, terms(&bench, n), face(n)).unwrap();
    }
    let victim = 1;
    let (id, sealed) = {
        let db = lock(&gallery.0.db);
        let index = gallery.index();
        let row = &index.rows()[index.by_person(&person(victim)).unwrap()];
        (row.id, db::read_slot(&db.conn, row.slot).unwrap())
    };
    let opens = |image: &[u8]| {
        let aad = key_aad(id);
        // Where all is zeros there is no key, and most of a database is zeros.
        let mut windows = image.windows(db::WRAPPED).filter(|w| w[24..56].iter().any(|b| *b != 0));
        windows.any(|w| bench.master.wrap().open(&aad, w).is_ok())
    };
    gallery.maintain().unwrap();
    assert!(opens(&bench.image()), "the search is able to find");
    gallery.erase(&person(victim), &me()).unwrap();
    assert!(!opens(&bench.image()));
    // Whoever kept the sealed template has nothing to open it with.
    assert!(!memchr(&bench.image(), &sealed[..db::WRAPPED]));
}

#[test]
fn after_a_rotation_the_old_key_opens_nothing() {
    let bench = Bench::new();
    let gallery = bench.open();
    for n in 0..20 {
        put(&gallery, terms(&bench, n), face(n)).unwrap();
    }
    let old: Vec<_> = (0..20).map(|n| traces(&gallery, n)[1].clone()).collect();
    let other = bench.open();
    let new = MasterKey::generate().unwrap();
    assert_eq!(gallery.rotate(&new, &me()).unwrap(), 20);
    assert_eq!(found(&bench.image(), &old), 0);
    assert!(other.maintain().unwrap_err().to_string().contains("its key was changed"));
    put(&gallery, terms(&bench, 20), face(20)).unwrap();
    drop((gallery, other));
    assert!(Gallery::open(bench.setup("a"), bench.master.clone()).is_err());
    let gallery = Gallery::open(bench.setup("a"), new).unwrap();
    assert_eq!((gallery.stats().entries, gallery.stats().damaged), (21, 0));
    assert!(alike(&face(7), gallery.template(gallery.holder_of(&person(7)).unwrap().entry)));
}

#[test]
fn an_edited_audit_log_names_its_first_broken_record() {
    let bench = Bench::new();
    let gallery = bench.open();
    for n in 0..5 {
        put(&gallery, terms(&bench, n), face(n)).unwrap();
    }
    let sound = gallery.audit_log(|_| Ok(())).unwrap();
    assert_eq!((sound.records, sound.broken), (7, None));
    assert_eq!(sound.head.seq, 7);
    let broken = |sql: &str| {
        let db = lock(&gallery.0.db);
        db.conn.execute_batch(&format!("SAVEPOINT s; {sql}")).unwrap();
        let verdict = audit::verify(&db.conn, &gallery.0.secrets.audit, |_| Ok(())).unwrap();
        db.conn.execute_batch("ROLLBACK TO s; RELEASE s").unwrap();
        verdict.broken.unwrap_or_else(|| panic!("{sql} was not seen"))
    };
    for (sql, seq, what) in [
        (
            "UPDATE audit SET body = replace(body, 'operator', 'somebody') WHERE seq = 4",
            4,
            "text or its hash",
        ),
        ("UPDATE audit SET hash = zeroblob(32) WHERE seq = 5", 5, "text or its hash"),
        ("DELETE FROM audit WHERE seq = 3", 3, "missing"),
        ("DELETE FROM audit WHERE seq = 1", 1, "missing"),
        ("DELETE FROM audit WHERE seq > 5", 6, "cut off"),
        ("DELETE FROM audit", 1, "cut off"),
        ("DELETE FROM meta WHERE name = 'audit-head'", 7, "not the record"),
        (
            "INSERT INTO audit SELECT seq + 1, at_s, body, hash FROM audit WHERE seq = 7",
            8,
            "text or its hash",
        ),
    ] {
        let found = broken(sql);
        assert_eq!(found.seq, seq, "{sql}: {found:?}");
        assert!(found.what.contains(what), "{sql}: {found:?}");
    }
    let db = lock(&gallery.0.db);
    let mut head = db::get(&db.conn, "audit-head").unwrap().unwrap();
    head[71] ^= 1;
    db::set(&db.conn, "audit-head", &head).unwrap();
    let verdict = audit::verify(&db.conn, &gallery.0.secrets.audit, |_| Ok(())).unwrap();
    assert!(verdict.broken.unwrap().what.contains("mark at"));
}

#[test]
fn the_audit_log_is_shortened_from_its_old_end_and_still_verifies() {
    let mut bench = Bench::new();
    bench.config.audit_days = 30;
    let gallery = bench.open();
    for n in 0..4 {
        put(&gallery, terms(&bench, n), face(n)).unwrap();
        bench.clock.advance(Duration::from_secs(86_400));
    }
    gallery.record_soon(Some(&person(1)), Note::new(Action::Match, &me()).note("granted")).unwrap();
    assert_eq!(gallery.maintain().unwrap().noted, 1);
    bench.clock.advance(Duration::from_secs(28 * 86_400 + 3600));
    let done = gallery.maintain().unwrap();
    assert_eq!(done.pruned, 5, "made, configured, and three people");
    assert_eq!(done.expired, 3);
    let verdict = gallery.audit_log(|_| Ok(())).unwrap();
    assert_eq!((verdict.broken, verdict.first), (None, 6));
    let db = lock(&gallery.0.db);
    db.conn.execute("DELETE FROM audit WHERE seq = 6", []).unwrap();
    let verdict = audit::verify(&db.conn, &gallery.0.secrets.audit, |_| Ok(())).unwrap();
    assert_eq!(verdict.broken.unwrap().seq, 6);
}

#[test]
fn orders_are_carried_out_once_and_in_their_order() {
    let bench = Bench::new();
    let gallery = bench.open();
    let order = |seq, text: u8| Order { source: Actor::new("hub:h").unwrap(), seq, digest: [text; 32] };
    let e = gallery.enrolment(terms(&bench, 1), face(1), &[b"x"], Vec::new()).unwrap();
    let first = gallery.put_ordered(&e, &order(5, 1)).unwrap();
    assert_eq!((first.change, first.repeated), (Some(GalleryChange::Enrolled), false));
    assert_eq!(gallery.seen(&order(6, 2)).unwrap(), None);
    let again = gallery.put_ordered(&e, &order(5, 1)).unwrap();
    assert_eq!(again, crate::event::GalleryDone { repeated: true, ..first.clone() });
    assert_eq!(gallery.put_ordered(&e, &order(5, 2)).unwrap().refused, Some(GalleryReason::NumberReused));
    let revoke = GalleryRevoke { person_ref: person(1), credential: None, keep_record: false };
    assert_eq!(gallery.revoke_ordered(&revoke, &order(7, 3)).unwrap().change, Some(GalleryChange::Erased));
    // The put was delivered once more, after the revoke: it brings nobody back.
    assert_eq!(gallery.put_ordered(&e, &order(5, 1)).unwrap().refused, Some(GalleryReason::Stale));
    assert_eq!(gallery.stats().entries, 0);
    drop(gallery);
    let gallery = bench.open();
    assert!(gallery.revoke_ordered(&revoke, &order(7, 3)).unwrap().repeated, "it is on disk");
    // A refusal is remembered as well.
    let refused = gallery.refuse_ordered(GalleryReason::SeveralFaces, &order(8, 4)).unwrap();
    assert_eq!(refused.refused, Some(GalleryReason::SeveralFaces));
    assert!(gallery.seen(&order(8, 4)).unwrap().unwrap().repeated);
}

#[test]
fn one_credential_is_revoked_and_the_face_stays() {
    let bench = Bench::new();
    let gallery = bench.open();
    let mut two = terms(&bench, 1);
    two.credentials.push(card(100));
    let id = put(&gallery, two, face(1)).unwrap().entry.unwrap();
    let lost = GalleryRevoke { person_ref: person(1), credential: Some(card(100)), keep_record: false };
    assert_eq!(gallery.revoke(&lost, &me()).unwrap().change, Some(GalleryChange::CredentialRevoked));
    assert_eq!(gallery.revoke(&lost, &me()).unwrap().change, None);
    drop(gallery);
    let gallery = bench.open();
    assert_eq!(gallery.resolve(&card(100)).unwrap(), None);
    assert_eq!(gallery.resolve(&card(1)).unwrap().unwrap().entry, id);
    assert!(alike(&face(1), gallery.template(id)));
    let all = GalleryRevoke { person_ref: person(1), credential: None, keep_record: true };
    gallery.revoke(&all, &me()).unwrap();
    assert_eq!(gallery.resolve(&card(1)).unwrap().unwrap().standing, Standing::Revoked);
    assert!(gallery.template(id).is_none());
}

#[test]
fn a_search_ranks_as_a_plain_loop_in_f64_does() {
    let bench = Bench::new();
    let gallery = bench.open();
    let people = 700;
    let all: Vec<_> = (0..people)
        .map(|n| {
            let mut t = terms(&bench, n);
            t.purpose = if n % 2 == 0 { Purpose::Guest } else { Purpose::Staff };
            gallery.enrolment(t, face(n), &[b"x"], Vec::new()).unwrap()
        })
        .collect();
    assert!(gallery.put_all(&all, &me()).unwrap().iter().all(|o| o.is_ok()));
    let mut unclear = 0;
    for seed in 0..20u64 {
        // Somebody between two enrolled people, so that there is something to rank.
        let probe =
            Template::fuse(&[(&face(seed), 0.7), (&face(seed + 2), 0.68), (&face(9_000 + seed), 0.4)]);
        let probe = probe.unwrap();
        let index = gallery.index();
        let mut plain: Vec<(f64, PersonRef)> = index
            .rows()
            .iter()
            .enumerate()
            .filter(|(_, r)| r.record.purpose == Purpose::Guest)
            .map(|(at, r)| {
                let row = index.matrix().row(at).unwrap();
                let score: f64 =
                    row.iter().zip(probe.values()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                (score, r.record.person.clone())
            })
            .collect();
        plain.sort_by(|a, b| b.0.total_cmp(&a.0));
        let purposes = vec![Purpose::Guest];
        let found = gallery.search(&probe, &SearchQuery { purposes, limit: 10, fpir: None }).unwrap();
        let threshold = identification_threshold(&gallery.0.calibration, gallery.0.config.fpir, 350).unwrap();
        let expected: Vec<_> =
            plain.iter().take_while(|(s, _)| *s as f32 >= threshold.score).map(|(_, p)| p.clone()).collect();
        assert_eq!(found.hits.iter().map(|h| h.person.clone()).collect::<Vec<_>>(), expected);
        assert_eq!(found.terms.unwrap().searched, 350);
        assert_eq!(found.clear, plain[0].0 - plain[1].0 >= f64::from(gallery.0.config.margin));
        unclear += usize::from(!found.clear);
    }
    assert!((1..20).contains(&unclear), "two people this near each other are no answer: {unclear}");
}

#[test]
fn an_identification_is_recorded_without_saying_who() {
    let bench = Bench::new();
    let gallery = bench.open();
    let query = SearchQuery { purposes: vec![Purpose::Tenant], limit: 3, fpir: None };
    assert_eq!(gallery.identify(&face(1), &query, &me()).unwrap().terms, None, "nobody to be compared with");
    put(&gallery, terms(&bench, 1), face(1)).unwrap();
    let found = gallery.identify(&face(1), &query, &me()).unwrap();
    assert_eq!(
        (found.outcome(), found.hits[0].candidate().person_ref),
        (crate::event::IdentifyOutcome::Candidates, person(1))
    );
    assert!(!format!("{found:?}").contains("p-0"));
    assert_eq!(gallery.identify(&face(2), &query, &me()).unwrap().hits, []);
    let mut last = String::new();
    let mut searches = 0;
    gallery
        .audit_log(|body| {
            searches += usize::from(body.contains("\"search\""));
            last = body.to_owned();
            Ok(())
        })
        .unwrap();
    assert_eq!(searches, 3);
    assert!(last.contains("no_match among 1") && !last.contains("subject"), "{last}");
}

#[test]
fn the_threshold_follows_the_number_of_people_and_is_never_made_up() {
    let setup = Bench::new().setup("a");
    let rate = |r| FalsePositiveRate::try_new(r).unwrap();
    let at = |fpir, n| identification_threshold(&setup.calibration, rate(fpir), n);
    let small = at(0.01, 10).unwrap();
    let large = at(0.01, 1000).unwrap();
    assert!((small.fmr - 1.0045e-3).abs() < 1e-6, "{}", small.fmr);
    assert!(large.score > small.score && large.fmr < 1.01e-5);
    let e = at(0.01, 10_000).unwrap_err().to_string();
    assert!(e.contains("10000 entries") && e.contains("0.10 over") && e.contains("over 1005 of them"), "{e}");
    assert_eq!(
        at(0.1, 10_000).unwrap().score,
        at(0.01, 954).unwrap().score.min(at(0.1, 10_000).unwrap().score)
    );
    assert!(at(0.1, 100_000).is_err());
}

#[test]
fn a_damaged_entry_is_counted_and_hinders_nobody() {
    let bench = Bench::new();
    let gallery = bench.open();
    for n in 0..3 {
        put(&gallery, terms(&bench, n), face(n)).unwrap();
    }
    {
        let db = lock(&gallery.0.db);
        let mut slot = db::read_slot(&db.conn, 1).unwrap();
        slot[100] ^= 1;
        db::write_slot(&db.conn, 1, &slot).unwrap();
        // Swapped slots do not fit their entries: the additional data names them.
    }
    drop(gallery);
    let gallery = bench.open();
    assert_eq!((gallery.stats().entries, gallery.stats().damaged), (2, 1));
    put(&gallery, terms(&bench, 7), face(7)).unwrap();
    drop(gallery);
    let gallery = bench.open();
    assert_eq!((gallery.stats().entries, gallery.stats().damaged), (3, 1));
    // It can be erased and enrolled anew by its reference, and its time ends it.
    let damaged = (0..3).find(|n| gallery.show(&person(*n)).is_none()).unwrap();
    assert!(gallery.erase(&person(damaged), &me()).unwrap().change.is_some());
    assert_eq!(gallery.stats().damaged, 0);
    for n in [damaged, 8] {
        put(&gallery, terms(&bench, n), face(n)).unwrap();
    }
    let slot =
        { lock(&gallery.0.db).conn.query_row("SELECT max(slot) FROM entry", [], |r| r.get(0)).unwrap() };
    db::erase_slot(&lock(&gallery.0.db).conn, slot).unwrap();
    drop(gallery);
    let gallery = bench.open();
    assert_eq!((gallery.stats().entries, gallery.stats().damaged), (4, 1));
    let damaged = [0, 1, 2, 7, 8].into_iter().find(|n| gallery.show(&person(*n)).is_none()).unwrap();
    assert_eq!(
        put(&gallery, terms(&bench, damaged), face(damaged)).unwrap().change,
        Some(GalleryChange::Enrolled)
    );
    assert_eq!((gallery.stats().entries, gallery.stats().damaged), (5, 0));
    bench.clock.advance(Duration::from_secs(31 * 86_400));
    assert_eq!(gallery.maintain().unwrap().expired, 5);
}

#[test]
fn pins_need_the_pin() {
    let bench = Bench::new();
    let gallery = bench.open();
    let pin = |value: &str| CredentialText { kind: CredentialKind::Pin, value: value.into() };
    let mut t = terms(&bench, 1);
    t.credentials = vec![pin("17#123456")];
    put(&gallery, t, face(1)).unwrap();
    assert!(gallery.resolve(&pin("17#123456")).unwrap().is_some());
    for wrong in ["17#123457", "18#123456", "17", "17#"] {
        assert_eq!(gallery.resolve(&pin(wrong)).unwrap(), None, "{wrong}");
    }
}

/// Keeps what it is handed, and may be told to fail.
#[derive(Default)]
struct Book {
    drafts: Mutex<Vec<crate::event::Draft>>,
    full: AtomicBool,
}

impl crate::event::Recorder for Book {
    fn record(
        &self,
        draft: crate::event::Draft,
    ) -> tokio::sync::oneshot::Receiver<Result<crate::event::Envelope>> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        let envelope = crate::event::Envelope {
            specversion: "1.0".into(),
            id: Uuid::now_v7(),
            source: "/vigil/v1/s/b".into(),
            ty: draft.kind.cloud_event_type(),
            subject: draft.subject.clone(),
            time: draft.time,
            datacontenttype: "application/json".into(),
            seq: 1,
            bootid: Uuid::nil(),
            timequality: crate::base::TimeQuality::Synced,
            replayed: false,
            notafter: None,
            data: draft.data.clone(),
        };
        let full = self.full.load(Ordering::Relaxed);
        let answer = if full { Err(Error::new(Kind::NoSpace, Culprit::Disk, "full")) } else { Ok(envelope) };
        if !full {
            lock(&self.drafts).push(draft);
        }
        let _ = tx.send(answer);
        rx
    }

    fn ready(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn every_change_reaches_the_recorder_and_none_is_forgotten_when_it_fails() {
    let mut bench = Bench::new();
    bench.config.warn_entries = 1;
    let gallery = bench.open();
    let book = Book { full: true.into(), ..Book::default() };
    let mut full = false;
    put(&gallery, terms(&bench, 1), face(1)).unwrap();
    assert!(keeper::warn_if_full(&gallery, &book, &mut full).is_err() && !full, "it is tried again");
    let made = bench.now();
    bench.clock.advance(Duration::from_secs(60));
    gallery.erase(&person(1), &me()).unwrap();
    assert!(keeper::tell(&gallery, &book).is_err());
    book.full.store(false, Ordering::Relaxed);
    assert_eq!(keeper::tell(&gallery, &book).unwrap(), 2);
    assert_eq!(keeper::tell(&gallery, &book).unwrap(), 0);
    let drafts = lock(&book.drafts);
    let changes: Vec<_> = drafts.iter().map(|d| d.data["change"].as_str().unwrap()).collect();
    assert_eq!(changes, ["enrolled", "erased"]);
    assert_eq!(drafts[0].time, made, "the time of the change, not of its telling");
    drop(drafts);
    lock(&book.drafts).clear();
    put(&gallery, terms(&bench, 2), face(2)).unwrap();
    for _ in 0..3 {
        keeper::warn_if_full(&gallery, &book, &mut full).unwrap();
    }
    gallery.erase(&person(2), &me()).unwrap();
    for _ in 0..3 {
        keeper::warn_if_full(&gallery, &book, &mut full).unwrap();
    }
    let alarms: Vec<_> = lock(&book.drafts).iter().map(|d| d.data["state"].clone()).collect();
    assert_eq!(alarms, ["raised", "cleared"]);
    assert!(!bench.image().windows(7).any(|w| w == b"p-00001"));
}
