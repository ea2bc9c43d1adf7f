//! `kerria doctor`: looks for everything that could be wrong here.

mod clock;
mod database;
mod folder;
mod postgres;
mod redis;
mod sealing;
mod serving;
mod settings;

use kerria_store::PostgresStore;
use serde_json::json;

use super::{
    failure::Failure,
    operator::Operator,
    out::{Out, Paint},
    table,
    times::now,
};
use crate::{
    app::{self, database_path, sealing_key_path},
    config::{Sources, Survey},
};
use sealing::SigningKeys;

/// What one look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// What was looked at.
    subject: &'static str,
    state: State,
    /// What was found.
    text: String,
    /// What to do about it.
    advice: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    const fn paint(self) -> Paint {
        match self {
            Self::Ok => Paint::Good,
            Self::Warn => Paint::Doubtful,
            Self::Fail => Paint::Bad,
        }
    }
}

impl Finding {
    fn ok(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, state: State::Ok, text: text.into(), advice: None }
    }

    fn warn(subject: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { subject, state: State::Warn, text: text.into(), advice: Some(advice.into()) }
    }

    fn fail(subject: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { subject, state: State::Fail, text: text.into(), advice: Some(advice.into()) }
    }
}

pub(super) async fn run(sources: &Sources, out: &mut Out) -> Result<(), Failure> {
    let findings = look(&Survey::of(sources)).await;
    print(&findings, out)?;
    let has_failed = findings.iter().any(|finding| finding.state == State::Fail);
    if has_failed { Err(Failure::Found) } else { Ok(()) }
}

/// Looks at everything. What the configuration does not say because it is wrong is looked at with the default.
async fn look(survey: &Survey) -> Vec<Finding> {
    let config = survey.draft();
    let database = database_path(&config.data_dir);
    let running = Operator::running(&config.data_dir).await;
    let is_running = matches!(running, Ok(Some(_)));
    let mut findings = settings::configuration(survey);
    findings.extend(folder::look(&config.data_dir));
    let sealing_key = sealing_key_path(config);
    let mut groups = None;
    match app::postgres(&config.database) {
        Ok(None) => {
            findings.push(database::look(&database));
            groups = kerria_store::groups_in_use(&database).ok();
            let keys = if database.exists() { SigningKeys::Perhaps } else { SigningKeys::Nowhere };
            findings.push(sealing::look(&sealing_key, &keys));
        }
        Ok(Some(options)) => {
            let examined = PostgresStore::examine(options).await;
            findings.extend(postgres::judge(&examined));
            let keys = examined
                .as_ref()
                .map_or(SigningKeys::Perhaps, |found| SigningKeys::These(&found.signing_keys));
            findings.push(sealing::look(&sealing_key, &keys));
            groups = examined.ok().and_then(|found| found.groups);
        }
        Err(why) => findings.extend(postgres::judge(&Err(why))),
    }
    match app::redis(&config.redis) {
        Ok(None) => {}
        Ok(Some(options)) => findings.extend(redis::judge(&kerria_store::examine_sessions(options).await)),
        Err(why) => findings.extend(redis::judge(&Err(why))),
    }
    findings.push(clock::look(&database, now()));
    findings.push(serving::checkers(&running, config).await);
    findings.push(serving::server(running).await);
    findings.push(serving::listen(config.listen, is_running));
    findings.push(settings::public_url(config));
    findings.push(settings::proxies(config));
    findings.extend(settings::forward_auth(config));
    findings.extend(groups.and_then(|groups| settings::groups(config, &groups)));
    findings.push(settings::passwords(&config.password));
    findings.push(settings::operator_token(config));
    findings
}

/// With all that is behind it. No part of it holds a password.
fn in_full(why: &dyn std::error::Error) -> String {
    let mut text = why.to_string();
    let mut cause = why.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}

fn print(findings: &[Finding], out: &mut Out) -> Result<(), Failure> {
    if out.json {
        let findings = findings.iter().map(|Finding { subject, state, text, advice }| {
            json!({ "subject": subject, "state": state.word(), "text": text, "advice": advice })
        });
        return out.document(&json!({ "findings": findings.collect::<Vec<_>>() }));
    }
    let rows: Vec<_> =
        findings.iter().map(|finding| [finding.subject.to_owned(), finding.text.clone()]).collect();
    for (finding, line) in findings.iter().zip(table::lines(&rows)) {
        let word = out.paint(finding.state.paint(), &format!("{:<4}", finding.state.word()));
        out.line(&format!("{word}  {line}"))?;
        if let Some(advice) = &finding.advice {
            out.line(&format!("      -> {advice}"))?;
        }
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    out.line("")?;
    out.line(&match (count(State::Fail), count(State::Warn)) {
        (0, 0) => "All is well.".to_owned(),
        (0, warnings) => format!("Nothing is broken. Worth a look: {warnings}."),
        (failures, warnings) => format!("Broken: {failures}. Worth a look: {warnings}."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::out::tests::Paper;

    #[test]
    fn findings_are_told_with_what_to_do() {
        let findings = [
            Finding::ok("data folder", "there"),
            Finding::warn("disk", "nearly full", "free some space"),
            Finding::fail("clock", "in 1970", "set it"),
        ];
        let paper = Paper::default();
        print(&findings, &mut paper.out(false)).unwrap();
        assert_eq!(
            paper.read(),
            "ok    data folder  there\n\
             warn  disk         nearly full\n      -> free some space\n\
             fail  clock        in 1970\n      -> set it\n\n\
             Broken: 1. Worth a look: 1.\n"
        );
        let paper = Paper::default();
        print(&findings, &mut paper.out(true)).unwrap();
        let document: serde_json::Value = serde_json::from_str(&paper.read()).unwrap();
        assert_eq!(document["findings"][2]["state"], "fail");
        assert_eq!(document["findings"][0]["advice"], serde_json::Value::Null);
    }

    #[tokio::test]
    async fn a_place_where_nothing_is_yet_is_not_broken() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data").display().to_string();
        let sources = Sources {
            folder: folder.path().to_owned(),
            flags: vec![
                crate::config::Flag::set("data_dir", &data_dir),
                crate::config::Flag::set("listen", "127.0.0.1:0"),
            ],
            ..Sources::default()
        };
        let broken: Vec<_> = look(&Survey::of(&sources))
            .await
            .into_iter()
            .filter(|finding| finding.state == State::Fail)
            .collect();
        assert_eq!(broken, []);
        assert!(!folder.path().join("data").exists(), "looking creates nothing");
    }
}
