//! Who may ask: every refusal through the real broker or the real HTTP port.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use uuid::Uuid;
use vigil::auth::{HubGuard, jws};
use vigil::base::clock::ManualClock;
use vigil::base::{Clock as _, Shutdown, SystemClock, TimeQuality};
use vigil::bus::client::Client;
use vigil::bus::{Bus, BusParts};
use vigil::commands::demo::stage::{self, Person, Reel, Set, cast};
use vigil::config::OutboxConfig;
use vigil::event::{CommandClaims, Reply};
use vigil::outbox::Outbox;

use super::support::daemon::{Ear, Home, PATIENCE, checks, photo, topics, until};
use super::support::mosquitto::Mosquitto;
use super::support::write_secret;

type SigningKey = ed25519_dalek::SigningKey;

/// A hub with two keys, one of which is over, beside a stranger's.
struct Hub {
    key: SigningKey,
    old: SigningKey,
    stranger: SigningKey,
}

impl Hub {
    fn new() -> Self {
        let key = |n| SigningKey::from_bytes(&[n; 32]);
        Self { key: key(1), old: key(2), stranger: key(3) }
    }

    /// The sections of the configuration.
    fn config(&self) -> String {
        let section = |id: &str, key: &SigningKey, commands: &str, until: &str| {
            let public = String::from(jws::public_text(key));
            format!(
                "[[hub_key]]\nid = \"{id}\"\npublic_key = \"{public}\"\ncommands = [{commands}]\nvalid_until = \"{until}\"\n"
            )
        };
        let all = "\"verify\", \"gallery/put\", \"gallery/revoke\", \"gallery/list\"";
        section("hub-1", &self.key, all, "2099-01-01T00:00:00Z")
            + &section("hub-old", &self.old, all, "2020-01-01T00:00:00Z")
            + &section("hub-2", &SigningKey::from_bytes(&[4; 32]), "\"verify\"", "2099-01-01T00:00:00Z")
    }
}

/// A command on its way: what is signed, by whom, under which name.
struct Order<'a> {
    client: &'a mut Client,
    key: &'a SigningKey,
    kid: &'a str,
    claims: CommandClaims,
    /// The topic's command.
    topic: &'a str,
}

impl Order<'_> {
    fn signed(&self) -> Vec<u8> {
        serde_json::to_vec(&jws::sign(self.kid, self.key, &self.claims).unwrap()).unwrap()
    }

    fn give(&mut self) -> Value {
        let payload = self.signed();
        let correlation = self.claims.correlation.clone().unwrap();
        self.client.request(&topics(), self.topic, &correlation, payload, PATIENCE).unwrap()
    }
}

pub(crate) fn claims(cmd: &str, ctr: u64, boot: Option<Uuid>, body: Value) -> CommandClaims {
    CommandClaims {
        aud: "it/gate".into(),
        cmd: cmd.into(),
        ctr,
        iat: Timestamp::now().as_second(),
        exp: None,
        boot,
        correlation: Some(format!("c-{ctr}-{}", Uuid::new_v4().simple())),
        body: body.as_object().unwrap().clone(),
    }
}

fn reason(reply: &Value) -> String {
    assert_eq!(reply["status"], "error", "{reply}");
    assert!(reply["error"]["message"].is_string() && reply["error"]["remedy"].is_string(), "{reply}");
    reply["error"]["reason"].as_str().unwrap_or("none").to_owned()
}

pub(crate) fn boot_of(ear: &Ear, after: Option<Uuid>) -> Uuid {
    let state = ear.wait("/state", |s| {
        let id = s["bootid"].as_str().and_then(|b| b.parse::<Uuid>().ok());
        s["state"] == "online" && id != after
    });
    state["bootid"].as_str().unwrap().parse().unwrap()
}

