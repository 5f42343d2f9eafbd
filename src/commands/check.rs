//! `vigil check`: is this configuration right, can its pieces be built, does the world agree?
//!
//! Three layers, each only if the one before found nothing that makes it pointless:
//!
//! 1. *file*: the file alone. Problems end the check here.
//! 2. *pieces*: what is built from it on this machine, nothing started.
//! 3. *live*, with `--live`: the cameras and the broker themselves.
//!
//! All problems of a layer are printed, each with key and line. What could not be checked is
//! printed as that: not checked is not passed.

mod live;
mod pieces;

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::base::{Culprit, Error, Kind, Result};
use crate::config::{self, Config, Lines, Problem};

/// Where a packaged box has its configuration.
const DEFAULT_CONFIG: &str = "/etc/vigil/vigil.toml";

/// Checks a configuration in three layers.
///
/// Exit code: 0 if nothing failed, 78 if the file or the pieces built from it are wrong, 69 if only
/// the live world is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vigil check --config vigil.toml            the file, and the pieces built from it
  vigil check --config vigil.toml --live     and every camera and the broker
  vigil check --json | jq '.findings[] | select(.status != \"pass\")'")]
pub(super) struct Args {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Opens every camera and publishes to the broker.
    #[arg(long)]
    live: bool,
    /// The findings as JSON.
    #[arg(long)]
    json: bool,
}

/// The layer that a finding belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Layer {
    File,
    Pieces,
    Live,
}

/// How one thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Pass,
    /// It works, and somebody should look.
    Warn,
    Fail,
    NotChecked,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    layer: Layer,
    /// What was looked at, in a few words.
    what: String,
    status: Status,
    /// What was found; of a failure the line with file, line, key and remedy says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// Everything that was looked at.
#[derive(Debug, Serialize)]
struct Report {
    config: String,
    findings: Vec<Finding>,
}

impl Report {
    fn add(
        &mut self,
        layer: Layer,
        what: &str,
        status: Status,
        detail: Option<String>,
        problem: Option<Problem>,
    ) {
        self.findings.push(Finding { layer, what: what.to_owned(), status, detail, problem });
    }

    fn failed(&self, layers: &[Layer]) -> usize {
        self.findings.iter().filter(|f| f.status == Status::Fail && layers.contains(&f.layer)).count()
    }
}

/// The report, while one layer is looked at.
struct Looker<'a> {
    layer: Layer,
    lines: &'a Lines,
    report: &'a mut Report,
}

impl Looker<'_> {
    /// Notes what came of looking at `what`; a failure stands at the line of `key`.
    fn note(&mut self, what: &str, key: &str, result: Result<String>) -> bool {
        match result {
            Ok(detail) => {
                let detail = (!detail.is_empty()).then_some(detail);
                self.report.add(self.layer, what, Status::Pass, detail, None);
                true
            }
            Err(e) => {
                let message = e.chain_without_remedy();
                let problem = self.lines.problem(key, message, e.advice());
                self.report.add(self.layer, what, Status::Fail, None, Some(problem));
                false
            }
        }
    }

    /// Notes what deserves a look and does not keep the box from starting.
    fn warn(&mut self, what: &str, key: &str, e: &Error) {
        let problem = self.lines.problem(key, e.chain_without_remedy(), e.advice());
        self.report.add(self.layer, what, Status::Warn, None, Some(problem));
    }

    /// Notes that `what` was not looked at.
    fn not_checked(&mut self, what: &str, why: impl Into<String>) {
        self.report.add(self.layer, what, Status::NotChecked, Some(why.into()), None);
    }
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    let name = args.config.display().to_string();
    let text = config::read_text(&args.config)?;
    let mut report = Report { config: name.clone(), findings: Vec::new() };
    match config::load_with_lines(&text, &name) {
        Err(problems) => {
            for problem in problems.list() {
                report.add(Layer::File, "the file", Status::Fail, None, Some(problem.clone()));
            }
        }
        Ok((config, lines)) => {
            report.add(Layer::File, "the file", Status::Pass, Some(summary(&config)), None);
            let mut looker = Looker { layer: Layer::Pieces, lines: &lines, report: &mut report };
            pieces::look(&config, &mut looker);
            if args.live {
                looker.layer = Layer::Live;
                live::look(&config, &mut looker);
            }
        }
    }
    print(&report, args.json)?;
    let (built, live) = (report.failed(&[Layer::File, Layer::Pieces]), report.failed(&[Layer::Live]));
    let count = |n: usize| if n == 1 { "1 problem".to_owned() } else { format!("{n} problems") };
    match (built, live) {
        (0, 0) => Ok(()),
        (0, n) => {
            Err(Error::new(Kind::Unavailable, Culprit::Host, format!("{} with the live world", count(n))))
        }
        (n, m) => Err(Error::config(format!("{} in {name}", count(n + m)))),
    }
}

fn summary(config: &Config) -> String {
    let cameras = match config.cameras.len() {
        0 => "no camera".to_owned(),
        1 => "1 camera".to_owned(),
        n => format!("{n} cameras"),
    };
    format!("{}/{}, {cameras}, broker {}", config.identity.site, config.identity.name, config.mqtt.url)
}

fn print(report: &Report, json: bool) -> Result<()> {
    let mut out = String::new();
    if json {
        let text = serde_json::to_string_pretty(report)
            .map_err(|e| Error::internal("the report is not JSON").with_source(e))?;
        out.push_str(&text);
        out.push('\n');
    } else {
        for f in &report.findings {
            let line = match (&f.problem, f.status) {
                (Some(problem), Status::Warn) => format!("warning      {problem}"),
                (Some(problem), _) => format!("FAIL         {problem}"),
                (None, Status::NotChecked) => format!("not checked  {}", f.what),
                (None, _) => format!("ok           {}", f.what),
            };
            out.push_str(&line);
            if let Some(detail) = &f.detail {
                out.push_str(": ");
                out.push_str(detail);
            }
            out.push('\n');
        }
    }
    match std::io::stdout().lock().write_all(out.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| Error::io(Culprit::Host, "cannot write to standard output", e)),
    }
}
