//! `vigil desk`: tokens for the desk's HTTP interface.

use serde_json::json;

use super::print_line;
use crate::auth::tokens;
use crate::base::{Name, Result};
use crate::config::Role;

/// Makes tokens for the box's HTTP interface.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Desk,
}

#[derive(Debug, clap::Subcommand)]
enum Desk {
    Token(TokenArgs),
}

/// Makes a token: the token itself for whoever asks, its hash for the configuration.
///
/// The token is shown once and stands nowhere on the box. Whoever lost it gets a new one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    vigil desk token --name reader-1 --role reader    for a document reader\n  \
    vigil desk token --name reception --role desk     for the clerks' page\n  \
    vigil desk token --name hub --role installer --json | jq -r .token\n  \
    curl -H \"Authorization: Bearer $TOKEN\" https://desk-1.example:8640/v1/status")]
struct TokenArgs {
    /// Whose it is, as the log and the audit log call the holder
    #[arg(long, value_name = "NAME")]
    name: Name,
    /// What the holder may do: reader asks for verifications, desk sees results and confirms, installer everything
    #[arg(long, value_enum)]
    role: Role,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    let Desk::Token(TokenArgs { name, role, json }) = args.command;
    let (token, hash) = tokens::make()?;
    let hash = String::from(hash);
    if json {
        let out = json!({ "name": name, "role": role, "token": token.as_str(), "sha256": hash });
        return print_line(&out.to_string());
    }
    eprintln!("The token, shown this once; what follows goes into vigil.toml:");
    eprintln!("{}\n", token.as_str());
    print_line(&format!(
        "[[desk.token]]\nname = \"{name}\"\nrole = \"{}\"\nsha256 = \"{hash}\"",
        role.as_str()
    ))
}
