//! The second act: a night flight over a field, and somebody lying in it.
//!
//! `vigil sim` draws the flight while the guests are before the camera; then a second box, a ground station,
//! takes it as it would take a drone's video, and its first find of a person is compared with where they lie.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::daemon::{Daemon, Plan, Process, Tail};
use super::play::{Asked, Way, say};
use super::{Args, Clock};
use crate::base::{Culprit, Error, Kind, Name, Result};
use crate::bus::client::Client;
use crate::config::{BrokerUrl, MqttConfig};
use crate::event::topic::Topics;
use crate::event::{Envelope, EventKind, SearchDetection, TargetClass};
use crate::geo::{LatLon, LocalFrame};
use crate::sim::{Cover, FlightPlan, ObjectKind, ObjectPlan};

/// Seed of the night: every demonstration flies the same one.
const SEED: u64 = 3;
/// How long the flight takes: strips, and strips across them, so that everything is seen on two passes. And how
/// many pictures a second it has.
const SECONDS: f64 = 60.0;
const FPS: f64 = 8.0;
/// Where the person lies: metres east and north of the field's middle.
const LIES_AT: [f64; 2] = [8.0, -14.0];
/// What becomes of the evidence after the last picture.
const AFTERWARDS: Duration = Duration::from_secs(4);
/// After the find, so that a map is told too.
const A_MOMENT: Duration = Duration::from_secs(6);

/// The flight, while it is drawn.
pub(super) struct Film {
    process: Process,
    video: PathBuf,
    plan: FlightPlan,
}

/// The night that is flown.
fn night() -> FlightPlan {
    let mut plan = FlightPlan { seed: SEED, seconds: SECONDS, ..FlightPlan::default() };
    plan.camera.fps = FPS;
    plan.scene.side_m = 120.0;
    plan.scene.hills_m = 0.0;
    plan.scene.people = 0;
    plan.scene.animals = 1;
    plan.scene.vehicles = 1;
    plan.scene.objects.push(ObjectPlan {
        kind: ObjectKind::PersonLying,
        at: LIES_AT,
        heading_deg: 60.0,
        cover: Cover::Open,
        warmer_k: None,
        size_m: None,
    });
    // The hour before dawn, when stones have given the day's sun away.
    plan.weather.sun_k = 1.5;
    plan.path.side_m = Some(50.0);
    plan.path.height_m = 60.0;
    plan.path.speed_m_s = 8.0;
    plan.path.pitch_deg = -65.0;
    plan
}

impl Film {
    /// Begins to draw, beside everything else and behind it.
    pub(super) fn begin(dir: &Path) -> Result<Self> {
        let plan = night();
        let (file, video) = (dir.join("night.toml"), dir.join("flight.ts"));
        std::fs::write(&file, plan.to_toml()?)
            .map_err(|e| Error::io(Culprit::Host, format!("cannot write {}", file.display()), e))?;
        let exe =
            std::env::current_exe().map_err(|e| Error::io(Culprit::Host, "cannot find this program", e))?;
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(exe).arg("sim").arg("--plan").arg(&file).arg("--out").arg(&video);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { process: Process::start("sim", command)?, video, plan })
    }
}

/// Flies it.
pub(super) fn play(args: &Args, dir: &Path, mut film: Film, clock: &Clock) -> Result<Asked> {
    let asked = "from the air: a person lies in a dark field";
    say(args.json, &format!("\n{asked}"));
    clock.until("drawing the flight", || film.process.finished())?;
    let ground = film.plan.scene.origin[2];
    let plan = Plan::ground_station(dir, &film.video, ground, &args.models)?;
    let mut daemon = Daemon::start(&plan)?;
    let topics = Topics::new(&Name::new("demo")?, &Name::new("ground-1")?);
    let mqtt = MqttConfig::new(BrokerUrl::parse(&format!("mqtt://{}", plan.broker))?);
    let told = topics.event(EventKind::SearchDetection);
    let mut client = clock.until("waiting for the ground station's broker", || {
        daemon.alive()?;
        match Client::connect(&mqtt, "vigil-demo", std::slice::from_ref(&told)) {
            Ok(client) => Ok(Some(client)),
            Err(e) if e.retryable() => Ok(None),
            Err(e) => Err(e),
        }
    })?;
    let _tail = Tail::start(&plan, args.json)?;
    say(args.json, &format!("The search on a page while it lasts: http://{}/\n", plan.desk));

    let began = Instant::now();
    let end = began + Duration::from_secs_f64(SECONDS) + AFTERWARDS;
    let mut found: Option<(SearchDetection, Duration)> = None;
    while Instant::now() < end && found.is_none() {
        clock.check("in flight")?;
        daemon.alive()?;
        let Some(message) = client.recv(Duration::from_millis(100))? else { continue };
        let Ok(envelope) = serde_json::from_slice::<Envelope>(&message.payload) else { continue };
        if let Ok(detection) = serde_json::from_value::<SearchDetection>(envelope.data)
            && detection.is_target
            && detection.class == TargetClass::Person
        {
            found = Some((detection, began.elapsed()));
        }
    }
    if found.is_some() {
        clock.stop.sleep(A_MOMENT);
    }
    let answered = match &found {
        None => "nobody".to_owned(),
        Some((detection, _)) => {
            let off = distance_m(&film.plan, detection)?;
            let p = &detection.position;
            say(
                args.json,
                &format!(
                    "\nThe person lies {off:.1} m from the place told; told was: within {:.1} m nine times in ten.",
                    p.ce90_m
                ),
            );
            // Nine in ten lie within it; this one night is the same every time.
            if off <= p.ce90_m { "person".to_owned() } else { "person elsewhere".to_owned() }
        }
    };
    let took = found.map_or(began.elapsed(), |(_, at)| at);
    Ok(Asked {
        asked,
        way: Way::Mqtt,
        expected: "person".to_owned(),
        answered,
        round_trip_ms: took.as_millis() as u64,
        box_ms: 0,
    })
}

/// How far the place told is from where the person lies.
fn distance_m(plan: &FlightPlan, detection: &SearchDetection) -> Result<f64> {
    let [lat, lon, height] = plan.scene.origin;
    let nowhere = || Error::new(Kind::Malformed, Culprit::Vigil, "the place told is none");
    let height = crate::geo::EllipsoidHeight(height);
    let origin = LatLon::from_degrees(lat, lon).ok_or_else(nowhere)?;
    let told = LatLon::from_degrees(detection.position.lat, detection.position.lon).ok_or_else(nowhere)?;
    let frame = LocalFrame::new(crate::geo::Geodetic { at: origin, height });
    let [east, north, _] = frame.enu(&crate::geo::Geodetic { at: told, height });
    Ok((east - LIES_AT[0]).hypot(north - LIES_AT[1]))
}
