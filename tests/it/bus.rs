//! The outbox and the bus against a real mosquitto, and against every way it can fail.

// A helper that cannot go on fails its test.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use uuid::Uuid;
use vigil::base::{Kind, Name, Shutdown, SystemClock};
use vigil::bus::client::Client;
use vigil::bus::{Bus, BusParts, Command, LinkState, embedded, probe};
use vigil::config::{BrokerConfig, BrokerUrl, Millis, MqttConfig, MqttVersion, OutboxConfig, Secret};
use vigil::event::topic::Topics;
use vigil::event::{Draft, Envelope, EventKind, Recorder};
use vigil::outbox::Outbox;

use crate::support::mosquitto::{Mosquitto, Setup};
use crate::support::write_secret;

const PATIENCE: Duration = Duration::from_secs(120);
/// How long a test's decision may open a door.
const VALID: Duration = Duration::from_secs(10);

fn topics() -> Topics {
    Topics::new(&Name::new("site").unwrap(), &Name::new("gate").unwrap())
}

fn outbox(dir: &Path) -> Outbox {
    let config = OutboxConfig { reserve_mib: 1, warn_free_mib: 0, max_mib: 64 };
    Outbox::open(dir, &config, format!("/{}", topics().base()), Arc::new(SystemClock::default())).unwrap()
}

fn draft(n: u64) -> Draft {
    let now = Timestamp::now();
    Draft {
        kind: EventKind::VerifyResult,
        subject: Some("lobby".to_owned()),
        time: now,
        not_after: Some(now + VALID),
        data: json!({ "n": n, "outcome": "match" }),
    }
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A box's bus with everything around it.
struct Rig {
    bus: Option<Bus>,
    outbox: Outbox,
    stop: Shutdown,
    commands: mpsc::Receiver<Command>,
    _dir: TempDir,
}

impl Rig {
    fn start(config: MqttConfig) -> Self {
        let dir = TempDir::new().unwrap();
        let outbox = outbox(dir.path());
        let stop = Shutdown::new();
        let (tx, commands) = mpsc::channel(4);
        let bus = Bus::start(BusParts {
            config,
            topics: topics(),
            outbox: outbox.clone(),
            clock: Arc::new(SystemClock::default()),
            birth: json!({ "software": "test" }),
            commands: tx,
            known_commands: vec!["verify".to_owned()],
            stop: stop.clone(),
        })
        .unwrap();
        Self { bus: Some(bus), outbox, stop, commands, _dir: dir }
    }

    fn bus(&self) -> &Bus {
        self.bus.as_ref().unwrap()
    }

    fn state(&self) -> LinkState {
        self.bus().link().borrow().state
    }

    fn reason(&self) -> String {
        self.bus().link().borrow().reason.clone().unwrap_or_default()
    }

    fn online(&self) {
        eventually("online", || self.state() == LinkState::Online);
    }

    fn record(&self, n: u64) -> Envelope {
        self.outbox.record(draft(n)).blocking_recv().unwrap().unwrap()
    }

    fn stop(mut self) {
        self.stop.request();
        assert!(self.bus.take().unwrap().join(PATIENCE), "the bus did not end");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.request();
    }
}

fn listen(config: &MqttConfig) -> Client {
    Client::connect(config, "test", &[format!("{}/#", topics().base())]).unwrap()
}

/// The next message whose topic ends with `suffix`.
fn next(client: &mut Client, suffix: &str) -> (vigil::bus::client::Message, Value) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let m = client.recv(left).unwrap().unwrap_or_else(|| panic!("nothing came on …{suffix}"));
        if m.topic.ends_with(suffix) {
            let value = serde_json::from_slice(&m.payload).unwrap();
            return (m, value);
        }
    }
}

