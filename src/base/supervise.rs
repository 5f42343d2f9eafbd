//! The one wrapper around every loop that can fail: a camera, a broker, a telemetry link.
//!
//! `run_once` does the work and returns why it ended; [`supervise`] decides whether, and when, to
//! go again. A panic inside `run_once` is a failure like any other: it is caught, logged and
//! counted, and does not take the neighbours down.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::error::{Error, Result};
use super::shutdown::Shutdown;

/// A run that lasted this long was healthy: the next failure starts with the shortest wait again.
const HEALTHY_RUN: Duration = Duration::from_secs(10);

/// Why a run ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to do: do not go again.
    Finished,
    /// Go again after the usual wait.
    Again,
}

/// Runs `run_once` until it finishes or `stop` is requested, waiting between failures.
///
/// `on_failure` sees every failure with the wait that follows it. Errors that no retry can mend
/// are retried all the same, at the longest wait: a person may mend the world meanwhile, and
/// nobody is there to start the box again.
pub fn supervise(
    name: &str,
    backoff: Backoff,
    stop: &Shutdown,
    mut run_once: impl FnMut() -> Result<End>,
    mut on_failure: impl FnMut(&Error, Duration),
) {
    let mut waits = backoff.waits();
    while !stop.requested() {
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(&mut run_once)).unwrap_or_else(|panic| {
            Err(Error::internal(format!("{name} panicked: {}", panic_text(&*panic))))
        });
        if stop.requested() {
            return;
        }
        if started.elapsed() >= HEALTHY_RUN {
            waits.reset();
        }
        let wait = match result {
            Ok(End::Finished) => return,
            Ok(End::Again) => waits.next_wait(),
            Err(e) => {
                let wait = if e.retryable() { waits.next_wait() } else { backoff.max() };
                on_failure(&e, wait);
                wait
            }
        };
        if stop.sleep(wait) {
            return;
        }
    }
}

/// Starts a named thread. Blocking work lives on these, never on the network's runtime.
pub fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let name = name.into();
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(body)
        .map_err(|e| Error::io(super::error::Culprit::Host, format!("cannot start thread {name}"), e))
}

/// The text a panic carried.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::{Culprit, Kind};

    #[test]
    fn a_panic_and_an_error_are_both_survived() {
        let backoff = Backoff::try_new(Duration::from_millis(1), Duration::from_millis(2)).unwrap();
        let (mut runs, mut failures) = (0, Vec::new());
        supervise(
            "test",
            backoff,
            &Shutdown::new(),
            || {
                runs += 1;
                match runs {
                    1 => panic!("first"),
                    2 => Err(Error::new(Kind::Unavailable, Culprit::Camera, "second")),
                    3 => Ok(End::Again),
                    _ => Ok(End::Finished),
                }
            },
            |e, _| failures.push(e.to_string()),
        );
        assert_eq!(runs, 4);
        assert_eq!(failures, ["test panicked: first", "second"]);
    }
}
