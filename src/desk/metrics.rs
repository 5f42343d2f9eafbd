//! Metrics in the OpenMetrics text format. What belongs to other rooms is read from a
//! [`Snapshot`] at every scrape, so that there is one truth. Label values are bounded: cameras
//! come from the configuration, causes and outcomes from fixed lists.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::DeskBackend;
use crate::base::{Error, Result, TimeQuality};
use crate::event::{CameraCondition, DoorCondition, DoorHealth, Envelope, EventKind};

/// Upper bounds of the answer-time histogram, seconds. The aim is 0.25 for half of the answers
/// and 0.5 for nearly all.
const ANSWER_BUCKETS: [f64; 10] = [0.05, 0.1, 0.15, 0.25, 0.35, 0.5, 1.0, 2.0, 5.0, 10.0];

type Labels = Vec<(&'static str, String)>;

/// The room's own counters, and the registry with everything.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    results: Family<Labels, Counter>,
    seconds: Histogram,
    decisions: Family<Labels, Counter>,
    searches: Family<Labels, Counter>,
    door_seconds: Histogram,
    pub(super) refused_connections: Counter,
    pub(super) missed_events: Counter,
}

impl Metrics {
    pub(super) fn new(backend: Arc<dyn DeskBackend>) -> Self {
        let mut registry = Registry::with_prefix("vigil");
        let requests = Family::<Labels, Counter>::default();
        registry.register("desk_requests", "HTTP requests by route and status", requests.clone());
        let results = Family::<Labels, Counter>::default();
        registry.register("verify_results", "Recorded verifications by outcome", results.clone());
        let seconds = Histogram::new(ANSWER_BUCKETS);
        registry.register_with_unit(
            "verify_answer",
            "From a request's arrival to the decision",
            Unit::Seconds,
            seconds.clone(),
        );
        let decisions = Family::<Labels, Counter>::default();
        registry.register(
            "door_decisions",
            "Recorded decisions by door, outcome and reason",
            decisions.clone(),
        );
        let door_seconds = Histogram::new(ANSWER_BUCKETS);
        registry.register_with_unit(
            "door_answer",
            "From a credential's arrival to the decision, where a face was looked at",
            Unit::Seconds,
            door_seconds.clone(),
        );
        let searches = Family::<Labels, Counter>::default();
        registry.register(
            "identify_results",
            "Recorded searches and clerks' decisions by outcome",
            searches.clone(),
        );
        let refused_connections = Counter::default();
        registry.register(
            "desk_refused_connections",
            "Connections closed because too many were open",
            refused_connections.clone(),
        );
        let missed_events = Counter::default();
        registry.register(
            "desk_missed_events",
            "Recorded events that the status page did not get because they came too fast",
            missed_events.clone(),
        );
        registry.register_collector(Box::new(House(backend)));
        Self {
            registry,
            requests,
            results,
            seconds,
            decisions,
            searches,
            door_seconds,
            refused_connections,
            missed_events,
        }
    }

    /// Counts a recorded event.
    pub(super) fn count(&self, envelope: &Envelope) {
        if envelope.ty == EventKind::GateDecision.cloud_event_type() {
            return self.count_decision(envelope);
        }
        if envelope.ty == EventKind::IdentifyResult.cloud_event_type() {
            let outcome = envelope.data.get("outcome").and_then(|v| v.as_str()).unwrap_or("unknown");
            self.searches.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
            return;
        }
        if envelope.ty != EventKind::VerifyResult.cloud_event_type() {
            return;
        }
        let outcome = envelope.data.get("outcome").and_then(|v| v.as_str()).unwrap_or("unknown");
        self.results.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
        if let Some(ms) = envelope.data.pointer("/timing/elapsed_ms").and_then(serde_json::Value::as_f64) {
            self.seconds.observe(ms / 1e3);
        }
    }

    fn count_decision(&self, envelope: &Envelope) {
        let word = |key| envelope.data.get(key).and_then(|v| v.as_str()).unwrap_or("none").to_owned();
        let labels = vec![("door", word("door")), ("outcome", word("outcome")), ("reason", word("reason"))];
        self.decisions.get_or_create(&labels).inc();
        let looked = envelope.data.get("comparison").is_some();
        if let Some(ms) = envelope.data.pointer("/timing/elapsed_ms").and_then(serde_json::Value::as_f64)
            && looked
        {
            self.door_seconds.observe(ms / 1e3);
        }
    }

    pub(super) fn count_request(&self, route: String, status: u16) {
        self.requests.get_or_create(&vec![("route", route), ("status", status.to_string())]).inc();
    }

    pub(super) fn encode(&self) -> Result<String> {
        let mut text = String::with_capacity(8 * 1024);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .map_err(|e| Error::internal("metrics cannot be written").with_source(e))?;
        Ok(text)
    }
}

/// The other rooms, read at every scrape.
struct House(Arc<dyn DeskBackend>);

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("House")
    }
}

impl Collector for House {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.0.snapshot();
        let now = &snapshot.health;
        let out = &mut encoder;
        gauge(out, "build_info", "The software", None, [(vec![("version", snapshot.version.clone())], 1.0)])?;
        gauge(out, "uptime", "Since the daemon started", Some(Unit::Seconds), one(now.uptime_s as f64))?;
        let synced = now.timequality == TimeQuality::Synced;
        gauge(out, "clock_synced", "1 while a time source disciplines the clock", None, one(flag(synced)))?;

        gauge(out, "broker_connected", "1 while the session is up", None, one(flag(now.bus.connected)))?;
        counter(out, "broker_connects", "Sessions that came up", [(vec![], now.bus.connects)])?;

