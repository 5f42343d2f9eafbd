//! Certificates of `mqtts`, with the ring provider.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::base::{Error, Result};
use crate::config::TlsConfig;

/// Reads the files anew, so that a renewed certificate is used from the next connection on.
pub(super) fn client_config(tls: &TlsConfig) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match &tls.ca_file {
        Some(path) => {
            for cert in certificates(path, "mqtt.tls.ca_file")? {
                roots.add(cert).map_err(|e| {
                    Error::config(format!(
                        "mqtt.tls.ca_file: {} holds a certificate that cannot sign",
                        path.display()
                    ))
                    .with_source(e)
                })?;
            }
        }
        None => {
            // A broken certificate in the system's store is not ours to complain about.
            for cert in rustls_native_certs::load_native_certs().certs {
                let _ = roots.add(cert);
            }
        }
    }
    if roots.is_empty() {
        return Err(Error::config("no authority is known that could have signed the broker's certificate")
            .remedy("set mqtt.tls.ca_file, or install the package ca-certificates"));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal("TLS versions").with_source(e))?
        .with_root_certificates(roots);
    let config = match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert, "mqtt.tls.cert_file")?;
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| {
                Error::config(format!("mqtt.tls.key_file: {} is not a readable PEM key", key.display()))
                    .with_source(e)
            })?;
            builder.with_client_auth_cert(chain, key_der).map_err(|e| {
                Error::config("mqtt.tls: certificate and key do not belong together").with_source(e)
            })?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => {
            return Err(Error::config("mqtt.tls has only one of cert_file and key_file")
                .remedy("set both or neither"));
        }
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = || {
        Error::config(format!("{key}: {} is not a readable PEM certificate", path.display()))
            .remedy("check that the file exists, is readable and begins with -----BEGIN CERTIFICATE-----")
    };
    let certs: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|e| wrong().with_source(e))?
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| wrong().with_source(e))?;
    if certs.is_empty() { Err(wrong()) } else { Ok(certs) }
}
