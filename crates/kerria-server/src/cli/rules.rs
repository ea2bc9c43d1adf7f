//! `kerria rules`.

use axum::http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    answers,
    args::RulesCommand,
    failure::Failure,
    operator::Operator,
    out::{Out, Paint},
};

#[derive(Deserialize)]
struct Explanation {
    outcome: String,
    why: String,
    number: Option<u64>,
    rule: Option<String>,
    place: Option<String>,
}

pub(super) async fn run(command: RulesCommand, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let RulesCommand::Test { url, method, user } = command;
    let body = json!({ "url": url, "method": method, "user": user });
    let answer = operator.ask(Method::POST, "rules/test", Some(&body)).await?;
    if out.json {
        return out.document(&answer);
    }
    let told: Explanation = answers::read(&answer)?;
    let outcome = out.paint(Paint::Strong, outcome(&told.outcome));
    out.line(&format!("{outcome} {}", told.why))?;
    lines(&told).iter().try_for_each(|line| out.line(line))
}

fn outcome(word: &str) -> &str {
    match word {
        "passes" => "It passes.",
        "sign_in" => "Signing in comes first.",
        "forbidden" => "It is forbidden.",
        _ => "It is refused, whoever sends it.",
    }
}

fn lines(told: &Explanation) -> Vec<String> {
    let (Some(number), Some(rule)) = (told.number, &told.rule) else { return Vec::new() };
    let place = told.place.as_deref().map(|place| format!(", {place}")).unwrap_or_default();
    vec![format!("Rule {number}{place}: {rule}")]
}
