//! Clients.

use async_trait::async_trait;
use kerria_core::{
    AccessTokenForm, Cause, Client, ClientAuthentication, ClientId, Selector, Timestamp, TokenHash,
    store::{Clients, StoreError},
};

use super::{Ask, Driver, Result, Row, SqlStore, Step, ending, rows};
use crate::errand::Order;

const REFERENCE: &str = "reference";

macro_rules! select_clients {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, secret_hash, jwks, grants, scope, audiences, access_tokens, created_at FROM client ",
            $rest
        )
    };
}

#[async_trait]
impl<D: Driver> Clients for SqlStore<D> {
    async fn add_client(&self, client: &Client) -> Result<bool, StoreError> {
        let client = client.clone();
        self.write(move |step| {
            put(
                step,
                &client,
                "INSERT INTO client (id, name, authentication, secret_hash, jwks, grants, scope, audiences, \
                 access_tokens, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
            )
        })
        .await
    }

    async fn client(&self, id: ClientId) -> Result<Option<Client>, StoreError> {
        self.read(move |asked| asked.one(select_clients!("WHERE id = ?1"), [id.as_str()], client)).await
    }

    async fn clients(&self) -> Result<Vec<Client>, StoreError> {
        self.read(|asked| asked.all(select_clients!("ORDER BY id"), (), client)).await
    }

    async fn change_client(&self, client: &Client) -> Result<bool, StoreError> {
        let client = client.clone();
        self.write(move |step| {
            put(
                step,
                &client,
                "UPDATE client SET name = ?2, authentication = ?3, \
                 secret_hash = CASE WHEN ?3 = 'client_secret' AND authentication = 'client_secret' \
                     THEN secret_hash ELSE ?4 END, \
                 jwks = ?5, grants = ?6, scope = ?7, audiences = ?8, access_tokens = ?9, created_at = ?10 \
                 WHERE id = ?1",
            )
        })
        .await
    }

    async fn set_client_secret(&self, id: ClientId, secret: &TokenHash) -> Result<bool, StoreError> {
        let secret = *secret;
        self.write(move |step| {
            let rows = step.change(
                "UPDATE client SET secret_hash = ?2 WHERE id = ?1 AND authentication = 'client_secret'",
                (id.as_str(), secret.as_bytes()),
            )?;
            Ok(rows == 1)
        })
        .await
    }

    async fn remove_client(&self, id: ClientId, now: Timestamp) -> Result<bool, StoreError> {
        self.write(move |step| remove(step, id, now)).await
    }
}

pub(crate) fn remove(step: &mut Step<'_>, client: ClientId, now: Timestamp) -> Result<bool> {
    let removed = step.change("DELETE FROM client WHERE id = ?1", [client.as_str()])?;
    if removed == 0 {
        step.rest_on_log()?;
        return Ok(false);
    }
    let order = Order::End { selector: Selector::Client { client }, cause: Cause::Operator, keep: None };
    step.order(order, &ending::line_about(Cause::Operator, now), now)?;
    Ok(true)
}

fn put(step: &Step<'_>, client: &Client, sql: &str) -> Result<bool> {
    let (authentication, secret, jwks) = match &client.authentication {
        ClientAuthentication::Public => ("none", None, None),
        ClientAuthentication::Secret(hash) => ("client_secret", Some(hash.as_bytes()), None),
        ClientAuthentication::PrivateKeyJwt(jwks) => ("private_key_jwt", None, Some(jwks.as_str())),
    };
    let access_tokens = match client.access_tokens {
        AccessTokenForm::Jwt(algorithm) => algorithm.as_str(),
        AccessTokenForm::Reference => REFERENCE,
    };
    let grants = words(client.grants.iter().map(|grant| grant.as_str()));
    let audiences = words(client.audiences.iter().map(|audience| audience.as_str()));
    let rows = step.change(
        sql,
        (
            client.id.as_str(),
            &client.name,
            authentication,
            secret,
            jwks,
            grants,
            client.scope.to_string(),
            audiences,
            access_tokens,
            client.created_at.as_millis(),
        ),
    )?;
    Ok(rows == 1)
}

fn words<'w>(words: impl Iterator<Item = &'w str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

fn client(row: &dyn Row) -> Result<Client> {
    Ok(Client {
        id: rows::text(row, 0)?,
        name: row.get(1)?,
        authentication: authentication(row)?,
        grants: rows::parsed(row, 4, |grants| grants.split_ascii_whitespace().map(rows::named).collect())?,
        scope: rows::text(row, 5)?,
        audiences: rows::parsed(row, 6, |all| all.split_ascii_whitespace().map(str::parse).collect())?,
        access_tokens: match row.text(7)? {
            REFERENCE => AccessTokenForm::Reference,
            _ => AccessTokenForm::Jwt(rows::word(row, 7)?),
        },
        created_at: rows::instant(row, 8)?,
    })
}

fn authentication(row: &dyn Row) -> Result<ClientAuthentication> {
    // One of the two, or none.
    let secret = row.get::<Option<_>>(2)?.map(TokenHash::from_bytes);
    let jwks = row.get::<Option<_>>(3)?;
    Ok(match (secret, jwks) {
        (Some(secret), _) => ClientAuthentication::Secret(secret),
        (None, Some(jwks)) => ClientAuthentication::PrivateKeyJwt(jwks),
        (None, None) => ClientAuthentication::Public,
    })
}

/// Whether something may be issued to this client: it has not been removed. This installation itself needs no
/// registration.
pub(crate) fn may_be_issued_to(asked: &dyn Ask, client: ClientId) -> Result<bool> {
    let registered = "SELECT EXISTS (SELECT 1 FROM client WHERE id = ?1)";
    Ok(client == ClientId::OWN || asked.the(registered, [client.as_str()], |row| row.get(0))?)
}
