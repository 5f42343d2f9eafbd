//! Looking for the missing and looking guests up, with the real daemon, a real broker, a real gallery and
//! real faces.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use vigil::auth::jws;
use vigil::bus::client::Client;
use vigil::commands::demo::stage::{self, Person, Reel, Set, cast};

use super::auth::{boot_of, claims};
use super::support::daemon::{Ear, Home, PATIENCE, checks, photo, topics, until};
use super::support::door::{enrol, gallery, nobody, section, template, terms};
use super::support::mosquitto::Mosquitto;

/// A busy machine makes no camera ill.
fn camera(name: &str, url: &str) -> String {
    format!(
        "name = \"{name}\"\nurl = \"{url}\"\nstall_after_ms = 60000\nconnect_within_ms = 60000\nretry_max_ms = 300"
    )
}

fn guest(set: &Set, file: &str) -> Reel {
    let likeness = if file == "biden.jpg" { cast::BIDEN } else { cast::OBAMA };
    Reel::visit(set, &Person::open(&photo(file), &likeness).unwrap()).unwrap()
}

fn live(ear: &Ear, name: &str) {
    ear.wait(&format!("/camera/{name}"), |s| s["state"] == "live");
}

fn post(home: &Home, path: &str, body: &Value) -> (u16, Value) {
    home.post_to(path, "application/json", body.to_string().as_bytes()).unwrap()
}

fn watch_of(home: &Home) -> Value {
    home.get("/v1/status").unwrap().1["snapshot"]["watch"].clone()
}

#[test]
fn a_missing_person_is_told_once_and_of_everybody_else_nothing_is() {
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let set = Set::new(640, 360, 7);
    let hall = stage::Camera::start("127.0.0.1:0", guest(&set, "obama.jpg")).unwrap();
    let home = Home::new();
    let more = format!(
        "{}purposes = [\"guest\", \"missing_person\"]\n[watch]\npurpose = \"missing_person\"\n\
         authority = \"West Lake police, desk 4\"\ncameras = [\"hall\"]\npassages_per_day = 200\n",
        section(home.path())
    );
    home.write(&broker.url(), &[camera("hall", &hall.url()), camera("desk", &hall.url())], &more);
    // A tenant or guest is not looked for, however alike.
    let people = gallery(&home.config());
    enrol(&people, terms("g-obama", &[], json!({"purpose": "guest"})), &template("obama2.jpg"));
    let daemon = home.start_with(&[("VIGIL_LOG", "vigil=trace")]);
    live(&ear, "hall");
    let watch = watch_of(&home);
    assert_eq!(
        (&watch["authority"], &watch["missing"]),
        (&json!("West Lake police, desk 4"), &json!(0)),
        "{watch}"
    );
    assert_eq!(watch["cameras"][0]["camera"], "hall");
    assert_eq!(watch["cameras"].as_array().unwrap().len(), 1, "the desk's camera looks at nobody");
    assert_eq!(
        (&watch["cameras"][0]["watching"], &watch["cameras"][0]["pictures"]),
        (&json!(false), &json!(0))
    );

    // Somebody is missing from now on. The passer-by is somebody else.
    let missing = json!({"purpose": "missing_person", "basis": {"authority": "police/2026-7"}});
    enrol(&people, terms("m-biden", &[], missing), &template("biden.jpg"));
    until("a passer-by to be looked up", || {
        let watch = watch_of(&home);
        (watch["cameras"][0]["passages"].as_u64()? >= 1).then_some(())
    });
    assert_eq!(watch_of(&home)["missing"], 1);
    assert!(ear.on("/event/watch.sighting").is_empty(), "a guest of the house is looked for by nobody");

    hall.show(guest(&set, "biden.jpg"));
    let event = ear.wait("/event/watch.sighting", |_| true);
    let data = &event["data"];
    assert_eq!(
        (&data["person_ref"], &data["authority_ref"]),
        (&json!("m-biden"), &json!("police/2026-7")),
        "{data}"
    );
    assert_eq!((&data["authority"], &data["camera"]), (&json!("West Lake police, desk 4"), &json!("hall")));
    assert!(["above", "far_above", "near"].contains(&data["band"].as_str().unwrap()), "{data}");
    assert!(data["travel"].is_string() && data["first_seen"].is_string(), "{data}");
    assert!(event.get("notafter").is_none() && data.get("score").is_none());
    assert_eq!((&data["terms"]["searched"], &data["terms"]["fpir"]), (&json!(1), &json!(0.0025)), "{data}");
    // Many pictures later it is one pass still.
    let pictures = watch_of(&home)["cameras"][0]["pictures"].as_u64().unwrap();
    until("more pictures", || {
        (watch_of(&home)["cameras"][0]["pictures"].as_u64()? > pictures + 25).then_some(())
    });
    assert_eq!(ear.on("/event/watch.sighting").len(), 1);
    ear.wait("/health", |h| h["watch"]["authority"] == "West Lake police, desk 4");

    // A verification comes first, on the camera that is watched.
    let portrait = std::fs::read(photo("biden.jpg")).unwrap();
    let (status, answer) =
        home.verify(&json!({"camera": "hall", "deadline_ms": 30_000}), Some(&portrait)).unwrap();
    assert_eq!((status, &answer["result"]["outcome"]), (200, &json!("match")), "{answer}");

    // Found: the entry is erased, and no picture is looked at any more.
    let person = vigil::event::PersonRef::new("m-biden").unwrap();
    people.erase(&person, &vigil::gallery::Actor::new("test").unwrap()).unwrap();
    until("the watch to end", || (watch_of(&home)["cameras"][0]["watching"] == false).then_some(()));
    let log = home.log();
    assert!(log.contains("a missing person was seen") && !log.contains("m-biden"), "no pseudonym in the log");
    let others = ear
        .all()
        .iter()
        .filter(|m| m.topic.contains("/event/") && !m.topic.ends_with("watch.sighting"))
        .count();
    assert!(others >= 1);
    for message in ear.all() {
        // That somebody was enrolled is told by name; that they passed by never is.
        let enrolled = message.topic.ends_with("/event/gallery.changed");
        assert!(
            enrolled || !String::from_utf8_lossy(&message.payload).contains("g-obama"),
            "{}",
            message.topic
        );
    }
    daemon.signal(Signal::SIGCONT);
    daemon.stop();
}

