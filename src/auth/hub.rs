//! Whether a command that came over MQTT may be carried out.
//!
//! # Time
//!
//! While the box's clock is synchronised, or was since the machine started, a command's time may differ
//! from it by `hub.skew_s` either way.
//!
//! A clock that was never synchronised may be wrong by years, and a command that was held back for a week
//! would look fresh to a box that thinks it is last week. Then a command must name this run of the box
//! (`boot`, the `bootid` of `state` and `birth`): what was signed for an earlier run is refused, whatever
//! the clock says. Within the run no command may be older, by the time its own key signs, than the last
//! one of that key and the time since. What remains: as long as the clock is wrong and the box runs, a
//! command of this run that was held back can be delivered late, if nothing newer of its key came before.
//!
//! # Order
//!
//! The counter of a command must be above that of the key's last one. It is on disk before the command is
//! carried out ([`Counters`]): a command that was cut off by a power cut is not carried out twice but
//! perhaps not at all, and is given again with a new counter; orders about the gallery say the same the
//! second time.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ed25519_dalek::VerifyingKey;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::counters::{Counters, Last};
use super::jws::{Claims, Sealed, claims_to_be_signed};
use crate::base::error::Context as _;
use crate::base::{Clock, Culprit, Error, Kind, Name, Result, TimeQuality, hex};
use crate::config::{CommandName, Config, HubKeyConfig};
use crate::event::Refusal;
use crate::event::topic::valid_correlation;

/// Whoever signed a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The key's name.
    pub key: Name,
    /// The command's counter.
    pub counter: u64,
    /// SHA-256 of the envelope.
    pub digest: [u8; 32],
}

/// A command that may be carried out.
#[derive(Debug)]
pub struct Admitted {
    /// Which one.
    pub command: CommandName,
    /// Its own payload.
    pub body: Zeroizing<Vec<u8>>,
    /// What the requester calls it, if the envelope said.
    pub correlation: Option<String>,
    /// Who signed it; nobody did where it needs no signature.
    pub signer: Option<Signer>,
}

/// A command that must not be carried out.
#[derive(Debug)]
pub struct Denied {
    /// Why, in one word.
    pub reason: Refusal,
    /// Why, and what to do about it.
    pub error: Error,
    /// What the requester calls it, if that could be read. Not verified: it names where the refusal goes.
    pub correlation: Option<String>,
    /// It is the last command of its key once more, word for word and rightly signed: a second delivery.
    pub again: Option<Signer>,
}

struct Key {
    id: Name,
    public: VerifyingKey,
    /// How [`Counters`] calls it.
    print: String,
    commands: Vec<CommandName>,
    valid_until: Timestamp,
}

struct State {
    counters: Counters,
    /// When the last command of a key came, in this run.
    came: HashMap<String, Instant>,
}

/// Knows who may give which command.
pub struct HubGuard {
    aud: String,
    boot: Uuid,
    skew: i64,
    open: Vec<CommandName>,
    keys: Vec<Key>,
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for HubGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubGuard").field("aud", &self.aud).field("open", &self.open).finish_non_exhaustive()
    }
}

/// The public key of a `[[hub_key]]`.
pub fn public_key(config: &HubKeyConfig) -> Result<VerifyingKey> {
    let key = VerifyingKey::from_bytes(config.public_key.bytes()).ok().filter(|k| !k.is_weak());
    key.ok_or_else(|| {
        Error::config(format!("hub_key {}: this public key is not one", config.id))
            .remedy("make a pair with `vigil hub key`")
    })
}

