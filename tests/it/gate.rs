//! Verification sessions on their real threads. The eyes are scripted where a real engine could
//! not be made to hang, panic or count; `faces_on_the_box` below runs the real one.

#![allow(clippy::unwrap_used)]

use std::io::Cursor;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use vigil::base::{Clock, Culprit, Error, Kind, Name, Result, Shutdown, SystemClock, TimeSource, mailbox};
use vigil::capture::{CameraStatus, Frame, FrameInfo, RgbImage};
use vigil::config::{
    Authority, DocumentConfig, FalseMatchRate, Millis, OnFail, PrivacyConfig, VerifyConfig, WatchConfig,
};
use vigil::document::chip::{FileId, TrustStore};
use vigil::document::{DocumentRequest, Inspector};
use vigil::event::CameraCondition;
use vigil::event::{
    Band, Check, CheckName, CheckStatus, DocumentReason, Draft, Envelope, EventKind, ModelRef, Outcome,
    PersonRef, PersonalText, PortraitSource, Reason, Recorder, SearchTerms, VerifyMode,
};
use vigil::gate::looks::Line;
use vigil::gate::session::{Grade, Likeness, Seen};
use vigil::gate::{
    Answer, CHECKS, Duty, Eyes, Instruction, Lane, Looks, Parts, Portrait, Sighted, StillGrade, Verifier,
    VerifyRequest, Wanted,
};

use crate::support::while_it_runs;

/// Far beyond what anything here takes, on any machine.
const LONG: Duration = Duration::from_secs(120);

// ---------------------------------------------------------------- the scripted world

/// A picture in one colour: red is the person, green how many stand there, blue what is wrong.
const EMPTY: [u8; 3] = [0, 0, 0];
const ALICE: [u8; 3] = [10, 1, 0];
const BOB: [u8; 3] = [200, 1, 0];
const TWO: [u8; 3] = [10, 2, 0];
const BLURRED: [u8; 3] = [10, 1, 1];

struct Person(u8);

impl Likeness for Person {
    fn similarity(&self, other: &Self) -> f32 {
        if self.0 == other.0 { 0.9 } else { 0.05 }
    }

    fn fuse(weighted: &[(&Self, f32)]) -> Option<Self> {
        weighted.first().map(|(p, _)| Person(p.0))
    }
}

#[derive(Default)]
struct Script {
    hang: AtomicBool,
    panic: AtomicBool,
    looked: AtomicU32,
    embedded: Mutex<Vec<u8>>,
    scrubbed: AtomicU32,
    wiped: AtomicU32,
}

struct Scripted(Arc<Script>);

impl Scripted {
    fn faces(picture: &RgbImage) -> Vec<[u8; 3]> {
        let c = [picture.data()[0], picture.data()[1], picture.data()[2]];
        vec![c; usize::from(c[1])]
    }
}

impl Eyes for Scripted {
    type Face = [u8; 3];
    type Template = Person;

    fn begin(&mut self) {}

    fn live(&mut self, picture: &RgbImage, _at: Instant) -> Result<Vec<(Seen, [u8; 3])>> {
        self.0.looked.fetch_add(1, Ordering::SeqCst);
        if self.0.panic.swap(false, Ordering::SeqCst) {
            panic!("scripted");
        }
        while self.0.hang.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let seen = |c: [u8; 3]| Seen { track: c[0].into(), width: 100.0, landmarks: [[1.0; 2]; 5] };
        Ok(Self::faces(picture).into_iter().map(|c| (seen(c), c)).collect())
    }

    fn grade(&mut self, _: &RgbImage, face: &[u8; 3]) -> Grade {
        Grade { rank: 1.0, shortfall: (face[2] > 0).then_some(Reason::Blurred) }
    }

    fn still(&mut self, picture: &RgbImage) -> Result<Vec<[u8; 3]>> {
        Ok(Self::faces(picture))
    }

    fn grade_still(&mut self, _: &RgbImage, face: &[u8; 3]) -> StillGrade {
        StillGrade { inter_ocular_px: 50.0, shortfall: (face[2] > 0).then_some(Reason::PortraitPoor) }
    }

    fn embed(&mut self, _: &RgbImage, face: &[u8; 3]) -> Result<Person> {
        self.0.embedded.lock().unwrap().push(face[0]);
        Ok(Person(face[0]))
    }

    fn scrub(&mut self) {
        self.0.scrubbed.fetch_add(1, Ordering::SeqCst);
    }

