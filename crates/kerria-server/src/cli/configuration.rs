//! `kerria config`.

use serde_json::json;

use super::{
    args::ConfigCommand,
    failure::Failure,
    out::{Out, Paint},
    table,
};
use crate::{
    config::{Problem, Problems, Sources, Survey, explain},
    registration,
};

pub(super) fn run(command: ConfigCommand, sources: &Sources, out: &mut Out) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check => check(&Survey::of(sources), out),
        ConfigCommand::Sample => out.text(&explain::sample()),
        ConfigCommand::Explain { markdown: true, .. } => out.text(&explain::markdown()),
        ConfigCommand::Explain { key, .. } => explain_it(&Survey::of(sources), key.as_deref(), out),
    }
}

fn check(survey: &Survey, out: &mut Out) -> Result<(), Failure> {
    let mut problems = survey.problems.clone();
    problems.extend(problems_of_clients(survey));
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

/// What a start would find wrong with the file of clients, if one is set.
fn problems_of_clients(survey: &Survey) -> Vec<Problem> {
    const KEY: &str = "clients_file";
    let Some(path) = &survey.draft().clients_file else { return Vec::new() };
    let found = registration::file::problems(path, &survey.draft().tokens);
    let told = |message| Problem::at(survey.place(KEY), KEY, format!("in {}: {message}", path.display()));
    found.into_iter().map(told).collect()
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
        let rules = explain::rules(survey);
        if !rules.is_empty() {
            let title = out.paint(Paint::Strong, "Rules of forward-auth");
            out.line(&title)?;
            table::lines(&rules).iter().try_for_each(|line| out.line(&format!("  {line}")))?;
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

    #[test]
    fn a_check_reads_the_file_of_clients_as_a_start_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clients.toml");
        let flags =
            || vec![Flag::set("clients_file", path.to_str().unwrap()), Flag::set("session.fresh_for", "0s")];
        let told = |lines: &[&str]| {
            let lines =
                lines.iter().map(|line| format!("\n  --set clients_file: in {}: {line}", path.display()));
            let own = "\n  --set session.fresh_for: 0s is too short: it must be at least 1s";
            let count = lines.len() + 1;
            format!("The configuration has {count} problems:{own}{}\n", lines.collect::<String>())
        };
        let missing = "cannot read it: No such file or directory (os error 2)";
        assert_eq!(checked(flags(), false), (told(&[missing]), false));
        std::fs::write(&path, "[clients.a]\nscope = 7\naudiences = []\n[clients.b]\naudiences = ['x']\n")
            .unwrap();
        let empty =
            "clients.a.audiences: Name 1 to 32 audiences; the first one counts where a request names none.";
        assert_eq!(checked(flags(), false), (told(&["clients.a.scope: write it in quotes", empty]), false));
        let (document, _) = checked(flags(), true);
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(document["problems"].as_array().unwrap().len(), 3);
        assert_eq!(document["problems"][2]["key"], "clients_file");
        std::fs::write(&path, "[clients.b]\naudiences = ['x']\n").unwrap();
        let good = checked(vec![Flag::set("clients_file", path.to_str().unwrap())], false);
        assert!(good.1 && good.0.starts_with("The configuration is good."), "{}", good.0);
    }
}
