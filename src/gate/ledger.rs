//! What doors remember over a restart: failures, and on which side of a zone people are.
//!
//! # On disk
//!
//! `doors.db` in the state directory, readable by its owner alone: SQLite 3, `application_id`
//! 0x56474452 (`VGDR`), `user_version` 1, WAL, `synchronous=FULL`, `secure_delete`, exclusive lock.
//!
//! | table | columns |
//! |---|---|
//! | `failure` | `subject`, `at_us`: one row for each failure that still counts |
//! | `place` | `person`, `zone`, `way` (0 in, 1 out), `at_us`: where a person was last let through |
//!
//! People are in it by their pseudonym. What is older than [`KEEP`] is deleted at every opening
//! and once a day: no configuration looks further back. A file that fails its check is moved aside
//! (`doors.db.corrupt-{ms}`, one is kept) and begun anew: who was locked out is then forgiven,
//! which is told in the log, because doors that never open again help nobody.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use super::door::{Change, Memory};
use crate::base::{Culprit, Error, Kind, Name, Result};
use crate::config::Way;

/// Longest time that any configuration looks back: `forgive_min` at its most.
const KEEP: SignedDuration = SignedDuration::from_hours(24 * 30);
/// How often what is older is deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(86_400);
/// `VGDR`.
const APPLICATION_ID: i64 = 0x5647_4452;
const VERSION: i64 = 1;
const FILE: &str = "doors.db";

/// The open file. Writing blocks: it is for a thread that may.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    swept: Instant,
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    // A panic inside a transaction rolls it back.
    open.lock().unwrap_or_else(|e| e.into_inner())
}

fn disk(what: &str, path: &Path, e: rusqlite::Error) -> Error {
    let kind = match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => Kind::NoSpace,
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => Kind::Corrupt,
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Kind::Refused,
        Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly) => Kind::Permission,
        _ => Kind::Unavailable,
    };
    let error = Error::new(kind, Culprit::Disk, format!("{what} {}", path.display())).with_source(e);
    match kind {
        Kind::Refused => error.remedy("another Vigil uses this state directory: stop it"),
        Kind::NoSpace => error.remedy("free space under box.state_dir"),
        _ => error.remedy("the directory must exist and belong to the daemon's user"),
    }
}

impl Ledger {
    /// Opens the file in `state_dir`, creating it if need be, and says what is remembered at `now`.
    pub fn open(state_dir: &Path, now: Timestamp) -> Result<(Self, Memory)> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = state_dir.join(FILE);
        std::fs::create_dir_all(state_dir)
            .and_then(|()| std::fs::File::options().create(true).append(true).mode(0o600).open(&path))
            .map_err(|e| {
                Error::io(Culprit::Disk, format!("cannot open the doors' memory {}", path.display()), e)
                    .remedy("the directory must exist and belong to the daemon's user")
            })?;
        let (connection, memory) = match begin(&path, now) {
            Ok(begun) => begun,
            Err(e) if e.kind() == Kind::Corrupt => {
                move_aside(&path)?;
                tracing::error!(error = %e.chain(), "the doors' memory was damaged and is begun anew: who was locked out is forgiven");
                begin(&path, now)?
            }
            Err(e) => return Err(e),
        };
        Ok((Self { path, open: Mutex::new(Open { connection, swept: Instant::now() }) }, memory))
    }

    /// Makes changes durable, all or none.
    pub fn write(&self, changes: &[Change]) -> Result<()> {
        let mut open = lock(&self.open);
        if open.swept.elapsed() >= SWEEP_EVERY {
            sweep(&open.connection, Timestamp::now()).map_err(|e| disk("cannot clear", &self.path, e))?;
            open.swept = Instant::now();
        }
        let write = |connection: &mut Connection| -> rusqlite::Result<()> {
            let tx = connection.transaction()?;
            for change in changes {
                match change {
                    Change::Failed { subject, at } => tx
                        .prepare_cached("INSERT INTO failure (subject, at_us) VALUES (?1, ?2)")?
                        .execute((subject, at.as_microsecond()))?,
                    Change::Forgiven { subject } => {
                        tx.prepare_cached("DELETE FROM failure WHERE subject = ?1")?.execute([subject])?
                    }
                    Change::Moved { person, zone, way, at } => tx
                        .prepare_cached(
                            "INSERT OR REPLACE INTO place (person, zone, way, at_us) VALUES (?1, ?2, ?3, ?4)",
                        )?
                        .execute((person, zone.as_str(), *way == Way::Out, at.as_microsecond()))?,
                };
            }
            tx.commit()
        };
        write(&mut open.connection).map_err(|e| disk("cannot write", &self.path, e))
    }

    /// Forgets a person who was erased from the gallery.
    pub fn forget(&self, person: &str) -> Result<()> {
        let mut open = lock(&self.open);
        let forget = |connection: &mut Connection| -> rusqlite::Result<()> {
            let tx = connection.transaction()?;
            tx.execute("DELETE FROM failure WHERE subject = ?1", [person])?;
            tx.execute("DELETE FROM place WHERE person = ?1", [person])?;
            tx.commit()?;
            // What was overwritten in the file still stands in the log until then.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        };
        forget(&mut open.connection).map_err(|e| disk("cannot write", &self.path, e))
    }
}

