//! Elevation models: how high the ground is.
//!
//! A [`Terrain`] knows the files of its folders and holds some of them in memory, the ones used last.
//! Where two cover a place, the one with the finer posts is asked. Reading a file takes tens of
//! milliseconds, which no frame waits for: see [`Loading`].

mod geotiff;
mod grid;
mod hgt;
mod transverse;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use grid::Placement;
pub use grid::{ElevationGrid, VerticalDatum};

use super::geoid::Geoid;
use super::units::{EllipsoidHeight, LatLon};
use crate::base::error::Context;
use crate::base::{Culprit, Error, Kind, Result};

/// Most files that are looked at in all folders.
const MAX_FILES: usize = 4096;
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 512 << 20;
/// Memory for grids when nothing else is said: five fine SRTM tiles.
pub const DEFAULT_CACHE_BYTES: usize = 128 << 20;

/// When a file is read that a place needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loading {
    /// By a thread of its own; until then the place has [`NoHeight::Loading`]. For frames as they come.
    Behind,
    /// At once, by whoever asks. For a recorded flight, whose outcome must not depend on time.
    Now,
}

/// Why a place has no height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoHeight {
    /// No file covers it.
    NoTile,
    /// The model has a hole there.
    Void,
    /// Its file is being read.
    Loading,
    /// Its file could not be read; the log says why.
    Broken,
}

/// The elevation models of a site.
#[derive(Debug)]
pub struct Terrain {
    shared: Arc<Shared>,
    /// Asks the thread `terrain` for a file; dropping it ends the thread.
    wanted: Option<SyncSender<usize>>,
}

#[derive(Debug)]
struct Shared {
    /// Finest first.
    tiles: Vec<Tile>,
    held: Mutex<Held>,
    cache_bytes: usize,
    /// Whether some are finer than others.
    mixed: bool,
}

#[derive(Debug)]
struct Tile {
    /// `None`: given in memory, and never forgotten.
    path: Option<PathBuf>,
    placement: Placement,
    size: [usize; 2],
}

#[derive(Debug, Default)]
struct Held {
    /// The ones used last come last.
    grids: Vec<(usize, Arc<ElevationGrid>)>,
    broken: Vec<usize>,
}

impl Terrain {
    /// The elevation models in some folders: SRTM tiles (`N44W072.hgt`) and GeoTIFFs (`.tif`,
    /// `.tiff`), which are placed by name and header; heights are read when a place needs them.
    ///
    /// # Errors
    /// For a folder that cannot be read or holds no model, and a file that is not one, by its name.
    pub fn open(folders: &[PathBuf], loading: Loading, cache_bytes: usize) -> Result<Self> {
        let mut tiles = Vec::new();
        for folder in folders {
            let place = || format!("elevation models {}", folder.display());
            let before = tiles.len();
            for path in files(folder).context(place)? {
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                if let Some(tile) = look(&path, &name).context(|| name.clone()).context(place)? {
                    tiles.push(tile);
                }
                if tiles.len() > MAX_FILES {
                    let says = format!("there are more than {MAX_FILES} files");
                    return Err(Error::new(Kind::TooLarge, Culprit::Config, says)
                        .remedy("keep those of the area of work"));
                }
            }
            if tiles.len() == before {
                return Err(Error::new(Kind::NotFound, Culprit::Config, "there is no elevation model")
                    .remedy("put SRTM tiles (N44W072.hgt) or GeoTIFFs (.tif) there, or leave the folder out")
                    .context(place()));
            }
        }
        Self::start(tiles, loading, cache_bytes)
    }

    /// Elevation models that are in memory already.
    pub fn of(grids: Vec<ElevationGrid>) -> Self {
        let tile = |g: &ElevationGrid| Tile { path: None, placement: g.placement, size: g.size };
        let mut grids = grids;
        grids.sort_by(|a, b| a.placement.spacing_m().total_cmp(&b.placement.spacing_m()));
        let tiles = grids.iter().map(tile).collect();
        let held = Held { grids: grids.into_iter().map(Arc::new).enumerate().collect(), ..Held::default() };
        Self { shared: Arc::new(Shared::new(tiles, held, usize::MAX)), wanted: None }
    }