fn speaks(version: MqttVersion) {
    let broker = Mosquitto::open();
    let mut config = broker.config();
    config.version = version;
    config.max_command_bytes = 20_000;
    let mut big = config.clone();
    big.max_command_bytes = 1_000_000;
    // Before the box comes up: an old command is retained, and somebody listens.
    let mut hub = listen(&big);
    let verify = format!("{}/cmd/verify", topics().base());
    hub.publish(&verify, b"{\"old\":true}".to_vec(), true, PATIENCE).unwrap();
    let rig_dir_event = 1;
    let mut rig = Rig::start(config.clone());
    rig.bus()
        .publish_retained(topics().camera(&Name::new("lobby").unwrap()), &json!({ "state": "lost" }))
        .unwrap();
    rig.record(rig_dir_event);
    rig.online();

    let (m, state) = next(&mut hub, "/state");
    assert_eq!((&state["state"], &state["bootid"]), (&json!("online"), &json!(rig.outbox.boot_id())));
    assert!(!m.retained);
    assert_eq!(next(&mut hub, "/birth").1, json!({ "software": "test" }));
    let (m, event) = next(&mut hub, "/event/verify.result");
    assert!(!m.retained);
    let event: Envelope = serde_json::from_value(event).unwrap();
    assert_eq!((event.seq, event.bootid), (1, rig.outbox.boot_id()));
    eventually("acknowledged and deleted", || rig.outbox.stats().depth == 0);

    // The old command was not executed, and it was said so.
    let (_, alarm) = next(&mut hub, "/event/box.alarm");
    assert_eq!(alarm["data"]["code"], "command_refused");
    eventually("counted", || rig.bus().stats().commands_retained == 1);
    hub.publish(&verify, Vec::new(), true, PATIENCE).unwrap();

    // Hostile messages, then a good one.
    let base = topics().base().to_owned();
    hub.publish(&format!("{base}/cmd/open-the-door"), b"x".to_vec(), false, PATIENCE).unwrap();
    hub.publish(&verify, vec![0xFF; 20_001], false, PATIENCE).unwrap();
    eventually("unknown and oversize are counted", || {
        let s = rig.bus().stats();
        s.commands_unknown >= 1 && s.commands_oversize == 1
    });
    assert!(rig.commands.try_recv().is_ok_and(|c| c.payload.is_empty()), "the deletion is an empty command");
    for n in 0..10 {
        hub.publish(&verify, format!("{{\"n\":{n}}}").into_bytes(), false, PATIENCE).unwrap();
    }
    eventually("the queue is bounded", || rig.bus().stats().commands_dropped == 6);
    let command = rig.commands.blocking_recv().unwrap();
    assert_eq!((command.name.as_str(), command.payload.as_slice()), ("verify", &b"{\"n\":0}"[..]));
    while rig.commands.try_recv().is_ok() {}

    // A request and its reply, from a client of its own.
    let asking = {
        let config = config.clone();
        std::thread::spawn(move || {
            let mut desk = Client::connect(&config, "desk", &[]).unwrap();
            let answer = desk.request(&topics(), "verify", "c-1", b"{}".to_vec(), PATIENCE).unwrap();
            desk.close();
            answer
        })
    };
    assert_eq!(rig.commands.blocking_recv().unwrap().name, "verify");
    assert!(rig.bus().reply("not/a/correlation", &json!({}), Instant::now() + PATIENCE).is_err());
    rig.bus().reply("late", &json!({}), Instant::now()).unwrap();
    rig.bus().reply("c-1", &json!({ "outcome": "match" }), Instant::now() + PATIENCE).unwrap();
    assert_eq!(asking.join().unwrap(), json!({ "outcome": "match" }));
    assert_eq!(rig.bus().stats().replies_expired, 1);

    // `rebirth`, and what a newcomer finds: states, no events.
    hub.publish(&format!("{base}/cmd/rebirth"), b"{}".to_vec(), false, PATIENCE).unwrap();
    assert_eq!(next(&mut hub, "/birth").1["software"], "test");
    let mut newcomer = listen(&config);
    let expected = BTreeSet::from(["/birth", "/camera/lobby", "/state"].map(str::to_owned));
    let (mut found, end) = (BTreeSet::new(), Instant::now() + PATIENCE);
    // All that is expected, however long it takes; then whatever else there may be.
    let mut hear = |newcomer: &mut Client, within: Duration| {
        let heard = newcomer.recv(within).unwrap();
        if let Some(m) = heard.as_ref().filter(|m| m.retained) {
            found.insert(m.topic.strip_prefix(&base).unwrap().to_owned());
        }
        (heard.is_some(), found.is_superset(&expected))
    };
    while !hear(&mut newcomer, Duration::from_millis(100)).1 && Instant::now() < end {}
    while hear(&mut newcomer, Duration::from_millis(500)).0 {}
    assert_eq!(found, expected);

    // A clean end is not a loss.
    rig.stop();
    let (_, state) = next(&mut newcomer, "/state");
    assert_eq!((&state["state"], &state["reason"]), (&json!("offline"), &json!("stopped")));
    assert!(probe(&config, &topics()).unwrap() < PATIENCE);
}

#[test]
fn mqtt_5_is_spoken() {
    speaks(MqttVersion::V5);
}

#[test]
fn mqtt_3_1_1_is_spoken() {
    speaks(MqttVersion::V311);
}

/// Whoever hears that a box is online may command it at once. A broker handles what comes over one connection
/// in its order, so the box has to ask for commands before it says so.
#[test]
fn commands_are_asked_for_before_anything_is_said() {
    fn packet(stream: &mut TcpStream) -> u8 {
        let mut byte = || {
            let mut one = [0];
            stream.read_exact(&mut one).unwrap();
            one[0]
        };
        let kind = byte() >> 4;
        let (mut length, mut shift) = (0, 0);
        loop {
            let more = byte();
            length |= usize::from(more & 0x7f) << shift;
            shift += 7;
            if more < 0x80 {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length]).unwrap();
        kind
    }
    for (version, accepted) in
        [(MqttVersion::V5, &[0x20, 3, 0, 0, 0][..]), (MqttVersion::V311, &[0x20, 2, 0, 0])]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let mut config = MqttConfig::new(BrokerUrl::parse(&url).unwrap());
        config.version = version;
        let _rig = Rig::start(config);
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(packet(&mut stream), 1, "CONNECT");
        stream.write_all(accepted).unwrap();
        assert_eq!(packet(&mut stream), 8, "SUBSCRIBE, and no PUBLISH before it");
    }
}

