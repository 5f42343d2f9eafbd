//! `vigil gallery`: who this box may recognise.

mod enrol;
pub mod people;

use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;

use self::people::{Defaults, Person, Photos};
use super::logging::{self, LogFormat};
use crate::base::error::Context as _;
use crate::base::progress::Progress;
use crate::base::{Culprit, Error, Kind, Result, SystemClock};
use crate::config::{Config, Purpose};
use crate::event::{
    Basis, CredentialKind, CredentialText, EntryTerms, EntryView, GalleryList, GalleryPut, GalleryRevoke,
    Language, PersonRef, PortraitText, WeeklyHours,
};
use crate::face::Calibration;
use crate::gallery::bundle::{BundleKey, BundleWriter};
use crate::gallery::{self, Action, Actor, Gallery, MasterKey, Note, Studio};
use crate::infer::{Manifest, Runtime, Slot};

/// Where a packaged box has its configuration.
const DEFAULT_CONFIG: &str = "/etc/vigil/vigil.toml";

/// Keeps the people this box may recognise: enrols, lists, revokes, erases, and shows the audit log.
///
/// Runs beside the daemon, which takes over a change within a second. To be run as the daemon's user.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vigil gallery key init                                   the master key, once
  vigil gallery enrol --person tenant-17 --purpose tenant --basis consent:forms/17 \\
      --valid-until 2027-06-30 --card 04A1B2C3 photo.jpg
  vigil gallery enrol --folder photos/ --purpose guest --basis consent:pms --valid-until 2026-12-31
  vigil gallery enrol --table tenants.csv
  vigil gallery list --purpose staff
  vigil gallery erase tenant-17
  vigil gallery audit --verify")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

/// What every subcommand takes.
#[derive(Debug, clap::Args)]
struct Common {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Who asks, for the audit log [default: operator: and the user's name]
    #[arg(long, value_name = "WHO")]
    by: Option<Actor>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The master key: make one, or show what may be shown of it.
    Key(KeyArgs),
    /// Enrol one person, a folder, a table or a bundle.
    Enrol(Box<EnrolArgs>),
    /// List entries; never a template, never a credential's number.
    List(ListArgs),
    /// Show one person's entry.
    Show(PersonArgs),
    /// End an entry or one credential. The template goes; a record stays until its end, so that a door
    /// can say "revoked".
    Revoke(RevokeArgs),
    /// Erase people: key, template, record. Cannot be undone.
    Erase(PeopleArgs),
    /// Erase now what has expired. The daemon does so every second.
    Expire(Common),
    /// Seal the gallery with a new master key.
    Rotate(RotateArgs),
    /// Change to this box's model: list who has to be photographed again.
    Migrate(MigrateArgs),
    /// Show, verify or export the audit log.
    Audit(AuditArgs),
    /// Make an encrypted bundle of enrolments for another box.
    Bundle(BundleArgs),
    /// Count entries, and say what the size does to the search.
    Stats(Common),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  vigil gallery key init\n  vigil gallery key init --out /etc/vigil/credentials/gallery-key\n  vigil gallery key show"
)]
struct KeyArgs {
    #[command(subcommand)]
    what: KeyWhat,
}

