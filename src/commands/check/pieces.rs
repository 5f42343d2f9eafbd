//! Layer 2: the pieces that the daemon would be built from, on this machine, nothing started.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::Looker;
use crate::auth;
use crate::base::{Culprit, Error, Kind, Result, SystemClock};
use crate::capture::{self, RgbImage};
use crate::config::{Config, Secret, SourceUrl, TlsConfig};
use crate::desk;
use crate::document::LinkKey;
use crate::document::chip::TrustStore;
use crate::face::{Calibration, Engine};
use crate::fittings::voice;
use crate::gallery;
use crate::gallery::{watch_capacity, watch_threshold};
use crate::infer::{Manifest, Runtime, Slot};

/// Looks at every piece.
pub(super) fn look(config: &Config, to: &mut Looker<'_>) {
    let state = &config.identity.state_dir;
    to.note("state directory", "box.state_dir", state_dir(state));
    match disk_space(state, config.outbox.warn_free_mib) {
        Ok(free) => drop(to.note("disk space", "outbox.warn_free_mib", Ok(free))),
        // The box starts all the same: it has to say so on its topics.
        Err(e) => to.warn("disk space", "outbox.warn_free_mib", &e),
    }
    passwords(config, to);
    document(config, to);
    models(config, to);
    gallery(config, to);
    tls(&config.mqtt.tls, to);
    elements(config, to);
    doors(config, to);
    to.note("desk address", "desk.listen", port(config.desk.listen));
    allowed(config, to);
    if let Some(broker) = &config.broker {
        to.note("broker address", "broker.listen", port(broker.listen));
    }
}

/// Who may ask: keys, tokens, and what nobody has to show anything for.
fn allowed(config: &Config, to: &mut Looker<'_>) {
    let now = jiff::Timestamp::now();
    for (n, key) in config.hub_keys.iter().enumerate() {
        let place = format!("hub_key[{n}].public_key");
        let names: Vec<_> = key.commands.iter().map(|c| c.as_str()).collect();
        let says = format!("{}, until {:.0}", names.join(", "), key.valid_until);
        to.note(&format!("hub key {}", key.id), &place, auth::hub::public_key(key).map(|_| says));
        let days = key.valid_until.duration_since(now).as_hours() / 24;
        if days < 30 {
            let until = format!("hub_key[{n}].valid_until");
            let e = Error::config(match key.valid_until <= now {
                true => format!("the time of key {} is over", key.id),
                false => format!("the time of key {} is over in {days} days", key.id),
            });
            to.warn(&format!("hub key {}", key.id), &until, &e.remedy("make a new key with `vigil hub key`"));
        }
    }
    let open = config.hub.open(&config.mqtt);
    if !open.is_empty() {
        let names: Vec<_> = open.iter().map(|c| c.as_str()).collect();
        let what = format!(
            "whoever may publish on the broker can give {} without a signature, with a portrait of their own",
            names.join(" and ")
        );
        let e = Error::config(what).remedy("let the broker admit the reader alone, or write hub.open = []");
        to.warn("unsigned commands", "hub.open", &e);
    }
    if config.desk.open() {
        let what = "every program of this machine may verify, see results and confirm without a token";
        let remedy = "add a [[desk.token]] (vigil desk token), unless the machine is the reader's alone";
        to.warn("desk without tokens", "desk.open_on_loopback", &Error::config(what).remedy(remedy));
    }
    for (n, token) in config.desk.tokens.iter().enumerate() {
        if token.valid_until.is_some_and(|until| until <= now) {
            let e = Error::config(format!("the time of token {} is over", token.name));
            let key = format!("desk.token[{n}].valid_until");
            to.warn(
                &format!("desk token {}", token.name),
                &key,
                &e.remedy("make a new one with `vigil desk token`"),
            );
        }
    }
    if let Some(tls) = &config.desk.tls {
        if outside_unit(&tls.key_file) || outside_unit(&tls.cert_file) {
            to.not_checked("desk.tls", "CREDENTIALS_DIRECTORY is set by systemd only, inside the unit");
        } else {
            to.note(
                "desk.tls",
                "desk.tls",
                desk::check_tls(tls).map(|()| tls.cert_file.display().to_string()),
            );
        }
    }
}

