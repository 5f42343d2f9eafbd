//! The rules between keys: what no single value can be blamed for.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::load::Findings;
use super::{CameraConfig, Config, Fallback, Purpose, ReaderKind, SourceUrl};
use crate::base::Name;

/// Longest client identifier accepted. MQTT 3.1.1 promises 23 characters, brokers take far more;
/// the default with the longest names has 71.
const MAX_CLIENT_ID: usize = 128;

/// Notes every rule that the configuration breaks.
pub(super) fn check(config: &Config, found: &mut Findings<'_>) {
    verify(config, found);
    cameras(config, found);
    mqtt(config, found);
    broker(config, found);
    desk(config, found);
    doors(config, found);
    gallery(config, found);
    identify(config, found);
    watch(config, found);
    search(config, found);
    hub(config, found);
}

fn gallery(config: &Config, found: &mut Findings<'_>) {
    let Some(gallery) = &config.gallery else { return };
    range(found, "gallery.warn_entries", "gallery.max_entries", gallery.warn_entries <= gallery.max_entries);
}

/// Whether `[gallery]` may hold entries of these purposes.
fn in_gallery(config: &Config, key: &str, purposes: &[Purpose], found: &mut Findings<'_>) {
    if !found.sound(&["gallery", key]) {
        return;
    }
    let Some(gallery) = &config.gallery else {
        return found.rule(key, "this box has no gallery", "add [gallery], and enrol the people concerned");
    };
    let lacking = purposes.iter().find(|p| !gallery.purposes.contains(p));
    if let Some(purpose) = lacking.filter(|_| found.sound(&["gallery.purposes"])) {
        let says = format!("gallery.purposes does not allow entries of the purpose {purpose}");
        found.rule(key, says, format!("add \"{purpose}\" there, or take it out here"));
    }
}

fn known_camera(config: &Config, key: &str, camera: &Name, found: &mut Findings<'_>) {
    let named = (0..config.cameras.len()).all(|n| found.sound(&[&format!("camera[{n}].name")]));
    if found.sound(&[key, "camera"]) && named && !config.cameras.iter().any(|c| c.name == *camera) {
        found.rule(key, format!("no camera is called \"{camera}\""), "add a [[camera]] of that name");
    }
}

fn identify(config: &Config, found: &mut Findings<'_>) {
    let Some(identify) = &config.identify else { return };
    let key = "identify.purposes";
    if identify.purposes.contains(&Purpose::MissingPerson) && found.sound(&[key]) {
        let says = "missing persons are in the gallery to be looked for, not to be looked up";
        found.rule(key, says, "take missing_person out; [watch] is for it");
    } else {
        in_gallery(config, key, &identify.purposes, found);
    }
    if let Some(camera) = &identify.camera {
        known_camera(config, "identify.camera", camera, found);
    }
    let keys = ["identify.deadline_ms", "verify.max_deadline_ms"];
    range(found, keys[0], keys[1], identify.deadline_ms <= config.verify.max_deadline_ms);
}

fn watch(config: &Config, found: &mut Findings<'_>) {
    let Some(watch) = &config.watch else { return };
    if watch.purpose != Purpose::MissingPerson && found.sound(&["watch.purpose"]) {
        let says = format!("nobody is looked for as {}", watch.purpose);
        found.rule("watch.purpose", says, "write \"missing_person\", or take [watch] out");
    } else {
        in_gallery(config, "watch.purpose", &[watch.purpose], found);
    }
    for (n, camera) in watch.cameras.iter().enumerate() {
        let key = format!("watch.cameras[{n}]");
        known_camera(config, &key, camera, found);
        if watch.cameras[..n].contains(camera) && found.sound(&[&key]) {
            found.rule(&key, format!("\"{camera}\" is listed twice"), "name each camera once");
        }
    }
}

fn search(config: &Config, found: &mut Findings<'_>) {
    let Some(search) = &config.search else { return };
    known_camera(config, "search.camera", &search.camera, found);
    let parts = [
        ("telemetry", search.telemetry.faults()),
        ("thermal", search.thermal.problems()),
        ("optics", search.optics.faults()),
        ("terrain", search.terrain.faults()),
    ];
    for (section, faults) in parts {
        for (key, says, remedy) in faults {
            let key = format!("search.{section}.{key}");
            if found.sound(&[&key]) {
                found.rule(&key, says, remedy);
            }
        }
    }
    for (n, output) in search.cot.iter().enumerate() {
        let key = format!("search.cot[{n}].url");
        if search.cot[..n].iter().any(|o| o.url == output.url) && found.sound(&[&key]) {
            found.rule(&key, format!("\"{}\" is listed twice", output.url), "name each place once");
        }
    }
}

