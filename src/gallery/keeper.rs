//! The thread that keeps a gallery: once a second it takes over what other processes changed, writes
//! the audit records that wait, and erases what has expired.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Gallery;
use crate::base::backoff::Backoff;
use crate::base::supervise::{self, End, supervise};
use crate::base::{Culprit, Error, Kind, Result, Shutdown};
use crate::event::{AlarmCode, AlarmState, BoxAlarm, Draft, Recorder};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// Changes told in one turn.
const NOTICES: usize = 256;
/// Between two tries after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A gallery's keeper. Dropping it writes what waits and ends the thread.
#[derive(Debug)]
pub struct Keeper {
    stop: Shutdown,
    thread: Option<JoinHandle<()>>,
    last_turn: Arc<Mutex<Instant>>,
}

impl Keeper {
    /// Starts the thread `gallery`, which tells nobody.
    pub fn start(gallery: Gallery) -> Result<Self> {
        Self::spawn(gallery, None)
    }

    /// Starts the thread `gallery`, which also hands every change to `recorder` as `gallery.changed`
    /// (whichever process made it, at least once), and raises the alarm `gallery_nearly_full`.
    pub fn telling(gallery: Gallery, recorder: Arc<dyn Recorder>) -> Result<Self> {
        Self::spawn(gallery, Some(recorder))
    }

    fn spawn(gallery: Gallery, recorder: Option<Arc<dyn Recorder>>) -> Result<Self> {
        let stop = Shutdown::new();
        let last_turn = Arc::new(Mutex::new(Instant::now()));
        let (asked, turn) = (stop.clone(), last_turn.clone());
        let backoff = Backoff::try_new(BACKOFF.0, BACKOFF.1)?;
        let thread = supervise::spawn("gallery", move || {
            supervise(
                "gallery",
                backoff,
                &asked,
                || {
                    let mut full = false;
                    loop {
                        // Asked before the last look, so that what waited until then is written.
                        let last = asked.requested();
                        let done = gallery.maintain()?;
                        *turn.lock().unwrap_or_else(|e| e.into_inner()) = Instant::now();
                        if done.expired > 0 {
                            tracing::info!(
                                entries = done.expired,
                                "expired entries of the gallery were erased"
                            );
                        }
                        if let Some(recorder) = &recorder {
                            tell(&gallery, &**recorder)?;
                            warn_if_full(&gallery, &**recorder, &mut full)?;
                        }
                        if last {
                            return Ok(End::Finished);
                        }
                        asked.sleep(EVERY);
                    }
                },
                |e, _| tracing::error!(error = %e.chain(), "the gallery could not be kept; it is tried again"),
            );
        })?;
        Ok(Self { stop, thread: Some(thread), last_turn })
    }

    /// When it last finished a turn: older than some seconds means that the disk hangs or fails.
    pub fn last_turn(&self) -> Instant {
        *self.last_turn.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Hands on what waits, a few hundred at a time. What could not be recorded stays for the next turn.
pub(super) fn tell(gallery: &Gallery, recorder: &dyn Recorder) -> Result<usize> {
    let notices = gallery.notices(NOTICES)?;
    let mut handed = Vec::with_capacity(notices.len());
    for notice in &notices {
        handed.push((notice.number, recorder.record(Draft::gallery_changed(&notice.changed, notice.at)?)));
    }
    let (mut done, mut failed) = (0, None);
    for (number, durable) in handed {
        match durable.blocking_recv() {
            Ok(Ok(_)) if failed.is_none() => done = number,
            Ok(Ok(_)) => {}
            Ok(Err(e)) => failed = failed.or(Some(e)),
            Err(_) => {
                failed =
                    failed.or(Some(Error::new(Kind::Cancelled, Culprit::Vigil, "the recorder is closed")))
            }
        }
    }
    if done > 0 {
        gallery.noticed(done)?;
    }
    match failed {
        Some(e) => Err(e.context("gallery.changed cannot be recorded")),
        None => Ok(notices.len()),
    }
}

/// Raises `gallery_nearly_full` once, and clears it once. After a restart of the thread it is raised
/// again: better twice than never.
pub(super) fn warn_if_full(gallery: &Gallery, recorder: &dyn Recorder, raised: &mut bool) -> Result<()> {
    let line = gallery.nearly_full();
    if line.is_some() == *raised {
        return Ok(());
    }
    let alarm = BoxAlarm {
        code: AlarmCode::GalleryNearlyFull,
        state: if line.is_some() { AlarmState::Raised } else { AlarmState::Cleared },
        about: Some("gallery".to_owned()),
        message: line.clone().unwrap_or_else(|| "the gallery holds fewer entries again".to_owned()),
    };
    let durable = recorder.record(Draft::box_alarm(&alarm, gallery.now())?);
    let recorded = durable.blocking_recv();
    recorded
        .unwrap_or_else(|_| Err(Error::new(Kind::Cancelled, Culprit::Vigil, "the recorder is closed")))?;
    if let Some(line) = &line {
        tracing::warn!("{line}");
    }
    *raised = line.is_some();
    Ok(())
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.request();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
