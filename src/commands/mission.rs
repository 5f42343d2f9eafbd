//! `vigil mission`: the searches that a box has flown.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::print_line;
use crate::base::{Culprit, Error, Kind, Result};
use crate::config::Config;
use crate::search::{Missions, geojson, kml};

/// Lists the missions of this box and writes them as files.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vigil mission list
  vigil mission export 01990000-0000-7000-8000-000000000000 --out search.kml
  vigil mission export last --out search.geojson")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists them, the oldest first.
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON, one mission a line.
        #[arg(long)]
        json: bool,
    },
    /// Writes one: where what was found, and which ground was searched how well.
    Export {
        /// The mission, or `last`.
        mission: String,
        #[command(flatten)]
        place: Place,
        /// The format; without it the ending of --out decides.
        #[arg(long, value_enum)]
        format: Option<Format>,
        /// The file; without it standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The configuration, for its state directory.
    #[arg(long, value_name = "FILE", default_value = "/etc/vigil/vigil.toml")]
    config: PathBuf,
    /// The state directory itself, instead of a configuration.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    state_dir: Option<PathBuf>,
}

impl Place {
    fn missions(&self) -> Result<Missions> {
        let dir = match &self.state_dir {
            Some(dir) => dir.clone(),
            None => Config::load(&self.config)?.identity.state_dir,
        };
        Ok(Missions::of(&dir))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// RFC 7946.
    Geojson,
    /// KML 2.2.
    Kml,
}

impl Format {
    fn of(given: Option<Self>, out: Option<&Path>) -> Result<Self> {
        let ending = out.and_then(Path::extension).and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        match (given, ending.as_deref()) {
            (Some(format), _) => Ok(format),
            (None, Some("kml")) => Ok(Self::Kml),
            (None, None | Some("geojson" | "json")) => Ok(Self::Geojson),
            (None, Some(other)) => {
                let what =
                    format!("no format goes by the ending {:?}", other.chars().take(20).collect::<String>());
                Err(Error::new(Kind::Usage, Culprit::Request, what)
                    .remedy("name one with --format geojson or kml"))
            }
        }
    }
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    match args.action {
        Action::List { place, json } => list(&place.missions()?, json),
        Action::Export { mission, place, format, out } => {
            let format = Format::of(format, out.as_deref())?;
            let missions = place.missions()?;
            let report = missions.read(find(&missions, &mission)?)?.report()?;
            let text = match format {
                Format::Geojson => geojson(&report)?,
                Format::Kml => kml(&report)?,
            };
            match out {
                None => print_line(&text),
                Some(path) => std::fs::write(&path, text)
                    .map_err(|e| Error::io(Culprit::Host, format!("cannot write {}", path.display()), e)),
            }
        }
    }
}

fn find(missions: &Missions, name: &str) -> Result<Uuid> {
    if name == "last" {
        return missions.list()?.last().map(|m| m.mission).ok_or_else(|| {
            Error::new(Kind::NotFound, Culprit::Request, "this box has flown no mission yet")
        });
    }
    name.parse().map_err(|_| {
        let shown: String = name.chars().take(60).collect();
        Error::new(Kind::Usage, Culprit::Request, format!("{shown:?} is no mission"))
            .remedy("take one from `vigil mission list`, or `last`")
    })
}

fn list(missions: &Missions, json: bool) -> Result<()> {
    let all = missions.list()?;
    if all.is_empty() && !json {
        return print_line("no missions");
    }
    for line in all {
        match line.view {
            Ok(view) if json => {
                let text = serde_json::to_string(&view)
                    .map_err(|e| Error::internal("a mission is not JSON").with_source(e))?;
                print_line(&text)?;
            }
            Ok(view) => {
                let stopped =
                    view.stopped.map_or("under way".to_owned(), |t| t.strftime("%F %TZ").to_string());
                let name = view.name.map(|n| format!("  {n}")).unwrap_or_default();
                print_line(&format!(
                    "{}  {} to {stopped}  {} found, {} others{name}",
                    view.mission,
                    view.started.strftime("%F %TZ"),
                    view.targets,
                    view.others,
                ))?;
            }
            Err(e) => eprintln!("vigil: {e}"),
        }
    }
    Ok(())
}
