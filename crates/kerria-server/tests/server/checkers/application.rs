//! Applications that follow a server: in the process of the tests, and in processes of their own.

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use hyper::StatusCode;
use kerria::{Check, Outage, Refusal, RemoteChecker, RemoteError, RemoteOptions, SystemClock};
use kerria_core::{Clock, Transport};
use kerria_store::testing::Proxy;
use serde_json::json;
use tokio::process::Command;

use crate::{
    cast::{CHECKERS_TOKEN, PASSWORD},
    program::{Client, Program, command_at},
};

/// An application in this process.
pub struct Application(pub RemoteChecker);

/// What it says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Good,
    Refused(Refusal),
    /// Nobody can tell.
    Unknown,
}

impl Application {
    /// One that follows these nodes.
    pub async fn follows(nodes: &[&str]) -> Self {
        Self::try_follow(nodes, CHECKERS_TOKEN).await.unwrap()
    }

    /// One that trusts its memory for so long when no node answers.
    pub async fn trusts_for(limit: Duration, nodes: &[&str]) -> Self {
        let options = options(nodes, CHECKERS_TOKEN).outage(Outage::TrustFor(limit));
        Self(RemoteChecker::start(options).await.unwrap())
    }

    pub async fn try_follow(nodes: &[&str], token: &str) -> Result<Self, RemoteError> {
        RemoteChecker::start(options(nodes, token)).await.map(Self)
    }

    pub async fn says(&self, token: &str) -> Said {
        let checked =
            self.0.checker().check(token.as_bytes(), Transport::Bearer, None, SystemClock.now()).await;
        match checked {
            Ok(Check::Good(_)) => Said::Good,
            Ok(Check::Refused(refusal)) => Said::Refused(refusal),
            Err(_) => Said::Unknown,
        }
    }

    /// How often it had to ask.
    pub fn asked(&self) -> u64 {
        self.0.checker().counters().misses.load(Relaxed)
    }

    /// Whether its memory answers.
    pub fn is_leased(&self) -> bool {
        self.0.checker().lease().holds()
    }
}

fn options(nodes: &[&str], token: &str) -> RemoteOptions {
    RemoteOptions::new(nodes.iter().copied(), token).name("an application")
}

/// A server on an SQLite file, that lets applications follow.
pub struct Server {
    folder: PathBuf,
    pub program: Program,
}

impl Server {
    /// On an empty folder, with this user: `user0`.
    pub async fn start(folder: &Path) -> Self {
        let server = Self::start_at(folder, "127.0.0.1:0").await;
        let new = json!({ "name": "user0", "password": PASSWORD });
        let (status, body) =
            server.program.operator().send("POST", "/api/v1/operator/users", &new).await.unwrap();
        assert_eq!(status, StatusCode::CREATED, "{body}");
        server
    }

    async fn start_at(folder: &Path, listen: &str) -> Self {
        let mut command = command_at(folder, listen);
        command.env("KERRIA_CHECKERS_TOKEN", CHECKERS_TOKEN);
        Self { folder: folder.to_owned(), program: Program::spawn(command).await }
    }

    /// Kills it, and starts it again where it was.
    pub async fn killed_and_started_again(self) -> Self {
        let listen = self.program.address.to_string();
        self.program.kill().await;
        Self::start_at(&self.folder, &listen).await
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.program.address)
    }

    pub fn client(&self) -> Client {
        self.program.client()
    }

    pub async fn sign_in(&self) -> String {
        self.client().login(0).await.expect("the server answers")
    }

    pub async fn sign_out(&self, token: &str) {
        let (status, body) = self
            .client()
            .with(token)
            .send("POST", "/api/v1/logout", &json!({}))
            .await
            .expect("the server answers");
        assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    }
}

/// A cable between an application and the server at this origin, and the origin that leads through it.
pub fn cable_to(origin: &str) -> (Proxy, String) {
    let server = origin.strip_prefix("http://").unwrap();
    let proxy = Proxy::to(&format!("http://application@{server}/"));
    let through = proxy.url().replace("application@", "");
    (proxy, through.trim_end_matches('/').to_owned())
}

/// The example, in a process of its own.
pub async fn example(folder: &Path, nodes: &[&str]) -> Program {
    let token_file = folder.join("checkers-token");
    std::fs::write(&token_file, CHECKERS_TOKEN).unwrap();
    // Cargo builds examples beside the programs.
    let program = Path::new(env!("CARGO_BIN_EXE_kerria")).with_file_name("examples").join("application");
    let mut command = Command::new(program);
    command.arg("127.0.0.1:0").arg(token_file).args(nodes);
    Program::spawn(command).await
}
