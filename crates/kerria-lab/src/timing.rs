//! Whether the clock tells who exists: sign-ins with an unknown name and with a wrong password, in turns.
//!
//! Two kinds are compared pair by pair, one after the other, so that what slows the machine down slows both. If neither is
//! slower than the other, each is the slower one in half of the pairs, give or take what chance does.

use std::fs;

use anyhow::ensure;
use kerria::Stopwatch;
use serde_json::json;

use crate::{
    Measure,
    client::Client,
    process::{On, Server},
    report::Report,
};

const PASSWORD: &str = "a copper kettle on the third shelf";
const WRONG: &str = "a copper kettle on the fourth shelf";
/// With so many pairs, chance stays within 5 points of a half in 99.9 % of the runs.
const PAIRS: u32 = 1_200;
/// Guessing is what is measured here.
const UNTHROTTLED: [&str; 7] = [
    "sign_up.mode=open",
    "throttle.account_free=1000000",
    "throttle.account_closes_after=1000000",
    "throttle.network_free=1000000",
    "throttle.network_closes_after=1000000",
    "throttle.device_free=1000000",
    "throttle.device_closes_after=1000000",
];

/// Compares how long refusals take, with Argon2id as configured by default.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    let folder = measure.folder.join("timing");
    drop(fs::remove_dir_all(&folder));
    let server = Server::kerria(On::AllCores, &folder, &UNTHROTTLED).await?;
    let mut client = Client::connect(server.port).await?;
    let alice = json!({ "name": "alice", "password": PASSWORD, "transport": "bearer" });
    ensure!(client.post("/api/v1/users", &alice.to_string()).await?.status == 201, "alice has no account");
    let (mut slower, mut known, mut unknown) = (0, Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Each is the first one in half of the pairs.
        let nobody = format!("nobody{pair}");
        let names = if pair % 2 == 0 { ["alice", &nobody] } else { [&nobody, "alice"] };
        let times = [refused(&mut client, names[0]).await?, refused(&mut client, names[1]).await?];
        let [of_alice, of_nobody] = if pair % 2 == 0 { times } else { [times[1], times[0]] };
        slower += u32::from(of_nobody > of_alice);
        known.push(of_alice);
        unknown.push(of_nobody);
    }
    report.note("sign-in refused: wrong password, median", crate::numbers::median(known), "ms");
    report.note("sign-in refused: unknown name, median", crate::numbers::median(unknown), "ms");
    let share = 100.0 * f64::from(slower) / f64::from(PAIRS);
    report.note("  pairs in which the unknown name took longer", share, "%");
    report.at_most("  distance from a half, in points", (share - 50.0).abs(), 5.0, "");
    server.stop().await
}

async fn refused(client: &mut Client, name: &str) -> anyhow::Result<f64> {
    let login = json!({ "login": name, "password": WRONG, "transport": "bearer" }).to_string();
    let since = Stopwatch::start();
    let answer = client.post("/api/v1/login", &login).await?;
    let took = since.elapsed().as_secs_f64() * 1e3;
    ensure!(answer.status == 401, "answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    Ok(took)
}
