//! Integration tests of telemetry: what real drones and the standards' own tools wrote, a real socket,
//! the command.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use mavlink::MavHeader;
use mavlink::dialects::common::*;
use vigil::config::{TelemetryConfig, TelemetryKind, TelemetryLink};
use vigil::geo::dji::{Cue, Order, SrtReader};
use vigil::geo::klv::{Decoded, Fault, Reader, Set, Tag, st1201};
use vigil::geo::mavlink::{Listener, Said};
use vigil::geo::{Gimbal, Height, Timeline};

use super::support::drone::{Flight, synchronous};
use super::support::night;

const PATIENCE: Duration = Duration::from_secs(120);

/// Recorded telemetry, where it is: `$VIGIL_DATA`, or `shared/data` beside the repository.
fn data(below: &str) -> Option<PathBuf> {
    let root = std::env::var_os("VIGIL_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let path = root.join("telemetry").join(below);
    if path.exists() {
        return Some(path);
    }
    println!("left out: {} is not there; set VIGIL_DATA", path.display());
    None
}

/// The checksum of one of the two recorded packets is wrong as it was published: it states 0xaa43, and the
/// sum of its bytes is 0x3e1e. It is refused; to look at its items the sum is put right here.
const DAMAGED: &str = "DynamicConstantMISMMSPacketData.bin";

fn packet(dir: &Path, name: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(dir.join(name)).unwrap();
    if name == DAMAGED {
        assert_eq!(Reader::new().read(&bytes)[0].set(), Err(Fault::Checksum));
        let end = bytes.len() - 2;
        bytes[end..].copy_from_slice(&[0x3e, 0x1e]);
    }
    bytes
}

#[test]
fn the_real_packets_say_what_their_makers_meant() {
    let Some(dir) = data("klv") else { return };
    for (name, items, camera_latitude) in [
        ("DynamicConstantMISMMSPacketData.bin", 21, 60.176_8),
        ("DynamicOnlyMISMMSPacketData.bin", 17, 60.176_8),
    ] {
        let bytes = packet(&dir, name);
        let mut reader = Reader::new();
        let found = reader.read(&bytes);
        assert_eq!((found.len(), reader.strange_bytes()), (1, 0));
        let decoded = found[0].set().unwrap();
        println!("{name}: {}", decoded.set.time());
        for (tag, value) in decoded.set.items() {
            println!("  {tag}: {value} {}", tag.unit().unwrap());
        }
        println!(
            "  {} unknown, security: {}, unstated: {:?}",
            decoded.unknown, decoded.security, decoded.unstated
        );
        let n = |tag| decoded.set.number(tag).unwrap();
        assert!((n(Tag::SENSOR_LATITUDE) - camera_latitude).abs() < 1e-4);
        assert!((n(Tag::SENSOR_LONGITUDE) - 128.426_76).abs() < 1e-4);
        assert!((n(Tag::SENSOR_ALTITUDE) - 14_190.7).abs() < 0.2);
        assert!((n(Tag::PLATFORM_HEADING) - 159.974).abs() < 0.003);
        assert!((n(Tag::HORIZONTAL_FOV) - 144.571).abs() < 0.002);
        assert_eq!(decoded.set.time(), "2009-01-12T22:08:22Z".parse().unwrap());
        assert!(decoded.refused.is_empty() && decoded.repeated.is_empty() && !decoded.time_not_first);
        assert!(decoded.set.items().count() == items, "{}", decoded.set.items().count());
        let telemetry = decoded.set.telemetry();
        assert!(matches!(telemetry.height, Some(Height::SeaLevel(_))), "nobody said the ellipsoid");
        assert!(matches!(telemetry.gimbal, Some(Gimbal::Platform { .. })));
        assert!(telemetry.platform.is_some() && telemetry.field_of_view.unwrap().vertical.is_some());
        assert_eq!(telemetry.slant_range_m, None, "nobody said that the slant range was measured");
        // Written again, it says the same.
        let again = Decoded::read(&decoded.set.encode().unwrap()).unwrap();
        assert_eq!(again.set, decoded.set);
    }
    let bytes = packet(&dir, DAMAGED);
    let found = Reader::new().read(&bytes);
    let decoded = found[0].set().unwrap();
    assert!(decoded.security);
    assert_eq!(decoded.set.text(Tag::PLATFORM), Some("Predator"));
    assert_eq!(decoded.set.text(Tag::MISSION), Some("Mission 12"));
}

/// No prefix of a packet and no packet with one changed byte is a set: all 255 other values of every
/// byte. (Changes of two bytes that compensate each other in the sum pass it: that is all that the
/// standard's checksum can do.)
#[test]
fn a_damaged_packet_says_nothing() {
    let Some(dir) = data("klv") else { return };
    let mut tried = 0;
    for name in ["DynamicConstantMISMMSPacketData.bin", "DynamicOnlyMISMMSPacketData.bin"] {
        let good = packet(&dir, name);
        for end in 0..good.len() {
            assert!(Reader::new().read(&good[..end]).iter().all(|f| f.set() == Err(Fault::Torn)), "{end}");
        }
        let mut bad = good.clone();
        for at in 0..good.len() {
            for value in 0..=255 {
                if value == good[at] {
                    continue;
                }
                bad[at] = value;
                assert!(Reader::new().read(&bad).iter().all(|f| f.set().is_err()), "byte {at}: {value}");
                tried += 1;
            }
            bad[at] = good[at];
        }
    }
    println!("{tried} damaged packets, none accepted");
}

#[test]
fn st_1201_maps_as_its_vectors_do() {
    let Some(path) = data("klv/st1201tests.json") else { return };
    let all: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let number = |v: &serde_json::Value| match v.as_str() {
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        Some("+QNaN") => f64::NAN,
        Some("-QNaN") => -f64::NAN,
        _ => v.as_f64().unwrap(),
    };
    for case in &all {
        let n = |key: &str| number(&case[key]);
        let map = st1201::Imapb::try_new(n("a"), n("b"), case["L"].as_u64().unwrap() as usize).unwrap();
        let mapped = case["forwardResult"].as_u64().unwrap();
        assert_eq!(map.forward(n("x")), mapped, "{case}");
        let back = n("reverseResult");
        match map.reverse(mapped) {
            st1201::Mapped::Value(value) => {
                assert!((value - back).abs() <= back.abs().max(1.0) * 1e-12, "{case}: {value}");
            }
            st1201::Mapped::Infinity => assert_eq!(back, f64::INFINITY, "{case}"),
            st1201::Mapped::NegativeInfinity => assert_eq!(back, f64::NEG_INFINITY, "{case}"),
            st1201::Mapped::NotANumber => assert!(back.is_nan(), "{case}"),
            other => panic!("{case}: {other:?}"),
        }
    }
    println!("{} vectors", all.len());
    assert!(all.len() > 2_000);
}

fn cues(path: &Path) -> Vec<Result<Cue, String>> {
    let config = TelemetryConfig::new(TelemetryKind::DjiSrt);
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    SrtReader::new(file, &config).map(|cue| cue.map_err(|e| e.what())).collect()
}

#[test]
fn every_dialect_of_dji_is_read() {
    let Some(dir) = data("dji_srt") else { return };
    // File, subtitles, first latitude and longitude, order, kind of height, gimbal.
    let files = [
        ("air2s.srt", 17, (41.424_724, 2.234_156), Order::Named, "unknown", false),
        ("matrice_300.srt", 381, (36.614_6, -6.112), Order::LatitudeFirst, "takeoff", false),
        ("mavic_2_style.SRT", 468, (-20.253_3, 149.025_1), Order::Named, "none", false),
        ("mavic_air2.srt", 25, (41.420_684, 2.162_162), Order::Named, "unknown", false),
        ("mavic_mini.SRT", 117, (48.077_1, -121.745_8), Order::LongitudeFirst, "takeoff", false),
        ("mavic_pro.SRT", 468, (-20.253_3, 149.025_1), Order::LongitudeFirst, "takeoff", false),
        ("mix_p4rtk_mavic2pro.srt", 12, (-34.650_2, -59.409_424), Order::LongitudeFirst, "takeoff", true),
        ("old_format.SRT", 468, (-20.253_3, 149.025_1), Order::LongitudeFirst, "takeoff", false),
        ("p4_rtk.SRT", 55, (-34.237_922, -58.851_745), Order::LongitudeFirst, "takeoff", true),
        ("p4p_sample.SRT", 5, (47.469_2, 8.209), Order::LongitudeFirst, "takeoff", false),
    ];
    for (name, count, (lat, lon), order, height, gimbal) in files {
        let all = cues(&dir.join(name));
        let bad: Vec<_> = all.iter().filter_map(|c| c.as_ref().err()).collect();
        assert!(bad.is_empty(), "{name}: {bad:?}");
        assert_eq!(all.len(), count, "{name}");
        let first = all[0].as_ref().unwrap();
        let at = first.telemetry.position.unwrap();
        assert!((at.lat().degrees() - lat).abs() < 1e-6 && (at.lon().degrees() - lon).abs() < 1e-6, "{name}");
        assert_eq!(first.order, Some(order), "{name}");
        let found = match (first.telemetry.height, first.altitude_unknown) {
            (Some(Height::Takeoff(_)), _) => "takeoff",
            (None, true) => "unknown",
            (None, false) => "none",
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(found, height, "{name}");
        assert_eq!(first.telemetry.gimbal.is_some(), gimbal, "{name}");
        println!("{name}: {count} subtitles from {}", first.telemetry.time);
    }
    let mini = cues(&dir.join("matrice_300.srt"));
    assert_eq!(mini[10].as_ref().unwrap().telemetry.time, "2022-06-21T16:06:27Z".parse().unwrap());
}

#[test]
fn broken_subtitles_are_answered_with_their_line() {
    let Some(dir) = data("dji_srt") else { return };
    for (name, whole, says) in [
        ("broken_empty.SRT", 0, "the file holds no subtitles"),
        ("broken_empty2.SRT", 0, "line 1: the subtitle has no time and no text"),
        ("broken_incomplete.SRT", 19, "line 117: the subtitle says no position, and those before did"),
        ("broken_incomplete2.SRT", 4, "line 17: the text is cut off in \"latit\""),
        ("mavic_air.SRT", 2, "no subtitle says a position"),
    ] {
        let all = cues(&dir.join(name));
        let bad: Vec<_> = all.iter().filter_map(|c| c.as_ref().err()).collect();
        assert!(bad.iter().any(|e| e.contains(says)), "{name}: {bad:?}");
        assert_eq!(all.len() - bad.len(), whole, "{name}: {bad:?}");
    }
}

fn frame(system: u8, sequence: u8, message: &MavMessage) -> Vec<u8> {
    let mut out = Vec::new();
    mavlink::write_v2_msg(
        &mut out,
        MavHeader { system_id: system.into(), component_id: 1, sequence },
        message,
    )
    .unwrap();
    out
}

fn beat() -> MavMessage {
    MavMessage::HEARTBEAT(HEARTBEAT_DATA {
        autopilot: MavAutopilot::MAV_AUTOPILOT_PX4,
        mavtype: MavType::MAV_TYPE_QUADROTOR,
        ..HEARTBEAT_DATA::default()
    })
}

fn position(ms: u32) -> MavMessage {
    MavMessage::GLOBAL_POSITION_INT(GLOBAL_POSITION_INT_DATA {
        time_boot_ms: ms,
        lat: 302_500_000,
        lon: 1_201_000_000,
        alt: 123_000,
        ..GLOBAL_POSITION_INT_DATA::default()
    })
}

/// What is said until `count` things were, within a time that a loaded machine keeps.
fn heard(listener: &Listener, count: usize) -> Vec<Said> {
    let (mut said, end) = (Vec::new(), Instant::now() + PATIENCE);
    while said.len() < count && Instant::now() < end {
        said.extend(listener.recv(Duration::from_millis(100)).unwrap().map(|r| r.said));
    }
    said
}

#[test]
fn mavlink_over_a_real_socket() {
    let listener = Listener::start(&TelemetryLink::parse("udp:127.0.0.1:0").unwrap(), None).unwrap();
    let end = Instant::now() + PATIENCE;
    let address = loop {
        match listener.address() {
            Some(address) => break address,
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            None => panic!("{:?}", listener.status()),
        }
    };
    let drone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |bytes: &[u8]| drone.send_to(bytes, address).unwrap();
    send(b"not mavlink at all");
    send(&frame(255, 0, &position(1)));
    send(&frame(1, 0, &beat()));
    send(&frame(1, 1, &position(100)));
    // A torn message, one that is lost, one with a wrong checksum, and a foreign drone's.
    let torn = frame(1, 2, &position(200));
    send(&torn[..20]);
    let mut damaged = frame(1, 4, &position(300));
    damaged[15] ^= 1;
    send(&damaged);
    send(&frame(9, 0, &position(400)));
    let both = [frame(1, 5, &position(500)), frame(1, 6, &position(600))].concat();
    send(&both);
    let said = heard(&listener, 3);
    assert_eq!(said.len(), 3, "{:?}", listener.status());

    let mut timeline = Timeline::new(&TelemetryConfig::new(TelemetryKind::Mavlink));
    for said in said {
        let Said::Telemetry(telemetry) = said else { panic!("{said:?}") };
        assert!(telemetry.position.is_some());
        assert!(timeline.push(telemetry).is_empty());
    }
    assert_eq!(timeline.counts().messages, 3);
    // The queue is filled before the status is told.
    let mut status = listener.status();
    while status.counts.messages < 4 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
        status = listener.status();
    }
    assert!(status.alive && status.fault.is_none() && status.system == Some(1), "{status:?}");
    assert!(
        status.counts.foreign >= 2 && status.counts.lost == 3 && status.counts.damaged >= 1,
        "{status:?}"
    );
}

#[test]
fn a_connection_that_ends_is_opened_again() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = format!("tcp:{}", server.local_addr().unwrap());
    let listener = Listener::start(&TelemetryLink::parse(&link).unwrap(), Some(1)).unwrap();
    for n in 0..3 {
        let (mut drone, _) = server.accept().unwrap();
        let bytes = frame(1, n, &position(u32::from(n)));
        // In two pieces, and half of another: the next connection begins anew.
        drone.write_all(&bytes[..7]).unwrap();
        drone.write_all(&bytes[7..]).unwrap();
        drone.write_all(&bytes[..9]).unwrap();
        assert_eq!(heard(&listener, 1).len(), 1, "{:?}", listener.status());
    }
    drop(server);
    drop(listener);
}