#[test]
fn a_guest_without_papers_is_looked_up_and_a_clerk_decides() {
    let broker = Mosquitto::open();
    let ear = Ear::new(&broker.config());
    let set = Set::new(640, 360, 7);
    let lobby = stage::Camera::start("127.0.0.1:0", guest(&set, "obama.jpg")).unwrap();
    let empty = stage::Camera::start("127.0.0.1:0", Reel::empty(&set).unwrap()).unwrap();
    let home = Home::new();
    let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let public = String::from(jws::public_text(&key));
    let more = format!(
        "{}[[hub_key]]\nid = \"hub-1\"\npublic_key = \"{public}\"\ncommands = [\"identify\"]\nvalid_until = \"2099-01-01T00:00:00Z\"\n\
         [identify]\npurposes = [\"guest\"]\ncamera = \"desk\"\ndecide_within_s = 25\ndeadline_ms = 30000\n",
        section(home.path())
    );
    home.write(&broker.url(), &[camera("desk", &lobby.url()), camera("other", &empty.url())], &more);
    let people = gallery(&home.config());
    let guest_terms = |name: &str| terms(name, &[], json!({"purpose": "guest"}));
    enrol(&people, guest_terms("g-obama"), &template("obama2.jpg"));
    enrol(&people, guest_terms("g-else"), &nobody(3));
    let daemon = home.start();
    live(&ear, "desk");
    live(&ear, "other");

    let look_up = |body: Value| {
        let (status, answer) = post(&home, "/v1/identify", &body);
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let found = look_up(json!({"correlation": "lost-1"}));
    let result = &found["result"];
    assert_eq!((&result["outcome"], &result["candidates"]), (&json!("candidates"), &json!(1)), "{found}");
    assert_eq!(found["candidates"][0]["person_ref"], "g-obama");
    assert!(found["candidates"][0].get("score").is_none() && found["candidates"][0]["band"].is_string());
    let made = checks(result);
    assert_eq!(made["gallery_search"].0, "pass");
    assert_eq!(made["staff_confirmation"], ("not_checked".into(), "awaits_staff".into()));
    assert_eq!((&result["terms"]["searched"], &result["terms"]["fpir"]), (&json!(2), &json!(0.01)));
    let event = ear.wait("/event/identify.result", |e| e["data"]["session"] == result["session"]);
    assert_eq!(&event["data"], result);
    assert!(!event.to_string().contains("g-obama") && event.get("notafter").is_none(), "{event}");
    let (_, waiting) = home.get("/v1/identify").unwrap();
    assert_eq!(waiting["waiting"][0]["candidates"], found["candidates"], "{waiting}");
    assert!(
        !home.get("/v1/status").unwrap().1.to_string().contains("g-obama"),
        "for the desk's own route alone"
    );

    // The clerk decides, once, about a candidate, and by name.
    let at = |session: &Value, word: &str| format!("/v1/identify/{}/{word}", session.as_str().unwrap());
    let confirm = at(&result["session"], "confirm");
    for (path, body, status, word) in [
        (confirm.as_str(), json!({"person_ref": "g-else", "clerk": "c-1"}), 400, "none of the candidates"),
        (confirm.as_str(), json!({"person_ref": "g-obama"}), 400, "which clerk"),
        (confirm.as_str(), json!({"person_ref": "g-obama", "clerk": "Mr Li"}), 400, "pseudonym"),
        (confirm.as_str(), json!({"clerk": "c-1"}), 400, "person_ref"),
        ("/v1/identify/x/confirm", json!({"person_ref": "g-obama", "clerk": "c-1"}), 404, "session"),
        ("/v1/identify", json!({"purposes": ["staff"]}), 403, "staff"),
        ("/v1/identify", json!({"camera": "moon"}), 400, "camera"),
        ("/v1/identify", json!({"cameras": "desk"}), 400, "cameras"),
    ] {
        let (got, answer) = post(&home, path, &body);
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(got == status && message.contains(word), "{path} {body}: {got} {answer}");
    }
    let (status, decided) = post(&home, &confirm, &json!({"person_ref": "g-obama", "clerk": "c-1"}));
    assert_eq!((status, &decided["result"]["outcome"]), (200, &json!("confirmed")), "{decided}");
    assert_eq!(decided["result"]["confirmed"]["person_ref"], "g-obama");
    assert_eq!(
        (&decided["result"]["decided_by"], &checks(&decided["result"])["staff_confirmation"].0),
        (&json!("c-1"), &"pass".to_owned())
    );
    ear.wait("/event/identify.result", |e| {
        e["data"]["outcome"] == "confirmed" && e["data"]["session"] == result["session"]
    });
    assert_eq!(post(&home, &confirm, &json!({"person_ref": "g-obama", "clerk": "c-1"})).0, 404, "once");

    // Over MQTT the hub hears how many, not who; the desk rejects them. Nobody else may ask there.
    let mut client = Client::connect(&broker.config(), "hub", &[]).unwrap();
    let payload = json!({"correlation": "q-1"}).to_string().into_bytes();
    let reply = client.request(&topics(), "identify", "q-1", payload, PATIENCE).unwrap();
    assert_eq!(reply["error"]["reason"], "unsigned", "{reply}");
    let claims = claims("identify", 1, Some(boot_of(&ear, None)), json!({}));
    let called = claims.correlation.clone().unwrap();
    let payload = serde_json::to_vec(&jws::sign("hub-1", &key, &claims).unwrap()).unwrap();
    let reply = client.request(&topics(), "identify", &called, payload, PATIENCE).unwrap();
    assert_eq!(reply["event"]["data"]["candidates"], 1, "{reply}");
    assert!(!reply.to_string().contains("g-obama"), "{reply}");
    let session = reply["event"]["data"]["session"].clone();
    let (status, decided) = post(&home, &at(&session, "reject"), &json!({"clerk": "c-2"}));
    assert_eq!((status, &decided["result"]["outcome"]), (200, &json!("rejected")), "{decided}");
    assert!(decided["result"].get("confirmed").is_none());

    // Nobody decides: the candidates expire, and that is said too.
    let found = look_up(json!({}));
    ear.wait("/event/identify.result", |e| {
        e["data"]["session"] == found["result"]["session"] && e["data"]["outcome"] == "expired"
    });
    assert_eq!(home.get("/v1/identify").unwrap().1["waiting"], json!([]));
    assert_eq!(post(&home, &at(&found["result"]["session"], "reject"), &json!({"clerk": "c-2"})).0, 404);

    // Nobody there; somebody who is not in the gallery.
    let found = look_up(json!({"camera": "other", "deadline_ms": 4000}));
    assert_eq!(
        (&found["result"]["outcome"], &found["candidates"]),
        (&json!("no_face"), &json!([])),
        "{found}"
    );
    lobby.show(guest(&set, "biden.jpg"));
    until("the next guest", || {
        let (_, answer) = post(&home, "/v1/identify", &json!({}));
        (answer["result"]["outcome"] == "no_match").then_some(())
    });
    // The audit log has the searches and the clerks.
    let mut records = Vec::new();
    people
        .audit_log(|r| {
            records.push(serde_json::from_str::<Value>(r).unwrap());
            Ok(())
        })
        .unwrap();
    let by = |action: &str| {
        records
            .iter()
            .filter(|r| r["action"] == action)
            .map(|r| r["by"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!((by("confirm"), by("reject")), (vec!["desk:c-1".to_owned()], vec!["desk:c-2".to_owned()]));
    assert!(by("search").contains(&"hub:hub-1".to_owned()) && by("search").len() >= 4, "{records:?}");
    // Nothing of it was retained, and nothing moved a door.
    assert!(!ear.all().iter().any(|m| m.topic.ends_with("/actuate")));
    assert!(!home.log().contains("g-obama"));
    daemon.stop();
}