#[derive(Debug, clap::Subcommand)]
enum KeyWhat {
    /// Make a new key file that only its owner may read. Keep a copy off the box: without it nobody can
    /// open the gallery.
    Init {
        /// Where, instead of gallery.key_file.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// Print the key's id and the public key for bundles.
    Show {
        #[command(flatten)]
        common: Common,
    },
}

/// The terms that hold for everybody who is enrolled by one command.
#[derive(Debug, clap::Args)]
struct TermsArgs {
    /// Why these people are in the gallery.
    #[arg(long, value_enum)]
    purpose: Option<Purpose>,
    /// What allows it: consent:REFERENCE or authority:REFERENCE.
    #[arg(long, value_name = "BASIS")]
    basis: Option<Basis>,
    /// Until when: a date, its end included, or a time of RFC 3339.
    #[arg(long, value_name = "DATE")]
    valid_until: Option<String>,
    /// From when on [default: now]
    #[arg(long, value_name = "DATE")]
    valid_from: Option<String>,
    /// When in the week: "mon-fri 07:00-19:00; sat 08:00-12:00" [default: always]
    #[arg(long, value_name = "RULES")]
    hours: Option<WeeklyHours>,
    /// The language of prompts.
    #[arg(long, value_enum)]
    language: Option<Language>,
}

impl TermsArgs {
    fn defaults(&self, zone: &TimeZone) -> Result<Defaults> {
        let time = |text: &Option<String>, end, flag: &'static str| {
            text.as_deref().map(|t| people::parse_time(t, zone, end)).transpose().context(|| flag)
        };
        Ok(Defaults {
            purpose: self.purpose,
            basis: self.basis.clone(),
            valid_until: time(&self.valid_until, true, "--valid-until")?,
            valid_from: time(&self.valid_from, false, "--valid-from")?,
            hours: self.hours.clone(),
            language: self.language,
        })
    }
}

#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("whom").required(true),
    after_help = "Examples:
  vigil gallery enrol --person staff-3 --purpose staff --basis consent:hr/3 --valid-until 2027-01-31 \\
      --hours \"mon-fri 07:00-19:00\" front.jpg left.jpg
  vigil gallery enrol --folder photos/ --purpose tenant --basis consent:leases --valid-until 2027-06-30
  vigil gallery enrol --table tenants.csv --basis consent:leases
  vigil gallery enrol --bundle from-the-hub.bundle

