//! Certificate authorities, and servers that they vouch for.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion, version};

/// An authority, one that it vouches for, and the file in which a client finds the first.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    intermediate: CertificateDer<'static>,
    pub(super) file: tempfile::NamedTempFile,
}

impl Authority {
    pub(super) fn new() -> Self {
        Self::named("authority")
    }

    pub(super) fn named(name: &str) -> Self {
        let params = |place: &str| {
            let mut params = CertificateParams::new(vec![]).unwrap();
            params.distinguished_name.push(DnType::CommonName, format!("{name}: {place}"));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let root_key = KeyPair::generate().unwrap();
        let root = params("root").self_signed(&root_key).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), root.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let intermediate = params("second").signed_by(&key, &Issuer::new(params("root"), root_key)).unwrap();
        Self { issuer: Issuer::new(params("second"), key), intermediate: intermediate.der().clone(), file }
    }

    /// A server of this name, whose certificate the authority vouched for as `change` says.
    pub(super) fn server(
        &self,
        name: &str,
        protocols: &[&str],
        versions: &[&'static SupportedProtocolVersion],
        change: impl FnOnce(&mut CertificateParams),
    ) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let mut server = ServerConfig::builder_with_protocol_versions(versions)
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone(), self.intermediate.clone()], key)
            .unwrap();
        server.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        server
    }

    /// The usual server on this machine.
    pub(super) fn localhost(&self, protocols: &[&str]) -> TlsAcceptor {
        let server = self.server("localhost", protocols, &[&version::TLS13, &version::TLS12], |_| {});
        TlsAcceptor::from(Arc::new(server))
    }
}