/// An authority, a broker's and a box's certificate, as PEM.
fn certificates() -> BTreeMap<&'static str, String> {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let mut out = BTreeMap::from([("ca.pem", ca_cert.pem())]);
    for (cert_name, key_name, name) in
        [("server.pem", "server.key", "127.0.0.1"), ("box.pem", "box.key", "gate.site")]
    {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let cert = params.signed_by(&key, &issuer).unwrap();
        out.insert(cert_name, cert.pem());
        out.insert(key_name, key.serialize_pem());
    }
    out
}

#[test]
fn tls_with_client_certificates() {
    let pems = certificates();
    let files: Vec<(&str, String)> = pems.iter().map(|(n, t)| (*n, t.clone())).collect();
    let broker = Mosquitto::with(Setup {
        lines: &[
            "cafile {dir}/ca.pem",
            "certfile {dir}/server.pem",
            "keyfile {dir}/server.key",
            "require_certificate true",
            "use_identity_as_username true",
        ],
        files: &files,
        tls: true,
        ..Setup::default()
    });
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let mut config = broker.config();
        config.version = version;
        config.tls.ca_file = Some(broker.path("ca.pem"));
        config.tls.cert_file = Some(broker.path("box.pem"));
        config.tls.key_file = Some(broker.path("box.key"));
        let rig = Rig::start(config.clone());
        rig.record(1);
        eventually("delivered over TLS", || rig.bus().stats().acked == 1);
        rig.stop();

        let mut without = config.clone();
        (without.tls.cert_file, without.tls.key_file) = (None, None);
        let rig = Rig::start(without);
        eventually("a missing client certificate is shown", || rig.state() == LinkState::Refused);
        assert!(rig.reason().contains("certificate"), "{}", rig.reason());

        let mut stranger = config.clone();
        std::fs::write(broker.path("other.pem"), &certificates()["ca.pem"]).unwrap();
        stranger.tls.ca_file = Some(broker.path("other.pem"));
        let rig = Rig::start(stranger);
        eventually("a foreign broker is shown", || rig.state() == LinkState::Refused);
        assert!(rig.reason().contains("ca_file"), "{}", rig.reason());
    }
    let mut half = broker.config();
    half.tls.ca_file = Some(broker.path("ca.pem"));
    half.tls.cert_file = Some(broker.path("box.pem"));
    assert_eq!(Client::connect(&half, "t", &[]).unwrap_err().kind(), Kind::Config);
}

#[test]
fn a_wrong_password_is_shown_with_its_remedy_and_a_right_one_works() {
    let broker = Mosquitto::with(Setup { users: &[("gate", "right")], ..Setup::default() });
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let mut config = broker.config();
        config.version = version;
        config.username = Some("gate".to_owned());
        config.password = Some(Secret::new("wrong"));
        let rig = Rig::start(config.clone());
        eventually("refused", || rig.state() == LinkState::Refused);
        assert!(rig.reason().contains("password_file"), "{}", rig.reason());
        eventually("the refusal is an event for later", || rig.outbox.stats().depth == 1);
        drop(rig);
        write_secret(&broker.path("secret"), "right\n");
        config.password = None;
        config.password_file = Some(broker.path("secret"));
        let rig = Rig::start(config.clone());
        rig.online();
        rig.stop();
        config.password_file = Some(broker.path("absent"));
        assert_eq!(probe(&config, &topics()).unwrap_err().kind(), Kind::NotFound);
    }
}

#[test]
fn a_refused_event_is_kept_and_does_not_hold_up_the_others() {
    let may = |kinds: &str| format!("topic readwrite {b}/#\n{kinds}", b = topics().base());
    let deny = format!("topic deny {}\n", topics().event(EventKind::BoxAlarm));
    let broker = Mosquitto::with(Setup {
        lines: &["allow_anonymous true", "acl_file {dir}/acl"],
        files: &[("acl", may(&deny))],
        ..Setup::default()
    });
    let rig = Rig::start(broker.config());
    rig.online();
    let alarm = vigil::event::BoxAlarm {
        code: vigil::event::AlarmCode::CameraLost,
        state: vigil::event::AlarmState::Raised,
        about: None,
        message: "nobody may hear this".to_owned(),
    };
    rig.outbox.record(Draft::box_alarm(&alarm, Timestamp::now()).unwrap()).blocking_recv().unwrap().unwrap();
    for n in 0..50 {
        rig.record(n);
    }
    eventually("the decisions pass", || rig.bus().stats().acked == 50);
    eventually("the alarm is tried again", || rig.bus().stats().rejected >= 2);
    // What is acknowledged is deleted a moment later.
    eventually("the refused event alone is kept, and no alarm about it bred others", || {
        rig.outbox.stats().depth == 1 && rig.bus().stats().parked == 1
    });
    std::fs::write(broker.path("acl"), may("")).unwrap();
    broker.signal(Signal::SIGHUP);
    let mut hub = listen(&broker.config());
    let (_, late) = next(&mut hub, "/event/box.alarm");
    assert_eq!((&late["replayed"], &late["data"]["code"]), (&json!(true), &json!("camera_lost")));
    eventually("deleted at last", || rig.outbox.stats().depth <= 1 && rig.bus().stats().parked == 0);
    rig.stop();
}

