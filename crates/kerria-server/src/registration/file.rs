//! The file of clients (setting `clients_file`): read at the start, and then holds for the clients that it names.
//!
//! A client of the file can be changed through the operator's API like every other; with the next start the file holds again.
//! One that is taken out of the file stays registered until it is removed.

use std::{fmt, fs, path::Path};

use anyhow::Context;
use kerria_core::{Secret, Store, Timestamp, TokenHash};
use toml::{Table, Value};
use tracing::info;

use super::{Description, Registration, SECRET_CHARACTERS, begin, read};
use crate::{
    config::{TokenSettings, likeliest},
    field::Field,
    keys::Keyring,
    oauth::client_authentication::secret_hash,
};

/// The one table of the file.
const CLIENTS: &str = "clients";

/// What may be said of a client.
const KEYS: [&str; 8] =
    ["name", "authentication", "secret_file", "jwks_file", "grants", "scope", "audiences", "access_tokens"];

/// Everything that is wrong with the file, a line each.
#[derive(Debug)]
struct Problems(Vec<String>);

/// A client of the file, and the hash of its secret if it has one.
type Listed = (Registration, Option<TokenHash>);

/// Registers the clients of the file, and changes those that are registered differently.
///
/// # Errors
/// A message for the operator that says everything that is wrong, with nothing done yet; or if the store fails.
pub async fn apply(
    path: &Path,
    store: &dyn Store,
    keyring: &Keyring,
    settings: &TokenSettings,
    now: Timestamp,
) -> anyhow::Result<()> {
    let listed = listed(path, settings)
        .with_context(|| format!("the file of clients {} (setting clients_file)", path.display()))?;
    for (registration, secret) in listed {
        let id = registration.id;
        begin(keyring, registration.access_tokens, now).await?;
        let registered = store.client(id).await?;
        let created_at = registered.as_ref().map_or(now, |client| client.created_at);
        let client = registration.client(secret.unwrap_or(TokenHash::from_bytes([0; 32])), created_at);
        match registered {
            Some(registered) if registered == client => {}
            Some(_) => {
                store.change_client(&client).await?;
                if let Some(secret) = secret {
                    store.set_client_secret(id, &secret).await?;
                }
                info!(client.id = %id, "client {id} was changed to what the file says");
            }
            None => {
                store.add_client(&client).await?;
                info!(client.id = %id, "client {id} was registered as the file says");
            }
        }
    }
    Ok(())
}

/// Everything that is wrong with the file, a sentence each; nothing is done.
#[must_use]
pub fn problems(path: &Path, settings: &TokenSettings) -> Vec<String> {
    listed(path, settings).err().map(|Problems(problems)| problems).unwrap_or_default()
}

fn listed(path: &Path, settings: &TokenSettings) -> Result<Vec<Listed>, Problems> {
    let text = fs::read_to_string(path).map_err(|why| Problems(vec![format!("cannot read it: {why}")]))?;
    clients(&text, settings)
}

fn clients(text: &str, settings: &TokenSettings) -> Result<Vec<Listed>, Problems> {
    let document: Table = text
        .parse()
        .map_err(|bad: toml::de::Error| Problems(vec![format!("this is not TOML: {}", bad.message())]))?;
    let (mut listed, mut problems) = (Vec::new(), Vec::new());
    for (key, value) in &document {
        match value {
            Value::Table(clients) if key == CLIENTS => {
                for (id, value) in clients {
                    listed.extend(client(id, value, settings, &mut problems));
                }
            }
            _ => problems.push(format!(
                "{key}: there is no such key; write [clients.NAME] and what holds for it below it"
            )),
        }
    }
    if problems.is_empty() { Ok(listed) } else { Err(Problems(problems)) }
}

/// Reads one client, or adds what is wrong with it.
fn client(id: &str, value: &Value, settings: &TokenSettings, problems: &mut Vec<String>) -> Option<Listed> {
    let before = problems.len();
    let Some(table) = value.as_table() else {
        problems.push(format!("clients.{id}: write [clients.{id}] and what holds for it below it"));
        return None;
    };
    for key in table.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        let guess = likeliest(key, KEYS.iter().map(|key| (*key).to_owned()));
        let guess = guess
            .map_or_else(|| format!("these are: {}", KEYS.join(", ")), |key| format!("did you mean {key}?"));
        problems.push(format!("clients.{id}.{key}: there is no such key; {guess}"));
    }
    let mut reader = Reader { id, table, problems };
    let secret = reader.file("secret_file").map(|text| Secret::from(text.trim_end_matches(['\r', '\n'])));
    let description = Description {
        name: reader.text("name"),
        authentication: reader.text("authentication"),
        jwks: reader.file("jwks_file"),
        grants: reader.list("grants"),
        scope: reader.text("scope"),
        audiences: reader.list("audiences").unwrap_or_default(),
        access_tokens: reader.text("access_tokens"),
    };
    let needs_secret = description.authentication.as_deref() == Some("client_secret");
    if let Some(message) = secret_is_wrong(needs_secret, table.contains_key("secret_file"), secret.as_ref()) {
        reader.complain("secret_file", message);
    }
    match read(id, description, settings) {
        Ok(registration) if problems.len() == before => {
            Some((registration, secret.map(|text| secret_hash(text.expose()))))
        }
        Ok(_) => None,
        Err(wrong) => {
            // In the file, the JWK Set is in a file of its own, and the identifier is in the heading.
            let key = |member| match member {
                Field::Jwks => ".jwks_file".to_owned(),
                Field::Id => String::new(),
                member => format!(".{}", member.as_str()),
            };
            problems.extend(
                wrong.iter().map(|wrong| format!("clients.{id}{}: {}", key(wrong.member), wrong.message)),
            );
            None
        }
    }
}

fn secret_is_wrong(needed: bool, named: bool, secret: Option<&Secret<String>>) -> Option<&'static str> {
    let is_good =
        |text: &str| text.len() >= SECRET_CHARACTERS && text.bytes().all(|byte| byte.is_ascii_graphic());
    match (needed, named, secret) {
        (true, false, _) => Some("with client_secret, a file with its secret is needed"),
        (false, true, _) => Some("a secret is for authentication = \"client_secret\" only"),
        (true, true, Some(secret)) if !is_good(secret.expose()) => Some(
            "the secret needs at least 32 characters of plain ASCII without spaces: make one with `openssl rand -base64 32`",
        ),
        _ => None,
    }
}

/// Reads the values of one client.
struct Reader<'r> {
    id: &'r str,
    table: &'r Table,
    problems: &'r mut Vec<String>,
}

impl Reader<'_> {
    fn complain(&mut self, key: &str, message: &str) {
        self.problems.push(format!("clients.{}.{key}: {message}", self.id));
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.table.get(key)?;
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            self.complain(key, "write it in quotes");
        }
        text
    }

    fn list(&mut self, key: &str) -> Option<Vec<String>> {
        let value = self.table.get(key)?;
        let texts = value.as_array().and_then(|items| {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        if texts.is_none() {
            self.complain(key, "write a list, as in [\"one\", \"two\"]");
        }
        texts
    }

    fn file(&mut self, key: &str) -> Option<String> {
        let path = self.text(key)?;
        match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(why) => {
                self.complain(key, &format!("cannot read the file {path}: {why}"));
                None
            }
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("there is a problem:")?,
            count => write!(f, "there are {count} problems:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}