fn begin(path: &Path, now: Timestamp) -> Result<(Connection, Memory)> {
    let of = |e| disk("cannot open the doors' memory", path, e);
    let connection = Connection::open(path).map_err(of)?;
    let version = (|| -> rusqlite::Result<i64> {
        connection.busy_timeout(Duration::from_millis(500))?;
        connection.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA secure_delete = ON; BEGIN IMMEDIATE; COMMIT;",
        )?;
        connection.query_row("PRAGMA user_version", [], |r| r.get(0))
    })()
    .map_err(of)?;
    if version > VERSION {
        return Err(Error::new(
            Kind::Unsupported,
            Culprit::Disk,
            format!("{} was written by a newer Vigil", path.display()),
        )
        .remedy("run that version, or move the file away"));
    }
    (|| -> rusqlite::Result<()> {
        connection.execute_batch(&format!(
            "BEGIN;
             PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};
             CREATE TABLE IF NOT EXISTS failure (subject TEXT NOT NULL, at_us INTEGER NOT NULL) STRICT;
             CREATE INDEX IF NOT EXISTS failure_of ON failure (subject, at_us);
             CREATE TABLE IF NOT EXISTS place (person TEXT NOT NULL, zone TEXT NOT NULL, way INTEGER NOT NULL,
               at_us INTEGER NOT NULL, PRIMARY KEY (person, zone)) STRICT, WITHOUT ROWID;
             COMMIT;"
        ))?;
        sweep(&connection, now)
    })()
    .map_err(of)?;
    let sound: String = connection.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(of)?;
    if sound != "ok" {
        return Err(Error::new(Kind::Corrupt, Culprit::Disk, format!("{}: {sound}", path.display())));
    }
    let memory = read(&connection).map_err(of)?;
    Ok((connection, memory))
}

/// Deletes what is too old to count. What lies in the future stays: the clock may have gone back.
fn sweep(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let before = now.saturating_sub(KEEP).map_or(i64::MIN, |t| t.as_microsecond());
    connection.execute("DELETE FROM failure WHERE at_us < ?1", [before])?;
    connection.execute("DELETE FROM place WHERE at_us < ?1", [before])?;
    Ok(())
}

fn read(connection: &Connection) -> rusqlite::Result<Memory> {
    let mut memory = Memory::default();
    let mut rows = connection.prepare("SELECT subject, at_us FROM failure ORDER BY at_us")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        if let Ok(at) = Timestamp::from_microsecond(row.get(1)?) {
            memory.apply(&Change::Failed { subject: row.get(0)?, at });
        }
    }
    let mut rows = connection.prepare("SELECT person, zone, way, at_us FROM place ORDER BY at_us")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let way = if row.get::<_, i64>(2)? == 0 { Way::In } else { Way::Out };
        if let (Ok(zone), Ok(at)) =
            (Name::new(row.get::<_, String>(1)?), Timestamp::from_microsecond(row.get(3)?))
        {
            memory.apply(&Change::Moved { person: row.get(0)?, zone, way, at });
        }
    }
    Ok(memory)
}

fn move_aside(path: &Path) -> Result<()> {
    let cannot = |e| Error::io(Culprit::Disk, format!("cannot move {} aside", path.display()), e);
    let dir = path.parent().unwrap_or(Path::new("."));
    for old in std::fs::read_dir(dir).map_err(cannot)?.flatten() {
        if old.file_name().to_string_lossy().starts_with("doors.db.corrupt-") {
            let _ = std::fs::remove_file(old.path());
        }
    }
    let aside = dir.join(format!("{FILE}.corrupt-{}", Timestamp::now().as_millisecond()));
    std::fs::rename(path, aside).map_err(cannot)?;
    for ending in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(dir.join(format!("{FILE}{ending}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + s).unwrap()
    }

    #[test]
    fn a_restart_forgives_nobody_and_a_damaged_file_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let zone = Name::new("tower").unwrap();
        let failed = |s| Change::Failed { subject: "p-1".into(), at: at(s) };
        let moved = Change::Moved { person: "p-1".into(), zone, way: Way::In, at: at(3) };
        {
            let (ledger, memory) = Ledger::open(dir.path(), at(0)).unwrap();
            assert_eq!(format!("{memory:?}"), format!("{:?}", Memory::default()));
            ledger.write(&[failed(1), failed(2)]).unwrap();
            ledger.write(std::slice::from_ref(&moved)).unwrap();
            let e = Ledger::open(dir.path(), at(0)).unwrap_err();
            assert_eq!(e.kind(), Kind::Refused, "{}", e.chain());
        }
        let mut expected = Memory::default();
        for change in [failed(1), failed(2), moved] {
            expected.apply(&change);
        }
        let (ledger, memory) = Ledger::open(dir.path(), at(4)).unwrap();
        assert_eq!(format!("{memory:?}"), format!("{expected:?}"));
        ledger.forget("p-1").unwrap();
        drop(ledger);
        let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        assert!(!bytes.windows(3).any(|w| w == b"p-1"), "an erased person is still in the file");

        let mut bytes = vec![0u8; 8192];
        bytes[..16].copy_from_slice(b"not a database!!");
        std::fs::write(dir.path().join(FILE), bytes).unwrap();
        let (_, memory) = Ledger::open(dir.path(), at(5)).unwrap();
        assert_eq!(format!("{memory:?}"), format!("{:?}", Memory::default()));
        let aside = std::fs::read_dir(dir.path()).unwrap().flatten();
        assert_eq!(aside.filter(|f| f.file_name().to_string_lossy().contains("corrupt")).count(), 1);
    }

    #[test]
    fn what_is_too_old_to_count_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(dir.path(), at(0)).unwrap();
        ledger.write(&[Change::Failed { subject: "p-1".into(), at: at(0) }]).unwrap();
        drop(ledger);
        let later = at(0).checked_add(KEEP + SignedDuration::from_secs(1)).unwrap();
        let (_, memory) = Ledger::open(dir.path(), later).unwrap();
        assert_eq!(format!("{memory:?}"), format!("{:?}", Memory::default()));
    }
}
