//! Prints what the two networks see in pictures, as JSON lines, for `models/compare_opencv.py`.
//!
//! `face_dump MODELS_DIR PICTURE...`: one line per picture with every face's box, landmarks, score,
//! quality and template. A template is biometric data: the daemon has no way to print one.

use std::error::Error;
use std::path::{Path, PathBuf};

use serde_json::json;
use vigil::capture::still::{self, Limits};
use vigil::config::{InferenceConfig, ModelsConfig};
use vigil::face::{Engine, quality};
use vigil::infer::{Manifest, Runtime};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("usage: face_dump MODELS_DIR PICTURE...")?);
    let runtime = Runtime::load(&ModelsConfig { dir: dir.clone(), runtime: None })?;
    let mut engine = Engine::open(&runtime, &Manifest::load(&dir)?, &InferenceConfig::default())?;
    for path in arguments {
        let path = Path::new(&path);
        let limits = Limits { max_bytes: 64 << 20, max_pixels: 64_000_000 };
        let image = still::decode(&std::fs::read(path)?, &limits)?;
        let mut faces = Vec::new();
        for face in engine.detect_still(&image)? {
            let template = engine.embed(&image, &face)?;
            let quality = quality::assess(&image, &face);
            let b = face.bbox;
            faces.push(json!({
                "bbox": [b.x, b.y, b.width, b.height],
                "landmarks": face.landmarks.map(|p| [p.x, p.y]),
                "score": face.score,
                "inter_ocular_px": quality.inter_ocular_px,
                "sharpness": quality.sharpness,
                "brightness": quality.brightness,
                "pose_deg": [quality.pose.yaw_deg, quality.pose.pitch_deg, quality.pose.roll_deg],
                "cut_off": quality.cut_off,
                "rank": quality.rank(),
                "template": template.values().as_slice(),
            }));
        }
        println!(
            "{}",
            json!({ "file": path, "width": image.width(), "height": image.height(), "faces": faces })
        );
    }
    Ok(())
}
