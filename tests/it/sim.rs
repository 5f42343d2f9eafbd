//! The simulated flight: the same for a seed, true where it says it is, wrong where a fault makes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use vigil::capture::SampleData;
use vigil::geo::klv::{Fault, Reader};
use vigil::geo::{Boresight, Geodetic, Geoid, Height, LocalFrame, Pose, Rotation, Terrain, enu_of_ned};
use vigil::sim::{
    Cover, Destination, FAULTS, Flight, FlightPlan, ObjectClass, ObjectKind, ObjectPlan, SimFrame,
    StreamWriter, TruthWriter,
};

/// A small landscape with nothing in it, and a small camera over it.
fn bare() -> FlightPlan {
    let mut plan = FlightPlan { seed: 7, seconds: 1.0, ..FlightPlan::default() };
    let scene = &mut plan.scene;
    scene.side_m = 40.0;
    (scene.road, scene.water) = (false, false);
    (scene.trees_per_ha, scene.stones_per_ha, scene.hollows_per_ha) = (0.0, 0.0, 0.0);
    (scene.people, scene.animals, scene.vehicles, scene.signs) = (0, 0, 0, 0);
    plan.camera.size = [160, 128];
    plan.camera.fps = 5.0;
    plan
}

fn person(kind: ObjectKind, at: [f64; 2], cover: Cover) -> ObjectPlan {
    ObjectPlan { kind, at, heading_deg: 90.0, cover, warmer_k: Some(8.0), size_m: None }
}

/// A camera that stands over the middle and looks straight down.
fn hovering(height_m: f64) -> FlightPlan {
    let mut plan = bare();
    plan.path.height_m = height_m;
    plan.path.pitch_deg = -90.0;
    plan.path.speed_m_s = 0.0;
    // The strip begins at the edge of what is flown.
    plan.path.side_m = Some(10.0);
    plan
}

fn frames(plan: &FlightPlan) -> Vec<SimFrame> {
    Flight::new(plan).unwrap().map(|f| f.unwrap()).collect()
}

fn eight(frame: &SimFrame) -> &[u8] {
    match frame.picture.as_ref().unwrap().data() {
        SampleData::Eight(v) => v,
        SampleData::Sixteen(_) => panic!("16 bits"),
    }
}

fn eye(pose: &Pose) -> Geodetic {
    let Height::Ellipsoid(height) = pose.height else { panic!("{:?}", pose.height) };
    Geodetic { at: pose.position, height }
}

/// The pixel in which `geo` expects a place.
fn pixel(flight: &Flight, pose: &Pose, place: &Geodetic) -> [f64; 2] {
    let [east, north, up] = LocalFrame::new(eye(pose)).enu(place);
    let ned = enu_of_ned([east, north, up]);
    let back: Rotation = pose.camera_to_ned(&Boresight::default()).inverse();
    flight.camera().intrinsics(pose).unwrap().pixel(back.apply(ned)).unwrap()
}

#[test]
fn a_seed_gives_the_same_frames_and_another_one_others() {
    let mut plan = bare();
    plan.scene.people = 2;
    plan.scene.trees_per_ha = 20.0;
    plan.weather.rain_mm_h = 5.0;
    let (a, b) = (frames(&plan), frames(&plan));
    assert_eq!(a.len(), 5);
    assert_eq!(a, b);
    plan.seed = 8;
    let c = frames(&plan);
    assert!(a.iter().zip(&c).all(|(a, c)| a.picture != c.picture && a.packets != c.packets));
}

#[test]
fn people_are_where_geometry_says() {
    let mut plan = bare();
    plan.scene.hills_m = 8.0;
    plan.seconds = 10.0;
    plan.camera.fps = 2.0;
    plan.path.height_m = 45.0;
    plan.path.pitch_deg = -55.0;
    for (i, kind) in [ObjectKind::PersonLying, ObjectKind::PersonStanding, ObjectKind::PersonWalking]
        .into_iter()
        .enumerate()
    {
        let at = 6.0 * i as f64 - 6.0;
        plan.scene.objects.push(person(kind, [at, -at], Cover::Open));
    }
    let mut flight = Flight::new(&plan).unwrap();
    let mut looked = 0;
    while let Some(frame) = flight.next() {
        let frame = frame.unwrap();
        for o in frame.truth.objects.iter().filter(|o| !o.cut) {
            let at = pixel(&flight, &frame.truth.pose, &o.position);
            let [x, y] = at.map(|c| c as f32);
            let b = o.bbox;
            // Feet end a little above the ground, and legs are drawn as limbs.
            assert!(
                x > b.x - 1.5 && x < b.x + b.width + 1.5 && y > b.y - 1.5 && y < b.y + b.height + 1.5,
                "frame {} object {}: {at:?} {b:?}",
                frame.sequence,
                o.id
            );
            assert!((o.range_m - eye(&frame.truth.pose).distance_m(&o.position)).abs() < 0.05);
            assert_eq!(flight.position(o.id, frame.at).unwrap(), o.position);
            assert!(o.visible > 0.9, "{}: {}", o.id, o.visible);
            looked += 1;
        }
    }
    assert!(looked >= 10, "{looked}");
}

