//! One file per subcommand; the only place that wires rooms together.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::base::{Culprit, Error, Result};

mod check;
pub mod demo;
mod desk;
mod document;
pub mod eval;
mod flight;
pub mod gallery;
mod hub;
mod logging;
mod mission;
mod models;
mod prompts;
mod replay;
mod run;
mod schema;
mod sim;
mod tail;
mod telemetry;
mod verify;

/// Watches where nobody sits: compares faces with documents and tells the hub.
#[derive(Debug, Parser)]
#[command(name = "vigil", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Tail(tail::Args),
    Verify(verify::Args),
    Document(document::Args),
    Telemetry(telemetry::Args),
    Gallery(gallery::Args),
    Eval(eval::Args),
    Schema(schema::Args),
    Models(models::Args),
    Replay(replay::Args),
    Prompts(prompts::Args),
    Demo(demo::Args),
    Sim(sim::Args),
    Hub(hub::Args),
    Mission(mission::Args),
    Desk(desk::Args),
}

impl Command {
    fn run(self) -> Result<()> {
        match self {
            Self::Run(args) => run::run(args),
            Self::Check(args) => check::run(args),
            Self::Tail(args) => tail::run(args),
            Self::Verify(args) => verify::run(args),
            Self::Document(args) => document::run(args),
            Self::Telemetry(args) => telemetry::run(args),
            Self::Gallery(args) => gallery::run(args),
            Self::Eval(args) => eval::run(args),
            Self::Schema(args) => schema::run(args),
            Self::Models(args) => models::run(args),
            Self::Replay(args) => replay::run(args),
            Self::Prompts(args) => prompts::run(args),
            Self::Demo(args) => demo::run(args),
            Self::Sim(args) => sim::run(args),
            Self::Hub(args) => hub::run(args),
            Self::Mission(args) => mission::run(args),
            Self::Desk(args) => desk::run(args),
        }
    }
}

/// Prints a line on standard output. Whoever closed it does not want more.
fn print_line(text: &str) -> Result<()> {
    use std::io::Write as _;
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| Error::io(Culprit::Host, "cannot write to standard output", e)),
    }
}

/// Parses the command line and runs the subcommand. One line on standard error says why it
/// failed, and the exit code (sysexits.h) says whose fault it was.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 64 } else { 0 });
        }
    };
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("vigil: {}", e.chain());
            ExitCode::from(e.exit_code())
        }
    }
}
