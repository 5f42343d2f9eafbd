//! The database file: the only code of the gallery that speaks SQL.

use std::fs::OpenOptions;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, OptionalExtension, params};
use uuid::Uuid;

use super::crypto::OVERHEAD;
use crate::base::{Culprit, Error, Kind, Result};
use crate::infer::sface::DIMENSIONS;

/// The file in the state directory.
pub(super) const FILE: &str = "gallery.db";
/// `VGGA`: Vigil's gallery.
const APPLICATION_ID: i64 = 0x5647_4741;
/// The layout below.
const USER_VERSION: i64 = 1;
/// How long another process may hold the database before this one gives up.
const BUSY: Duration = Duration::from_secs(5);
/// Pages of journal before they are folded into the database.
const JOURNAL_PAGES: i64 = 1024;

/// Bytes of a wrapped data key.
pub(super) const WRAPPED: usize = 32 + OVERHEAD;
/// Bytes of a sealed template.
pub(super) const TEMPLATE: usize = 4 * DIMENSIONS + OVERHEAD;
/// Bytes of a slot.
pub(super) const SLOT: usize = WRAPPED + TEMPLATE;
/// Slots in a row of table `slot`. A row fills a page of its own and never changes its size, so
/// SQLite overwrites it where it stands and has no reason to move it or to keep a copy.
const PER_BUCKET: u32 = 6;

const SCHEMA: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE vault (id INTEGER PRIMARY KEY CHECK (id = 1), body BLOB NOT NULL) STRICT;
CREATE TABLE slot (bucket INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE entry (
    id      BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    slot    INTEGER NOT NULL UNIQUE,
    person  BLOB    NOT NULL UNIQUE CHECK (length(person) = 32),
    until_s INTEGER NOT NULL,
    rev     INTEGER NOT NULL,
    record  BLOB    NOT NULL
) STRICT;
CREATE INDEX entry_rev ON entry (rev);
CREATE INDEX entry_until ON entry (until_s);
CREATE TABLE audit (
    seq  INTEGER PRIMARY KEY,
    at_s INTEGER NOT NULL,
    body TEXT    NOT NULL,
    hash BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TABLE command (
    source TEXT    PRIMARY KEY,
    seq    INTEGER NOT NULL,
    digest BLOB    NOT NULL,
    reply  TEXT    NOT NULL
) STRICT;
CREATE TABLE notice (n INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL) STRICT;
";

/// Turns a database error into ours.
pub(super) fn fault(what: &str) -> impl Fn(rusqlite::Error) -> Error + '_ {
    move |e| {
        let kind = match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Kind::NoSpace,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Corrupt,
            Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                Kind::Permission
            }
            _ => Kind::Unavailable,
        };
        let error = Error::new(kind, Culprit::Disk, format!("gallery: cannot {what}"));
        let error = match kind {
            Kind::NoSpace => error.remedy("free space under box.state_dir"),
            Kind::Corrupt => error.remedy("restore gallery.db from a copy, or move it away and enrol again"),
            Kind::Permission => error.remedy("run as the user that the box's state directory belongs to"),
            _ => error,
        };
        error.with_source(e)
    }
}

/// Opens or creates the database in `dir`. Also says whether it was created.
pub(super) fn open(dir: &Path) -> Result<(Connection, bool)> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| {
        Error::io(Culprit::Disk, format!("cannot create {}", dir.display()), e)
            .remedy("create it and give it to the user that Vigil runs as")
    })?;
    let path = dir.join(FILE);
    OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(|e| {
        Error::io(Culprit::Disk, format!("cannot open {}", path.display()), e)
            .remedy("run as the user that the box's state directory belongs to")
    })?;
    let conn = Connection::open_with_flags(
        &path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(fault("open the database"))?;
    conn.busy_timeout(BUSY).map_err(fault("set a timeout"))?;
    let set_up = fault("set up the database");
    // Temporary copies stay in memory, never in a file beside the database.
    conn.pragma_update(None, "temp_store", "MEMORY").map_err(&set_up)?;
    conn.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(())).map_err(&set_up)?;
    let fresh = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get::<_, i64>(0))
        .map_err(fault("read the database"))?
        == 0;
    if fresh {
        conn.pragma_update(None, "page_size", 4096).map_err(&set_up)?;
    }
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |r| r.get(0)).map_err(&set_up)?;
    if mode != "wal" {
        return Err(Error::new(
            Kind::Unsupported,
            Culprit::Disk,
            format!("gallery: journal mode is {mode}, not wal"),
        )
        .remedy("put the state directory on a local file system"));
    }
    conn.pragma_update(None, "synchronous", "FULL").map_err(&set_up)?;
    conn.pragma_update(None, "wal_autocheckpoint", JOURNAL_PAGES).map_err(&set_up)?;
    conn.pragma_update(None, "journal_size_limit", 0).map_err(&set_up)?;
    if fresh {
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE;{SCHEMA}PRAGMA application_id={APPLICATION_ID};PRAGMA user_version={USER_VERSION};COMMIT;"
        ))
        .map_err(&set_up)?;
        return Ok((conn, true));
    }
    let read = fault("read the database");
    let number = |name: &str| conn.pragma_query_value(None, name, |r| r.get::<_, i64>(0)).map_err(&read);
    if number("application_id")? != APPLICATION_ID {
        return Err(Error::new(Kind::Corrupt, Culprit::Disk, format!("{FILE} is not a gallery"))
            .remedy("move the file away"));
    }
    let version = number("user_version")?;
    if version > USER_VERSION {
        return Err(Error::new(
            Kind::Unsupported,
            Culprit::Host,
            format!("{FILE} has layout {version}, this program knows {USER_VERSION}"),
        )
        .remedy("run the newer Vigil"));
    }
    let verdict: String =
        conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(fault("check the database"))?;
    if verdict != "ok" {
        return Err(Error::new(
            Kind::Corrupt,
            Culprit::Disk,
            format!("{FILE} is damaged: {}", verdict.trim()),
        )
        .remedy("restore gallery.db from a copy, or move it away and enrol again"));
    }
    // Made but never filled: a first start that was cut off.
    let empty = get(&conn, "key")?.is_none();
    Ok((conn, empty))
}

