//! What GStreamer says on its bus, as one line for an operator. Credentials never get in.

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gstreamer as gst;

use crate::base::{Culprit, Error, Kind, supervise};
use crate::config::{SourceUrl, SrtMode};

/// Longest detail taken over from GStreamer or a camera.
const MAX_DETAIL: usize = 160;

/// Looking why a connection failed takes no longer than this.
const DIAGNOSE_WITHIN: Duration = Duration::from_millis(700);
/// Most such looks at a time, all cameras together: a name server that hangs holds them up.
const MAX_DIAGNOSES: usize = 8;

static DIAGNOSES: AtomicUsize = AtomicUsize::new(0);

/// Takes credentials out of text that GStreamer or a camera wrote.
///
/// A URL's path and query are taken out too: many cameras want their password there.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    /// What to replace, and by what; the longest first.
    replacements: Vec<(String, String)>,
}

impl Redactor {
    pub(crate) fn new(url: &SourceUrl, username: Option<&str>, password: Option<&str>) -> Self {
        let mut replacements = Vec::new();
        if let SourceUrl::Rtsp(u) | SourceUrl::Http(u) = url {
            replacements.push((u.clone(), place(url)));
            let tail = u.split_once("//").and_then(|(_, rest)| rest.find('/').map(|i| &rest[i..]));
            if let Some(tail) = tail.filter(|t| t.len() > 1) {
                replacements.push((tail.to_owned(), "/…".into()));
            }
            if let Some((_, query)) = u.split_once('?').filter(|(_, q)| !q.is_empty()) {
                replacements.push((query.to_owned(), "…".into()));
            }
        }
        if let SourceUrl::Srt(u, address) = url {
            replacements.push((u.clone(), place(url)));
            replacements.extend(address.stream_id.clone().map(|id| (id, "***".into())));
        }
        for secret in [password, username].into_iter().flatten().filter(|s| !s.is_empty()) {
            replacements.push((secret.to_owned(), "***".into()));
        }
        replacements.sort_by_key(|(what, _)| std::cmp::Reverse(what.len()));
        Self { replacements }
    }

    pub(crate) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (what, by) in &self.replacements {
            text = text.replace(what.as_str(), by);
        }
        text
    }
}

/// A source in a few words without secrets: scheme and host, or the whole path of a local one.
pub(crate) fn place(url: &SourceUrl) -> String {
    match url {
        SourceUrl::Rtsp(u) | SourceUrl::Http(u) => {
            let (scheme, rest) = u.split_once("//").unwrap_or(("", u));
            let host = rest.split(['/', '?', '#']).next().unwrap_or("");
            format!("{scheme}//{host}")
        }
        // Its options may name a stream that is a secret.
        SourceUrl::Srt(u, _) => u.split('?').next().unwrap_or("").to_owned(),
        local => local.to_string(),
    }
}

/// Where a network source listens.
fn host_and_port(url: &SourceUrl) -> Option<(String, u16)> {
    if let SourceUrl::Srt(_, address) = url {
        return Some((address.host.clone(), address.port));
    }
    let (SourceUrl::Rtsp(u) | SourceUrl::Http(u)) = url else { return None };
    let (scheme, rest) = u.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let default = match scheme {
        "rtsp" => 554,
        "rtsps" => 322,
        "https" => 443,
        _ => 80,
    };
    let (host, port) = match host.rsplit_once(':') {
        // The colon may be inside the brackets of an IPv6 address.
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()?),
        _ => (host, default),
    };
    Some((host.trim_matches(['[', ']']).to_owned(), port))
}