#[test]
fn a_lying_person_is_as_many_pixels_as_the_ground_sampling_distance_says() {
    let mut plan = hovering(60.0);
    plan.seconds = 0.2;
    plan.camera.size = [640, 512];
    plan.scene.objects.push(person(ObjectKind::PersonLying, [0.0, 0.0], Cover::Open));
    let mut flight = Flight::new(&plan).unwrap();
    let frame = flight.next().unwrap().unwrap();
    let o = &frame.truth.objects[0];
    let focal = flight.camera().intrinsics(&frame.truth.pose).unwrap().focal()[0];
    let gsd = o.range_m / focal;
    assert!((0.045..0.065).contains(&gsd), "{gsd}");
    let (long, short) = (o.bbox.width.max(o.bbox.height), o.bbox.width.min(o.bbox.height));
    // 1.76 m from head to feet; 0.8 m across the arms.
    assert!((f64::from(long) * gsd - 1.76).abs() < 0.1, "{long} px of {gsd} m");
    assert!((0.5..1.0).contains(&(f64::from(short) * gsd)), "{short} px of {gsd} m");
    // The picture shows it there, and as large.
    let grey = eight(&frame);
    let at = |x: usize, y: usize| grey[y * 640 + x];
    let mut around: Vec<u8> = grey.to_vec();
    around.sort_unstable();
    let ground = around[around.len() / 2];
    let (x0, y0) = (o.bbox.x as usize, o.bbox.y as usize);
    let (w, h) = (o.bbox.width as usize, o.bbox.height as usize);
    let peak = (y0..y0 + h).flat_map(|y| (x0..x0 + w).map(move |x| at(x, y))).max().unwrap();
    assert!(peak > ground.saturating_add(40), "{peak} over {ground}");
    let part = ground + (peak - ground) / 3;
    let warm: Vec<_> = (y0 - 6..y0 + h + 6)
        .flat_map(|y| (x0 - 6..x0 + w + 6).map(move |x| (x, y)))
        .filter(|(x, y)| at(*x, *y) > part)
        .collect();
    let span = |v: Vec<usize>| v.iter().max().unwrap() - v.iter().min().unwrap() + 1;
    let seen = span(warm.iter().map(|p| p.0).collect()).max(span(warm.iter().map(|p| p.1).collect()));
    assert!((seen as f32 - long).abs() < long * 0.25, "{seen} warm pixels of {long}");
}

#[test]
fn what_a_crown_hides_depends_on_the_view() {
    let shares = |cover: Cover, layers: f64| -> Vec<f32> {
        let mut plan = bare();
        plan.seconds = 16.0;
        plan.camera.fps = 1.5;
        plan.path.height_m = 40.0;
        plan.path.speed_m_s = 3.0;
        plan.path.side_m = Some(20.0);
        plan.scene.leaf_layers = layers;
        plan.scene.objects.push(person(ObjectKind::PersonLying, [0.0, 0.0], cover));
        frames(&plan).iter().flat_map(|f| f.truth.objects.iter().map(|o| o.visible)).collect()
    };
    let under = shares(Cover::Crown, 1.2);
    let (least, most) = under.iter().fold((1f32, 0f32), |(l, m), v| (l.min(*v), m.max(*v)));
    assert!(under.len() >= 5 && most - least > 0.15 && most < 0.9, "{under:?}");
    let thick: f32 = shares(Cover::Crown, 3.5).iter().sum::<f32>() / under.len() as f32;
    let thin: f32 = under.iter().sum::<f32>() / under.len() as f32;
    assert!(thick < thin, "{thick} {thin}");
    assert!(shares(Cover::Open, 1.2).iter().all(|v| *v > 0.97));
    let weeds = shares(Cover::Weeds, 1.2);
    assert!(weeds.iter().any(|v| (0.1..0.95).contains(v)), "{weeds:?}");
}

