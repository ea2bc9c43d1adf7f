//! Requests over HTTPS.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);

/// Certificates cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the certificates {of} cannot be read", of = .file.as_ref().map_or_else(|| "of the system".to_owned(), |file| format!("in {}", file.display())))]
pub struct CertificatesError {
    /// In which file; `None` for those of the system.
    pub file: Option<PathBuf>,
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// Connects, and trusts the certificates in the PEM file `authorities`, or else those that the system trusts.
pub(crate) fn connector(
    authorities: Option<&Path>,
) -> Result<HttpsConnector<HttpConnector>, CertificatesError> {
    let unreadable = |source: Box<dyn Error + Send + Sync>| CertificatesError {
        file: authorities.map(Path::to_owned),
        source,
    };
    // Named, because rustls panics where another crate of the program has brought a second provider.
    let provider = aws_lc_rs::default_provider();
    let builder = match authorities {
        None => HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|error| unreadable(error.into()))?,
        Some(file) => {
            let roots = roots_in(file).map_err(unreadable)?;
            let config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_safe_default_protocol_versions()
                .map_err(|error| unreadable(error.into()))?
                .with_root_certificates(roots)
                .with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        }
    };
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT));
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

fn roots_in(file: &Path) -> Result<RootCertStore, Box<dyn Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() { Err("there is none".into()) } else { Ok(roots) }
}

/// Whether nobody on the way can read or change what goes to this address: it is an `https` one, or on this machine.
pub(crate) fn is_safe(address: &Uri) -> bool {
    let is_here = matches!(address.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    address.scheme() == Some(&Scheme::HTTPS) && address.host().is_some()
        || address.scheme() == Some(&Scheme::HTTP) && is_here
}