A folder holds REF.jpg, or REF/ with several photographs of one person. A table is CSV with the columns
person_ref, photo, purpose, basis, valid_until, valid_from, hours, language, cards, distinct_from.
Run again after an interruption: who is enrolled already is passed over.
Exit code 1 if somebody was refused."
)]
struct EnrolArgs {
    /// One person's reference, a pseudonym; photographs follow.
    #[arg(long, value_name = "REF", group = "whom")]
    person: Option<PersonRef>,
    /// Photographs of --person, fused into one template and not kept.
    #[arg(value_name = "PHOTO", requires = "person")]
    photos: Vec<PathBuf>,
    /// A folder of photographs named after their people.
    #[arg(long, value_name = "DIR", group = "whom")]
    folder: Option<PathBuf>,
    /// A CSV table of people.
    #[arg(long, value_name = "CSV", group = "whom")]
    table: Option<PathBuf>,
    /// A bundle made for this box.
    #[arg(long, value_name = "FILE", group = "whom")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    terms: TermsArgs,
    /// A card of --person; may be repeated.
    #[arg(long, value_name = "NUMBER", requires = "person")]
    card: Vec<String>,
    /// A tag of --person; may be repeated.
    #[arg(long, value_name = "NUMBER", requires = "person")]
    tag: Vec<String>,
    /// A file with NUMBER#PIN of --person: a PIN on the command line would be seen by everybody.
    #[arg(long, value_name = "FILE", requires = "person")]
    pin_file: Option<PathBuf>,
    /// Somebody this alike has been looked at and is another person; may be repeated.
    #[arg(long, value_name = "REF", requires = "person")]
    distinct_from: Vec<PersonRef>,
    /// Photographs looked at at the same time [default: one per processor, at most 8]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only entries of this purpose.
    #[arg(long, value_enum)]
    purpose: Option<Purpose>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct PersonArgs {
    /// The person's reference.
    person: PersonRef,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct PeopleArgs {
    /// The people's references.
    #[arg(required = true, value_name = "REF")]
    people: Vec<PersonRef>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  vigil gallery revoke tenant-17\n  vigil gallery revoke tenant-17 --card 04A1B2C3"
)]
struct RevokeArgs {
    /// The person's reference.
    person: PersonRef,
    /// Only this card; face and entry stay.
    #[arg(long, value_name = "NUMBER", conflicts_with = "tag")]
    card: Option<String>,
    /// Only this tag; face and entry stay.
    #[arg(long, value_name = "NUMBER")]
    tag: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The new key is written beside the old one as KEY_FILE.next, the gallery is sealed with it in one
transaction, and then it takes the old one's place. After an interruption run the command again.
With systemd credentials: --out writes the new key where you say, and you put it into the credential."
)]
struct RotateArgs {
    /// Write the new key here and leave gallery.key_file as it is.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vigil gallery migrate --list > again.csv\n  vigil gallery migrate")]
struct MigrateArgs {
    /// Only list who has to be photographed again, as CSV; change nothing.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  vigil gallery audit --verify\n  vigil gallery audit --person tenant-17\n  vigil gallery audit --export log.jsonl\n\nExit code 74 if the chain is broken."
)]
struct AuditArgs {
    /// Only say whether the chain holds.
    #[arg(long, conflicts_with_all = ["export", "person"])]
    verify: bool,
    /// Write the records into this file, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Only records about this person, erased or not.
    #[arg(long, value_name = "REF")]
    person: Option<PersonRef>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("whom").required(true),
    after_help = "Needs neither a gallery nor models: the box looks at the photographs. Example:
  vigil gallery bundle --to \"vigil-bundle-1:…\" --table guests.csv --out desk-1.bundle"
)]
struct BundleArgs {
    /// The receiving box's key, from `vigil gallery key show` there.
    #[arg(long, value_name = "KEY")]
    to: String,
    /// Where to.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A folder of photographs named after their people.
    #[arg(long, value_name = "DIR", group = "whom")]
    folder: Option<PathBuf>,
    /// A CSV table of people.
    #[arg(long, value_name = "CSV", group = "whom")]
    table: Option<PathBuf>,
    #[command(flatten)]
    terms: TermsArgs,
    /// The receiving site's time zone, for dates [default: the machine's]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    logging::init(LogFormat::Text);
    match args.what {
        What::Key(KeyArgs { what: KeyWhat::Init { out, common } }) => key_init(out, &common),
        What::Key(KeyArgs { what: KeyWhat::Show { common } }) => key_show(&common),
        What::Enrol(args) => enrol(&args),
        What::List(args) => list(&args),
        What::Show(args) => show(&args),
        What::Revoke(args) => revoke(&args),
        What::Erase(args) => erase(&args),
        What::Expire(common) => expire(&common),
        What::Rotate(args) => rotate(&args),
        What::Migrate(args) => migrate(&args),
        What::Audit(args) => audit(&args),
        What::Bundle(args) => bundle(&args),
        What::Stats(common) => stats(&common),
    }
}

/// The opened gallery and what belongs to it.
struct Opened {
    config: Config,
    zone: TimeZone,
    gallery: Gallery,
    by: Actor,
}

fn load(common: &Common) -> Result<(Config, crate::config::GalleryConfig)> {
    let config = Config::load(&common.config)?;
    let Some(gallery) = config.gallery.clone() else {
        return Err(Error::config(format!("{} has no [gallery]", common.config.display()))
            .remedy("add the section; without it the box recognises nobody"));
    };
    Ok((config, gallery))
}

fn open(common: &Common, any_model: bool) -> Result<Opened> {
    let (config, section) = load(common)?;
    not_as_somebody_else(&config.identity.state_dir)?;
    let manifest = Manifest::load(&config.models.dir)?;
    let entry = manifest.model(Slot::FaceEmbedding)?;
    let calibration = Calibration::of_site(&config.verify, entry)?;
    let clock = Arc::new(SystemClock::default());
    let Some((setup, master)) = gallery::setup(&config, entry.model_ref(), calibration, clock)? else {
        return Err(Error::internal("the section is there and is not"));
    };
    let gallery =
        if any_model { Gallery::open_any_model(setup, master) } else { Gallery::open(setup, master) }?;
    let zone = section.timezone.map_or_else(TimeZone::system, |z| z.get().clone());
    Ok(Opened { config, zone, gallery, by: by(common)? })
}

