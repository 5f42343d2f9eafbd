//! What is played, what is asked, and what should be answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::{Value, json};

use super::daemon::{Daemon, Plan, Tail};
use super::household::Household;
use super::stage::{Camera, Likeness, Person, Reel, Set, cast};
use super::{Args, Clock};
use crate::base::{Culprit, Error, Kind, Name, Result, supervise};
use crate::bus::client::Client;
use crate::config::{BrokerUrl, MqttConfig};
use crate::event::topic::Topics;
use crate::event::{CameraCondition, CameraState, GateDecision, Outcome, Reply, VerifyResult};

/// Seed of noise and lobby: every demonstration shows the same.
const SEED: u64 = 20_261_121;
/// What a guest is given at a desk.
const DEADLINE_MS: u32 = 2_500;
/// What an answer may take on its way, beyond its deadline.
const ON_THE_WAY: Duration = Duration::from_secs(3);
/// After somebody has stepped before the camera.
const A_MOMENT: Duration = Duration::from_millis(400);
/// For the daemon to notice who was enrolled beside it.
const GALLERY_MOMENT: Duration = Duration::from_millis(1_200);
/// For `vigil tail` to print what was answered.
const TAIL_MOMENT: Duration = Duration::from_millis(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    Mqtt,
    Http,
}

/// Who is before the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// Nobody.
    Empty,
    /// A photograph and where the person is in it.
    Guest(&'static str, Likeness),
}

impl PartialEq for Likeness {
    fn eq(&self, other: &Self) -> bool {
        self.eyes == other.eyes
    }
}
impl Eq for Likeness {}

/// One question.
struct Question {
    scene: Scene,
    says: &'static str,
    portrait: Option<&'static str>,
    way: Way,
    expected: Outcome,
}

const QUESTIONS: [Question; 6] = [
    Question {
        scene: Scene::Guest("obama.jpg", cast::OBAMA),
        says: "Mr Obama, with his own document",
        portrait: Some("obama2.jpg"),
        way: Way::Mqtt,
        expected: Outcome::Match,
    },
    Question {
        scene: Scene::Guest("obama.jpg", cast::OBAMA),
        says: "Mr Obama, with Mr Biden's document",
        portrait: Some("biden.jpg"),
        way: Way::Mqtt,
        expected: Outcome::NoMatch,
    },
    Question {
        scene: Scene::Guest("biden.jpg", cast::BIDEN),
        says: "Mr Biden, with Mr Obama's document",
        portrait: Some("obama.jpg"),
        way: Way::Http,
        expected: Outcome::NoMatch,
    },
    Question {
        scene: Scene::Guest("obama3.jpg", cast::OBAMA_IN_2010),
        says: "Mr Obama two years younger, with his own document",
        portrait: Some("obama.jpg"),
        way: Way::Http,
        expected: Outcome::Match,
    },
    Question {
        scene: Scene::Empty,
        says: "nobody, with Mr Obama's document",
        portrait: Some("obama2.jpg"),
        way: Way::Mqtt,
        expected: Outcome::NoFace,
    },
    Question {
        scene: Scene::Empty,
        says: "a guest who declines the camera",
        portrait: None,
        way: Way::Mqtt,
        expected: Outcome::DocumentOnly,
    },
];

/// Somebody presents a card at the door.
struct Visit {
    scene: Scene,
    says: &'static str,
    card: &'static str,
    /// The outcome and its reason.
    expected: &'static str,
    way: Way,
    /// The lease of [`SECOND_CARD`] is over before this.
    after_the_lease: bool,
}

/// Cards of the house, and how long the second one's lease runs: long enough for one visit.
const FIRST_CARD: &str = "04A1B2C3";
const SECOND_CARD: &str = "04D4E5F6";
const SHORT_LEASE: SignedDuration = SignedDuration::from_secs(7);

const VISITS: [Visit; 3] = [
    Visit {
        scene: Scene::Guest("obama.jpg", cast::OBAMA),
        says: "at the door: Mr Obama, with his own card",
        card: FIRST_CARD,
        expected: "granted",
        way: Way::Http,
        after_the_lease: false,
    },
    Visit {
        scene: Scene::Guest("obama.jpg", cast::OBAMA),
        says: "at the door: Mr Obama, with Mr Biden's card",
        card: SECOND_CARD,
        expected: "denied: below_threshold",
        way: Way::Mqtt,
        after_the_lease: false,
    },
    Visit {
        scene: Scene::Guest("biden.jpg", cast::BIDEN),
        says: "at the door: Mr Biden, with his own card, expired",
        card: SECOND_CARD,
        expected: "denied: lease_expired",
        way: Way::Mqtt,
        after_the_lease: true,
    },
];

