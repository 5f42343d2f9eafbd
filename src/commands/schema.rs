//! `vigil schema`: prints the contract: what a box says, what it is told, what its file may hold.

use std::io::Write;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use serde_json::Value as Json;

use crate::base::{Culprit, Error, Result};
use crate::config;
use crate::event::schema::{self, PAYLOADS, Payload};

/// Prints the event contract.
///
/// Without options: the JSON Schema of every payload, as one JSON object by name.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vigil schema --kind verify.result      JSON Schema 2020-12 of one payload
  vigil schema --asyncapi                the topics as an AsyncAPI 3.0 document
  vigil schema --config --markdown       the reference page of vigil.toml
  vigil schema --out schema/             everything, one file each")]
pub(super) struct Args {
    /// The AsyncAPI 3.0 document.
    #[arg(long, conflicts_with_all = ["kind", "config", "out"])]
    asyncapi: bool,
    /// The payload of this name only.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["config", "out"],
          value_parser = PossibleValuesParser::new(PAYLOADS.map(|p| p.name)))]
    kind: Option<String>,
    /// The JSON Schema of vigil.toml.
    #[arg(long, conflicts_with = "out")]
    config: bool,
    /// The reference page in Markdown instead of JSON.
    #[arg(long, conflicts_with_all = ["asyncapi", "kind", "out"])]
    markdown: bool,
    /// Writes everything into this directory, one file each.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    if let Some(dir) = &args.out {
        return write_all(dir);
    }
    let text = match (args.config, args.markdown) {
        (true, true) => config::reference::markdown(),
        (false, true) => schema::markdown(),
        (true, false) => pretty(config::reference::schema()),
        (false, false) if args.asyncapi => pretty(&schema::asyncapi()),
        (false, false) => match &args.kind {
            Some(name) => pretty(&Payload::find(name)?.json_schema()),
            None => pretty(&PAYLOADS.iter().map(|p| (p.name.to_owned(), p.json_schema())).collect()),
        },
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // `vigil schema | head` is no failure.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| Error::io(Culprit::Host, "cannot write to standard output", e)),
    }
}

fn write_all(dir: &std::path::Path) -> Result<()> {
    let cannot = |path: &std::path::Path, e| {
        Error::io(Culprit::Host, format!("cannot write {}", path.display()), e)
            .remedy("name a directory you may write to with --out")
    };
    std::fs::create_dir_all(dir).map_err(|e| cannot(dir, e))?;
    let payloads =
        PAYLOADS.iter().map(|p| (format!("{}.schema.json", p.name.replace('/', ".")), p.json_schema()));
    let others = [
        ("vigil.toml.schema.json".to_owned(), config::reference::schema().clone()),
        ("asyncapi.json".to_owned(), schema::asyncapi()),
    ];
    for (name, document) in payloads.chain(others) {
        let path = dir.join(name);
        std::fs::write(&path, pretty(&document)).map_err(|e| cannot(&path, e))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

fn pretty(document: &Json) -> String {
    format!("{document:#}\n")
}
