//! `vigil models`: lists and verifies the models.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::{Culprit, Error, Kind, Result};
use crate::config::ModelsConfig;
use crate::infer::{FileStatus, Manifest, ModelEntry, RuntimeEntry, TensorEntry};

/// Lists the models and checks their files.
///
/// Exit code 0 if every file is the one the manifest names, 78 if one is missing or differs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vigil models\n  vigil models --models /usr/share/vigil/models --json")]
pub(super) struct Args {
    #[command(flatten)]
    place: ModelsArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Where the models are, of every command that runs them without a configuration.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ModelsArgs {
    /// Directory of manifest.toml [default: ./models if it is one, else the installed one]
    #[arg(long = "models", value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl ModelsArgs {
    /// The configuration that these arguments stand for.
    pub(super) fn config(&self) -> ModelsConfig {
        let here = Path::new("models");
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None if here.join("manifest.toml").exists() => here.to_owned(),
            None => ModelsConfig::default().dir,
        };
        ModelsConfig { dir, runtime: None }
    }
}

#[derive(Serialize)]
struct Listing<'a> {
    directory: &'a Path,
    runtime: Row<'a, RuntimeEntry>,
    models: Vec<Row<'a, ModelEntry>>,
}

#[derive(Serialize)]
struct Row<'a, T> {
    #[serde(flatten)]
    state: FileStatus,
    #[serde(flatten)]
    entry: &'a T,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    let manifest = Manifest::load(&args.place.config().dir)?;
    let runtime = Row { state: manifest.runtime_status(), entry: &manifest.runtime };
    let rows = manifest.models.iter().map(|m| Row { state: manifest.status(m), entry: m }).collect();
    let listing = Listing { directory: manifest.dir(), runtime, models: rows };
    if args.json {
        let text = serde_json::to_string_pretty(&listing)
            .map_err(|e| Error::internal("the listing is not JSON").with_source(e))?;
        println!("{text}");
    } else {
        print(&listing);
    }
    let states = listing.models.iter().map(|r| (&r.entry.file, &r.state));
    let bad: Vec<_> = std::iter::once((&listing.runtime.entry.file, &listing.runtime.state))
        .chain(states)
        .filter(|(_, state)| **state != FileStatus::Ok)
        .map(|(file, _)| file.display().to_string())
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Mismatch,
        Culprit::Model,
        format!("not as the manifest names it: {}", bad.join(", ")),
    )
    .remedy("run models/setup.sh"))
}

fn print(listing: &Listing<'_>) {
    println!("models in {}", listing.directory.display());
    let r = &listing.runtime;
    println!("\nONNX Runtime {}  {}", r.entry.version, state(&r.state));
    println!("  file      {}", r.entry.file.display());
    println!("  licence   {}", r.entry.licence);
    println!("  from      {} {}", r.entry.source.package, r.entry.source.version);
    for row in &listing.models {
        let m = row.entry;
        println!("\n{} ({})  {}", m.name, m.slot, state(&row.state));
        println!("  file      {}", m.file.display());
        println!("  sha256    {}", m.sha256);
        println!("  licence   {}", m.licence);
        match (&m.source, &m.prepared_by) {
            (Some(source), _) => println!("  from      {} {}", source.package, source.version),
            (None, Some(script)) => println!("  from      this project, {script}"),
            (None, None) => println!("  from      this project"),
        }
        for t in &m.inputs {
            println!("  takes     {}", tensor(t));
        }
        for t in &m.outputs {
            println!("  gives     {}", tensor(t));
        }
        for c in &m.calibration {
            let points: Vec<_> = c.points.iter().map(|p| format!("{} at {:e}", p.score, p.fmr)).collect();
            println!(
                "  threshold {} ({}, {} impostor pairs)",
                points.join(", "),
                c.population,
                c.impostor_pairs
            );
        }
        for d in &m.detections {
            let at = d.points.iter().min_by(|a, b| {
                (a.score - d.working_score).abs().total_cmp(&(b.score - d.working_score).abs())
            });
            let worth = at.map(|p| {
                format!(
                    ": {:.3} false alarms a frame, precision {:.3}, recall {:.3}",
                    p.per_frame, p.precision, p.recall
                )
            });
            println!(
                "  score     {} for {} ({}, {} frames){}",
                d.working_score,
                d.class,
                d.population,
                d.frames,
                worth.unwrap_or_default()
            );
        }
    }
}

fn state(state: &FileStatus) -> String {
    match state {
        FileStatus::Ok => "ok".into(),
        FileStatus::Missing => "MISSING".into(),
        FileStatus::Differs { found } => format!("DIFFERS: SHA-256 is {found}"),
        FileStatus::Unreadable { why } => format!("UNREADABLE: {why}"),
        FileStatus::NotListed => "no SHA-256 is listed for this kind of machine".into(),
    }
}

fn tensor(t: &TensorEntry) -> String {
    let shape: Vec<_> = t.shape.iter().map(ToString::to_string).collect();
    let mut text = format!("{} {} [{}]", t.name, t.dtype, shape.join(", "));
    if let Some(colour) = &t.colour {
        text.push_str(&format!(" {colour}"));
    }
    if let Some([low, high]) = t.range {
        text.push_str(&format!(" {low} to {high}"));
    }
    text
}
