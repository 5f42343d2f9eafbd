//! Work that may hang for ever, on threads that may be given up.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::base::{Culprit, Error, Kind, Result, Shutdown, supervise};

/// A camera with this many hung threads is not opened again until one of them ends: a device that
/// wedges its driver must not take the box's threads one by one.
pub(crate) const MAX_HUNG: usize = 4;
/// How often a waiting thread looks whether it should stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

enum Phase<T> {
    Running,
    Done(T),
    Panicked,
    Taken,
    Abandoned,
}

struct Job<T> {
    phase: Mutex<Phase<T>>,
    changed: Condvar,
}

/// The disposable threads of one camera, and how many of them hang.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disposables {
    hanging: Arc<AtomicUsize>,
    hung_total: Arc<AtomicU64>,
}

impl Disposables {
    /// Threads that hang now.
    pub(crate) fn hanging(&self) -> usize {
        self.hanging.load(Ordering::Relaxed)
    }

    /// Threads that ever outlasted their deadline.
    pub(crate) fn hung_total(&self) -> u64 {
        self.hung_total.load(Ordering::Relaxed)
    }

    /// Refuses when too many threads hang.
    pub(crate) fn check(&self) -> Result<()> {
        let hanging = self.hanging();
        if hanging < MAX_HUNG {
            return Ok(());
        }
        Err(Error::new(
            Kind::Unavailable,
            Culprit::Camera,
            format!("{hanging} earlier connections to the camera hang and cannot be closed"),
        )
        .remedy("restart the camera, or vigil if that does not help"))
    }

    /// Runs `work` on a thread of its own and waits for it until `deadline` or `stop`. `None`: it
    /// was given up; its thread ends, and its result is dropped there, whenever it is done.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        name: &str,
        deadline: Duration,
        stop: Option<&Shutdown>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>> {
        let job = Arc::new(Job { phase: Mutex::new(Phase::Running), changed: Condvar::new() });
        let finish = Finish { job: job.clone(), hanging: self.hanging.clone() };
        supervise::spawn(name, move || {
            let result = work();
            finish.done(result);
        })?;
        let until = Instant::now() + deadline;
        let mut phase = job.phase.lock().unwrap_or_else(|e| e.into_inner());
        loop {
            match std::mem::replace(&mut *phase, Phase::Taken) {
                Phase::Done(result) => return Ok(Some(result)),
                Phase::Panicked => return Err(Error::internal(format!("{name} panicked"))),
                running => *phase = running,
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.is_some_and(Shutdown::requested) {
                *phase = Phase::Abandoned;
                self.hanging.fetch_add(1, Ordering::Relaxed);
                self.hung_total.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
            let wait = left.min(LOOK_EVERY);
            phase = job.changed.wait_timeout(phase, wait).unwrap_or_else(|e| e.into_inner()).0;
        }
    }
}

/// The thread's side of a job: hands the result over, or cleans up after one that nobody awaits.
struct Finish<T> {
    job: Arc<Job<T>>,
    hanging: Arc<AtomicUsize>,
}

impl<T> Finish<T> {
    fn done(self, result: T) {
        let mut phase = self.job.phase.lock().unwrap_or_else(|e| e.into_inner());
        if matches!(*phase, Phase::Running) {
            *phase = Phase::Done(result);
            self.job.changed.notify_all();
            return;
        }
        drop(phase);
        // Given up: what it made is taken apart here, where that may hang too.
        drop(result);
    }
}

impl<T> Drop for Finish<T> {
    fn drop(&mut self) {
        let mut phase = self.job.phase.lock().unwrap_or_else(|e| e.into_inner());
        match *phase {
            Phase::Abandoned => {
                self.hanging.fetch_sub(1, Ordering::Relaxed);
            }
            Phase::Running => {
                *phase = Phase::Panicked;
                self.job.changed.notify_all();
            }
            Phase::Done(_) | Phase::Panicked | Phase::Taken => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hung_thread_is_given_up_counted_and_discounted_when_it_ends() {
        let threads = Disposables::default();
        assert_eq!(threads.run("quick", Duration::from_secs(20), None, || 7).unwrap(), Some(7));
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        for _ in 0..MAX_HUNG {
            assert!(threads.check().is_ok());
            let wait = wait.clone();
            let hung = threads.run("hung", Duration::from_millis(20), None, move || {
                let _ = wait.lock().unwrap().recv();
            });
            assert_eq!(hung.unwrap(), None);
        }
        assert!(threads.check().unwrap_err().retryable());
        drop(release);
        let until = Instant::now() + Duration::from_secs(20);
        while threads.hanging() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!((threads.hanging(), threads.hung_total()), (0, MAX_HUNG as u64));
    }

    #[test]
    fn stopping_does_not_wait_for_the_deadline() {
        let stop = Shutdown::new();
        stop.request();
        let (_release, wait) = std::sync::mpsc::channel::<()>();
        let started = Instant::now();
        let r = Disposables::default().run("slow", Duration::from_secs(60), Some(&stop), move || wait.recv());
        assert!(r.unwrap().is_none() && started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_panic_is_an_error() {
        let r = Disposables::default().run("broken", Duration::from_secs(20), None, || panic!("x"));
        assert_eq!(r.unwrap_err().kind(), Kind::Internal);
    }
}