fn cameras(config: &Config, found: &mut Findings<'_>) {
    let mut seen = HashMap::new();
    for (n, camera) in config.cameras.iter().enumerate() {
        let key = |name: &str| format!("camera[{n}].{name}");
        if found.sound(&[&key("name")])
            && let Some(first) = seen.insert(camera.name.clone(), n)
        {
            found.rule(
                &key("name"),
                format!("camera[{first}] is also called \"{}\"", camera.name),
                "give each camera its own name",
            );
        }
        credentials(
            found,
            &format!("camera[{n}]"),
            // SRT knows a passphrase and no user.
            camera.username.is_some() || matches!(camera.url, SourceUrl::Srt(..)),
            camera.password.is_some(),
            camera.password_file.is_some(),
        );
        useless_keys(camera, n, found);
        range(found, &key("retry_min_ms"), &key("retry_max_ms"), camera.retry_min_ms <= camera.retry_max_ms);
        if found.sound(&[&key("latency_ms"), &key("stall_after_ms")])
            && camera.latency_ms >= camera.stall_after_ms
        {
            found.rule(
                &key("latency_ms"),
                "the jitter buffer is as long as the time after which the camera counts as stalled",
                "lower latency_ms or raise stall_after_ms",
            );
        }
    }
}

/// A key that does nothing for this kind of camera was written by somebody who expects it to.
fn useless_keys(camera: &CameraConfig, n: usize, found: &mut Findings<'_>) {
    if !found.sound(&[&format!("camera[{n}].url")]) {
        return;
    }
    let kind = match &camera.url {
        SourceUrl::Rtsp(_) => "an rtsp camera",
        SourceUrl::Http(_) => "an http camera",
        SourceUrl::V4l2(_) => "a v4l2: camera",
        SourceUrl::File(_) => "a file: camera",
        SourceUrl::Udp(..) => "a udp camera",
        SourceUrl::Srt(..) => "an srt camera",
        SourceUrl::Tiff(_) => "a tiff: camera",
        SourceUrl::Test => "a test: camera",
    };
    let network = matches!(camera.url, SourceUrl::Rtsp(_) | SourceUrl::Http(_));
    let secret = network || matches!(camera.url, SourceUrl::Srt(..));
    let rtsp = matches!(camera.url, SourceUrl::Rtsp(_));
    let buffered = rtsp || matches!(camera.url, SourceUrl::Srt(..));
    let tiff = matches!(camera.url, SourceUrl::Tiff(_));
    let stored = tiff || matches!(camera.url, SourceUrl::File(_));
    let v4l2 = matches!(camera.url, SourceUrl::V4l2(_));
    for (name, useful, of) in [
        ("username", network, "rtsp and http cameras"),
        ("password", secret, "rtsp, http and srt cameras"),
        ("password_file", secret, "rtsp, http and srt cameras"),
        ("transport", rtsp, "rtsp cameras"),
        ("latency_ms", buffered, "rtsp and srt cameras"),
        ("repeat", stored, "file: and tiff: cameras"),
        ("fps", tiff, "tiff: cameras"),
        ("pixel_format", v4l2, "v4l2: cameras"),
    ] {
        let key = format!("camera[{n}].{name}");
        if found.given(&key) && !useful {
            found.rule(&key, format!("{kind} does not use this key"), format!("it is for {of}: take it out"));
        }
    }
}

fn verify(config: &Config, found: &mut Findings<'_>) {
    let verify = &config.verify;
    if let Some(camera) = &verify.camera
        && !config.cameras.iter().any(|c| c.name == *camera)
        && found.sound(&["camera"])
        && (0..config.cameras.len()).all(|n| found.sound(&[&format!("camera[{n}].name")]))
    {
        let names: Vec<_> = config.cameras.iter().map(|c| c.name.as_str()).collect();
        let remedy = match names.as_slice() {
            [] => "add a [[camera]] of that name".to_owned(),
            names => format!("the cameras are: {}", names.join(", ")),
        };
        found.rule("verify.camera", format!("no camera is called \"{camera}\""), remedy);
    }
    range(found, "verify.first_look", "verify.last_look", verify.first_look <= verify.last_look);
    range(
        found,
        "verify.deadline_ms",
        "verify.max_deadline_ms",
        verify.deadline_ms <= verify.max_deadline_ms,
    );
    let quality = &verify.quality;
    let (dark, bright) = ("verify.quality.min_brightness", "verify.quality.max_brightness");
    range(found, dark, bright, quality.min_brightness < quality.max_brightness);
}

