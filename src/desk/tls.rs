//! HTTPS: the certificate, and a renewed one without a restart.

use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::base::{Culprit, Error, Kind, Result};
use crate::config::DeskTlsConfig;

/// How often the files are looked at, while connections come.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What tells that a file is another one: device, inode, size, time of change.
type Print = [(u64, u64, u64, i64, i64); 2];

struct Held {
    acceptor: TlsAcceptor,
    print: Option<Print>,
    looked: Instant,
}

/// The desk's certificate.
pub(super) struct Tls {
    config: DeskTlsConfig,
    held: Mutex<Held>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Reads both files, and whether they belong together.
pub(super) fn load(config: &DeskTlsConfig) -> Result<Arc<ServerConfig>> {
    let unreadable = |key: &str, file: &std::path::Path, what: &str, e: &dyn std::fmt::Debug| {
        Error::config(format!("desk.tls.{key}: {} holds no readable {what}: {e:?}", file.display()))
            .remedy(format!("it must be readable and hold PEM, -----BEGIN {}-----", what.to_uppercase()))
    };
    let (cert, key) = (&config.cert_file, &config.key_file);
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(|found| found.collect::<std::result::Result<Vec<_>, _>>())
        .map_err(|e| unreadable("cert_file", cert, "certificate", &e))?;
    if chain.is_empty() {
        return Err(unreadable("cert_file", cert, "certificate", &"it is empty"));
    }
    let open = std::fs::metadata(key).is_ok_and(|m| m.mode() & 0o007 != 0);
    if open {
        return Err(Error::new(
            Kind::Config,
            Culprit::Config,
            format!("desk.tls.key_file: {} is open to everybody on this machine", key.display()),
        )
        .remedy(format!("run chmod o= {}", key.display())));
    }
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable("key_file", key, "private key", &e))?;
    let mut server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal("TLS cannot be set up").with_source(e))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|e| {
            Error::config(format!("desk.tls: {} and {} cannot be used", cert.display(), key.display()))
                .with_source(e)
                .remedy("the key must be that of the first certificate in the file")
        })?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

impl Tls {
    pub(super) fn open(config: &DeskTlsConfig) -> Result<Self> {
        // The print first: what changes while it is read is read again.
        let print = print(config);
        let held = Held { acceptor: load(config)?.into(), print, looked: Instant::now() };
        Ok(Self { config: config.clone(), held: Mutex::new(held) })
    }

    /// What accepts a connection now. Reads files now and then: not for the network's own threads.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor_at(Instant::now())
    }

    fn acceptor_at(&self, now: Instant) -> TlsAcceptor {
        let mut held = self.held.lock().unwrap_or_else(|e| e.into_inner());
        if now.saturating_duration_since(held.looked) >= LOOK_EVERY {
            held.looked = now;
            let print = print(&self.config);
            if print != held.print {
                match load(&self.config) {
                    Ok(config) => {
                        held.acceptor = config.into();
                        tracing::info!("desk: the certificate was renewed");
                    }
                    Err(e) => tracing::warn!(
                        "desk: the new certificate is not used, the old one stays: {}",
                        e.chain()
                    ),
                }
                held.print = print;
            }
        }
        held.acceptor.clone()
    }
}

fn print(config: &DeskTlsConfig) -> Option<Print> {
    let one = |path| {
        let m = std::fs::metadata(path).ok()?;
        Some((m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec()))
    };
    Some([one(&config.cert_file)?, one(&config.key_file)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn write(config: &DeskTlsConfig, certified: &rcgen::CertifiedKey<rcgen::KeyPair>) {
        std::fs::write(&config.cert_file, certified.cert.pem()).unwrap();
        std::fs::write(&config.key_file, certified.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(&config.key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_renewed_certificate_is_used_and_a_bad_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let config = DeskTlsConfig { cert_file: dir.path().join("c"), key_file: dir.path().join("k") };
        let make = || rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        write(&config, &make());
        let tls = Tls::open(&config).unwrap();
        let held = |after: u64| {
            let acceptor = tls.acceptor_at(Instant::now() + Duration::from_secs(after));
            Arc::as_ptr(acceptor.config()) as usize
        };
        let first = held(0);
        assert_eq!(held(20), first, "nothing changed");
        write(&config, &make());
        assert_eq!(held(20), first, "not looked at so soon");
        let second = held(40);
        assert_ne!(second, first);
        std::fs::write(&config.cert_file, "torn").unwrap();
        assert_eq!(held(60), second, "the old one stays");
    }

    #[test]
    fn what_cannot_be_used_is_said_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let config = DeskTlsConfig { cert_file: dir.path().join("c"), key_file: dir.path().join("k") };
        let says = |config: &DeskTlsConfig| load(config).unwrap_err().to_string();
        assert!(says(&config).starts_with("desk.tls.cert_file: "));
        let make = || rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        write(&config, &make());
        load(&config).unwrap();
        std::fs::write(&config.key_file, make().signing_key.serialize_pem()).unwrap();
        assert!(says(&config).contains("cannot be used; the key must be"));
        std::fs::set_permissions(&config.key_file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(says(&config).contains("is open to everybody"));
        std::fs::remove_file(&config.key_file).unwrap();
        assert!(says(&config).starts_with("desk.tls.key_file: "));
    }
}
