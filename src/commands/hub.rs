//! `vigil hub`: keys of hubs, and commands signed with them.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::print_line;
use crate::auth::jws;
use crate::base::{Culprit, Error, Kind, Name, Result};
use crate::config::CommandName;
use crate::event::CommandClaims;
use crate::event::topic::{ROOT, valid_correlation};

/// Largest body of a command that is read.
const MAX_BODY: u64 = 16 * 1024 * 1024;

/// Makes keys that sign commands, and signs commands with them.
///
/// A box carries out what is signed by a key of its [[hub_key]] sections. Any library for JSON Web
/// Tokens with EdDSA signs as well: docs/guide.md has an example.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Hub,
}

#[derive(Debug, clap::Subcommand)]
enum Hub {
    Key(KeyArgs),
    Sign(SignArgs),
}

/// Makes a pair of keys: the private one into a file, the public one for the boxes' configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    vigil hub key --id hub-1 --out hub-1.pem      a new pair; prints the [[hub_key]] section\n  \
    vigil hub key --id hub-1 --from hub-1.pem     the section of a key that is there\n  \
    vigil hub key --id hub-1 --out hub-1.pem --json | jq -r .public_key")]
struct KeyArgs {
    /// What commands call the key
    #[arg(long, value_name = "NAME")]
    id: Name,
    /// File for the private key, PKCS #8 PEM; it must not be there yet
    #[arg(long, value_name = "FILE", required_unless_present = "from")]
    out: Option<PathBuf>,
    /// A private key that is there already, for instance of OpenSSL
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    from: Option<PathBuf>,
    /// For so many days the key counts
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..=3660))]
    days: u16,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// How a signed command is written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Form {
    /// JSON of protected, payload and signature
    #[default]
    Flattened,
    /// One line, as a token
    Compact,
}

/// Signs a command for one box and prints what to publish.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    vigil hub sign --key hub-1.pem --id hub-1 --box west-lake/desk-1 --command gallery/list --correlation a1 \\\n    \
      | mosquitto_pub -h hub.example -t vigil/v1/west-lake/desk-1/cmd/gallery/list -q 1 -s\n  \
    vigil hub sign --key hub-1.pem --id hub-1 --box west-lake/desk-1 --command gallery/put --body person.json\n  \
    vigil hub sign … --boot $(mosquitto_sub -h hub.example -t vigil/v1/west-lake/desk-1/state -C 1 | jq -r .bootid)\n\n\
    The last is needed while the box's clock is not synchronised.")]
struct SignArgs {
    /// File of the private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What the box calls the key
    #[arg(long, value_name = "NAME")]
    id: Name,
    /// The box, as SITE/BOX
    #[arg(long = "box", value_name = "SITE/BOX", value_parser = address)]
    address: String,
    /// The command
    #[arg(long, value_name = "COMMAND", value_parser = PossibleValuesParser::new(CommandName::ALL.map(CommandName::as_str)))]
    command: String,
    /// The command's own payload, a JSON object: a file, or - for standard input [default: {}]
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// Where the answer goes: reply/{correlation}
    #[arg(long, value_name = "TEXT")]
    correlation: Option<String>,
    /// The counter; above that of the key's last command [default: milliseconds since 1970]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    counter: Option<u64>,
    /// The run of the box that the command is for, bootid of its state
    #[arg(long, value_name = "UUID")]
    boot: Option<Uuid>,
    /// When it is signed, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    time: Option<Timestamp>,
    /// How it is written
    #[arg(long, value_enum, default_value_t)]
    form: Form,
    /// Prints JSON: topic and payload
    #[arg(long)]
    json: bool,
}

fn address(text: &str) -> std::result::Result<String, String> {
    match text.split_once('/') {
        Some((site, name)) if Name::new(site).is_ok() && Name::new(name).is_ok() => Ok(text.to_owned()),
        _ => Err("write SITE/BOX, each of a-z, 0-9 and -".to_owned()),
    }
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    match args.command {
        Hub::Key(args) => key(&args),
        Hub::Sign(args) => sign(args),
    }
}