fn mqtt(config: &Config, found: &mut Findings<'_>) {
    let mqtt = &config.mqtt;
    credentials(
        found,
        "mqtt",
        mqtt.username.is_some(),
        mqtt.password.is_some(),
        mqtt.password_file.is_some(),
    );
    range(found, "mqtt.retry_min_ms", "mqtt.retry_max_ms", mqtt.retry_min_ms <= mqtt.retry_max_ms);
    if let Some(id) = &mqtt.client_id {
        let ok = (1..=MAX_CLIENT_ID).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !ok {
            found.rule(
                "mqtt.client_id",
                "a broker may refuse this client identifier",
                format!("use 1 to {MAX_CLIENT_ID} letters, digits, -, _ and ., or leave it out"),
            );
        }
    }
    let tls = &mqtt.tls;
    for (key, file) in [
        ("mqtt.tls.ca_file", &tls.ca_file),
        ("mqtt.tls.cert_file", &tls.cert_file),
        ("mqtt.tls.key_file", &tls.key_file),
    ] {
        if file.is_some() && !mqtt.url.tls && found.sound(&["mqtt.url"]) {
            found.rule(
                key,
                "mqtt.url is not encrypted, so the certificate would not be used",
                "write mqtts:// in mqtt.url, or take the key out",
            );
        }
    }
    for (there, missing, is_there, is_missing) in [
        ("cert_file", "key_file", tls.cert_file.is_some(), tls.key_file.is_none()),
        ("key_file", "cert_file", tls.key_file.is_some(), tls.cert_file.is_none()),
    ] {
        if is_there && is_missing && found.sound(&[&format!("mqtt.tls.{missing}")]) {
            found.rule(
                &format!("mqtt.tls.{there}"),
                format!("{there} without {missing}"),
                "a client certificate needs both",
            );
        }
    }
    let keys = ["desk.max_portrait_bytes", "mqtt.max_command_bytes"];
    if found.sound(&keys)
        && u64::from(mqtt.max_command_bytes)
            < u64::from(config.desk.max_portrait_bytes).div_ceil(3) * 4 + 1024
    {
        let key = if found.given(keys[1]) { keys[1] } else { keys[0] };
        found.rule(
            key,
            format!(
                "a portrait of desk.max_portrait_bytes = {} does not fit into a command of mqtt.max_command_bytes = {} (base64 adds a third)",
                config.desk.max_portrait_bytes, mqtt.max_command_bytes
            ),
            "raise mqtt.max_command_bytes or lower desk.max_portrait_bytes",
        );
    }
}

fn broker(config: &Config, found: &mut Findings<'_>) {
    let Some(broker) = &config.broker else { return };
    let with_password = broker.password.is_some() || broker.password_file.is_some();
    credentials(
        found,
        "broker",
        broker.username.is_some(),
        broker.password.is_some(),
        broker.password_file.is_some(),
    );
    let complete = broker.username.is_some() && with_password;
    let password_sound = found.sound(&["broker.username", "broker.password", "broker.password_file"]);
    if !broker.listen.ip().is_loopback() && !complete && password_sound {
        found.rule(
            "broker.listen",
            format!("{} can be reached from outside, and anybody may connect", broker.listen),
            "set username and password_file, or listen on 127.0.0.1",
        );
    }
    if !found.sound(&["mqtt.url", "broker.listen"]) {
        return;
    }
    if broker.listen.port() != 0 && broker.listen.port() != config.mqtt.url.port {
        found.rule(
            "broker.listen",
            format!("the box itself speaks to {}, so nothing is published here", config.mqtt.url),
            "let mqtt.url name this port, or take [broker] out",
        );
    } else if broker.username != config.mqtt.username && found.sound(&["broker.username", "mqtt.username"]) {
        found.rule(
            "broker.username",
            "the box itself gives another user name, and its own broker would refuse it",
            "set mqtt.username and mqtt.password_file to the same",
        );
    } else if config.mqtt.url.tls {
        found.rule("mqtt.url", "the broker inside the box speaks no TLS", "write mqtt://");
    }
}