#[test]
fn a_link_that_cannot_be_opened_says_why() {
    let listener =
        Listener::start(&TelemetryLink::parse("serial:/dev/does-not-exist:57600").unwrap(), None).unwrap();
    let end = Instant::now() + PATIENCE;
    let fault = loop {
        match listener.status().fault {
            Some(fault) => break fault,
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            None => panic!(),
        }
    };
    assert!(fault.contains("serial:/dev/does-not-exist:57600"), "{fault}");
    assert!(fault.contains("cannot open the telemetry's serial port"), "{fault}");
}

/// A terminal of the kernel's stands for the cable.
#[test]
fn mavlink_over_a_serial_port() {
    let pair = nix::pty::openpty(None, None).unwrap();
    let name = nix::unistd::ttyname(&pair.slave).unwrap();
    let link = TelemetryLink::parse(&format!("serial:{}:57600", name.display())).unwrap();
    let listener = Listener::start(&link, Some(1)).unwrap();
    let mut drone = std::fs::File::from(pair.master);
    // Until the port is open and raw, what is written may be echoed or held.
    let end = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    for n in (0..=255).cycle() {
        drone.write_all(&frame(1, n, &position(u32::from(n)))).unwrap();
        said.extend(heard_now(&listener));
        if !said.is_empty() || Instant::now() > end {
            break;
        }
    }
    assert!(!said.is_empty(), "{:?}", listener.status());
    drop(listener);
    let mut rest = Vec::new();
    drop(pair.slave);
    let _ = drone.read_to_end(&mut rest);
}