/// The nearest directory above `dir`, itself included, that exists.
fn existing(dir: &Path) -> PathBuf {
    let found = dir.ancestors().find(|a| a.exists() && !a.as_os_str().is_empty());
    found.unwrap_or(Path::new(".")).to_owned()
}

/// A file can be made, written and synced in the state directory; a directory that is not there
/// yet can be made.
fn state_dir(dir: &Path) -> Result<String> {
    const REMEDY: &str = "the directory must belong to the daemon's user";
    let place = dir.display();
    if !dir.exists() {
        let parent = existing(dir);
        return match access(&parent, AccessFlags::W_OK | AccessFlags::X_OK) {
            Ok(()) => Ok(format!("{place} is not there yet and can be made in {}", parent.display())),
            Err(e) => {
                Err(Error::io(Culprit::Disk, format!("{place} is not there and cannot be made"), e.into())
                    .remedy(format!("make it, or let StateDirectory= of the unit make it; {REMEDY}")))
            }
        };
    }
    let probe = dir.join(format!(".vigil-check-{}", std::process::id()));
    let cannot = |e| Error::io(Culprit::Disk, format!("{place} cannot be written"), e).remedy(REMEDY);
    let write = || -> std::io::Result<()> {
        use std::io::Write;
        let mut file = std::fs::File::options().write(true).create_new(true).open(&probe)?;
        file.write_all(b"vigil check\n")?;
        file.sync_all()
    };
    let written = write();
    let removed = std::fs::remove_file(&probe);
    written.map_err(cannot)?;
    removed.map_err(cannot)?;
    Ok(format!("{place} can be written"))
}

fn disk_space(dir: &Path, warn_mib: u32) -> Result<String> {
    let place = existing(dir);
    let stat = statvfs(&place).map_err(|e| {
        Error::io(Culprit::Disk, format!("free space of {} is unknown", place.display()), e.into())
    })?;
    let free = stat.blocks_available() as u64 * stat.fragment_size() as u64 / (1 << 20);
    if free < u64::from(warn_mib) {
        let what =
            format!("{free} MiB are free under {}, the box alarms below {warn_mib} MiB", place.display());
        return Err(Error::new(Kind::NoSpace, Culprit::Disk, what)
            .remedy("free space, or lower outbox.warn_free_mib"));
    }
    Ok(format!("{free} MiB free"))
}

/// The models are those of the manifest, ONNX Runtime loads and runs them, and the calibration
/// supports the false match rate that was asked for.
fn models(config: &Config, to: &mut Looker<'_>) {
    let key = "models.dir";
    let manifest = match Manifest::load(&config.models.dir) {
        Ok(manifest) => manifest,
        Err(e) => {
            to.note("model manifest", key, Err(e));
            to.not_checked("models", "there is no manifest to compare them with");
            return;
        }
    };
    let mut sound = true;
    for entry in &manifest.models {
        let read = manifest
            .read(entry.slot)
            .map(|_| format!("SHA-256 {}…", &entry.sha256[..entry.sha256.len().min(12)]));
        sound &= to.note(&format!("model {}", entry.name), key, read);
    }
    let runtime_key = if config.models.runtime.is_some() { "models.runtime" } else { key };
    match Runtime::load(&config.models) {
        Ok(runtime) => {
            to.note("ONNX Runtime", runtime_key, Ok(runtime.library().display().to_string()));
            if sound {
                to.note("models run", key, run_models(&runtime, &manifest, config));
            } else {
                to.not_checked("models run", "not all of them are the ones of the manifest");
            }
        }
        Err(e) => {
            to.note("ONNX Runtime", runtime_key, Err(e));
            to.not_checked("models run", "there is no runtime");
        }
    }
    let from = if config.verify.calibration.is_some() { "verify.calibration" } else { key };
    let calibration =
        manifest.model(Slot::FaceEmbedding).and_then(|entry| match &config.verify.calibration {
            Some(path) => Calibration::load(path, &entry.model_ref()),
            None => Calibration::of_model(entry),
        });
    match calibration {
        Ok(calibration) => {
            let threshold = calibration.threshold(config.verify.fmr).map(|t| {
                let unproven = match t.unproven.as_slice() {
                    [] => String::new(),
                    some => format!("; not measured at this rate: {}", some.join(", ")),
                };
                format!("FMR {} holds for the worst population, {}{unproven}", t.fmr, t.population)
            });
            to.note("calibration", "verify.fmr", threshold);
            watch(config, &calibration, to);
        }
        Err(e) => drop(to.note("calibration", from, Err(e))),
    }
}

