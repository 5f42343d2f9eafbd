//! A simulated flight through the whole chain, by the command that plays recordings.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use vigil::sim::{Cover, Destination, Flight, FlightPlan, ObjectKind, ObjectPlan, StreamWriter};

use super::support::daemon::models;

/// A short flight over level ground, straight down, somebody lying in the middle.
fn film(path: &Path) -> FlightPlan {
    let mut plan = FlightPlan { seed: 3, seconds: 5.0, ..FlightPlan::default() };
    plan.camera.size = [320, 256];
    plan.camera.fps = 5.0;
    plan.scene.side_m = 40.0;
    plan.scene.hills_m = 0.0;
    plan.scene.people = 0;
    plan.scene.objects.push(ObjectPlan {
        kind: ObjectKind::PersonLying,
        at: [0.0, 0.0],
        heading_deg: 45.0,
        cover: Cover::Open,
        warmer_k: None,
        size_m: None,
    });
    plan.path.height_m = 40.0;
    plan.path.pitch_deg = -90.0;
    let mut writer = StreamWriter::new(&Destination::File(path.to_owned()), &plan.camera).unwrap();
    for frame in Flight::new(&plan).unwrap() {
        writer.frame(&frame.unwrap()).unwrap();
    }
    writer.finish().unwrap();
    plan
}

fn replay(args: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let out =
        std::process::Command::new(env!("CARGO_BIN_EXE_vigil")).arg("replay").args(args).output().unwrap();
    let lines = String::from_utf8(out.stdout).unwrap();
    let events = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    (out.status.code(), events, String::from_utf8(out.stderr).unwrap())
}

#[test]
fn a_recorded_flight_gives_the_same_events_every_time() {
    let dir = TempDir::new().unwrap();
    let flight = dir.path().join("flight.ts");
    film(&flight);
    let (flight, models) = (flight.to_str().unwrap(), models());
    let config = dir.path().join("vigil.toml");
    // The ground lies where the simulator put it.
    std::fs::write(
        &config,
        format!(
            "[box]\nsite = \"it\"\nname = \"ground\"\nstate_dir = \"{}\"\n[[camera]]\nname = \"drone\"\nurl = \"file:{flight}\"\n\
             [models]\ndir = \"{}\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:1\"\n[search]\ncamera = \"drone\"\n\
             [search.thermal]\npolarity = \"white_hot\"\n[search.terrain]\nflat_m = 18.0\nflat_above = \"ellipsoid\"\n",
            dir.path().display(),
            models.display()
        ),
    )
    .unwrap();
    let config = config.to_str().unwrap();
    let out = dir.path().join("found");
    let play = || replay(&[flight, "--config", config, "--json", "--out", out.to_str().unwrap()]);
    let (code, mut first, said) = play();
    assert_eq!(code, Some(0), "{said}");
    let (_, mut second, _) = play();
    let (summary, again) = (first.pop().unwrap(), second.pop().unwrap());
    assert_eq!(first, second);
    assert!(!first.is_empty(), "a map at least is told");
    let counts = |s: &Value| ["frames", "looks", "unplaced"].map(|k| s["summary"][k].as_u64().unwrap());
    assert_eq!(counts(&summary), counts(&again));
    let [frames, looks, _] = counts(&summary);
    assert!(frames == 25 && looks >= 20, "{summary}");
    assert!(summary["summary"]["seen_m2"].as_f64().unwrap() > 100.0, "{summary}");
    for file in ["events.jsonl", "search.geojson", "search.kml"] {
        assert!(out.join(file).metadata().unwrap().len() > 100, "{file}");
    }
}

#[test]
fn what_cannot_be_played_is_said() {
    let dir = TempDir::new().unwrap();
    let torn = dir.path().join("torn.ts");
    std::fs::write(&torn, [0x47; 2_000]).unwrap();
    let torn = torn.to_str().unwrap();
    let models = models();
    let models = models.to_str().unwrap();
    let (code, _, said) = replay(&[torn, "--models", models]);
    assert!(code == Some(64) && said.contains("--terrain") && said.contains("--flat"), "{code:?} {said}");
    let (code, _, said) = replay(&["absent.ts", "--models", models, "--flat", "10"]);
    assert!(code.is_some_and(|c| c != 0) && said.contains("absent.ts"), "{code:?} {said}");
}