fn heard_now(listener: &Listener) -> Option<Said> {
    listener.recv(Duration::from_millis(100)).unwrap().map(|r| r.said)
}

fn vigil(args: &[&str]) -> Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_vigil")).arg("telemetry").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Films a simulated flight of four seconds.
fn film(path: &Path, faults: &[&str]) {
    let mut plan = vigil::sim::FlightPlan { seconds: 4.0, ..night::plan() };
    plan.faults = faults.iter().map(|f| f.parse().unwrap()).collect();
    let to = vigil::sim::Destination::File(path.to_owned());
    let mut writer = vigil::sim::StreamWriter::new(&to, &plan.camera).unwrap();
    for frame in vigil::sim::Flight::new(&plan).unwrap() {
        writer.frame(&frame.unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn the_command_reads_the_telemetry_of_a_transport_stream() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let look = |name: &str| {
        let out = vigil(&[path(name).to_str().unwrap(), "--json"]);
        let report = serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap_or_default();
        (out.status.code(), report[0].clone(), text(&out.stderr))
    };
    film(&path("sound.ts"), &[]);
    let (code, sound, said) = look("sound.ts");
    assert_eq!(code, Some(0), "{sound} {said}");
    assert_eq!(sound["kind"], "a transport stream with MISB ST 0601 KLV");
    // Ten a second up to the last picture, that of 3.8 s.
    assert_eq!(sound["messages"], 39, "{sound}");
    for input in ["position", "height", "platform", "gimbal", "field_of_view"] {
        assert_eq!(sound["inputs"][input]["messages"], 39, "{sound}");
    }
    // Synchronous metadata says the same.
    std::fs::write(path("synchronous.ts"), synchronous(&std::fs::read(path("sound.ts")).unwrap())).unwrap();
    let (code, other, said) = look("synchronous.ts");
    assert_eq!((code, &other["inputs"]), (Some(0), &sound["inputs"]), "{other} {said}");

    film(&path("faulty.ts"), &["klv-corrupt@1..1.45", "gps-jump@2..2.25=400,0", "telemetry-dropout@2.5..3"]);
    let (code, faulty, said) = look("faulty.ts");
    assert_eq!((code, &faulty["messages"]), (Some(1), &serde_json::json!(39 - 5 - 5)), "{faulty} {said}");
    let faults = faulty["faults"].as_array().unwrap();
    let fault = |word: &str| {
        let found = faults.iter().find(|f| f["what"].as_str().unwrap().contains(word));
        found.unwrap_or_else(|| panic!("{word}: {faulty}"))
    };
    let first = |word: &str| fault(word)["first_at"].as_str().unwrap().to_owned();
    assert_eq!(fault("checksum")["times"], 5);
    // The stream's times begin a little before its first picture.
    assert!(first("checksum").starts_with("second 1.") && first("checksum").ends_with(" of the stream"));
    assert!(first("jumped").starts_with("second 2."), "{faulty}");

    // A video without telemetry, and a stream that is none.
    let mut silent = Flight::to("");
    silent.klv_bytes = 0;
    silent.record(&path("silent.ts"), 20);
    let (code, _, said) = look("silent.ts");
    assert!(
        code == Some(65) && said.contains("holds no KLV") && said.contains("subtitle"),
        "{code:?} {said}"
    );
    std::fs::write(path("torn.ts"), [0x47; 2_000]).unwrap();
    let (code, _, said) = look("torn.ts");
    assert!(code == Some(65) && said.contains("holds no KLV"), "{code:?} {said}");
}

#[test]
fn the_command_says_what_a_flight_says_and_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let set = |n: i64, view: bool| {
        let mut set =
            Set::new(jiff::Timestamp::from_millisecond(1_800_000_000_000 + n * 100).unwrap()).unwrap();
        for (tag, value) in [
            (Tag::SENSOR_LATITUDE, 30.25),
            (Tag::SENSOR_LONGITUDE, 120.1),
            (Tag::SENSOR_ELLIPSOID_HEIGHT, 140.0),
            (Tag::PLATFORM_HEADING, 10.0),
            (Tag::PLATFORM_PITCH, 1.0),
            (Tag::PLATFORM_ROLL, 2.0),
            (Tag::RELATIVE_AZIMUTH, 0.0),
            (Tag::RELATIVE_ELEVATION, -90.0),
        ] {
            set.put(tag, value).unwrap();
        }
        if view {
            set.put(Tag::HORIZONTAL_FOV, 40.0).unwrap();
        }
        set.encode().unwrap()
    };
    let flight = |view| (0..11).flat_map(|n| set(n, view)).collect::<Vec<u8>>();

    let whole = vigil(&[&file("whole.klv", &flight(true))]);
    let said = text(&whole.stdout);
    assert_eq!(whole.status.code(), Some(0), "{said}");
    for part in
        ["11 messages", "10.0", "140.", "above the ellipsoid", "against the platform", "every input is said"]
    {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let lacking = vigil(&[&file("lacking.klv", &flight(false))]);
    let said = text(&lacking.stdout);
    assert_eq!(lacking.status.code(), Some(2), "{said}");
    assert!(said.contains("not said: field_of_view; [search.telemetry.assume]"), "{said}");

    let mut damaged = flight(true);
    damaged[150] ^= 0x10;
    damaged.extend(b"rubbish");
    let damaged = vigil(&[&file("damaged.klv", &damaged), "--json"]);
    assert_eq!(damaged.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&damaged.stdout).unwrap();
    assert_eq!(json[0]["messages"], 10);
    let faults = json[0]["faults"].to_string();
    assert!(faults.contains("checksum is wrong") && faults.contains("7 bytes belong to no set"), "{faults}");

    let srt = "1\n00:00:00,000 --> 00:00:01,000\n2026.11.24 22:00:00\nGPS(120.1,30.25,9) BAROMETER:1.9\n";
    let subtitles = vigil(&[&file("video.SRT", srt.as_bytes()), "--utc-offset", "+08:00"]);
    let said = text(&subtitles.stdout);
    assert_eq!(subtitles.status.code(), Some(2), "{said}");
    assert!(said.contains("2026-11-24T14:00:00Z") && said.contains("longitude first"), "{said}");

    for (path, code, says) in [
        (file("empty.srt", b""), 65, "the file holds no subtitles"),
        (file("text.txt", b"hello"), 65, "this is no telemetry that is known"),
        (file("video.ts", &[0x47; 400]), 65, "the transport stream holds no KLV"),
        ("/does/not/exist".to_owned(), 66, "cannot be read"),
    ] {
        let out = vigil(&[&path]);
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{said}");
        assert!(said.contains(says) && said.contains(&path), "{said}");
    }
}

/// Writes what fuzzing starts from.
#[test]
#[ignore = "writes fuzz/seeds: run it when the formats grow"]
fn write_the_seeds_of_fuzzing() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(seeds.join(target)).unwrap();
        std::fs::write(seeds.join(target).join(name), bytes).unwrap();
    };
    let mut set = Set::new("2026-11-24T22:00:00Z".parse().unwrap()).unwrap();
    for (tag, value) in [
        (Tag::SENSOR_LATITUDE, 30.25),
        (Tag::SENSOR_LONGITUDE, 120.1),
        (Tag::SENSOR_ELLIPSOID_HEIGHT, 140.0),
        (Tag::SENSOR_ELLIPSOID_HEIGHT_EXTENDED, 140.0),
        (Tag::PLATFORM_PITCH, 1.0),
        (Tag::RELATIVE_AZIMUTH, 300.0),
        (Tag::LEAP_SECONDS, -27.0),
    ] {
        set.put(tag, value).unwrap();
    }
    set.put(Tag::MISSION, "night").unwrap();
    let one = set.encode().unwrap();
    write("klv", "one", &one);
    write("klv", "two", &[&b"noise"[..], &one, &one[..40], &one].concat());
    let cue = |text: &str| format!("1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n");
    for (name, text) in [
        (
            "named",
            "<font size=\"36\">SrtCnt : 1, DiffTime : 33ms\n2022-08-07 13:40:40,774,808\n\
            [latitude: 41.4] [longitude: 2.2] [rel_alt: 1.300 abs_alt: 120.5] [gb_yaw: 1.0 gb_pitch: -90.0 \
            gb_roll: 0.0] [altitude: 1.0] </font>",
        ),
        ("home", "HOME(149.0251,-20.2532) 2017.8.5 14:11:51\nGPS(149.0251,-20.2533,16) Hb:1.9 Hs:1.9"),
        (
            "phantom",
            "F/5.6, GPS (-58.8, -34.2, 15), HOME (-58.8, -34.2, -57.98m), D 1m, H 85.80m, \
            F.PRY (2.7°, -7.0°, 110.1°), G.PRY (-24.4°, 0.0°, 110.4°)",
        ),
        ("matrice", "2022.06.21 16:06:17\nGPS(36.6146,-6.1120,0.0M) BAROMETER:0.3M"),
    ] {
        write("dji", name, cue(text).as_bytes());
    }
    let messages = [
        beat(),
        MavMessage::SYSTEM_TIME(SYSTEM_TIME_DATA { time_unix_usec: 1_700_000_000_000_000, time_boot_ms: 1 }),
        position(1_000),
        MavMessage::ATTITUDE(ATTITUDE_DATA::default()),
        MavMessage::GIMBAL_DEVICE_ATTITUDE_STATUS(GIMBAL_DEVICE_ATTITUDE_STATUS_DATA {
            q: [1.0, 0.0, 0.0, 0.0],
            ..GIMBAL_DEVICE_ATTITUDE_STATUS_DATA::default()
        }),
        MavMessage::CAMERA_FOV_STATUS(CAMERA_FOV_STATUS_DATA {
            hfov: 40.0,
            ..CAMERA_FOV_STATUS_DATA::default()
        }),
    ];
    let all: Vec<u8> = messages.iter().enumerate().flat_map(|(n, m)| frame(1, n as u8, m)).collect();
    write("mavlink", "all", &all);
    write("mavlink", "torn", &[&all[..50], &all].concat());
}