/// As root, files would be made that the daemon cannot open.
fn not_as_somebody_else(state_dir: &Path) -> Result<()> {
    let me = nix::unistd::geteuid().as_raw();
    match std::fs::metadata(state_dir) {
        Ok(meta) if meta.uid() != me && me == 0 => Err(Error::new(
            Kind::Permission,
            Culprit::Request,
            format!("{} belongs to user {}, and this runs as root", state_dir.display(), meta.uid()),
        )
        .remedy(format!("run it as that user: sudo -u '#{}' vigil gallery …", meta.uid()))),
        _ => Ok(()),
    }
}

fn by(common: &Common) -> Result<Actor> {
    if let Some(by) = &common.by {
        return Ok(by.clone());
    }
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|v| std::env::var(v).ok());
    let name: String = user
        .unwrap_or_else(|| nix::unistd::getuid().to_string())
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        .take(48)
        .collect();
    Actor::new(format!("operator:{name}"))
}

fn print(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::internal("this is not JSON").with_source(e))?;
    say(&text)
}

/// A line to standard output; `vigil … | head` is no failure.
fn say(line: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| Error::io(Culprit::Host, "cannot write to standard output", e)),
    }
}

fn say_or_print(common: &Common, line: &str, value: &serde_json::Value) -> Result<()> {
    if common.json { print(value) } else { say(line) }
}

fn key_init(out: Option<PathBuf>, common: &Common) -> Result<()> {
    let path = match out {
        Some(path) => path,
        None => {
            let path = load(common)?.1.key_file;
            if path.starts_with("${CREDENTIALS_DIRECTORY}") {
                return Err(Error::new(
                    Kind::Usage,
                    Culprit::Request,
                    "gallery.key_file is a systemd credential, and this is not the unit",
                )
                .remedy(
                    "give --out /etc/vigil/credentials/gallery-key, and name that file in LoadCredential=",
                ));
            }
            path
        }
    };
    let key = MasterKey::generate()?;
    key.write_new(&path)?;
    let line = format!("wrote {}, key {}; keep a copy where the box is not", path.display(), key.id());
    say_or_print(common, &line, &json!({ "file": path, "key_id": key.id() }))
}

fn key_show(common: &Common) -> Result<()> {
    let opened = open(common, true)?;
    let (id, bundle) = (opened.gallery.stats().key_id, opened.gallery.bundle_key().to_string());
    say_or_print(common, &format!("key {id}\n{bundle}"), &json!({ "key_id": id, "bundle_key": bundle }))
}

