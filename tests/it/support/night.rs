//! A drone of the simulator, live over UDP, on which a test lets things fail and recover.

#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use vigil::geo::{Geodetic, LocalFrame};
use vigil::sim::{
    Cover, Destination, Flight, FlightPlan, ObjectKind, ObjectPlan, ScenePlan, SimFrame, StreamWriter,
};

/// Somebody who lies in the middle of a bare field, flown over to and fro: in view most of the time, and found
/// after some seconds. Small pictures, few of them: a debug build draws them as fast as they are sent.
pub(crate) fn plan() -> FlightPlan {
    let mut plan = FlightPlan { seed: 3, seconds: 3_600.0, ..FlightPlan::default() };
    plan.camera.size = [320, 256];
    plan.camera.fov_deg = 50.0;
    plan.camera.fps = 5.0;
    plan.camera.ffc_every_s = 0.0;
    plan.scene = ScenePlan {
        side_m: 60.0,
        hills_m: 0.0,
        road: false,
        water: false,
        trees_per_ha: 0.0,
        stones_per_ha: 0.0,
        hollows_per_ha: 0.0,
        vehicles: 0,
        animals: 0,
        signs: 0,
        people: 0,
        ..plan.scene
    };
    plan.scene.objects = vec![ObjectPlan {
        kind: ObjectKind::PersonLying,
        at: [0.0, 0.0],
        heading_deg: 45.0,
        cover: Cover::Open,
        warmer_k: None,
        size_m: None,
    }];
    plan.path.height_m = 40.0;
    plan.path.pitch_deg = -90.0;
    plan.path.speed_m_s = 5.0;
    plan.path.side_m = Some(36.0);
    plan.path.spacing_m = Some(12.0);
    plan
}

/// Keys of `[search]` that fit [`plan`], up to its subsections.
pub(crate) const SEARCH: &str = "[search]\ncamera = \"drone\"\ncoverage_s = 5\nupdate_s = 1\n";
/// Its subsections: what is known beforehand of the camera, and the level ground.
pub(crate) const SUBSECTIONS: &str = "[search.thermal]\npolarity = \"white_hot\"\n\
     [search.terrain]\nflat_m = 18.0\nflat_above = \"ellipsoid\"\nflat_sigma_m = 1.0\n";

/// The lines of the camera that listens at `port`.
pub(crate) fn camera(port: u16) -> String {
    format!(
        "name = \"drone\"\nurl = \"udp://127.0.0.1:{port}\"\nstall_after_ms = 4000\n\
         connect_within_ms = 20000\nretry_max_ms = 500"
    )
}

pub(crate) fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where the one object lies.
pub(crate) fn truth(plan: &FlightPlan) -> Geodetic {
    Flight::new(plan).unwrap().position(0, Duration::ZERO).unwrap()
}

/// Metres between a told position and a place.
pub(crate) fn off_m(position: &Value, truth: &Geodetic) -> f64 {
    let n = |key: &str| position[key].as_f64().unwrap();
    let at = vigil::geo::LatLon::from_degrees(n("lat"), n("lon")).unwrap();
    let [east, north, _] = LocalFrame::new(*truth).enu(&Geodetic { at, height: truth.height });
    east.hypot(north)
}

/// How far the corners of a map reach from a place: metres east or north, whichever is more.
pub(crate) fn reach_m(map: &Value, from: &Geodetic) -> f64 {
    fn corners<'a>(value: &'a Value, into: &mut Vec<&'a Vec<Value>>) {
        let Some(list) = value.as_array() else { return };
        if list.first().is_some_and(Value::is_number) {
            return into.push(list);
        }
        list.iter().for_each(|v| corners(v, into));
    }
    let mut all = Vec::new();
    for feature in map["features"].as_array().unwrap() {
        corners(&feature["geometry"]["coordinates"], &mut all);
    }
    let frame = LocalFrame::new(*from);
    let reach = |c: &Vec<Value>| {
        let at = vigil::geo::LatLon::from_degrees(c[1].as_f64().unwrap(), c[0].as_f64().unwrap()).unwrap();
        let [east, north, _] = frame.enu(&Geodetic { at, height: from.height });
        east.abs().max(north.abs())
    };
    all.into_iter().map(reach).fold(0.0, f64::max)
}

/// Flies until it is dropped.
pub(crate) struct Night {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Night {
    /// Sends to a UDP port of this machine as time passes. `each` may take from a frame what it likes before it
    /// is sent, and send something beside it.
    pub(crate) fn start(
        plan: &FlightPlan,
        port: u16,
        mut each: impl FnMut(&mut SimFrame) + Send + 'static,
    ) -> Self {
        let plan = FlightPlan { start: jiff::Timestamp::now(), ..plan.clone() };
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            let to = Destination::Udp { host: "127.0.0.1".into(), port };
            let mut writer = StreamWriter::new(&to, &plan.camera).unwrap();
            let flight = Flight::new(&plan).unwrap();
            let started = Instant::now();
            for frame in flight {
                let mut frame = frame.unwrap();
                // The writer would take some frames ahead of their time.
                std::thread::sleep(frame.at.saturating_sub(started.elapsed()));
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                each(&mut frame);
                writer.frame(&frame).unwrap();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Night {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let flown = thread.join();
            assert!(flown.is_ok() || std::thread::panicking(), "the drone crashed");
        }
    }
}
