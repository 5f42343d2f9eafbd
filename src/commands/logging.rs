//! The log: one line an event, to standard error, for a person or for the journal.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Our own words from `info` up; libraries only when something is wrong with them. The embedded
/// broker's library calls every client that leaves an error.
const DEFAULT_FILTER: &str = "warn,vigil=info,rumqttd=off";
/// Environment variable with another filter, in the syntax of `tracing_subscriber::EnvFilter`.
const FILTER_VARIABLE: &str = "VIGIL_LOG";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For a person; without time and colour when the journal adds its own.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. Standard output stays free for what a command prints.
pub(super) fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    // A second subscriber in one process (tests) is refused; the first one stays.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text if in_journal => builder.without_time().with_ansi(false).try_init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}
