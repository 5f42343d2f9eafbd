//! `vigil eval`: measures accuracy on labelled data.

mod face;
mod identify;
mod pairs;
mod thermal;
mod work;

pub use pairs::{Pair, Pairs};
pub use thermal::{Boxes, Only, Picture, Truth};

use crate::base::Result;

/// Measures accuracy on labelled data.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Face(face::Args),
    Identify(identify::Args),
    Thermal(thermal::Args),
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    match args.what {
        What::Face(args) => face::run(args),
        What::Identify(args) => identify::run(args),
        What::Thermal(args) => thermal::run(args),
    }
}