fn doors(config: &Config, found: &mut Findings<'_>) {
    let (mut names, mut devices) = (HashMap::new(), HashMap::new());
    for (n, door) in config.doors.iter().enumerate() {
        let key = |name: &str| format!("door[{n}].{name}");
        if found.sound(&[&key("name")])
            && let Some(first) = names.insert(door.name.clone(), n)
        {
            let says = format!("door[{first}] is also called \"{}\"", door.name);
            found.rule(&key("name"), says, "give each door its own name");
        }
        if found.sound(&[&key("camera"), "camera"]) && !config.cameras.iter().any(|c| c.name == door.camera) {
            let says = format!("no camera is called \"{}\"", door.camera);
            found.rule(
                &key("camera"),
                says,
                "add a [[camera]] of that name; it sees who stands at the reader",
            );
        }
        if found.given(&key("forgive_min")) && door.zone.is_none() {
            found.rule(
                &key("forgive_min"),
                "there is nothing to forgive without a zone",
                "add zone, or take it out",
            );
        }
        for (m, reader) in door.readers.iter().enumerate() {
            let key = format!("door[{n}].reader[{m}]");
            let device = format!("{key}.device");
            if found.sound(&[&device])
                && let Some(other) = devices.insert(reader.device.clone(), key.clone())
            {
                found.rule(&device, format!("{other} is the same device"), "name each reader once");
            }
            let declines = format!("{key}.declines_camera");
            if reader.declines_camera && reader.kind != ReaderKind::Pin {
                found.rule(
                    &declines,
                    "only a PIN opens without a face",
                    "write kind = \"pin\", or take it out",
                );
            } else if reader.declines_camera && door.fallback == Fallback::None {
                found.rule(&declines, "the door has no fallback", "write fallback = \"pin_and_staff\"");
            }
        }
        if let Some(actuator) = &door.actuator {
            let section = key("actuator");
            if !actuator.mqtt && actuator.url.is_none() && found.sound(&[&format!("{section}.url")]) {
                found.rule(&section, "this actuator does nothing", "set mqtt = true, or url");
            }
            if actuator.token.is_some() && actuator.token_file.is_some() {
                let remedy = "keep one; token_file keeps the secret out of this file";
                found.rule(&format!("{section}.token"), "token and token_file are both set", remedy);
            }
            let has_token = actuator.token.is_some() || actuator.token_file.is_some();
            if has_token && actuator.url.is_none() && found.sound(&[&format!("{section}.url")]) {
                found.rule(&section, "a token without url: only the HTTP hook carries it", "add url");
            }
        }
    }
    let (mut names, mut tags) = (HashMap::new(), HashMap::new());
    for (n, equipment) in config.equipment.iter().enumerate() {
        let (name, tag) = (format!("equipment[{n}].name"), format!("equipment[{n}].tag"));
        if found.sound(&[&name])
            && let Some(first) = names.insert(&equipment.name, n)
        {
            let says = format!("equipment[{first}] is also called \"{}\"", equipment.name);
            found.rule(&name, says, "give each piece its own name");
        }
        if found.sound(&[&tag])
            && let Some(first) = tags.insert(&equipment.tag, n)
        {
            found.rule(&tag, format!("equipment[{first}] has the same tag"), "a tag is on one piece");
        }
    }
    if let Some(locks) = &config.locks {
        let file = locks.password_file.is_some();
        credentials(found, "locks", locks.username.is_some(), locks.password.is_some(), file);
        range(found, "locks.retry_min_ms", "locks.retry_max_ms", locks.retry_min_ms <= locks.retry_max_ms);
        if !config.doors.iter().any(|d| d.actuator.as_ref().is_some_and(|a| a.mqtt)) {
            found.rule(
                "locks",
                "no door's actuator says anything there",
                "set mqtt = true in [door.actuator]",
            );
        }
    }
}

