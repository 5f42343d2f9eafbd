#![allow(deprecated)] // Messages that are superseded and still spoken.

use super::*;
use ::mavlink::MavHeader;
use ::mavlink::dialects::common::*;
use proptest::prelude::*;

fn frame_of(system: u8, component: u8, sequence: u8, message: &MavMessage) -> Vec<u8> {
    let mut out = Vec::new();
    let header = MavHeader { system_id: system.into(), component_id: component, sequence };
    ::mavlink::write_v2_msg(&mut out, header, message).unwrap();
    out
}

fn beat() -> MavMessage {
    MavMessage::HEARTBEAT(HEARTBEAT_DATA {
        autopilot: MavAutopilot::MAV_AUTOPILOT_ARDUPILOTMEGA,
        mavtype: MavType::MAV_TYPE_QUADROTOR,
        ..HEARTBEAT_DATA::default()
    })
}

fn attitude(ms: u32, yaw: f32) -> MavMessage {
    MavMessage::ATTITUDE(ATTITUDE_DATA { time_boot_ms: ms, yaw, ..ATTITUDE_DATA::default() })
}

fn position(ms: u32) -> MavMessage {
    MavMessage::GLOBAL_POSITION_INT(GLOBAL_POSITION_INT_DATA {
        time_boot_ms: ms,
        lat: 302_500_000,
        lon: 1_201_000_000,
        alt: 123_456,
        relative_alt: 100_000,
        ..GLOBAL_POSITION_INT_DATA::default()
    })
}

