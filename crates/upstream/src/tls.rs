//! What TLS is spoken with: which authorities vouch for an upstream.

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
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

/// The certificate authorities of the machine: read when the first upstream needs them, and once for all that are made with this.
#[derive(Debug, Default)]
pub struct Authorities {
    machine: OnceLock<Arc<Verifier>>,
}

impl Authorities {
    /// They and these.
    fn and(&self, further: Vec<CertificateDer<'static>>) -> Result<Arc<Verifier>, rustls::Error> {
        if let Some(machine) = self.machine.get().filter(|_| further.is_empty()) {
            return Ok(Arc::clone(machine));
        }
        let alone = further.is_empty();
        let verifier = Arc::new(Verifier::new_with_extra_roots(further, provider())?);
        Ok(if alone { Arc::clone(self.machine.get_or_init(|| verifier)) } else { verifier })
    }
}

/// Named, so that no other library in the process can choose another.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Believes the machine's authorities and these. Sessions are taken up again: what is made of it shares its tickets with its clones.
pub(crate) fn open(
    machine: &Authorities,
    further: Vec<CertificateDer<'static>>,
) -> Result<ClientConfig, BuildError> {
    let built = machine.and(further).and_then(|verifier| {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An authority's, whose key nobody has.
    const CERTIFICATE: &str = "\
        -----BEGIN CERTIFICATE-----\n\
        MIIBgDCCASWgAwIBAgIUVWk42MHE6ZGS6YqyYvFSDaqRzeIwCgYIKoZIzj0EAwIw\n\
        FDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyMjA0NTg0M1oYDzIxMjYxMDI5\n\
        MDQ1ODQzWjAUMRIwEAYDVQQDDAlhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjO\n\
        PQMBBwNCAASZQLUOk6kJd1lDD+pcFxiLP+DBRJO7Nio2eZufKrSmnfKYbE1SHxe+\n\
        /jRSbu/ZnmskkLqrIf0pL9HZZi1R0nw3o1MwUTAdBgNVHQ4EFgQU94noa9101KBy\n\
        ULcInc2IhiFAOdcwHwYDVR0jBBgwFoAU94noa9101KByULcInc2IhiFAOdcwDwYD\n\
        VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAjZD23TUnmnOx5ry+SUMM\n\
        qAlg0BD4GLlNHl3g2H3ITX0CIQCg26dCgLJ4ZRom0MEc94Xg82AD454HOYRmerwK\n\
        dqj4Ew==\n\
        -----END CERTIFICATE-----\n\
    ";

    #[test]
    fn the_machines_authorities_are_read_once_and_further_ones_are_nobody_elses() {
        let machine = Authorities::default();
        let first = machine.and(Vec::new()).unwrap();
        assert!(Arc::ptr_eq(&first, &machine.and(Vec::new()).unwrap()));
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        assert!(!Arc::ptr_eq(&first, &machine.and(vec![certificate]).unwrap()));
        assert!(Arc::ptr_eq(&first, &machine.and(Vec::new()).unwrap()));
    }
}
