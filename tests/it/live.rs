//! A search as it runs in the field: MAVLink beside the video, and missions that the hub orders.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mavlink::MavHeader;
use mavlink::dialects::common::*;
use serde_json::{Value, json};
use uuid::Uuid;
use vigil::auth::jws;
use vigil::bus::client::Client;
use vigil::event::CommandClaims;
use vigil::geo::{Attitude, Geoid, Height};
use vigil::sim::{Flight, SimFrame};

use super::auth::{boot_of, claims};
use super::support::daemon::{Ear, Home, PATIENCE, topics};
use super::support::mosquitto::Mosquitto;
use super::support::night::{self, Night, off_m, reach_m};

type SigningKey = ed25519_dalek::SigningKey;

const FOUND: &str = "/event/search.detection";
const MAP: &str = "/event/search.coverage";
const ALARM: &str = "/event/box.alarm";

/// An autopilot that says what the simulated drone says, and a gimbal that knows north.
struct Autopilot {
    socket: UdpSocket,
    port: u16,
    number: u8,
    geoid: Geoid,
}

impl Autopilot {
    fn new(port: u16) -> Self {
        Self { socket: UdpSocket::bind("127.0.0.1:0").unwrap(), port, number: 0, geoid: Geoid::egm96() }
    }

    fn raw(&self, bytes: &[u8]) {
        // Nobody may listen yet.
        let _ = self.socket.send_to(bytes, ("127.0.0.1", self.port));
    }

    fn message(&mut self, system: u8, message: &MavMessage) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = MavHeader { system_id: system.into(), component_id: 1, sequence: self.number };
        self.number = self.number.wrapping_add(u8::from(system == 1));
        mavlink::write_v2_msg(&mut bytes, header, message).unwrap();
        bytes
    }

    fn say(&mut self, message: &MavMessage) {
        let bytes = self.message(1, message);
        self.raw(&bytes);
    }

    /// What it says beside one frame, and what else comes over such a link.
    fn beside(&mut self, frame: &SimFrame, bad: bool) {
        let Some(packet) = frame.packets.last() else { return };
        let (said, ms) = (&packet.telemetry, frame.at.as_millis() as u32);
        if frame.sequence.is_multiple_of(5) {
            self.say(&MavMessage::HEARTBEAT(HEARTBEAT_DATA {
                autopilot: MavAutopilot::MAV_AUTOPILOT_PX4,
                mavtype: MavType::MAV_TYPE_QUADROTOR,
                ..HEARTBEAT_DATA::default()
            }));
        }
        let at = said.position.unwrap();
        let Some(Height::Ellipsoid(height)) = said.height else { panic!("{said:?}") };
        let e7 = |degrees: f64| (degrees * 1e7).round() as i32;
        let position = |lat: f64, lon: f64| {
            MavMessage::GLOBAL_POSITION_INT(GLOBAL_POSITION_INT_DATA {
                time_boot_ms: ms,
                lat: e7(lat),
                lon: e7(lon),
                alt: (self.geoid.to_sea_level(at, height).0 * 1000.0).round() as i32,
                ..GLOBAL_POSITION_INT_DATA::default()
            })
        };
        let here = position(at.lat().degrees(), at.lon().degrees());
        // A kilometre away: whoever believes it tells it.
        let elsewhere = position(at.lat().degrees() + 0.01, at.lon().degrees());
        if bad {
            self.raw(b"no message at all");
            // The beginning of one, and of its end only the noise.
            let torn = self.message(1, &here);
            self.raw(&torn[..torn.len() / 2]);
            // One with a wrong checksum, one of another drone, one of the protocol's first version.
            let mut damaged = self.message(1, &elsewhere);
            let end = damaged.len() - 1;
            damaged[end] ^= 0x40;
            self.raw(&damaged);
            let foreign = self.message(9, &elsewhere);
            self.raw(&foreign);
            let mut first = Vec::new();
            let header = MavHeader { system_id: 1u8.into(), component_id: 1, sequence: 0 };
            mavlink::write_v1_msg(&mut first, header, &elsewhere).unwrap();
            self.raw(&first);
            self.raw(&[0xfd; 7]);
        }
        self.say(&here);
        let a = said.platform.unwrap();
        let radians = |angle: vigil::geo::Angle| angle.signed().radians() as f32;
        self.say(&MavMessage::ATTITUDE(ATTITUDE_DATA {
            time_boot_ms: ms,
            yaw: radians(a.yaw),
            pitch: radians(a.pitch),
            roll: radians(a.roll),
            ..ATTITUDE_DATA::default()
        }));
        self.say(&MavMessage::GIMBAL_DEVICE_ATTITUDE_STATUS(GIMBAL_DEVICE_ATTITUDE_STATUS_DATA {
            time_boot_ms: ms,
            flags: GimbalDeviceFlags::GIMBAL_DEVICE_FLAGS_YAW_IN_EARTH_FRAME,
            q: quaternion(&Flight::looks(&frame.truth.pose)),
            ..GIMBAL_DEVICE_ATTITUDE_STATUS_DATA::default()
        }));
    }
}

