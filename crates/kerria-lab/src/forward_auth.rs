//! What a reverse proxy is answered, beside a greeting; and a page behind nginx, with and without asking.

use std::{fs, path::Path};

use anyhow::ensure;

use crate::{
    Measure,
    numbers::median,
    process::{On, Server},
    report::Report,
    world::World,
    wrk::{Ask, Outcome, drive},
};

const SESSIONS: u32 = 1_000;
/// The configuration that the documentation shows.
const NGINX: &str = include_str!("../../../examples/forward-auth/nginx/nginx.conf");
const RULES: &str = include_str!("../../../examples/forward-auth/kerria.toml");

/// Measures Kerria's answer, and then requests through nginx; each server on one core, wrk on the other, in turns.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    let world = World::prepare(&measure.folder, SESSIONS).await?;
    let folder = measure.folder.join("forward-auth");
    fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let rules = folder.join("kerria.toml");
    fs::write(&rules, RULES)?;
    let hello = Server::hello().await?;
    let kerria = Server::kerria_with_file(On::OneCore, &world.data, &rules).await?;
    let cookie = format!("cookie: kerria={}", world.tokens()?[0]);
    answers(measure, &kerria, &hello, &cookie, report).await?;
    behind_nginx(measure, &folder, [&kerria, &hello], &cookie, report).await?;
    kerria.stop().await
}

/// The answer alone, as Caddy, Traefik, HAProxy and Apache ask for it.
async fn answers(
    measure: &Measure,
    kerria: &Server,
    hello: &Server,
    cookie: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let asked = [
        "x-forwarded-method: GET",
        "x-forwarded-proto: http",
        "x-forwarded-host: localhost",
        "x-forwarded-uri: /reports",
        "x-forwarded-for: 127.0.0.1",
    ];
    let mut headers = asked.map(str::to_owned).to_vec();
    headers.push(cookie.to_owned());
    let ask = Ask::At("/forward-auth", &headers);
    drive(kerria, ask, 1).await?; // so that its session is in memory
    let mut rounds = Vec::new();
    for _ in 0..measure.rounds {
        let greeting = drive(hello, ask, measure.seconds).await?;
        rounds.push((greeting, passes(kerria, ask, measure.seconds).await?));
    }
    let of = |figure: fn(&(Outcome, Outcome)) -> f64| median(rounds.iter().map(figure));
    report.note("forward-auth: answers per second", of(|(_, answer)| answer.per_second), "");
    report.note("  processor time", of(|(_, answer)| answer.cpu), "µs");
    report.note(
        "  more than hello, which is sent the same",
        of(|(hello, answer)| answer.cpu - hello.cpu),
        "µs",
    );
    let share = of(|(hello, answer)| 100.0 * answer.per_second / hello.per_second);
    report.at_least("  of hello's requests per second", share, 85.0, "%");
    Ok(())
}

/// A greeting through nginx, which all the time shares one core with Kerria and the application.
async fn behind_nginx(
    measure: &Measure,
    folder: &Path,
    [kerria, hello]: [&Server; 2],
    cookie: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let nginx =
        Server::nginx(&folder.join("nginx"), |port| configuration(port, kerria.port, hello.port)).await?;
    let headers = [cookie.to_owned(), format!("Host: localhost:{}", nginx.port)];
    let asking = ["/open", "/greeted", "/guarded"].map(|path| Ask::At(path, &headers));
    passes(&nginx, asking[2], 1).await?;
    let mut rounds = Vec::new();
    for _ in 0..measure.rounds {
        let [open, greeted, guarded] = asking;
        rounds.push([
            passes(&nginx, open, measure.seconds).await?,
            passes(&nginx, greeted, measure.seconds).await?,
            passes(&nginx, guarded, measure.seconds).await?,
        ]);
    }
    let of = |figure: fn(&[Outcome; 3]) -> f64| median(rounds.iter().map(figure));
    let [open, greeted, guarded] = [
        "a greeting behind nginx, nobody is asked: requests per second",
        "the same, and hello is asked before",
        "the same, and Kerria is asked before",
    ];
    report.note(open, of(|[open, ..]| open.per_second), "");
    report.note("  processor time of nginx", of(|[open, ..]| open.cpu), "µs");
    report.note(greeted, of(|[_, greeted, _]| greeted.per_second), "");
    report.note("  processor time of nginx", of(|[_, greeted, _]| greeted.cpu), "µs");
    let share = of(|[open, greeted, _]| 100.0 * greeted.per_second / open.per_second);
    report.note("  of those when nobody is asked", share, "%");
    report.note(guarded, of(|[.., guarded]| guarded.per_second), "");
    report.note("  processor time of nginx", of(|[.., guarded]| guarded.cpu), "µs");
    let share = of(|[_, greeted, guarded]| 100.0 * guarded.per_second / greeted.per_second);
    report.note("  of those when hello is asked", share, "%");
    let share = of(|[open, _, guarded]| 100.0 * guarded.per_second / open.per_second);
    report.at_least("  of those when nobody is asked", share, 80.0, "%");
    nginx.stop().await
}

async fn passes(server: &Server, ask: Ask<'_>, seconds: u32) -> anyhow::Result<Outcome> {
    let outcome = drive(server, ask, seconds).await?;
    ensure!(outcome.refused == 0, "a request with a good session was refused");
    Ok(outcome)
}

/// Places beside the one that is guarded: one that asks nobody, and one that asks for a greeting first. What is left between these two
/// is what a second request costs nginx.
const OTHERS: &str = r#"
        location = /open {
            proxy_pass http://application;
            proxy_set_header Connection "";
        }

        location = /ask-hello {
            internal;
            # What is answered with a body costs a connection each time.
            proxy_pass http://application/nothing;
            proxy_set_header Connection "";
            proxy_pass_request_body off;
        }

        location = /greeted {
            auth_request /ask-hello;
            proxy_pass http://application;
            proxy_set_header Connection "";
        }

"#;

/// The example, on other ports, without its log of accesses, and with the other places.
fn configuration(port: u16, kerria: u16, application: u16) -> String {
    NGINX
        .replace("127.0.0.1:8000", &format!("127.0.0.1:{port}"))
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{kerria}"))
        .replace("127.0.0.1:3000", &format!("127.0.0.1:{application}"))
        .replace("events {}", "events { worker_connections 4096; }")
        .replace("http {\n", "http {\n    access_log off;\n")
        .replacen("        location / {", &format!("{OTHERS}        location / {{"), 1)
}
