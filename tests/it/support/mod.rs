//! What several integration tests need.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) mod camera;
pub(crate) mod daemon;
pub(crate) mod door;
pub(crate) mod drone;
pub(crate) mod mjpeg;
pub(crate) mod mosquitto;
pub(crate) mod night;
pub(crate) mod rtsp;
pub(crate) mod trials;

/// Does something that is promised within a time, and again if it failed while the machine stood still: such
/// a promise holds for a machine that runs. What decides at its last moment leaves itself some 150 ms.
pub(crate) fn while_it_runs<T>(mut done: impl FnMut() -> T) -> T {
    const TRIES: u32 = 10;
    const STILL: Duration = Duration::from_millis(100);
    let mut tries = 0;
    loop {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let watch = std::thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !stopping.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            longest
        });
        let result = std::panic::catch_unwind(AssertUnwindSafe(&mut done));
        stop.store(true, Ordering::SeqCst);
        let longest = watch.join().unwrap();
        tries += 1;
        match result {
            Ok(result) => return result,
            Err(_) if longest > STILL && tries < TRIES => {
                println!("once more: the machine stood still for {longest:?}");
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Runs an ignored test of this binary in a process of its own. Whatever is measured of a whole process, its
/// memory, descriptors, threads, belongs there: in this one the neighbours' would be measured too.
#[track_caller]
pub(crate) fn in_a_process_of_its_own(test: &str) {
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    let (said, complained) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    println!("{said}{complained}");
    assert!(out.status.success() && said.contains("1 passed"), "{test}: {}, see above", out.status);
}

/// Writes a password file as the daemon wants it: closed to others.
pub(crate) fn write_secret(path: &std::path::Path, secret: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(secret.as_bytes()).unwrap();
}
