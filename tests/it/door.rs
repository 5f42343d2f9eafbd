//! Doors of the real daemon, with a real broker, a real gallery, real faces: what is read goes in over
//! MQTT and HTTP, and every answer is looked at where a hub and a lock would see it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use vigil::bus::client::Client;
use vigil::commands::demo::stage::{self, Person, Reel, Set, cast};
use vigil::event::GalleryRevoke;
use vigil::gallery::Actor;

use super::support::daemon::{Ear, Home, PATIENCE, checks, photo, topics, until, until_else};
use super::support::door::{enrol, gallery, nobody, section, template, terms};
use super::support::mjpeg::{Answer, MjpegServer};
use super::support::mosquitto::Mosquitto;
use super::support::rtsp::free_port;

/// A busy machine makes no camera ill.
fn camera(name: &str, url: &str) -> String {
    format!(
        "name = \"{name}\"\nurl = \"{url}\"\nstall_after_ms = 60000\nconnect_within_ms = 60000\nretry_max_ms = 300"
    )
}

/// Drawn once for all tests: without optimisation that takes seconds.
fn guest(file: &'static str) -> Arc<Reel> {
    static DRAWN: Mutex<Vec<(&str, Arc<Reel>)>> = Mutex::new(Vec::new());
    let mut drawn = DRAWN.lock().unwrap();
    if let Some((_, reel)) = drawn.iter().find(|(f, _)| *f == file) {
        return reel.clone();
    }
    let likeness = if file == "biden.jpg" { cast::BIDEN } else { cast::OBAMA };
    let person = Person::open(&photo(file), &likeness).unwrap();
    let reel = Arc::new(Reel::visit(&set(), &person).unwrap());
    drawn.push((file, reel.clone()));
    reel
}

fn set() -> Set {
    Set::new(640, 360, 7)
}

/// A camera before which this person stands.
fn stage_with(file: &'static str) -> stage::Camera {
    let camera = stage::Camera::start("127.0.0.1:0", Reel::empty(&set()).unwrap()).unwrap();
    camera.show(guest(file));
    assert!(camera.settled(PATIENCE));
    camera
}

/// Two people side by side, equally close.
fn couple() -> Vec<u8> {
    let mut canvas = image::RgbImage::from_pixel(1280, 720, image::Rgb([120, 115, 110]));
    for (file, (x, y, w, h), at) in
        [("obama.jpg", (250, 0, 500, 500), 60), ("biden.jpg", (350, 60, 500, 500), 680)]
    {
        let photo = image::open(photo(file)).unwrap().to_rgb8();
        let head = image::imageops::crop_imm(&photo, x, y, w, h).to_image();
        image::imageops::replace(&mut canvas, &head, at, 100);
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    canvas.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

/// Reads at a door over HTTP: the decision.
fn present(home: &Home, door: &str, read: Value) -> Value {
    let (status, answer) = post(home, "/v1/credential", with_door(door, read));
    assert_eq!((status, &answer["recorded"]), (200, &json!(true)), "{answer}");
    assert_eq!(answer["event"]["data"], answer["decision"], "{answer}");
    assert_eq!(answer["event"]["replayed"], false);
    answer["decision"].clone()
}

fn with_door(door: &str, mut read: Value) -> Value {
    read["door"] = door.into();
    read
}

fn post(home: &Home, path: &str, body: Value) -> (u16, Value) {
    home.post_to(path, "application/json", body.to_string().as_bytes()).unwrap()
}

fn card(number: &str) -> Value {
    json!({ "kind": "card", "value": number })
}

fn reason(decision: &Value) -> &str {
    decision["reason"].as_str().unwrap_or("none")
}

fn live(ear: &Ear, name: &str) {
    ear.wait(&format!("/camera/{name}"), |s| s["state"] == "live");
}

/// A relay that hears HTTP: each body, and the header that it came with.
struct Hook {
    addr: SocketAddr,
    heard: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = heard.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                let (head, body) = loop {
                    let n = stream.read(&mut buffer).unwrap_or(0);
                    request.extend_from_slice(&buffer[..n]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    if let Some((head, body)) = text.split_once("\r\n\r\n")
                        && let Ok(body) = serde_json::from_str::<Value>(body)
                    {
                        break (head.to_owned(), body);
                    }
                    assert!(n > 0, "half a request: {text}");
                };
                into.lock().unwrap().push((head, body));
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            }
        });
        Self { addr, heard }
    }

    fn heard(&self) -> Vec<(String, Value)> {
        self.heard.lock().unwrap().clone()
    }
}