#[test]
fn an_oversize_command_neither_silences_the_box_nor_reaches_it() {
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let broker = Mosquitto::open();
        let mut config = broker.config();
        config.version = version;
        config.max_command_bytes = 10_000;
        let mut big = broker.config();
        big.max_command_bytes = 1_000_000;
        // Retained, so that it comes again on every connection.
        let mut hub = listen(&big);
        let verify = format!("{}/cmd/verify", topics().base());
        hub.publish(&verify, vec![b' '; 100_000], true, PATIENCE).unwrap();
        let mut rig = Rig::start(config);
        rig.online();
        for n in 0..20 {
            rig.record(n);
            std::thread::sleep(Duration::from_millis(20));
        }
        eventually("the decisions pass", || {
            rig.outbox.stats().depth == 0 && rig.state() == LinkState::Online
        });
        assert!(rig.commands.try_recv().is_err(), "{version:?}: the command was handed over");
        // MQTT 5 tells the broker the limit; under 3.1.1 the packet ends the connection.
        let oversize = rig.bus().stats().commands_oversize;
        assert_eq!(oversize > 0, version == MqttVersion::V311, "{oversize}");
        rig.stop();
    }
}

#[test]
fn an_event_larger_than_the_broker_takes_is_kept_and_the_others_pass() {
    let broker = Mosquitto::with(Setup {
        lines: &["allow_anonymous true", "max_packet_size 4000"],
        ..Setup::default()
    });
    let rig = Rig::start(broker.config());
    rig.online();
    let mut big = draft(0);
    big.data = json!("x".repeat(5_000));
    rig.outbox.record(big).blocking_recv().unwrap().unwrap();
    for n in 0..20 {
        rig.record(n);
    }
    eventually("the decisions pass", || rig.bus().stats().acked >= 20);
    eventually("all but one are deleted", || rig.outbox.stats().depth == 1);
    eventually("it is set aside", || rig.bus().stats().parked == 1);
    assert_eq!(rig.bus().stats().connects, 1, "it costs no connection");
    rig.stop();
}

#[test]
fn two_boxes_with_one_name_are_told_so() {
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let broker = Mosquitto::open();
        let mut config = broker.config();
        config.version = version;
        let (a, b) = (Rig::start(config.clone()), Rig::start(config.clone()));
        eventually("one of them says why", || {
            [&a, &b]
                .iter()
                .any(|r| r.state() == LinkState::Refused && r.reason().contains("client identifier"))
        });
        // Both decide, and neither loses anything while they fight.
        for n in 0..5 {
            a.record(n);
            b.record(n);
        }
        b.stop.request();
        eventually("the other comes to rest", || a.outbox.stats().depth == 0);
    }
}

#[test]
fn the_embedded_broker_speaks_both_versions_and_asks_for_the_password() {
    let mut config = BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        username: Some("desk".to_owned()),
        password: Some(Secret::new("secret")),
        password_file: None,
    };
    let broker = embedded::start(&config).unwrap();
    config.listen = broker.addr();
    let client = |version, password: &str| {
        let mut c = MqttConfig::new(BrokerUrl::parse(&format!("mqtt://{}", broker.addr())).unwrap());
        c.version = version;
        c.username = Some("desk".to_owned());
        c.password = Some(Secret::new(password));
        (c.retry_min_ms, c.retry_max_ms) = (Millis(20), Millis(500));
        c
    };
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let e = Client::connect(&client(version, "wrong"), "x", &[]);
        assert!(e.is_err(), "a wrong password was accepted");
        let rig = Rig::start(client(version, "secret"));
        rig.online();
        // Whoever listens with either version hears it.
        let mut hubs =
            [listen(&client(MqttVersion::V5, "secret")), listen(&client(MqttVersion::V311, "secret"))];
        rig.record(7);
        for hub in &mut hubs {
            let (m, state) = next(hub, "/state");
            assert!(m.retained, "state is retained");
            assert_eq!(state["state"], "online");
            let (_, event) = next(hub, "/event/verify.result");
            assert_eq!(event["data"]["n"], 7);
        }
        eventually("acknowledged", || rig.outbox.stats().depth == 0);
        rig.stop();
        for hub in &mut hubs {
            assert_eq!(next(hub, "/state").1["reason"], "stopped");
        }
    }
}

// ---- a publisher that can be killed -------------------------------------------------------

