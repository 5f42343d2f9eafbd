//! One connection to a broker, MQTT 5 or 3.1.1, behind one face.
//!
//! A link is used once: when it is down, a new one is made. The library's event loop runs in a
//! task of its own, because a poll of it must not be abandoned half-way: an abandoned write would
//! be lost without a trace.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5;
use rumqttc::v5::mqttbytes::v5 as p5;
use rumqttc::{Outgoing, Packet, TlsConfiguration, Transport};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::tls;
use crate::base::error::Context;
use crate::base::{Culprit, Error, Kind, Result};
use crate::config::{MIN_KEEP_ALIVE_S, MqttConfig, MqttVersion, Secret};

/// Requests that may wait for the event loop.
pub(super) const CAPACITY: usize = 512;
/// Packet identifiers in use by the library; far above any window, so that one slow
/// acknowledgement cannot collide with its successor.
const PACKET_IDS: u16 = 2048;
/// The most this box sends in one packet.
const MAX_OUTGOING: usize = 16 * 1024 * 1024;
/// Room for topic and properties around a command's payload.
const PACKET_MARGIN: u32 = 4096;
/// Setting up a connection, TLS included.
const CONNECT_TIMEOUT_S: u64 = 10;

/// A publication to send.
#[derive(Clone, Debug, Default)]
pub(super) struct Publication {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    /// QoS 1, else 0.
    pub(super) acknowledged: bool,
    pub(super) retain: bool,
    /// MQTT 5: seconds after which the broker forgets it.
    pub(super) expiry_s: Option<u32>,
    /// MQTT 5: what the requester wants back.
    pub(super) correlation_data: Option<Bytes>,
}

/// A publication that came.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) retain: bool,
    pub(super) response_topic: Option<String>,
    pub(super) correlation_data: Option<Bytes>,
    pub(super) expiry_s: Option<u32>,
}

/// What happens on a link, in order. `Down` is the last.
#[derive(Debug)]
pub(super) enum Happening {
    /// The broker accepted this box.
    Up { receive_max: u16, max_packet: usize },
    /// The next publication in the order of submission went out under this packet identifier
    /// (0: QoS 0).
    Sent(u16),
    /// The broker took responsibility, or said why not.
    Acked { pkid: u16, refusal: Option<String> },
    /// The answer to a subscription.
    Subscribed { granted: bool },
    /// Something came.
    Message(Delivery),
    /// Our own disconnect packet went out.
    Closed,
    /// It is over.
    Down(Down),
}

/// How a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The network, or the broker without a reason.
    Lost,
    /// The broker closed the connection without a word.
    ByPeer,
    /// The broker said no.
    Refused,
    /// Another client connected with our client identifier.
    TakenOver,
    /// A packet larger than we accept came.
    Oversize,
}

/// The end of a link.
#[derive(Debug)]
pub(super) struct Down {
    pub(super) cause: Cause,
    pub(super) error: Error,
}