    fn wipe(&mut self) {
        self.0.wiped.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Disk {
    Good,
    NotReady,
    Slow,
    Full,
}

/// A store that keeps drafts in memory, and behaves as told.
struct Store {
    disk: Mutex<Disk>,
    drafts: Mutex<Vec<Draft>>,
    withheld: Mutex<Vec<oneshot::Sender<Result<Envelope>>>>,
}

impl Recorder for Store {
    fn record(&self, draft: Draft) -> oneshot::Receiver<Result<Envelope>> {
        let (tx, rx) = oneshot::channel();
        self.drafts.lock().unwrap().push(draft.clone());
        match *self.disk.lock().unwrap() {
            Disk::Slow => self.withheld.lock().unwrap().push(tx),
            Disk::Full => {
                let _ = tx.send(Err(Error::new(Kind::NoSpace, Culprit::Disk, "the disk is full")));
            }
            Disk::Good | Disk::NotReady => {
                let _ = tx.send(Ok(envelope(draft)));
            }
        }
        rx
    }

    fn ready(&self) -> Result<()> {
        match *self.disk.lock().unwrap() {
            Disk::NotReady => Err(Error::new(Kind::NoSpace, Culprit::Disk, "the disk is full")),
            _ => Ok(()),
        }
    }
}

fn envelope(draft: Draft) -> Envelope {
    Envelope {
        specversion: "1.0".into(),
        id: uuid::Uuid::now_v7(),
        source: "/vigil/v1/test/gate".into(),
        ty: draft.kind.cloud_event_type(),
        subject: draft.subject,
        time: draft.time,
        datacontenttype: "application/json".into(),
        seq: 1,
        bootid: uuid::Uuid::nil(),
        timequality: vigil::base::TimeQuality::Synced,
        replayed: false,
        notafter: draft.not_after,
        data: draft.data,
    }
}

struct World<T> {
    verifier: Verifier<T>,
    script: Arc<Script>,
    store: Arc<Store>,
    /// What stands in front of the camera; `None`: no picture comes.
    scene: Arc<Mutex<Option<RgbImage>>>,
    status: watch::Sender<CameraStatus>,
    sent: Arc<AtomicU64>,
    /// How often it was time for a picture and there was nothing to show.
    dark: Arc<AtomicU64>,
    stop: Shutdown,
}

impl<T> Drop for World<T> {
    fn drop(&mut self) {
        self.script.hang.store(false, Ordering::SeqCst);
        self.stop.request();
    }
}

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn status(state: CameraCondition) -> CameraStatus {
    CameraStatus { state, since: jiff::Timestamp::UNIX_EPOCH, reason: None }
}

fn looks() -> Looks {
    let line = |rate: FalseMatchRate| {
        let score = if rate.get() < 5e-4 { 0.45 } else { 0.40 };
        let band = |s: f32| if s >= 0.4 { Band::Above } else { Band::FarBelow };
        Ok(Line { score, population: "test".into(), band: Arc::new(band) })
    };
    Looks::plan(FalseMatchRate::try_new(1e-3).unwrap(), line).unwrap()
}

/// A box with one camera at 25 pictures a second, whose eyes are `eyes`.
fn world<E: Eyes>(
    script: Arc<Script>,
    eyes: impl FnMut() -> E,
    looks: Looks,
    config: VerifyConfig,
    privacy: PrivacyConfig,
) -> World<E::Template> {
    world_on_duty(script, eyes, looks, config, privacy, None)
}

/// The same box, which looks for somebody between sessions.
fn world_on_duty<E: Eyes>(
    script: Arc<Script>,
    mut eyes: impl FnMut() -> E,
    looks: Looks,
    config: VerifyConfig,
    privacy: PrivacyConfig,
    watch: Option<Duty<E::Template>>,
) -> World<E::Template> {
    let inspector = Inspector::new(DocumentConfig::default(), TrustStore::empty());
    world_with(script, &mut eyes, looks, config, privacy, inspector, watch)
}

fn world_with<E: Eyes>(
    script: Arc<Script>,
    eyes: &mut dyn FnMut() -> E,
    looks: Looks,
    config: VerifyConfig,
    privacy: PrivacyConfig,
    inspector: Inspector,
    watch: Option<Duty<E::Template>>,
) -> World<E::Template> {
    let stop = Shutdown::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let (frames_tx, frames) = mailbox::freshest();
    let (status_tx, status_rx) = watch::channel(status(CameraCondition::Live));
    let scene = Arc::new(Mutex::new(None::<RgbImage>));
    let sent = Arc::new(AtomicU64::new(0));
    let dark = Arc::new(AtomicU64::new(0));
    let (shown, halt, count, none) = (scene.clone(), stop.clone(), sent.clone(), dark.clone());
    std::thread::spawn(move || {
        let mut seq = 0;
        while !halt.sleep(Duration::from_millis(40)) {
            let Some(image) = shown.lock().unwrap().clone() else {
                none.fetch_add(1, Ordering::SeqCst);
                continue;
            };
            seq += 1;
            let info = FrameInfo {
                camera: name("desk"),
                seq,
                time: jiff::Timestamp::now(),
                time_source: TimeSource::Arrival,
                arrived: Instant::now(),
            };
            frames_tx.send(Frame::from_rgb(info, image));
            count.store(seq, Ordering::SeqCst);
        }
    });
    let store = Arc::new(Store {
        disk: Mutex::new(Disk::Good),
        drafts: Mutex::default(),
        withheld: Mutex::default(),
    });
    let verifier = Verifier::start(Parts {
        config,
        privacy,
        cameras: vec![Lane { camera: name("desk"), frames, status: status_rx, eyes: eyes() }],
        portrait_eyes: eyes(),
        inspector: Arc::new(inspector),
        looks,
        model: ModelRef { name: "test".into(), sha256: "0".repeat(64) },
        recorder: store.clone(),
        clock,
        watch,
        stop: stop.clone(),
    })
    .unwrap();
    World { verifier, script, store, scene, status: status_tx, sent, dark, stop }
}

fn scripted() -> World<Person> {
    let script = Arc::new(Script::default());
    let config = VerifyConfig { deadline_ms: Millis(30_000), ..VerifyConfig::default() };
    let eyes = script.clone();
    world(script, move || Scripted(eyes.clone()), looks(), config, PrivacyConfig::default())
}

fn png(image: &RgbImage) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image::write_buffer_with_format(
        &mut out,
        image.data(),
        image.width(),
        image.height(),
        image::ExtendedColorType::Rgb8,
        image::ImageFormat::Png,
    )
    .unwrap();
    out.into_inner()
}

fn one_colour(colour: [u8; 3]) -> RgbImage {
    RgbImage::filled(64, 48, colour)
}

fn portrait(colour: [u8; 3]) -> VerifyRequest {
    VerifyRequest { portrait: Some(Portrait::new(png(&one_colour(colour)))), ..VerifyRequest::default() }
}

impl<T: Send + 'static> World<T> {
    fn show(&self, colour: [u8; 3]) {
        *self.scene.lock().unwrap() = Some(one_colour(colour));
    }

    fn ask(&self, request: VerifyRequest) -> Answer {
        let begin = Instant::now();
        let answer = self.verifier.verify(request).blocking_recv().expect("an answer always comes");
        assert!(begin.elapsed() < LONG);
        let names: Vec<_> = answer.result.checks.iter().map(|c| c.name).collect();
        assert_eq!(names, CHECKS);
        assert_eq!(answer.recorded, answer.envelope.is_some());
        answer
    }

    fn drafts(&self) -> Vec<Draft> {
        std::mem::take(&mut self.store.drafts.lock().unwrap())
    }
}

fn check(answer: &Answer, name: CheckName) -> (CheckStatus, Option<Reason>) {
    let Check { status, reason, .. } = answer.result.checks.iter().find(|c| c.name == name).unwrap();
    (*status, *reason)
}