        let outbox = &now.outbox;
        gauge(out, "outbox_waiting_events", "Not acknowledged yet", None, one(outbox.depth as f64))?;
        let oldest = outbox.oldest_age_s.unwrap_or(0) as f64;
        gauge(
            out,
            "outbox_oldest_waiting",
            "Age of the oldest waiting event",
            Some(Unit::Seconds),
            one(oldest),
        )?;
        gauge(out, "outbox_size", "On disk", Some(Unit::Bytes), one(outbox.bytes as f64))?;
        gauge(
            out,
            "outbox_ready",
            "1 while events can be recorded",
            None,
            one(flag(outbox.not_ready.is_none())),
        )?;
        counter(out, "outbox_recorded_events", "Made durable", [(vec![], outbox.recorded)])?;
        counter(
            out,
            "outbox_acknowledged_events",
            "Acknowledged by the broker",
            [(vec![], outbox.acknowledged)],
        )?;

        let label = |name: &crate::base::Name| vec![("camera", name.to_string())];
        let cameras = || now.cameras.iter();
        gauge(
            out,
            "camera_live",
            "1 while new pictures arrive",
            None,
            cameras().map(|c| (label(&c.name), flag(c.state == CameraCondition::Live))),
        )?;
        gauge(
            out,
            "camera_frame_age",
            "Since the last picture; absent before the first",
            Some(Unit::Seconds),
            cameras().filter_map(|c| Some((label(&c.name), c.frame_age_ms? as f64 / 1e3))),
        )?;
        gauge(
            out,
            "camera_frames_per_second",
            "Lately",
            None,
            cameras().map(|c| (label(&c.name), f64::from(c.fps))),
        )?;
        counter(out, "camera_frames", "Pictures that came", cameras().map(|c| (label(&c.name), c.frames)))?;
        counter(out, "camera_reconnects", "Opened again", cameras().map(|c| (label(&c.name), c.reconnects)))?;
        counter(
            out,
            "camera_dropped_frames",
            "Pictures that nobody looked at, by cause",
            cameras().flat_map(|c| {
                c.drops.iter().map(move |(cause, n)| {
                    (vec![("camera", c.name.to_string()), ("cause", cause.clone())], *n)
                })
            }),
        )?;

        let door = |name: &crate::base::Name| vec![("door", name.to_string())];
        let doors = || now.doors.iter();
        let ready = |d: &DoorHealth| flag(d.state == DoorCondition::Ready);
        gauge(
            out,
            "door_ready",
            "1 while the door decides",
            None,
            doors().map(|d| (door(&d.name), ready(d))),
        )?;
        gauge(
            out,
            "door_waiting",
            "People who wait for staff",
            None,
            doors().map(|d| (door(&d.name), d.waiting.len() as f64)),
        )?;
        let how = |word: &str| vec![("how", word.to_owned())];
        counter(
            out,
            "lock_messages",
            "What locks were told over MQTT, by what became of it",
            now.locks.iter().flat_map(|l| {
                [
                    (how("said"), l.said),
                    (how("late"), l.late),
                    (how("dropped"), l.dropped),
                    (how("unknown"), l.unknown),
                ]
            }),
        )?;
        counter(
            out,
            "prompts",
            "Utterances of the doors, by what became of them",
            now.prompts.iter().flat_map(|p| {
                [(how("said"), p.said), (how("dropped"), p.dropped), (how("missing"), p.missing)]
            }),
        )?;

        let watched = || now.watch.iter().flat_map(|w| &w.cameras);
        gauge(
            out,
            "watch_active",
            "1 while a camera looks for missing persons",
            None,
            watched().map(|c| (label(&c.camera), flag(c.watching))),
        )?;
        counter(
            out,
            "watch_pictures",
            "Looked at for missing persons",
            watched().map(|c| (label(&c.camera), c.pictures)),
        )?;
        counter(
            out,
            "watch_passages",
            "People looked up in passing",
            watched().map(|c| (label(&c.camera), c.passages)),
        )?;
        counter(
            out,
            "watch_sightings",
            "Missing persons seen",
            watched().map(|c| (label(&c.camera), c.sightings)),
        )?;
        gauge(
            out,
            "identify_waiting",
            "Searches whose candidates wait for a clerk",
            None,
            now.identify_waiting.iter().map(|n| (vec![], f64::from(*n))),
        )?;
        counter(
            out,
            "refusals",
            "Commands, requests and documents that were refused, by where and why",
            snapshot
                .refusals
                .iter()
                .map(|r| (vec![("at", r.at.clone()), ("reason", r.reason.as_str().to_owned())], r.count)),
        )?;

        let faults = snapshot.all_faults();
        let stopping = faults.iter().filter(|f| f.stops_decisions).count();
        gauge(
            out,
            "faults",
            "What is wrong now, by whether it stops decisions",
            None,
            [
                (vec![("stops_decisions", "true".to_owned())], stopping as f64),
                (vec![("stops_decisions", "false".to_owned())], (faults.len() - stopping) as f64),
            ],
        )
    }
}

fn flag(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

fn one(value: f64) -> [(Labels, f64); 1] {
    [(vec![], value)]
}

fn gauge(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    samples: impl IntoIterator<Item = (Labels, f64)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
    for (labels, value) in samples {
        let sample = ConstGauge::new(value);
        if labels.is_empty() {
            return sample.encode(metric);
        }
        sample.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counter(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels, u64)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in samples {
        let sample = ConstCounter::new(value);
        if labels.is_empty() {
            return sample.encode(metric);
        }
        sample.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
