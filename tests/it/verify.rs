//! `vigil verify` with a video: the daemon's session over every picture of a file.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gstreamer::prelude::*;
use vigil::commands::demo::stage::{Likeness, Person, Reel, Set, cast};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn photo(name: &str) -> PathBuf {
    let path = root().join(".cache/photos").join(name);
    assert!(path.exists(), "the photographs are not there: run models/setup.sh");
    path
}

fn person(name: &str, likeness: &Likeness) -> Person {
    Person::open(&photo(name), likeness).unwrap()
}

/// Writes JPEG pictures as an H.264 video of 25 pictures a second.
fn film(dir: &Path, name: &str, pictures: &[&[u8]]) -> PathBuf {
    gstreamer::init().unwrap();
    let stills = dir.join(format!("{name}-stills"));
    std::fs::create_dir(&stills).unwrap();
    for (n, picture) in pictures.iter().enumerate() {
        std::fs::write(stills.join(format!("{n:05}.jpg")), picture).unwrap();
    }
    let path = dir.join(format!("{name}.mp4"));
    let pipeline = gstreamer::parse::launch(&format!(
        "multifilesrc location={}/%05d.jpg caps=image/jpeg,framerate=25/1 ! jpegdec ! videoconvert ! \
         x264enc speed-preset=ultrafast bitrate=4000 threads=1 ! mp4mux ! filesink location={}",
        stills.display(),
        path.display()
    ))
    .unwrap();
    pipeline.set_state(gstreamer::State::Playing).unwrap();
    let end = pipeline.bus().unwrap().timed_pop_filtered(
        gstreamer::ClockTime::from_seconds(120),
        &[gstreamer::MessageType::Eos, gstreamer::MessageType::Error],
    );
    pipeline.set_state(gstreamer::State::Null).unwrap();
    assert_eq!(end.unwrap().type_(), gstreamer::MessageType::Eos);
    path
}

fn verify(arguments: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
    command.arg("verify").args(arguments).current_dir(root()).output().unwrap()
}

fn check<'r>(result: &'r serde_json::Value, name: &str) -> &'r serde_json::Value {
    let checks = result["checks"].as_array().unwrap();
    checks.iter().find(|c| c["name"] == name).unwrap()
}

#[test]
fn a_video_is_a_session() {
    let dir = tempfile::tempdir().unwrap();
    // Larger pictures take an unoptimised stage minutes to paint.
    let set = Set::new(640, 360, 7);
    let nobody = Reel::empty(&set).unwrap();
    let guest = Reel::visit(&set, &person("obama.jpg", &cast::OBAMA)).unwrap();
    let (nobody, guest) = (nobody.frames(), guest.frames());
    let visit = film(dir.path(), "visit", &[&nobody[..10], &guest].concat());
    let empty = film(dir.path(), "empty", &nobody);
    let seen = dir.path().join("seen.png");
    let option = |s: &'static str| Path::new(s);

    for (portrait, live, code, outcome) in [
        (photo("obama2.jpg"), &visit, 0, "match"),
        (photo("biden.jpg"), &visit, 1, "no_match"),
        (photo("obama.jpg"), &empty, 1, "no_face"),
        // The live picture's file is a portrait without a face.
        (dir.path().join("empty-stills/00000.jpg"), &visit, 1, "poor_quality"),
    ] {
        let _ = std::fs::remove_file(&seen);
        let output = verify(&[&portrait, live, option("--json"), option("--annotate"), &seen]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{outcome}: {text}");
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["outcome"], outcome, "{result:#}");
        assert_eq!(result["checks"].as_array().unwrap().len(), 7);
        assert!(seen.exists());
        match outcome {
            "match" | "no_match" => {
                // The daemon's looks: two pictures for an early yes, six for a no.
                let pictures = result["comparison"]["pictures"].as_u64().unwrap();
                assert!((2..=6).contains(&pictures), "{pictures}");
                assert_eq!(check(&result, "live_face")["status"], "pass");
                // Nobody is there for 10 pictures of 40 ms; then the video's own time counts.
                let elapsed = result["timing"]["elapsed_ms"].as_u64().unwrap();
                assert!((400..10_000).contains(&elapsed), "{elapsed}");
            }
            "no_face" => {
                assert_eq!(result["capture"]["pictures"], nobody.len() as u64);
                assert_eq!(check(&result, "live_face")["reason"], "no_face_seen");
            }
            _ => assert_eq!(check(&result, "reference_portrait")["reason"], "portrait_no_face"),
        }
        if let Some(keep) = std::env::var_os("VIGIL_FRAMES") {
            std::fs::create_dir_all(&keep).unwrap();
            std::fs::copy(&seen, Path::new(&keep).join(format!("verify-{outcome}.png"))).unwrap();
        }
    }
    let table = verify(&[&photo("obama.jpg"), &visit]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("best picture: 640x360") && table.contains("ms of the video"), "{table}");

    let garbage = dir.path().join("garbage.mp4");
    std::fs::write(&garbage, b"no video at all, nor a picture").unwrap();
    let output = verify(&[&photo("obama.jpg"), &garbage]);
    assert_eq!(output.status.code(), Some(65));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("garbage.mp4") && text.lines().count() == 1, "{text}");
}