/// Why a connection could not be made. `rtspsrc` says "generic error" for a name that does not
/// resolve, a host that is off and a port that nobody listens on, so this asks the system again.
fn diagnose(url: &SourceUrl) -> Option<Error> {
    struct Slot;
    impl Drop for Slot {
        fn drop(&mut self) {
            DIAGNOSES.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let (host, port) = host_and_port(url)?;
    // SRT is UDP: what does not answer there may still be there.
    let connects = !matches!(url, SourceUrl::Srt(..));
    let busy = DIAGNOSES.fetch_add(1, Ordering::Relaxed) >= MAX_DIAGNOSES;
    let slot = Slot;
    if busy {
        return None;
    }
    let (tx, rx) = std::sync::mpsc::sync_channel(1);
    // The name server may hang for longer than anybody waits: on a thread that ends by itself.
    supervise::spawn("cam-diagnose", move || {
        let _slot = slot;
        let found = (host.as_str(), port).to_socket_addrs().map(|mut addresses| {
            addresses.next().map(|a| {
                if connects { TcpStream::connect_timeout(&a, DIAGNOSE_WITHIN).map(drop) } else { Ok(()) }
            })
        });
        let _ = tx.send(found);
    })
    .ok()?;
    let camera = |kind, text: &str| Error::new(kind, Culprit::Camera, text);
    Some(match rx.recv_timeout(DIAGNOSE_WITHIN + Duration::from_millis(100)) {
        Ok(Err(_) | Ok(None)) => camera(Kind::Unavailable, "the camera's host name cannot be resolved")
            .remedy("check the name in `url` and the box's DNS"),
        Ok(Ok(Some(Err(e)))) => match e.kind() {
            ErrorKind::ConnectionRefused => refused_connection(),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                camera(Kind::Unavailable, "there is no route to the camera")
            }
            ErrorKind::TimedOut => camera(Kind::Timeout, "the camera's host does not answer"),
            _ => return None,
        },
        Ok(Ok(Some(Ok(())))) => return None,
        Err(_) => camera(Kind::Timeout, "neither the camera nor the name server answers"),
    })
}

fn busy_port() -> Error {
    Error::new(Kind::Unavailable, Culprit::Host, "this box cannot listen at the camera's port")
        .remedy("another program may hold it (ss -lunp); ports below 1024 need a privilege")
}

/// A network interface that this box does not have. It may come: a modem, a tunnel.
pub(crate) fn no_interface() -> Error {
    Error::new(Kind::Unavailable, Culprit::Host, "this box does not have the network interface in `url`")
        .remedy("see `ip link`")
}

fn refused_connection() -> Error {
    Error::new(Kind::Unavailable, Culprit::Camera, "the camera refused the connection: nothing listens there")
}

/// What SRT says in a warning, before its element fails without a reason.
pub(crate) fn from_srt_warning(message: &gst::message::Warning, mode: SrtMode) -> Option<Error> {
    let text = format!("{} {}", message.error().message(), message.debug().unwrap_or_default());
    srt_trouble(&text.to_lowercase(), mode)
}

fn srt_trouble(said: &str, mode: SrtMode) -> Option<Error> {
    let camera = |kind, text: &str| Error::new(kind, Culprit::Camera, text);
    if said.contains("failed to authenticate") || said.contains("passphrase") {
        let how = if said.contains("password required or unexpected") {
            "only one side of the SRT connection has a passphrase"
        } else {
            "the two sides of the SRT connection have different passphrases"
        };
        return Some(
            camera(Kind::Refused, how).remedy("check `password_file` against the sender's passphrase"),
        );
    }
    if said.contains("connection timeout") || said.contains("connection setup failure") {
        if mode == SrtMode::Listener {
            return Some(busy_port());
        }
        return Some(
            camera(Kind::Timeout, "nobody answers at this SRT address")
                .remedy("check host, port and mode: one side calls, the other listens"),
        );
    }
    if said.contains("rejected") {
        return Some(
            camera(Kind::Refused, "the other side of SRT rejects the connection")
                .remedy("check `streamid` and that no other reader holds it"),
        );
    }
    None
}

/// The camera's certificate failed its validation.
pub(crate) fn untrusted_certificate() -> Error {
    Error::new(Kind::Refused, Culprit::Camera, "the camera's TLS certificate is not trusted")
        .remedy("add its authority to the system's certificates (update-ca-certificates)")
}

/// Which Debian package holds an element.
fn package_of(element: &str) -> &'static str {
    match element {
        "decodebin" | "videotestsrc" | "videoconvert" | "appsink" | "playbin" => "gstreamer1.0-plugins-base",
        "jpegparse" | "h264parse" | "h265parse" | "tsdemux" | "srtsrc" => "gstreamer1.0-plugins-bad",
        e if e.starts_with("avdec") => "gstreamer1.0-libav",
        "filesrc" | "queue" | "capsfilter" | "fakesink" => "libgstreamer1.0-0",
        _ => "gstreamer1.0-plugins-good",
    }
}