fn gimbal(ms: u32, flags: GimbalDeviceFlags, yaw_deg: f64) -> MavMessage {
    let half = yaw_deg.to_radians() / 2.0;
    MavMessage::GIMBAL_DEVICE_ATTITUDE_STATUS(GIMBAL_DEVICE_ATTITUDE_STATUS_DATA {
        time_boot_ms: ms,
        q: [half.cos() as f32, 0.0, 0.0, half.sin() as f32],
        flags,
        ..GIMBAL_DEVICE_ATTITUDE_STATUS_DATA::default()
    })
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A decoder that has heard the drone, and its next number.
struct Sender(Decoder, u8);

impl Sender {
    fn new() -> Self {
        let mut decoder = Decoder::new(None);
        assert!(decoder.push(&frame_of(1, 1, 0, &beat()), now()).is_empty());
        Self(decoder, 1)
    }

    fn send(&mut self, message: &MavMessage) -> Vec<Said> {
        self.from(1, message)
    }

    fn from(&mut self, component: u8, message: &MavMessage) -> Vec<Said> {
        let bytes = frame_of(1, component, self.1, message);
        self.1 = self.1.wrapping_add(1);
        self.0.push(&bytes, now())
    }
}

fn telemetry(said: &[Said]) -> &Telemetry {
    match said {
        [Said::Telemetry(t)] => t,
        other => panic!("{other:?}"),
    }
}

#[test]
fn position_height_and_attitude() {
    let mut drone = Sender::new();
    let said = drone.send(&position(1_000));
    let t = telemetry(&said);
    let at = t.position.unwrap();
    assert!((at.lat().degrees() - 30.25).abs() < 1e-9 && (at.lon().degrees() - 120.1).abs() < 1e-9);
    assert_eq!(t.height, Some(Height::SeaLevel(SeaLevelHeight(123.456))));
    assert_eq!((t.time, t.source), (now(), TelemetrySource::Mavlink));
    let said = drone.send(&attitude(1_100, -1.0));
    let yaw = telemetry(&said).platform.unwrap().yaw;
    assert!((yaw.degrees() - (360.0 - 1f64.to_degrees())).abs() < 1e-4);
    let q = MavMessage::ATTITUDE_QUATERNION(ATTITUDE_QUATERNION_DATA {
        time_boot_ms: 1_200,
        q1: std::f32::consts::FRAC_1_SQRT_2,
        q4: std::f32::consts::FRAC_1_SQRT_2,
        ..ATTITUDE_QUATERNION_DATA::default()
    });
    let said = drone.send(&q);
    assert!((telemetry(&said).platform.unwrap().yaw.degrees() - 90.0).abs() < 1e-4);
}

#[test]
fn the_flags_say_what_a_gimbals_yaw_is_against() {
    let mut drone = Sender::new();
    let yaw = |said: &[Said]| match telemetry(said).gimbal {
        Some(Gimbal::World(a)) => a.yaw.degrees(),
        other => panic!("{other:?}"),
    };
    let vehicle = GimbalDeviceFlags::GIMBAL_DEVICE_FLAGS_YAW_IN_VEHICLE_FRAME;
    let earth = GimbalDeviceFlags::GIMBAL_DEVICE_FLAGS_YAW_IN_EARTH_FRAME;
    let lock = GimbalDeviceFlags::GIMBAL_DEVICE_FLAGS_YAW_LOCK;
    // Nobody knows the heading yet.
    assert!(drone.from(154, &gimbal(900, vehicle, 20.0)).is_empty());
    assert_eq!(drone.0.counts().no_heading, 1);
    drone.send(&MavMessage::ATTITUDE(ATTITUDE_DATA {
        time_boot_ms: 1_000,
        yaw: 100f32.to_radians(),
        yawspeed: 50f32.to_radians(),
        ..ATTITUDE_DATA::default()
    }));
    // The heading is carried on to the gimbal's own time.
    for (flags, expected) in [
        (vehicle, 125.0),
        (earth, 20.0),
        (lock, 20.0),
        (vehicle | lock, 125.0),
        (GimbalDeviceFlags::empty(), 125.0),
    ] {
        let said = drone.from(154, &gimbal(1_100, flags, 20.0));
        assert!((yaw(&said) - expected).abs() < 1e-3, "{flags:?}: {}", yaw(&said));
    }
    assert!(drone.from(154, &gimbal(1_600, vehicle, 20.0)).is_empty(), "a heading of 600 ms ago");
    // Another gimbal is not this camera's, and an older protocol gives way.
    assert!(drone.from(171, &gimbal(1_100, earth, 20.0)).is_empty());
    let mount = MavMessage::MOUNT_ORIENTATION(MOUNT_ORIENTATION_DATA {
        time_boot_ms: 1_100,
        pitch: -90.0,
        yaw: 10.0,
        ..MOUNT_ORIENTATION_DATA::default()
    });
    assert!(drone.from(154, &mount).is_empty());
    let mut older = Sender::new();
    older.send(&attitude(1_000, 0.0));
    let said = older.send(&mount);
    assert!((yaw(&said) - 10.0).abs() < 1e-3);
}

#[test]
fn a_receiver_without_a_fix_has_no_position() {
    let mut drone = Sender::new();
    let raw = |fix_type, h_acc| {
        MavMessage::GPS_RAW_INT(GPS_RAW_INT_DATA {
            fix_type,
            h_acc,
            v_acc: 2_500,
            ..GPS_RAW_INT_DATA::default()
        })
    };
    assert!(drone.send(&raw(GpsFixType::GPS_FIX_TYPE_2D_FIX, 900)).is_empty());
    assert!(drone.send(&position(1_000)).is_empty());
    assert_eq!(drone.0.counts().without_fix, 1);
    let said = drone.send(&raw(GpsFixType::GPS_FIX_TYPE_RTK_FIXED, 900));
    assert_eq!(said, [Said::Accuracy { horizontal_m: 0.9, vertical_m: 2.5 }]);
    assert_eq!(drone.send(&position(1_100)).len(), 1);
    // One that does not know itself says nothing of it.
    assert!(drone.send(&raw(GpsFixType::GPS_FIX_TYPE_3D_FIX, 0)).is_empty());
}

#[test]
fn times_are_utc_once_the_autopilot_knows_it() {
    let mut drone = Sender::new();
    let said = drone.send(&position(5_000));
    assert_eq!(telemetry(&said).time, now());
    assert!(!drone.0.knows_utc());
    let utc = |us, ms| MavMessage::SYSTEM_TIME(SYSTEM_TIME_DATA { time_unix_usec: us, time_boot_ms: ms });
    // An autopilot without a fix counts from 1970.
    drone.send(&utc(9_000_000, 5_000));
    assert!(!drone.0.knows_utc());
    drone.send(&utc(1_700_000_000_000_000, 6_000));
    let said = drone.send(&position(6_500));
    assert_eq!(telemetry(&said).time, "2023-11-14T22:13:20.5Z".parse().unwrap());
    // Jitter moves nothing; a start anew forgets.
    drone.send(&utc(1_700_000_001_050_000, 7_000));
    let said = drone.send(&position(20_000));
    assert_eq!(telemetry(&said).time, "2023-11-14T22:13:34Z".parse().unwrap());
    let said = drone.send(&position(3_000));
    assert_eq!(telemetry(&said).time, now());
    assert_eq!(drone.0.counts().restarts, 1);
}

#[test]
fn field_of_view_and_home() {
    let mut drone = Sender::new();
    let view = |hfov, vfov| {
        MavMessage::CAMERA_FOV_STATUS(CAMERA_FOV_STATUS_DATA {
            time_boot_ms: 1_000,
            hfov,
            vfov,
            ..CAMERA_FOV_STATUS_DATA::default()
        })
    };
    let said = drone.from(100, &view(40.0, f32::NAN));
    let found = telemetry(&said).field_of_view.unwrap();
    assert!((found.horizontal.degrees() - 40.0).abs() < 1e-5 && found.vertical.is_none());
    assert!(drone.from(100, &view(f32::NAN, 30.0)).is_empty());
    let home = MavMessage::HOME_POSITION(HOME_POSITION_DATA {
        latitude: 302_500_000,
        longitude: 1_201_000_000,
        altitude: 23_500,
        ..HOME_POSITION_DATA::default()
    });
    let [Said::Home(_, height)] = drone.send(&home)[..] else { panic!() };
    assert_eq!(height, SeaLevelHeight(23.5));
}

#[test]
fn others_are_ignored_and_losses_counted() {
    let mut decoder = Decoder::new(None);
    // Before the drone is known, nobody is it: not a ground station, not a gimbal.
    let station = MavMessage::HEARTBEAT(HEARTBEAT_DATA {
        autopilot: MavAutopilot::MAV_AUTOPILOT_INVALID,
        mavtype: MavType::MAV_TYPE_GCS,
        ..HEARTBEAT_DATA::default()
    });
    decoder.push(&frame_of(255, 190, 0, &station), now());
    assert!(decoder.push(&frame_of(3, 1, 0, &position(1)), now()).is_empty());
    assert_eq!((decoder.system(), decoder.counts().foreign), (None, 2));
    decoder.push(&frame_of(7, 1, 250, &beat()), now());
    assert_eq!(decoder.system(), Some(7));
    assert!(decoder.push(&frame_of(3, 1, 1, &beat()), now()).is_empty());
    assert_eq!(decoder.push(&frame_of(7, 1, 251, &position(1)), now()).len(), 1);
    // Numbers go round; each component has its own.
    decoder.push(&frame_of(7, 1, 3, &position(2)), now());
    decoder.push(&frame_of(7, 154, 90, &position(2)), now());
    assert_eq!((decoder.counts().lost, decoder.counts().foreign), (7, 3));
    // Who was named is the drone, without a heartbeat.
    let mut named = Decoder::new(Some(3));
    assert!(named.push(&frame_of(7, 1, 0, &beat()), now()).is_empty());
    assert_eq!(named.push(&frame_of(3, 1, 0, &position(1)), now()).len(), 1);
}

#[test]
fn values_that_are_none_are_counted() {
    let mut drone = Sender::new();
    drone.send(&attitude(1, f32::NAN));
    drone.from(
        154,
        &MavMessage::GIMBAL_DEVICE_ATTITUDE_STATUS(GIMBAL_DEVICE_ATTITUDE_STATUS_DATA {
            q: [0.0; 4],
            ..GIMBAL_DEVICE_ATTITUDE_STATUS_DATA::default()
        }),
    );
    drone.send(&MavMessage::GLOBAL_POSITION_INT(GLOBAL_POSITION_INT_DATA::default()));
    drone.send(&MavMessage::GLOBAL_POSITION_INT(GLOBAL_POSITION_INT_DATA {
        lat: i32::MAX,
        ..GLOBAL_POSITION_INT_DATA::default()
    }));
    assert_eq!(drone.0.counts().no_value, 4);
}

#[test]
fn damage_costs_one_message() {
    let good: Vec<Vec<u8>> = (0..3).map(|n| frame_of(1, 1, n, &position(u32::from(n)))).collect();
    for at in 0..good[1].len() {
        for bit in 0..8 {
            let mut decoder = Decoder::new(Some(1));
            let mut bad = good[1].clone();
            bad[at] ^= 1 << bit;
            let mut said = decoder.push(&good[0], now());
            said.extend(decoder.push(&bad, now()));
            // A length that grew swallows what follows until it is told from damage.
            for n in 0..12 {
                said.extend(decoder.push(&frame_of(1, 1, 2 + n, &position(10 + u32::from(n))), now()));
            }
            assert_eq!(said.len(), 13, "byte {at}, bit {bit}: {:?}", decoder.counts());
        }
    }
}

#[test]
fn an_older_protocol_is_counted() {
    let mut out = Vec::new();
    let header = MavHeader { system_id: 1, component_id: 1, sequence: 0 };
    ::mavlink::write_v1_msg(&mut out, header, &beat()).unwrap();
    let mut decoder = Decoder::new(None);
    assert!(decoder.push(&out, now()).is_empty());
    assert_eq!(decoder.counts(), MavlinkCounts { version_1: 1, ..MavlinkCounts::default() });
}

#[test]
fn a_signed_message_is_read_past_its_signature() {
    let mut signed = frame_of(1, 1, 0, &position(1));
    signed[2] = SIGNED;
    let end = signed.len() - CHECKSUM;
    let id = u32::from_le_bytes([signed[7], signed[8], signed[9], 0]);
    let crc = ::mavlink::calculate_crc(&signed[1..end], MavMessage::extra_crc(id)).to_le_bytes();
    signed[end..].copy_from_slice(&crc);
    signed.extend([0xfd; SIGNATURE]);
    signed.extend(frame_of(1, 1, 1, &position(2)));
    let mut decoder = Decoder::new(Some(1));
    assert_eq!(decoder.push(&signed, now()).len(), 2);
    assert_eq!(decoder.counts().strange_bytes, 0);
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same(cuts in prop::collection::vec(1usize..50, 1..30)) {
        let mut bytes = b"noise".to_vec();
        for n in 0..10 {
            bytes.extend(frame_of(1, 1, n, &position(u32::from(n))));
        }
        let (mut decoder, mut said, mut rest, mut cuts) =
            (Decoder::new(Some(1)), 0, &bytes[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            said += decoder.push(piece, now()).len();
            rest = after;
        }
        prop_assert_eq!(said, 10);
        prop_assert_eq!(decoder.counts().strange_bytes, 5);
    }

    #[test]
    fn any_bytes_are_answered(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8)) {
        let mut decoder = Decoder::new(Some(1));
        for mut piece in pieces {
            if let Some(first) = piece.first_mut() {
                *first = START;
            }
            decoder.push(&piece, now());
            prop_assert!(decoder.kept.len() <= HEADER + 255 + CHECKSUM + SIGNATURE);
        }
    }

    /// Sound frames of any content.
    #[test]
    fn any_payload_of_a_known_message_is_answered(
        id in prop::sample::select(vec![0u32, 2, 24, 30, 31, 33, 242, 265, 271, 285]),
        payload in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut frame = vec![START, payload.len() as u8, 0, 0, 0, 1, 1];
        frame.extend(&id.to_le_bytes()[..3]);
        frame.extend(&payload);
        let crc = ::mavlink::calculate_crc(&frame[1..], MavMessage::extra_crc(id));
        frame.extend(crc.to_le_bytes());
        let mut decoder = Decoder::new(Some(1));
        for said in decoder.push(&frame, now()) {
            if let Said::Telemetry(Telemetry { platform: Some(a), .. }) = said {
                prop_assert!(finite(&a));
            }
        }
        prop_assert_eq!(decoder.counts().messages, 1);
    }
}
