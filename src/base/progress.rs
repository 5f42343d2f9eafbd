//! Progress of anything long: a bar on a terminal, plain lines otherwise.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// At most one plain line in this time.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress towards a known total, on standard error.
#[derive(Debug)]
pub struct Progress {
    what: String,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Progress {
    /// Starts counting towards `total`; 0 if nobody knows how many there will be.
    pub fn new(what: impl Into<String>, total: u64) -> Self {
        let what = what.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let template = match total {
                0 => "{msg} {pos} {per_sec}",
                _ => "{msg} [{bar:32}] {pos}/{len} {per_sec}, {eta} left",
            };
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            bar.set_message(what.clone());
            bar
        });
        Self { what, total, done: 0, bar, last_line: Instant::now() }
    }

    /// Counts `n` more.
    pub fn add(&mut self, n: u64) {
        self.done += n;
        match &self.bar {
            Some(bar) => bar.inc(n),
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                self.line();
            }
            None => {}
        }
    }
}

impl Progress {
    fn line(&self) {
        match self.total {
            0 => eprintln!("{}: {}", self.what, self.done),
            total => eprintln!("{}: {}/{total}", self.what, self.done),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => self.line(),
        }
    }
}
