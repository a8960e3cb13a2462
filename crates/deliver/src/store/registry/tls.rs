//! Whom a client trusts.
use crate::DeliverError;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::sync::Arc;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Certificates of a file (PEM), or those that the system trusts.
///
/// # Errors
/// `Read`; `Certificates` where there are none, since then nobody could be trusted.
pub(super) fn config(file: Option<&Path>) -> Result<TlsConfig, DeliverError> {
    let trusted = trusted(file)?;
    let trusted: Vec<_> = trusted.iter().map(|c| Certificate::from_der(c).to_owned()).collect();
    let config = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(trusted)))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
    Ok(config.build())
}

fn trusted(file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, DeliverError> {
    let refuse = |from: String, why: String| DeliverError::Certificates { from, why };
    let Some(path) = file else {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            let why = "it trusts no certificate (Debian: apt-get install ca-certificates)";
            return Err(refuse("the system".to_owned(), why.to_owned()));
        }
        return Ok(found.certs);
    };
    let text = std::fs::read(path).map_err(|e| DeliverError::read(path, e))?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|e| refuse(path.display().to_string(), e.to_string()))?;
    if found.is_empty() {
        return Err(refuse(path.display().to_string(), "it holds no certificate (PEM)".to_owned()));
    }
    Ok(found)
}
