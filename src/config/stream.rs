//! Addresses of MPEG transport streams: over UDP, over SRT.

use std::net::IpAddr;

use crate::base::{Error, Result};

/// Where a transport stream over UDP is listened for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpAddress {
    /// A multicast group to join, or an address of this box to listen at; `None`: all of them.
    pub host: Option<IpAddr>,
    /// The network interface on which a group is joined; `None`: the one that the routes say.
    pub interface: Option<String>,
    /// The port.
    pub port: u16,
}

/// Which side of SRT asks for the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SrtMode {
    /// This box.
    #[default]
    Caller,
    /// The other side: this box waits.
    Listener,
    /// Both, at the same time: through firewalls.
    Rendezvous,
}

impl SrtMode {
    /// As in the address, and as GStreamer calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Listener => "listener",
            Self::Rendezvous => "rendezvous",
        }
    }
}

/// Where a transport stream over SRT comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtAddress {
    /// The other side; for a listener an address of this box, empty: all of them.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Which side asks.
    pub mode: SrtMode,
    /// What a caller says it wants. May be a secret.
    pub stream_id: Option<String>,
}

/// Longest stream id of SRT, bytes.
const MAX_STREAM_ID: usize = 512;

/// Host and port of `host:port`, where an IPv6 address stands in brackets. The text is not repeated
/// in an error: it may be a password cut at its slash.
fn host_and_port(text: &str) -> Result<(&str, u16)> {
    let wrong = || Error::config("the camera URL has no port").remedy("write it as host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|p| *p != 0).ok_or_else(wrong)?;
    match host.strip_prefix('[').map(|h| h.strip_suffix(']')) {
        Some(Some(inside)) => Ok((inside, port)),
        Some(None) => Err(wrong()),
        None if host.contains(':') => {
            Err(Error::config("the camera URL has an IPv6 address without its brackets")
                .remedy("write it as [address]:port"))
        }
        None => Ok((host, port)),
    }
}

/// Whether text can be the name of a network interface or a host.
fn is_name(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl UdpAddress {
    /// Reads what follows `udp://`: `host:port`, `group@interface:port`, or `@group:port`.
    pub(super) fn parse(rest: &str) -> Result<Self> {
        let remedy = "write it as udp://:5000, udp://239.1.1.1:5000 or udp://239.1.1.1@eth0:5000";
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(Error::config("a udp camera URL has no path and no options").remedy(remedy));
        }
        let (group, at) = match rest.split_once('@') {
            Some(("", at)) => (None, at),
            Some((group, at)) => (Some(group), at),
            None => (None, rest),
        };
        let (host, port) = host_and_port(at).map_err(|e| Error::config(e.what()).remedy(remedy))?;
        let address = |text: &str| {
            text.trim_matches(['[', ']']).parse::<IpAddr>().map_err(|_| {
                Error::config("a udp camera URL names no address to listen at").remedy(
                    "the box listens, it does not call: leave the host out, or give an address of this box or \
                     a multicast group",
                )
            })
        };
        match group {
            Some(group) => {
                let group = address(group)?;
                if !group.is_multicast() {
                    return Err(Error::config(format!("{group} is not a multicast group")).remedy(remedy));
                }
                if !is_name(host, 15) {
                    return Err(
                        Error::config("the camera URL names no network interface after the @").remedy(remedy)
                    );
                }
                Ok(Self { host: Some(group), interface: Some(host.to_owned()), port })
            }
            None => {
                let host = if host.is_empty() { None } else { Some(address(host)?) };
                Ok(Self { host, interface: None, port })
            }
        }
    }
}

impl SrtAddress {
    /// Reads what follows `srt://`: `host:port`, and after a `?` the options `mode` and `streamid`.
    pub(super) fn parse(rest: &str) -> Result<Self> {
        let (at, query) = rest.split_once('?').unwrap_or((rest, ""));
        let at = at.strip_suffix('/').unwrap_or(at);
        if at.contains('@') {
            return Err(Error::config("the camera URL contains a user or a password")
                .remedy("move the passphrase to `password_file`"));
        }
        let (host, port) = host_and_port(at)?;
        let mut address = Self { host: host.to_owned(), port, mode: SrtMode::default(), stream_id: None };
        for option in query.split('&').filter(|o| !o.is_empty()) {
            // The value is not repeated in an error: it may be a secret.
            match option.split_once('=').unwrap_or((option, "")) {
                ("mode", "caller") => address.mode = SrtMode::Caller,
                ("mode", "listener" | "server") => address.mode = SrtMode::Listener,
                ("mode", "rendezvous") => address.mode = SrtMode::Rendezvous,
                ("mode", _) => {
                    return Err(Error::config("the camera URL has an unknown srt mode")
                        .remedy("use mode=caller, mode=listener or mode=rendezvous"));
                }
                ("streamid", id) if (1..=MAX_STREAM_ID).contains(&id.len()) => {
                    address.stream_id = Some(id.to_owned());
                }
                ("streamid", _) => {
                    return Err(Error::config(format!(
                        "the camera URL's streamid has not 1 to {MAX_STREAM_ID} bytes"
                    )));
                }
                ("passphrase", _) => {
                    return Err(Error::config("the camera URL contains a passphrase")
                        .remedy("move it to `password_file`"));
                }
                ("latency", _) => {
                    return Err(
                        Error::config("the camera URL contains a latency").remedy("set it as `latency_ms`")
                    );
                }
                (name, _) => {
                    let name: String = name.chars().filter(|c| !c.is_control()).take(20).collect();
                    return Err(Error::config(format!("the camera URL has an unknown option \"{name}\""))
                        .remedy("the options of srt are mode and streamid"));
                }
            }
        }
        let anywhere = host.is_empty() || host == "0.0.0.0" || host == "::";
        if anywhere && address.mode != SrtMode::Listener {
            return Err(Error::config("the camera URL names no host")
                .remedy("write it as srt://host:port, or add ?mode=listener to wait for the camera"));
        }
        if !host.is_empty() && !is_name(host, 253) && host.parse::<IpAddr>().is_err() {
            return Err(Error::config("the camera URL names no host"));
        }
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_addresses() {
        let of = |text: &str| UdpAddress::parse(text).unwrap();
        assert_eq!(of(":5000"), UdpAddress { host: None, interface: None, port: 5000 });
        assert_eq!(of("@:5000"), of(":5000/"));
        let group = Some("239.1.1.1".parse().unwrap());
        assert_eq!(of("239.1.1.1:5000"), UdpAddress { host: group, interface: None, port: 5000 });
        assert_eq!(of("@239.1.1.1:5000"), of("239.1.1.1:5000"));
        assert_eq!(of("239.1.1.1@eth0:5000").interface.as_deref(), Some("eth0"));
        assert_eq!(of("[ff15::1]:5000").host, Some("ff15::1".parse().unwrap()));
        for (text, says) in [
            ("", "no port"),
            ("host", "no port"),
            (":0", "no port"),
            (":99999", "no port"),
            ("drone.local:5000", "no address to listen at"),
            ("10.0.0.1@eth0:5000", "not a multicast group"),
            ("239.1.1.1@:5000", "no network interface"),
            ("239.1.1.1@a!b:5000", "no network interface"),
            ("ff15::1:5000", "without its brackets"),
            (":5000?pkt_size=1316", "no options"),
        ] {
            let e = UdpAddress::parse(text).unwrap_err();
            assert!(e.to_string().contains(says), "{text}: {e}");
        }
    }

    #[test]
    fn srt_addresses() {
        let of = |text: &str| SrtAddress::parse(text).unwrap();
        assert_eq!((of("drone:9000").mode, of("drone:9000").port), (SrtMode::Caller, 9000));
        assert_eq!(of(":9000?mode=listener").host, "");
        assert_eq!(of("[::1]:9000?mode=rendezvous&streamid=cam").stream_id.as_deref(), Some("cam"));
        for (text, says) in [
            (":9000", "names no host"),
            ("0.0.0.0:9000", "names no host"),
            ("drone:9000?mode=x", "unknown srt mode"),
            ("drone:9000?passphrase=hunter2hunter2", "contains a passphrase"),
            ("me:hunter2@drone:9000", "contains a user or a password"),
            ("drone:hunter2", "no port"),
            ("drone:9000?hunter=2", "unknown option \"hunter\""),
            ("drone:9000?streamid=", "streamid"),
            ("drone:9000?latency=20", "latency_ms"),
            ("dr one:9000", "no host"),
        ] {
            let e = SrtAddress::parse(text).unwrap_err();
            assert!(e.to_string().contains(says), "{text}: {e}");
            assert!(!e.to_string().contains("hunter2"), "{e}");
        }
    }
}
