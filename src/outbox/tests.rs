use std::process::Command;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::base::SystemClock;

fn config() -> OutboxConfig {
    OutboxConfig { reserve_mib: 1, warn_free_mib: 0, max_mib: 64 }
}

fn open_with(dir: &Path, config: &OutboxConfig) -> Outbox {
    Outbox::open(dir, config, "/vigil/v1/s/b".to_owned(), Arc::new(SystemClock::default())).unwrap()
}

fn open(dir: &Path) -> Outbox {
    open_with(dir, &config())
}

fn draft(n: u64) -> Draft {
    Draft {
        kind: EventKind::VerifyResult,
        subject: Some("lobby".to_owned()),
        time: Timestamp::now(),
        not_after: Some(Timestamp::now()),
        data: json!({ "n": n, "trap": "\"replayed\":false" }),
    }
}

fn record(outbox: &Outbox, n: u64) -> Result<Envelope> {
    outbox.record(draft(n)).blocking_recv().unwrap()
}

fn block<T>(future: impl std::future::Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn pending(outbox: &Outbox) -> Vec<Row> {
    block(outbox.pending(0, 100_000)).unwrap()
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !check() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn parse(payload: &[u8]) -> Envelope {
    serde_json::from_slice(payload).unwrap()
}

#[test]
fn what_is_recorded_survives_and_is_deleted_only_when_acknowledged() {
    let dir = TempDir::new().unwrap();
    let outbox = open(dir.path());
    let boot = outbox.boot_id();
    let sent: Vec<Envelope> = (0..5).map(|n| record(&outbox, n).unwrap()).collect();
    assert_eq!(sent.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(sent.iter().all(|e| e.bootid == boot && e.id.get_version_num() == 7));
    let rows = pending(&outbox);
    outbox.ack(rows[1].row);
    eventually("the row goes", || outbox.stats().depth == 4);
    drop(outbox);

    let outbox = open(dir.path());
    assert_ne!(outbox.boot_id(), boot);
    let rows = pending(&outbox);
    let kept: Vec<Envelope> = rows.iter().map(|r| parse(&r.payload(false))).collect();
    assert_eq!(kept, [&sent[0], &sent[2], &sent[3], &sent[4]].map(Clone::clone));
    // The same bytes but for the one attribute, and the trap in the data is left alone.
    let replayed = parse(&rows[0].payload(true));
    assert!(replayed.replayed);
    assert_eq!(Envelope { replayed: false, ..replayed }, sent[0]);
    assert_eq!(record(&outbox, 9).unwrap().seq, 1, "a new boot counts from 1");
    assert_eq!(outbox.stats().depth, 5);
}

#[test]
fn attempts_are_remembered_and_rows_can_be_fetched_again() {
    let dir = TempDir::new().unwrap();
    let outbox = open(dir.path());
    record(&outbox, 1).unwrap();
    let row = pending(&outbox).remove(0);
    assert!(!row.attempted);
    outbox.mark_attempted(row.row);
    assert!(block(outbox.fetch(vec![row.row, 77])).unwrap()[0].attempted);
    assert_eq!(outbox.last_row(), row.row);
}

#[test]
fn two_processes_cannot_share_one_outbox() {
    let dir = TempDir::new().unwrap();
    let first = open(dir.path());
    let e = Outbox::open(dir.path(), &config(), String::new(), Arc::new(SystemClock::default())).unwrap_err();
    assert!(e.to_string().contains("in use by another process"), "{e}");
    drop(first);
    open(dir.path());
}

#[test]
fn one_event_has_a_size_limit_and_its_neighbours_do_not_suffer() {
    let dir = TempDir::new().unwrap();
    let outbox = open(dir.path());
    let mut big = draft(0);
    big.data = json!("x".repeat(MAX_EVENT_BYTES));
    let (a, b, c) = (outbox.record(draft(1)), outbox.record(big), outbox.record(draft(2)));
    assert_eq!(a.blocking_recv().unwrap().unwrap().seq, 1);
    assert_eq!(b.blocking_recv().unwrap().unwrap_err().kind(), Kind::TooLarge);
    assert_eq!(c.blocking_recv().unwrap().unwrap().seq, 2);
}

#[test]
fn a_corrupt_database_is_moved_aside_loudly_and_the_box_starts() {
    for damage in ["header", "page", "text"] {
        let dir = TempDir::new().unwrap();
        let outbox = open(dir.path());
        let ids: Vec<Uuid> = (0..200).map(|n| record(&outbox, n).unwrap().id).collect();
        drop(outbox);
        let path = dir.path().join("outbox.db");
        let mut bytes = std::fs::read(&path).unwrap();
        let end = bytes.len();
        match damage {
            "header" => bytes[..64].fill(0xAA),
            "page" => bytes[end - 4096..].fill(0xAA),
            _ => bytes = b"this is a text file, not a database, and it is long enough to be read".to_vec(),
        }
        std::fs::write(&path, bytes).unwrap();

        let outbox = open(dir.path());
        let aside = std::fs::read_dir(dir.path())
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("outbox.db.corrupt-"))
            .count();
        assert!(aside >= 1, "{damage}: nothing was moved aside");
        let alarm_of = |rows: &[Row]| {
            rows.iter().map(|r| parse(&r.payload(false))).find(|e| {
                e.ty == "vigil.v1.box.alarm" && e.data["message"].as_str().unwrap().contains("corrupt")
            })
        };
        eventually("the alarm is an event", || alarm_of(&pending(&outbox)).is_some());
        let carried = pending(&outbox).iter().filter(|r| ids.contains(&parse(&r.payload(false)).id)).count();
        if damage == "page" {
            assert!(carried > 100, "only {carried} of 200 events were carried over");
        }
        record(&outbox, 1).unwrap();
    }
}

#[test]
fn a_decayed_row_is_set_aside_and_the_others_go_on() {
    let dir = TempDir::new().unwrap();
    let outbox = open(dir.path());
    for n in 0..3 {
        record(&outbox, n).unwrap();
    }
    drop(outbox);
    let db = rusqlite::Connection::open(dir.path().join("outbox.db")).unwrap();
    db.execute("UPDATE event SET body = replace(body, '\"n\":1', '\"n\":8') WHERE row = 2", []).unwrap();
    drop(db);
    let outbox = open(dir.path());
    assert_eq!(pending(&outbox).iter().map(|r| r.row).collect::<Vec<_>>(), [1, 3]);
    eventually("counted", || outbox.stats().damaged == 1);
}

#[test]
fn a_newer_layout_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    let db = rusqlite::Connection::open(dir.path().join("outbox.db")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let e = Outbox::open(dir.path(), &config(), String::new(), Arc::new(SystemClock::default())).unwrap_err();
    assert_eq!(e.kind(), Kind::Unsupported);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "database and reserve, nothing moved");
}

#[test]
fn a_failed_commit_ends_the_handle_and_leaves_no_gap() {
    let dir = TempDir::new().unwrap();
    let outbox = open(dir.path());
    assert_eq!(record(&outbox, 1).unwrap().seq, 1);
    outbox.0.shared.fail_next.store(true, Ordering::Relaxed);
    assert!(record(&outbox, 2).is_err(), "a failed commit must not be ignored");
    eventually("it is opened again", || outbox.stats().reopened == 1 && outbox.ready().is_ok());
    let after = record(&outbox, 3).unwrap();
    let rows = pending(&outbox);
    let seqs: Vec<u64> = rows.iter().map(|r| r.seq).collect();
    assert_eq!(seqs, (1..=rows.len() as u64).collect::<Vec<_>>());
    assert!(rows.iter().any(|r| parse(&r.payload(false)).id == after.id));
    assert!(rows.iter().any(|r| r.kind == EventKind::BoxAlarm), "the failure is told");
}

#[test]
fn a_panic_of_the_writer_is_survived() {
    let dir = TempDir::new().unwrap();
    let outbox = open(dir.path());
    assert_eq!(record(&outbox, 1).unwrap().seq, 1);
    outbox.0.shared.panic_next.store(true, Ordering::Relaxed);
    assert!(outbox.record(draft(2)).blocking_recv().is_err(), "nothing was promised");
    assert_eq!(record(&outbox, 3).map(|e| e.data["n"].clone()).unwrap(), json!(3));
    let rows = pending(&outbox);
    assert_eq!(
        rows.iter().map(|r| r.seq).collect::<Vec<_>>(),
        (1..=rows.len() as u64).collect::<Vec<_>>(),
        "no gap"
    );
}

#[test]
fn at_the_size_limit_no_decision_is_taken_until_the_broker_has_some() {
    let dir = TempDir::new().unwrap();
    let outbox = open_with(dir.path(), &OutboxConfig { max_mib: 1, ..config() });
    let mut n = 0;
    while outbox.ready().is_ok() {
        let mut d = draft(n);
        d.data = json!("x".repeat(20_000));
        outbox.record(d).blocking_recv().unwrap().unwrap();
        n += 1;
        assert!(n < 200, "the limit was never reached");
    }
    assert_eq!(outbox.ready().unwrap_err().kind(), Kind::NoSpace);
    // A decision already under way is still written.
    record(&outbox, n).unwrap();
    for row in pending(&outbox) {
        outbox.ack(row.row);
    }
    eventually("it takes decisions again", || outbox.ready().is_ok());
}

/// A file system of a few MiB, if this user may mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(mib: u32) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|o| o.status.success());
        done.then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_writes_what_was_decided_and_refuses_the_rest() {
    let Some(disk) = SmallDisk::mount(6) else {
        eprintln!(
            "no tmpfs here (run the tests as root for a really full disk): SQLite's page limit stands in"
        );
        return full_by_page_limit();
    };
    let dir = disk.0.path().join("state");
    let outbox = open(&dir);
    record(&outbox, 0).unwrap();
    // Somebody else fills the disk to the last byte.
    let hog = disk.0.path().join("hog");
    let mut file = std::fs::File::create(&hog).unwrap();
    while std::io::Write::write(&mut file, &[1; 4096]).is_ok_and(|n| n > 0) {}
    while std::io::Write::write(&mut file, &[1; 1]).is_ok_and(|n| n > 0) {}
    drop(file);
    let mut written = 1u64;
    let mut last = Ok(());
    for n in 0..2000 {
        last = outbox.ready();
        if last.is_err() {
            break;
        }
        record(&outbox, n).unwrap();
        written += 1;
    }
    assert_eq!(last.unwrap_err().kind(), Kind::NoSpace, "after {written} events on a full disk");
    // Decisions under way when it was noticed are written out of the reserve.
    for n in 0..30 {
        record(&outbox, n).unwrap();
        written += 1;
    }
    let here = |rows: &[Row]| rows.iter().filter(|r| r.kind == EventKind::VerifyResult).count() as u64;
    assert_eq!(here(&pending(&outbox)), written);
    // A restart on the full disk starts, and still refuses.
    drop(outbox);
    let outbox = open(&dir);
    assert_eq!(here(&pending(&outbox)), written);
    assert_eq!(outbox.ready().unwrap_err().kind(), Kind::NoSpace);
    let alarms: Vec<Envelope> = pending(&outbox)
        .iter()
        .filter(|r| r.kind == EventKind::BoxAlarm)
        .map(|r| parse(&r.payload(false)))
        .collect();
    assert!(
        alarms.iter().any(|a| a.data["code"] == "disk_full" && a.data["state"] == "raised"),
        "{alarms:?}"
    );
    // Acknowledgements can be written too.
    let rows = pending(&outbox);
    for row in &rows {
        outbox.ack(row.row);
    }
    let newest = rows.last().unwrap().row;
    eventually("acknowledged rows go", || pending(&outbox).iter().all(|r| r.row > newest));
    // Space comes back: so does the reserve, and decisions are taken again.
    std::fs::remove_file(&hog).unwrap();
    eventually("ready again", || outbox.ready().is_ok());
    assert!(dir.join("outbox.reserve").exists());
    record(&outbox, 1).unwrap();
}

fn full_by_page_limit() {
    let dir = TempDir::new().unwrap();
    let outbox = open(dir.path());
    outbox.0.shared.squeeze.store(1, Ordering::Relaxed);
    let mut failed = None;
    for n in 0..500 {
        if let Err(e) = record(&outbox, n) {
            failed = Some(e);
            break;
        }
    }
    assert_eq!(failed.unwrap().kind(), Kind::NoSpace);
    assert_eq!(outbox.ready().unwrap_err().kind(), Kind::NoSpace);
    assert!(!dir.path().join("outbox.reserve").exists(), "the reserve was given back");
}

#[test]
fn the_page_limit_is_a_full_disk_too() {
    full_by_page_limit();
}

#[test]
fn recording_never_blocks_even_when_nobody_writes() {
    let dir = TempDir::new().unwrap();
    let outbox = open(dir.path());
    let started = Instant::now();
    let receivers: Vec<_> = (0..20_000).map(|n| outbox.record(draft(n))).collect();
    let handed_over = started.elapsed();
    let mut stored = 0u64;
    for rx in receivers {
        if rx.blocking_recv().unwrap().is_ok() {
            stored += 1;
        }
    }
    let stats = outbox.stats();
    assert_eq!(stored + stats.refused, 20_000, "every receiver is answered");
    assert_eq!(stored, stats.depth);
    eprintln!(
        "20,000 drafts handed over in {handed_over:?}, {stored} durable in {:?} and {} transactions, {} refused",
        started.elapsed(),
        stats.commits,
        stats.refused
    );
}

#[derive(Clone, Debug)]
enum Step {
    Record(u8),
    Ack(prop::sample::Index),
    FailingDisk,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u8..6).prop_map(Step::Record),
        5 => any::<prop::sample::Index>().prop_map(Step::Ack),
        1 => Just(Step::FailingDisk),
        2 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_waits_is_what_was_recorded_less_what_was_acknowledged(steps in steps()) {
        let dir = TempDir::new().unwrap();
        let mut outbox = open(dir.path());
        let mut waiting: Vec<(Uuid, u64)> = Vec::new();
        let mut seq = 0;
        let mut n = 0;
        for step in steps {
            match step {
                Step::Record(count) => {
                    let receivers: Vec<_> = (0..count).map(|_| { n += 1; outbox.record(draft(n)) }).collect();
                    for rx in receivers {
                        let e = rx.blocking_recv().unwrap().unwrap();
                        prop_assert!(e.seq > seq, "the sequence counts up");
                        seq = e.seq;
                        waiting.push((e.id, e.seq));
                    }
                }
                Step::Ack(which) => {
                    let rows = pending(&outbox);
                    if !rows.is_empty() {
                        let row = &rows[which.index(rows.len())];
                        outbox.ack(row.row);
                        let id = parse(&row.payload(false)).id;
                        waiting.retain(|(w, _)| *w != id);
                        eventually("acknowledged", || pending(&outbox).iter().all(|r| r.row != row.row));
                    }
                }
                Step::FailingDisk => {
                    outbox.0.shared.fail_next.store(true, Ordering::Relaxed);
                    prop_assert!(record(&outbox, 0).is_err());
                    eventually("open again", || outbox.ready().is_ok());
                }
                Step::Reopen => {
                    drop(outbox);
                    outbox = open(dir.path());
                    seq = 0;
                }
            }
            let decisions: Vec<Row> =
                pending(&outbox).into_iter().filter(|r| r.kind == EventKind::VerifyResult).collect();
            let ids: Vec<Uuid> = decisions.iter().map(|r| parse(&r.payload(false)).id).collect();
            prop_assert_eq!(ids, waiting.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        }
    }
}
