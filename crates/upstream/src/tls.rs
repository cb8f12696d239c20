//! What TLS is spoken with: which authorities vouch for an upstream.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;

use crate::BuildError;

/// Reads a file of further authorities.
pub(crate) fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let read = || -> Result<Vec<_>, Box<dyn Error + Send + Sync>> {
        let found = CertificateDer::pem_slice_iter(&std::fs::read(file)?).collect::<Result<Vec<_>, _>>()?;
        if found.is_empty() { Err("it holds no certificate".into()) } else { Ok(found) }
    };
    read().map_err(BuildError::Authorities)
}

/// The machine's authorities and these. Sessions are taken up again: what is made of one of these shares its tickets with its clones.
pub(crate) fn open(authorities: Vec<CertificateDer<'static>>) -> Result<ClientConfig, BuildError> {
    // The provider is named, so that no other library in the process can choose another.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let built = Verifier::new_with_extra_roots(authorities, Arc::clone(&provider)).and_then(|verifier| {
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(config)
    });
    built.map_err(|error| BuildError::Client(error.into()))
}

/// The same, and says that it speaks these protocols.
pub(crate) fn speaking(mut config: ClientConfig, protocols: &[&str]) -> ClientConfig {
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}