fn key(args: &KeyArgs) -> Result<()> {
    let key = match (&args.from, &args.out) {
        (Some(path), _) => jws::read_pem(path)?,
        (None, Some(path)) => {
            let key = jws::generate()?;
            write_secret(path, jws::to_pem(&key).as_bytes())?;
            key
        }
        (None, None) => return Err(Error::internal("neither --out nor --from")),
    };
    let public = String::from(jws::public_text(&key));
    let until = Timestamp::now().as_second() + i64::from(args.days) * 86_400;
    let until =
        Timestamp::from_second(until).map_err(|e| Error::internal("the end of time").with_source(e))?;
    if args.json {
        return print_line(&json!({ "id": args.id, "public_key": public, "valid_until": until }).to_string());
    }
    let commands = ["gallery/put", "gallery/revoke", "gallery/list"].map(|c| format!("{c:?}")).join(", ");
    print_line(&format!(
        "[[hub_key]]\nid = \"{}\"\npublic_key = \"{public}\"\ncommands = [{commands}]\nvalid_until = \"{until}\"",
        args.id
    ))
}

/// Writes a secret into a new file that its owner alone may read.
fn write_secret(path: &Path, secret: &[u8]) -> Result<()> {
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(secret)?;
        file.sync_all()
    };
    write().map_err(|e: std::io::Error| {
        let there = e.kind() == std::io::ErrorKind::AlreadyExists;
        let error = Error::io(Culprit::Request, format!("cannot write the key {}", path.display()), e);
        if there { error.remedy("a key is not overwritten: name another file, or use --from") } else { error }
    })
}

fn sign(args: SignArgs) -> Result<()> {
    if args.correlation.as_deref().is_some_and(|c| !valid_correlation(c)) {
        return Err(Error::new(Kind::Usage, Culprit::Request, "--correlation is not fit for a topic")
            .remedy("use 1 to 64 characters out of A-Z, a-z, 0-9, - and _"));
    }
    let key = jws::read_pem(&args.key)?;
    let now = Timestamp::now();
    let claims = CommandClaims {
        aud: args.address.clone(),
        cmd: args.command.clone(),
        ctr: args.counter.unwrap_or_else(|| u64::try_from(now.as_millisecond()).unwrap_or(1)),
        iat: args.time.unwrap_or(now).as_second(),
        exp: None,
        boot: args.boot,
        correlation: args.correlation,
        body: args.body.as_deref().map_or_else(|| Ok(Map::new()), body)?,
    };
    let signed = jws::sign(args.id.as_str(), &key, &claims)?;
    let payload = match args.form {
        Form::Compact => format!("{}.{}.{}", signed.protected, signed.payload, signed.signature),
        Form::Flattened => serde_json::to_string(&signed)
            .map_err(|e| Error::internal("an envelope is not JSON").with_source(e))?,
    };
    if args.json {
        let topic = format!("{ROOT}/{}/cmd/{}", args.address, args.command);
        return print_line(&json!({ "topic": topic, "payload": payload }).to_string());
    }
    print_line(&payload)
}

/// The command's own payload.
fn body(path: &Path) -> Result<Map<String, Value>> {
    let place = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let mut text = Zeroizing::new(Vec::new());
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().take(MAX_BODY + 1).read_to_end(&mut text),
        false => std::fs::File::open(path).and_then(|f| f.take(MAX_BODY + 1).read_to_end(&mut text)),
    };
    read.map_err(|e| Error::io(Culprit::Request, format!("{place} cannot be read"), e))?;
    if text.len() as u64 > MAX_BODY {
        let what = format!("{place} has more than {MAX_BODY} bytes");
        return Err(Error::new(Kind::TooLarge, Culprit::Request, what).remedy("send smaller photographs"));
    }
    serde_json::from_slice(&text).map_err(|e| {
        let what = format!("{place} is not a JSON object (line {}, column {})", e.line(), e.column());
        Error::new(Kind::Malformed, Culprit::Request, what).remedy("write {} for a command without a payload")
    })
}