    fn start(mut tiles: Vec<Tile>, loading: Loading, cache_bytes: usize) -> Result<Self> {
        tiles.sort_by(|a, b| {
            let spacing = |t: &Tile| t.placement.spacing_m();
            // Two models of one fineness: by name, so that a recorded flight always meets the same.
            spacing(a).total_cmp(&spacing(b)).then_with(|| a.path.cmp(&b.path))
        });
        let shared = Arc::new(Shared::new(tiles, Held::default(), cache_bytes));
        let wanted = match loading {
            Loading::Now => None,
            Loading::Behind => {
                // A camera sees four tiles at most, at a corner.
                let (wanted, asked) = sync_channel(4);
                let shared = shared.clone();
                std::thread::Builder::new()
                    .name("terrain".to_owned())
                    .spawn(move || asked.iter().for_each(|tile| drop(shared.load(tile))))
                    .map_err(|e| Error::io(Culprit::Host, "cannot start the thread terrain", e))?;
                Some(wanted)
            }
        };
        Ok(Self { shared, wanted })
    }

    /// The height of the ground above the ellipsoid.
    ///
    /// # Errors
    /// Why there is none.
    pub fn height(&self, geoid: &Geoid, at: LatLon) -> std::result::Result<EllipsoidHeight, NoHeight> {
        let (lat, lon) = (at.lat().degrees(), at.lon().degrees());
        let grid = self.grid_at(lat, lon)?;
        let height = grid.height_m(grid.placement.locate(lat, lon));
        if height.is_nan() {
            return Err(NoHeight::Void);
        }
        Ok(EllipsoidHeight(match grid.vertical {
            VerticalDatum::Ellipsoid => height,
            VerticalDatum::SeaLevel => height + geoid.undulation_m(at),
        }))
    }

    /// Reads what covers the surroundings of a place, now: for the start of a mission.
    ///
    /// # Errors
    /// Of the first file that cannot be read, by its name.
    pub fn load_around(&self, at: LatLon, range_m: f64) -> Result<()> {
        let (lat, lon) = (at.lat().degrees(), at.lon().degrees());
        let north = range_m / 111_320.0;
        let east = north / lat.to_radians().cos().max(0.01);
        // Nine points find every tile that is not smaller than the range.
        for (dy, dx) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (f64::from(dy), f64::from(dx)))) {
            let (lat, lon) = ((lat + dy * north).clamp(-90.0, 90.0), lon + dx * east);
            if let Some(tile) = self.shared.tile_at(lat, lon)
                && self.shared.held(tile).is_none()
            {
                self.shared.load(tile)?;
            }
        }
        Ok(())
    }

    /// Whether some models are finer than others, so that one may lie within another.
    pub(super) fn is_mixed(&self) -> bool {
        self.shared.mixed
    }

    /// The finest grid that covers a place.
    pub(super) fn grid_at(&self, lat: f64, lon: f64) -> std::result::Result<Arc<ElevationGrid>, NoHeight> {
        let tile = self.shared.tile_at(lat, lon).ok_or(NoHeight::NoTile)?;
        if let Some(held) = self.shared.held(tile) {
            return held.ok_or(NoHeight::Broken);
        }
        match &self.wanted {
            None => self.shared.load(tile).map_err(|_| NoHeight::Broken),
            Some(wanted) => match wanted.try_send(tile) {
                // Full: it is asked for again with the next frame.
                Ok(()) | Err(TrySendError::Full(_)) => Err(NoHeight::Loading),
                Err(TrySendError::Disconnected(_)) => Err(NoHeight::Broken),
            },
        }
    }
}

impl Shared {
    /// With tiles in order, the finest first.
    fn new(tiles: Vec<Tile>, held: Held, cache_bytes: usize) -> Self {
        let spacing = |t: Option<&Tile>| t.map_or(0.0, |t| t.placement.spacing_m());
        let mixed = spacing(tiles.last()) > 1.5 * spacing(tiles.first());
        Self { tiles, held: Mutex::new(held), cache_bytes, mixed }
    }

    fn tile_at(&self, lat: f64, lon: f64) -> Option<usize> {
        self.tiles.iter().position(|t| grid::covers(t.size, t.placement.locate(lat, lon)))
    }