/// Yaw, pitch, roll about z, y, x as a unit quaternion, w first.
fn quaternion(a: &Attitude) -> [f32; 4] {
    let half = |angle: vigil::geo::Angle| (angle.radians() / 2.0).sin_cos();
    let ((sy, cy), (sp, cp), (sr, cr)) = (half(a.yaw), half(a.pitch), half(a.roll));
    [
        cr * cp * cy + sr * sp * sy,
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
    ]
    .map(|v| v as f32)
}

#[test]
fn mavlink_beside_a_video_places_what_is_found_and_bad_packets_move_nothing() {
    let (broker, home) = (Mosquitto::open(), Home::new());
    let (video, link) = (night::free_udp_port(), night::free_udp_port());
    let more = format!(
        "{}{}[search.telemetry]\nkind = \"mavlink\"\nlink = \"udp:127.0.0.1:{link}\"\n[search.optics]\nfov_deg = 50\n",
        night::SEARCH,
        night::SUBSECTIONS
    );
    home.write(&broker.url(), &[night::camera(video)], &more);
    let ear = Ear::new(&broker.config());
    let daemon = home.start();
    let mut plan = night::plan();
    // Video and messages belong together by when they come. So slow a drone is where it was, though one of
    // them comes a second late on a busy machine.
    plan.path.speed_m_s = 1.5;
    plan.path.side_m = Some(24.0);
    let bad = Arc::new(AtomicBool::new(true));
    let (mut autopilot, noisy) = (Autopilot::new(link), bad.clone());
    let night = Night::start(&plan, video, move |frame| {
        autopilot.beside(frame, noisy.load(Ordering::SeqCst));
        // The video carries no telemetry.
        frame.packets.clear();
    });
    let truth = night::truth(&plan);
    let word = ear.wait(FOUND, |e| e["data"]["state"] == "new");
    let map = ear.wait(MAP, |e| e["data"]["seen_m2"].as_f64() > Some(500.0));
    for e in ear.on(FOUND) {
        let (at, data) = (&e["data"]["position"], &e["data"]);
        let (off, ce90) = (off_m(at, &truth), at["ce90_m"].as_f64().unwrap());
        assert!(off <= 1.5 * ce90 + 3.0 && ce90 < 15.0, "{off:.1} m off, CE90 {ce90:.1} m: {e}");
        assert!((at["hae_m"].as_f64().unwrap() - 18.0).abs() < 0.2, "{e}");
        assert_eq!(data["inputs"], json!({ "assumed": ["field_of_view"], "stale": [] }), "{e}");
    }
    let reach = reach_m(&map["data"]["map"], &truth);
    assert!(reach < 12.0 + 19.0 + 12.0, "the map reaches {reach:.0} m");
    let health = ear.wait("/health", |h| h["search"]["state"] == "searching");
    assert!(health["search"]["telemetry_age_ms"].is_u64(), "{health}");
    let log = home.log();
    assert!(!log.contains("jumped") && !log.contains("panicked"), "{log}");
    println!(
        "MAVLink: {} {:.1} m off with CE90 {} m; {} m² seen, {:.0} m about",
        word["data"]["class"],
        off_m(&word["data"]["position"], &truth),
        word["data"]["position"]["ce90_m"],
        map["data"]["seen_m2"],
        reach
    );
    // The link is gone and the video goes on: where things are is not known any more.
    drop(night);
    let _blind = Night::start(&plan, video, |frame| frame.packets.clear());
    let raised = ear.wait(ALARM, |e| e["data"]["code"] == "search_blind" && e["data"]["state"] == "raised");
    println!("MAVLink gone: {}", raised["data"]["message"]);
    daemon.stop();
}

/// Gives one order of the hub's and hears the answer.
fn give(client: &mut Client, kid: &str, key: &SigningKey, claims: &CommandClaims) -> Value {
    let payload = serde_json::to_vec(&jws::sign(kid, key, claims).unwrap()).unwrap();
    let correlation = claims.correlation.clone().unwrap();
    client.request(&topics(), &claims.cmd, &correlation, payload, PATIENCE).unwrap()
}