/// Not a test of its own: the process that the tests below start and kill. It decides and
/// publishes as told by its environment, and says on standard output what it was promised.
#[test]
fn child_publisher() {
    let Ok(dir) = std::env::var("VIGIL_TEST_CHILD_DIR") else { return };
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "VT {line}").and_then(|()| out.flush()).unwrap();
    };
    let outbox = outbox(Path::new(&dir));
    say(format!("boot {}", outbox.boot_id()));
    let stop = Shutdown::new();
    let (tx, _rx) = mpsc::channel(4);
    let bus = std::env::var("VIGIL_TEST_CHILD_URL").ok().map(|url| {
        let mut config = MqttConfig::new(BrokerUrl::parse(&url).unwrap());
        config.keep_alive_s = 5;
        (config.retry_min_ms, config.retry_max_ms) = (Millis(20), Millis(300));
        if std::env::var("VIGIL_TEST_CHILD_VERSION").is_ok_and(|v| v == "3.1.1") {
            config.version = MqttVersion::V311;
        }
        Bus::start(BusParts {
            config,
            topics: topics(),
            outbox: outbox.clone(),
            clock: Arc::new(SystemClock::default()),
            birth: json!({}),
            commands: tx,
            known_commands: Vec::new(),
            stop: stop.clone(),
        })
        .unwrap()
    });
    let pace = std::env::var("VIGIL_TEST_CHILD_PACE_US").ok().and_then(|p| p.parse().ok()).unwrap_or(0);
    // Decides while told to: `go`, `hold`, `quit` on standard input.
    let going = Arc::new(AtomicBool::new(true));
    let quit = Arc::new(AtomicBool::new(false));
    {
        let (going, quit) = (going.clone(), quit.clone());
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                match line.as_deref() {
                    Ok("go") => going.store(true, Ordering::SeqCst),
                    Ok("hold") => going.store(false, Ordering::SeqCst),
                    _ => break,
                }
            }
            quit.store(true, Ordering::SeqCst);
        });
    }
    let mut n = 0;
    while !quit.load(Ordering::SeqCst) {
        if going.load(Ordering::SeqCst) {
            n += 1;
            match outbox.record(draft(n)).blocking_recv().unwrap() {
                Ok(e) => say(format!("durable {}", e.id)),
                Err(e) => say(format!("failed {e}")),
            }
            if pace > 0 {
                std::thread::sleep(Duration::from_micros(pace));
            }
        } else {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    stop.request();
    if let Some(bus) = bus {
        assert!(bus.join(PATIENCE));
    }
}

#[derive(Default)]
struct Promised {
    durable: Vec<Uuid>,
    boots: Vec<Uuid>,
    failed: Vec<String>,
}

struct Publisher {
    child: Child,
    stdin: ChildStdin,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Publisher {
    fn start(
        dir: &Path,
        broker: Option<(&str, MqttVersion)>,
        pace_us: u64,
        promised: &Arc<Mutex<Promised>>,
    ) -> Self {
        let mut command = Process::new(std::env::current_exe().unwrap());
        command
            .args(["bus::child_publisher", "--exact", "--nocapture", "--test-threads=1"])
            .env("VIGIL_TEST_CHILD_DIR", dir)
            .env("VIGIL_TEST_CHILD_PACE_US", pace_us.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some((url, version)) = broker {
            command.env("VIGIL_TEST_CHILD_URL", url);
            command.env("VIGIL_TEST_CHILD_VERSION", if version == MqttVersion::V5 { "5" } else { "3.1.1" });
        }
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let out = child.stdout.take().unwrap();
        let promised = promised.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { return };
                let Some((_, line)) = line.split_once("VT ") else { continue };
                let mut p = promised.lock().unwrap();
                match line.split_once(' ') {
                    Some(("durable", id)) => p.durable.extend(id.parse::<Uuid>().ok()),
                    Some(("boot", id)) => p.boots.extend(id.parse::<Uuid>().ok()),
                    _ => p.failed.push(line.to_owned()),
                }
            }
        });
        Self { child, stdin, reader: Some(reader) }
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.stdin, "{word}").unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
    }

    fn quit(mut self) {
        self.tell("quit");
        assert!(self.child.wait().unwrap().success());
        self.reader.take().unwrap().join().unwrap();
    }
}

