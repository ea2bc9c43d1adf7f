//! The reverse proxy of the demo: it asks about each request, and leads those that pass to the application.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Request, Response, header},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use kerria::ClientAddress;
use tokio::net::TcpListener;
use tracing::{debug, warn};

use super::application;
use crate::{
    app::App,
    client::Peer,
    forward_auth::{Answer, ForwardAuth, original::Dialect},
    serve::ACCEPT_BACK_OFF,
};

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener, app: Arc<App>) {
    let proxy = Arc::new(Proxy { kerria: ForwardAuth::new(&app), app });
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
                continue;
            }
        };
        let proxy = Arc::clone(&proxy);
        let service = service_fn(move |request| {
            let proxy = Arc::clone(&proxy);
            async move { Ok::<_, Infallible>(proxy.answer(peer, &request).await) }
        });
        let mut server = http1::Builder::new();
        let connection = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection ended early");
            }
        });
    }
}

struct Proxy {
    kerria: ForwardAuth,
    app: Arc<App>,
}

impl Proxy {
    async fn answer(&self, peer: SocketAddr, request: &Request<Incoming>) -> Response<Body> {
        let own = Peer { address: IpAddr::V4(Ipv4Addr::LOCALHOST), is_trusted: true };
        let asked = question(request);
        match self.kerria.answer(Dialect::Forwarded, own, ClientAddress(peer.ip()), &asked).await {
            Answer::Pass(told) => application::answer(&self.app, request.uri().path(), told.headers()),
            Answer::Instead(response) => response,
        }
    }
}

/// What any proxy would ask about this request.
fn question(request: &Request<Incoming>) -> Request<()> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let mut headers: HeaderMap = request.headers().clone();
    let host = headers.get(header::HOST).cloned();
    let value = |text: &str| HeaderValue::from_str(text).ok();
    for (name, value) in [
        ("x-forwarded-method", value(request.method().as_str())),
        ("x-forwarded-proto", value("http")),
        ("x-forwarded-host", host),
        ("x-forwarded-uri", value(target)),
    ] {
        match value {
            Some(value) => drop(headers.insert(name, value)),
            None => drop(headers.remove(name)),
        }
    }
    let mut asked = Request::new(());
    *asked.headers_mut() = headers;
    asked
}