#[derive(Debug)]
enum Client {
    V5(v5::AsyncClient),
    V4(rumqttc::AsyncClient),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    happenings: mpsc::Receiver<Happening>,
    pump: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// The last will: topic and payload, retained, QoS 1.
pub(super) type Will = (String, Vec<u8>);

/// What is read from files, anew for each connection.
struct Secrets {
    login: Option<(String, String)>,
    transport: Transport,
}

impl Secrets {
    fn read(config: &MqttConfig) -> Result<Self> {
        let password = Secret::resolve(config.password.as_ref(), config.password_file.as_deref())
            .context(|| "mqtt.password_file")?
            .map(|p| p.expose().to_owned());
        let login = match (&config.username, password) {
            (Some(user), password) => Some((user.clone(), password.unwrap_or_default())),
            (None, Some(_)) => {
                return Err(Error::config("mqtt has a password and no username").remedy("set mqtt.username"));
            }
            (None, None) => None,
        };
        let transport = if config.url.tls {
            Transport::tls_with_config(TlsConfiguration::Rustls(tls::client_config(&config.tls)?))
        } else {
            Transport::tcp()
        };
        Ok(Self { login, transport })
    }
}

/// Finds what can be known to be wrong before anything runs.
pub(super) fn check(config: &MqttConfig) -> Result<()> {
    if config.keep_alive_s < MIN_KEEP_ALIVE_S {
        return Err(Error::config(format!("mqtt.keep_alive_s = {} is too short", config.keep_alive_s))
            .remedy(format!("use at least {MIN_KEEP_ALIVE_S}")));
    }
    if config.window == 0 {
        return Err(Error::config("mqtt.window = 0 lets nothing out").remedy("use at least 1"));
    }
    Secrets::read(config).map(|_| ())
}

impl Link {
    /// Starts connecting; [`Happening::Up`] or [`Happening::Down`] comes first. Must be called
    /// inside a tokio runtime.
    pub(super) fn open(config: &MqttConfig, client_id: &str, will: Option<Will>) -> Result<Self> {
        check(config)?;
        let secrets = Secrets::read(config)?;
        let keep_alive = Duration::from_secs(u64::from(config.keep_alive_s));
        let incoming = config.max_command_bytes.saturating_add(PACKET_MARGIN);
        let (tx, happenings) = mpsc::channel(CAPACITY);
        // Pings make the loop return at least this often. Silence means that a write hangs.
        let patience = keep_alive * 2 + Duration::from_secs(CONNECT_TIMEOUT_S);
        let (client, pump) = match config.version {
            MqttVersion::V5 => {
                let mut o = v5::MqttOptions::new(client_id, config.url.host.clone(), config.url.port);
                o.set_keep_alive(keep_alive);
                o.set_clean_start(true);
                o.set_transport(secrets.transport);
                o.set_connection_timeout(CONNECT_TIMEOUT_S);
                o.set_outgoing_inflight_upper_limit(PACKET_IDS);
                let mut network = rumqttc::NetworkOptions::new();
                network.set_tcp_nodelay(true);
                o.set_network_options(network);
                let mut properties = p5::ConnectProperties::new();
                properties.max_packet_size = Some(incoming);
                o.set_connect_properties(properties);
                if let Some((user, password)) = secrets.login {
                    o.set_credentials(user, password);
                }
                if let Some((topic, payload)) = will {
                    o.set_last_will(p5::LastWill::new(
                        topic,
                        payload,
                        v5::mqttbytes::QoS::AtLeastOnce,
                        true,
                        None,
                    ));
                }
                let (client, event_loop) = v5::AsyncClient::new(o, CAPACITY);
                let url = config.url.to_string();
                (Client::V5(client), tokio::spawn(pump5(event_loop, tx, patience, url)))
            }
            MqttVersion::V311 => {
                let mut o = rumqttc::MqttOptions::new(client_id, config.url.host.clone(), config.url.port);
                o.set_keep_alive(keep_alive);
                o.set_clean_session(true);
                o.set_transport(secrets.transport);
                o.set_inflight(PACKET_IDS);
                o.set_max_packet_size(incoming as usize, MAX_OUTGOING);
                if let Some((user, password)) = secrets.login {
                    o.set_credentials(user, password);
                }
                if let Some((topic, payload)) = will {
                    o.set_last_will(rumqttc::LastWill::new(topic, payload, rumqttc::QoS::AtLeastOnce, true));
                }
                let (client, mut event_loop) = rumqttc::AsyncClient::new(o, CAPACITY);
                let mut network = rumqttc::NetworkOptions::new();
                network.set_connection_timeout(CONNECT_TIMEOUT_S);
                network.set_tcp_nodelay(true);
                event_loop.set_network_options(network);
                let url = config.url.to_string();
                (Client::V4(client), tokio::spawn(pump4(event_loop, tx, patience, url)))
            }
        };
        Ok(Self { client, happenings, pump })
    }

    /// Waits for what happens next. Safe to abandon.
    pub(super) async fn next(&mut self) -> Happening {
        self.happenings.recv().await.unwrap_or_else(|| {
            Happening::Down(Down { cause: Cause::Lost, error: Error::internal("the MQTT event loop ended") })
        })
    }

    /// Waits until the broker has accepted this client.
    pub(super) async fn up(&mut self) -> std::result::Result<(u16, usize), Down> {
        loop {
            match self.next().await {
                Happening::Up { receive_max, max_packet } => return Ok((receive_max, max_packet)),
                Happening::Down(down) => return Err(down),
                _ => {}
            }
        }
    }

    /// Submits a publication; false if there is no room now. Submissions go out in order.
    pub(super) fn publish(&self, p: Publication) -> bool {
        match &self.client {
            Client::V5(client) => {
                let qos = if p.acknowledged {
                    v5::mqttbytes::QoS::AtLeastOnce
                } else {
                    v5::mqttbytes::QoS::AtMostOnce
                };
                let properties = p5::PublishProperties {
                    message_expiry_interval: p.expiry_s,
                    correlation_data: p.correlation_data,
                    ..p5::PublishProperties::default()
                };
                client.try_publish_with_properties(p.topic, qos, p.retain, p.payload, properties).is_ok()
            }
            Client::V4(client) => {
                let qos = if p.acknowledged { rumqttc::QoS::AtLeastOnce } else { rumqttc::QoS::AtMostOnce };
                client.try_publish(p.topic, qos, p.retain, p.payload).is_ok()
            }
        }
    }

