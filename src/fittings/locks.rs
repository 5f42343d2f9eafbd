//! Locks: MQTT and HTTP.
//!
//! # What is sent, and when
//!
//! `unlock` for a durable decision that grants, once, while its `notafter` runs. When a door has
//! become ill, `secure` or `release`, as `when_ill` says; `release` is said again every
//! [`AGAIN`] and counts for [`HOLD`], so that a box that dies, or a lost message, does not leave a
//! door open for ever. When it is well again, `secure`. A box that is off says nothing at all: what
//! a lock does then is the lock's own affair, and on an escape route it must be to open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::hook;
use crate::base::error::Context;
use crate::base::{Clock, Culprit, Error, Kind, Name, Result};
use crate::bus::Relay;
use crate::config::{ActuatorConfig, HookUrl, Secret, WhenIll};
use crate::event::{Act, Actuation, Envelope, EventKind, GateDecision, GateOutcome};

/// How often a door that is free while the box is ill is told so.
pub const AGAIN: Duration = Duration::from_secs(10);
/// How long it stays free without being told again.
pub const HOLD: Duration = Duration::from_secs(30);
/// Requests to hooks at once.
const HOOKS_AT_ONCE: usize = 16;

/// The unlocking that `envelope` allows at `now`: it is a decision that grants, it was not
/// replayed, and its time runs. Everything else allows nothing.
pub fn unlocking(envelope: &Envelope, now: Timestamp) -> Option<Actuation> {
    if envelope.ty != EventKind::GateDecision.cloud_event_type() || envelope.replayed {
        return None;
    }
    let notafter = envelope.notafter.filter(|end| now < *end)?;
    let decision: GateDecision = serde_json::from_value(envelope.data.clone()).ok()?;
    (decision.outcome == GateOutcome::Granted).then_some(Actuation {
        door: decision.door,
        act: Act::Unlock,
        notafter,
        event: Some(envelope.id),
        session: Some(decision.session),
    })
}

/// One door's lock.
#[derive(Clone, Debug)]
pub struct LockSetup {
    /// The door.
    pub door: Name,
    /// How it is reached.
    pub actuator: ActuatorConfig,
}

struct Lock {
    mqtt: bool,
    hook: Option<(HookUrl, Option<Secret>)>,
    /// Why the last request to the hook failed.
    trouble: Arc<Mutex<Option<String>>>,
}

/// The locks of a box.
pub struct Locks {
    locks: HashMap<Name, Lock>,
    relay: Option<Relay>,
    clock: Arc<dyn Clock>,
    runtime: tokio::runtime::Handle,
    places: Arc<Semaphore>,
}

impl Locks {
    /// Reads what the locks need; nothing is told yet.
    pub fn new(
        setups: Vec<LockSetup>,
        relay: Option<Relay>,
        clock: Arc<dyn Clock>,
        runtime: tokio::runtime::Handle,
    ) -> Result<Self> {
        let mut locks = HashMap::new();
        for LockSetup { door, actuator } in setups {
            let token = Secret::resolve(actuator.token.as_ref(), actuator.token_file.as_deref())
                .context(|| format!("door {door}: actuator"))?;
            let hook = actuator.url.map(|url| (url, token));
            locks.insert(door, Lock { mqtt: actuator.mqtt, hook, trouble: Arc::default() });
        }
        Ok(Self { locks, relay, clock, runtime, places: Arc::new(Semaphore::new(HOOKS_AT_ONCE)) })
    }

    /// A decision was made durable: the lock is told, if that is allowed now.
    pub fn decided(&self, envelope: &Envelope) {
        if let Some(actuation) = unlocking(envelope, self.clock.now()) {
            self.tell(actuation);
        }
    }

    /// The box cannot decide about this door; said again every [`AGAIN`] for as long as it lasts.
    pub fn ill(&self, door: &Name, when_ill: WhenIll) {
        self.state(door, if when_ill == WhenIll::Unlocked { Act::Release } else { Act::Secure });
    }

    /// It can again.
    pub fn well(&self, door: &Name) {
        self.state(door, Act::Secure);
    }

