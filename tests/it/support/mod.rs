//! What several integration tests need.

pub(crate) mod daemon;
pub(crate) mod door;
pub(crate) mod drone;
pub(crate) mod mjpeg;
pub(crate) mod mosquitto;
pub(crate) mod rtsp;
pub(crate) mod trials;

/// Writes a password file as the daemon wants it: closed to others.
pub(crate) fn write_secret(path: &std::path::Path, secret: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(secret.as_bytes()).unwrap();
}