fn refusal(reply: &Value) -> &str {
    assert_eq!(reply["status"], "error", "{reply}");
    reply["error"]["reason"].as_str().unwrap_or("none")
}

#[test]
fn missions_are_flown_by_signed_orders_and_by_no_others() {
    const START: &str = "mission/start";
    const STOP: &str = "mission/stop";
    let (broker, home, port) = (Mosquitto::open(), Home::new(), night::free_udp_port());
    let key = |n| SigningKey::from_bytes(&[n; 32]);
    let (hub, gallery, stranger) = (key(1), key(2), key(3));
    let section = |id: &str, key: &SigningKey, commands: &str| {
        let public = String::from(jws::public_text(key));
        format!(
            "[[hub_key]]\nid = \"{id}\"\npublic_key = \"{public}\"\ncommands = [{commands}]\n\
             valid_until = \"2099-01-01T00:00:00Z\"\n"
        )
    };
    let export = home.path().join("export");
    std::fs::create_dir(&export).unwrap();
    let more = format!(
        "{}auto_start = false\nexport_dir = \"{}\"\n{}{}{}",
        night::SEARCH,
        export.display(),
        night::SUBSECTIONS,
        section("hub-1", &hub, "\"mission/start\", \"mission/stop\""),
        section("hub-2", &gallery, "\"verify\"")
    );
    home.write(&broker.url(), &[night::camera(port)], &more);
    let ear = Ear::new(&broker.config());
    let daemon = home.start();
    let boot = boot_of(&ear, None);
    let plan = night::plan();
    let truth = night::truth(&plan);
    let _night = Night::start(&plan, port, |_| {});
    let mut client = Client::connect(&broker.config(), "hub", &[]).unwrap();

    // Who may not order one is refused with the reason. Pictures come, and nothing is looked for.
    ear.wait("/health", |h| h["search"]["state"] == "waiting");
    let ring = |half: f64| {
        let (lat, lon) = (truth.at.lat().degrees(), truth.at.lon().degrees());
        let [n, e] = [half / 110_850.0, half / (111_320.0 * truth.at.lat().radians().cos())];
        json!([
            [lon - e, lat - n],
            [lon + e, lat - n],
            [lon + e, lat + n],
            [lon - e, lat + n],
            [lon - e, lat - n]
        ])
    };
    let area = |ring: Value| json!({ "type": "Polygon", "coordinates": [ring] });
    let body = json!({ "name": "North field", "area": area(ring(25.0)), "vegetation": "open" });
    let mut plain = body.clone();
    plain["correlation"] = json!("u1");
    let reply = client.request(&topics(), START, "u1", plain.to_string().into_bytes(), PATIENCE).unwrap();
    assert_eq!(refusal(&reply), "unsigned", "{reply}");
    let reply = client.request(&topics(), STOP, "u2", br#"{"correlation":"u2"}"#.to_vec(), PATIENCE).unwrap();
    assert_eq!(refusal(&reply), "unsigned", "{reply}");
    let order = |ctr: u64, cmd: &str, body: &Value| claims(cmd, ctr, Some(boot), body.clone());
    let start = order(1, START, &body);
    assert_eq!(refusal(&give(&mut client, "hub-1", &stranger, &start)), "bad_signature");
    assert_eq!(refusal(&give(&mut client, "nobody", &stranger, &start)), "unknown_key");
    assert_eq!(refusal(&give(&mut client, "hub-2", &gallery, &start)), "not_allowed");
    let elsewhere = CommandClaims { aud: "it/other".into(), ..start.clone() };
    assert_eq!(refusal(&give(&mut client, "hub-1", &hub, &elsewhere)), "other_box");
    let yesterday = CommandClaims { boot: Some(Uuid::nil()), ..start.clone() };
    assert_eq!(refusal(&give(&mut client, "hub-1", &hub, &yesterday)), "other_boot");
    for reason in ["unsigned", "bad_signature", "unknown_key", "not_allowed", "other_box", "other_boot"] {
        ear.wait(ALARM, |e| {
            e["data"]["code"] == "command_refused"
                && e["data"]["message"].as_str().is_some_and(|m| m.starts_with(&format!("{reason}: ")))
        });
    }
    assert!(ear.on(FOUND).is_empty() && ear.on(MAP).is_empty(), "nobody started a mission");

    // An area that is none is said.
    let crossed =
        json!([[120.15, 30.26], [120.16, 30.27], [120.16, 30.26], [120.15, 30.27], [120.15, 30.26]]);
    let reply = give(&mut client, "hub-1", &hub, &order(2, START, &json!({ "area": area(crossed) })));
    assert!(
        reply["status"] == "error" && reply["error"]["message"].as_str().unwrap().contains("area"),
        "{reply}"
    );

    // The order, once; a second mission is refused while it is under way.
    let start = order(3, START, &body);
    let reply = give(&mut client, "hub-1", &hub, &start);
    assert_eq!(reply["status"], "ok", "{reply}");
    let mission = reply["mission"].clone();
    assert_eq!(mission["name"], "North field");
    assert!((mission["area_m2"].as_f64().unwrap() - 2_500.0).abs() < 50.0, "{mission}");
    assert_eq!(refusal(&give(&mut client, "hub-1", &hub, &start)), "replayed");
    let reply = give(&mut client, "hub-1", &hub, &order(4, START, &json!({ "name": "Another" })));
    assert!(reply["error"]["message"].as_str().unwrap().contains("a mission is under way"), "{reply}");

    // What it says: who was found, and which part of its ground was looked at, as GeoJSON.
    let found = ear.wait(FOUND, |e| e["data"]["state"] == "new");
    assert_eq!(found["data"]["mission"], mission["mission"]);
    let map = ear.wait(MAP, |e| e["data"]["searched_share"].as_f64() > Some(0.5));
    let data = &map["data"];
    assert_eq!((&data["mission"], &data["last"]), (&mission["mission"], &json!(false)));
    assert_eq!(data["area_m2"], mission["area_m2"]);
    assert_eq!(data["map"]["type"], "FeatureCollection");
    for feature in data["map"]["features"].as_array().unwrap() {
        assert_eq!(feature["geometry"]["type"], "MultiPolygon", "{feature}");
    }
    // A cell of 3 m may reach over the edge of the area.
    let reach = reach_m(&data["map"], &truth);
    assert!((15.0..25.0 + 3.5).contains(&reach), "the map reaches {reach:.1} m");

    // It ends by order, and not by one that means another.
    let reply = give(&mut client, "hub-1", &hub, &order(5, STOP, &json!({ "mission": Uuid::from_u128(7) })));
    assert!(reply["error"]["message"].as_str().unwrap().contains("another mission"), "{reply}");
    let stop = order(6, STOP, &json!({ "mission": mission["mission"] }));
    let reply = give(&mut client, "hub-1", &hub, &stop);
    assert_eq!(
        (&reply["status"], &reply["mission"]["mission"]),
        (&json!("ok"), &mission["mission"]),
        "{reply}"
    );
    assert!(reply["mission"]["stopped"].is_string(), "{reply}");
    assert_eq!(refusal(&give(&mut client, "hub-1", &hub, &stop)), "replayed");
    let reply = give(&mut client, "hub-1", &hub, &order(7, STOP, &json!({})));
    assert!(reply["error"]["message"].as_str().unwrap().contains("no mission is under way"), "{reply}");
    let candidate = &found["data"]["candidate"];
    ear.wait(FOUND, |e| e["data"]["candidate"] == *candidate && e["data"]["end"] == "mission_stopped");
    ear.wait(MAP, |e| e["data"]["mission"] == mission["mission"] && e["data"]["last"] == true);
    ear.wait("/health", |h| h["search"]["state"] == "waiting" && h["search"]["frames"].as_u64() > Some(20));

    // What is left of it: two files, and the mission among those of the box.
    let id = mission["mission"].as_str().unwrap();
    daemon.stop();
    let file = |kind: &str| std::fs::read_to_string(export.join(format!("{id}.{kind}"))).unwrap();
    let written: Value = serde_json::from_str(&file("geojson")).unwrap();
    let features = written["features"].as_array().unwrap();
    let kinds: Vec<_> = features.iter().map(|f| f["properties"]["kind"].as_str().unwrap()).collect();
    for kind in ["area", "coverage", "candidate", "ellipse90"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    assert!(file("kml").contains("North field"));
    let state = home.state.to_str().unwrap();
    let list =
        Command::new(env!("CARGO_BIN_EXE_vigil")).args(["mission", "list", "--state-dir", state]).output();
    let list = String::from_utf8(list.unwrap().stdout).unwrap();
    assert!(list.contains(id) && list.contains("North field"), "{list}");
    println!(
        "mission {id}: {} of {} m² searched, POD {}, {} candidates; written {kinds:?}",
        data["searched_share"],
        data["area_m2"],
        data["mean_pod"],
        kinds.iter().filter(|k| **k == "candidate").count()
    );
}
