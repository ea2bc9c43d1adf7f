use std::error::Error;

use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use super::{
    jwks::{FetchError, KeySource},
    keys::JWK_SET_BYTES,
};
use crate::https::{self, CertificatesError, is_safe};

/// A JWK Set at an `https` address; at an `http` one only on this machine.
///
/// Trusts the certificates that the system trusts. Follows no redirection, and reads 256 KiB at most.
pub struct HttpKeySource {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    address: Uri,
}

/// Why an address cannot be fetched from.
#[derive(Debug, thiserror::Error)]
pub enum HttpSourceRefused {
    /// Whoever sits between could put their own keys in.
    #[error("a JWK Set is fetched from an https address, or from an http one on this machine")]
    Address,
    /// The certificates that the system trusts cannot be read.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
}

impl HttpKeySource {
    /// The JWK Set at `address`: the `jwks_uri` of the issuer (RFC 8414, section 2).
    ///
    /// # Errors
    /// If the address is not one that is safe to fetch keys from, or the system has no certificates.
    pub fn new(address: &str) -> Result<Self, HttpSourceRefused> {
        let address: Uri = address.parse().map_err(|_| HttpSourceRefused::Address)?;
        if !is_safe(&address) {
            return Err(HttpSourceRefused::Address);
        }
        let connector = https::connector(None)?;
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), address })
    }

    async fn get(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        let response = self.client.get(self.address.clone()).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("it was answered {}", response.status()).into());
        }
        let body = Limited::new(response.into_body(), JWK_SET_BYTES).collect().await?;
        Ok(body.to_bytes().into())
    }
}

impl KeySource for HttpKeySource {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        self.get().await.map_err(FetchError)
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, response::Redirect, routing::get};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn keys_come_from_where_nobody_can_put_in_their_own() {
        for good in [
            "https://id.example/.well-known/jwks.json",
            "https://id.example:8443/jwks?x=1",
            "http://localhost:8080/jwks",
            "http://127.0.0.1:1/",
            "http://[::1]:8080/jwks",
        ] {
            assert!(is_safe(&good.parse().unwrap()), "{good}");
        }
        for bad in [
            "http://id.example/jwks",
            "http://10.0.0.1/jwks",
            "http://localhost.evil.example/",
            "http://127.0.0.1.evil.example/",
            "http://127.0.0.1@evil.example/",
            "ftp://id.example/jwks",
            "/jwks",
            "id.example",
        ] {
            assert!(!is_safe(&bad.parse().unwrap()), "{bad}");
        }
        assert!(matches!(HttpKeySource::new("file:///etc/passwd"), Err(HttpSourceRefused::Address)));
        assert!(matches!(HttpKeySource::new("no address"), Err(HttpSourceRefused::Address)));
    }

    #[tokio::test]
    async fn a_set_is_fetched_and_what_is_none_is_an_error() {
        let routes = Router::new()
            .route("/jwks", get(|| async { "{}" }))
            .route("/moved", get(|| async { Redirect::temporary("/jwks") }))
            .route("/long", get(|| async { "x".repeat(JWK_SET_BYTES + 1) }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        let fetch = async |path: &str| {
            let source = HttpKeySource::new(&format!("http://127.0.0.1:{port}{path}")).unwrap();
            source.fetch().await.map_err(|error| error.to_string())
        };
        assert_eq!(fetch("/jwks").await.as_deref(), Ok(&b"{}"[..]));
        for path in ["/moved", "/long", "/none"] {
            assert!(fetch(path).await.is_err(), "{path}");
        }
        server.abort();
        drop(server.await);
        assert!(fetch("/jwks").await.is_err());
    }
}