impl HubGuard {
    /// Reads the keys of the configuration, and the counters in `state_dir`.
    pub fn open(config: &Config, state_dir: &Path, boot: Uuid, clock: Arc<dyn Clock>) -> Result<Self> {
        let keys = config
            .hub_keys
            .iter()
            .map(|k| {
                let public = public_key(k)?;
                Ok(Key {
                    id: k.id.clone(),
                    print: hex(&Sha256::digest(public.as_bytes())),
                    public,
                    commands: k.commands.clone(),
                    valid_until: k.valid_until,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let keep = keys.iter().map(|k| k.print.clone()).collect();
        // A clock that is ahead by years must not shut everybody out once it is right.
        let trusted = clock.quality() != TimeQuality::Unsynced;
        let since = if trusted { clock.now().as_second() } else { 0 };
        let counters = Counters::open(state_dir, since, keep).context(|| "hub")?;
        Ok(Self {
            aud: format!("{}/{}", config.identity.site, config.identity.name),
            boot,
            skew: i64::from(config.hub.skew_s),
            open: config.hub.open(&config.mqtt),
            keys,
            state: Mutex::new(State { counters, came: HashMap::new() }),
            clock,
        })
    }

    /// Decides about a command, and makes its counter durable. Called for one command after the other, in
    /// the order in which they came; waits for the disk.
    pub fn admit(
        &self,
        name: &str,
        payload: Zeroizing<Vec<u8>>,
    ) -> std::result::Result<Admitted, Box<Denied>> {
        let Some(command) = CommandName::find(name) else {
            return Err(deny(
                Refusal::NotAllowed,
                format!("{name:?} is not a command"),
                "see docs/reference/events.md",
            ));
        };
        if !claims_to_be_signed(&payload) {
            if self.open.contains(&command) {
                return Ok(Admitted { command, body: payload, correlation: None, signer: None });
            }
            let remedy = match command.may_be_open() {
                true => "sign it (vigil hub sign), or name it in hub.open",
                false => "sign it (vigil hub sign)",
            };
            let mut denied = deny(Refusal::Unsigned, format!("{command} must be signed"), remedy);
            denied.correlation = correlation_of(&payload);
            return Err(denied);
        }
        let malformed = |e: Error| {
            Box::new(Denied { reason: Refusal::BadEnvelope, error: e, correlation: None, again: None })
        };
        let sealed = Sealed::parse(&payload).map_err(malformed)?;
        let claims = sealed.claims();
        let correlation = claims.as_ref().ok().and_then(|c| c.correlation.clone());
        let admitted = self.signed(command, &sealed, claims, Sha256::digest(&payload).into());
        admitted.map_err(|mut denied| {
            denied.correlation = correlation;
            denied
        })
    }

    fn signed(
        &self,
        command: CommandName,
        sealed: &Sealed<'_>,
        claims: Result<Claims>,
        digest: [u8; 32],
    ) -> std::result::Result<Admitted, Box<Denied>> {
        let Some(key) = self.keys.iter().find(|k| k.id.as_str() == sealed.kid) else {
            return Err(deny(Refusal::UnknownKey, "no key of that name is known", "add it as [[hub_key]]"));
        };
        let id = &key.id;
        if !sealed.verified_by(&key.public) {
            let what = format!("the signature is not that of key {id}");
            return Err(deny(Refusal::BadSignature, what, "sign with the key whose public half the box has"));
        }
        // From here on whoever speaks is known, and is told what is wrong.
        let claims = claims.map_err(|error| {
            Box::new(Denied { reason: Refusal::BadEnvelope, error, correlation: None, again: None })
        })?;
        if claims.aud != self.aud {
            return Err(deny(
                Refusal::OtherBox,
                "the command was signed for another box",
                format!("sign it for aud {}", self.aud),
            ));
        }
        if claims.cmd != command.as_str() {
            let what = format!("the command was signed as another one than {command}");
            return Err(deny(Refusal::OtherCommand, what, "sign it with cmd as in its topic"));
        }
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        self.in_time(key, &claims, &state)?;
        if !key.commands.contains(&command) {
            let remedy = format!("add it to the commands of [[hub_key]] {id}");
            return Err(deny(Refusal::NotAllowed, format!("key {id} may not give {command}"), remedy));
        }
        let signer = Signer { key: id.clone(), counter: claims.ctr, digest };
        let last = state.counters.last(&key.print);
        if last.is_some_and(|l| claims.ctr <= l.ctr) || claims.ctr == 0 {
            let again =
                last.is_some_and(|l| l.ctr == claims.ctr && l.sha256 == hex(&digest)).then_some(signer);
            let what = format!("the counter of key {id} is not above that of its last command");
            let mut denied = deny(Refusal::Replayed, what, "sign each command with a counter of its own");
            denied.again = again;
            return Err(denied);
        }
        let next = Last { ctr: claims.ctr, iat: claims.iat, sha256: hex(&digest) };
        state.counters.advance(&key.print, next).map_err(|error| {
            Box::new(Denied { reason: Refusal::NotRecorded, error, correlation: None, again: None })
        })?;
        state.came.insert(key.print.clone(), self.clock.instant());
        Ok(Admitted { command, body: claims.body, correlation: claims.correlation, signer: Some(signer) })
    }

    /// Whether the command comes in time, and the key's own time is not over.
    fn in_time(&self, key: &Key, claims: &Claims, state: &State) -> std::result::Result<(), Box<Denied>> {
        let (id, skew) = (&key.id, self.skew);
        let stale = |why: &str| {
            let what = format!("a command of key {id} comes too late: {why}");
            Err(deny(Refusal::Stale, what, "sign it when it is sent; compare the clocks of hub and box"))
        };
        if claims.boot.is_some_and(|boot| boot != self.boot) {
            let remedy = "sign it with the bootid that the box's state says now";
            return Err(deny(
                Refusal::OtherBoot,
                "the command was signed for another run of the box",
                remedy,
            ));
        }
        let trusted = self.clock.quality() != TimeQuality::Unsynced;
        let now = if trusted {
            self.clock.now().as_second()
        } else if claims.boot.is_none() {
            let what =
                "the box's clock is not synchronised, and the command does not name this run of the box";
            return Err(deny(
                Refusal::ClockUnsynced,
                what,
                "sign it with boot, the bootid that the box's state says",
            ));
        } else {
            // The latest that is known: the last command's time, and how long ago it came in this run.
            match state.counters.last(&key.print) {
                Some(last) => {
                    let ago = state.came.get(&key.print).map(|at| self.clock.instant().duration_since(*at));
                    last.iat.saturating_add(ago.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX)))
                }
                None => claims.iat,
            }
        };
        if now.max(claims.iat) >= key.valid_until.as_second() {
            let remedy = "make a new key with `vigil hub key`, or set valid_until anew";
            return Err(deny(Refusal::KeyExpired, format!("the time of key {id} is over"), remedy));
        }
        if claims.iat < now.saturating_sub(skew) {
            return stale("it was signed too long ago");
        }
        if trusted && claims.iat > now.saturating_add(skew) {
            let what = format!("a command of key {id} was signed in the future");
            return Err(deny(Refusal::Future, what, "compare the clocks of hub and box"));
        }
        if claims.exp.is_some_and(|exp| exp < now) {
            return stale("its exp has passed");
        }
        if trusted && claims.iat < state.counters.since() {
            return stale("it was signed before this box began to count");
        }
        Ok(())
    }

    /// Keys whose time is over within `days`, and what to say about each.
    pub fn expiring(&self, days: i64) -> Vec<String> {
        let now = self.clock.now().as_second();
        let left = |k: &Key| k.valid_until.as_second().saturating_sub(now);
        let soon = self.keys.iter().filter(|k| left(k) < days.saturating_mul(86_400));
        soon.map(|k| match left(k) {
            ..=0 => format!("the time of hub key {} is over", k.id),
            left => format!("the time of hub key {} is over in {} days", k.id, left / 86_400),
        })
        .collect()
    }
}

/// What a request that cannot be used calls itself, so that its sender hears why.
pub fn correlation_of(payload: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        correlation: String,
    }
    let named: Named = serde_json::from_slice(payload).ok()?;
    valid_correlation(&named.correlation).then_some(named.correlation)
}

fn deny(reason: Refusal, what: impl Into<String>, remedy: impl Into<String>) -> Box<Denied> {
    let error = Error::new(Kind::Refused, Culprit::Request, what).remedy(remedy);
    Box::new(Denied { reason, error, correlation: None, again: None })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::auth::jws;
    use crate::base::clock::ManualClock;
    use crate::event::CommandClaims;
    use ed25519_dalek::SigningKey;

    const NOW: i64 = 1_790_000_000;

    struct Bench {
        dir: tempfile::TempDir,
        clock: Arc<ManualClock>,
        key: SigningKey,
        boot: Uuid,
        guard: HubGuard,
    }

    fn config(key: &SigningKey) -> Config {
        let text = format!(
            "[box]\nsite = \"s\"\nname = \"b\"\n[mqtt]\nurl = \"mqtts://hub.example\"\n\
             [[hub_key]]\nid = \"hub-1\"\npublic_key = \"{}\"\ncommands = [\"gallery/list\", \"verify\"]\n\
             valid_until = \"2027-01-01T00:00:00Z\"\n",
            String::from(jws::public_text(key))
        );
        crate::config::load_str(&text, "t.toml").unwrap()
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let clock = Arc::new(ManualClock::at(Timestamp::from_second(NOW).unwrap()));
            let (key, boot) = (SigningKey::from_bytes(&[3; 32]), Uuid::from_u128(7));
            let guard = HubGuard::open(&config(&key), dir.path(), boot, clock.clone()).unwrap();
            Self { dir, clock, key, boot, guard }
        }

        fn claims(&self, ctr: u64) -> CommandClaims {
            CommandClaims {
                aud: "s/b".into(),
                cmd: "gallery/list".into(),
                ctr,
                iat: self.clock.now().as_second(),
                exp: None,
                boot: None,
                correlation: Some("c".into()),
                body: serde_json::Map::new(),
            }
        }

        fn give(&self, claims: &CommandClaims) -> std::result::Result<Admitted, Refusal> {
            let signed = jws::sign("hub-1", &self.key, claims).unwrap();
            self.send("gallery/list", &serde_json::to_vec(&signed).unwrap()).map_err(|d| d.reason)
        }

        fn send(&self, name: &str, payload: &[u8]) -> std::result::Result<Admitted, Box<Denied>> {
            self.guard.admit(name, Zeroizing::new(payload.to_vec()))
        }

        fn again(&mut self) {
            self.guard =
                HubGuard::open(&config(&self.key), self.dir.path(), self.boot, self.clock.clone()).unwrap();
        }
    }