/// An element that this machine lacks.
pub(crate) fn missing_element(element: &str) -> Error {
    Error::new(Kind::Unsupported, Culprit::Host, format!("GStreamer's element {element} is missing"))
        .remedy(format!("install it: apt install {}", package_of(element)))
}

/// A format that nothing on this machine decodes.
pub(crate) fn no_decoder(caps: &str) -> Error {
    let kind = caps.split(',').next().unwrap_or(caps).trim();
    let package = match kind {
        "video/x-h264" | "video/x-h265" | "video/mpeg" | "video/x-vp8" | "video/x-vp9" => {
            "gstreamer1.0-libav"
        }
        k if k.starts_with("image/") => "gstreamer1.0-plugins-good",
        k if k.starts_with("application/x-rtp") => "gstreamer1.0-plugins-good",
        k if k.starts_with("video/x-av1") => "gstreamer1.0-plugins-bad",
        _ => "gstreamer1.0-libav gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly",
    };
    let short = shorten(kind);
    Error::new(Kind::Unsupported, Culprit::Host, format!("nothing on this machine decodes {short}"))
        .remedy(format!("apt install {package}, or set the camera to H.264"))
}

fn shorten(text: &str) -> String {
    // One line, printable: a camera may put anything into its answers.
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let clean = clean.trim().trim_end_matches('.');
    match clean.char_indices().nth(MAX_DETAIL) {
        Some((i, _)) => format!("{}…", &clean[..i]),
        None => clean.to_owned(),
    }
}

/// The part of a debug text that says something: its last line, without the source position.
fn detail(debug: &str) -> String {
    let line = debug.lines().map(str::trim).rfind(|l| !l.is_empty()).unwrap_or("");
    let line = match line.split_once("): ") {
        Some((position, rest)) if position.contains(".c(") => rest.split_once(":\n").map_or(rest, |x| x.1),
        _ => line,
    };
    if line.contains(".c(") { String::new() } else { shorten(line) }
}

/// Turns an error on the bus into ours.
pub(crate) fn from_bus(message: &gst::message::Error, url: &SourceUrl, redactor: &Redactor) -> Error {
    let error = message.error();
    let debug = message.debug().map(|d| d.to_string()).unwrap_or_default();
    let status = message.details().and_then(|d| d.get::<u32>("http-status-code").ok());
    explain(&error, &debug, status, url, redactor)
}

