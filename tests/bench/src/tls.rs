//! A certificate for the stand-in, by which the measured find it good.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The name that the certificate is for.
pub(crate) const NAME: &str = "localhost";
/// The certificate, which is its own authority, in the folder.
pub(crate) const CERTIFICATE: &str = "upstream.crt";
const KEY: &str = "upstream.key";

/// Makes key and certificate and puts them into a folder.
pub(crate) fn make(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let made = rcgen::generate_simple_self_signed([NAME.to_owned(), "127.0.0.1".to_owned()])?;
    fs::write(folder.join(CERTIFICATE), made.cert.pem())?;
    fs::write(folder.join(KEY), made.signing_key.serialize_pem())?;
    Ok(())
}

/// The server's side of it, in HTTP/1.1 and nothing else: nginx speaks nothing else either.
pub(crate) fn acceptor(folder: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(folder.join(CERTIFICATE))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(folder.join(KEY))?;
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).context("TLS")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