    #[test]
    fn a_command_in_order_is_carried_out_once() {
        let mut bench = Bench::new();
        let admitted = bench.give(&bench.claims(5)).unwrap();
        assert_eq!(
            (admitted.command, admitted.correlation.as_deref()),
            (CommandName::GalleryList, Some("c"))
        );
        assert_eq!(admitted.signer.unwrap().key.as_str(), "hub-1");
        assert_eq!(bench.give(&bench.claims(5)).unwrap_err(), Refusal::Replayed);
        assert_eq!(bench.give(&bench.claims(4)).unwrap_err(), Refusal::Replayed);
        bench.again();
        assert_eq!(bench.give(&bench.claims(5)).unwrap_err(), Refusal::Replayed, "after a restart");
        bench.give(&bench.claims(6)).unwrap();
        assert_eq!(bench.give(&bench.claims(0)).unwrap_err(), Refusal::Replayed);
    }

    #[test]
    fn a_second_delivery_is_told_from_a_forged_counter() {
        let bench = Bench::new();
        let text = serde_json::to_vec(&jws::sign("hub-1", &bench.key, &bench.claims(5)).unwrap()).unwrap();
        bench.send("gallery/list", &text).unwrap();
        let denied = bench.send("gallery/list", &text).unwrap_err();
        assert_eq!(denied.again.map(|s| s.counter), Some(5));
        let mut other = bench.claims(5);
        other.correlation = None;
        let other = serde_json::to_vec(&jws::sign("hub-1", &bench.key, &other).unwrap()).unwrap();
        assert!(bench.send("gallery/list", &other).unwrap_err().again.is_none());
    }

