//! What of a mission survives a restart: one file for each, in `missions/` below the state directory.
//!
//! # The file
//!
//! `{mission}.json`: one line `vigil-mission 1 {SHA-256 of the rest, hex}`, then one JSON object: the mission,
//! its candidates with what is believed of them, the last word about each that is over, and the coverage in
//! runs. It is written beside its name, synchronised, and renamed: a file that has its name is whole. One
//! whose sum does not fit is set aside as `{mission}.damaged` and named in the log. No picture is in it.
//!
//! # The thread
//!
//! [`Keeper`] writes on a thread of its own, at most every three seconds; the frame path hands it a snapshot and
//! goes on. Of one mission only the newest snapshot waits.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::area::Area;
use super::candidate::Candidate;
use super::coverage::{Coverage, PodModel, StoredCoverage};
use super::export::{self, MissionReport};
use super::machine::{Ground, Mission, SearchSetup};
use crate::base::{Culprit, Error, Kind, Result, hex};
use crate::event::{LonLat, MissionView, SearchCoverage, SearchDetection, SearchTarget, Vegetation};
use crate::geo::{LatLon, TangentPlane};

/// Between two writes of a mission that is under way.
const BETWEEN: Duration = Duration::from_secs(3);
/// What a file begins with.
const HEADING: &str = "vigil-mission 1 ";
/// Largest file that is read: a map of 1,024 tiles without two equal cells has 23 MB.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Missions that wait to be written: the one that ended and the one that began.
const MAX_WAITING: usize = 8;
/// After a write that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// A mission as it is on the disk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredMission {
    id: Uuid,
    name: Option<String>,
    target: SearchTarget,
    vegetation: Vegetation,
    area: Option<Vec<LonLat>>,
    start_point: Option<LonLat>,
    started: Timestamp,
    stopped: Option<Timestamp>,
    begun: u64,
    told: [u32; 2],
    ended: Vec<SearchDetection>,
    pub(super) newest: Option<Timestamp>,
    pub(super) plane: Option<TangentPlane>,
    pub(super) coverage: Option<StoredCoverage>,
    pub(super) candidates: Vec<Candidate>,
}

/// A mission at one moment.
#[derive(Debug)]
pub struct Snapshot(State);

#[derive(Debug)]
enum State {
    Live(Box<Mission>),
    Stored(Box<StoredMission>),
}

fn lonlat(at: LatLon) -> LonLat {
    [at.lon().degrees(), at.lat().degrees()]
}

fn corrupt(what: impl Into<String>) -> Error {
    Error::new(Kind::Corrupt, Culprit::Disk, what)
}

fn latlon([lon, lat]: LonLat) -> Result<LatLon> {
    LatLon::from_degrees(lat, lon).ok_or_else(|| corrupt("the mission has a place that is none"))
}

impl Snapshot {
    pub(super) fn of(mission: Mission) -> Self {
        Self(State::Live(Box::new(mission)))
    }

    /// The mission's identifier.
    pub fn mission(&self) -> Uuid {
        match &self.0 {
            State::Live(m) => m.id,
            State::Stored(m) => m.id,
        }
    }

    /// When it was stopped; none: it is under way.
    pub fn stopped(&self) -> Option<Timestamp> {
        match &self.0 {
            State::Live(m) => m.stopped,
            State::Stored(m) => m.stopped,
        }
    }

    fn into_stored(self) -> Box<StoredMission> {
        let mission = match self.0 {
            State::Stored(stored) => return stored,
            State::Live(mission) => *mission,
        };
        let (plane, coverage) = mission.ground.as_ref().map(Ground::stored).unzip();
        let newest = mission.ground.as_ref().map(|g| g.newest);
        Box::new(StoredMission {
            id: mission.id,
            name: mission.name,
            target: mission.target,
            vegetation: mission.vegetation,
            area: mission.area.map(|a| a.corners().iter().map(|c| lonlat(*c)).collect()),
            start_point: mission.start_point.map(lonlat),
            started: mission.started,
            stopped: mission.stopped,
            begun: mission.begun,
            told: mission.told,
            ended: mission.ended,
            newest,
            plane,
            coverage,
            candidates: mission.ground.map(|g| g.candidates).unwrap_or_default(),
        })
    }

    /// The mission as it goes on.
    pub(super) fn into_mission(self, setup: &SearchSetup) -> Result<Mission> {
        let mut stored = *self.into_stored();
        let area = stored.area.take().map(read_area).transpose()?;
        let mut mission = Mission {
            id: stored.id,
            name: stored.name.take(),
            target: stored.target,
            vegetation: stored.vegetation,
            area,
            start_point: stored.start_point.map(latlon).transpose()?,
            started: stored.started,
            stopped: stored.stopped,
            ground: None,
            ended: std::mem::take(&mut stored.ended),
            begun: stored.begun,
            told: stored.told,
        };
        mission.ground = Ground::restored(setup, &mission, stored)?;
        Ok(mission)
    }