/// What came of a question.
#[derive(Debug, Serialize)]
pub(super) struct Asked {
    pub(super) asked: &'static str,
    pub(super) way: Way,
    pub(super) expected: String,
    pub(super) answered: String,
    /// From asking to having the answer, milliseconds.
    pub(super) round_trip_ms: u64,
    /// What the box says it took, milliseconds.
    pub(super) box_ms: u32,
}

impl Asked {
    pub(super) fn right(&self) -> bool {
        self.answered == self.expected
    }
}

/// Words for a person: on standard output, or beside it when that carries JSON.
pub(super) fn say(json: bool, text: &str) {
    if json {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
}

/// Plays everything.
pub(super) fn play(args: &Args, dir: &Path, clock: &Clock) -> Result<Vec<Asked>> {
    for file in ["obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg"] {
        let path = args.photos.join(file);
        if !path.is_file() {
            return Err(Error::new(
                Kind::NotFound,
                Culprit::Host,
                format!("{} is not there", path.display()),
            )
            .remedy("`make setup` fetches the photographs; `--photos` names another directory"));
        }
    }
    let set = Arc::new(Set::new(1280, 720, SEED));
    let camera = Camera::start("127.0.0.1:0", Reel::empty(&set)?)?;
    let plan = Plan::write(dir, &camera.url(), &args.models)?;
    let mut daemon = Daemon::start(&plan)?;

    // The pictures are made while the daemon loads its models.
    let (photos, stage) = (args.photos.clone(), set.clone());
    let reels = supervise::spawn("stage-reels", move || reels(&stage, &photos))?;
    let (first, second) = (read(&args.photos.join("obama2.jpg"))?, read(&args.photos.join("biden.jpg"))?);
    let config = plan.config.clone();
    let household = supervise::spawn("household", move || {
        let mut household = Household::open(&config)?;
        household.move_in("tenant-1", FIRST_CARD, &first, SignedDuration::from_hours(24))?;
        Ok::<_, Error>(household)
    })?;

    let site = Name::new("demo")?;
    let topics = Topics::new(&site, &Name::new("front-desk")?);
    let mqtt = MqttConfig::new(BrokerUrl::parse(&format!("mqtt://{}", plan.broker))?);
    let mut client = clock.until("waiting for the broker", || {
        daemon.alive()?;
        match Client::connect(&mqtt, "vigil-demo", &[topics.camera(&Name::new("desk")?)]) {
            Ok(client) => Ok(Some(client)),
            Err(e) if e.retryable() => Ok(None),
            Err(e) => Err(e),
        }
    })?;
    let mut tail = Tail::start(&plan, args.json)?;
    clock
        .until("waiting for the camera", || {
            daemon.alive()?;
            let message = client.recv(Duration::from_millis(100))?;
            let state = message.and_then(|m| serde_json::from_slice::<CameraState>(&m.payload).ok());
            Ok(state.filter(|s| s.state == CameraCondition::Live).map(|_| ()))
        })
        .inspect_err(|_| daemon.show_log())?;
    let reels = clock
        .until("drawing the guests", || Ok(reels.is_finished().then_some(())))
        .and_then(|()| reels.join().map_err(|p| Error::internal(supervise::panic_text(&*p)))?)?;
    // What was there before it listened, so that its first event is the first question's.
    let end = Instant::now() + Duration::from_secs(3);
    clock.until("waiting for vigil tail", || {
        tail.alive()?;
        Ok((tail.lines() > 0 || Instant::now() > end).then_some(()))
    })?;
    say(args.json, &format!("\nStatus page while this runs: http://{}/\n", plan.desk));

    let mut answers = Vec::new();
    let mut before = Scene::Empty;
    for (number, question) in (1..).zip(&QUESTIONS) {
        clock.check("between two questions")?;
        daemon.alive()?;
        if question.scene != before {
            before = question.scene;
            let reel = reels.iter().find(|(s, _)| *s == before).map(|(_, r)| r.clone());
            camera.show(reel.ok_or_else(|| Error::internal("a scene was not drawn"))?);
            clock.until("waiting for the guest", || Ok(camera.settled(Duration::ZERO).then_some(())))?;
            clock.stop.sleep(A_MOMENT);
        }
        let way = if question.way == Way::Mqtt { "MQTT" } else { "HTTP" };
        say(args.json, &format!("{number}. {} (over {way})", question.says));
        let portrait = question.portrait.map(|file| read(&args.photos.join(file))).transpose()?;
        let correlation = format!("demo-{number}");
        let started = Instant::now();
        let result = match question.way {
            Way::Mqtt => ask_mqtt(&mut client, &topics, &correlation, portrait.as_deref(), clock),
            Way::Http => ask_http(plan.desk, &correlation, portrait.as_deref(), clock),
        }
        .inspect_err(|_| daemon.show_log())?;
        let round_trip_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        answers.push(Asked {
            asked: question.says,
            way: question.way,
            expected: word(question.expected),
            answered: word(result.outcome),
            round_trip_ms,
            box_ms: result.timing.elapsed_ms,
        });
        clock.stop.sleep(TAIL_MOMENT);
    }
    let mut household = clock
        .until("enrolling the tenants", || Ok(household.is_finished().then_some(())))
        .and_then(|()| household.join().map_err(|p| Error::internal(supervise::panic_text(&*p)))?)?;
    household.move_in("tenant-2", SECOND_CARD, &second, SHORT_LEASE)?;
    let lease_ends = Instant::now() + SHORT_LEASE.unsigned_abs() + A_MOMENT;
    for (number, visit) in (answers.len() + 1..).zip(&VISITS) {
        clock.check("between two visits")?;
        daemon.alive()?;
        if visit.scene != before {
            before = visit.scene;
            let reel = reels.iter().find(|(s, _)| *s == before).map(|(_, r)| r.clone());
            camera.show(reel.ok_or_else(|| Error::internal("a scene was not drawn"))?);
            clock.until("waiting for the visitor", || Ok(camera.settled(Duration::ZERO).then_some(())))?;
            clock.stop.sleep(A_MOMENT);
        }
        // The daemon looks into the gallery once a second for what was written beside it.
        let until = if visit.after_the_lease { lease_ends } else { Instant::now() + GALLERY_MOMENT };
        clock.until("waiting at the door", || Ok((Instant::now() >= until).then_some(())))?;
        let way = if visit.way == Way::Mqtt { "MQTT" } else { "HTTP" };
        say(args.json, &format!("{number}. {} (over {way})", visit.says));
        let correlation = format!("demo-{number}");
        let read = json!({"correlation": correlation, "door": "house", "kind": "card", "value": visit.card});
        let started = Instant::now();
        let decision = match visit.way {
            Way::Mqtt => present_mqtt(&mut client, &topics, &correlation, &read, clock),
            Way::Http => present_http(plan.desk, &read, clock),
        }
        .inspect_err(|_| daemon.show_log())?;
        answers.push(Asked {
            asked: visit.says,
            way: visit.way,
            expected: visit.expected.to_owned(),
            answered: match &decision.reason {
                Some(reason) => format!("{}: {}", word(decision.outcome), word(reason)),
                None => word(decision.outcome),
            },
            round_trip_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            box_ms: decision.timing.elapsed_ms,
        });
        clock.stop.sleep(TAIL_MOMENT);
    }
    client.close();
    Ok(answers)
}

fn present_mqtt(
    client: &mut Client,
    topics: &Topics,
    correlation: &str,
    read: &Value,
    clock: &Clock,
) -> Result<GateDecision> {
    let answer = client.request(
        topics,
        "credential",
        correlation,
        read.to_string().into_bytes(),
        patience(clock) * 2,
    )?;
    let data = event_of(answer)?;
    serde_json::from_value(data).map_err(|e| strange("event", e))
}

/// Reads a card as a reader with a network of its own does.
fn present_http(desk: SocketAddr, read: &Value, clock: &Clock) -> Result<GateDecision> {
    let body = read.to_string();
    let head = format!(
        "POST /v1/credential HTTP/1.0\r\nHost: {desk}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut answer = exchange(desk, &head, body.as_bytes(), patience(clock) * 2)?;
    serde_json::from_value(answer["decision"].take()).map_err(|e| strange("answer", e))
}

type Reels = Vec<(Scene, Arc<Reel>)>;

/// Draws every scene, each once.
fn reels(set: &Set, photos: &Path) -> Result<Reels> {
    let mut out: Reels = Vec::new();
    for scene in QUESTIONS.iter().map(|q| q.scene).chain(VISITS.iter().map(|v| v.scene)) {
        if out.iter().any(|(drawn, _)| *drawn == scene) {
            continue;
        }
        let reel = match scene {
            Scene::Empty => Reel::empty(set)?,
            Scene::Guest(file, likeness) => Reel::visit(set, &Person::open(&photos.join(file), &likeness)?)?,
        };
        out.push((scene, Arc::new(reel)));
    }
    Ok(out)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io(Culprit::Host, format!("cannot read {}", path.display()), e))
}

fn request(correlation: &str, portrait: Option<&[u8]>) -> Value {
    let mode = if portrait.is_some() { "face" } else { "document_only" };
    json!({ "correlation": correlation, "mode": mode, "deadline_ms": DEADLINE_MS })
}

fn patience(clock: &Clock) -> Duration {
    clock.at_most(Duration::from_millis(u64::from(DEADLINE_MS)) + ON_THE_WAY)
}

fn ask_mqtt(
    client: &mut Client,
    topics: &Topics,
    correlation: &str,
    portrait: Option<&[u8]>,
    clock: &Clock,
) -> Result<VerifyResult> {
    let mut request = request(correlation, portrait);
    if let Some(portrait) = portrait {
        request["portrait"] = STANDARD.encode(portrait).into();
    }
    let answer =
        client.request(topics, "verify", correlation, request.to_string().into_bytes(), patience(clock))?;
    serde_json::from_value(event_of(answer)?).map_err(|e| strange("event", e))
}

/// The data of the event that a reply carries.
fn event_of(answer: Value) -> Result<Value> {
    let reply: Reply = serde_json::from_value(answer).map_err(|e| strange("reply", e))?;
    if let Some(error) = reply.error {
        return Err(Error::new(Kind::Refused, Culprit::Vigil, format!("the box refused: {}", error.message)));
    }
    reply.event.map(|e| e.data).ok_or_else(|| {
        Error::new(Kind::NoSpace, Culprit::Disk, "the box answered, but could not record its answer")
    })
}

fn strange(what: &str, e: serde_json::Error) -> Error {
    Error::new(Kind::Malformed, Culprit::Vigil, format!("the box's {what} is not what its schema says"))
        .with_source(e)
}

/// Asks as a document reader does: one `multipart/form-data` request.
fn ask_http(
    desk: SocketAddr,
    correlation: &str,
    portrait: Option<&[u8]>,
    clock: &Clock,
) -> Result<VerifyResult> {
    const BOUNDARY: &str = "vigil-demo-3b1f6c";
    let mut body = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"request\"\r\nContent-Type: application/json\r\n\r\n{}\r\n",
        request(correlation, portrait)
    )
    .into_bytes();
    if let Some(portrait) = portrait {
        body.extend_from_slice(
            format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"portrait\"; filename=\"portrait.jpg\"\r\n\
                 Content-Type: image/jpeg\r\n\r\n"
            )
            .as_bytes(),
        );
        body.extend_from_slice(portrait);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    let head = format!(
        "POST /v1/verify HTTP/1.0\r\nHost: {desk}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut body = exchange(desk, &head, &body, patience(clock))?;
    serde_json::from_value(body["result"].take()).map_err(|e| strange("answer", e))
}

/// One request to the desk, and the JSON of its answer.
fn exchange(desk: SocketAddr, head: &str, body: &[u8], patience: Duration) -> Result<Value> {
    let patience = patience.max(Duration::from_millis(1));
    let exchange = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&desk, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|e| Error::io(Culprit::Vigil, "the desk did not answer", e))?;
    let text = String::from_utf8_lossy(&answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body: Value = serde_json::from_str(body).map_err(|e| strange("answer", e))?;
    if let Some(error) = body.get("error") {
        return Err(Error::new(Kind::Refused, Culprit::Vigil, format!("the desk refused: {error}")));
    }
    Ok(body)
}

/// A word of the contract.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Prints what was asked and answered.
pub(super) fn summary(answers: &[Asked], json: bool) -> Result<()> {
    let right = answers.iter().filter(|a| a.right()).count();
    if json {
        println!("{}", json!({ "summary": answers, "right": right, "asked": answers.len() }));
        return Ok(());
    }
    let width = answers.iter().map(|a| a.asked.len()).max().unwrap_or(0);
    println!("\n{:width$}  {:4}  {:23}  {:23}  {:>6}", "asked", "over", "expected", "answered", "ms");
    for a in answers {
        println!(
            "{:width$}  {:4}  {:23}  {:23}  {:>6}  {}",
            a.asked,
            if a.way == Way::Mqtt { "MQTT" } else { "HTTP" },
            a.expected,
            a.answered,
            a.round_trip_ms,
            if a.right() { "right" } else { "WRONG" },
        );
    }
    println!("\n{right} of {} answers were right.", answers.len());
    Ok(())
}
