//! `GET /api/v1/session` beside a greeting: what a check costs on top of answering at all.

use std::path::Path;

use anyhow::ensure;

use crate::{
    Measure,
    numbers::median,
    process::{On, Server},
    report::Report,
    world::{World, garbage},
    wrk::{Ask, Outcome, drive},
};

const FEW: u32 = 1_000;
const MISSES: &str = "kerria_session_cache_total{result=\"miss\"}";
const ENTRIES: &str = "kerria_session_cache_entries";

/// Measures over HTTP: each server on one core, wrk on the other, in turns.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    let few = World::prepare(&measure.folder, FEW).await?;
    let many = World::prepare(&measure.folder, measure.sessions).await?;
    let cookie = |token: &str| format!("cookie: kerria={token}");
    let (hot, garbage) = (cookie(&few.tokens()?[0]), cookie(&garbage()));
    let (hot, garbage) = (Ask::Same(Some(&hot)), Ask::Same(Some(&garbage)));
    let at_random = Ask::AtRandom(&many.tokens);

    let hello = Server::hello().await?;
    let one = Server::kerria(On::OneCore, &few.data, &[]).await?;
    let all = with_all_in_memory(&many, measure.sessions, report).await?;
    drive(&one, hot, 1).await?; // so that its session is in memory, too
    let misses = [one.metric(MISSES).await?, all.metric(MISSES).await?];
    let mut rounds = Rounds::default();
    // What is compared follows each other: the machine itself is faster in one minute than in the next.
    for _ in 0..measure.rounds {
        rounds.hello.push(drive(&hello, Ask::Same(None), measure.seconds).await?);
        rounds.hot.push(drive(&one, hot, measure.seconds).await?);
        rounds.garbage.push(drive(&one, garbage, measure.seconds).await?);
        rounds.hello_tokens.push(drive(&hello, at_random, measure.seconds).await?);
        rounds.at_random.push(drive(&all, at_random, measure.seconds).await?);
    }
    rounds.report(measure.sessions, report)?;
    let misses = [one.metric(MISSES).await? - misses[0], all.metric(MISSES).await? - misses[1]];
    report.at_most("questions to the store, garbage and one session", misses[0], 0.0, "");
    report.at_most(
        &format!("questions to the store, {} sessions at random", measure.sessions),
        misses[1],
        0.0,
        "",
    );
    // Not stopped but killed: it would write when each of its sessions was last seen, for minutes.
    drop(all);
    one.stop().await
}

#[derive(Default)]
struct Rounds {
    hello: Vec<Outcome>,
    hot: Vec<Outcome>,
    hello_tokens: Vec<Outcome>,
    at_random: Vec<Outcome>,
    garbage: Vec<Outcome>,
}

impl Rounds {
    fn report(&self, sessions: u32, report: &mut Report) -> anyhow::Result<()> {
        let refused = |rounds: &[Outcome]| rounds.iter().map(|round| round.refused).sum::<u64>();
        let asked = self.garbage.iter().map(|round| round.requests).sum::<u64>();
        ensure!(refused(&self.hot) + refused(&self.at_random) == 0, "a good session was refused");
        ensure!(refused(&self.garbage) == asked, "garbage was not refused");

        plain("axum hello, no authentication", &self.hello, report);
        plain("one session", &self.hot, report);
        let (more, share) = beside(&self.hot, &self.hello);
        report.at_most("  processor time more than hello", more, 1.0, "µs");
        report.at_least("  requests per second, of hello's", share, 90.0, "%");

        plain("axum hello, with the same cookies at random (ignored)", &self.hello_tokens, report);
        // Every minute the server also writes when each of them was last seen, on the same core.
        plain(
            &format!("{sessions} sessions at random, \"last seen\" written every minute"),
            &self.at_random,
            report,
        );
        let (more, share) = beside(&self.at_random, &self.hello_tokens);
        report.note("  processor time more than hello", more, "µs");
        report.note("  requests per second, of hello's", share, "%");

        plain("garbage (a wrong tag), answered 401", &self.garbage, report);
        let (more, _) = beside(&self.garbage, &self.hot);
        report.at_most("  processor time more than a valid session", more, 0.0, "µs");
        Ok(())
    }
}

fn plain(what: &str, rounds: &[Outcome], report: &mut Report) {
    let of = |figure: fn(&Outcome) -> f64| median(rounds.iter().map(figure));
    report.note(&format!("GET, {what}: requests per second"), of(|round| round.per_second), "");
    report.note("  processor time", of(|round| round.cpu), "µs");
    report.note("  p50", of(|round| round.p50), "ms");
    report.note("  p99", of(|round| round.p99), "ms");
}

/// How much more processor time a request takes, and how many per cent of the requests are answered; each a median of
/// comparisons within a round.
fn beside(rounds: &[Outcome], ceiling: &[Outcome]) -> (f64, f64) {
    let pairs = || rounds.iter().zip(ceiling);
    let more = median(pairs().map(|(round, ceiling)| round.cpu - ceiling.cpu));
    (more, median(pairs().map(|(round, ceiling)| 100.0 * round.per_second / ceiling.per_second)))
}

/// A server that holds all sessions of `world` in memory, because each was used once.
async fn with_all_in_memory(world: &World, sessions: u32, report: &mut Report) -> anyhow::Result<Server> {
    // Shards fill unevenly.
    let room = format!("session.cache_entries={}", sessions + sessions / 8 + 1_000);
    let server = Server::kerria(On::OneCore, &world.data, &[&room]).await?;
    let before = server.resident()?;
    let mut used = 0;
    while used < u64::from(sessions) {
        used += drive(&server, Ask::InOrder(Path::new(&world.tokens), used), 5).await?.requests;
    }
    let entries = server.metric(ENTRIES).await?;
    ensure!(entries >= f64::from(sessions), "only {entries} of {sessions} sessions are in memory");
    let grown = (server.resident()? - before) as f64 / entries;
    report.note("memory of the whole server per session, after each was used once", grown, "bytes");
    Ok(server)
}