#[test]
fn counts_are_temperatures() {
    let mut plan = hovering(40.0);
    plan.seconds = 0.2;
    plan.camera.kelvin_per_count = Some(0.04);
    plan.scene.objects.push(person(ObjectKind::PersonLying, [0.0, 0.0], Cover::Open));
    let frame = &frames(&plan)[0];
    let SampleData::Sixteen(counts) = frame.picture.as_ref().unwrap().data() else { panic!("8 bits") };
    let mut kelvin: Vec<f64> = counts.iter().map(|c| f64::from(*c) * 0.04).collect();
    kelvin.sort_by(f64::total_cmp);
    let air = plan.weather.air_c + 273.15;
    let ground = kelvin[kelvin.len() / 2];
    assert!((ground - air).abs() < 6.0, "ground {ground}, air {air}");
    let warmest = kelvin[kelvin.len() - 1];
    assert!((3.0..16.0).contains(&(warmest - air)), "person {warmest}, air {air}");
}

#[test]
fn faults_do_what_they_say() {
    let mut plan = hovering(40.0);
    plan.seconds = 4.0;
    plan.camera.size = [96, 64];
    plan.telemetry.hz = 5.0;
    // Nothing wanders but what a fault moves.
    plan.telemetry.position_m = 0.0;
    let sound = frames(&plan);
    let with = |fault: &str| {
        let mut plan = plan.clone();
        plan.faults.push(fault.parse().unwrap());
        frames(&plan)
    };
    let second = |f: &SimFrame| f.at.as_secs_f64();
    let inside = |f: &SimFrame| (1.0..2.0).contains(&second(f));

    let gone = with("telemetry-dropout@1..2");
    assert!(gone.iter().all(|f| f.packets.is_empty() == inside(f)));
    // What comes after is what would have come without it.
    assert_eq!(gone[15].packets, sound[15].packets);

    let late = with("klv-late@1..2=900");
    for f in &late {
        for p in &f.packets {
            let said = p.telemetry.time.duration_since(plan.start).as_secs_f64();
            let lag = second(f) - said;
            assert!(
                if (1.0..2.0).contains(&said) { (0.89..1.11).contains(&lag) } else { lag < 0.01 },
                "{said} {lag}"
            );
        }
    }
    let count = |frames: &[SimFrame]| frames.iter().map(|f| f.packets.len()).sum::<usize>();
    assert_eq!(count(&late), count(&sound));

    for f in with("klv-corrupt@1..2") {
        for p in &f.packets {
            let found = Reader::new().read(&p.klv);
            match found[0].set() {
                Ok(set) => assert!(!inside(&f) && set.set.telemetry().time == p.telemetry.time),
                Err(fault) => assert!(inside(&f) && fault == Fault::Checksum, "{fault}"),
            }
        }
    }

    for (f, s) in with("gps-jump@1..2=40,-30").iter().zip(&sound) {
        let place = |f: &SimFrame| {
            let t = &f.packets[0].telemetry;
            let Some(Height::Ellipsoid(height)) = t.height else { panic!() };
            Geodetic { at: t.position.unwrap(), height }
        };
        let moved = LocalFrame::new(place(s)).enu(&place(f));
        let wanted = if inside(f) { [40.0, -30.0] } else { [0.0, 0.0] };
        assert!((moved[0] - wanted[0]).abs() < 0.01 && (moved[1] - wanted[1]).abs() < 0.01, "{moved:?}");
        // The drone did not jump.
        assert_eq!(f.truth, s.truth);
    }

    let frozen = with("video-freeze@1..2");
    for (i, f) in frozen.iter().enumerate() {
        assert_eq!(f.held, inside(f));
        assert_eq!(i > 0 && f.picture == frozen[i - 1].picture, inside(f), "{i}");
    }

    for (f, s) in with("video-dropout@1..2").iter().zip(&sound) {
        assert_eq!(f.picture.is_none(), inside(f));
        assert!(inside(f) || f.picture == s.picture);
    }

    for (f, s) in with("polarity-flip@1..2").iter().zip(&sound) {
        assert_eq!(f.black_hot, inside(f));
        let expected: Vec<u8> = eight(s).iter().map(|g| if inside(f) { 255 - g } else { *g }).collect();
        assert_eq!(eight(f), expected);
    }

    let spread = |f: &SimFrame| {
        let mean = eight(f).iter().map(|g| f64::from(*g)).sum::<f64>() / eight(f).len() as f64;
        eight(f).iter().map(|g| (f64::from(*g) - mean).powi(2)).sum::<f64>()
    };
    for (f, s) in with("gain-step@1..2=0.5").iter().zip(&sound) {
        let ratio = spread(f) / spread(s);
        assert!(if inside(f) { (0.15..0.4).contains(&ratio) } else { (ratio - 1.0).abs() < 1e-9 }, "{ratio}");
    }

    // A correction of the detector holds the picture, too.
    plan.camera.ffc_every_s = 2.0;
    let corrected = frames(&plan);
    let held: Vec<_> = corrected.iter().filter(|f| f.held).map(second).collect();
    assert!(held.len() == 4 && (2.0..2.7).contains(&held[0]), "{held:?}");
    assert_eq!(FAULTS.len(), 8, "a fault without a test");
}