#[test]
fn what_was_promised_before_kill_9_is_on_disk() {
    let dir = TempDir::new().unwrap();
    let promised = Arc::new(Mutex::new(Promised::default()));
    for round in 0..8u64 {
        let before = promised.lock().unwrap().durable.len();
        let child = Publisher::start(dir.path(), None, 0, &promised);
        eventually("it writes", || promised.lock().unwrap().durable.len() > before + 20);
        // Somewhere in the middle of a transaction, another place each time.
        std::thread::sleep(Duration::from_micros(137 * (round * round * 7 + 1)));
        child.kill();
    }
    let outbox = outbox(dir.path());
    let rows = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(outbox.pending(0, 1_000_000))
        .unwrap();
    let stored: BTreeSet<Uuid> =
        rows.iter().map(|r| serde_json::from_slice::<Envelope>(&r.payload(false)).unwrap().id).collect();
    let p = promised.lock().unwrap();
    let lost = p.durable.iter().filter(|id| !stored.contains(id)).count();
    assert_eq!(lost, 0, "of {} promised", p.durable.len());
    assert!(stored.len() <= p.durable.len() + 8, "one event per kill may be stored without its promise");
    let mut per_boot: BTreeMap<Uuid, Vec<u64>> = BTreeMap::new();
    for row in &rows {
        per_boot.entry(row.boot).or_default().push(row.seq);
    }
    assert_eq!(per_boot.len(), 8);
    for seqs in per_boot.values() {
        assert_eq!(*seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "a gap");
    }
    eprintln!("{} events promised over 8 kills, {} stored, 0 lost", p.durable.len(), stored.len());
}

/// Everything that a consumer heard, with each delivery's `replayed`.
struct Heard {
    deliveries: Arc<Mutex<Vec<Envelope>>>,
    retained_events: usize,
    lost_wills: usize,
    /// The boot that said since the last connection that it is online.
    online: Option<String>,
    client: Option<Client>,
    config: MqttConfig,
}

impl Heard {
    fn new(config: MqttConfig) -> Self {
        let mut heard = Self {
            deliveries: Arc::default(),
            retained_events: 0,
            lost_wills: 0,
            online: None,
            client: None,
            config,
        };
        heard.connect();
        heard
    }

    /// Subscribes; the broker has consented when this returns.
    fn connect(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        self.online = None;
        loop {
            match Client::observe(&self.config, "hub", &[format!("{}/#", topics().base())]) {
                Ok(client) => break self.client = Some(client),
                Err(e) => assert!(Instant::now() < deadline, "{e}"),
            }
        }
    }