fn enrol(args: &EnrolArgs) -> Result<()> {
    let opened = open(&args.common, false)?;
    let defaults = args.terms.defaults(&opened.zone)?;
    let runtime = Runtime::load(&opened.config.models)?;
    let manifest = Manifest::load(&opened.config.models.dir)?;
    let jobs =
        args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get().min(8)));
    let studio =
        || Studio::open(&runtime, &manifest, &opened.config.inference, &opened.config.verify.quality);
    let all = |people: &mut (dyn Iterator<Item = Result<Person>> + Send), total: u64| {
        let jobs = jobs.clamp(1, 64).min(usize::try_from(total.max(1)).unwrap_or(64));
        enrol::enrol_all(&opened.gallery, people, total, jobs, &opened.by, studio)
    };
    let list = |people: Vec<Person>| {
        let total = people.len() as u64;
        all(&mut people.into_iter().map(Ok), total)
    };
    let report = if let Some(person) = &args.person {
        list(vec![one(args, person, &defaults)?])?
    } else if let Some(dir) = &args.folder {
        list(people::read_folder(dir, &defaults)?)?
    } else if let Some(table) = &args.table {
        list(people::read_table(table, &defaults, &opened.zone)?)?
    } else if let Some(path) = &args.bundle {
        let at = || path.display().to_string();
        let open = || std::fs::File::open(path).map(std::io::BufReader::new);
        let unread = |e| Error::io(Culprit::Request, "cannot be read", e);
        // Read through once, so that a bundle that was cut off enrols nobody.
        let mut reader = opened.gallery.open_bundle(open().map_err(unread).context(at)?).context(at)?;
        let mut total = 0;
        while reader.read().context(at)?.is_some() {
            total += 1;
        }
        let mut reader = opened.gallery.open_bundle(open().map_err(unread).context(at)?).context(at)?;
        let mut n = 0;
        let mut people = std::iter::from_fn(move || {
            n += 1;
            reader.read().map(|put| put.map(|p| Person::of_put(format!("record {n}"), p))).transpose()
        });
        all(&mut people, total)?
    } else {
        return Err(Error::new(
            Kind::Usage,
            Culprit::Request,
            "give --person, --folder, --table or --bundle",
        ));
    };
    if args.common.json {
        print(&report)?;
    } else {
        for refused in &report.refused {
            let alike: Vec<_> = refused.alike.iter().map(PersonRef::as_str).collect();
            let alike = if alike.is_empty() { String::new() } else { format!(": {}", alike.join(", ")) };
            eprintln!("{} ({}): {}{alike}", refused.person_ref, refused.place, refused.message);
        }
        say(&format!(
            "{} people in {:.1} s: {} enrolled, {} replaced, {} as before, {} refused",
            report.people,
            report.seconds,
            report.enrolled,
            report.replaced,
            report.unchanged,
            report.refused.len()
        ))?;
    }
    if let Some(warning) = opened.gallery.stats().warning() {
        eprintln!("vigil: {warning}");
    }
    if !report.refused.is_empty() {
        drop(opened);
        std::process::exit(1);
    }
    Ok(())
}

/// The one person of the command line.
fn one(args: &EnrolArgs, person: &PersonRef, defaults: &Defaults) -> Result<Person> {
    let lacking = |flag: &str| {
        Error::new(Kind::Usage, Culprit::Request, format!("there is no {flag}"))
            .remedy(format!("give --{flag}: nobody is enrolled without purpose, basis and end"))
    };
    let credential = |kind| move |value: &String| CredentialText { kind, value: value.clone() };
    let mut credentials: Vec<_> = args.card.iter().map(credential(CredentialKind::Card)).collect();
    credentials.extend(args.tag.iter().map(credential(CredentialKind::Tag)));
    if let Some(file) = &args.pin_file {
        let secret = crate::config::Secret::resolve(None, Some(file))?;
        let value = secret.as_ref().map(|s| s.expose().to_owned()).unwrap_or_default();
        credentials.push(CredentialText { kind: CredentialKind::Pin, value });
    }
    Ok(Person {
        place: "command line".to_owned(),
        terms: EntryTerms {
            person_ref: person.clone(),
            purpose: defaults.purpose.ok_or_else(|| lacking("purpose"))?,
            basis: defaults.basis.clone().ok_or_else(|| lacking("basis"))?,
            valid_from: defaults.valid_from,
            valid_until: defaults.valid_until.ok_or_else(|| lacking("valid-until"))?,
            hours: defaults.hours.clone(),
            language: defaults.language,
            credentials,
        },
        photos: Photos::Files(args.photos.clone()),
        distinct_from: args.distinct_from.clone(),
    })
}

fn line_of(view: &EntryView) -> String {
    let state = format!("{:?}", view.state).to_lowercase();
    format!(
        "{:<24} {:<14} {:<9} until {}  {}  {} credentials",
        view.person_ref,
        view.purpose,
        state,
        view.valid_until,
        view.basis,
        view.credentials.len()
    )
}

/// Calls `each` for every page's entries.
fn pages(
    mut page: impl FnMut(Option<PersonRef>) -> Result<crate::event::GalleryPage>,
    mut each: impl FnMut(&EntryView) -> Result<()>,
) -> Result<()> {
    let mut after = None;
    loop {
        let found = page(after)?;
        found.entries.iter().try_for_each(&mut each)?;
        match found.entries.last() {
            Some(last) if found.more => after = Some(last.person_ref.clone()),
            _ => return Ok(()),
        }
    }
}

