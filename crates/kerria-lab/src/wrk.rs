//! Load from wrk, on a core that the server does not use.

use std::path::Path;

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::process::Server;

const CORE: &str = "1";
/// As many as make sure that the server is never waiting.
const CONNECTIONS: u32 = 64;
const SCRIPT: &str = include_str!("wrk.lua");

/// What to ask for.
#[derive(Clone, Copy)]
pub(crate) enum Ask<'a> {
    /// The same again and again, with this header.
    Same(Option<&'a str>),
    /// The same again and again at another path, with these headers.
    At(&'a str, &'a [String]),
    /// The same path again and again, with the cookies of a file at random, one a line.
    WithCookies(&'a str, &'a Path),
    /// With the tokens of a file, at random.
    AtRandom(&'a Path),
    /// With the tokens of a file in their order, from this one on.
    InOrder(&'a Path, u64),
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    /// Milliseconds.
    pub(crate) p99: f64,
    /// Answers with a status of 400 and above.
    pub(crate) refused: u64,
    /// The server's processor time for one request, in microseconds.
    pub(crate) cpu: f64,
}

/// Asks `GET /api/v1/session`, or what else is wanted, for some seconds, on 64 connections.
pub(crate) async fn drive(server: &Server, ask: Ask<'_>, seconds: u32) -> anyhow::Result<Outcome> {
    drive_on(CONNECTIONS, server, ask, seconds).await
}

/// The same on so many connections.
pub(crate) async fn drive_on(
    connections: u32,
    server: &Server,
    ask: Ask<'_>,
    seconds: u32,
) -> anyhow::Result<Outcome> {
    let script = std::env::temp_dir().join("kerria-lab-wrk.lua");
    std::fs::write(&script, SCRIPT)?;
    let mut wrk = Command::new("taskset");
    wrk.args(["--cpu-list", CORE, "wrk", "--threads", "1", "--script"]).arg(script);
    wrk.args(["--connections", &connections.to_string(), "--duration", &seconds.to_string()]);
    let mut path = "/api/v1/session";
    match ask {
        Ask::Same(header) => drop(wrk.args(header.map(|header| ["--header", header]).into_iter().flatten())),
        Ask::At(other, headers) => {
            path = other;
            wrk.args(headers.iter().flat_map(|header| ["--header", header]));
        }
        Ask::WithCookies(other, _) => path = other,
        Ask::AtRandom(_) | Ask::InOrder(..) => {}
    }
    wrk.arg(format!("http://127.0.0.1:{}{path}", server.port)).arg("--");
    match ask {
        Ask::Same(_) | Ask::At(..) => {}
        Ask::WithCookies(_, cookies) => drop(wrk.arg(cookies).args(["cookies", "0"])),
        Ask::AtRandom(tokens) => drop(wrk.arg(tokens).args(["random", "0"])),
        Ask::InOrder(tokens, first) => drop(wrk.arg(tokens).arg("in-order").arg(first.to_string())),
    }
    let before = server.cpu()?;
    let output = wrk.output().await.context("wrk cannot be run: is it installed?")?;
    let cpu = server.cpu()? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("lab "));
    let line =
        line.with_context(|| format!("wrk says: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
    let figures: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, micros, p50, p99, refused, broken] = figures[..] else {
        anyhow::bail!("wrk says: {line}")
    };
    ensure!(broken == 0.0, "{broken} requests failed");
    Ok(Outcome {
        requests: requests as u64,
        per_second: requests / micros * 1e6,
        p50: p50 / 1e3,
        p99: p99 / 1e3,
        refused: refused as u64,
        cpu: cpu.as_micros() as f64 / requests,
    })
}
