//! `kerria client`.

use std::{fs, path::Path};

use anyhow::Context;
use axum::http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    answers::{self, Client, Clients, Ended, count},
    args::{ClientCommand, Described, WhichClient},
    failure::Failure,
    operator::{Missing, Operator, segment},
    out::Out,
    prompt, table,
    times::{in_words, now},
};

/// What is short on the command line, in the standard's words.
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

impl ClientCommand {
    /// Whether it makes sense where nothing is yet.
    pub(super) const fn missing(&self) -> Missing {
        match self {
            Self::Add { .. } => Missing::Create,
            _ => Missing::Refuse,
        }
    }
}

pub(super) async fn run(command: ClientCommand, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    match command {
        ClientCommand::Add { which, described } => add(&which, &described, operator, out).await,
        ClientCommand::List => list(operator, out).await,
        ClientCommand::Show(which) => show(&which, operator, out).await,
        ClientCommand::Change { which, described } => change(&which, &described, operator, out).await,
        ClientCommand::Remove { which, confirmation } => {
            remove(&which, confirmation.yes, operator, out).await
        }
        ClientCommand::NewSecret(which) => new_secret(&which, operator, out).await,
    }
}

async fn add(
    which: &WhichClient,
    described: &Described,
    operator: &Operator,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut client = json!({ "id": which.client, "audiences": [] });
    described.put_into(&mut client)?;
    let answer = operator.ask(Method::POST, "clients", Some(&client)).await?;
    told(&format!("Registered {}.", which.client), &answer, out)
}

async fn list(operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let answer = operator.ask(Method::GET, "clients", None).await?;
    if out.json {
        return out.document(&answer);
    }
    let Clients { clients } = answers::read(&answer)?;
    if clients.is_empty() {
        return out.line("No clients. Register one with `kerria client add NAME --audience URL`.");
    }
    table::lines(&rows(&clients, now())).iter().try_for_each(|line| out.line(line))
}

fn rows(clients: &[Client], now: Timestamp) -> Vec<[String; 6]> {
    let head =
        ["ID", "NAME", "AUTHENTICATION", "GRANTS", "ACCESS TOKENS", "REGISTERED"].map(ToOwned::to_owned);
    let row = |client: &Client| {
        [
            client.id.clone(),
            client.name.clone(),
            client.authentication.clone(),
            grants(client),
            client.access_tokens.clone(),
            in_words(now, &client.created_at),
        ]
    };
    std::iter::once(head).chain(clients.iter().map(row)).collect()
}

fn grants(client: &Client) -> String {
    client.grants.join(" ").replace(EXCHANGE, "token-exchange")
}

async fn show(which: &WhichClient, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let answer = operator.ask(Method::GET, &path_of(which), None).await?;
    if out.json {
        return out.document(&answer);
    }
    let client: Client = answers::read(&answer)?;
    let facts = [
        ["ID", &client.id],
        ["Name", &client.name],
        ["Authentication", &client.authentication],
        ["Grants", &grants(&client)],
        ["Scope", &client.scope],
        ["Audiences", &client.audiences.join(" ")],
        ["Access tokens", &client.access_tokens],
        ["Registered", &in_words(now(), &client.created_at)],
    ];
    let facts = facts.map(|fact| fact.map(ToOwned::to_owned));
    table::lines(&facts).iter().try_for_each(|line| out.line(line))
}

/// What is not said stays as it is.
async fn change(
    which: &WhichClient,
    described: &Described,
    operator: &Operator,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut client = operator.ask(Method::GET, &path_of(which), None).await?;
    if let Some(members) = client.as_object_mut() {
        members.remove("created_at");
        if described.authentication.as_deref().is_some_and(|method| method != "private_key_jwt") {
            members.remove("jwks");
        }
    }
    described.put_into(&mut client)?;
    let answer = operator.ask(Method::PUT, &path_of(which), Some(&client)).await?;
    told(&format!("Changed {}. What it was granted before stays granted.", which.client), &answer, out)
}