    /// Subscribes with QoS 1; false if there is no room now.
    pub(super) fn subscribe(&self, filter: &str, acknowledge: bool) -> bool {
        use rumqttc::QoS as Q4;
        use v5::mqttbytes::QoS as Q5;
        match &self.client {
            Client::V5(client) => {
                let qos = if acknowledge { Q5::AtLeastOnce } else { Q5::AtMostOnce };
                client.try_subscribe(filter, qos).is_ok()
            }
            Client::V4(client) => {
                let qos = if acknowledge { Q4::AtLeastOnce } else { Q4::AtMostOnce };
                client.try_subscribe(filter, qos).is_ok()
            }
        }
    }

    /// Says goodbye, so that the broker does not publish the will.
    pub(super) fn disconnect(&self) -> bool {
        match &self.client {
            Client::V5(client) => client.try_disconnect().is_ok(),
            Client::V4(client) => client.try_disconnect().is_ok(),
        }
    }
}

async fn pump5(mut event_loop: v5::EventLoop, tx: mpsc::Sender<Happening>, patience: Duration, url: String) {
    let mut aliases: HashMap<u16, String> = HashMap::new();
    loop {
        let (events, down) = match tokio::time::timeout(patience, event_loop.poll()).await {
            Ok(Ok(event)) => (VecDeque::from([event]), None),
            // What came before the end, in the same read, has happened all the same.
            Ok(Err(e)) => (std::mem::take(&mut event_loop.state.events), Some(down5(e, &url))),
            Err(_) => (std::mem::take(&mut event_loop.state.events), Some(stuck(&url))),
        };
        for event in events {
            let happening = match event {
                v5::Event::Outgoing(out) => outgoing(out),
                v5::Event::Incoming(packet) => match packet {
                    p5::Packet::ConnAck(ack) => {
                        let limits = ack.properties.as_ref();
                        Some(Happening::Up {
                            receive_max: limits.and_then(|p| p.receive_max).unwrap_or(u16::MAX),
                            max_packet: limits
                                .and_then(|p| p.max_packet_size)
                                .map_or(MAX_OUTGOING, |m| (m as usize).min(MAX_OUTGOING)),
                        })
                    }
                    p5::Packet::PubAck(ack) => {
                        let refusal = match ack.reason {
                            p5::PubAckReason::Success | p5::PubAckReason::NoMatchingSubscribers => None,
                            reason => {
                                let text = ack.properties.and_then(|p| p.reason_string).unwrap_or_default();
                                Some(format!("{reason:?} {text}").trim().to_owned())
                            }
                        };
                        Some(Happening::Acked { pkid: ack.pkid, refusal })
                    }
                    p5::Packet::SubAck(ack) => Some(Happening::Subscribed {
                        granted: ack
                            .return_codes
                            .iter()
                            .all(|c| matches!(c, p5::SubscribeReasonCode::Success(_))),
                    }),
                    p5::Packet::Publish(p) => {
                        let properties = p.properties.unwrap_or_default();
                        let mut topic = String::from_utf8_lossy(&p.topic).into_owned();
                        match properties.topic_alias {
                            Some(alias) if topic.is_empty() => {
                                topic = aliases.get(&alias).cloned().unwrap_or_default()
                            }
                            Some(alias) => drop(aliases.insert(alias, topic.clone())),
                            None => {}
                        }
                        Some(Happening::Message(Delivery {
                            topic,
                            payload: p.payload,
                            retain: p.retain,
                            response_topic: properties.response_topic,
                            correlation_data: properties.correlation_data,
                            expiry_s: properties.message_expiry_interval,
                        }))
                    }
                    _ => None,
                },
            };
            if let Some(h) = happening
                && tx.send(h).await.is_err()
            {
                return;
            }
        }
        if let Some(down) = down {
            let _ = tx.send(Happening::Down(down)).await;
            return;
        }
    }
}

async fn pump4(
    mut event_loop: rumqttc::EventLoop,
    tx: mpsc::Sender<Happening>,
    patience: Duration,
    url: String,
) {
    loop {
        let (events, down) = match tokio::time::timeout(patience, event_loop.poll()).await {
            Ok(Ok(event)) => (VecDeque::from([event]), None),
            // What came before the end, in the same read, has happened all the same.
            Ok(Err(e)) => (std::mem::take(&mut event_loop.state.events), Some(down4(e, &url))),
            Err(_) => (std::mem::take(&mut event_loop.state.events), Some(stuck(&url))),
        };
        for event in events {
            let happening = match event {
                rumqttc::Event::Outgoing(out) => outgoing(out),
                rumqttc::Event::Incoming(packet) => match packet {
                    Packet::ConnAck(_) => {
                        Some(Happening::Up { receive_max: u16::MAX, max_packet: MAX_OUTGOING })
                    }
                    Packet::PubAck(ack) => Some(Happening::Acked { pkid: ack.pkid, refusal: None }),
                    Packet::SubAck(ack) => Some(Happening::Subscribed {
                        granted: ack
                            .return_codes
                            .iter()
                            .all(|c| matches!(c, rumqttc::SubscribeReasonCode::Success(_))),
                    }),
                    Packet::Publish(p) => Some(Happening::Message(Delivery {
                        topic: p.topic,
                        payload: p.payload,
                        retain: p.retain,
                        response_topic: None,
                        correlation_data: None,
                        expiry_s: None,
                    })),
                    _ => None,
                },
            };
            if let Some(h) = happening
                && tx.send(h).await.is_err()
            {
                return;
            }
        }
        if let Some(down) = down {
            let _ = tx.send(Happening::Down(down)).await;
            return;
        }
    }
}

fn outgoing(out: Outgoing) -> Option<Happening> {
    match out {
        Outgoing::Publish(pkid) => Some(Happening::Sent(pkid)),
        Outgoing::Disconnect => Some(Happening::Closed),
        _ => None,
    }
}

fn broker(kind: Kind, url: &str, message: impl std::fmt::Display) -> Error {
    Error::new(kind, Culprit::Broker, format!("broker {url}: {message}"))
}

fn stuck(url: &str) -> Down {
    Down { cause: Cause::Lost, error: broker(Kind::Timeout, url, "no packet could be written or read") }
}

fn refused(url: &str, code: &str) -> Down {
    let remedy = if code.contains("UserNamePassword") || code.contains("NotAuthorized") {
        "check mqtt.username and mqtt.password_file (or the certificate) against the broker's"
    } else if code.contains("ClientId") {
        "the broker does not accept mqtt.client_id"
    } else if code.contains("Protocol") {
        "the broker speaks another version: set mqtt.version to \"3.1.1\" or \"5\""
    } else if code.contains("Server") || code.contains("Quota") || code.contains("Rate") {
        "the broker is overloaded or going down"
    } else {
        "the broker's log says why"
    };
    let error = broker(Kind::Refused, url, format!("connection refused: {code}")).remedy(remedy);
    Down { cause: Cause::Refused, error }
}

fn down5(e: v5::ConnectionError, url: &str) -> Down {
    use v5::{ConnectionError as C, StateError as S};
    match e {
        C::ConnectionRefused(code) => refused(url, &format!("{code:?}")),
        C::Tls(e) => tls_down(e, url),
        C::Io(e) => io_down(e, url),
        C::Timeout(_) => timeout_down(url),
        C::MqttState(S::Io(e)) => io_down(e, url),
        C::MqttState(S::ConnectionAborted) => by_peer(url),
        C::MqttState(S::AwaitPingResp) => no_ping(url),
        C::MqttState(S::ServerDisconnect { reason_code, reason_string }) => {
            let text = reason_string.unwrap_or_default();
            match reason_code {
                p5::DisconnectReasonCode::SessionTakenOver => taken_over(url),
                p5::DisconnectReasonCode::NotAuthorized
                | p5::DisconnectReasonCode::AdministrativeAction
                | p5::DisconnectReasonCode::QuotaExceeded => refused(url, &format!("{reason_code:?} {text}")),
                _ => Down {
                    cause: Cause::Lost,
                    error: broker(Kind::Unavailable, url, format!("disconnected: {reason_code:?} {text}")),
                },
            }
        }
        C::MqttState(e) if oversize(&format!("{e:?}")) => oversize_down(url),
        C::MqttState(S::Deserialization(v5::mqttbytes::Error::Io(e))) => io_down(e, url),
        C::MqttState(e) if format!("{e:?}").contains("Io") => lost(url, e),
        e => lost(url, e),
    }
}

fn down4(e: rumqttc::ConnectionError, url: &str) -> Down {
    use rumqttc::{ConnectionError as C, StateError as S};
    match e {
        C::ConnectionRefused(code) => refused(url, &format!("{code:?}")),
        C::Tls(e) => tls_down(e, url),
        C::Io(e) => io_down(e, url),
        C::NetworkTimeout | C::FlushTimeout => timeout_down(url),
        C::MqttState(S::Io(e)) => io_down(e, url),
        C::MqttState(S::ConnectionAborted) => by_peer(url),
        C::MqttState(S::AwaitPingResp) => no_ping(url),
        C::MqttState(S::Deserialization(rumqttc::mqttbytes::Error::Io(e))) => io_down(e, url),
        C::MqttState(e) if oversize(&format!("{e:?}")) => oversize_down(url),
        e => lost(url, e),
    }
}

/// The two versions name the same fault in two types.
fn oversize(debug: &str) -> bool {
    debug.contains("PayloadSizeLimitExceeded") || debug.contains("IncomingPacketTooLarge")
}

pub(super) fn taken_over(url: &str) -> Down {
    let error = broker(Kind::Refused, url, "another client connected with this box's client identifier")
        .remedy("give every box its own [box] site and name, or its own mqtt.client_id");
    Down { cause: Cause::TakenOver, error }
}

fn oversize_down(url: &str) -> Down {
    let error = broker(Kind::TooLarge, url, "a command larger than mqtt.max_command_bytes came");
    Down { cause: Cause::Oversize, error }
}

fn by_peer(url: &str) -> Down {
    Down { cause: Cause::ByPeer, error: broker(Kind::Unavailable, url, "closed the connection") }
}

fn no_ping(url: &str) -> Down {
    Down { cause: Cause::Lost, error: broker(Kind::Timeout, url, "did not answer a ping") }
}

fn timeout_down(url: &str) -> Down {
    let error = broker(Kind::Timeout, url, format!("did not answer within {CONNECT_TIMEOUT_S} s"));
    Down { cause: Cause::Lost, error }
}

fn lost(url: &str, e: impl std::error::Error + Send + Sync + 'static) -> Down {
    Down { cause: Cause::Lost, error: broker(Kind::Unavailable, url, "connection lost").with_source(e) }
}

fn tls_down(e: rumqttc::TlsError, url: &str) -> Down {
    match e {
        rumqttc::TlsError::Io(e) => io_down(e, url),
        e => {
            let error = broker(Kind::Refused, url, "TLS failed")
                .remedy("the host in mqtt.url must be a name or address in the broker's certificate")
                .with_source(e);
            Down { cause: Cause::Refused, error }
        }
    }
}

fn io_down(e: std::io::Error, url: &str) -> Down {
    use std::io::ErrorKind as Io;
    let tls = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(inner) = tls {
        let text = inner.to_string();
        let remedy = match inner {
            rustls::Error::InvalidCertificate(_) => {
                "mqtt.tls.ca_file must hold the authority that signed the broker's certificate, and mqtt.url its name"
            }
            rustls::Error::AlertReceived(_) => {
                "the broker refuses this box's certificate: check mqtt.tls.cert_file"
            }
            rustls::Error::InvalidMessage(_) => "the broker speaks no TLS on this port: check mqtt.url",
            _ => "check [mqtt.tls]",
        };
        let error = broker(Kind::Refused, url, format!("TLS: {text}")).remedy(remedy);
        return Down { cause: Cause::Refused, error };
    }
    match e.kind() {
        Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::UnexpectedEof => by_peer(url),
        Io::ConnectionRefused => {
            let error = broker(Kind::Unavailable, url, "nobody listens there")
                .remedy("start the broker, or correct mqtt.url")
                .with_source(e);
            Down { cause: Cause::Lost, error }
        }
        _ => {
            let error = broker(Kind::Unavailable, url, "cannot be reached").with_source(e);
            Down { cause: Cause::Lost, error }
        }
    }
}

/// The default client identifier: `vigil-{site}-{box}`.
pub(super) fn client_id(config: &MqttConfig, topics: &crate::event::topic::Topics) -> String {
    match &config.client_id {
        Some(id) if !id.is_empty() => id.clone(),
        _ => {
            let place = topics.base().strip_prefix(crate::event::topic::ROOT).unwrap_or(topics.base());
            format!("vigil{}", place.replace('/', "-"))
        }
    }
}