/// The master key, whether it and the model fit the gallery, and whether its rates are supported.
fn gallery(config: &Config, to: &mut Looker<'_>) {
    let Some(section) = &config.gallery else { return };
    let entry = Manifest::load(&config.models.dir).and_then(|m| {
        m.model(Slot::FaceEmbedding).map(|e| (e.model_ref(), Calibration::of_site(&config.verify, e)))
    });
    // What is wrong with models and calibration was said above.
    let Ok((model, Ok(calibration))) = entry else {
        return to.not_checked("gallery", "the embedding model or its calibration cannot be read");
    };
    let duplicates = calibration.threshold(section.duplicate_fmr);
    to.note(
        "gallery duplicates",
        "gallery.duplicate_fmr",
        duplicates.map(|t| format!("compared at FMR {}", t.fmr)),
    );
    if outside_unit(&section.key_file) {
        to.not_checked("gallery", "CREDENTIALS_DIRECTORY is set by systemd only, inside the unit");
        return;
    }
    let clock = Arc::new(SystemClock::default());
    let opened = gallery::setup(config, model, calibration.clone(), clock).and_then(|key| match key {
        Some((setup, master)) => Ok(Some((gallery::inspect(&setup, &master)?, master.id()))),
        None => Ok(None),
    });
    let entries = match opened {
        Ok(None) => return,
        Ok(Some((entries, key))) => {
            let found = entries.map_or("none yet".to_owned(), |n| format!("{n} entries"));
            to.note("gallery", "gallery.key_file", Ok(format!("{found}, key {key}")));
            entries.unwrap_or(0)
        }
        Err(e) => {
            to.note("gallery", "gallery.key_file", Err(e));
            return;
        }
    };
    // A door does not search, and a box with a door alone works however many people there are.
    match gallery::identification_threshold(&calibration, section.fpir, entries as usize) {
        Ok(t) => drop(to.note("gallery search", "gallery.fpir", Ok(format!("keeps FMR {:.1e}", t.fmr)))),
        Err(e) => to.warn("gallery search", "gallery.fpir", &e),
    }
}

/// Which cameras look for missing persons, for whom, and how many the calibration has a threshold for.
fn watch(config: &Config, calibration: &Calibration, to: &mut Looker<'_>) {
    let Some(watch) = &config.watch else { return };
    let supported = watch_threshold(calibration, watch, 1).map(|threshold| {
        format!(
            "looks for missing persons; in charge: {}. {} false sightings a day of {} passages hold for up to {} missing persons ({})",
            watch.authority,
            watch.false_sightings_per_day,
            watch.passages_per_day,
            watch_capacity(calibration, watch),
            threshold.population,
        )
    });
    match supported {
        Ok(line) => {
            for (n, camera) in watch.cameras.iter().enumerate() {
                to.note(&format!("camera {camera}"), &format!("watch.cameras[{n}]"), Ok(line.clone()));
            }
        }
        Err(e) => drop(to.note("watch", "watch.false_sightings_per_day", Err(e))),
    }
}

/// Opens both networks, which compares their tensors with the manifest, and runs the detector on a
/// black picture.
fn run_models(runtime: &Runtime, manifest: &Manifest, config: &Config) -> Result<String> {
    let mut engine = Engine::open(runtime, manifest, &config.inference)?;
    let started = Instant::now();
    engine.detect_live(&RgbImage::filled(640, 480, [0; 3]))?;
    Ok(format!("the detector took {} ms", started.elapsed().as_millis()))
}