    /// Everything that a person wants to know of the mission. It draws the map: not for the frame path.
    pub fn report(self) -> Result<MissionReport> {
        let stored = *self.into_stored();
        let area = stored.area.clone().map(read_area).transpose()?;
        let view = MissionView {
            mission: stored.id,
            name: stored.name,
            target: stored.target,
            started: stored.started,
            stopped: stored.stopped,
            area_m2: area.as_ref().map(|a| a.square_metres().round()),
            targets: stored.told[0],
            others: stored.told[1],
        };
        let mut coverage = None;
        if let (Some(plane), Some(kept), Some(until)) = (stored.plane, stored.coverage, stored.newest) {
            let model = PodModel::of(stored.target, stored.vegetation);
            // The angle between views is of no use to a map that is over.
            let mut grid = Coverage::new(plane, area.as_ref(), 1.0, 90.0, model);
            grid.restore(&kept)?;
            let map = grid.render();
            coverage = Some(SearchCoverage {
                mission: stored.id,
                looked_for: stored.target,
                until,
                last: stored.stopped.is_some(),
                area_m2: view.area_m2,
                seen_m2: map.seen_m2,
                searched_share: map.searched_share,
                mean_pod: map.mean_pod,
                cell_m: map.cell_m,
                unmapped_m2: grid.unmapped_m2().round(),
                map: map.map,
            });
        }
        let words = stored.candidates.into_iter().filter_map(|c| c.last_word.map(|w| *w));
        let detections = stored.ended.into_iter().chain(words).collect();
        Ok(MissionReport { view, area: stored.area, start_point: stored.start_point, detections, coverage })
    }

    fn encode(self) -> Result<Vec<u8>> {
        let json = serde_json::to_string(&self.into_stored())
            .map_err(|e| Error::internal("a mission is not JSON").with_source(e))?;
        let mut out = format!("{HEADING}{}\n", hex(&Sha256::digest(json.as_bytes()))).into_bytes();
        out.extend(json.into_bytes());
        Ok(out)
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let torn = || corrupt("the file is not a whole mission");
        let text = std::str::from_utf8(bytes).map_err(|_| torn())?;
        let (heading, json) = text.split_once('\n').ok_or_else(torn)?;
        let sum = heading.strip_prefix(HEADING).ok_or_else(torn)?;
        if sum != hex(&Sha256::digest(json.as_bytes())) {
            return Err(corrupt("the file's sum is another than it says"));
        }
        let stored = serde_json::from_str(json).map_err(|e| {
            corrupt("the mission was written by another version of the program").with_source(e)
        })?;
        Ok(Self(State::Stored(stored)))
    }
}

fn read_area(corners: Vec<LonLat>) -> Result<Area> {
    let corners = corners.into_iter().map(latlon).collect::<Result<Vec<_>>>()?;
    Area::from_corners(corners).map_err(|e| corrupt("the mission's area is none").with_source(e))
}

/// One mission in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct MissionLine {
    /// The mission.
    pub mission: Uuid,
    /// What is known of it, or why it cannot be read.
    pub view: std::result::Result<MissionView, String>,
}

/// The missions on the disk.
#[derive(Clone, Debug)]
pub struct Missions {
    dir: PathBuf,
}

