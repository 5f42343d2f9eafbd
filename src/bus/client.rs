//! A small MQTT client for commands: `vigil tail`, `vigil check --live`, the demo.
//!
//! It blocks, and brings its own runtime: it must not be used inside one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::link::{Delivery, Happening, Link, Publication, client_id};
use crate::base::{Culprit, Error, Kind, Result};
use crate::config::MqttConfig;
use crate::event::topic::{Topics, valid_correlation};

/// Messages kept for later while something else is waited for.
const KEPT: usize = 4096;

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Whether the broker had kept it: it is a state and not news.
    pub retained: bool,
}

/// A connected client with subscriptions.
pub struct Client {
    // Declared first: the link's task ends before its runtime does.
    link: Link,
    runtime: Runtime,
    kept: VecDeque<Message>,
    submitted: VecDeque<u64>,
    in_flight: HashMap<u16, u64>,
    done: HashMap<u64, Option<String>>,
    waited_for: HashSet<u64>,
    next: u64,
    hears_replies: bool,
    acknowledge: bool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("bus::client::Client").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects with a client identifier of its own, made of `name` and random digits, and
    /// subscribes to `filters`.
    pub fn connect(config: &MqttConfig, name: &str, filters: &[String]) -> Result<Self> {
        Self::open(config, name, filters, true)
    }

    /// The same, and acknowledges nothing (QoS 0): while nothing is written to a broker that died,
    /// everything that it had sent before is still read.
    pub fn observe(config: &MqttConfig, name: &str, filters: &[String]) -> Result<Self> {
        Self::open(config, name, filters, false)
    }