    /// A grid that is in memory; `Some(None)` for one that cannot be read.
    fn held(&self, tile: usize) -> Option<Option<Arc<ElevationGrid>>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.broken.contains(&tile) {
            return Some(None);
        }
        let at = held.grids.iter().position(|(t, _)| *t == tile)?;
        let last = held.grids.len() - 1;
        if at != last {
            held.grids[at..].rotate_left(1);
        }
        Some(Some(held.grids[last].1.clone()))
    }

    fn load(&self, tile: usize) -> Result<Arc<ElevationGrid>> {
        // Asked for by several frames before it was there.
        if let Some(Some(grid)) = self.held(tile) {
            return Ok(grid);
        }
        let path = self.tiles[tile].path.as_deref().unwrap_or(Path::new(""));
        let read = read(path).context(|| format!("elevation model {}", path.display()));
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(grid) => {
                let grid = Arc::new(grid);
                let sum = |h: &Held| h.grids.iter().map(|(_, g)| g.bytes()).sum::<usize>();
                // The new one is held in any case: without it there is no ground.
                while !held.grids.is_empty() && sum(&held) + grid.bytes() > self.cache_bytes {
                    held.grids.remove(0);
                }
                held.grids.push((tile, grid.clone()));
                Ok(grid)
            }
            Err(e) => {
                tracing::error!("{}", e.chain());
                held.broken.push(tile);
                Err(e)
            }
        }
    }
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = |e| {
        Error::io(Culprit::Config, "cannot be read", e)
            .remedy("name a folder that the daemon's user may read")
    };
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        out.push(entry.map_err(cannot)?.path());
        if out.len() > 4 * MAX_FILES {
            break;
        }
    }
    out.sort();
    Ok(out)
}

/// What a file covers; `None` for one that is no elevation model by its name.
fn look(path: &Path, name: &str) -> Result<Option<Tile>> {
    let cannot = |e| Error::io(Culprit::Config, "cannot be read", e);
    let lower = name.to_ascii_lowercase();
    let tile = |placement, size| Some(Tile { path: Some(path.to_owned()), placement, size });
    if lower.ends_with(".hgt") {
        let corner = hgt::corner(name).ok_or_else(|| {
            Error::new(Kind::Malformed, Culprit::Config, "the name is not that of an SRTM tile")
                .remedy("a tile is named for its south-west corner: N44W072.hgt")
        })?;
        let bytes = std::fs::metadata(path).map_err(cannot)?.len();
        let side = hgt::side(bytes).ok_or_else(|| hgt::wrong_size(bytes))?;
        return Ok(tile(hgt::placement(corner, side), [side, side]));
    }
    if lower.ends_with(".tif") || lower.ends_with(".tiff") {
        let header = geotiff::read_header(BufReader::new(File::open(path).map_err(cannot)?))?;
        return Ok(tile(header.placement, header.size));
    }
    Ok(None)
}