    #[test]
    fn each_refusal_has_its_own_word_and_counts_nothing() {
        let bench = Bench::new();
        let with = |change: &dyn Fn(&mut CommandClaims)| {
            let mut claims = bench.claims(9);
            change(&mut claims);
            bench.give(&claims).unwrap_err()
        };
        assert_eq!(with(&|c| c.aud = "s/other".into()), Refusal::OtherBox);
        assert_eq!(with(&|c| c.cmd = "gallery/put".into()), Refusal::OtherCommand);
        assert_eq!(with(&|c| c.iat -= 121), Refusal::Stale);
        assert_eq!(with(&|c| c.iat += 121), Refusal::Future);
        assert_eq!(with(&|c| c.exp = Some(NOW - 1)), Refusal::Stale);
        assert_eq!(with(&|c| c.boot = Some(Uuid::nil())), Refusal::OtherBoot);
        let reason = |name: &str, payload: &[u8]| bench.send(name, payload).unwrap_err().reason;
        assert_eq!(reason("gallery/list", b"{}"), Refusal::Unsigned);
        assert_eq!(reason("verify", b"{}"), Refusal::Unsigned, "the broker is elsewhere");
        assert_eq!(reason("gallery/list", b"eyJ"), Refusal::BadEnvelope);
        assert_eq!(reason("gallery/burn", b"{}"), Refusal::NotAllowed);
        let signed = |kid: &str, key: &SigningKey, cmd: &str| {
            let mut claims = bench.claims(9);
            claims.cmd = cmd.into();
            serde_json::to_vec(&jws::sign(kid, key, &claims).unwrap()).unwrap()
        };
        let stranger = SigningKey::from_bytes(&[4; 32]);
        assert_eq!(reason("gallery/list", &signed("hub-2", &bench.key, "gallery/list")), Refusal::UnknownKey);
        assert_eq!(
            reason("gallery/list", &signed("hub-1", &stranger, "gallery/list")),
            Refusal::BadSignature
        );
        assert_eq!(reason("gallery/put", &signed("hub-1", &bench.key, "gallery/put")), Refusal::NotAllowed);
        bench.clock.set_wall("2027-01-01T00:00:00Z".parse().unwrap(), TimeQuality::Synced);
        assert_eq!(bench.give(&bench.claims(9)).unwrap_err(), Refusal::KeyExpired);
        bench.clock.set_wall(Timestamp::from_second(NOW).unwrap(), TimeQuality::Holdover);
        bench.give(&bench.claims(1)).unwrap();
    }