fn passwords(config: &Config, to: &mut Looker<'_>) {
    let mut files = Vec::new();
    for (n, camera) in config.cameras.iter().enumerate() {
        files.push((format!("camera[{n}].password_file"), camera.password_file.as_deref()));
    }
    files.push(("mqtt.password_file".to_owned(), config.mqtt.password_file.as_deref()));
    let broker = config.broker.as_ref().and_then(|b| b.password_file.as_deref());
    files.push(("broker.password_file".to_owned(), broker));
    let locks = config.locks.as_ref().and_then(|l| l.password_file.as_deref());
    files.push(("locks.password_file".to_owned(), locks));
    for (n, door) in config.doors.iter().enumerate() {
        let token = door.actuator.as_ref().and_then(|a| a.token_file.as_deref());
        files.push((format!("door[{n}].actuator.token_file"), token));
    }
    for (key, file) in files.into_iter().filter_map(|(key, file)| Some((key, file?))) {
        let what = format!("{key} {}", file.display());
        if outside_unit(file) {
            to.not_checked(&what, "CREDENTIALS_DIRECTORY is set by systemd only, inside the unit");
        } else {
            to.note(&what, &key, Secret::resolve(None, Some(file)).map(|_| "readable".to_owned()));
        }
    }
}

/// The certificates that documents are checked with, and a key of the site's own.
fn document(config: &Config, to: &mut Looker<'_>) {
    if let Some(folder) = &config.document.trust {
        let loaded = TrustStore::load(folder, jiff::Timestamp::now()).and_then(|store| {
            let trust = store.summary();
            if store.is_empty() {
                return Err(Error::config(format!(
                    "{} holds no certificate of an issuing state",
                    folder.display()
                ))
                .remedy("put master lists (.ml) or certificates (.cer, .pem) into it"));
            }
            let skipped = match trust.skipped.first() {
                Some(first) => format!(", {} left out: {}: {}", trust.skipped_total, first.what, first.why),
                None => String::new(),
            };
            let lists = (trust.revocation_lists, trust.stale_revocation_lists);
            Ok(format!(
                "{} states' certificates, {} revocation lists, {} of them stale{skipped}",
                trust.anchors, lists.0, lists.1
            ))
        });
        to.note("document trust", "document.trust", loaded);
    }
    if let Some(file) = config.document.link_key_file.as_deref().filter(|_| config.document.link) {
        let key = "document.link_key_file";
        if outside_unit(file) {
            to.not_checked(key, "CREDENTIALS_DIRECTORY is set by systemd only, inside the unit");
        } else {
            let read = LinkKey::open(Some(file), &config.identity.state_dir);
            to.note(key, key, read.map(|_| "readable".to_owned()));
        }
    }
}

/// A credential that only the unit can see.
fn outside_unit(file: &Path) -> bool {
    file.starts_with("${CREDENTIALS_DIRECTORY}")
}

fn tls(tls: &TlsConfig, to: &mut Looker<'_>) {
    for (key, file) in [("mqtt.tls.ca_file", &tls.ca_file), ("mqtt.tls.cert_file", &tls.cert_file)] {
        if let Some(file) = file {
            to.note(key, key, certificates(file));
        }
    }
    if let Some(file) = &tls.key_file {
        if outside_unit(file) {
            to.not_checked(
                "mqtt.tls.key_file",
                "CREDENTIALS_DIRECTORY is set by systemd only, inside the unit",
            );
        } else {
            let key = PrivateKeyDer::from_pem_file(file).map(|_| file.display().to_string());
            to.note(
                "mqtt.tls.key_file",
                "mqtt.tls.key_file",
                key.map_err(|e| unreadable(file, "PRIVATE KEY", &e)),
            );
        }
    }
}

