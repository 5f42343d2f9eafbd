//! What every evaluation does alike: its common options, its pictures on several threads, its report.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use serde::Serialize;

use crate::base::progress::Progress;
use crate::base::{Error, Result, supervise};
use crate::commands::models::ModelsArgs;
use crate::infer::{Manifest, Runtime};

/// Options of every evaluation.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Pictures worked on at the same time, each on one thread [default: one per processor, at most 8]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    models: ModelsArgs,
}

impl Common {
    /// The runtime, and what is known of the models.
    pub(super) fn open(&self) -> Result<(Runtime, Manifest)> {
        let models = self.models.config();
        Ok((Runtime::load(&models)?, Manifest::load(&models.dir)?))
    }

    /// What `work` makes of each of `items`, in their order. Each thread has its own state from `open`. The first
    /// error ends it.
    pub(super) fn each<I: Sync, S, T: Send>(
        &self,
        doing: &'static str,
        items: &[I],
        open: impl Fn() -> Result<S> + Sync,
        work: impl Fn(&mut S, &I) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let processors = || std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
        let jobs = self.jobs.unwrap_or_else(processors).clamp(1, 64);
        let next = AtomicUsize::new(0);
        let mut done: Vec<Option<T>> = items.iter().map(|_| None).collect();
        std::thread::scope(|scope| {
            let (sender, results) = mpsc::sync_channel(2 * jobs);
            let workers: Vec<_> = (0..jobs.min(items.len()))
                .map(|_| {
                    let (sender, next, open, work) = (sender.clone(), &next, &open, &work);
                    scope.spawn(move || -> Result<()> {
                        let run = || {
                            let mut state = open()?;
                            loop {
                                let i = next.fetch_add(1, Ordering::Relaxed);
                                let Some(item) = items.get(i) else { return Ok(()) };
                                if sender.send((i, work(&mut state, item)?)).is_err() {
                                    return Ok(());
                                }
                            }
                        };
                        // After an error nobody needs the rest.
                        run().inspect_err(|_| next.store(items.len(), Ordering::Relaxed))
                    })
                })
                .collect();
            drop(sender);
            let mut progress = Progress::new(doing, items.len() as u64);
            for (i, result) in results {
                progress.add(1);
                done[i] = Some(result);
            }
            drop(progress);
            for worker in workers {
                worker.join().map_err(|p| {
                    Error::internal(format!("a worker panicked: {}", supervise::panic_text(&*p)))
                })??;
            }
            done.into_iter().map(|d| d.ok_or_else(|| Error::internal("a picture was left out"))).collect()
        })
    }

    /// The report as JSON, or as `text` prints it.
    pub(super) fn print<R: Serialize>(&self, report: &R, text: impl FnOnce(&R)) -> Result<()> {
        if self.json {
            let json = serde_json::to_string_pretty(report)
                .map_err(|e| Error::internal("the report is not JSON").with_source(e))?;
            println!("{json}");
        } else {
            text(report);
        }
        Ok(())
    }
}
