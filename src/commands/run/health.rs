//! How the box is now: one reading, told on the health topic and to the desk.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::capture::Camera;
use crate::config::SourceUrl;
use crate::event::{CameraHealth, CameraKind, CameraState};

/// The retained payload of a camera's topic.
pub(super) fn camera_state(camera: &Camera) -> CameraState {
    let status = camera.status().borrow().clone();
    CameraState {
        camera: camera.name().clone(),
        state: status.state,
        since: status.since,
        reason: status.reason,
    }
}

/// One camera's part of the health payload.
pub(super) fn camera_health(camera: &Camera, now: Instant) -> CameraHealth {
    let (stats, status) = (camera.stats(), camera.status().borrow().clone());
    let drops = &stats.drops;
    CameraHealth {
        name: camera.name().clone(),
        state: status.state,
        since: status.since,
        reason: status.reason,
        frame_age_ms: stats.last_frame.map(|at| now.duration_since(at).as_millis() as u64),
        fps: stats.fps as f32,
        time_source: stats.time_source,
        frames: stats.frames,
        reconnects: stats.reconnects,
        drops: BTreeMap::from([
            ("overwritten".into(), drops.overwritten),
            ("late".into(), drops.late),
            ("backlog".into(), drops.backlog),
            ("corrupt".into(), drops.corrupt),
            ("unconvertible".into(), drops.unconvertible),
            ("metadata".into(), drops.metadata),
            ("lost".into(), drops.lost),
        ]),
    }
}

/// Resident memory of this process, bytes.
pub(super) fn rss_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    pages.checked_mul(page as u64)
}

/// The word of the birth payload for a camera's source.
pub(super) fn camera_kind(url: &SourceUrl) -> CameraKind {
    match url {
        SourceUrl::Rtsp(_) => CameraKind::Rtsp,
        SourceUrl::Http(_) => CameraKind::Http,
        SourceUrl::V4l2(_) => CameraKind::V4l2,
        SourceUrl::File(_) => CameraKind::File,
        SourceUrl::Udp(..) => CameraKind::Udp,
        SourceUrl::Srt(..) => CameraKind::Srt,
        SourceUrl::Tiff(_) => CameraKind::Tiff,
        SourceUrl::Test => CameraKind::Test,
    }
}