#[test]
fn the_stream_carries_what_was_put_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flight.ts");
    let mut plan = bare();
    plan.seconds = 3.0;
    plan.scene.objects.push(person(ObjectKind::PersonLying, [0.0, 0.0], Cover::Open));
    plan.path.side_m = Some(20.0);
    // A stream without telemetry or video for a while must not hang the multiplexer.
    plan.faults.push("telemetry-dropout@0.9..1.7".parse().unwrap());
    plan.faults.push("video-dropout@1.9..2.3".parse().unwrap());
    let flight = Flight::new(&plan).unwrap();
    let mut writer = StreamWriter::new(&Destination::File(path.clone()), &plan.camera).unwrap();
    let mut truth = TruthWriter::new(&dir.path().join("truth.jsonl"), &flight).unwrap();
    let made: Vec<SimFrame> = flight.map(|f| f.unwrap()).collect();
    for frame in &made {
        writer.frame(frame).unwrap();
        truth.frame(frame).unwrap();
    }
    writer.finish().unwrap();
    truth.finish().unwrap();

    let (pictures, klv) = read_stream(&path);
    let sent: Vec<_> = made.iter().flat_map(|f| &f.packets).collect();
    assert_eq!(klv.len(), sent.len());
    // A demultiplexer guesses times while no video brings the stream's clock; the packets say them.
    let (video_at, klv_at) = (stamps(&path, 0xe0), stamps(&path, 0xbd));
    let begin = video_at[0];
    let same = |a: f64, b: Duration| (a - begin - b.as_secs_f64()).abs() < 1e-4;
    assert_eq!(klv_at.len(), sent.len());
    for ((bytes, at), packet) in klv.iter().zip(&klv_at).zip(&sent) {
        assert_eq!(bytes, &packet.klv, "byte for byte");
        assert!(same(*at, packet.arrives), "{at}");
        let found = Reader::new().read(bytes);
        let said = found[0].set().unwrap().set.telemetry();
        let put = &packet.telemetry;
        assert_eq!(said.time, put.time);
        let (a, b) = (said.position.unwrap(), put.position.unwrap());
        assert!((a.lat().degrees() - b.lat().degrees()).abs() < 1e-7);
        assert!((a.lon().degrees() - b.lon().degrees()).abs() < 1e-7);
        let (Some(Height::Ellipsoid(a)), Some(Height::Ellipsoid(b))) = (said.height, put.height) else {
            panic!()
        };
        assert!((a.0 - b.0).abs() < 0.2, "{a:?} {b:?}");
        let forward = |t: &vigil::geo::Telemetry| {
            let turn = t.gimbal.unwrap().to_ned(&t.platform.unwrap()) * Rotation::CAMERA_TO_BODY;
            turn.apply([0.0, 0.0, 1.0])
        };
        let (a, b) = (forward(&said), forward(put));
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 5e-4), "{a:?} {b:?}");
    }
    let shown: Vec<_> = made.iter().filter(|f| f.picture.is_some()).collect();
    assert_eq!(pictures.len(), shown.len());
    assert_eq!(video_at.len(), shown.len());
    for ((grey, at), frame) in pictures.iter().zip(&video_at).zip(&shown) {
        assert!(same(*at, frame.at), "{at}");
        let off = grey.iter().zip(eight(frame)).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>();
        let mean = off / grey.len() as f64;
        assert!(mean < 6.0, "{mean} grey levels");
    }

    let text = std::fs::read_to_string(dir.path().join("truth.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 1 + made.len());
    assert_eq!(lines[0]["objects"][0]["class"], "person");
    let plan_again: FlightPlan = serde_json::from_value(lines[0]["plan"].clone()).unwrap();
    assert_eq!(plan_again, plan);
    assert!(lines.iter().skip(1).any(|l| l["objects"][0]["visible"].as_f64().is_some_and(|v| v > 0.9)));
    assert!(lines.iter().any(|l| l["picture"] == "none"));
}

/// The time stamps of a kind of packets in a transport stream, in seconds (ISO/IEC 13818-1, 2.4.3.7).
fn stamps(path: &Path, stream_id: u8) -> Vec<f64> {
    let bytes = std::fs::read(path).unwrap();
    let begins = bytes.chunks_exact(188).filter(|p| p[1] & 0x40 != 0);
    let heads = begins.filter_map(|p| p.get(4 + if p[3] & 0x20 != 0 { 1 + usize::from(p[4]) } else { 0 }..));
    let stamped = heads.filter(|h| h.len() > 14 && h[..4] == [0, 0, 1, stream_id] && h[7] & 0x80 != 0);
    stamped
        .map(|h| {
            let part = |i: usize, mask: u8, up: u32| u64::from(h[i] & mask) >> 1 << up;
            let ticks =
                part(9, 0x0e, 30) | u64::from(h[10]) << 22 | part(11, 0xfe, 15) | u64::from(h[12]) << 7;
            (ticks | part(13, 0xfe, 0)) as f64 / 90_000.0
        })
        .collect()
}

/// Pictures in grey and KLV packets of a transport stream.
fn read_stream(path: &Path) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    gst::init().unwrap();
    let text = format!(
        "filesrc location={} ! tsdemux name=d \
         d. ! queue max-size-buffers=0 ! meta/x-klv ! appsink name=klv sync=false \
         d. ! queue max-size-buffers=0 ! h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=GRAY8 ! \
         appsink name=video sync=false",
        path.display()
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = |name| pipeline.by_name(name).unwrap().downcast::<gst_app::AppSink>().unwrap();
    let (klv, video) = (sink("klv"), sink("video"));
    pipeline.set_state(gst::State::Playing).unwrap();
    let drain = |sink: gst_app::AppSink| {
        std::thread::spawn(move || {
            let mut out = Vec::new();
            while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(20)) {
                let buffer = sample.buffer().unwrap();
                out.push(buffer.map_readable().unwrap().to_vec());
            }
            assert!(sink.is_eos(), "the stream does not end");
            out
        })
    };
    let (video, klv) = (drain(video), drain(klv));
    let both = (video.join().unwrap(), klv.join().unwrap());
    pipeline.set_state(gst::State::Null).unwrap();
    both
}

