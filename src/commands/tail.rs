//! `vigil tail`: follows a box's topics.

mod words;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::base::backoff::Backoff;
use crate::base::{Culprit, Error, Kind, Name, Result, TimeQuality};
use crate::bus::client::{Client, Message};
use crate::config::{BrokerUrl, Config, MqttConfig};
use crate::event::topic::ROOT;
use crate::event::{Envelope, EventKind};

/// Identifiers remembered to leave duplicates out.
const REMEMBERED: usize = 10_000;
/// Runs of daemons whose sequence is followed.
const BOOTS: usize = 1_000;
/// Where a packaged box has its configuration.
const INSTALLED: &str = "/etc/vigil/vigil.toml";

/// Follows the events of one box or many, one line each.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  vigil tail                                      the box of /etc/vigil/vigil.toml or ./vigil.toml
  vigil tail --url mqtt://hub:1883                every box that the hub hears
  vigil tail --site harbour --box gate-1 --all    one box, with its states and health
  vigil tail --kind verify.result --outcome no_match
  vigil tail --json --count 10 | jq .data.outcome

A line shows: time, box, kind, outcome, band, checks that failed or were not made. A duplicate (same id)
is left out and a gap in the sequence is told, both on standard error.
With --count, --for is a deadline: exit code 75 if fewer events came.")]
pub(super) struct Args {
    /// Configuration of the box; says which broker and which box
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// Broker, instead of a configuration: mqtt://host:1883 or mqtts://host:8883
    #[arg(long)]
    url: Option<String>,
    /// User name at the broker of --url
    #[arg(long, requires = "url")]
    username: Option<String>,
    /// File with the password for --username
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// Authority of the broker of --url, PEM
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
    /// Only this site
    #[arg(long)]
    site: Option<Name>,
    /// Only this box
    #[arg(long = "box", value_name = "BOX")]
    box_name: Option<Name>,
    /// Only this kind of event; can be given several times
    #[arg(long, value_parser = parse_kind)]
    kind: Vec<EventKind>,
    /// Only this camera
    #[arg(long)]
    camera: Option<Name>,
    /// Only this outcome of a verification
    #[arg(long)]
    outcome: Option<String>,
    /// One JSON document a line
    #[arg(long)]
    json: bool,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Show state, birth, health, camera and door topics too
    #[arg(long)]
    all: bool,
}

fn parse_kind(s: &str) -> std::result::Result<EventKind, String> {
    s.parse::<EventKind>().map_err(|e| e.to_string())
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    let (mqtt, site, box_name) = args.target()?;
    let place = |name: &Option<Name>| name.as_ref().map_or("+".to_owned(), Name::to_string);
    let base = format!("{ROOT}/{}/{}", place(&site), place(&box_name));
    let mut filters = vec![format!("{base}/event/#")];
    if args.all {
        filters.extend(["state", "birth", "health", "camera/#", "door/#"].map(|t| format!("{base}/{t}")));
    }
    let deadline = match args.seconds {
        Some(s) if s.is_finite() && (0.0..=1e9).contains(&s) => {
            Some(Instant::now() + Duration::from_secs_f64(s))
        }
        Some(s) => {
            return Err(Error::new(
                Kind::Usage,
                Culprit::Request,
                format!("--for {s} is not a time in seconds"),
            ));
        }
        None => None,
    };
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let mut view = View { args: &args, colour, seen: Seen::default(), shown: 0 };
    let mut waits = Backoff::try_new(Duration::from_millis(200), Duration::from_secs(5))?.waits();
    let mut client: Option<Client> = None;
    let mut told_down = false;
    while !view.done() {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if left.is_some_and(|l| l.is_zero()) {
            break;
        }
        let step = left.unwrap_or(Duration::from_secs(3600)).min(Duration::from_secs(3600));
        let Some(connected) = &mut client else {
            match Client::connect(&mqtt, "vigil-tail", &filters) {
                Ok(c) => {
                    if told_down {
                        note("connected again; what was published meanwhile was not seen");
                    }
                    told_down = false;
                    waits.reset();
                    client = Some(c);
                }
                Err(e) if !e.retryable() => return Err(e),
                Err(e) => {
                    if !told_down {
                        note(&format!("{e}; trying again"));
                    }
                    told_down = true;
                    std::thread::sleep(waits.next_wait().min(step));
                }
            }
            continue;
        };
        match connected.recv(step) {
            Ok(Some(message)) => {
                if !view.show(&message) {
                    // Nobody reads any more: `| head` has what it wanted.
                    return Ok(());
                }
            }
            Ok(None) => {}
            Err(e) => {
                note(&e.to_string());
                told_down = true;
                client = None;
            }
        }
    }
    if let Some(client) = client {
        client.close();
    }
    match args.count {
        Some(count) if view.shown < count => Err(Error::new(
            Kind::Timeout,
            Culprit::Request,
            format!("{} of {count} events came in time", view.shown),
        )),
        _ => Ok(()),
    }
}