fn explain(
    error: &gst::glib::Error,
    debug: &str,
    http_status: Option<u32>,
    url: &SourceUrl,
    redactor: &Redactor,
) -> Error {
    use gst::{CoreError, ResourceError, StreamError};
    let said = redactor.clean(&detail(debug));
    let short = redactor.clean(&shorten(error.message()));
    let because = if said.is_empty() || said == short { short.clone() } else { format!("{short} ({said})") };
    let everything = format!("{} {debug}", error.message()).to_lowercase();
    let network =
        matches!(url, SourceUrl::Rtsp(_) | SourceUrl::Http(_) | SourceUrl::Udp(..) | SourceUrl::Srt(..));
    let camera = |kind, text: &str| Error::new(kind, Culprit::Camera, text);

    let unauthorized = error.matches(ResourceError::NotAuthorized)
        || matches!(http_status, Some(401 | 403))
        || everything.contains("unauthorized");
    if network && unauthorized {
        return camera(Kind::Refused, "the camera refused the credentials")
            .remedy("check `username` and `password_file`");
    }
    if let SourceUrl::Srt(_, address) = url {
        if let Some(e) = srt_trouble(&everything, address.mode) {
            return e;
        }
        if everything.contains("failed to start") {
            return match address.mode {
                SrtMode::Listener => busy_port(),
                _ => diagnose(url)
                    .unwrap_or_else(|| camera(Kind::Unavailable, "the SRT connection cannot be made")),
            };
        }
    }
    if everything.contains("address already in use") {
        return busy_port();
    }
    if everything.contains("cannot assign requested address") {
        return Error::new(Kind::Config, Culprit::Config, "this box does not have the address in `url`")
            .remedy("leave the address out to listen at all of them, or see `ip address`");
    }
    if everything.contains("tls support is not available") {
        return Error::new(Kind::Unsupported, Culprit::Host, "this machine cannot speak TLS")
            .remedy("install it: apt install glib-networking");
    }
    if everything.contains("certificate") {
        return untrusted_certificate();
    }
    if everything.contains("no supported stream was found") {
        return camera(Kind::Unsupported, "the camera offers no video stream over this transport")
            .remedy("check the path in `url`, and `transport`");
    }
    if everything.contains("error resolving") || everything.contains("name or service not known") {
        return camera(Kind::Unavailable, "the camera's host name cannot be resolved")
            .remedy("check the name in `url` and the box's DNS");
    }
    if everything.contains("connection refused") || everything.contains("could not connect: refused") {
        return refused_connection();
    }
    if everything.contains("timed out") || everything.contains("timeout") {
        return camera(Kind::Timeout, "the camera did not answer in time");
    }
    if everything.contains("no route to host") || everything.contains("unreachable") {
        return camera(Kind::Unavailable, "there is no route to the camera");
    }
    if error.matches(ResourceError::NotFound)
        || http_status == Some(404)
        || everything.contains("not found (404)")
    {
        return match url {
            SourceUrl::Rtsp(_) | SourceUrl::Http(_) => {
                camera(Kind::NotFound, "the camera has no such stream").remedy("check the path in `url`")
            }
            SourceUrl::V4l2(_) => camera(Kind::NotFound, "there is no such device")
                .remedy("check `url` and that the camera is plugged in (v4l2-ctl --list-devices)"),
            SourceUrl::File(_) => camera(Kind::NotFound, "there is no such file").remedy("check `url`"),
            SourceUrl::Udp(..) | SourceUrl::Srt(..) | SourceUrl::Tiff(_) | SourceUrl::Test => {
                camera(Kind::NotFound, &because)
            }
        };
    }
    if error.matches(ResourceError::Busy) {
        return camera(Kind::Unavailable, "another program holds the device")
            .remedy("find it with: fuser -v /dev/video*");
    }
    if everything.contains("permission denied") {
        return Error::new(Kind::Permission, Culprit::Host, "this user may not open it")
            .remedy("for a device, add the user to the group `video`");
    }
    if error.matches(CoreError::MissingPlugin) || error.matches(StreamError::CodecNotFound) {
        return Error::new(
            Kind::Unsupported,
            Culprit::Host,
            format!("a GStreamer plugin is missing: {because}"),
        )
        .remedy("apt install gstreamer1.0-libav gstreamer1.0-plugins-good gstreamer1.0-plugins-bad");
    }
    if error.matches(StreamError::TypeNotFound) || error.matches(StreamError::WrongType) {
        return camera(Kind::Unsupported, &format!("what comes is not a video: {because}"));
    }
    if error.matches(StreamError::Decode)
        || error.matches(StreamError::Demux)
        || error.matches(StreamError::Format)
    {
        return camera(Kind::Malformed, &format!("what comes cannot be decoded: {because}"));
    }
    if everything.contains("failed to connect")
        && let Some(e) = diagnose(url)
    {
        return e;
    }
    // Only the network's faults mend themselves; the rest is tried again at the longest wait.
    let kind = if error.is::<ResourceError>() || network { Kind::Unavailable } else { Kind::Malformed };
    camera(kind, &because)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(u: &str) -> SourceUrl {
        SourceUrl::parse(u).unwrap()
    }

    #[test]
    fn no_secret_survives() {
        let u = url("rtsp://cam.local:554/user=admin_password=hunter2_channel=1?token=abc");
        let r = Redactor::new(&u, Some("operator"), Some("s3cret!"));
        let said = "could not open rtsp://cam.local:554/user=admin_password=hunter2_channel=1?token=abc \
                    as operator with s3cret! at /user=admin_password=hunter2_channel=1?token=abc";
        let clean = r.clean(said);
        for secret in ["hunter2", "token=abc", "operator", "s3cret!"] {
            assert!(!clean.contains(secret), "{clean}");
        }
        assert!(clean.contains("rtsp://cam.local:554"), "{clean}");
        assert_eq!(place(&u), "rtsp://cam.local:554");
        assert_eq!(place(&url("http://cam?pw=x")), "http://cam");
    }

    #[test]
    fn hosts_and_ports() {
        let of = |u: &str| host_and_port(&url(u)).unwrap();
        assert_eq!(of("rtsp://cam/live"), ("cam".into(), 554));
        assert_eq!(of("rtsps://cam:8555/live?x=1:2"), ("cam".into(), 8555));
        assert_eq!(of("http://[fe80::1]/v"), ("fe80::1".into(), 80));
        assert_eq!(of("https://[fe80::1]:8443"), ("fe80::1".into(), 8443));
    }

    #[test]
    fn causes_become_kinds_and_remedies() {
        use gst::{ResourceError as R, StreamError as S, glib};
        let rtsp = url("rtsp://cam/live");
        let r = Redactor::new(&rtsp, None, None);
        let kind = |e: glib::Error, debug: &str| explain(&e, debug, None, &rtsp, &r);
        let e = kind(glib::Error::new(R::NotAuthorized, "no"), "Unauthorized (401)");
        assert_eq!(e.kind(), Kind::Refused);
        assert!(e.to_string().contains("password_file"), "{e}");
        assert_eq!(kind(glib::Error::new(R::NotFound, "no"), "Not Found (404)").kind(), Kind::NotFound);
        assert!(kind(glib::Error::new(R::OpenReadWrite, "no"), "Connection refused").retryable());
        assert_eq!(kind(glib::Error::new(S::Decode, "bad"), "").kind(), Kind::Malformed);
        let e = no_decoder("video/x-h265, stream-format=(string)byte-stream");
        assert!(e.to_string().contains("gstreamer1.0-libav"), "{e}");
        let e = missing_element("rtspsrc");
        assert!(e.to_string().contains("gstreamer1.0-plugins-good"), "{e}");
    }

    #[test]
    fn what_srt_says_becomes_a_cause() {
        let u = url("srt://drone:9000?streamid=s3cret");
        let r = Redactor::new(&u, None, Some("hunter2hunter2"));
        assert_eq!(r.clean("srt://drone:9000?streamid=s3cret hunter2hunter2"), "srt://drone:9000 ***");
        assert_eq!(place(&u), "srt://drone:9000");
        let say = |text: &str| srt_trouble(text, SrtMode::Caller).unwrap();
        assert_eq!(say("failed to authenticate: incorrect passphrase").kind(), Kind::Refused);
        let one = say("failed to authenticate: password required or unexpected");
        assert!(one.what().contains("only one side"), "{one}");
        assert!(say("error on srt socket: connection timeout").retryable());
    }

    #[test]
    fn a_camera_cannot_write_lines_into_the_log() {
        assert_eq!(shorten("one\r\ntwo"), "one  two");
        assert!(shorten(&"ä".repeat(1000)).chars().count() <= MAX_DETAIL + 1);
    }
}