#[test]
fn the_ground_is_the_same_for_a_search() {
    let mut plan = bare();
    plan.scene.side_m = 80.0;
    plan.scene.hills_m = 10.0;
    let flight = Flight::new(&plan).unwrap();
    let terrain = Terrain::of(vec![flight.elevation().unwrap()]);
    let geoid = Geoid::egm96();
    let [lat, lon, _] = plan.scene.origin;
    let (mut low, mut high) = (f64::MAX, f64::MIN);
    for i in 0..100 {
        let (dy, dx) = (f64::from(i / 10 - 5), f64::from(i % 10 - 5));
        let at = vigil::geo::LatLon::from_degrees(lat + dy * 6e-5, lon + dx * 6e-5).unwrap();
        let (a, b) = (terrain.height(&geoid, at).unwrap().0, flight.ground_height(at).0);
        assert!((a - b).abs() < 0.15, "{a} {b}");
        (low, high) = (low.min(a), high.max(a));
    }
    assert!(high - low > 1.0, "{low} {high}");
}

#[test]
fn it_flies_over_real_hills() {
    let data = std::env::var_os("VIGIL_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let folder = data.join("dem");
    if !folder.join("N44W072.hgt").is_file() {
        println!("left out: {} is not there (set VIGIL_DATA)", folder.display());
        return;
    }
    let mut plan = bare();
    plan.scene.terrain = Some(folder);
    plan.scene.origin = [44.27, -71.3, 0.0];
    plan.seconds = 3.0;
    plan.camera.fps = 1.0;
    for frame in frames(&plan) {
        assert!((30.0..90.0).contains(&frame.truth.above_ground_m), "{}", frame.truth.above_ground_m);
        // Mount Washington's top is at 1,917 m.
        assert!((1000.0..2100.0).contains(&eye(&frame.truth.pose).height.0));
    }
    plan.scene.origin = [10.0, 10.0, 0.0];
    let e = Flight::new(&plan).unwrap_err().to_string();
    assert!(e.contains("scene.origin") && e.contains("NoTile"), "{e}");
}

fn vigil(args: &[&str]) -> (i32, String, String) {
    let out = assert_cmd::Command::cargo_bin("vigil").unwrap().arg("sim").args(args).output().unwrap();
    let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

#[test]
fn the_command_makes_what_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let plan_file = dir.path().join("night.toml");
    let (code, plan, _) = vigil(&["--print-plan", "--seed", "5", "--people", "1", "--rain", "4"]);
    assert_eq!(code, 0);
    let mut plan = FlightPlan::parse(&plan).unwrap();
    assert_eq!((plan.seed, plan.scene.people, plan.weather.rain_mm_h), (5, 1, 4.0));
    plan.camera.size = [96, 64];
    plan.camera.fps = 5.0;
    plan.scene.side_m = 40.0;
    plan.seconds = 1.0;
    std::fs::write(&plan_file, plan.to_toml().unwrap()).unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (code, out, err) = vigil(&[
        "--plan",
        &at("night.toml"),
        "--out",
        &at("flight.ts"),
        "--stills",
        &at("stills"),
        "--boxes",
        "--json",
    ]);
    assert_eq!(code, 0, "{err}");
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&summary["frames"], &summary["people"], &summary["stills"]),
        (&5.into(), &1.into(), &1.into())
    );
    assert!(dir.path().join("flight.truth.jsonl").is_file() && dir.path().join("flight.ts").is_file());
    assert!(image::open(dir.path().join("stills/still-000000.png")).is_ok());
    let (code, ..) = vigil(&["--plan", &at("night.toml"), "--tiff", &at("counts")]);
    assert_eq!(code, 0);
    let tiff = std::fs::read(dir.path().join("counts/frame-000004.tiff")).unwrap();
    assert_eq!(tiff.len(), 8 + 2 + 9 * 12 + 4 + 96 * 64 * 2);

    let (code, list, _) = vigil(&["--list-faults"]);
    assert!(code == 0 && FAULTS.iter().all(|(form, _)| list.contains(form)), "{list}");
    for (args, code, says) in [
        (&["--seed", "1"][..], 64, "it is not said where the flight goes"),
        (&["--out", "a.ts", "--udp", "b:1"], 64, "do not go together"),
        (&["--truth", "/x/y", "--fault", "fire@1..2"], 64, "`fire@1..2` is no fault"),
        (&["--truth", "/x/y", "--pitch", "5"], 78, "path.pitch_deg"),
        (&["--truth", "/x/y", "--plan", "/nowhere.toml"], 66, "/nowhere.toml"),
        (&["--udp", "localhost"], 64, "no HOST:PORT"),
    ] {
        let (got, _, err) = vigil(args);
        assert_eq!(got, code, "{args:?}: {err}");
        assert!(err.contains(says), "{args:?}: {err}");
    }
}

#[test]
fn a_walker_goes_to_and_fro_and_stays_on_the_ground() {
    let mut plan = bare();
    plan.scene.hills_m = 5.0;
    plan.scene.objects.push(person(ObjectKind::PersonWalking, [0.0, 0.0], Cover::Open));
    let flight = Flight::new(&plan).unwrap();
    assert_eq!(flight.objects()[0].class(), ObjectClass::Person);
    let at = |s: f64| flight.position(0, Duration::from_secs_f64(s)).unwrap();
    let mut far: f64 = 0.0;
    for i in 0..600 {
        let (a, b) = (at(f64::from(i) * 0.5), at(f64::from(i) * 0.5 + 0.5));
        assert!(a.distance_m(&b) < 0.8, "{i}");
        far = far.max(at(0.0).distance_m(&a));
        assert!((flight.ground_height(a.at).0 - a.height.0).abs() < 0.01);
    }
    assert!((4.0..31.0).contains(&far), "{far}");
}