/// Writes the configuration of a box with a gallery, and makes its key.
fn with_gallery(home: &Home, broker: &str, more: &str) {
    let key = home.path().join("gallery-key");
    let more = format!("[gallery]\nkey_file = \"{}\"\ntimezone = \"UTC\"\n{more}", key.display());
    home.write(broker, &[], &more);
    let made = Command::new(env!("CARGO_BIN_EXE_vigil"))
        .args(["gallery", "key", "init", "--config"])
        .arg(home.config())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn each_command_that_may_not_be_given_is_refused_with_its_reason_and_an_alarm() {
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let (home, hub) = (Home::new(), Hub::new());
    with_gallery(&home, &broker.url(), &hub.config());
    let started = Instant::now();
    let daemon = home.start();
    let boot = boot_of(&ear, None);
    let mut client = Client::connect(&broker.config(), "hub", &[]).unwrap();

    let mut plain = |name: &str, payload: &str, correlation: &str| {
        client.request(&topics(), name, correlation, payload.as_bytes().to_vec(), PATIENCE).unwrap()
    };
    assert_eq!(reason(&plain("gallery/list", r#"{"correlation":"u1"}"#, "u1")), "unsigned");
    assert_eq!(reason(&plain("confirm", r#"{"correlation":"u2"}"#, "u2")), "unsigned");
    assert_eq!(
        reason(&plain("gallery/revoke", r#"{"correlation":"u3","person_ref":"a"}"#, "u3")),
        "unsigned"
    );

    let (key, old, stranger) = (&hub.key, &hub.old, &hub.stranger);
    let mut order = |kid: &str, key: &SigningKey, topic: &str, change: &dyn Fn(&mut CommandClaims)| {
        let mut claims = claims("gallery/list", 1, Some(boot), json!({}));
        change(&mut claims);
        Order { client: &mut client, key, kid, claims, topic }.give()
    };
    let list = "gallery/list";
    assert_eq!(reason(&order("nobody", key, list, &|_| {})), "unknown_key");
    assert_eq!(reason(&order("hub-1", stranger, list, &|_| {})), "bad_signature");
    assert_eq!(reason(&order("hub-old", old, list, &|_| {})), "key_expired");
    assert_eq!(reason(&order("hub-1", key, list, &|c| c.aud = "it/other".into())), "other_box");
    assert_eq!(reason(&order("hub-1", key, "gallery/revoke", &|_| {})), "other_command");
    assert_eq!(reason(&order("hub-1", key, list, &|c| c.boot = Some(Uuid::nil()))), "other_boot");
    let other = SigningKey::from_bytes(&[4; 32]);
    assert_eq!(reason(&order("hub-2", &other, list, &|_| {})), "not_allowed");
    if SystemClock::default().quality() == TimeQuality::Unsynced {
        assert_eq!(reason(&order("hub-1", key, list, &|c| c.boot = None)), "clock_unsynced");
    } else {
        assert_eq!(reason(&order("hub-1", key, list, &|c| c.iat += 3600)), "future");
    }

    // None of them used the counter up.
    let reply = order("hub-1", key, list, &|c| c.ctr = 1);
    assert_eq!((&reply["status"], &reply["page"]["total"]), (&json!("ok"), &json!(0)), "{reply}");
    assert_eq!(reason(&order("hub-1", key, list, &|c| c.ctr = 1)), "replayed");
    assert_eq!(reason(&order("hub-1", key, list, &|c| (c.ctr, c.iat) = (2, c.iat - 3600))), "stale");

    // What cannot be made durable is not carried out, and may be given again.
    std::fs::create_dir(home.state.join("hub-counters.new")).unwrap();
    assert_eq!(reason(&order("hub-1", key, list, &|c| c.ctr = 3)), "not_recorded");
    std::fs::remove_dir(home.state.join("hub-counters.new")).unwrap();
    assert_eq!(order("hub-1", key, list, &|c| c.ctr = 3)["status"], "ok");

    // A power cut forgets no counter.
    daemon.kill();
    let daemon = home.start();
    let boot = boot_of(&ear, Some(boot));
    let mut client = Client::connect(&broker.config(), "hub", &[]).unwrap();
    let again = claims(list, 3, Some(boot), json!({}));
    assert_eq!(
        reason(&Order { client: &mut client, key, kid: "hub-1", claims: again, topic: list }.give()),
        "replayed"
    );
    let next = claims(list, 4, Some(boot), json!({}));
    assert_eq!(
        Order { client: &mut client, key, kid: "hub-1", claims: next, topic: list }.give()["status"],
        "ok"
    );

    for word in [
        "unsigned",
        "unknown_key",
        "bad_signature",
        "key_expired",
        "other_box",
        "other_command",
        "other_boot",
        "not_allowed",
        "replayed",
        "stale",
        "not_recorded",
    ] {
        ear.wait("/event/box.alarm", |e| {
            e["data"]["code"] == "command_refused"
                && e["data"]["message"].as_str().unwrap().starts_with(&format!("{word}: "))
        });
    }
    // A flood is one alarm, and is counted.
    for n in 0..20 {
        let _ = client.request(
            &topics(),
            list,
            &format!("f{n}"),
            format!("{{\"correlation\":\"f{n}\"}}").into_bytes(),
            PATIENCE,
        );
    }
    let alarms = ear.alarms("command_refused");
    let of = |word: &str| {
        alarms.iter().filter(|a| a["data"]["message"].as_str().unwrap().starts_with(word)).count()
    };
    // Of both runs, each of which begins a minute of its own.
    let most = 3 + usize::try_from(started.elapsed().as_secs() / 60).unwrap();
    assert!(of("unsigned") <= most, "one a minute for each run of the box: {alarms:#?}");
    let refusals = home.get("/v1/status").unwrap().1["snapshot"]["refusals"].clone();
    let unsigned = refusals.as_array().unwrap().iter().find(|r| r["reason"] == "unsigned").unwrap().clone();
    assert_eq!((&unsigned["at"], &unsigned["count"]), (&json!("bus"), &json!(20)));
    daemon.stop();
    assert!(!home.log().contains("eyJ"), "an envelope is in the log");
}

#[test]
fn orders_of_the_hub_and_of_an_installer_reach_the_gallery_once() {
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let (home, hub) = (Home::new(), Hub::new());
    let (token, section) = token(&home, "installer", "installer");
    with_gallery(&home, &broker.url(), &(hub.config() + &section));
    let daemon = started(&home);
    let boot = boot_of(&ear, None);
    let mut client = Client::connect(&broker.config(), "hub", &[]).unwrap();
    let tomorrow = (Timestamp::now() + SignedDuration::from_hours(24)).to_string();
    let person = |name: &str, file: &str| {
        let photo = STANDARD.encode(std::fs::read(photo(file)).unwrap());
        json!({ "terms": { "person_ref": name, "purpose": "guest", "basis": { "consent": "c/1" },
                           "valid_until": tomorrow }, "photos": [photo] })
    };
    let put = claims("gallery/put", 10, Some(boot), person("guest-1", "obama.jpg"));
    let mut order =
        Order { client: &mut client, key: &hub.key, kid: "hub-1", claims: put, topic: "gallery/put" };
    let reply = order.give();
    assert_eq!(reply["gallery"]["change"], "enrolled", "{reply}");
    // The very same message once more, as QoS 1 may deliver it: told again, not done again.
    let again = order.give();
    assert_eq!((&again["status"], &again["gallery"]["repeated"]), (&json!("ok"), &json!(true)), "{again}");
    assert_eq!(again["gallery"]["entry"], reply["gallery"]["entry"]);
    // The same person under another reference is the gallery's own refusal, and is an answer.
    order.claims = claims("gallery/put", 11, Some(boot), person("guest-2", "obama2.jpg"));
    let reply = order.give();
    assert_eq!(reply["gallery"]["refused"], "already_enrolled", "{reply}");

    // An installer's token does the same over HTTP, and is named in what the hub hears.
    let body = person("guest-3", "biden.jpg").to_string();
    let (status, answer, _) = http(&home, "POST", "/v1/gallery/put", Some(&token), &body);
    assert_eq!((status, &answer["change"]), (200, &json!("enrolled")), "{answer}");
    ear.wait("/event/gallery.changed", |e| {
        e["data"]["person_ref"] == "guest-3" && e["data"]["by"] == "desk:installer"
    });
    ear.wait("/event/gallery.changed", |e| {
        e["data"]["person_ref"] == "guest-1" && e["data"]["by"] == "hub:hub-1"
    });
    let (status, page, _) = http(&home, "POST", "/v1/gallery/list", Some(&token), "{}");
    assert_eq!((status, &page["total"]), (200, &json!(2)), "{page}");

    order.topic = "gallery/revoke";
    order.claims = claims("gallery/revoke", 12, Some(boot), json!({ "person_ref": "guest-1" }));
    let reply = order.give();
    assert_eq!(reply["gallery"]["change"], "erased", "{reply}");
    let (status, answer, _) =
        http(&home, "POST", "/v1/gallery/revoke", Some(&token), r#"{"person_ref":"guest-3"}"#);
    assert_eq!((status, &answer["change"]), (200, &json!("erased")), "{answer}");
    // A body that cannot be read is said, and nothing of it is repeated.
    order.claims = claims("gallery/revoke", 13, Some(boot), json!({ "person_ref": "Zhang San" }));
    let reply = order.give();
    assert!(reply["status"] == "error" && !reply.to_string().contains("Zhang"), "{reply}");
    daemon.stop();
}

#[test]
fn a_site_that_wants_it_takes_no_unsigned_verification() {
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let (home, hub) = (Home::new(), Hub::new());
    home.write(&broker.url(), &[], &format!("[hub]\nopen = []\n{}", hub.config()));
    let daemon = home.start();
    let boot = boot_of(&ear, None);
    let mut client = Client::connect(&broker.config(), "hub", &[]).unwrap();
    let payload = br#"{"correlation":"u1","mode":"document_only"}"#.to_vec();
    let reply = client.request(&topics(), "verify", "u1", payload, PATIENCE).unwrap();
    assert_eq!(reason(&reply), "unsigned");
    let claims = claims("verify", 1, Some(boot), json!({ "mode": "document_only" }));
    let correlation = claims.correlation.clone();
    let reply = Order { client: &mut client, key: &hub.key, kid: "hub-1", claims, topic: "verify" }.give();
    assert_eq!(reply["event"]["data"]["outcome"], "document_only", "{reply}");
    assert_eq!(reply["event"]["data"]["correlation"].as_str(), correlation.as_deref());

    // What the command line signs is taken as well, in either form.
    let pem = home.path().join("hub.pem");
    std::fs::write(&pem, jws::to_pem(&hub.key).as_bytes()).unwrap();
    let body = home.path().join("body.json");
    std::fs::write(&body, r#"{"mode":"document_only"}"#).unwrap();
    for (n, form) in ["flattened", "compact"].into_iter().enumerate() {
        let out = Command::new(env!("CARGO_BIN_EXE_vigil"))
            .args([
                "hub",
                "sign",
                "--id",
                "hub-1",
                "--box",
                "it/gate",
                "--command",
                "verify",
                "--json",
                "--form",
                form,
            ])
            .args(["--correlation", form, "--boot", &boot.to_string(), "--key"])
            .arg(&pem)
            .arg("--body")
            .arg(&body)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let signed: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(signed["topic"], "vigil/v1/it/gate/cmd/verify");
        let payload = signed["payload"].as_str().unwrap().as_bytes().to_vec();
        let reply = client.request(&topics(), "verify", form, payload, PATIENCE).unwrap();
        assert_eq!(reply["event"]["data"]["outcome"], "document_only", "{n}: {reply}");
    }
    daemon.stop();
}

/// Time as no machine can be asked to have it: the real broker and the guard, with a clock that is turned.
#[test]
fn what_comes_at_the_wrong_time_is_refused_over_the_broker() {
    let broker = Mosquitto::open();
    let (dir, hub, stop) = (TempDir::new().unwrap(), Hub::new(), Shutdown::new());
    let clock = Arc::new(ManualClock::at("2026-05-01T12:00:00Z".parse().unwrap()));
    let config = OutboxConfig { reserve_mib: 1, warn_free_mib: 0, max_mib: 64 };
    let outbox = Outbox::open(dir.path(), &config, format!("/{}", topics().base()), clock.clone()).unwrap();
    let text = format!(
        "[box]\nsite = \"it\"\nname = \"gate\"\n[mqtt]\nurl = \"{}\"\n{}",
        broker.url(),
        hub.config()
    );
    let config = vigil::config::load_str(&text, "t.toml").unwrap();
    let guard = HubGuard::open(&config, dir.path(), outbox.boot_id(), clock.clone()).unwrap();
    let boot = outbox.boot_id();
    let (tx, mut commands) = mpsc::channel(4);
    let bus = Arc::new(
        Bus::start(BusParts {
            config: config.mqtt.clone(),
            topics: topics(),
            outbox,
            clock: clock.clone(),
            birth: json!({}),
            commands: tx,
            known_commands: vec!["gallery/list".to_owned()],
            stop: stop.clone(),
        })
        .unwrap(),
    );
    let answering = {
        // The bus holds the other end of the queue: held here as well, neither would ever end.
        let bus = Arc::downgrade(&bus);
        std::thread::spawn(move || {
            while let Some(command) = commands.blocking_recv() {
                let Some(bus) = bus.upgrade() else { return };
                let (correlation, reply) = match guard.admit(&command.name, command.payload) {
                    Ok(admitted) => {
                        let called = admitted.correlation.unwrap();
                        (called.clone(), Reply::done(called))
                    }
                    Err(denied) => {
                        let called = denied.correlation.unwrap();
                        (called.clone(), Reply::refused(called, &denied.error, denied.reason))
                    }
                };
                bus.reply(&correlation, &reply, std::time::Instant::now() + PATIENCE).unwrap();
            }
        })
    };
    until("the bus", || (bus.link().borrow().state == vigil::bus::LinkState::Online).then_some(()));
    let mut client = Client::connect(&broker.config(), "hub", &[]).unwrap();
    // A moment for the subscription.
    std::thread::sleep(Duration::from_millis(200));
    let mut counter = 0;
    let mut give = |key: &SigningKey, iat: i64, boot: Option<Uuid>| {
        counter += 1;
        let claims = CommandClaims { iat, ..claims("gallery/list", counter, boot, json!({})) };
        let mut order = Order { client: &mut client, key, kid: "hub-1", claims, topic: "gallery/list" };
        let reply = order.give();
        if reply["status"] == "ok" { "ok".to_owned() } else { reason(&reply) }
    };
    // So long after the box began to count that what is within the skew is after that.
    clock.advance(Duration::from_secs(200));
    let now = clock.now().as_second();
    let key = &hub.key;
    assert_eq!(give(key, now, None), "ok");
    assert_eq!(give(key, now - 119, None), "ok", "within the skew");
    assert_eq!(give(key, now - 121, None), "stale");
    assert_eq!(give(key, now + 121, None), "future");
    clock.set_wall("2099-01-01T00:00:00Z".parse().unwrap(), TimeQuality::Synced);
    assert_eq!(give(key, clock.now().as_second(), None), "key_expired");
    clock.set_wall("2012-01-01T00:00:00Z".parse().unwrap(), TimeQuality::Unsynced);
    assert_eq!(give(key, now + 5, None), "clock_unsynced");
    assert_eq!(give(key, now + 5, Some(Uuid::nil())), "other_boot");
    assert_eq!(give(key, now + 5, Some(boot)), "ok");
    assert_eq!(give(key, now - 3600, Some(boot)), "stale");
    stop.request();
    assert!(bus.join(PATIENCE));
    drop(bus);
    answering.join().unwrap();
}

// ---- the desk ------------------------------------------------------------------------------

/// A token, and its section of the configuration, as the command line makes them.
fn token(home: &Home, name: &str, role: &str) -> (String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_vigil"))
        .args(["desk", "token", "--json", "--name", name, "--role", role])
        .current_dir(home.path())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let made: Value = serde_json::from_slice(&out.stdout).unwrap();
    let section = format!(
        "[[desk.token]]\nname = \"{name}\"\nrole = \"{role}\"\nsha256 = \"{}\"\n",
        made["sha256"].as_str().unwrap()
    );
    (made["token"].as_str().unwrap().to_owned(), section)
}

fn request(home: &Home, method: &str, path: &str, token: Option<&str>, body: &str) -> String {
    let auth = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{auth}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        home.desk,
        body.len()
    )
}

/// Status, body and headers of an answer.
fn answer(mut stream: impl Read) -> (u16, Value, String) {
    let mut all = Vec::new();
    // A peer that closes without TLS's goodbye has said all the same.
    let _ = stream.read_to_end(&mut all);
    let text = String::from_utf8_lossy(&all).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null), head.to_ascii_lowercase())
}

fn http(home: &Home, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, Value, String) {
    let mut stream = TcpStream::connect(home.desk).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request(home, method, path, token, body).as_bytes()).unwrap();
    answer(stream)
}

/// Starts without asking for the status page, which may need a token.
fn started<'a>(home: &'a Home) -> super::support::daemon::Daemon<'a> {
    let child = home.command().spawn().unwrap();
    let mut daemon = super::support::daemon::Daemon { home, child };
    until("the daemon's desk", || {
        if let Some(status) = daemon.child.try_wait().unwrap() {
            panic!("the daemon ended at its start, {status}:\n{}", home.log());
        }
        TcpStream::connect(home.desk).ok().map(drop)
    });
    daemon
}

const DOCUMENT_ONLY: &str = r#"{"mode":"document_only"}"#;

#[test]
fn a_token_opens_what_its_role_reaches_and_no_more() {
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let home = Home::new();
    let (mut tokens, mut sections) = (BTreeMap::new(), String::new());
    for role in ["reader", "desk", "installer"] {
        let (token, section) = token(&home, &format!("it-{role}"), role);
        tokens.insert(role, token);
        sections += &section;
    }
    let (over, section) = token(&home, "it-over", "desk");
    sections += &format!("{section}valid_until = \"2020-01-01T00:00:00Z\"\n");
    home.write(&broker.url(), &[], &sections);
    let daemon = started(&home);
    let ask =
        |method: &str, path: &str, token: Option<&str>, body: &str| http(&home, method, path, token, body);
    let routes = [
        ("POST", "/v1/verify", DOCUMENT_ONLY, 1),
        ("POST", "/v1/credential", "{}", 1),
        ("GET", "/metrics", "", 1),
        ("GET", "/v1/status", "", 2),
        ("POST", "/v1/confirm", "{}", 2),
        ("POST", "/v1/gallery/list", "{}", 3),
        ("POST", "/v1/gallery/put", "{}", 3),
        ("POST", "/v1/gallery/revoke", "{}", 3),
        ("GET", "/v1/nothing", "", 1),
    ];
    for (method, path, body, level) in routes {
        let (status, error, head) = ask(method, path, None, body);
        assert_eq!((status, &error["error"]["reason"]), (401, &json!("no_token")), "{path}");
        assert!(head.contains("www-authenticate: bearer realm=\"vigil\"\r\n"), "{head}");
        let (status, error, head) =
            ask(method, path, Some("vigil_desk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), body);
        assert_eq!((status, &error["error"]["reason"]), (401, &json!("unknown_token")), "{path}");
        assert!(head.contains("invalid_token"), "{head}");
        let (status, error, _) = ask(method, path, Some(&over), body);
        assert_eq!((status, &error["error"]["reason"]), (401, &json!("token_expired")), "{path}");
        for (n, role) in ["reader", "desk", "installer"].into_iter().enumerate() {
            let (status, answer, _) = ask(method, path, Some(&tokens[role]), body);
            let refused = answer["error"]["reason"] == "role_too_low" && status == 403;
            assert_eq!(refused, n + 1 < level, "{role} {path}: {status} {answer}");
            assert!(status != 401, "{role} {path}");
        }
    }
    // The page and one word of health are for everybody; what is wrong is not.
    assert_eq!(ask("GET", "/", None, "").0, 200);
    let (status, health, _) = ask("GET", "/healthz", None, "");
    assert!(health["status"].is_string() && health.get("reasons").is_none(), "{status} {health}");
    assert!(ask("GET", "/healthz", Some(&tokens["reader"]), "").1["reasons"].is_array());
    // A token in an address is no token.
    let (status, error, _) = ask("GET", &format!("/v1/status?token={}", tokens["desk"]), None, "");
    assert_eq!((status, &error["error"]["reason"]), (401, &json!("no_token")));
    for word in ["unknown_token", "token_expired", "role_too_low"] {
        ear.wait("/event/box.alarm", |e| {
            e["data"]["code"] == "request_refused" && e["data"]["message"].as_str().unwrap().starts_with(word)
        });
    }
    let metrics = {
        let mut stream = TcpStream::connect(home.desk).unwrap();
        stream.write_all(request(&home, "GET", "/metrics", Some(&tokens["reader"]), "").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(metrics.contains("vigil_refusals_total{at=\"desk\",reason=\"role_too_low\"}"), "{metrics}");
    daemon.stop();
    let log = home.log();
    assert!(tokens.values().chain([&over]).all(|t| !log.contains(&t[..20])), "a token is in the log");
    assert!(ear.all().iter().all(|m| !String::from_utf8_lossy(&m.payload).contains("vigil_desk_")));
}

#[test]
fn a_flood_and_guessed_tokens_are_slowed_down() {
    let broker = Mosquitto::open();
    let home = Home::new();
    home.write(&broker.url(), &[], "");
    // Six seconds' worth at once: sixty.
    let text = std::fs::read_to_string(home.config()).unwrap();
    std::fs::write(home.config(), text.replace("[desk]\n", "[desk]\nrequests_per_minute = 360\n")).unwrap();
    let daemon = started(&home);
    let (mut good, mut slowed) = (0, None);
    // They have to come faster than the six a second that come back: on a busy machine some burst does.
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let (status, error, head) = http(&home, "GET", "/v1/status", None, "");
        match status {
            200 => good += 1,
            429 => {
                assert_eq!(error["error"]["reason"], "too_many_requests", "{error}");
                assert!(head.contains("retry-after: 1"), "{head}");
                slowed = Some(good);
                break;
            }
            other => panic!("{other}: {error}"),
        }
    }
    assert!(slowed.is_some_and(|n| n >= 60), "{good} passed");
    // A guess costs ten.
    std::thread::sleep(Duration::from_secs(4));
    let guesses = (0..20).map(|_| http(&home, "GET", "/v1/status", Some("guess"), "").0).collect::<Vec<_>>();
    assert!(guesses.starts_with(&[401, 401]) && guesses.contains(&429), "{guesses:?}");
    assert!(guesses.iter().filter(|s| **s == 401).count() < 15, "{guesses:?}");
    daemon.stop();
}

#[test]
fn an_address_that_others_can_reach_takes_tls_and_tokens() {
    let broker = Mosquitto::open();
    let home = Home::new();
    let (token, section) = token(&home, "it-desk", "desk");
    let port = home.desk.port();
    let public = |more: &str| {
        home.write(&broker.url(), &[], more);
        let text = std::fs::read_to_string(home.config()).unwrap();
        std::fs::write(home.config(), text.replace(&home.desk.to_string(), &format!("0.0.0.0:{port}")))
            .unwrap();
        home.command().stderr(std::process::Stdio::piped()).output()
    };
    let cert = home.path().join("cert.pem");
    let key = home.path().join("key.pem");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    write_secret(&key, &made.signing_key.serialize_pem());
    let tls = format!("[desk.tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\n", cert.display(), key.display());
    for (more, says) in [
        (String::new(), "without TLS and without a token"),
        (section.clone(), "without TLS"),
        (tls.clone(), "without a token"),
    ] {
        let out = public(&more).unwrap();
        let error = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(78), "{error}");
        assert!(
            error.contains("desk.listen") && error.contains(says) && error.lines().count() == 1,
            "{error}"
        );
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = public(&(tls.clone() + &section)).unwrap();
    let error = String::from_utf8_lossy(&error.stderr).into_owned();
    assert!(error.contains("is open to everybody on this machine"), "{error}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();

    let daemon = started(&home);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let client = Arc::new(client);
    let https = |method: &str, path: &str, more: &str, token: Option<&str>, body: &str| {
        let stream = TcpStream::connect(home.desk).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = "localhost".try_into().unwrap();
        let session = rustls::ClientConnection::new(client.clone(), name).unwrap();
        let mut stream = rustls::StreamOwned::new(session, stream);
        let text = request(&home, method, path, token, body).replacen("\r\n", &format!("\r\n{more}"), 1);
        stream.write_all(text.as_bytes()).unwrap();
        answer(stream)
    };
    assert_eq!(https("GET", "/v1/status", "", None, "").0, 401);
    assert_eq!(https("GET", "/v1/status", "", Some(&token), "").0, 200);
    let origin = format!("Origin: https://{}\r\n", home.desk);
    assert_eq!(https("POST", "/v1/verify", &origin, Some(&token), DOCUMENT_ONLY).0, 200, "its own page");
    for foreign in ["Origin: https://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"]
    {
        assert_eq!(https("POST", "/v1/verify", foreign, Some(&token), DOCUMENT_ONLY).0, 403, "{foreign}");
    }
    // Without TLS nobody answers.
    let mut plain = TcpStream::connect(home.desk).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(request(&home, "GET", "/v1/status", Some(&token), "").as_bytes()).unwrap();
    let mut answered = Vec::new();
    let _ = plain.read_to_end(&mut answered);
    assert!(!String::from_utf8_lossy(&answered).contains("HTTP/"));
    daemon.stop();
}

#[test]
fn one_document_is_not_tried_with_face_after_face() {
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let set = Set::new(640, 360, 7);
    let guest = Reel::visit(&set, &Person::open(&photo("obama.jpg"), &cast::OBAMA).unwrap()).unwrap();
    let lobby = stage::Camera::start("127.0.0.1:0", guest).unwrap();
    let home = Home::new();
    let camera = format!("name = \"desk\"\nurl = \"{}\"\nstall_after_ms = 60000", lobby.url());
    home.write(
        &broker.url(),
        &[camera],
        "[verify.lockout]\nfailures = 2\nwithin_min = 60\nlocked_min = 60\n",
    );
    let daemon = home.start();
    ear.wait("/camera/desk", |s| s["state"] == "live");
    std::thread::sleep(Duration::from_millis(500));
    let (biden, obama) =
        (std::fs::read(photo("biden.jpg")).unwrap(), std::fs::read(photo("obama2.jpg")).unwrap());
    let ask = |portrait: &[u8]| {
        let (status, answer) = home.verify(&json!({ "deadline_ms": 30_000 }), Some(portrait)).unwrap();
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let outcome = |answer: &Value| answer["result"]["outcome"].as_str().unwrap().to_owned();
    assert_eq!(outcome(&ask(&biden)), "no_match");
    assert_eq!(outcome(&ask(&biden)), "no_match");
    let third = ask(&biden);
    assert_eq!(outcome(&third), "error", "{third}");
    assert_eq!(checks(&third["result"])["face_comparison"], ("not_checked".into(), "locked_out".into()));
    assert_eq!(third["recorded"], false);
    // Over the broker it is the same document.
    let mut client = Client::connect(&broker.config(), "asker", &[]).unwrap();
    let request = json!({ "correlation": "l1", "deadline_ms": 30_000, "portrait": STANDARD.encode(&biden) });
    let reply =
        client.request(&topics(), "verify", "l1", request.to_string().into_bytes(), PATIENCE).unwrap();
    assert_eq!(checks(&reply["unrecorded"])["face_comparison"].1, "locked_out", "{reply}");
    // And nobody else's.
    assert_eq!(outcome(&ask(&obama)), "match");
    ear.wait("/event/box.alarm", |e| e["data"]["code"] == "locked_out" && e["data"]["state"] == "happened");
    let refusals = home.get("/v1/status").unwrap().1["snapshot"]["refusals"].clone();
    assert_eq!(refusals, json!([{ "at": "verify", "reason": "locked_out", "count": 2 }]));
    daemon.stop();
}