fn read(path: &Path) -> Result<ElevationGrid> {
    let cannot = |e| Error::io(Culprit::Disk, "cannot be read", e);
    let file = File::open(path).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.len() > MAX_FILE_BYTES {
        let says = format!("it has more than {} MiB", MAX_FILE_BYTES >> 20);
        return Err(Error::new(Kind::TooLarge, Culprit::Config, says).remedy("cut it into several files"));
    }
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.to_ascii_lowercase().ends_with(".hgt") {
        return ElevationGrid::from_geotiff(BufReader::new(file));
    }
    let mut bytes = Vec::new();
    let most = (hgt::SIDES[0] * hgt::SIDES[0] * 2 + 1) as u64;
    file.take(most).read_to_end(&mut bytes).map_err(cannot)?;
    ElevationGrid::from_hgt(&name, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> LatLon {
        LatLon::from_degrees(lat, lon).unwrap()
    }

    fn tile(dir: &Path, name: &str, height: i16) {
        std::fs::write(dir.join(name), height.to_be_bytes().repeat(1201 * 1201)).unwrap();
    }

    fn open(dir: &Path, loading: Loading, cache: usize) -> Terrain {
        Terrain::open(&[dir.to_owned()], loading, cache).unwrap()
    }

    #[test]
    fn a_folder_of_tiles_is_read_as_places_need_it() {
        let dir = tempfile::tempdir().unwrap();
        for (name, height) in [("N44W072.hgt", 100), ("N44W071.hgt", 200), ("N45W072.hgt", 300)] {
            tile(dir.path(), name, height);
        }
        std::fs::write(dir.path().join("README.txt"), "not a model").unwrap();
        // Room for two.
        let terrain = open(dir.path(), Loading::Now, 6_000_000);
        let geoid = Geoid::egm96();
        let height = |lat, lon| {
            let at = at(lat, lon);
            terrain.height(&geoid, at).map(|h| geoid.to_sea_level(at, h).0.round())
        };
        for _ in 0..2 {
            assert_eq!(height(44.5, -71.5), Ok(100.0));
            assert_eq!(height(44.5, -70.5), Ok(200.0));
            assert_eq!(height(45.5, -71.5), Ok(300.0));
            assert_eq!(terrain.shared.held.lock().unwrap().grids.len(), 2);
        }
        assert_eq!(height(43.5, -71.5), Err(NoHeight::NoTile));
    }

    #[test]
    fn no_frame_waits_for_a_file() {
        let dir = tempfile::tempdir().unwrap();
        tile(dir.path(), "N44W072.hgt", 100);
        let terrain = open(dir.path(), Loading::Behind, DEFAULT_CACHE_BYTES);
        let geoid = Geoid::egm96();
        let place = at(44.5, -71.5);
        assert_eq!(terrain.height(&geoid, place), Err(NoHeight::Loading));
        while terrain.height(&geoid, place) == Err(NoHeight::Loading) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(terrain.height(&geoid, place).is_ok());
        // At the start of a mission somebody may wait.
        let terrain = open(dir.path(), Loading::Behind, DEFAULT_CACHE_BYTES);
        terrain.load_around(place, 1000.0).unwrap();
        assert!(terrain.height(&geoid, place).is_ok());
    }

    #[test]
    fn the_finer_model_is_asked() {
        let grid = |step: f64, height: f32| {
            let size = [3, 3];
            ElevationGrid::geographic(
                at(45.0, -72.0),
                [step; 2],
                size,
                vec![height; 9],
                VerticalDatum::Ellipsoid,
            )
            .unwrap()
        };
        let terrain = Terrain::of(vec![grid(0.1, 100.0), grid(0.01, 200.0)]);
        let geoid = Geoid::egm96();
        assert_eq!(terrain.height(&geoid, at(44.99, -71.99)), Ok(EllipsoidHeight(200.0)));
        assert_eq!(terrain.height(&geoid, at(44.9, -71.9)), Ok(EllipsoidHeight(100.0)));
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let says =
            |folder: &Path| Terrain::open(&[folder.to_owned()], Loading::Now, 0).unwrap_err().to_string();
        assert!(says(&dir.path().join("none")).contains("none"));
        assert!(says(dir.path()).contains("there is no elevation model"));
        std::fs::write(dir.path().join("N44W072.hgt"), b"short").unwrap();
        assert!(says(dir.path()).contains("N44W072.hgt: no SRTM tile has 5 bytes"), "{}", says(dir.path()));
        std::fs::rename(dir.path().join("N44W072.hgt"), dir.path().join("x.tif")).unwrap();
        assert!(says(dir.path()).contains("x.tif: this is not a sound TIFF"), "{}", says(dir.path()));
    }

    #[test]
    fn a_file_that_changed_is_broken_and_said_once() {
        let dir = tempfile::tempdir().unwrap();
        tile(dir.path(), "N44W072.hgt", 100);
        let terrain = open(dir.path(), Loading::Now, DEFAULT_CACHE_BYTES);
        std::fs::write(dir.path().join("N44W072.hgt"), b"short").unwrap();
        let geoid = Geoid::egm96();
        for _ in 0..2 {
            assert_eq!(terrain.height(&geoid, at(44.5, -71.5)), Err(NoHeight::Broken));
        }
        assert!(terrain.load_around(at(44.5, -71.5), 10.0).is_ok(), "broken before: not tried again");
    }
}