    fn state(&self, door: &Name, act: Act) {
        if let Ok(notafter) = self.clock.now().checked_add(HOLD) {
            self.tell(Actuation { door: door.clone(), act, notafter, event: None, session: None });
        }
    }

    /// Why a door's lock cannot be told anything.
    pub fn trouble(&self, door: &Name) -> Option<String> {
        let lock = self.locks.get(door)?;
        let relay = || self.relay.as_ref().filter(|_| lock.mqtt)?.trouble();
        let hook = lock.trouble.lock().unwrap_or_else(|e| e.into_inner()).clone();
        relay().or(hook)
    }

    fn tell(&self, actuation: Actuation) {
        let Some(lock) = self.locks.get(&actuation.door) else { return };
        if let Some(relay) = self.relay.as_ref().filter(|_| lock.mqtt) {
            relay.say(actuation.clone());
        }
        let Some((url, token)) = lock.hook.clone() else { return };
        let trouble = lock.trouble.clone();
        let note = move |failed: Option<Error>| {
            if let Some(e) = &failed {
                tracing::error!("a lock was not told: {}", e.chain());
            }
            *trouble.lock().unwrap_or_else(|e| e.into_inner()) = failed.map(|e| e.to_string());
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            note(Some(Error::new(
                Kind::Unavailable,
                Culprit::Host,
                "too many requests to hooks are under way",
            )));
            return;
        };
        let left =
            Duration::try_from(actuation.notafter.duration_since(self.clock.now())).unwrap_or_default();
        self.runtime.spawn(async move {
            let told = match serde_json::to_string(&actuation) {
                Ok(body) => match tokio::time::timeout(left, hook::post(&url, token.as_ref(), body)).await {
                    Ok(told) => told,
                    Err(_) => {
                        let what = format!("hook http://{}{}: no answer in time", url.authority(), url.path);
                        Err(Error::new(Kind::Timeout, Culprit::Host, what))
                    }
                },
                Err(e) => Err(Error::internal("an actuation is not JSON").with_source(e)),
            };
            note(told.err());
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TimeQuality;
    use crate::event::SPEC_VERSION;
    use serde_json::json;
    use uuid::Uuid;

    fn envelope(outcome: &str, kind: EventKind, replayed: bool) -> Envelope {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        Envelope {
            specversion: SPEC_VERSION.into(),
            id: Uuid::from_u128(1),
            source: "/vigil/v1/s/b".into(),
            ty: kind.cloud_event_type(),
            subject: None,
            time: now,
            datacontenttype: "application/json".into(),
            seq: 1,
            bootid: Uuid::from_u128(2),
            timequality: TimeQuality::Synced,
            replayed,
            notafter: now.checked_add(Duration::from_secs(3)).ok(),
            data: json!({
                "session": Uuid::from_u128(3), "door": "north", "direction": "in", "credential": "card",
                "means": "credential_and_face", "outcome": outcome, "checks": [], "equipment": [],
                "unknown_tags": 0, "timing": {"elapsed_ms": 1, "deadline_ms": 2}
            }),
        }
    }

    #[test]
    fn only_a_durable_fresh_grant_that_was_not_replayed_unlocks() {
        let at = |s: i64| Timestamp::from_second(1_790_000_000 + s).unwrap();
        let granted = envelope("granted", EventKind::GateDecision, false);
        let unlock = unlocking(&granted, at(2)).unwrap();
        assert_eq!((unlock.act, unlock.event), (Act::Unlock, Some(granted.id)));
        assert!(unlocking(&granted, at(3)).is_none(), "its time is over");
        assert!(unlocking(&envelope("granted", EventKind::GateDecision, true), at(0)).is_none(), "replayed");
        assert!(unlocking(&envelope("denied", EventKind::GateDecision, false), at(0)).is_none());
        assert!(unlocking(&envelope("granted", EventKind::VerifyResult, false), at(0)).is_none());
        assert!(unlocking(&Envelope { notafter: None, ..granted.clone() }, at(0)).is_none());
        assert!(unlocking(&Envelope { data: json!({"outcome": "granted"}), ..granted }, at(0)).is_none());
    }
}
