//! `vigil demo`: plays the demonstration.
//!
//! A camera of light and paper ([`stage`]), the real daemon and the real `vigil tail` as processes
//! of their own, six questions at a desk and three people at a door whose right answers are known; then a
//! night flight over a field in which somebody lies ([`flight`]).

mod daemon;
mod flight;
mod household;
mod play;
pub mod stage;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::base::{Culprit, Error, Kind, Result, Shutdown, supervise};

/// The whole demonstration ends within this time, one way or the other.
const AT_MOST: Duration = Duration::from_secs(150);

/// Plays the demonstration: guests are verified against portraits, and a lying person is found from the air.
///
/// Starts a camera that shows people out of photographs, `vigil run` with its own broker, and
/// `vigil tail`; asks six questions over MQTT and HTTP; lets three people present a card at a door;
/// flies a thermal camera over a dark field in which somebody lies; prints the events as they arrive and a
/// summary. Ends by itself in about two minutes, with an error if an answer was wrong.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of the photographs obama.jpg, obama2.jpg, obama3.jpg and biden.jpg.
    #[arg(long, value_name = "DIR", default_value = ".cache/photos")]
    photos: PathBuf,
    /// Directory of the models and their manifest.
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// Keep the temporary directory: configuration, the daemon's log, its state.
    #[arg(long)]
    keep: bool,
    /// Print events and the summary as JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let stop = Shutdown::new();
    stop_on_signal(&stop)?;
    let files = Files::new(args.keep)?;
    let clock = Clock::new(stop);
    let film = flight::Film::begin(files.path())?;
    let mut answers = play::play(&args, files.path(), &clock)?;
    answers.push(flight::play(&args, files.path(), film, &clock)?);
    play::summary(&answers, args.json)?;
    let wrong = answers.iter().filter(|a| !a.right()).count();
    if wrong > 0 {
        return Err(Error::new(
            Kind::Internal,
            Culprit::Vigil,
            format!("{wrong} of {} answers were wrong", answers.len()),
        )
        .remedy("`vigil demo --keep` keeps the daemon's log"));
    }
    Ok(())
}

/// How long may still be waited.
struct Clock {
    stop: Shutdown,
    end: Instant,
}

impl Clock {
    fn new(stop: Shutdown) -> Self {
        Self { stop, end: Instant::now() + AT_MOST }
    }

    /// Fails once the demonstration was interrupted or has taken too long.
    fn check(&self, doing: &str) -> Result<()> {
        if self.stop.requested() {
            return Err(Error::new(Kind::Cancelled, Culprit::Request, format!("interrupted {doing}")));
        }
        if Instant::now() >= self.end {
            return Err(Error::new(
                Kind::Timeout,
                Culprit::Host,
                format!("not over after {} s, stopped {doing}", AT_MOST.as_secs()),
            )
            .remedy(
                "is this machine busy with something else? a release build (`make demo`) is much faster",
            ));
        }
        Ok(())
    }

    /// `wish`, or less if less is left.
    fn at_most(&self, wish: Duration) -> Duration {
        wish.min(self.end.saturating_duration_since(Instant::now()))
    }

    /// Waits until `done` gives something.
    fn until<T>(&self, doing: &str, mut done: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        loop {
            self.check(doing)?;
            if let Some(found) = done()? {
                return Ok(found);
            }
            self.stop.sleep(Duration::from_millis(20));
        }
    }
}

/// Ctrl-C and SIGTERM request the stop, so that the processes started here are ended in order.
fn stop_on_signal(stop: &Shutdown) -> Result<()> {
    let stop = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::io(Culprit::Host, "cannot wait for signals", e))?;
    let (ready, listening) = std::sync::mpsc::channel();
    supervise::spawn("signals", move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let streams =
                signal(SignalKind::interrupt()).and_then(|i| Ok((i, signal(SignalKind::terminate())?)));
            let (mut interrupt, mut terminate) = match streams {
                Ok(streams) => streams,
                Err(e) => {
                    let _ = ready.send(Err(e));
                    return;
                }
            };
            let _ = ready.send(Ok(()));
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop.request();
        });
    })?;
    match listening.recv() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(Error::io(Culprit::Host, "cannot wait for signals", e)),
        Err(_) => Err(Error::internal("the signals' thread ended")),
    }
}

/// A temporary directory for this user alone, removed at the end.
struct Files {
    path: PathBuf,
    keep: bool,
}

impl Files {
    fn new(keep: bool) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("vigil-demo-{}", uuid::Uuid::new_v4().simple()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| Error::io(Culprit::Host, format!("cannot create {}", path.display()), e))?;
        Ok(Self { path, keep })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.keep {
            let _ = writeln!(std::io::stderr(), "kept: {}", self.path.display());
        } else if let Err(e) = std::fs::remove_dir_all(&self.path) {
            let _ = writeln!(std::io::stderr(), "could not remove {}: {e}", self.path.display());
        }
    }
}
