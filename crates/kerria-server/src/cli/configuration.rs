//! `kerria config`.

use serde_json::json;

use super::{
    args::ConfigCommand,
    failure::Failure,
    out::{Out, Paint},
    table,
};
use crate::config::{Problem, Problems, Sources, Survey, explain};

pub(super) fn run(command: ConfigCommand, sources: &Sources, out: &mut Out) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check => check(&Survey::of(sources), out),
        ConfigCommand::Sample => out.text(&explain::sample()),
        ConfigCommand::Explain { markdown: true, .. } => out.text(&explain::markdown()),
        ConfigCommand::Explain { key, .. } => explain_it(&Survey::of(sources), key.as_deref(), out),
    }
}

fn check(survey: &Survey, out: &mut Out) -> Result<(), Failure> {
    let problems = &survey.problems;
    if out.json {
        out.document(&json!({
            "ok": problems.is_empty(),
            "file": survey.file,
            "problems": problems.iter().map(document).collect::<Vec<_>>(),
        }))?;
    } else if problems.is_empty() {
        let set = survey.values().iter().filter(|value| survey.is_set(value.setting.key)).count();
        let file = match &survey.file {
            Some(path) => format!("The file is {}.", path.display()),
            None => "There is no file.".to_owned(),
        };
        let set = match set {
            0 => "Everything is at its default.".to_owned(),
            1 => "1 setting is set.".to_owned(),
            set => format!("{set} settings are set."),
        };
        out.line(&format!("The configuration is good. {file} {set}"))?;
    } else {
        out.line(&sentence(&Problems(problems.clone()).to_string()))?;
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::Found) }
}

fn document(problem: &Problem) -> serde_json::Value {
    json!({
        "source": problem.place.word(),
        "place": problem.place.to_string(),
        "key": problem.key,
        "message": problem.message,
    })
}

fn explain_it(survey: &Survey, key: Option<&str>, out: &mut Out) -> Result<(), Failure> {
    if out.json {
        out.document(&explain::json(survey, key).map_err(anyhow::Error::msg)?)?;
    } else if let Some(key) = key {
        out.text(&explain::explain(survey, key).map_err(anyhow::Error::msg)?)?;
    } else {
        for (title, rows) in explain::overview(survey) {
            let title = out.paint(Paint::Strong, title);
            out.line(&title)?;
            for line in table::lines(&rows) {
                out.line(&format!("  {line}"))?;
            }
            out.line("")?;
        }
        out.line("`kerria config explain KEY` says more about a setting.")?;
    }
    if !survey.problems.is_empty() {
        out.note(&format!("\n{}", sentence(&Problems(survey.problems.clone()).to_string())));
    }
    Ok(())
}

/// `text` with a capital letter.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::out::tests::Paper, config::Flag};

    fn checked(flags: Vec<Flag>, json: bool) -> (String, bool) {
        let paper = Paper::default();
        let survey = Survey::of(&Sources { folder: "/nonexistent".into(), flags, ..Sources::default() });
        let outcome = check(&survey, &mut paper.out(json));
        (paper.read(), outcome.is_ok())
    }

    #[test]
    fn a_check_says_that_all_is_good_or_all_that_is_not() {
        assert_eq!(
            checked(vec![], false),
            ("The configuration is good. There is no file. Everything is at its default.\n".to_owned(), true)
        );
        assert_eq!(
            checked(vec![Flag::set("session.fresh_for", "0s"), Flag::named("--listen", "listen", "x")], false),
            (
                "The configuration has 2 problems:\n  \
                 --listen: \"x\" is not an IP address with a port: write 127.0.0.1:8080 for this machine only, \
                 0.0.0.0:8080 or [::]:8080 for all its addresses\n  \
                 --set session.fresh_for: 0s is too short: it must be at least 1s\n"
                    .to_owned(),
                false
            )
        );
        let (document, is_good) = checked(vec![Flag::set("sesion.fresh_for", "5m")], true);
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!((document["ok"].as_bool(), is_good), (Some(false), false));
        assert_eq!(document["problems"][0]["key"], "sesion.fresh_for");
    }
}
