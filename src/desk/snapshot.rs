//! How the box is at one moment: its health, and what only the box itself may know.

use serde::{Deserialize, Serialize};

use crate::base::{Name, TimeQuality};
use crate::event::{CameraCondition, Health, Refusal};

/// How the box is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The site, as in the topics.
    pub site: Name,
    /// The box, as in the topics.
    #[serde(rename = "box")]
    pub box_name: Name,
    /// The software's version.
    pub version: String,
    /// Where the hub's broker is, without credentials.
    pub broker: String,
    /// What the hub is told as well.
    #[serde(flatten)]
    pub health: Health,
    /// Faults that the parts above do not show: a failed component, a full disk.
    pub faults: Vec<Fault>,
    /// What was refused since the daemon started.
    #[serde(default)]
    pub refusals: Vec<RefusalCount>,
}

/// How often something was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalCount {
    /// Where it was asked: `bus`, `desk`, `verify`.
    pub at: String,
    /// Why it was refused.
    pub reason: Refusal,
    /// How often.
    pub count: u64,
}

/// Something that keeps the box from working, or that will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which part: `camera desk`, `outbox`.
    pub part: String,
    /// One line for a person.
    pub message: String,
    /// Whether decisions are impossible while it lasts.
    pub stops_decisions: bool,
}

impl Snapshot {
    /// Everything that is wrong, worst first: what the parts show, and [`Snapshot::faults`].
    ///
    /// A broker that is away stops nothing: events wait in the outbox. Of several cameras one is
    /// enough for decisions.
    pub fn all_faults(&self) -> Vec<Fault> {
        let mut all = self.faults.clone();
        let some_live = self.health.cameras.iter().any(|c| c.state == CameraCondition::Live);
        for camera in self.health.cameras.iter().filter(|c| c.state != CameraCondition::Live) {
            let state = camera.state;
            all.push(Fault {
                part: format!("camera {}", camera.name),
                message: match &camera.reason {
                    Some(reason) => format!("{state}: {reason}"),
                    None => state.to_string(),
                },
                stops_decisions: !some_live,
            });
        }
        for door in &self.health.doors {
            if let Some(reason) = &door.reason {
                let message = format!("cannot decide: {reason}");
                // Of several doors, and beside a desk, one is not the box.
                all.push(Fault { part: format!("door {}", door.name), message, stops_decisions: false });
            }
            for trouble in &door.troubles {
                let part = format!("door {}", door.name);
                all.push(Fault { part, message: trouble.clone(), stops_decisions: false });
            }
        }
        if let Some(watch) = &self.health.watch {
            for camera in &watch.cameras {
                if let Some(reason) = &camera.reason {
                    let part = format!("watch on {}", camera.camera);
                    let message = format!("nobody is looked for, although somebody is missing: {reason}");
                    all.push(Fault { part, message, stops_decisions: false });
                }
            }
            if watch.passages_24h > u64::from(watch.passages_expected) {
                let message = format!(
                    "{} people passed in 24 hours, {} were expected: more false sightings than configured; raise watch.passages_per_day",
                    watch.passages_24h, watch.passages_expected
                );
                all.push(Fault { part: "watch".into(), message, stops_decisions: false });
            }
        }
        if let Some(reason) = &self.health.outbox.not_ready {
            all.push(Fault { part: "outbox".into(), message: reason.clone(), stops_decisions: true });
        }
        let bus = &self.health.bus;
        if !bus.connected {
            let reason = bus.reason.as_deref().unwrap_or("no reason given");
            all.push(Fault {
                part: "broker".into(),
                message: format!("not connected to {} since {:.0}: {reason}", self.broker, bus.since),
                stops_decisions: false,
            });
        }
        if self.health.timequality == TimeQuality::Unsynced {
            all.push(Fault {
                part: "clock".into(),
                message: "never synchronised since the machine started: times may be wrong".into(),
                stops_decisions: false,
            });
        }
        all.sort_by_key(|f| !f.stops_decisions);
        all
    }
}