    #[test]
    fn a_clock_that_knows_nothing_takes_only_what_names_this_run() {
        let mut bench = Bench::new();
        bench.clock.set_wall(Timestamp::from_second(1000).unwrap(), TimeQuality::Unsynced);
        let at = |ctr, iat, boot| CommandClaims { iat, boot, ..bench.claims(ctr) };
        assert_eq!(bench.give(&at(1, NOW, None)).unwrap_err(), Refusal::ClockUnsynced);
        assert_eq!(bench.give(&at(1, 1000, None)).unwrap_err(), Refusal::ClockUnsynced);
        assert_eq!(bench.give(&at(1, NOW, Some(Uuid::nil()))).unwrap_err(), Refusal::OtherBoot);
        let boot = Some(bench.boot);
        bench.give(&at(1, NOW, boot)).unwrap();
        bench.clock.advance(Duration::from_secs(1000));
        assert_eq!(bench.give(&at(2, NOW, boot)).unwrap_err(), Refusal::Stale, "1,000 s were seen to pass");
        bench.give(&at(2, NOW + 1000, boot)).unwrap();
        assert_eq!(bench.give(&at(3, 1_900_000_000, boot)).unwrap_err(), Refusal::KeyExpired);
        // After a restart the last command's time is still a floor.
        bench.again();
        let at = |ctr, iat, boot| CommandClaims { iat, boot, ..bench.claims(ctr) };
        assert_eq!(bench.give(&at(3, NOW, boot)).unwrap_err(), Refusal::Stale);
        bench.give(&at(3, NOW + 1000, boot)).unwrap();
    }

    #[test]
    fn a_lost_file_does_not_bring_old_commands_back() {
        let mut bench = Bench::new();
        let old = bench.claims(5);
        bench.give(&old).unwrap();
        bench.clock.advance(Duration::from_secs(30));
        std::fs::remove_file(bench.dir.path().join(super::super::counters::FILE)).unwrap();
        bench.again();
        assert_eq!(bench.give(&old).unwrap_err(), Refusal::Stale, "within the skew, and before the file");
        bench.give(&bench.claims(5)).unwrap();
    }

    #[test]
    fn a_disk_that_takes_nothing_carries_nothing_out() {
        let bench = Bench::new();
        std::fs::create_dir(bench.dir.path().join("hub-counters.new")).unwrap();
        assert_eq!(bench.give(&bench.claims(1)).unwrap_err(), Refusal::NotRecorded);
    }
}
