//! `kerria demo`: a Kerria, an application and a reverse proxy between them in one process, with two users, to try out.

mod application;
mod proxy;

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, bail};
use axum::{
    body::Body,
    http::{Method, Request, header},
};
use kerria_core::Entropy;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::{
    app::App,
    config::{self, Config, Flag, Sources},
    routes,
    serve::{Server, Signals},
};

/// The configuration, for people to read, too.
const CONFIGURATION: &str = r#"# The configuration of `kerria demo`.

trusted_proxies = ["127.0.0.1", "::1"]

[[forward_auth.rule]]
hosts = ["localhost"]
paths = ["/public/*"]
allow = "everyone"

[[forward_auth.rule]]
hosts = ["localhost"]
paths = ["/kitchen/*"]
groups = ["cooks"]

[[forward_auth.rule]]
hosts = ["localhost"]
allow = "signed-in"
"#;

/// Everything that runs.
pub struct Demo {
    /// What a newcomer reads.
    pub welcome: String,
    server: Server,
    folder: TempDir,
}

/// Runs until the process is told to stop. `welcome` shows what to do.
///
/// # Errors
/// A message for the operator that says what to do.
pub async fn run(
    kerria: SocketAddr,
    application: SocketAddr,
    welcome: impl FnOnce(&str),
) -> anyhow::Result<()> {
    let mut signals = Signals::heard()?;
    let demo = start(kerria, application).await?;
    welcome(&demo.welcome);
    signals.wait().await;
    demo.server.stop().await;
    demo.folder.close().context("cannot remove the folder of the demo")
}

async fn start(kerria: SocketAddr, application: SocketAddr) -> anyhow::Result<Demo> {
    let folder = tempfile::Builder::new()
        .prefix("kerria-demo-")
        .tempdir()
        .context("cannot make a folder for the demo")?;
    let config = configuration(folder.path(), kerria)?;
    let (front, back) = (listen(kerria, "--listen").await?, listen(application, "--application").await?);
    let app = App::open(config).await?;
    app.keyring.check()?;
    let mut users = String::new();
    for (name, groups) in [("alice", &["cooks"][..]), ("bob", &[])] {
        let password = password(&*app.entropy);
        ask(&app, "users", json!({ "name": name, "password": password })).await?;
        ask(&app, &format!("users/{name}/groups"), json!({ "join": groups })).await?;
        users.push_str(&format!("    {name:<5}  {password}\n"));
    }
    let server = Server::start(Arc::clone(&app), front)?;
    let at = format!("http://localhost:{}", application.port());
    tokio::spawn(proxy::serve(back, Arc::clone(&app)));
    let own = app.config.public_url.origin().ascii_serialization();
    let welcome = format!(
        "Kerria is at {own}, and an application behind a proxy that asks it at {at}.\n\
         All of it is in {}, and goes away with this program.\n\n{users}\n  \
         1. Open {at} and sign in as alice.\n  \
         2. Open it in another browser, or a private window, and sign in as alice there, too.\n  \
         3. In one of them, follow \"Your sessions\", and end the other session, with both windows in sight.\n     \
            The other window asks twenty times a second, and says when it was refused.\n  \
         4. Sign in as bob, and open {at}/kitchen/, which is for alice's group.\n\n\
         Ctrl-C ends it.\n",
        folder.path().display()
    );
    Ok(Demo { welcome, server, folder })
}

fn configuration(folder: &Path, kerria: SocketAddr) -> anyhow::Result<Config> {
    let file = folder.join("kerria.toml");
    fs::write(&file, CONFIGURATION).with_context(|| format!("cannot write {}", file.display()))?;
    let flags = vec![
        Flag::named("--listen", "listen", &kerria.to_string()),
        Flag::set("data_dir", &folder.join("data").display().to_string()),
        Flag::set("site_name", "Kerria (demo)"),
    ];
    Ok(config::load(&Sources { file: Some(file), flags, ..Sources::default() })?)
}

async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| {
        format!("cannot listen on {address}: name another address with {flag}, as in 127.0.0.1:9000")
    })
}

/// As long as a password has to be, and nothing that anybody would guess.
fn password(entropy: &dyn Entropy) -> String {
    let bytes: [u8; 10] = kerria_core::entropy::random_bytes(entropy);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts: Vec<&str> = [0, 5, 10, 15].iter().map(|at| &hex[*at..at + 5]).collect();
    parts.join("-")
}

/// Asks for something as the operator.
async fn ask(app: &Arc<App>, path: &str, body: serde_json::Value) -> anyhow::Result<()> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("/api/v1/operator/{path}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))?;
    let answer = routes::control(Arc::clone(app)).oneshot(request).await?;
    if !answer.status().is_success() {
        bail!("the server answered {} for {path}", answer.status());
    }
    Ok(())
}