fn desk(config: &Config, found: &mut Findings<'_>) {
    let desk = &config.desk;
    let listen = desk.listen;
    if !listen.ip().is_loopback() && found.sound(&["desk.tls", "desk.token"]) {
        let remedy = "add [desk.tls] and a [[desk.token]] (vigil desk token), or listen on 127.0.0.1";
        let lacks = match (desk.tls.is_some(), desk.tokens.is_empty()) {
            (true, false) => None,
            (false, true) => Some("without TLS and without a token"),
            (false, false) => Some("without TLS"),
            (true, true) => Some("without a token"),
        };
        if let Some(lacks) = lacks {
            found.rule("desk.listen", format!("{listen} can be reached from outside, {lacks}"), remedy);
        }
    }
    if desk.open_on_loopback == Some(true) && !listen.ip().is_loopback() && found.sound(&["desk.listen"]) {
        found.rule(
            "desk.open_on_loopback",
            format!("{listen} can be reached from outside, where everybody needs a token"),
            "take it out, or listen on 127.0.0.1",
        );
    }
    if desk.open_on_loopback == Some(false) && desk.tokens.is_empty() && found.sound(&["desk.token"]) {
        let remedy = "add a [[desk.token]] (vigil desk token), or take it out";
        found.rule("desk.open_on_loopback", "nobody could ask anything: there is no token", remedy);
    }
    let (mut names, mut hashes) = (HashMap::new(), HashMap::new());
    for (n, token) in desk.tokens.iter().enumerate() {
        let (name, hash) = (format!("desk.token[{n}].name"), format!("desk.token[{n}].sha256"));
        if found.sound(&[&name])
            && let Some(first) = names.insert(&token.name, n)
        {
            let says = format!("desk.token[{first}] is also called \"{}\"", token.name);
            found.rule(&name, says, "give each token its own name");
        }
        if found.sound(&[&hash])
            && let Some(first) = hashes.insert(token.sha256.bytes(), n)
        {
            found.rule(
                &hash,
                format!("desk.token[{first}] is the same token"),
                "make one token for each holder",
            );
        }
    }
    if let Some(broker) = &config.broker
        && found.sound(&["desk.listen", "broker.listen"])
        && same_place(listen, broker.listen)
    {
        found.rule("desk.listen", "broker.listen has the same port", "give one of them another port");
    }
}

fn hub(config: &Config, found: &mut Findings<'_>) {
    for name in config.hub.open.iter().flatten().filter(|c| !c.may_be_open()) {
        let says =
            format!("{name} changes the gallery or admits somebody, and is never carried out unsigned");
        found.rule("hub.open", says, "take it out; add a [[hub_key]] for whoever gives it");
    }
    let (mut ids, mut keys) = (HashMap::new(), HashMap::new());
    for (n, key) in config.hub_keys.iter().enumerate() {
        let (id, public) = (format!("hub_key[{n}].id"), format!("hub_key[{n}].public_key"));
        if found.sound(&[&id])
            && let Some(first) = ids.insert(&key.id, n)
        {
            let says = format!("hub_key[{first}] is also called \"{}\"", key.id);
            found.rule(&id, says, "give each key its own id");
        }
        if found.sound(&[&public])
            && let Some(first) = keys.insert(key.public_key.bytes(), n)
        {
            let remedy = "make one key for each hub: vigil hub key";
            found.rule(&public, format!("hub_key[{first}] is the same key"), remedy);
        }
        if key.commands.is_empty() && found.sound(&[&format!("hub_key[{n}].commands")]) {
            found.rule(
                &format!("hub_key[{n}].commands"),
                "this key may do nothing",
                "name the commands it may give",
            );
        }
    }
}

fn same_place(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() != 0 && a.port() == b.port()
}

fn range(found: &mut Findings<'_>, low: &str, high: &str, holds: bool) {
    if holds || !found.sound(&[low, high]) {
        return;
    }
    let key = if found.given(low) { low } else { high };
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let (low, high) = (name(low), name(high));
    found.rule(key, format!("{low} is above {high}"), format!("lower {low} or raise {high}"));
}

fn credentials(found: &mut Findings<'_>, section: &str, user: bool, password: bool, file: bool) {
    let key = |name: &str| format!("{section}.{name}");
    if password && file {
        found.rule(
            &key("password"),
            "password and password_file are both set",
            "keep one; password_file keeps the secret out of this file",
        );
    }
    if (password || file) && !user && found.sound(&[&key("username")]) {
        let name = if password { "password" } else { "password_file" };
        found.rule(&key(name), "a password without a username", "add username");
    }
    if user
        && !password
        && !file
        && section == "broker"
        && found.sound(&[&key("password"), &key("password_file")])
    {
        found.rule(&key("username"), "a username without a password", "add password_file");
    }
}