fn list(args: &ListArgs) -> Result<()> {
    let opened = open(&args.common, true)?;
    let mut all = Vec::new();
    let page = |after| {
        let list = GalleryList { purpose: args.purpose, after, limit: None };
        opened.gallery.list(&list, &opened.by)
    };
    pages(page, |view| {
        if args.common.json {
            all.push(view.clone());
            Ok(())
        } else {
            say(&line_of(view))
        }
    })?;
    if args.common.json { print(&all) } else { Ok(()) }
}

fn unknown(person: &PersonRef) -> Error {
    Error::new(Kind::NotFound, Culprit::Request, format!("nobody is enrolled as {person}"))
        .remedy("list them with `vigil gallery list`")
}

fn show(args: &PersonArgs) -> Result<()> {
    let opened = open(&args.common, true)?;
    let view = opened.gallery.show(&args.person).ok_or_else(|| unknown(&args.person))?;
    opened.gallery.record_about(&args.person, Note::new(Action::List, &opened.by).count(1))?;
    if args.common.json {
        return print(&view);
    }
    say(&line_of(&view))?;
    say(&format!(
        "entry {}, made {} by {}, model {}",
        view.entry, view.created, view.created_by, view.model
    ))?;
    if let Some(hours) = &view.hours {
        say(&format!("hours {}", Vec::from(hours.clone()).join("; ")))?;
    }
    say(&format!("audit log: vigil gallery audit --person {}", view.person_ref))
}

fn revoke(args: &RevokeArgs) -> Result<()> {
    let opened = open(&args.common, true)?;
    let text = |kind, value: &Option<String>| value.clone().map(|value| CredentialText { kind, value });
    let credential = text(CredentialKind::Card, &args.card).or_else(|| text(CredentialKind::Tag, &args.tag));
    let order = GalleryRevoke { person_ref: args.person.clone(), credential, keep_record: true };
    let done = opened.gallery.revoke(&order, &opened.by)?;
    if done.entry.is_none() {
        return Err(unknown(&args.person));
    }
    let line = if done.change.is_some() { "revoked" } else { "was revoked already" };
    say_or_print(&args.common, &format!("{} {line}", args.person), &json!({ "change": done.change }))
}

fn erase(args: &PeopleArgs) -> Result<()> {
    let opened = open(&args.common, true)?;
    let mut missing = None;
    let mut done = Vec::new();
    for person in &args.people {
        let erased = opened.gallery.erase(person, &opened.by)?.change.is_some();
        if !erased {
            missing = Some(person);
        }
        if !args.common.json {
            say(&format!("{person} {}", if erased { "erased" } else { "was not there" }))?;
        }
        done.push(json!({ "person_ref": person, "erased": erased }));
    }
    if args.common.json {
        print(&done)?;
    }
    missing.map_or(Ok(()), |person| Err(unknown(person)))
}

fn expire(common: &Common) -> Result<()> {
    let opened = open(common, true)?;
    let count = opened.gallery.expire(&opened.by)?;
    say_or_print(common, &format!("{count} expired entries erased"), &json!({ "erased": count }))
}

fn rotate(args: &RotateArgs) -> Result<()> {
    let (_, section) = load(&args.common)?;
    let opened = open(&args.common, true)?;
    let next = args.out.clone().unwrap_or_else(|| MasterKey::next_path(&section.key_file));
    if args.out.is_none() && std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|d| next.starts_with(d))
        || next.starts_with("${CREDENTIALS_DIRECTORY}")
    {
        return Err(Error::new(
            Kind::Usage,
            Culprit::Request,
            "the key is a systemd credential, which cannot be replaced from here",
        )
        .remedy("give --out FILE and put that file into LoadCredential="));
    }
    // A file that is there is of a rotation that was cut off: before the gallery was sealed with it, or after.
    let new = if next.exists() {
        MasterKey::load(&next)?
    } else {
        let new = MasterKey::generate()?;
        new.write_new(&next)?;
        new
    };
    let before = opened.gallery.stats().key_id;
    let count = if before == new.id() {
        opened.gallery.stats().entries
    } else {
        opened.gallery.rotate(&new, &opened.by)?
    };
    if args.out.is_none() {
        put_in_place(&next, &section.key_file)?;
    }
    let at = args.out.as_ref().unwrap_or(&section.key_file);
    let line = format!(
        "{count} entries are sealed with key {} in {}; keep a copy of it, start Vigil again, destroy the old one",
        new.id(),
        at.display()
    );
    say_or_print(&args.common, &line, &json!({ "entries": count, "key_id": new.id(), "file": at }))
}