/// Waits until the last passage at a door was told: until then the camera may watch it.
fn passed(ear: &Ear, session: &Value) -> Value {
    ear.wait("/event/gate.passage", |e| e["data"]["session"] == *session)["data"].clone()
}

/// How long the parts of a test took, for whoever makes it faster.
fn lap(since: &mut Instant, what: &str) {
    eprintln!("{what}: {:.1} s", since.elapsed().as_secs_f64());
    *since = Instant::now();
}

#[test]
fn a_door_opens_for_the_right_face_alone_and_each_refusal_says_its_own_reason() {
    let mut since = Instant::now();
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let lobby = stage_with("obama.jpg");
    let empty = stage::Camera::start("127.0.0.1:0", Reel::empty(&set()).unwrap()).unwrap();
    let couple = MjpegServer::start(Answer::Still(Arc::new(couple())), None);
    let absent = format!("http://127.0.0.1:{}/", free_port());
    let hook = Hook::start();
    let home = Home::new();
    let door = |name: &str, camera: &str, more: &str| {
        format!("[[door]]\nname = \"{name}\"\ncamera = \"{camera}\"\nwindow_ms = 20000\n{more}\n")
    };
    let act = format!(
        "travel_ms = 0\npassage_ms = 2000\n[door.actuator]\nmqtt = true\nurl = \"http://{}/open?1\"\ntoken = \"s3cret\"",
        hook.addr
    );
    let lockout = "travel_ms = 0\nlockout = { failures = 2, within_min = 15, locked_min = 15 }";
    let doors = [
        door("north", "gate", &act),
        door("tower-in", "gate", "zone = \"tower\"\ntravel_ms = 0\npassage_ms = 0"),
        door("tower-out", "gate", "zone = \"tower\"\ntravel_ms = 0\npassage_ms = 0\ndirection = \"out\""),
        door("far", "gate", "travel_ms = 600000\npassage_ms = 0"),
        door("strict", "gate", lockout),
        door("asks", "gate", "travel_ms = 0\npresentation = \"turn_head\"\nwindow_ms = 4000").replacen(
            "window_ms = 20000\n",
            "",
            1,
        ),
        door("nobody", "empty", "travel_ms = 0\nwindow_ms = 4000").replacen("window_ms = 20000\n", "", 1),
        door("crowd", "couple", "travel_ms = 0\nwindow_ms = 4000").replacen("window_ms = 20000\n", "", 1),
        door("blind", "absent", "travel_ms = 0"),
        door("faces-only", "gate", "travel_ms = 0\nfallback = \"none\""),
    ]
    .concat();
    let equipment = "[[equipment]]\nname = \"drone-2\"\ntag = \"E200-77\"\n";
    let cameras = [
        camera("gate", &lobby.url()),
        camera("empty", &empty.url()),
        camera("couple", &couple.url()),
        camera("absent", &absent),
    ];
    let more = format!("{}{doors}{equipment}", section(home.path()));
    home.write(&broker.url(), &cameras, &more);
    let (obama, biden) = (template("obama2.jpg"), template("biden.jpg"));
    let soon = {
        let g = gallery(&home.config());
        let now = Timestamp::now();
        let later = |h| (now + SignedDuration::from_hours(h)).to_string();
        enrol(
            &g,
            terms(
                "t-obama",
                &[("card", "04A1B2C3D4"), ("tag", "T9"), ("fingerprint", "17"), ("pin", "12#47110815")],
                json!({}),
            ),
            &obama,
        );
        enrol(&g, terms("t-biden", &[("card", "04B2"), ("tag", "B9")], json!({})), &biden);
        let tomorrow = now.to_zoned(jiff::tz::TimeZone::system()).weekday().wrapping_add(3);
        let day = format!("{tomorrow:?}").to_lowercase()[..3].to_owned();
        let hours = json!({"hours": [format!("{day} 03:00-04:00")]});
        enrol(&g, terms("t-hours", &[("card", "0C01")], hours), &nobody(1));
        enrol(&g, terms("t-early", &[("card", "0C02")], json!({"valid_from": later(1)})), &nobody(2));
        enrol(&g, terms("t-gone", &[("card", "0C03")], json!({})), &nobody(3));
        let revoke: GalleryRevoke =
            serde_json::from_value(json!({"person_ref": "t-gone", "keep_record": true})).unwrap();
        g.revoke(&revoke, &Actor::new("test").unwrap()).map_err(|d| format!("{d:?}")).unwrap();
        // Long enough for the daemon to start on a busy machine.
        let soon = now + SignedDuration::from_secs(45);
        let lease = json!({"valid_until": soon.to_string()});
        enrol(&g, terms("t-short", &[("card", "0C04")], lease), &nobody(4));
        soon
    };
    lap(&mut since, "stage, templates, gallery");
    let daemon = home.start();
    for name in ["gate", "empty", "couple"] {
        live(&ear, name);
    }
    // A card whose lease runs out meanwhile.
    assert_eq!(reason(&present(&home, "north", card("0C04"))), "below_threshold");

    lap(&mut since, "start");
    // Right card, right face: granted, by every way a credential can be read.
    let granted = present(&home, "north", card("04a1b2c3d4"));
    assert_eq!(
        (&granted["outcome"], &granted["person_ref"]),
        (&json!("granted"), &json!("t-obama")),
        "{granted}"
    );
    let made = checks(&granted);
    for name in [
        "credential",
        "lease",
        "weekly_hours",
        "lockout",
        "one_place",
        "reference_template",
        "face_comparison",
    ] {
        assert_eq!(made[name].0, "pass", "{name}: {granted}");
    }
    assert_eq!(made["pass_back"], ("not_checked".into(), "not_configured".into()));
    assert_eq!(made["presentation_attack"], ("not_checked".into(), "not_requested".into()));
    assert!(granted["comparison"].get("diagnostics").is_none(), "no score leaves the box");
    let event = ear.wait("/event/gate.decision", |e| e["data"]["session"] == granted["session"]);
    let time = |key: &str| event[key].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(time("notafter").duration_since(time("time")), SignedDuration::from_secs(3));
    let unlock = ear.wait("/door/north/actuate", |a| a["act"] == "unlock");
    assert_eq!((&unlock["event"], &unlock["notafter"]), (&event["id"], &event["notafter"]), "{unlock}");
    let (head, posted) = until("the hook", || hook.heard().into_iter().find(|(_, a)| a["act"] == "unlock"));
    assert_eq!(posted, unlock, "both are told the same");
    assert!(head.starts_with("POST /open?1 ") && head.to_lowercase().contains("bearer s3cret"), "{head}");
    let passage = passed(&ear, &granted["session"]);
    assert_eq!(passage["checks"], json!([{"name": "tailgating", "status": "pass"}]), "{passage}");
    let mut client = Client::connect(&broker.config(), "reader", &[]).unwrap();
    let mut ask = |correlation: &str, command: &str, payload: Value| {
        let mut payload = payload;
        payload["correlation"] = correlation.into();
        client.request(&topics(), command, correlation, payload.to_string().into_bytes(), PATIENCE).unwrap()
    };
    let reply = ask("r-1", "credential", with_door("north", json!({"kind": "tag", "value": "T9"})));
    assert_eq!(reply["event"]["data"]["outcome"], "granted", "{reply}");
    passed(&ear, &reply["event"]["data"]["session"]);
    for read in [
        json!({"kind": "pin", "value": "12*47110815"}),
        json!({"kind": "fingerprint", "value": "17", "verdict": "match"}),
    ] {
        let decision = present(&home, "north", read);
        assert_eq!(decision["outcome"], "granted", "{decision}");
        passed(&ear, &decision["session"]);
    }

    lap(&mut since, "granted");
    // Every refusal, each with its own reason.
    let wrong = present(&home, "north", card("04B2"));
    assert_eq!((reason(&wrong), &wrong["person_ref"]), ("below_threshold", &json!("t-biden")));
    assert_eq!(checks(&wrong)["face_comparison"].0, "fail");
    for (door, read, expected) in [
        ("north", card("FFFF"), "unknown_credential"),
        ("north", json!({"kind": "pin", "value": "12#0000"}), "unknown_credential"),
        ("north", json!({"kind": "fingerprint", "value": "17", "verdict": "no_match"}), "reader_said_no"),
        ("north", json!({"kind": "fingerprint", "verdict": "no_match"}), "reader_said_no"),
        ("north", card("0C01"), "outside_hours"),
        ("north", card("0C02"), "lease_not_begun"),
        ("north", card("0C03"), "lease_revoked"),
        ("nobody", card("04A1B2C3D4"), "no_face_seen"),
        ("crowd", card("04A1B2C3D4"), "several_people"),
        ("blind", card("04A1B2C3D4"), "camera_unavailable"),
        ("asks", card("04A1B2C3D4"), "challenge_not_performed"),
        ("far", card("04A1B2C3D4"), "at_another_door"),
        (
            "faces-only",
            json!({"kind": "pin", "value": "12#47110815", "declines_camera": true}),
            "not_configured",
        ),
    ] {
        let decision = present(&home, door, read.clone());
        assert_eq!(
            (decision["outcome"].as_str(), reason(&decision)),
            (Some("denied"), expected),
            "{read}: {decision}"
        );
        let event = ear.wait("/event/gate.decision", |e| e["data"]["session"] == decision["session"]);
        assert_eq!(event["notafter"], event["time"], "what is denied actuates nothing");
    }

    lap(&mut since, "refused");
    // In, and in again; out is never barred.
    let tag = || json!({"kind": "tag", "value": "T9"});
    assert_eq!(present(&home, "tower-in", card("04A1B2C3D4"))["outcome"], "granted");
    // The same card at once would be the reader repeating itself.
    assert_eq!(reason(&present(&home, "tower-in", tag())), "passed_back");
    let out = present(&home, "tower-out", card("04A1B2C3D4"));
    assert_eq!((&out["outcome"], &out["direction"]), (&json!("granted"), &json!("out")), "{out}");
    assert_eq!(checks(&out)["pass_back"].0, "pass");

    // Equipment goes with the person.
    let (status, noted) = post(
        &home,
        "/v1/credential",
        with_door("tower-out", json!({"kind": "equipment", "value": "E200-77"})),
    );
    assert_eq!((status, &noted["decision"]), (200, &Value::Null), "{noted}");
    post(&home, "/v1/credential", with_door("tower-out", json!({"kind": "equipment", "value": "COAT"})));
    let out = present(&home, "tower-out", tag());
    assert_eq!(out["equipment"], json!([{"equipment": "drone-2", "movement": "taken_out"}]), "{out}");
    assert_eq!(out["unknown_tags"], 1);
    // Without anybody it is told as well.
    post(&home, "/v1/credential", with_door("tower-in", json!({"kind": "equipment", "value": "E200-77"})));

    // Whoever declines the camera is let in by staff, over either way; no face is looked at.
    let declines = json!({"kind": "pin", "value": "12#47110815", "declines_camera": true});
    let fallback = |door: &str, admit: bool| {
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| present(&home, door, declines.clone()));
            let waits = until("somebody to wait", || {
                ear.on(&format!("/door/{door}")).pop().and_then(|d| d["waiting"].as_array()?.first().cloned())
            });
            let word = json!({"session": waits["session"], "admit": admit, "staff": "desk-7"});
            let (status, answer) = post(&home, "/v1/confirm", word.clone());
            assert_eq!(status, 200, "{answer}");
            let decision = answer["decision"].clone();
            let (status, again) = post(&home, "/v1/confirm", word);
            assert_eq!(status, 404, "once: {again}");
            assert_eq!(asked.join().unwrap(), decision, "both who asked hear the same");
            decision
        })
    };
    let decision = fallback("north", true);
    assert_eq!(
        (&decision["outcome"], &decision["means"]),
        (&json!("granted"), &json!("pin_and_staff")),
        "{decision}"
    );
    assert_eq!(decision["staff"], "desk-7");
    assert_eq!(checks(&decision)["staff_confirmation"].0, "pass");
    assert_eq!(checks(&decision)["face_comparison"], ("not_checked".into(), "declined_by_guest".into()));
    assert!(decision.get("capture").is_none(), "the camera was not asked");
    ear.wait("/door/north/actuate", |a| a["session"] == decision["session"]);
    assert_eq!(reason(&fallback("strict", false)), "refused_by_staff");

    // Nobody climbs the score, and a restart forgives nobody.
    // One failure was at another door.
    assert_eq!(reason(&present(&home, "strict", card("04B2"))), "below_threshold");
    assert_eq!(reason(&present(&home, "strict", json!({"kind": "tag", "value": "B9"}))), "locked_out");
    until("the short lease's end", || (Timestamp::now() > soon).then_some(()));
    assert_eq!(reason(&present(&home, "north", card("0C04"))), "lease_expired");

    lap(&mut since, "zones, equipment, staff, lockout");
    // The page and the metrics know of it.
    let (_, status) = home.get("/v1/status").unwrap();
    let doors = status["snapshot"]["doors"].as_array().unwrap();
    assert!(doors[0]["name"] == "north" && doors[0]["granted"].as_u64() >= Some(5), "{doors:?}");
    assert!(status["results"].to_string().contains("vigil.v1.gate.decision"));
    let unaccompanied = ear.wait("/event/gate.passage", |e| e["data"].get("session").is_none());
    assert_eq!(
        unaccompanied["data"]["equipment"],
        json!([{"equipment": "drone-2", "movement": "brought_back"}])
    );
    assert_eq!(unaccompanied["data"]["checks"][0]["reason"], "nothing_presented");

    // Bad words are refused by name and cost nothing.
    for (path, body, word) in [
        ("/v1/credential", json!({"door": "north", "kind": "card", "value": "9", "x": 1}), "x"),
        ("/v1/credential", json!({"door": "moon", "kind": "card", "value": "9"}), "moon"),
        ("/v1/credential", json!({"door": "north", "kind": "card", "value": "9".repeat(200)}), "value"),
        ("/v1/confirm", json!({"session": "x", "admit": true, "staff": "a"}), "session"),
    ] {
        let (status, answer) = post(&home, path, body);
        assert!(
            (400..500).contains(&status) && answer["error"]["message"].as_str().unwrap().contains(word),
            "{answer}"
        );
    }

    let raw = |content_type: &str, body: &[u8]| home.post_to("/v1/credential", content_type, body).unwrap().0;
    assert_eq!(raw("text/plain", b"{}"), 415);
    assert_eq!(raw("application/json", &[b' '; 5000]), 413);
    assert_eq!(raw("application/json", b"[]"), 400);
    assert_eq!(home.get("/v1/credential").unwrap().0, 405);

    lap(&mut since, "unaccompanied");
    daemon.kill();
    let daemon = home.start();
    until("the camera after the restart", || {
        let (_, status) = home.get("/v1/status").ok()?;
        (status["snapshot"]["cameras"][0]["state"] == "live").then_some(())
    });
    assert_eq!(reason(&present(&home, "strict", card("04B2"))), "locked_out", "a restart forgives nobody");

    lap(&mut since, "restart");
    // Nothing of all this was retained, and only grants opened anything.
    let late = Ear::new(&broker.config());
    late.wait("/door/north", |d| d["when_ill"] == "locked");
    let acts = |topic: &str| topic.ends_with("/actuate") || topic.contains("/event/");
    assert!(!late.all().iter().any(|m| m.retained && acts(&m.topic)));
    let granted: Vec<_> =
        ear.on("/event/gate.decision").into_iter().filter(|e| e["data"]["outcome"] == "granted").collect();
    let unlocks: Vec<_> =
        ear.on("/door/north/actuate").into_iter().filter(|a| a["act"] == "unlock").collect();
    let north = granted.iter().filter(|e| e["data"]["door"] == "north").count();
    assert_eq!(unlocks.len(), north, "{unlocks:#?}");
    for unlock in &unlocks {
        assert!(granted.iter().any(|e| e["id"] == unlock["event"]), "{unlock}");
    }
    // No number of a card, no PIN, in any topic or log.
    let said: String = ear.all().iter().map(|m| String::from_utf8_lossy(&m.payload).into_owned()).collect();
    for secret in ["04A1B2C3D4", "04a1b2c3d4", "47110815", "E200-77", "COAT", "s3cret"] {
        assert!(!said.contains(secret) && !home.log().contains(secret), "{secret} got out");
    }
    daemon.stop();
}

