//! TLS at the clients' listener.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{BindError, Tls};

impl Tls {
    /// Reads certificate and key, and says whether they can be used.
    ///
    /// # Errors
    /// Why not: which file, and what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        match open(self) {
            Ok(_) => Ok(()),
            Err(BindError::Tls(problem)) => Err(problem),
            Err(other) => Err(other.to_string()),
        }
    }
}

/// Reads certificate and key.
pub(crate) fn open(tls: &Tls) -> Result<Arc<ServerConfig>, BindError> {
    let problem = |path: &std::path::Path, error: &dyn std::fmt::Display| {
        BindError::Tls(format!("{}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| problem(&tls.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| problem(&tls.key, &error))?;
    // The provider is named, so that no other library in the process can choose another.
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| problem(&tls.certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| problem(&tls.certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