fn put_in_place(next: &Path, file: &Path) -> Result<()> {
    let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::rename(next, file).and_then(|()| std::fs::File::open(parent)?.sync_all()).map_err(|e| {
        Error::io(Culprit::Disk, format!("the new key stays in {}", next.display()), e)
            .remedy(format!("move it to {} yourself", file.display()))
    })
}

fn migrate(args: &MigrateArgs) -> Result<()> {
    let opened = open(&args.common, true)?;
    if args.list {
        let mut all = Vec::new();
        if !args.common.json {
            say("person_ref,purpose,basis,valid_until")?;
        }
        opened.gallery.record(Note::new(Action::List, &opened.by).note("to enrol again"))?;
        pages(
            |after| Ok(opened.gallery.to_enrol_again(after)),
            |view| {
                if args.common.json {
                    all.push(view.clone());
                    return Ok(());
                }
                say(&format!("{},{},{},{}", view.person_ref, view.purpose, view.basis, view.valid_until))
            },
        )?;
        return if args.common.json { print(&all) } else { Ok(()) };
    }
    let count = opened.gallery.migrate(&opened.by)?;
    let model = opened.gallery.model().clone();
    let line = format!(
        "the gallery is for {} now; {count} people wait for a photograph: vigil gallery migrate --list",
        model.name
    );
    say_or_print(&args.common, &line, &json!({ "model": model, "waiting": count }))
}

fn audit(args: &AuditArgs) -> Result<()> {
    let opened = open(&args.common, true)?;
    let subject = args.person.as_ref().map(|p| opened.gallery.subject_of(p));
    // Before it is read, so that the export holds that it was exported.
    if args.export.is_some() {
        opened.gallery.record(Note::new(Action::Export, &opened.by).note("audit log"))?;
    }
    let mut file = match &args.export {
        Some(path) => Some(std::io::BufWriter::new(
            std::fs::File::create(path)
                .map_err(|e| Error::io(Culprit::Disk, format!("cannot write {}", path.display()), e))?,
        )),
        None => None,
    };
    let verdict = opened.gallery.audit_log(|body| {
        if args.verify {
            return Ok(());
        }
        if let Some(subject) = &subject
            && serde_json::from_str::<gallery::audit::Record>(body)
                .is_ok_and(|r| r.subject.as_ref() != Some(subject))
        {
            return Ok(());
        }
        match &mut file {
            Some(file) => writeln!(file, "{body}")
                .map_err(|e| Error::io(Culprit::Disk, "the export cannot be written", e)),
            None => say(body),
        }
    })?;
    if let Some(file) = &mut file {
        file.flush().map_err(|e| Error::io(Culprit::Disk, "the export cannot be written", e))?;
    }
    if args.verify && args.common.json {
        print(&verdict)?;
    }
    match &verdict.broken {
        Some(broken) => Err(Error::new(
            Kind::Corrupt,
            Culprit::Disk,
            format!("the audit log is broken at record {}: {}", broken.seq, broken.what),
        )
        .remedy("compare it with the last export and with the marks that gallery.changed gave the hub")),
        None if args.verify && !args.common.json => say(&format!(
            "the chain holds: records {} to {}, {} in all; head {}",
            verdict.first, verdict.head.seq, verdict.records, verdict.head.sha256
        )),
        None => Ok(()),
    }
}

