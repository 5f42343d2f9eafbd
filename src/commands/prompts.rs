//! `vigil prompts`: renders what the doors say.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::base::{Culprit, Error, Kind, Result};
use crate::config::{Config, Language};
use crate::fittings::voice::{self, Text};

/// Renders what the doors say, in Chinese and English, with espeak-ng.
///
/// A recording that is there already is left alone, so a site's own ones stay. With a configuration,
/// its equipment is named as well, and the recordings go where the daemon looks for them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    vigil prompts --config /etc/vigil/vigil.toml    what is missing, where the daemon looks for it\n  \
    vigil prompts --into /tmp/spoken                the texts that are shipped, elsewhere\n  \
    vigil prompts --list                            what would be said, and under which name\n\n\
    Exit codes: 0 all are there, 66 espeak-ng is missing, 77 the directory cannot be written.")]
pub(super) struct Args {
    /// Configuration of the box: prompts.dir and its equipment.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the recordings go, {language}/{name}.wav.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Lists the texts and renders nothing.
    #[arg(long)]
    list: bool,
    /// Renders those anew that are there already.
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    let config = args.config.as_ref().map(Config::load).transpose()?;
    let mut texts = voice::texts();
    for piece in config.iter().flat_map(|c| &c.equipment) {
        for (language, label) in [(Language::Zh, &piece.zh), (Language::En, &piece.en)] {
            let text = label.clone().unwrap_or_else(|| piece.name.as_str().replace('-', " "));
            texts.push(Text { name: voice::equipment_clip(&piece.name), language, text });
        }
    }
    let mut out = std::io::stdout().lock();
    let cannot = |e| Error::io(Culprit::Host, "cannot write to standard output", e);
    if args.list {
        for t in &texts {
            writeln!(out, "{}/{}.wav\t{}", t.language.word(), t.name, t.text).map_err(cannot)?;
        }
        return Ok(());
    }
    let dir = args.into.clone().or(config.map(|c| c.prompts.dir)).ok_or_else(|| {
        Error::new(Kind::Usage, Culprit::Request, "it is not said where the recordings go")
            .remedy("give --config or --into")
    })?;
    let (mut rendered, mut kept) = (0, 0);
    for text in &texts {
        let path = dir.join(text.language.word()).join(format!("{}.wav", text.name));
        if path.exists() && !args.force {
            kept += 1;
            continue;
        }
        render(text, &path)?;
        rendered += 1;
    }
    writeln!(out, "prompts: {rendered} rendered, {kept} there already, in {}", dir.display()).map_err(cannot)
}

/// Renders one text into `path`, which is then whole or not there.
fn render(text: &Text, path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)
        .map_err(|e| Error::io(Culprit::Host, format!("cannot make {}", dir.display()), e))?;
    let partial = path.with_extension("partial");
    let voice = match text.language {
        Language::Zh => "cmn",
        Language::En => "en",
    };
    let output = Command::new("espeak-ng")
        .args(["-v", voice, "-s", "150", "-w"])
        .arg(&partial)
        .arg("--")
        .arg(&text.text)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Error::io(Culprit::Host, "espeak-ng does not run", e).remedy("apt install espeak-ng"))?;
    if !output.status.success() || !partial.is_file() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("it says nothing").to_owned();
        return Err(Error::new(
            Kind::Unavailable,
            Culprit::Host,
            format!("espeak-ng could not render {}: {said}", path.display()),
        ));
    }
    std::fs::rename(&partial, path)
        .map_err(|e| Error::io(Culprit::Host, format!("cannot write {}", path.display()), e))
}