/// A value of table `meta`.
pub(super) fn get(conn: &Connection, name: &str) -> Result<Option<Vec<u8>>> {
    conn.query_row("SELECT value FROM meta WHERE name = ?1", [name], |r| r.get(0))
        .optional()
        .map_err(fault("read the gallery's own record"))
}

pub(super) fn set(conn: &Connection, name: &str, value: &[u8]) -> Result<()> {
    conn.execute(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        params![name, value],
    )
    .map(drop)
    .map_err(fault("write the gallery's own record"))
}

pub(super) fn get_number(conn: &Connection, name: &str) -> Result<u64> {
    Ok(get(conn, name)?.and_then(|v| v.try_into().ok()).map_or(0, u64::from_be_bytes))
}

pub(super) fn set_number(conn: &Connection, name: &str, value: u64) -> Result<()> {
    set(conn, name, &value.to_be_bytes())
}

fn place(slot: u32) -> (i64, usize) {
    (i64::from(slot / PER_BUCKET) + 1, (slot % PER_BUCKET) as usize * SLOT)
}

/// Overwrites a slot, in place.
pub(super) fn write_slot(conn: &Connection, slot: u32, bytes: &[u8; SLOT]) -> Result<()> {
    let f = fault("write a slot");
    let (bucket, offset) = place(slot);
    conn.prepare_cached("INSERT INTO slot (bucket, body) VALUES (?1, zeroblob(?2)) ON CONFLICT DO NOTHING")
        .and_then(|mut s| s.execute(params![bucket, i64::from(PER_BUCKET) * SLOT as i64]))
        .map_err(&f)?;
    let mut blob = conn.blob_open(MAIN_DB, "slot", "body", bucket, false).map_err(&f)?;
    blob.write_at(bytes, offset).map_err(&f)
}

/// Overwrites a slot with zeros.
pub(super) fn erase_slot(conn: &Connection, slot: u32) -> Result<()> {
    write_slot(conn, slot, &[0; SLOT])
}

/// The bytes of a slot.
pub(super) fn read_slot(conn: &Connection, slot: u32) -> Result<[u8; SLOT]> {
    let f = fault("read a slot");
    let (bucket, offset) = place(slot);
    let blob = conn.blob_open(MAIN_DB, "slot", "body", bucket, true).map_err(&f)?;
    let mut bytes = [0; SLOT];
    blob.read_at_exact(&mut bytes, offset).map_err(&f)?;
    Ok(bytes)
}

/// An entry as it is on disk.
pub(super) struct Stored {
    pub(super) id: Uuid,
    pub(super) slot: u32,
    pub(super) until_s: i64,
    pub(super) record: Vec<u8>,
    pub(super) slot_bytes: Vec<u8>,
}

/// Calls `each` for every entry changed after revision `rev`, in the order of their slots.
pub(super) fn each_since(
    conn: &Connection,
    rev: u64,
    mut each: impl FnMut(Stored) -> Result<()>,
) -> Result<()> {
    let f = fault("read the entries");
    let mut statement = conn
        .prepare_cached(
            "SELECT e.id, e.slot, e.until_s, e.record, substr(s.body, (e.slot % ?2) * ?3 + 1, ?3)
             FROM entry e JOIN slot s ON s.bucket = e.slot / ?2 + 1 WHERE e.rev > ?1 ORDER BY e.slot",
        )
        .map_err(&f)?;
    let rev = i64::try_from(rev).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![rev, PER_BUCKET, SLOT as i64]).map_err(&f)?;
    while let Some(r) = rows.next().map_err(&f)? {
        let id: Vec<u8> = r.get(0).map_err(&f)?;
        each(Stored {
            id: Uuid::from_slice(&id).map_err(|_| Error::internal("an entry's id has another length"))?,
            slot: r.get(1).map_err(&f)?,
            until_s: r.get(2).map_err(&f)?,
            record: r.get(3).map_err(&f)?,
            slot_bytes: r.get(4).map_err(&f)?,
        })?;
    }
    Ok(())
}

/// The ids of all entries.
pub(super) fn ids(conn: &Connection) -> Result<Vec<Uuid>> {
    let f = fault("read the entries");
    let mut statement = conn.prepare_cached("SELECT id FROM entry").map_err(&f)?;
    let mut rows = statement.query([]).map_err(&f)?;
    let mut out = Vec::new();
    while let Some(r) = rows.next().map_err(&f)? {
        let id: Vec<u8> = r.get(0).map_err(&f)?;
        out.push(Uuid::from_slice(&id).map_err(|_| Error::internal("an entry's id has another length"))?);
    }
    Ok(out)
}

/// How many entries there are.
pub(super) fn count(conn: &Connection) -> Result<u32> {
    conn.query_row("SELECT count(*) FROM entry", [], |r| r.get(0)).map_err(fault("count the entries"))
}

/// Folds the journal into the database and cuts it to nothing, so that what was overwritten is not
/// in it either. `false` if another process reads an older state for too long.
pub(super) fn checkpoint(conn: &Connection) -> Result<bool> {
    let deadline = Instant::now() + BUSY;
    loop {
        let busy: i64 = conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))
            .map_err(fault("fold the journal"))?;
        if busy == 0 {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