    fn open(config: &MqttConfig, name: &str, filters: &[String], acknowledge: bool) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mqtt-client")
            .enable_all()
            .build()
            .map_err(|e| Error::io(Culprit::Host, "cannot start the network's runtime", e))?;
        let id = format!("{name}-{}", &Uuid::new_v4().simple().to_string()[..8]);
        let link = runtime.block_on(async {
            let mut link = Link::open(config, &id, None)?;
            link.up().await.map_err(|down| down.error)?;
            Ok::<_, Error>(link)
        })?;
        let mut client = Self {
            link,
            runtime,
            kept: VecDeque::new(),
            submitted: VecDeque::new(),
            in_flight: HashMap::new(),
            done: HashMap::new(),
            waited_for: HashSet::new(),
            next: 0,
            hears_replies: false,
            acknowledge,
        };
        for filter in filters {
            client.subscribe(filter)?;
        }
        Ok(client)
    }

    /// Subscribes to `filter` and waits for the broker's consent.
    pub fn subscribe(&mut self, filter: &str) -> Result<()> {
        if !self.link.subscribe(filter, self.acknowledge) {
            return Err(Error::internal("the MQTT request queue is full"));
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match self.step(deadline)? {
                Some(Happening::Subscribed { granted: true }) => return Ok(()),
                Some(Happening::Subscribed { granted: false }) => {
                    return Err(Error::new(
                        Kind::Refused,
                        Culprit::Broker,
                        format!("the broker refuses a subscription to {filter}"),
                    )
                    .remedy("let this user read these topics"));
                }
                Some(_) => {}
                None => return Err(timeout("the broker did not answer a subscription")),
            }
        }
    }

    /// The next message, or `None` after `timeout`. An error means that the connection is gone.
    pub fn recv(&mut self, timeout: Duration) -> Result<Option<Message>> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(message) = self.kept.pop_front() {
                return Ok(Some(message));
            }
            if self.step(deadline)?.is_none() {
                return Ok(self.kept.pop_front());
            }
        }
    }

    /// Publishes with QoS 1 and waits for the acknowledgement; how long it took.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: Vec<u8>,
        retain: bool,
        patience: Duration,
    ) -> Result<Duration> {
        let started = Instant::now();
        let number = self.next;
        self.next += 1;
        let p = Publication {
            topic: topic.to_owned(),
            payload,
            acknowledged: true,
            retain,
            ..Publication::default()
        };
        if !self.link.publish(p) {
            return Err(Error::internal("the MQTT request queue is full"));
        }
        self.submitted.push_back(number);
        self.waited_for.insert(number);
        loop {
            if let Some(refusal) = self.done.remove(&number) {
                self.waited_for.remove(&number);
                return match refusal {
                    None => Ok(started.elapsed()),
                    Some(why) => Err(Error::new(
                        Kind::Refused,
                        Culprit::Broker,
                        format!("the broker refuses to publish on {topic}: {why}"),
                    )
                    .remedy("let this user write these topics")),
                };
            }
            if self.step(started + patience)?.is_none() {
                return Err(timeout("the broker did not acknowledge a message"));
            }
        }
    }

    /// Sends a command to a box and waits for its answer on `reply/{correlation}`. Other messages
    /// that come meanwhile are kept for [`Client::recv`].
    pub fn request(
        &mut self,
        topics: &Topics,
        command: &str,
        correlation: &str,
        payload: Vec<u8>,
        patience: Duration,
    ) -> Result<Value> {
        if !valid_correlation(correlation) {
            return Err(Error::new(
                Kind::Usage,
                Culprit::Request,
                format!("{correlation:?} is not a correlation"),
            )
            .remedy("use 1 to 64 characters out of A-Z, a-z, 0-9, - and _"));
        }
        let deadline = Instant::now() + patience;
        let reply = topics.reply(correlation);
        // One filter for every request: brokers keep memory per filter.
        if !self.hears_replies {
            self.subscribe(&format!("{}/reply/+", topics.base()))?;
            self.hears_replies = true;
        }
        self.publish(&format!("{}/cmd/{command}", topics.base()), payload, false, patience)?;
        loop {
            if let Some(at) = self.kept.iter().position(|m| m.topic == reply) {
                let message = self.kept.remove(at).map(|m| m.payload).unwrap_or_default();
                return serde_json::from_slice(&message).map_err(|e| {
                    Error::new(Kind::Malformed, Culprit::Vigil, "the reply is not JSON").with_source(e)
                });
            }
            if self.step(deadline)?.is_none() {
                return Err(timeout(format!("no reply to {command} came"))
                    .remedy("is `vigil run` up, and is this the box's site and name?"));
            }
        }
    }

    /// Says goodbye.
    pub fn close(mut self) {
        if self.link.disconnect() {
            let deadline = Instant::now() + Duration::from_secs(1);
            while let Ok(Some(happening)) = self.step(deadline) {
                if matches!(happening, Happening::Closed) {
                    std::thread::sleep(Duration::from_millis(30));
                    return;
                }
            }
        }
    }

    /// One happening, kept or counted; `None` at the deadline.
    fn step(&mut self, deadline: Instant) -> Result<Option<Happening>> {
        let Self { runtime, link, .. } = self;
        let happening =
            runtime.block_on(async { tokio::time::timeout_at(deadline.into(), link.next()).await.ok() });
        match happening {
            Some(Happening::Down(down)) => Err(down.error),
            Some(Happening::Message(d)) => {
                self.keep(d);
                Ok(Some(Happening::Sent(0)))
            }
            Some(Happening::Sent(pkid)) => {
                if let (Some(number), true) = (self.submitted.pop_front(), pkid != 0) {
                    self.in_flight.insert(pkid, number);
                }
                Ok(Some(Happening::Sent(pkid)))
            }
            Some(Happening::Acked { pkid, refusal }) => {
                if let Some(number) = self.in_flight.remove(&pkid).filter(|n| self.waited_for.contains(n)) {
                    self.done.insert(number, refusal.clone());
                }
                Ok(Some(Happening::Acked { pkid, refusal }))
            }
            other => Ok(other),
        }
    }

    fn keep(&mut self, d: Delivery) {
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Message { topic: d.topic, payload: d.payload.to_vec(), retained: d.retain });
    }
}

fn timeout(message: impl Into<String>) -> Error {
    Error::new(Kind::Timeout, Culprit::Broker, message)
}

/// Connects as this box would, beside it, publishes one message that nobody keeps, and waits for
/// the acknowledgement: the round trip.
pub fn probe(config: &MqttConfig, topics: &Topics) -> Result<Duration> {
    let mut client = Client::connect(config, &format!("{}-check", client_id(config, topics)), &[])?;
    let topic = topics.reply(&format!("check-{}", Uuid::new_v4().simple()));
    let took = client.publish(&topic, b"{}".to_vec(), false, Duration::from_secs(10))?;
    client.close();
    Ok(took)
}