    fn listen(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Some(client) = &mut self.client {
            let left = deadline.saturating_duration_since(Instant::now());
            match client.recv(left) {
                Ok(Some(m)) if m.topic.contains("/event/") => {
                    self.retained_events += usize::from(m.retained);
                    self.deliveries.lock().unwrap().push(serde_json::from_slice(&m.payload).unwrap());
                }
                Ok(Some(m)) if m.topic.ends_with("/state") => {
                    let state: Value = serde_json::from_slice(&m.payload).unwrap();
                    self.lost_wills += usize::from(state["reason"] == "lost" && !m.retained);
                    let boot = state["bootid"].as_str().map(str::to_owned);
                    self.online = boot.filter(|_| state["state"] == "online" && !m.retained);
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => self.client = None,
            }
        }
    }

    /// The broker is dead; what it had sent is still heard, to the last byte.
    fn hear_out(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.client.is_some() {
            assert!(Instant::now() < deadline, "the dead broker's connection does not end");
            self.listen(Duration::from_millis(100));
        }
    }

    fn ids(&self) -> BTreeSet<Uuid> {
        self.deliveries.lock().unwrap().iter().map(|e| e.id).collect()
    }
}

fn chaos(version: MqttVersion, persistence: bool, decisions: usize) {
    let lines: &[&str] = if persistence {
        // Unlimited in flight: the broker hands a message on before it acknowledges it.
        &[
            "allow_anonymous true",
            "max_inflight_messages 0",
            "persistence true",
            "persistence_location {dir}/",
        ]
    } else {
        &["allow_anonymous true", "max_inflight_messages 0", "persistence false"]
    };
    let started = Instant::now();
    let mut broker = Mosquitto::with(Setup { lines, ..Setup::default() });
    let dir = TempDir::new().unwrap();
    let promised = Arc::new(Mutex::new(Promised::default()));
    let mut heard = Heard::new(broker.config());
    let url = broker.url();
    let pace = 5_000;
    let mut publisher = Publisher::start(dir.path(), Some((&url, version)), pace, &promised);
    let mut kills = 0;
    let mut offline_ids: BTreeSet<Uuid> = BTreeSet::new();
    let mut step = 0u32;
    let mut away = 0;
    let count = || promised.lock().unwrap().durable.len();
    let per_step = decisions.div_ceil(30).max(5);
    while count() < decisions {
        let target = (count() + per_step).min(decisions);
        let more = |heard: &mut Heard, target: usize| {
            let deadline = Instant::now() + PATIENCE;
            while promised.lock().unwrap().durable.len() < target {
                assert!(Instant::now() < deadline, "the publisher stopped deciding");
                heard.listen(Duration::from_millis(5));
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        match step % 6 {
            0 => more(&mut heard, target),
            1 => {
                // The broker freezes: connections stand, nothing moves.
                broker.signal(Signal::SIGSTOP);
                let deadline = Instant::now() + PATIENCE;
                while count() < target {
                    assert!(Instant::now() < deadline);
                    std::thread::sleep(Duration::from_millis(5));
                }
                broker.signal(Signal::SIGCONT);
                heard.listen(Duration::from_millis(50));
            }
            2 | 4 => {
                // It is stopped, or killed; decisions go on, and on its return the hub is there first.
                broker.end(if step % 6 == 2 { Signal::SIGTERM } else { Signal::SIGKILL });
                heard.hear_out();
                std::thread::sleep(Duration::from_millis(200));
                let from = count();
                more(&mut heard, from + per_step);
                away += 1;
                // Away for good, and long enough for the publisher to know it.
                offline_ids.extend(promised.lock().unwrap().durable[from..].iter());
                publisher.signal(Signal::SIGSTOP);
                broker.start();
                heard.connect();
                publisher.signal(Signal::SIGCONT);
            }
            _ => {
                // The box loses its power at a random moment.
                more(&mut heard, target);
                // Every other time it surely has a will to leave: it may be killed before it found the
                // broker.
                let deadline = Instant::now() + PATIENCE;
                let boot = promised.lock().unwrap().boots.last().map(Uuid::to_string);
                while kills % 2 == 0 && heard.online != boot {
                    assert!(Instant::now() < deadline, "the publisher does not find the broker");
                    heard.listen(Duration::from_millis(20));
                }
                std::thread::sleep(Duration::from_micros(u64::from(rand::random::<u16>()) % 5_000));
                publisher.kill();
                kills += 1;
                heard.listen(Duration::from_millis(50));
                publisher = Publisher::start(dir.path(), Some((&url, version)), pace, &promised);
            }
        }
        step += 1;
    }
    publisher.tell("hold");
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        heard.listen(Duration::from_millis(200));
        let all: BTreeSet<Uuid> = promised.lock().unwrap().durable.iter().copied().collect();
        let missing = all.difference(&heard.ids()).count();
        if missing == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{missing} of {} decisions never reached the hub", all.len());
        if heard.client.is_none() {
            heard.connect();
        }
    }
    publisher.quit();
    heard.listen(Duration::from_millis(300));

    let p = promised.lock().unwrap();
    assert!(p.failed.is_empty(), "{:?}", p.failed);
    let deliveries = heard.deliveries.lock().unwrap();
    let mut by_id: HashMap<Uuid, Vec<&Envelope>> = HashMap::new();
    for e in deliveries.iter() {
        by_id.entry(e.id).or_default().push(e);
    }
    let decisions_heard = by_id.values().filter(|d| d[0].ty.ends_with("verify.result")).count();
    assert!(
        decisions_heard <= p.durable.len() + kills,
        "{decisions_heard} heard, {} promised",
        p.durable.len()
    );
    for (id, copies) in &by_id {
        let first = Envelope { replayed: false, ..copies[0].clone() };
        for copy in copies {
            assert_eq!(Envelope { replayed: false, ..(*copy).clone() }, first, "a resend differs");
            if copy.ty.ends_with("verify.result") {
                assert_eq!(copy.notafter, Some(copy.time + VALID), "notafter is the decision's own");
            }
        }
        assert!(copies.iter().filter(|c| !c.replayed).count() <= 1, "{id}: a resend that does not say so");
        if offline_ids.contains(id) {
            assert!(copies.iter().all(|c| c.replayed), "{id} was decided while the broker was away");
        }
    }
    let fresh = by_id.values().filter(|c| c.iter().any(|c| !c.replayed)).count();
    assert!(fresh > 0, "everything was called replayed");
    assert!(away > 0 && !offline_ids.is_empty());
    assert_eq!(heard.retained_events, 0, "a decision was retained");
    let mut seqs: BTreeMap<Uuid, BTreeSet<u64>> = BTreeMap::new();
    for copies in by_id.values() {
        seqs.entry(copies[0].bootid).or_default().insert(copies[0].seq);
    }
    for (boot, seqs) in &seqs {
        assert_eq!(seqs.len() as u64, *seqs.last().unwrap(), "gaps in boot {boot}");
    }
    assert!(kills == 0 || heard.lost_wills > 0, "no will was heard after {kills} kills");
    eprintln!(
        "{version:?}, persistence {persistence}: {} decisions, {kills} kills of the box in {} steps: {} deliveries, {} after removing duplicates, {fresh} fresh, {} decided while the broker was away, 0 lost, {:.1} s",
        p.durable.len(),
        step,
        deliveries.len(),
        by_id.len(),
        offline_ids.len(),
        started.elapsed().as_secs_f64()
    );
}

#[test]
fn a_frozen_broker_is_noticed_and_nothing_is_lost() {
    let broker = Mosquitto::open();
    let mut heard = Heard::new(broker.config());
    let rig = Rig::start(MqttConfig { keep_alive_s: 5, ..broker.config() });
    rig.online();
    broker.signal(Signal::SIGSTOP);
    let ids: BTreeSet<Uuid> = (0..200).map(|n| rig.record(n).id).collect();
    eventually("the silence is noticed", || rig.state() == LinkState::Offline);
    assert!(
        rig.reason().contains("did not") || rig.reason().contains("no acknowledgement"),
        "{}",
        rig.reason()
    );
    broker.signal(Signal::SIGCONT);
    let deadline = Instant::now() + PATIENCE;
    while !ids.is_subset(&heard.ids()) {
        assert!(Instant::now() < deadline, "events are missing");
        heard.listen(Duration::from_millis(50));
        if heard.client.is_none() {
            heard.connect();
        }
    }
    eventually("all acknowledged", || rig.outbox.stats().depth == 0);
    let heard = heard.deliveries.lock().unwrap();
    // The window was on its way when the broker froze; everything beyond it is late, and says so.
    let late: BTreeSet<Uuid> = heard.iter().filter(|e| e.replayed).map(|e| e.id).collect();
    assert!(late.len() >= 200 - usize::from(broker.config().window), "{} replayed", late.len());
    rig.stop();
}

#[test]
fn tail_shows_events_as_lines_and_as_json() {
    let broker = Mosquitto::open();
    let rig = Rig::start(broker.config());
    rig.online();
    let tail = |more: &[&str]| {
        let mut command = Process::new(env!("CARGO_BIN_EXE_vigil"));
        command.args(["tail", "--url", &broker.url(), "--for", "120"]).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let lines = tail(&["--count", "10", "--all"]);
    let json_lines = tail(&[
        "--count",
        "2",
        "--json",
        "--kind",
        "verify.result",
        "--outcome",
        "match",
        "--camera",
        "lobby",
    ]);
    let alarm = vigil::event::BoxAlarm {
        code: vigil::event::AlarmCode::CameraLost,
        state: vigil::event::AlarmState::Raised,
        about: Some("lobby".to_owned()),
        message: "nothing comes\u{1b}[2J".to_owned(),
    };
    // Both have subscribed at some time; until then they hear nothing.
    let done = Arc::new(AtomicBool::new(false));
    let deciding = {
        let (outbox, done) = (rig.outbox.clone(), done.clone());
        std::thread::spawn(move || {
            while !done.load(Ordering::SeqCst) {
                let mut other = draft(1);
                other.data = json!({ "outcome": "no_match" });
                let alarm = Draft::box_alarm(&alarm, Timestamp::now()).unwrap();
                let others = EventKind::ALL.into_iter().filter(|k| *k != EventKind::BoxAlarm);
                for d in [draft(0), other, alarm].into_iter().chain(others.map(crate::schema::draft)) {
                    outbox.record(d).blocking_recv().unwrap().unwrap();
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        })
    };
    let (lines, json_lines) = (lines.wait_with_output().unwrap(), json_lines.wait_with_output().unwrap());
    done.store(true, Ordering::SeqCst);
    deciding.join().unwrap();
    let text = String::from_utf8(lines.stdout).unwrap();
    eprintln!("{text}");
    assert!(lines.status.success(), "{}", String::from_utf8_lossy(&lines.stderr));
    assert!(text.contains("site/gate") && text.contains("online"), "{text}");
    assert!(text.contains("camera_lost") && text.contains("lobby: nothing comes"), "{text}");
    let place = "looked for; 30.250000, 120.150000 within 6.2 m nine times in ten; person 0.90, animal 0.06";
    assert!(text.contains(place) && text.contains("merged into "), "{text}");
    assert!(text.contains("4500 m² looked at; 50 % of 9000 m² searched"), "{text}");
    assert!(text.contains("person guest-3 (guest); decided by reception"), "{text}");
    assert!(text.contains("person tenant-17; as tenant; by hub:hub-1; 17 entries now"), "{text}");
    assert!(text.contains("person m-3; camera hall; travel: left"), "{text}");
    // As it came is shown only what could not be read, and what stands (state, birth).
    let unread = [" state ", " birth ", r#" {"n":0,"outcome":"match"}"#, r#" {"outcome":"no_match"}"#];
    let raw = text.lines().filter(|l| l.contains('{') && !unread.iter().any(|u| l.contains(u)));
    assert_eq!(raw.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(!text.contains('\u{1b}'), "colour or an escape in a pipe: {text}");
    assert!(json_lines.status.success(), "{}", String::from_utf8_lossy(&json_lines.stderr));
    let events: Vec<Envelope> = String::from_utf8(json_lines.stdout)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|e| e.data["outcome"] == "match"));
    rig.stop();

    let late = Process::new(env!("CARGO_BIN_EXE_vigil"))
        .args(["tail", "--url", &broker.url(), "--for", "0.3", "--count", "1"])
        .output()
        .unwrap();
    assert_eq!(late.status.code(), Some(75), "too few events are an error");
}

/// `VIGIL_CHAOS_DECISIONS` scales it.
fn decisions() -> usize {
    std::env::var("VIGIL_CHAOS_DECISIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(500)
}

#[test]
fn chaos_mqtt_5_without_persistence() {
    chaos(MqttVersion::V5, false, decisions());
}

#[test]
fn chaos_mqtt_3_1_1_with_persistence() {
    chaos(MqttVersion::V311, true, decisions());
}
