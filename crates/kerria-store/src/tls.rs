//! TLS to a server: whom it is verified against.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tracing::warn;

/// Why TLS cannot be used.
#[derive(Debug)]
pub(crate) enum TlsError {
    /// The certificates that servers are to be verified against cannot be read.
    Certificates { path: PathBuf, source: Box<dyn Error + Send + Sync> },
    /// It cannot be used at all.
    Tls(rustls::Error),
}

/// Verifies servers against the certificates in this PEM file, or else against the system's.
pub(crate) fn client_config(authorities: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let unreadable = |source: Box<dyn Error + Send + Sync>| TlsError::Certificates {
                path: path.to_owned(),
                source,
            };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.into()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| unreadable(error.into()))?;
                roots.add(certificate).map_err(|error| unreadable(error.into()))?;
            }
            if roots.is_empty() {
                return Err(unreadable("there is none".into()));
            }
        }
        None => {
            let (used, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if used == 0 {
                warn!("the system has no certificates to verify a server against");
            }
        }
    }
    // Named, because rustls panics where another crate of the program has brought a second provider.
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