impl Args {
    fn target(&self) -> Result<(MqttConfig, Option<Name>, Option<Name>)> {
        if let Some(url) = &self.url {
            let url = BrokerUrl::parse(url)
                .map_err(|e| Error::new(Kind::Usage, Culprit::Request, e.to_string()).context("--url"))?;
            let mut mqtt = MqttConfig::new(url);
            mqtt.username.clone_from(&self.username);
            mqtt.password_file.clone_from(&self.password_file);
            mqtt.tls.ca_file.clone_from(&self.ca_file);
            return Ok((mqtt, self.site.clone(), self.box_name.clone()));
        }
        let path = match &self.config {
            Some(path) => path.clone(),
            None => {
                [INSTALLED, "vigil.toml"].map(PathBuf::from).into_iter().find(|p| p.exists()).ok_or_else(
                    || {
                        Error::new(
                            Kind::Usage,
                            Culprit::Request,
                            "neither /etc/vigil/vigil.toml nor ./vigil.toml is there",
                        )
                        .remedy("name the broker with --url, or a configuration with --config")
                    },
                )?
            }
        };
        let config = Config::load(&path)?;
        let site = self.site.clone().unwrap_or(config.identity.site);
        let box_name = self.box_name.clone().unwrap_or(config.identity.name);
        Ok((config.mqtt, Some(site), Some(box_name)))
    }
}

fn note(text: &str) {
    eprintln!("vigil tail: {}", clean(text));
}

/// What came from the network must not move the cursor or colour the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// What was seen before, bounded.
#[derive(Default)]
struct Seen {
    ids: HashSet<Uuid>,
    order: VecDeque<Uuid>,
    sequences: HashMap<Uuid, u64>,
    boots: VecDeque<Uuid>,
}

impl Seen {
    /// False if this event was seen before.
    fn is_new(&mut self, id: Uuid) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(old) = self.order.pop_front()
        {
            self.ids.remove(&old);
        }
        true
    }

    /// The sequence numbers that were stepped over, if any.
    fn gap(&mut self, boot: Uuid, seq: u64) -> Option<(u64, u64)> {
        match self.sequences.get_mut(&boot) {
            None => {
                self.boots.push_back(boot);
                if self.boots.len() > BOOTS
                    && let Some(old) = self.boots.pop_front()
                {
                    self.sequences.remove(&old);
                }
                self.sequences.insert(boot, seq);
                None
            }
            Some(last) => {
                let gap = (seq > last.saturating_add(1)).then(|| (*last + 1, seq - 1));
                *last = seq.max(*last);
                gap
            }
        }
    }
}

struct View<'a> {
    args: &'a Args,
    colour: bool,
    seen: Seen,
    shown: u64,
}