/// For what only the deadline ends. Within it a busy machine shows and looks at some pictures.
fn short(request: VerifyRequest) -> VerifyRequest {
    VerifyRequest { deadline: Some(Duration::from_millis(1_500)), ..request }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < LONG, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

// ---------------------------------------------------------------- outcomes

#[test]
fn a_match_is_recorded_and_may_actuate_for_a_while() {
    let w = scripted();
    w.show(ALICE);
    let a = w.ask(VerifyRequest { correlation: Some("c-1".into()), ..portrait(ALICE) });
    assert_eq!(a.result.outcome, Outcome::Match);
    assert_eq!(a.result.correlation.as_deref(), Some("c-1"));
    assert_eq!(check(&a, CheckName::Document), (CheckStatus::NotChecked, Some(Reason::NotRequested)));
    assert!(a.result.document.is_none());
    let pad = (CheckStatus::NotChecked, Some(Reason::NotRequested));
    assert_eq!(check(&a, CheckName::PresentationAttack), pad);
    let envelope = a.envelope.unwrap();
    let valid = envelope.notafter.unwrap().duration_since(envelope.time);
    assert_eq!(valid, jiff::SignedDuration::from_secs(10));
    let comparison = a.result.comparison.unwrap();
    assert_eq!((comparison.band, comparison.fmr, comparison.pictures), (Band::Above, 1e-3, 2));
    assert!(comparison.diagnostics.is_none(), "scores stay on the box");
    let reference = a.result.reference.unwrap();
    assert_eq!((reference.width, reference.height, reference.inter_ocular_px), (64, 48, Some(50)));
    let capture = a.result.capture.unwrap();
    assert!(capture.pictures >= 2 && capture.last_picture.is_some());
    assert_eq!(a.result.timing.deadline_ms, 30_000);
}

#[test]
fn every_other_outcome_is_answered_and_may_actuate_nothing() {
    let w = scripted();
    let asked = |colour| move || portrait(colour);
    let briefly = || short(portrait(ALICE));
    type Ask<'a> = &'a dyn Fn() -> VerifyRequest;
    let cases: [(_, Ask<'_>, _, _, _); 7] = [
        (BOB, &asked(ALICE), Outcome::NoMatch, CheckName::FaceComparison, Reason::BelowThreshold),
        (EMPTY, &briefly, Outcome::NoFace, CheckName::LiveFace, Reason::NoFaceSeen),
        (TWO, &briefly, Outcome::MultipleFaces, CheckName::LiveFace, Reason::SeveralPeople),
        (BLURRED, &briefly, Outcome::PoorQuality, CheckName::FaceQuality, Reason::Blurred),
        (ALICE, &asked(BLURRED), Outcome::PoorQuality, CheckName::ReferencePortrait, Reason::PortraitPoor),
        (ALICE, &asked(EMPTY), Outcome::PoorQuality, CheckName::ReferencePortrait, Reason::PortraitNoFace),
        (
            ALICE,
            &asked(TWO),
            Outcome::PoorQuality,
            CheckName::ReferencePortrait,
            Reason::PortraitSeveralFaces,
        ),
    ];
    let mut poor: u64 = 0;
    for (scene, request, outcome, name, reason) in cases {
        w.show(scene);
        // The picture before is on its way: the scene changes between two pictures.
        let seq = w.sent.load(Ordering::SeqCst);
        until("a new scene", || w.sent.load(Ordering::SeqCst) > seq + 1);
        let a = while_it_runs(|| {
            let a = w.ask(request());
            poor += u64::from(a.result.outcome == Outcome::PoorQuality);
            assert_eq!(a.result.outcome, outcome);
            assert_eq!(check(&a, name), (CheckStatus::Fail, Some(reason)));
            a
        });
        let envelope = a.envelope.expect("recorded");
        assert_eq!(envelope.notafter, Some(envelope.time), "{outcome:?} may not actuate anything");
    }
    assert_eq!(w.verifier.stats().answers[&Outcome::PoorQuality], poor);
}

#[test]
fn whoever_declines_the_camera_is_not_looked_at() {
    let w = scripted();
    w.show(ALICE);
    let a = w.ask(VerifyRequest { mode: VerifyMode::DocumentOnly, ..portrait(ALICE) });
    assert_eq!(a.result.outcome, Outcome::DocumentOnly);
    assert!(a.recorded && a.result.capture.is_none() && a.result.reference.is_none());
    for name in &CHECKS[1..] {
        assert_eq!(check(&a, *name), (CheckStatus::NotChecked, Some(Reason::DeclinedByGuest)));
    }
    assert_eq!(w.script.looked.load(Ordering::SeqCst), 0);
    assert!(w.script.embedded.lock().unwrap().is_empty());
}

#[test]
fn hostile_portraits_are_an_answer() {
    let w = scripted();
    w.show(ALICE);
    // A PNG whose header says 50,000 by 50,000 pixels, and a bomb of 100 megapixels of nothing.
    let mut lying = png(&one_colour(ALICE));
    lying[16..24].copy_from_slice(&[0, 0, 0xC3, 0x50, 0, 0, 0xC3, 0x50]);
    let bomb = {
        let mut out = Cursor::new(Vec::new());
        let grey = vec![0u8; 10_000 * 10_000];
        let kind = (image::ExtendedColorType::L8, image::ImageFormat::Png);
        image::write_buffer_with_format(&mut out, &grey, 10_000, 10_000, kind.0, kind.1).unwrap();
        out.into_inner()
    };
    let torn = png(&one_colour(ALICE))[..60].to_vec();
    for (what, bytes) in [
        ("0 bytes", vec![]),
        ("text", b"%PDF-1.7 not a picture".to_vec()),
        ("a lying header", lying),
        ("100 megapixels", bomb),
        ("half a file", torn),
        ("9 MiB", vec![0xFF; 9 << 20]),
    ] {
        let a = w.ask(VerifyRequest { portrait: Some(Portrait::new(bytes)), ..VerifyRequest::default() });
        assert_eq!(a.result.outcome, Outcome::Error, "{what}");
        let why = (CheckStatus::Fail, Some(Reason::PortraitUnreadable));
        assert_eq!(check(&a, CheckName::ReferencePortrait), why, "{what}");
        assert!(a.recorded && a.result.reference.is_none(), "{what}");
    }
    assert_eq!(w.ask(portrait(ALICE)).result.outcome, Outcome::Match, "and the next guest is served");
}

#[test]
fn requests_that_cannot_become_a_session_are_refused_at_once() {
    let w = scripted();
    w.show(ALICE);
    let a = w.ask(VerifyRequest::default());
    assert_eq!(a.result.outcome, Outcome::Error);
    assert_eq!(
        check(&a, CheckName::ReferencePortrait),
        (CheckStatus::NotChecked, Some(Reason::NotRequested))
    );
    let a = w.ask(VerifyRequest { camera: Some(name("attic")), ..portrait(ALICE) });
    assert_eq!(check(&a, CheckName::Camera), (CheckStatus::Fail, Some(Reason::CameraUnavailable)));
    assert!(w.drafts().is_empty(), "what was no session is not recorded");
    let a = w.ask(VerifyRequest { deadline: Some(Duration::ZERO), ..portrait(ALICE) });
    // Whether it could be recorded in no time at all decides between the two.
    assert!(matches!(a.result.outcome, Outcome::Timeout | Outcome::Error), "{:?}", a.result.outcome);
    // The station may still have to learn that the session without time is over.
    let mut answer = None;
    until("the station's return", || {
        let a = w.ask(VerifyRequest { deadline: Some(LONG * 9), ..portrait(ALICE) });
        let busy = check(&a, CheckName::Camera).1 == Some(Reason::CameraBusy);
        answer = (!busy).then_some(a);
        !busy
    });
    let a = answer.unwrap();
    assert_eq!(a.result.timing.deadline_ms, 30_000, "the configured longest one");
    assert_eq!(a.result.outcome, Outcome::Match);
}

// ---------------------------------------------------------------- things that break

#[test]
fn a_camera_serves_one_guest_at_a_time() {
    while_it_runs(|| {
        let w = scripted();
        w.show(EMPTY);
        let mut first =
            w.verifier.verify(VerifyRequest { deadline: Some(Duration::from_secs(6)), ..portrait(ALICE) });
        let second = w.ask(portrait(BOB));
        assert!(first.try_recv().is_err(), "at once, not after the first");
        assert_eq!(check(&second, CheckName::Camera), (CheckStatus::Fail, Some(Reason::CameraBusy)));
        assert_eq!((second.result.outcome, second.recorded), (Outcome::Error, false));
        assert_eq!(first.blocking_recv().unwrap().result.outcome, Outcome::NoFace);
        // Free when the answer is there, not some time later.
        w.show(BOB);
        assert_eq!(w.ask(portrait(BOB)).result.outcome, Outcome::Match);
        assert_eq!(w.verifier.stats().busy, 1);
    });
}

#[test]
fn a_station_that_hangs_does_not_hang_the_answer() {
    let w = scripted();
    w.show(ALICE);
    w.script.hang.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        // The second one waits behind the hanging one.
        let a = w.ask(short(portrait(ALICE)));
        assert_eq!(a.result.outcome, Outcome::Timeout);
        assert_eq!(
            check(&a, CheckName::FaceComparison),
            (CheckStatus::NotChecked, Some(Reason::DeadlineReached))
        );
        assert!(a.recorded);
    }
    let a = w.ask(short(portrait(ALICE)));
    assert_eq!(check(&a, CheckName::Camera), (CheckStatus::Fail, Some(Reason::CameraBusy)));
    w.script.hang.store(false, Ordering::SeqCst);
    until("the station's return", || w.ask(portrait(ALICE)).result.outcome == Outcome::Match);
}

#[test]
fn a_station_that_panics_is_answered_for_and_comes_back() {
    let w = scripted();
    w.show(ALICE);
    w.script.panic.store(true, Ordering::SeqCst);
    let begin = Instant::now();
    let a = w.ask(portrait(ALICE));
    assert!(begin.elapsed() < Duration::from_secs(25), "at once, not at the deadline of 30 s");
    assert_eq!(a.result.outcome, Outcome::Error);
    assert_eq!(check(&a, CheckName::FaceComparison), (CheckStatus::NotChecked, Some(Reason::InternalFault)));
    assert_eq!(w.ask(portrait(ALICE)).result.outcome, Outcome::Match);
}

#[test]
fn a_camera_that_is_gone_is_an_error_and_one_that_returns_is_used() {
    while_it_runs(|| {
        let w = scripted();
        w.status.send_replace(status(CameraCondition::Lost));
        let a = w.ask(portrait(ALICE));
        assert_eq!(a.result.outcome, Outcome::Error);
        assert_eq!(check(&a, CheckName::Camera), (CheckStatus::Fail, Some(Reason::CameraUnavailable)));
        assert!(a.result.timing.elapsed_ms < 25_000, "after the grace, not at the deadline of 30 s");
        let asked = w.verifier.verify(portrait(ALICE));
        w.status.send_replace(status(CameraCondition::Live));
        w.show(ALICE);
        assert_eq!(asked.blocking_recv().unwrap().result.outcome, Outcome::Match);
    });
}

#[test]
fn without_storage_no_decision_is_taken() {
    let w = scripted();
    w.show(ALICE);
    *w.store.disk.lock().unwrap() = Disk::NotReady;
    for mode in [VerifyMode::Face, VerifyMode::DocumentOnly] {
        let a = w.ask(VerifyRequest { mode, ..portrait(ALICE) });
        assert_eq!((a.result.outcome, a.recorded), (Outcome::Error, false));
        let why = (CheckStatus::NotChecked, Some(Reason::StorageUnavailable));
        assert_eq!(check(&a, CheckName::FaceComparison), why);
    }
    assert_eq!(w.script.looked.load(Ordering::SeqCst), 0);
    assert!(w.drafts().is_empty());
}

#[test]
fn a_decision_that_is_not_durable_in_time_is_withdrawn() {
    for disk in [Disk::Slow, Disk::Full] {
        while_it_runs(|| {
            let w = scripted();
            w.show(ALICE);
            *w.store.disk.lock().unwrap() = disk;
            let a = w.ask(VerifyRequest { deadline: Some(Duration::from_secs(4)), ..portrait(ALICE) });
            assert_eq!((a.result.outcome, a.recorded), (Outcome::Error, false));
            assert_eq!(a.result.comparison, None);
            let why = (CheckStatus::NotChecked, Some(Reason::StorageUnavailable));
            assert_eq!(check(&a, CheckName::FaceComparison), why);
            let drafts = w.drafts();
            assert_eq!(drafts.len(), 2, "the decision, then its withdrawal");
            assert_eq!(drafts[0].data["outcome"], "match");
            assert_eq!(drafts[1].data["outcome"], "error");
            assert_eq!(drafts[0].data["session"], drafts[1].data["session"]);
            assert_eq!(w.verifier.stats().unrecorded, 1);
        });
    }
}

#[test]
fn the_stop_ends_sessions_and_threads() {
    let w = scripted();
    w.show(EMPTY);
    let open = w.verifier.verify(portrait(ALICE));
    until("the session", || w.script.looked.load(Ordering::SeqCst) > 0);
    w.stop.request();
    assert_eq!(open.blocking_recv().unwrap().result.outcome, Outcome::Error);
    assert!(w.verifier.join(LONG));
}

// ---------------------------------------------------------------- one guest's face, then the next's

#[test]
fn no_picture_is_looked_at_without_a_session_and_none_from_before_it() {
    let w = scripted();
    w.show(ALICE);
    until("pictures", || w.sent.load(Ordering::SeqCst) > 5);
    assert_eq!(w.script.looked.load(Ordering::SeqCst), 0, "nobody asked");
    // Alice's last picture lies in the mailbox; the camera shows nothing more until Bob is there.
    *w.scene.lock().unwrap() = None;
    let dark = w.dark.load(Ordering::SeqCst);
    until("the camera to show nothing", || w.dark.load(Ordering::SeqCst) > dark);
    let asked = w.verifier.verify(portrait(ALICE));
    w.show(BOB);
    let a = asked.blocking_recv().unwrap();
    assert_eq!(a.result.outcome, Outcome::NoMatch);
    // The portrait's face is Alice's, and embedded once; every live one is Bob's.
    let embedded = std::mem::take(&mut *w.script.embedded.lock().unwrap());
    assert_eq!(embedded.iter().filter(|p| **p == ALICE[0]).count(), 1, "{embedded:?}");
    assert!(embedded.iter().filter(|p| **p == BOB[0]).count() >= 2, "{embedded:?}");
}

#[test]
fn one_guests_session_never_sees_the_guest_before() {
    let w = scripted();
    for (guest, other) in [(ALICE, BOB), (BOB, ALICE), (ALICE, BOB)] {
        w.show(guest);
        let seq = w.sent.load(Ordering::SeqCst);
        until("the next guest", || w.sent.load(Ordering::SeqCst) > seq + 1);
        let scrubbed = w.script.scrubbed.load(Ordering::SeqCst);
        assert_eq!(w.ask(portrait(guest)).result.outcome, Outcome::Match);
        // Both the portrait's eyes and the camera's.
        until("the scrubbing", || w.script.scrubbed.load(Ordering::SeqCst) >= scrubbed + 2);
        assert_eq!(w.ask(portrait(other)).result.outcome, Outcome::NoMatch);
    }
}

#[test]
fn the_guest_is_told_what_to_do() {
    let w = scripted();
    w.show(ALICE);
    let mut prompts = w.verifier.prompts();
    let asked = w.verifier.verify(VerifyRequest {
        presentation: Some(true),
        correlation: Some("p".into()),
        ..short(portrait(ALICE))
    });
    let prompt = prompts.blocking_recv().unwrap();
    assert_eq!((prompt.instruction, prompt.correlation.as_deref()), (Instruction::LookAhead, Some("p")));
    let a = asked.blocking_recv().unwrap();
    assert_eq!(prompt.session, a.result.session);
    // This scene has no landmarks to speak of: nobody ever turns, and nobody is compared.
    assert_eq!(a.result.outcome, Outcome::Timeout);
    let why = (CheckStatus::NotChecked, Some(Reason::ChallengeNotPerformed));
    assert_eq!(check(&a, CheckName::PresentationAttack), why);
    assert!(a.result.comparison.is_none());
}

// ---------------------------------------------------------------- looking for the missing

/// Bob is missing, if anybody is.
struct Bob {
    missing: AtomicU32,
    looked_up: AtomicU32,
}

impl Wanted<Person> for Arc<Bob> {
    fn missing(&self) -> Result<u32> {
        match self.missing.load(Ordering::SeqCst) {
            99 => Err(Error::config("no threshold for so many")),
            n => Ok(n),
        }
    }

    fn look_up(&self, probe: &Person) -> Result<Option<Sighted>> {
        self.looked_up.fetch_add(1, Ordering::SeqCst);
        Ok((probe.0 == BOB[0]).then(|| Sighted {
            entry: uuid::Uuid::from_u128(7),
            person: PersonRef::new("m-7").unwrap(),
            authority: "police/7".to_owned().try_into().unwrap(),
            band: Band::Above,
            terms: SearchTerms { searched: 1, fpir: 1e-3, fmr: 1e-3, population: "test".into() },
        }))
    }

    fn recognised(&self, _: &Sighted, _: &Name) -> Result<()> {
        Ok(())
    }
}

fn on_duty() -> (World<Person>, Arc<Bob>) {
    let script = Arc::new(Script::default());
    let bob = Arc::new(Bob { missing: AtomicU32::new(0), looked_up: AtomicU32::new(0) });
    let config = VerifyConfig { deadline_ms: Millis(20_000), ..VerifyConfig::default() };
    let mut watch = WatchConfig::new(Authority::new("Police, desk 4").unwrap(), vec![name("desk")], 100);
    (watch.pictures_per_second, watch.cpu_share) = (15.0, 1.0);
    let duty = Duty { config: watch, wanted: Arc::new(bob.clone()) };
    let eyes = script.clone();
    let make = move || Scripted(eyes.clone());
    (world_on_duty(script, make, looks(), config, PrivacyConfig::default(), Some(duty)), bob)
}

#[test]
fn nobody_is_looked_at_while_nobody_is_missing() {
    let (w, bob) = on_duty();
    w.show(ALICE);
    let seq = w.sent.load(Ordering::SeqCst);
    until("pictures", || w.sent.load(Ordering::SeqCst) > seq + 30);
    assert_eq!(w.script.looked.load(Ordering::SeqCst), 0);
    bob.missing.store(1, Ordering::SeqCst);
    until("a look", || w.script.looked.load(Ordering::SeqCst) > 3);
    // More are missing than the calibration has a threshold for: it is said, and nobody is looked at.
    bob.missing.store(99, Ordering::SeqCst);
    until("the reason", || w.verifier.watched().0[0].reason.is_some());
    let looked = w.script.looked.load(Ordering::SeqCst);
    let seq = w.sent.load(Ordering::SeqCst);
    until("pictures", || w.sent.load(Ordering::SeqCst) > seq + 10);
    assert!(w.script.looked.load(Ordering::SeqCst) <= looked + 1);
    assert!(!w.verifier.watched().0[0].watching);
}

#[test]
fn the_missing_are_told_once_a_pass_and_strangers_leave_no_event() {
    let (w, bob) = on_duty();
    bob.missing.store(1, Ordering::SeqCst);
    w.show(ALICE);
    until("Alice to be looked up", || bob.looked_up.load(Ordering::SeqCst) >= 1);
    w.show(EMPTY);
    until("her traces to be wiped", || w.script.wiped.load(Ordering::SeqCst) >= 1);
    assert!(w.drafts().is_empty(), "nothing was said of a stranger");
    w.show(BOB);
    until("a sighting", || w.verifier.watched().0[0].sightings == 1);
    let wiped = w.script.wiped.load(Ordering::SeqCst);
    w.show(EMPTY);
    until("his traces to be wiped", || w.script.wiped.load(Ordering::SeqCst) > wiped);
    w.show(BOB);
    until("him to be looked up again", || bob.looked_up.load(Ordering::SeqCst) >= 3);
    // It is counted after it was looked up.
    until("the count of the passages", || w.verifier.watched().2 >= 3);
    let drafts = w.drafts();
    assert_eq!(drafts.len(), 1, "{drafts:?}");
    assert_eq!((drafts[0].kind, drafts[0].not_after), (EventKind::WatchSighting, None));
    let data = &drafts[0].data;
    assert_eq!(data["person_ref"], "m-7");
    assert_eq!((&data["authority_ref"], &data["authority"]), (&"police/7".into(), &"Police, desk 4".into()));
    assert_eq!(data["camera"], "desk");
    let (cameras, missing, passages) = w.verifier.watched();
    assert!(missing == 1 && passages >= 3 && cameras[0].unrecorded == 0);
}

#[test]
fn a_session_comes_before_the_missing() {
    let (w, bob) = on_duty();
    bob.missing.store(1, Ordering::SeqCst);
    w.show(ALICE);
    until("a look", || w.script.looked.load(Ordering::SeqCst) > 0);
    for _ in 0..5 {
        assert_eq!(w.ask(portrait(ALICE)).result.outcome, Outcome::Match);
        assert_eq!(w.ask(portrait(BOB)).result.outcome, Outcome::NoMatch);
    }
    let looked = w.script.looked.load(Ordering::SeqCst);
    until("the post to be taken again", || w.script.looked.load(Ordering::SeqCst) > looked + 2);
    // After a panic it is taken again too.
    w.script.panic.store(true, Ordering::SeqCst);
    until("the panic", || !w.script.panic.load(Ordering::SeqCst));
    let looked = w.script.looked.load(Ordering::SeqCst);
    until("the post after a panic", || w.script.looked.load(Ordering::SeqCst) > looked + 2);
}

// ---------------------------------------------------------------- the real engine

/// The real engine on photographs, and what is left of them in this process afterwards.
mod faces_on_the_box {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::{Path, PathBuf};

    use base64::Engine as _;
    use vigil::capture::still;
    use vigil::config::{InferenceConfig, ModelsConfig};
    use vigil::face::{Calibration, Engine, Template, align};
    use vigil::gate::FaceEyes;
    use vigil::infer::sface::{DIMENSIONS, SIDE, Sface};
    use vigil::infer::{Manifest, Runtime, Slot};
    use zeroize::Zeroize;

    use super::*;

    fn at_root(path: &str) -> PathBuf {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        assert!(path.exists(), "{} is not there: run `make setup`", path.display());
        path
    }

    fn photo(name: &str) -> PathBuf {
        at_root(".cache/photos").join(name)
    }

    fn loaded() -> (Runtime, Manifest) {
        at_root("models/fetched");
        let dir = at_root("models");
        let runtime = Runtime::load(&ModelsConfig { dir: dir.clone(), runtime: None }).unwrap();
        (runtime, Manifest::load(&dir).unwrap())
    }

    fn engine() -> Engine {
        let (runtime, manifest) = loaded();
        Engine::open(&runtime, &manifest, &InferenceConfig::default()).unwrap()
    }

    fn real_looks() -> Looks {
        let (_, manifest) = loaded();
        let calibration = Calibration::of_model(manifest.model(Slot::FaceEmbedding).unwrap()).unwrap();
        Looks::of(&calibration, VerifyConfig::default().fmr).unwrap()
    }

    fn real(diagnostics: bool) -> World<Template> {
        // An engine without optimisation, on a busy machine.
        let patient = Millis(100_000);
        let config =
            VerifyConfig { deadline_ms: patient, max_deadline_ms: patient, ..VerifyConfig::default() };
        let eyes = || FaceEyes::new(engine(), VerifyConfig::default().quality);
        world(Arc::default(), eyes, real_looks(), config, PrivacyConfig { diagnostics })
    }

    /// A photograph in the middle of a 720p picture. Leaves no copies behind.
    fn scene(path: &Path) -> RgbImage {
        let photo = still::decode(&std::fs::read(path).unwrap(), &still::Limits::default()).unwrap();
        let mut out = RgbImage::filled(1280, 720, [90, 90, 90]);
        let (w, h) = (photo.width() as usize, photo.height() as usize);
        let scale = (720.0 / h as f64).min(1280.0 / w as f64);
        let left = (1280 - (w as f64 * scale) as usize) / 2;
        for y in 0..(h as f64 * scale) as usize {
            for x in 0..(w as f64 * scale) as usize {
                let (sx, sy) = ((x as f64 / scale) as usize, (y as f64 / scale) as usize);
                let from = (sy.min(h - 1) * w + sx.min(w - 1)) * 3;
                let to = (y * 1280 + left + x) * 3;
                let pixel: [u8; 3] = photo.data()[from..from + 3].try_into().unwrap();
                out.data_mut()[to..to + 3].copy_from_slice(&pixel);
            }
        }
        out
    }

    fn of(path: &Path) -> VerifyRequest {
        let portrait = Some(Portrait::new(std::fs::read(path).unwrap()));
        VerifyRequest { portrait, ..VerifyRequest::default() }
    }

    #[test]
    fn one_man_matches_himself_and_not_another() {
        let w = real(true);
        *w.scene.lock().unwrap() = Some(scene(&photo("obama.jpg")));
        for (name, outcome) in [
            ("obama2.jpg", Outcome::Match),
            ("biden.jpg", Outcome::NoMatch),
            ("obama3.jpg", Outcome::Match),
            ("obama2.jpg", Outcome::Match),
        ] {
            let a = w.ask(of(&photo(name)));
            let c = a.result.comparison.clone();
            println!("{name}: {:?} {:?} {:?}", a.result.outcome, c, a.result.timing);
            assert_eq!(a.result.outcome, outcome, "{name}: {:?}", a.result);
            assert!(c.unwrap().diagnostics.is_some());
        }
        *w.scene.lock().unwrap() = Some(RgbImage::filled(1280, 720, [90, 90, 90]));
        // The picture after the next one was surely taken of the empty scene.
        let before = w.sent.load(Ordering::SeqCst);
        until("two pictures of the empty scene", || w.sent.load(Ordering::SeqCst) >= before + 2);
        while_it_runs(|| {
            let deadline = Some(Duration::from_secs(6));
            let a = w.ask(VerifyRequest { deadline, ..of(&photo("obama2.jpg")) });
            assert_eq!(a.result.outcome, Outcome::NoFace);
        });
    }

    // -------- what stays behind

    /// What to look for, with a mask on it so that looking for it does not plant it.
    struct Needle {
        what: &'static str,
        masked: Vec<u8>,
    }

    fn mask(i: usize) -> u8 {
        0x5A ^ (i as u8).wrapping_mul(29)
    }

    impl Needle {
        /// 32 bytes or more out of `bytes`, from `from` on, not starting with a common byte.
        fn of(what: &'static str, bytes: &mut dyn Iterator<Item = u8>) -> Self {
            let mut masked = Vec::with_capacity(256);
            for byte in bytes.skip_while(|b| matches!(b, 0 | 0xFF | 0x5A)).take(48) {
                masked.push(byte ^ mask(masked.len()));
            }
            assert!(masked.len() >= 32, "{what} is too short");
            Self { what, masked }
        }

        fn floats(what: &'static str, values: &[f32]) -> Self {
            Self::of(what, &mut values.iter().flat_map(|v| v.to_le_bytes()))
        }

        fn first(&self) -> u8 {
            self.masked[0] ^ mask(0)
        }

        fn is_at(&self, memory: &[u8]) -> bool {
            memory.len() >= self.masked.len()
                && self.masked.iter().enumerate().all(|(i, m)| memory[i] ^ mask(i) == *m)
        }
    }

    /// Which of the needles lie in any readable and writable memory of this process, how often,
    /// and how many bytes were looked at.
    fn search(needles: &[Needle]) -> (Vec<(&'static str, u32)>, u64) {
        const CHUNK: usize = 1 << 20;
        let mut by_first: Vec<Vec<usize>> = vec![Vec::new(); 256];
        for (i, n) in needles.iter().enumerate() {
            by_first[usize::from(n.first())].push(i);
        }
        let mem = File::open("/proc/self/mem").unwrap();
        let mut buffer = vec![0u8; CHUNK];
        let own = buffer.as_ptr() as u64..buffer.as_ptr() as u64 + CHUNK as u64;
        let mut hits = vec![0u32; needles.len()];
        let mut looked = 0;
        for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
            let mut words = line.split_whitespace();
            let (range, rights) = (words.next().unwrap(), words.next().unwrap());
            if !rights.starts_with("rw") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap();
            let to = u64::from_str_radix(to, 16).unwrap();
            let mut at = u64::from_str_radix(from, 16).unwrap();
            while at < to {
                let want = CHUNK.min((to - at) as usize);
                let Ok(n) = mem.read_at(&mut buffer[..want], at) else { break };
                if n == 0 {
                    break;
                }
                looked += n as u64;
                for i in 0..n {
                    for &k in &by_first[usize::from(buffer[i])] {
                        if needles[k].is_at(&buffer[i..n]) && !own.contains(&(at + i as u64)) {
                            hits[k] += 1;
                        }
                    }
                }
                // Overlap, so that nothing hides on a seam.
                at += if n == want && at + (n as u64) < to { n as u64 - 64 } else { n as u64 };
            }
        }
        buffer.zeroize();
        let found = needles.iter().zip(&hits).filter(|(_, h)| **h > 0).map(|(n, h)| (n.what, *h)).collect();
        (found, looked)
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        /// Everything that this process logs from now on; once a process.
        fn of_this_process() -> Self {
            let log = Log::default();
            let writer = log.clone();
            // Without the time of day: its digits would be taken for a template's.
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .without_time()
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .init();
            log
        }
    }

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// In a process of its own: other tests hold the same photographs.
    #[test]
    fn nothing_of_a_guest_stays_in_memory_or_log() {
        at_root("models/fetched");
        let child = "gate::faces_on_the_box::child_that_searches_its_own_memory";
        crate::support::in_a_process_of_its_own(child);
    }

    /// In a process of its own too.
    #[test]
    fn nothing_of_a_passer_by_stays_in_memory_state_directory_events_or_log() {
        at_root("models/fetched");
        let child = "gate::faces_on_the_box::child_that_watches_and_searches_its_own_memory";
        crate::support::in_a_process_of_its_own(child);
    }

    #[test]
    #[ignore = "run by nothing_of_a_passer_by_stays_in_memory_state_directory_events_or_log"]
    fn child_that_watches_and_searches_its_own_memory() {
        let log = Log::of_this_process();
        let (stranger, missing) = (photo("obama.jpg"), photo("biden.jpg"));
        let mut needles = Vec::new();
        let decoy: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(73) ^ 0x31).collect();
        needles.push(Needle::of("decoy", &mut decoy.iter().copied()));
        let mut words = Vec::new();
        let enrolled = {
            let mut engine = engine();
            let picture = scene(&stranger);
            let face = engine.detect_live(&picture).unwrap()[0];
            let template = engine.embed(&picture, &face).unwrap();
            needles.push(Needle::floats("template", &template.values()[16..40]));
            words.extend(
                template.values().iter().filter(|v| v.abs() > 0.02).map(|v| format!("{:.5}", v.abs())),
            );
            let at = (face.landmarks[2].y as usize * 1280 + face.landmarks[2].x as usize - 8) * 3;
            needles.push(Needle::of("pixels", &mut picture.data()[at..at + 60].iter().copied()));
            let (runtime, manifest) = loaded();
            let mut sface = Sface::open(&runtime, &manifest, 1).unwrap();
            let input = sface.input();
            align::sample(&picture, &align::to_picture(&face).unwrap(), |i, rgb| {
                for (plane, v) in rgb.into_iter().enumerate() {
                    input[plane * SIDE * SIDE + i] = v;
                }
            });
            let middle = SIDE * 56 + 50;
            needles.push(Needle::floats("aligned face", &input[middle..middle + 16]));
            let mut raw = [0.0; DIMENSIONS];
            sface.run(&mut raw).unwrap();
            needles.push(Needle::floats("raw vector", &raw[16..40]));
            raw.zeroize();
            sface.scrub().unwrap();
            let (found, _) = search(&needles);
            println!("while everything is held: {found:?}");
            let known: Vec<_> = found.iter().map(|(what, _)| *what).collect();
            for what in ["decoy", "template", "pixels"] {
                assert!(known.contains(&what), "the search does not find {what} where it is");
            }
            let picture = scene(&missing);
            let face = engine.detect_live(&picture).unwrap()[0];
            let enrolled = engine.embed(&picture, &face).unwrap();
            engine.scrub().unwrap();
            enrolled
        };

        // A real gallery, in which somebody else is missing.
        let state = tempfile::TempDir::new().unwrap();
        let (_, manifest) = loaded();
        let entry = manifest.model(Slot::FaceEmbedding).unwrap();
        let mut config = vigil::config::GalleryConfig::default();
        config.purposes.push(vigil::config::Purpose::MissingPerson);
        let setup = vigil::gallery::Setup {
            state_dir: state.path().to_owned(),
            config,
            model: entry.model_ref(),
            calibration: Calibration::of_model(entry).unwrap(),
            clock: Arc::new(SystemClock::default()),
        };
        let gallery =
            vigil::gallery::Gallery::open(setup, vigil::gallery::MasterKey::generate().unwrap()).unwrap();
        let until_then = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
        let terms = serde_json::from_value(serde_json::json!({
            "person_ref": "m-1", "purpose": "missing_person", "basis": {"authority": "police/7"},
            "valid_until": until_then.to_string(),
        }));
        let enrolment = gallery.enrolment(terms.unwrap(), enrolled, &[b"photo"], Vec::new()).unwrap();
        gallery
            .put(&enrolment, &vigil::gallery::Actor::new("test").unwrap())
            .map_err(|d| format!("{d:?}"))
            .unwrap();
        let mut watch = WatchConfig::new(Authority::new("Police, desk 4").unwrap(), vec![name("desk")], 100);
        (watch.pictures_per_second, watch.cpu_share) = (15.0, 1.0);
        let wanted = Arc::new(vigil::gate::Missing::new(gallery.clone(), watch.clone()));
        let eyes = || FaceEyes::new(engine(), VerifyConfig::default().quality);
        let duty = Some(Duty { config: watch, wanted });
        let (verify, privacy) = (VerifyConfig::default(), PrivacyConfig::default());
        let w = world_on_duty(Arc::default(), eyes, real_looks(), verify, privacy, duty);

        let nobody = RgbImage::filled(1280, 720, [90, 90, 90]);
        let gone = |w: &World<Template>| {
            let begin = Instant::now();
            for tries in 1.. {
                let (found, looked) = search(&needles);
                println!("{:?} after the passer-by left: {found:?} in {} MiB", begin.elapsed(), looked >> 20);
                assert!(found.contains(&("decoy", 1)), "the search finds nothing at all");
                if found.len() == 1 {
                    break;
                }
                // One search alone may take longer than that on a busy machine.
                assert!(begin.elapsed() < LONG || tries < 3, "a passer-by stays in memory: {found:?}");
                std::thread::sleep(Duration::from_millis(200));
            }
            assert!(w.drafts().is_empty(), "an event came of a passer-by");
        };
        // Once past into an empty hall, once with the camera going dark: both leave nothing.
        for after in [Some(nobody.clone()), None] {
            let passed = w.verifier.watched().2;
            *w.scene.lock().unwrap() = Some(scene(&stranger));
            until("the passer-by to be looked up", || w.verifier.watched().2 > passed);
            *w.scene.lock().unwrap() = after;
            gone(&w);
        }
        gallery.maintain().unwrap();
        for file in std::fs::read_dir(state.path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            for needle in &needles {
                let there = (0..bytes.len()).any(|i| needle.is_at(&bytes[i..]));
                assert!(!there, "{} of a passer-by is in {}", needle.what, path.display());
            }
        }
        let mut searches = 0;
        gallery
            .audit_log(|record| {
                searches += u32::from(record.contains("search") || record.contains("match"));
                Ok(())
            })
            .unwrap();
        assert_eq!(searches, 0, "the audit log knows of a passer-by");

        // And the post was really manned.
        *w.scene.lock().unwrap() = Some(scene(&missing));
        until("a sighting", || w.verifier.watched().0[0].sightings == 1);
        assert_eq!(w.drafts()[0].data["person_ref"], "m-1");
        drop(decoy);
        let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
        println!("{} lines of log at the level TRACE", log.lines().count());
        assert!(log.contains("a picture was looked at for missing persons"), "the log was not captured");
        for word in words.iter().map(|w| &w[..6]) {
            let line = log.lines().find(|line| line.contains(word));
            assert_eq!(line, None, "{word} is in the log");
        }
    }

    #[test]
    #[ignore = "run by nothing_of_a_guest_stays_in_memory_or_log, in a process of its own"]
    fn child_that_searches_its_own_memory() {
        let log = Log::of_this_process();
        let (live_photo, portrait_photo) = (photo("obama.jpg"), photo("obama2.jpg"));

        // What a guest leaves behind is worked out first, with an engine of the test's own.
        let mut needles = Vec::new();
        let decoy: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(73) ^ 0x31).collect();
        needles.push(Needle::of("decoy", &mut decoy.iter().copied()));
        let mut words = Vec::new();
        {
            let mut engine = engine();
            let picture = scene(&live_photo);
            let face = engine.detect_live(&picture).unwrap()[0];
            let template = engine.embed(&picture, &face).unwrap();
            needles.push(Needle::floats("live template", &template.values()[16..40]));
            words.extend(
                template.values().iter().filter(|v| v.abs() > 0.02).map(|v| format!("{:.5}", v.abs())),
            );
            let row = |y: f32| (y as usize * 1280 + face.landmarks[2].x as usize - 8) * 3;
            let nose = row(face.landmarks[2].y);
            needles.push(Needle::of("live pixels", &mut picture.data()[nose..nose + 60].iter().copied()));
            let map = align::to_picture(&face).unwrap();
            let (runtime, manifest) = loaded();
            let mut sface = Sface::open(&runtime, &manifest, 1).unwrap();
            let input = sface.input();
            align::sample(&picture, &map, |i, rgb| {
                for (plane, v) in rgb.into_iter().enumerate() {
                    input[plane * SIDE * SIDE + i] = v;
                }
            });
            let middle = SIDE * 56 + 50;
            needles.push(Needle::floats("aligned live face", &input[middle..middle + 16]));
            let mut raw = [0.0; DIMENSIONS];
            sface.run(&mut raw).unwrap();
            needles.push(Needle::floats("raw live vector", &raw[16..40]));
            raw.zeroize();
            sface.scrub().unwrap();

            let file = Portrait::new(std::fs::read(&portrait_photo).unwrap());
            let middle = file.bytes().len() / 2;
            needles.push(Needle::of("portrait file", &mut file.bytes()[middle..].iter().copied()));
            let portrait = still::decode(file.bytes(), &still::Limits::default()).unwrap();
            let face = engine.detect_still(&portrait).unwrap()[0];
            let reference = engine.embed(&portrait, &face).unwrap();
            needles.push(Needle::floats("portrait template", &reference.values()[16..40]));
            let (x, y) = (face.landmarks[2].x as usize, face.landmarks[2].y as usize);
            let nose = (y * portrait.width() as usize + x) * 3;
            needles.push(Needle::of("portrait pixels", &mut portrait.data()[nose..].iter().copied()));
            let mut text = base64::engine::general_purpose::STANDARD.encode(file.bytes());
            let half = text.len() / 2;
            needles.push(Needle::of("portrait in base64", &mut text.as_bytes()[half..].iter().copied()));
            let (found, looked) = search(&needles);
            println!("while everything is held: {found:?} in {} MiB", looked >> 20);
            let known: Vec<_> = found.iter().map(|(what, _)| *what).collect();
            for what in [
                "decoy",
                "live template",
                "live pixels",
                "portrait file",
                "portrait template",
                "portrait pixels",
                "portrait in base64",
            ] {
                assert!(known.contains(&what), "the search does not find {what} where it is");
            }
            text.zeroize();
            engine.scrub().unwrap();
        }

        let mut scores = Vec::new();
        let w = real(true);
        *w.scene.lock().unwrap() = Some(scene(&live_photo));
        for (request, outcome) in [(0, Outcome::Match), (1, Outcome::NoMatch), (2, Outcome::Match)] {
            let request = match request {
                0 => of(&portrait_photo),
                1 => of(&photo("biden.jpg")),
                _ => {
                    let mut file = std::fs::read(&portrait_photo).unwrap();
                    let mut text = base64::engine::general_purpose::STANDARD.encode(&file);
                    file.zeroize();
                    let mut json = String::with_capacity(text.len() + 64);
                    json.push_str("{\"portrait\":\"");
                    json.push_str(&text);
                    json.push_str("\"}");
                    text.zeroize();
                    let request = VerifyRequest::from_json(json.as_bytes()).unwrap();
                    json.zeroize();
                    request
                }
            };
            let a = w.ask(request);
            assert_eq!(a.result.outcome, outcome, "{:?}", a.result);
            let score = a.result.comparison.unwrap().diagnostics.unwrap().score;
            scores.push(format!("{score:.4}"));
        }
        // The camera looks elsewhere; what is searched for is what the box kept.
        *w.scene.lock().unwrap() = None;
        let begin = Instant::now();
        for tries in 1.. {
            let (found, looked) = search(&needles);
            println!("{:?} after the last answer: {found:?} in {} MiB", begin.elapsed(), looked >> 20);
            assert!(found.contains(&("decoy", 1)), "the search finds nothing at all");
            if found.len() == 1 {
                break;
            }
            assert!(begin.elapsed() < LONG || tries < 3, "a guest stays in memory: {found:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
        drop(decoy);

        let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
        println!("{} lines of log at the level TRACE", log.lines().count());
        assert!(log.contains("a verification is answered"), "the log was not captured");
        for word in words.iter().map(|w| &w[..6]).chain(scores.iter().map(|s| &s[..5])) {
            let line = log.lines().find(|line| line.contains(word));
            assert_eq!(line, None, "{word} is in the log");
        }
        assert!(!log.contains("/9j/"), "a portrait is in the log");
    }
}

// ---------------------------------------------------------------- the document

fn with_documents(config: DocumentConfig) -> World<Person> {
    let script = Arc::new(Script::default());
    let verify = VerifyConfig { deadline_ms: Millis(20_000), ..VerifyConfig::default() };
    let eyes = script.clone();
    let inspector = Inspector::new(config, TrustStore::empty());
    world_with(
        script,
        &mut move || Scripted(eyes.clone()),
        looks(),
        verify,
        PrivacyConfig::default(),
        inspector,
        None,
    )
}

fn number(text: &str, until: &str) -> Option<DocumentRequest> {
    Some(DocumentRequest {
        number: Some(PersonalText::new(text)),
        valid_until: Some(PersonalText::new(until)),
        ..DocumentRequest::default()
    })
}

/// A DG2 whose picture shows nobody.
fn dg2() -> DocumentRequest {
    let mut document = DocumentRequest::default();
    let picture = include_bytes!("../../src/capture/testdata/pattern_24x16.jp2");
    document.files.add(FileId::DataGroup(2), super::document::dg2(picture).into()).unwrap();
    document
}

const HOLDER: &str = "11010519491231002X";

#[test]
fn a_failed_document_makes_of_a_match_something_that_opens_nothing() {
    let w = with_documents(DocumentConfig::default());
    w.show(ALICE);
    for (document, reason) in [
        (number(HOLDER, "2019-01-01"), Reason::DocumentExpired),
        (number("110105194912310021", "2099-01-01"), Reason::DocumentInconsistent),
    ] {
        let a = w.ask(VerifyRequest { document, ..portrait(ALICE) });
        assert_eq!(a.result.outcome, Outcome::DocumentRejected);
        assert_eq!(check(&a, CheckName::Document), (CheckStatus::Fail, Some(reason)));
        assert_eq!(check(&a, CheckName::FaceComparison), (CheckStatus::Pass, None));
        assert!(a.result.comparison.is_some());
        let envelope = a.envelope.unwrap();
        assert_eq!(envelope.notafter, Some(envelope.time), "it would open a door");
    }
    // A face that does not match stays the graver word.
    let a = w.ask(VerifyRequest { document: number(HOLDER, "2019-01-01"), ..portrait(BOB) });
    assert_eq!(a.result.outcome, Outcome::NoMatch);
    assert_eq!(check(&a, CheckName::Document), (CheckStatus::Fail, Some(Reason::DocumentExpired)));
    // Nothing failed, something could not be checked: said, and no obstacle.
    let a = w.ask(VerifyRequest { document: number(HOLDER, "long_term"), ..portrait(ALICE) });
    assert_eq!(a.result.outcome, Outcome::Match);
    assert_eq!(check(&a, CheckName::Document), (CheckStatus::NotChecked, Some(Reason::DocumentUnproven)));
    // An empty document is none.
    let a = w.ask(VerifyRequest { document: Some(DocumentRequest::default()), ..portrait(ALICE) });
    assert_eq!(check(&a, CheckName::Document), (CheckStatus::NotChecked, Some(Reason::NotRequested)));
}

#[test]
fn what_a_site_makes_of_documents_is_its_own_choice() {
    let w = with_documents(DocumentConfig { on_fail: OnFail::Report, ..DocumentConfig::default() });
    w.show(ALICE);
    let a = w.ask(VerifyRequest { document: number(HOLDER, "2019-01-01"), ..portrait(ALICE) });
    assert_eq!(a.result.outcome, Outcome::Match);
    assert_eq!(check(&a, CheckName::Document).0, CheckStatus::Fail);

    let w = with_documents(DocumentConfig { required: true, ..DocumentConfig::default() });
    w.show(ALICE);
    for document in [None, number(HOLDER, "long_term")] {
        let a = w.ask(VerifyRequest { document, ..portrait(ALICE) });
        assert_eq!(a.result.outcome, Outcome::DocumentRejected);
        assert_eq!(check(&a, CheckName::Document).0, CheckStatus::NotChecked);
    }
}

#[test]
fn a_guest_who_declines_the_camera_has_a_document_that_is_looked_at() {
    let w = with_documents(DocumentConfig::default());
    let ask = |until: &str| VerifyRequest {
        mode: VerifyMode::DocumentOnly,
        document: number(HOLDER, until),
        ..VerifyRequest::default()
    };
    let a = w.ask(ask("long_term"));
    assert_eq!(a.result.outcome, Outcome::DocumentOnly);
    assert_eq!(check(&a, CheckName::Document).1, Some(Reason::DocumentUnproven));
    let report = a.result.document.unwrap();
    assert!(report.checks.iter().all(|c| c.reason != Some(DocumentReason::Expired)));
    assert!(report.disclosed.is_none() && report.link.is_none());
    let a = w.ask(ask("2019-01-01"));
    assert_eq!(a.result.outcome, Outcome::DocumentRejected);
    assert_eq!(w.script.looked.load(Ordering::SeqCst), 0, "a camera was looked through");
    // Face by chip only, declined: the portrait in it stays closed.
    let chip =
        VerifyRequest { mode: VerifyMode::DocumentOnly, document: Some(dg2()), ..VerifyRequest::default() };
    let a = w.ask(chip);
    assert_eq!((a.result.outcome, a.result.reference), (Outcome::DocumentOnly, None));
    assert!(w.script.embedded.lock().unwrap().is_empty());
}

#[test]
fn the_chips_portrait_is_the_reference_and_preferred() {
    let w = with_documents(DocumentConfig::default());
    w.show(ALICE);
    let person = |document: DocumentRequest, sent: Option<[u8; 3]>| {
        let sent = sent.map_or_else(VerifyRequest::default, portrait);
        let a = w.ask(VerifyRequest { document: Some(document), ..sent });
        (a.result.outcome, a.result.reference.map(|r| r.source))
    };
    // With the portrait that was sent it would be a match.
    for sent in [None, Some(ALICE)] {
        assert_eq!(person(dg2(), sent), (Outcome::PoorQuality, Some(PortraitSource::Chip)));
    }
    // One that cannot be read leaves the one that was sent, and the document fails.
    let mut broken = DocumentRequest::default();
    broken.files.add(FileId::DataGroup(2), vec![0x75, 0].into()).unwrap();
    let (outcome, source) = person(broken, Some(ALICE));
    assert_eq!((outcome, source), (Outcome::DocumentRejected, Some(PortraitSource::Request)));
    let mut broken = DocumentRequest::default();
    broken.files.add(FileId::DataGroup(2), vec![0x75, 0].into()).unwrap();
    assert_eq!(person(broken, None).0, Outcome::Error);
    // Without either there is nothing to compare with.
    let a = w.ask(VerifyRequest { document: number(HOLDER, "long_term"), ..VerifyRequest::default() });
    assert_eq!(check(&a, CheckName::ReferencePortrait).1, Some(Reason::NotRequested));
}