fn bundle(args: &BundleArgs) -> Result<()> {
    let key = BundleKey::parse(&args.to)?;
    let zone = match &args.timezone {
        Some(name) => crate::config::Zone::try_new(name)?.get().clone(),
        None => TimeZone::system(),
    };
    let defaults = args.terms.defaults(&zone)?;
    let people = match (&args.folder, &args.table) {
        (Some(dir), _) => people::read_folder(dir, &defaults)?,
        (None, Some(table)) => people::read_table(table, &defaults, &zone)?,
        (None, None) => return Err(Error::new(Kind::Usage, Culprit::Request, "give --folder or --table")),
    };
    let file = {
        use std::os::unix::fs::OpenOptionsExt;
        let cannot = |e| {
            Error::io(Culprit::Disk, format!("cannot write {}", args.out.display()), e)
                .remedy("name a new file with --out")
        };
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&args.out)
            .map_err(cannot)?
    };
    let written = write_bundle(file, key, people);
    if written.is_err() {
        // Half a bundle is of no use to anybody.
        let _ = std::fs::remove_file(&args.out);
    }
    let count = written?;
    if args.json {
        return print(&json!({ "file": args.out, "people": count }));
    }
    say(&format!("{count} people in {}", args.out.display()))
}

fn write_bundle(file: std::fs::File, key: BundleKey, people: Vec<Person>) -> Result<u64> {
    use base64::Engine as _;
    let mut writer = BundleWriter::new(std::io::BufWriter::new(file), key)?;
    let mut progress = Progress::new("sealing", people.len() as u64);
    let mut count = 0;
    for person in people {
        let photos = match &person.photos {
            Photos::Text(texts) => texts.clone(),
            Photos::Files(files) => files
                .iter()
                .map(|f| {
                    let bytes = enrol::read(f)?;
                    Ok(PortraitText::new(base64::engine::general_purpose::STANDARD.encode(&*bytes)))
                })
                .collect::<Result<_>>()?,
        };
        writer.add(&GalleryPut { terms: person.terms, photos, distinct_from: person.distinct_from })?;
        progress.add(1);
        count += 1;
    }
    let file = writer.finish()?;
    file.into_inner()
        .map_err(|e| e.into_error())
        .and_then(|f| f.sync_all())
        .map_err(|e| Error::io(Culprit::Disk, "the bundle cannot be written", e))?;
    Ok(count)
}

fn stats(common: &Common) -> Result<()> {
    let opened = open(common, true)?;
    let stats = opened.gallery.stats();
    let fpir = opened.config.gallery.as_ref().map(|g| g.fpir).unwrap_or_default();
    let search =
        gallery::identification_threshold(opened.gallery.calibration(), fpir, stats.entries as usize);
    if common.json {
        let search = match &search {
            Ok(t) => json!({ "fpir": fpir.get(), "fmr": t.fmr, "population": t.population }),
            Err(e) => json!({ "fpir": fpir.get(), "impossible": e.to_string() }),
        };
        return print(&json!({ "gallery": stats, "search": search, "warning": stats.warning() }));
    }
    say(&format!(
        "{} entries of {}, {} bytes, key {}",
        stats.entries, stats.max_entries, stats.bytes, stats.key_id
    ))?;
    for (purpose, count) in stats.by_purpose.iter().filter(|(_, n)| *n > 0) {
        say(&format!("  {purpose:<14} {count}"))?;
    }
    say(&format!(
        "revoked {}, waiting for a photograph {}, damaged {}; templates {} in memory; model {} {}",
        stats.revoked,
        stats.awaiting,
        stats.damaged,
        if stats.locked { "locked" } else { "not locked" },
        stats.model.name,
        stats.model.sha256
    ))?;
    match search {
        Ok(t) => say(&format!(
            "a search of all keeps FPIR {} with FMR {:.1e} ({})",
            fpir.get(),
            t.fmr,
            t.population
        ))?,
        Err(e) => say(&format!("a search of all is refused: {e}"))?,
    }
    if let Some(warning) = stats.warning() {
        eprintln!("vigil: {warning}");
    }
    Ok(())
}