#[test]
fn whoever_follows_close_behind_is_told() {
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let lobby = stage_with("obama.jpg");
    let next = guest("biden.jpg");
    let home = Home::new();
    let door = "[[door]]\nname = \"north\"\ncamera = \"gate\"\npassage_ms = 20000\n";
    home.write(&broker.url(), &[camera("gate", &lobby.url())], &format!("{}{door}", section(home.path())));
    enrol(
        &gallery(&home.config()),
        terms("t-1", &[("card", "04A1B2C3D4")], json!({})),
        &template("obama2.jpg"),
    );
    let daemon = home.start();
    live(&ear, "gate");
    let granted = present(&home, "north", card("04A1B2C3D4"));
    assert_eq!(granted["outcome"], "granted", "{granted}");
    lobby.show(next);
    let passage = passed(&ear, &granted["session"]);
    assert_eq!(
        passage["checks"],
        json!([{"name": "tailgating", "status": "fail", "reason": "followed_closely"}])
    );
    assert_eq!(passage["person_ref"], "t-1");
    daemon.stop();
}

#[test]
fn nothing_that_is_late_opens_a_door() {
    let mut broker = Mosquitto::open();
    let lobby = stage_with("obama.jpg");
    let home = Home::new();
    let door = "[[door]]\nname = \"north\"\ncamera = \"gate\"\nvalid_for_ms = 1500\npassage_ms = 0\n\
                [door.actuator]\nmqtt = true\n";
    home.write(&broker.url(), &[camera("gate", &lobby.url())], &format!("{}{door}", section(home.path())));
    enrol(
        &gallery(&home.config()),
        terms("t-1", &[("card", "04A1B2C3D4")], json!({})),
        &template("obama2.jpg"),
    );
    let daemon = home.start();
    let ear = Ear::new(&broker.config());
    live(&ear, "gate");
    drop(ear);

    // The broker goes, a decision is taken, the broker comes back late.
    broker.end(Signal::SIGKILL);
    let granted = present(&home, "north", card("04A1B2C3D4"));
    assert_eq!(granted["outcome"], "granted", "{granted}");
    std::thread::sleep(Duration::from_millis(2200));
    daemon.signal(Signal::SIGSTOP);
    broker.start();
    let ear = Ear::new(&broker.config());
    daemon.signal(Signal::SIGCONT);
    let event = ear.wait("/event/gate.decision", |e| e["data"]["session"] == granted["session"]);
    assert_eq!(event["replayed"], true, "the hub hears of it, as of something over");
    // The lock's connection is up as well: the next decision opens, and it alone.
    let fresh = until("a lock that can be told", || {
        let fresh = present(&home, "north", card("04A1B2C3D4"));
        let heard = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < heard {
            if ear.on("/door/north/actuate").iter().any(|a| a["session"] == fresh["session"]) {
                return Some(fresh);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    });
    assert_ne!(fresh["session"], granted["session"]);
    assert!(
        ear.on("/door/north/actuate").iter().all(|a| a["session"] != granted["session"]),
        "a late one opened"
    );
    let locks = || home.get("/v1/status").unwrap().1["snapshot"]["locks"].clone();
    until_else(|| locks().to_string(), || (locks()["late"].as_u64() >= Some(1)).then_some(()));
    daemon.stop();
}

fn told(ear: &Ear, door: &str, act: &str) -> Value {
    ear.wait(&format!("/door/{door}/actuate"), |a| a["act"] == act)
}

#[test]
fn a_box_that_cannot_decide_says_so_and_locks_or_frees_the_door_as_it_was_told() {
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let lobby = stage::Camera::start("127.0.0.1:0", Reel::empty(&set()).unwrap()).unwrap();
    let home = Home::new();
    let door = |name: &str, when: &str| {
        format!(
            "[[door]]\nname = \"{name}\"\ncamera = \"gate\"\nwhen_ill = \"{when}\"\n[door.actuator]\nmqtt = true\n"
        )
    };
    let doors = [door("vault", "locked"), door("escape", "unlocked")].concat();
    // Without a gallery nobody can be looked up: both doors are ill from the start.
    home.write(&broker.url(), &[camera("gate", &lobby.url())], &doors);
    let daemon = home.start();
    live(&ear, "gate");
    let refused = present(&home, "vault", card("04A1B2C3D4"));
    assert_eq!(reason(&refused), "gallery_unavailable");
    assert_eq!(checks(&refused)["credential"], ("not_checked".into(), "gallery_unavailable".into()));
    for (name, act) in [("vault", "secure"), ("escape", "release")] {
        let state = ear.wait(&format!("/door/{name}"), |s| s["state"] == "ill");
        assert!(state["reason"].as_str().unwrap().contains("gallery"), "{state}");
        let acted = told(&ear, name, act);
        let left = acted["notafter"]
            .as_str()
            .unwrap()
            .parse::<Timestamp>()
            .unwrap()
            .duration_since(Timestamp::now());
        assert!(left <= SignedDuration::from_secs(30) && acted.get("event").is_none(), "{acted}");
    }
    ear.wait("/event/box.alarm", |e| e["data"]["code"] == "door_ill" && e["data"]["about"] == "vault");
    let (_, status) = home.get("/v1/status").unwrap();
    assert!(status["faults"].to_string().contains("door escape"), "{}", status["faults"]);
    assert_eq!(ear.on("/door/vault/actuate").len(), 1);
    daemon.stop();
}