fn certificates(file: &Path) -> Result<String> {
    let wrong = |e: &rustls_pki_types::pem::Error| unreadable(file, "CERTIFICATE", e);
    let read = CertificateDer::pem_file_iter(file).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    let count = read.map_err(|e| wrong(&e))?.len();
    if count == 0 {
        return Err(wrong(&rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(format!("{}, {count} found", file.display()))
}

fn unreadable(file: &Path, kind: &str, e: &rustls_pki_types::pem::Error) -> Error {
    let why = match e {
        rustls_pki_types::pem::Error::Io(io) => io.to_string(),
        rustls_pki_types::pem::Error::NoItemsFound => "nothing of this kind is in it".to_owned(),
        other => format!("{other:?}"),
    };
    Error::config(format!("{} holds no readable PEM {}: {why}", file.display(), kind.to_lowercase()))
        .remedy(format!("it must be readable and hold -----BEGIN {kind}-----"))
}

fn elements(config: &Config, to: &mut Looker<'_>) {
    if config.cameras.is_empty() {
        to.not_checked("GStreamer", "there is no camera: only document_only requests can be answered");
        return;
    }
    for (n, camera) in config.cameras.iter().enumerate() {
        let key = format!("camera[{n}].url");
        let found = capture::check_elements(&camera.url).map(|n| format!("{n} elements found"));
        to.note(&format!("GStreamer for camera {}", camera.name), &key, found);
        recording(&camera.url, &format!("camera {}", camera.name), &key, to);
    }
}

/// A recording must be there. A device may come later, as a network camera may: the daemon waits
/// for it, so it belongs to the live layer.
fn recording(url: &SourceUrl, what: &str, key: &str, to: &mut Looker<'_>) {
    // A folder opens like a file, and as seldom where its owner forbids it.
    let (SourceUrl::File(path) | SourceUrl::Tiff(path)) = url else { return };
    let result = std::fs::File::open(path).map(|_| format!("{path} can be opened")).map_err(|e| {
        Error::io(Culprit::Camera, format!("{path} cannot be opened"), e)
            .remedy("the recording must be readable by the daemon's user")
    });
    to.note(what, key, result);
}

/// What is screwed to the doors, as far as it can be known without a person at one.
fn doors(config: &Config, to: &mut Looker<'_>) {
    if config.doors.is_empty() {
        return;
    }
    if config.gallery.is_none() {
        let e =
            Error::config("a door knows nobody without a gallery").remedy("add [gallery], and enrol people");
        to.warn("doors", "door", &e);
    }
    let calibration = Manifest::load(&config.models.dir)
        .and_then(|manifest| Calibration::of_site(&config.verify, manifest.model(Slot::FaceEmbedding)?));
    for (n, door) in config.doors.iter().enumerate() {
        if let (Some(fmr), Ok(calibration)) = (door.fmr, &calibration) {
            let found =
                calibration.threshold(fmr).map(|t| format!("FMR {} holds for {}", t.fmr, t.population));
            to.note(&format!("door {}: calibration", door.name), &format!("door[{n}].fmr"), found);
        }
        for (m, reader) in door.readers.iter().enumerate() {
            // It may be plugged in later, and a running daemon holds it.
            let what = format!("door {}: reader {}", door.name, reader.device.display());
            let key = format!("door[{n}].reader[{m}].device");
            match std::fs::metadata(&reader.device) {
                Ok(_) => drop(to.note(&what, &key, Ok("is there".to_owned()))),
                Err(e) => {
                    let e = Error::io(Culprit::Host, format!("{} is not there", reader.device.display()), e)
                        .remedy("plug it in; ls -l /dev/input/by-id names what is there");
                    to.warn(&what, &key, &e);
                }
            }
        }
    }
    let lacking: BTreeSet<_> = config
        .doors
        .iter()
        .flat_map(|d| &d.prompts)
        .flat_map(|l| voice::texts().into_iter().filter(move |t| t.language == *l))
        .map(|t| config.prompts.dir.join(t.language.word()).join(format!("{}.wav", t.name)))
        .filter(|path| !path.is_file())
        .collect();
    if let Some(first) = lacking.first() {
        let what = format!("{} recordings are missing, {} the first", lacking.len(), first.display());
        to.warn("prompts", "prompts.dir", &Error::config(what).remedy("run vigil prompts --config FILE"));
    }
}

/// Whether the address could be listened on now.
fn port(address: SocketAddr) -> Result<String> {
    match TcpListener::bind(address) {
        Ok(_) if address.port() == 0 => Ok("any free port".to_owned()),
        Ok(_) => Ok(format!("{address} is free")),
        Err(e) => Err(Error::io(Culprit::Host, format!("{address} cannot be listened on"), e).remedy(
            "stop what listens there (perhaps Vigil itself: systemctl stop vigil), or choose another port",
        )),
    }
}