impl View<'_> {
    fn done(&self) -> bool {
        self.args.count.is_some_and(|n| self.shown >= n)
    }

    /// Shows a message; false when nobody reads any more.
    fn show(&mut self, m: &Message) -> bool {
        let rest = m.topic.strip_prefix(ROOT).unwrap_or(&m.topic).trim_start_matches('/');
        let mut parts = rest.splitn(3, '/');
        let (Some(site), Some(box_name), Some(topic)) = (parts.next(), parts.next(), parts.next()) else {
            return true;
        };
        let line = match topic.strip_prefix("event/") {
            Some(kind) => self.event(&format!("{site}/{box_name}"), kind, &m.payload),
            None => Some(self.standing(&format!("{site}/{box_name}"), topic, m)),
        };
        let Some(line) = line else { return true };
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{line}").and_then(|()| out.flush());
        if topic.starts_with("event/") {
            self.shown += 1;
        }
        written.is_ok()
    }

    fn event(&mut self, place: &str, kind: &str, payload: &[u8]) -> Option<String> {
        let event: Envelope = match serde_json::from_slice(payload) {
            Ok(event) => event,
            Err(e) => {
                note(&format!("{place}: event/{kind} is not an event: {e}"));
                return None;
            }
        };
        if let Some((from, to)) = self.seen.gap(event.bootid, event.seq) {
            let boot = &event.bootid.to_string()[..8];
            let which = if from == to { format!("{from} was") } else { format!("{from} to {to} were") };
            note(&format!("{place}: sequence {which} not seen (boot {boot}…)"));
        }
        if !self.seen.is_new(event.id) {
            note(&format!("{place}: {kind} {} came again and is left out", event.id));
            return None;
        }
        let args = self.args;
        let outcome = event.data.get("outcome").and_then(Value::as_str);
        let wanted = (args.kind.is_empty() || args.kind.iter().any(|k| k.as_str() == kind))
            && args.camera.as_ref().is_none_or(|c| {
                let named = event.data.pointer("/capture/camera").and_then(Value::as_str);
                named.or(event.subject.as_deref()) == Some(c.as_str())
            })
            && args.outcome.as_deref().is_none_or(|o| outcome == Some(o));
        if !wanted {
            return None;
        }
        if args.json {
            return Some(String::from_utf8_lossy(payload).into_owned());
        }
        let glance = words::of(kind, &event.data);
        let mut line = self.columns(&time(&event), place, kind, &glance.head, &glance.band);
        line.push_str(&clean(&glance.notes.join("; ")));
        if event.replayed {
            line.push_str("  [replayed]");
        }
        Some(line)
    }

    fn standing(&self, place: &str, topic: &str, m: &Message) -> String {
        let data: Value = serde_json::from_slice(&m.payload)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&m.payload).into_owned()));
        if self.args.json {
            return json!({ "topic": m.topic, "retained": m.retained, "data": data }).to_string();
        }
        let state = data.get("state").and_then(Value::as_str).unwrap_or_default().to_owned();
        let now = format!("{:.0}", jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default());
        let mut line = self.columns(&now, place, topic, &state, "");
        let text = data.to_string();
        let short: String = text.chars().take(160).collect();
        line.push_str(&clean(&short));
        if short.len() < text.len() {
            line.push('…');
        }
        line
    }

    fn columns(&self, time: &str, place: &str, kind: &str, head: &str, band: &str) -> String {
        let (head, band) = (clean(head), clean(band));
        let paint = match head.as_str() {
            "match" | "granted" | "online" | "live" | "cleared" => "32",
            "no_match"
            | "denied"
            | "followed"
            | "presentation_attack_suspected"
            | "raised"
            | "offline"
            | "lost" => "31",
            "" => "0",
            _ => "33",
        };
        let padded = format!("{head:<14}");
        let head = if self.colour { format!("\x1b[{paint}m{padded}\x1b[0m") } else { padded };
        format!("{time:<25} {:<16} {:<14} {head} {band:<10} ", clean(place), clean(kind))
    }
}

/// The decision's time; a `~` after it says that the box's clock is not synchronised.
fn time(event: &Envelope) -> String {
    let rounded = event.time.round(jiff::Unit::Millisecond).unwrap_or(event.time);
    let mark = if event.timequality == TimeQuality::Synced { "" } else { "~" };
    format!("{rounded:.3}{mark}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_duplicates_are_noticed_per_boot() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut seen = Seen::default();
        assert!(seen.is_new(a));
        assert!(!seen.is_new(a));
        assert_eq!(seen.gap(a, 7), None, "where it began is not known");
        assert_eq!(seen.gap(a, 8), None);
        assert_eq!(seen.gap(b, 1), None);
        assert_eq!(seen.gap(a, 12), Some((9, 11)));
        assert_eq!(seen.gap(a, 10), None, "a latecomer is no gap");
        assert_eq!(seen.gap(a, 13), None);
        for n in 0..30_000 {
            seen.is_new(Uuid::from_u128(100 + n));
            seen.gap(Uuid::from_u128(100 + n), 1);
        }
        assert!(seen.ids.len() <= REMEMBERED && seen.sequences.len() <= BOOTS);
    }

    #[test]
    fn the_network_does_not_write_to_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }
}