async fn remove(which: &WhichClient, yes: bool, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let client: Client = answers::read(&operator.ask(Method::GET, &path_of(which), None).await?)?;
    let what =
        format!("{} ({}) will be removed, with all sessions and tokens that it has.", client.name, client.id);
    prompt::confirm(&what, yes)?;
    let answer = operator.ask(Method::DELETE, &path_of(which), None).await?;
    let Ended { ended } = answers::read(&answer)?;
    out.done(&format!("Removed {}, and ended {}.", client.id, count(ended, "session")), &answer)
}

async fn new_secret(which: &WhichClient, operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let answer = operator.ask(Method::POST, &format!("{}/secret", path_of(which)), None).await?;
    told(&format!("{} has a new secret; the old one is over.", which.client), &answer, out)
}

/// Says what was done. A new secret is the output, alone, so that a script can take it; all else stands beside it.
fn told(sentence: &str, answer: &Value, out: &mut Out) -> Result<(), Failure> {
    match answer["secret"].as_str().filter(|_| !out.json) {
        Some(secret) => {
            out.note(&format!("{sentence} This is its secret. It is shown once:"));
            out.line(secret)
        }
        None => out.done(sentence, answer),
    }
}

fn path_of(which: &WhichClient) -> String {
    format!("clients/{}", segment(&which.client))
}

impl Described {
    /// Puts what was said into what is sent.
    fn put_into(&self, client: &mut Value) -> anyhow::Result<()> {
        let texts = [
            ("name", &self.name),
            ("authentication", &self.authentication),
            ("scope", &self.scope),
            ("access_tokens", &self.access_tokens),
        ];
        for (member, text) in texts {
            if let Some(text) = text {
                client[member] = json!(text);
            }
        }
        if !self.grants.is_empty() {
            let grants = self.grants.iter().filter(|grant| *grant != "none");
            let grants = grants.map(|grant| if grant == "token-exchange" { EXCHANGE } else { grant });
            client["grants"] = grants.collect();
        }
        if !self.audiences.is_empty() {
            client["audiences"] = json!(self.audiences);
        }
        if let Some(path) = &self.jwks_file {
            client["jwks"] = read_jwks(path)?;
        }
        Ok(())
    }
}

fn read_jwks(path: &Path) -> anyhow::Result<Value> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read the file {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("the file {} is not JSON", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_listed_in_words() {
        let clients = json!({ "clients": [
            { "id": "shop", "name": "The shop", "authentication": "client_secret",
              "grants": ["client_credentials", EXCHANGE], "scope": "", "audiences": ["https://shop.example.com"],
              "access_tokens": "EdDSA", "created_at": "2026-05-01T11:57:00Z" },
        ]});
        let Clients { clients } = answers::read(&clients).unwrap();
        assert_eq!(
            table::lines(&rows(&clients, "2026-05-01T12:00:00Z".parse().unwrap())),
            [
                "ID    NAME      AUTHENTICATION  GRANTS                             ACCESS TOKENS  REGISTERED",
                "shop  The shop  client_secret   client_credentials token-exchange  EdDSA          3 minutes ago",
            ]
        );
    }

    #[test]
    fn what_is_said_is_sent_in_the_words_of_the_standards() {
        let described = Described {
            grants: vec!["token-exchange".to_owned()],
            scope: Some("read".to_owned()),
            ..Described::default()
        };
        let mut client = json!({ "id": "shop", "audiences": ["x"], "name": "Shop" });
        described.put_into(&mut client).unwrap();
        let sent = json!({ "id": "shop", "audiences": ["x"], "name": "Shop", "grants": [EXCHANGE], "scope": "read" });
        assert_eq!(client, sent);
        Described { grants: vec!["none".to_owned()], ..Described::default() }.put_into(&mut client).unwrap();
        assert_eq!(client["grants"], json!([]));
    }
}
