//! The broker inside the box: for the demonstration, and for a box that stands alone.
//!
//! It speaks MQTT 5 and 3.1.1 on one port. The library behind it wants a port per version, so a
//! small doorman reads the version out of each CONNECT and passes the connection on. It keeps
//! nothing on disk: the outbox does.
//!
//! A fault of that library (rumqttd 0.20): a message that an MQTT 5 client publishes with
//! properties ends the connection of every 3.1.1 listener it is forwarded to. This box publishes
//! without properties, except for replies to a requester that used them itself.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::base::error::Context;
use crate::base::supervise::spawn;
use crate::base::{Culprit, Error, Kind, Result, Shutdown};
use crate::config::{BrokerConfig, Secret};

/// Connections at once.
const MAX_CONNECTIONS: usize = 128;
/// Largest packet: a command with a 4 MiB portrait in base64.
const MAX_PACKET: usize = 8 * 1024 * 1024;
/// A client that has not sent its CONNECT by then is dropped.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// A running broker. Dropping it closes the port; connections that stand go on, and the memory
/// of the library behind it is freed only when the process ends.
#[derive(Debug)]
pub struct Embedded {
    addr: SocketAddr,
    stop: Shutdown,
}

impl Embedded {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop.request();
    }
}

/// Starts the broker. Every error that can be known is known when this returns: a port in use, an
/// open port without a password.
pub fn start(config: &BrokerConfig) -> Result<Embedded> {
    let password = Secret::resolve(config.password.as_ref(), config.password_file.as_deref())
        .context(|| "broker.password_file")?
        .map(|p| p.expose().to_owned());
    let auth = match (&config.username, password) {
        (Some(user), Some(password)) if !password.is_empty() => {
            Some(HashMap::from([(user.clone(), password)]))
        }
        (None, None) => None,
        _ => {
            return Err(Error::config("[broker] has only one of username and password")
                .remedy("set broker.username and broker.password_file, or neither"));
        }
    };
    if auth.is_none() && !config.listen.ip().is_loopback() {
        return Err(Error::config(format!(
            "broker.listen = {} is open to the network without a password",
            config.listen
        ))
        .remedy("listen on 127.0.0.1, or set broker.username and broker.password_file"));
    }
    let listener = StdListener::bind(config.listen).map_err(|e| {
        let remedy = match e.kind() {
            ErrorKind::AddrInUse => {
                "another broker runs there (mosquitto?): stop it, or change broker.listen"
            }
            ErrorKind::PermissionDenied => "use a port above 1023",
            _ => "broker.listen must be an address of this machine",
        };
        Error::io(Culprit::Config, format!("broker.listen: cannot listen on {}", config.listen), e)
            .remedy(remedy)
    })?;
    let host = |e| Error::io(Culprit::Host, "cannot start the embedded broker", e);
    let addr = listener.local_addr().map_err(host)?;
    listener.set_nonblocking(true).map_err(host)?;

    let (inner4, inner5) = (free_port().map_err(host)?, free_port().map_err(host)?);
    let settings = |name: &str, listen| {
        HashMap::from([(
            "1".to_owned(),
            ServerSettings {
                name: name.to_owned(),
                listen,
                tls: None,
                next_connection_delay_ms: 0,
                connections: ConnectionSettings {
                    connection_timeout_ms: 5000,
                    max_payload_size: MAX_PACKET,
                    max_inflight_count: 200,
                    auth: auth.clone(),
                    external_auth: None,
                    dynamic_filters: true,
                },
            },
        )])
    };
    let broker_config = Config {
        router: RouterConfig {
            max_connections: MAX_CONNECTIONS * 2,
            max_outgoing_packet_count: 200,
            max_segment_size: MAX_PACKET,
            max_segment_count: 3,
            ..RouterConfig::default()
        },
        v4: Some(settings("broker-v4", inner4)),
        v5: Some(settings("broker-v5", inner5)),
        ..Config::default()
    };
    spawn("broker", move || {
        if let Err(e) = Broker::new(broker_config).start() {
            tracing::error!(alarm = "broker", "the embedded broker ended: {e}");
        }
    })?;
    let deadline = Instant::now() + Duration::from_secs(10);
    for inner in [inner4, inner5] {
        while StdStream::connect(inner).is_err() {
            if Instant::now() >= deadline {
                return Err(Error::new(Kind::Timeout, Culprit::Host, "the embedded broker did not start"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    let stop = Shutdown::new();
    let stop_in = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(host)?;
    spawn("broker-door", move || {
        runtime.block_on(async {
            tokio::select! {
                () = stop_in.wait() => {}
                () = doorman(listener, inner4, inner5) => {}
            }
        });
    })?;
    Ok(Embedded { addr, stop })
}

fn free_port() -> std::io::Result<SocketAddr> {
    StdListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

async fn doorman(listener: StdListener, inner4: SocketAddr, inner5: SocketAddr) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(e) => return tracing::error!(alarm = "broker", "the embedded broker cannot listen: {e}"),
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let (mut client, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                tracing::warn!("the embedded broker cannot accept: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(%peer, "the embedded broker has {MAX_CONNECTIONS} clients already");
            continue;
        };
        tokio::spawn(async move {
            let _place = place;
            let version = match tokio::time::timeout(CONNECT_PATIENCE, version(&client)).await {
                Ok(Some(version)) => version,
                _ => return tracing::debug!(%peer, "no MQTT client"),
            };
            let inner = if version == 5 { inner5 } else { inner4 };
            let _ = client.set_nodelay(true);
            match TcpStream::connect(inner).await {
                Ok(mut broker) => {
                    let _ = broker.set_nodelay(true);
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut broker).await;
                }
                Err(e) => tracing::error!(alarm = "broker", "the embedded broker is gone: {e}"),
            }
        });
    }
}

/// The protocol level of the CONNECT packet, left unread on the socket.
async fn version(client: &TcpStream) -> Option<u8> {
    let mut head = [0u8; 16];
    loop {
        client.readable().await.ok()?;
        let n = client.peek(&mut head).await.ok()?;
        match level(&head[..n]) {
            Some(level) => return Some(level),
            None if n == 0 || n == head.len() || head[0] != 0x10 => return None,
            // More is to come; a peek of the same bytes returns at once.
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Fixed header (type, 1 to 4 bytes of length), protocol name with its length, level.
fn level(head: &[u8]) -> Option<u8> {
    let (kind, rest) = head.split_first()?;
    let length = rest.iter().take(4).position(|b| b & 0x80 == 0)? + 1;
    let name = rest.get(length..)?;
    (*kind == 0x10 && name.starts_with(b"\0\x04MQTT")).then(|| name.get(6).copied())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_at_every_split() {
        for (length, expect) in [(&[0x20u8][..], 5u8), (&[0xA0, 0x01], 4), (&[0xFF, 0xFF, 0x7F], 5)] {
            let mut packet = vec![0x10];
            packet.extend_from_slice(length);
            packet.extend_from_slice(b"\0\x04MQTT");
            packet.push(expect);
            for cut in 0..packet.len() {
                assert_eq!(level(&packet[..cut]), None);
            }
            assert_eq!(level(&packet), Some(expect));
        }
        assert_eq!(level(b"GET / HTTP/1.1\r\n"), None);
    }

    #[test]
    fn an_open_port_needs_a_password_and_a_taken_one_is_said() {
        let mut config = BrokerConfig {
            listen: ([0, 0, 0, 0], 0).into(),
            username: None,
            password: None,
            password_file: None,
        };
        assert!(start(&config).unwrap_err().to_string().contains("without a password"));
        config.username = Some("desk".to_owned());
        assert!(start(&config).is_err(), "a name without a password");
        config.username = None;
        let taken = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        config.listen = taken.local_addr().unwrap();
        let e = start(&config).unwrap_err();
        assert!(e.to_string().contains("another broker runs there"), "{e}");
    }
}
