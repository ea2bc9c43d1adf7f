//! `kerria keys`.

use axum::http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    answers::{self, Key, Keys},
    args::KeysCommand,
    failure::Failure,
    operator::Operator,
    out::Out,
    prompt, table,
    times::{in_words, now},
};

pub(super) async fn run(command: KeysCommand, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    match command {
        KeysCommand::List => show(&operator.ask(Method::GET, "keys", None).await?, out),
        KeysCommand::Rotate { revoke: true, confirmation, .. } => {
            prompt::confirm("All sessions and tokens of everyone will end.", confirmation.yes)?;
            show(&operator.ask(Method::POST, "keys/reset", Some(&json!({}))).await?, out)?;
            out.note("All keys are new, and everything that was signed in or issued before has ended.");
            Ok(())
        }
        KeysCommand::Rotate { algorithm, .. } => {
            let body = algorithm.map_or_else(|| json!({}), |algorithm| json!({ "algorithm": algorithm }));
            show(&operator.ask(Method::POST, "keys/rotate", Some(&body)).await?, out)
        }
    }
}

fn show(answer: &Value, out: &mut Out) -> Result<(), Failure> {
    if out.json {
        return out.document(answer);
    }
    let Keys { keys } = answers::read(answer)?;
    table::lines(&rows(&keys, now())).iter().try_for_each(|line| out.line(line))
}

fn rows(keys: &[Key], now: Timestamp) -> Vec<[String; 5]> {
    let head = ["ALGORITHM", "STATE", "SINCE", "MADE", "KEY ID"].map(ToOwned::to_owned);
    let row = |key: &Key| {
        [
            key.algorithm.clone(),
            key.state.clone(),
            in_words(now, &key.since),
            in_words(now, &key.created_at),
            key.kid.clone(),
        ]
    };
    std::iter::once(head).chain(keys.iter().map(row)).collect()
}