impl Missions {
    /// Those of a state directory.
    pub fn of(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("missions") }
    }

    fn path(&self, mission: Uuid) -> PathBuf {
        self.dir.join(format!("{mission}.json"))
    }

    /// Their identifiers, the oldest first.
    fn ids(&self) -> Result<Vec<Uuid>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => {
                let what = format!("cannot list the missions in {}", self.dir.display());
                return Err(Error::io(Culprit::Disk, what, e));
            }
        };
        let mut ids: Vec<Uuid> = entries
            .filter_map(|e| e.ok()?.file_name().to_str()?.strip_suffix(".json")?.parse().ok())
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// All, the oldest first.
    pub fn list(&self) -> Result<Vec<MissionLine>> {
        let line = |mission| MissionLine {
            mission,
            view: self.read(mission).and_then(Snapshot::report).map(|r| r.view).map_err(|e| e.to_string()),
        };
        Ok(self.ids()?.into_iter().map(line).collect())
    }

    /// One mission.
    pub fn read(&self, mission: Uuid) -> Result<Snapshot> {
        let path = self.path(mission);
        let place = || format!("mission {mission}");
        let cannot =
            |e| Error::io(Culprit::Disk, format!("cannot read {}", path.display()), e).context(place());
        let mut bytes = Vec::new();
        File::open(&path).map_err(cannot)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(corrupt("the file is larger than any mission").context(place()));
        }
        Snapshot::decode(&bytes).map_err(|e| e.context(place()))
    }

    /// The mission that was under way when the box stopped. A file that is damaged is set aside.
    pub fn under_way(&self) -> Result<Option<Snapshot>> {
        for id in self.ids()?.into_iter().rev() {
            match self.read(id) {
                Ok(snapshot) if snapshot.stopped().is_none() => return Ok(Some(snapshot)),
                // Whatever is older ended before this one began.
                Ok(_) => return Ok(None),
                Err(e) if e.kind() == Kind::Corrupt => {
                    tracing::error!("a mission cannot be gone on with: {}", e.chain());
                    let path = self.path(id);
                    let _ = fs::rename(&path, path.with_extension("damaged"));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// Writes one.
    fn write(&self, snapshot: Snapshot) -> Result<()> {
        let path = self.path(snapshot.mission());
        let bytes = snapshot.encode()?;
        write_whole(&path, &bytes)
    }

    /// Deletes the oldest until `keep` are left, but none that is under way.
    fn sweep(&self, keep: usize) -> Result<()> {
        let ids = self.ids()?;
        for id in ids.iter().take(ids.len().saturating_sub(keep)) {
            if self.read(*id).is_ok_and(|s| s.stopped().is_none()) {
                continue;
            }
            let path = self.path(*id);
            fs::remove_file(&path)
                .map_err(|e| Error::io(Culprit::Disk, format!("cannot delete {}", path.display()), e))?;
        }
        Ok(())
    }
}

/// A file under its name is whole: written beside it, synchronised, renamed, and the directory synchronised.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = |e| Error::io(Culprit::Disk, format!("cannot write {}", path.display()), e);
    let dir = path.parent().ok_or_else(|| Error::internal("a file without a directory"))?;
    fs::create_dir_all(dir).map_err(cannot)?;
    let beside = path.with_extension("tmp");
    let written = (|| {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.map_err(cannot)
}

#[derive(Debug, Default)]
struct Desk {
    /// By mission; of each the newest snapshot.
    waiting: BTreeMap<Uuid, Snapshot>,
    taken: Option<Instant>,
    closed: bool,
    trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    desk: Mutex<Desk>,
    rung: Condvar,
}

impl Shared {
    // Moves of whole values, never across I/O: recovering from poison is sound.
    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The thread that keeps missions on the disk. Dropping it writes what waits, and ends it.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts it. `keep` missions stay on the disk; GeoJSON and KML of one that ended are written to
    /// `export_dir` besides, where there is one.
    pub fn start(missions: Missions, keep: usize, export_dir: Option<PathBuf>) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("missions".into())
            .spawn(move || run(&theirs, &missions, keep, export_dir.as_deref()))
            .map_err(|e| Error::io(Culprit::Host, "cannot start the missions' thread", e))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Whether a snapshot is due. Cheap: ask before each one is taken.
    pub fn wants(&self) -> bool {
        let desk = self.shared.lock();
        desk.waiting.is_empty() && desk.taken.is_none_or(|t| t.elapsed() >= BETWEEN)
    }

    /// Hands a snapshot over without waiting for the disk.
    pub fn keep(&self, snapshot: Snapshot) {
        let mut desk = self.shared.lock();
        if desk.waiting.len() >= MAX_WAITING && !desk.waiting.contains_key(&snapshot.mission()) {
            tracing::error!(mission = %snapshot.mission(), "too many missions wait for the disk: this one is not kept");
            return;
        }
        desk.taken = Some(Instant::now());
        desk.waiting.insert(snapshot.mission(), snapshot);
        drop(desk);
        self.shared.rung.notify_one();
    }

    /// Why the last write failed; none if it did not.
    pub fn trouble(&self) -> Option<String> {
        self.shared.lock().trouble.clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.rung.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, missions: &Missions, keep: usize, export_dir: Option<&Path>) {
    loop {
        let snapshot = {
            let mut desk = shared.lock();
            loop {
                if let Some((_, snapshot)) = desk.waiting.pop_first() {
                    break snapshot;
                }
                if desk.closed {
                    return;
                }
                desk = shared.rung.wait(desk).unwrap_or_else(|e| e.into_inner());
            }
        };
        let (id, over) = (snapshot.mission(), snapshot.stopped().is_some());
        let written = missions.write(snapshot).and_then(|()| match over {
            true => missions.sweep(keep).and_then(|()| export_to(missions, id, export_dir)),
            false => Ok(()),
        });
        let failed = written.err();
        if let Some(e) = &failed {
            tracing::error!("a mission was not kept: {}", e.chain());
        }
        let mut desk = shared.lock();
        let again = failed.is_some();
        desk.trouble = failed.map(|e| e.to_string());
        if again && !desk.closed {
            // The next snapshot tries again; not in haste.
            let _ = shared.rung.wait_timeout(desk, AGAIN);
        }
    }
}

fn export_to(missions: &Missions, mission: Uuid, dir: Option<&Path>) -> Result<()> {
    let Some(dir) = dir else { return Ok(()) };
    let report = missions.read(mission)?.report()?;
    write_whole(&dir.join(format!("{mission}.geojson")), export::geojson(&report)?.as_bytes())?;
    write_whole(&dir.join(format!("{mission}.kml")), export::kml(&report)?.as_bytes())
}
