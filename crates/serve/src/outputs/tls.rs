//! Whom outputs trust when a connection is encrypted.
use crate::ServeError;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::sync::Arc;

/// The cryptography that is used: it needs no more than a C compiler to be built for a small machine.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Certificates of a file (PEM), or those that the system trusts.
///
/// # Errors
/// `Read` for a file that cannot be read; `Setting` where there are none, since then nobody could be trusted.
pub(super) fn trusted(
    file: Option<&Path>,
    name: &'static str,
) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let refuse = |why: String| ServeError::Setting { name, why };
    let Some(path) = file else {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            let why = "the system trusts no certificate (Debian: apt-get install ca-certificates)";
            return Err(refuse(why.to_owned()));
        }
        return Ok(found.certs);
    };
    let text = std::fs::read(path)
        .map_err(|source| ServeError::Read { path: path.to_path_buf(), source })?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|e| refuse(format!("{}: {e}", path.display())))?;
    if certificates.is_empty() {
        return Err(refuse(format!("{} holds no certificate (PEM)", path.display())));
    }
    Ok(certificates)
}
