//! Looking at a server: whether sessions can be kept in it, and what an operator should know.

use std::sync::Arc;

use redis::cmd;

use super::{
    ExaminedSessions, RedisError, RedisOptions,
    connection::{Line, Servers, field},
    errors::store_error,
};

/// The oldest versions that will do.
const REDIS: u32 = 7;
const VALKEY: u32 = 8;

/// Looks at the server, and changes nothing. Refuses one in which sessions cannot be kept.
pub(super) async fn examine(servers: &Arc<Servers>) -> Result<ExaminedSessions, RedisError> {
    let place = servers.options.place();
    let refused = |error| RedisError::server(&place, error);
    let line = servers.open(None).await.map_err(refused)?;
    let info = |section| {
        let line = &line;
        async move { line.ask::<String>(cmd("INFO").arg(section)).await.map_err(store_error) }
    };
    let server = info("server").await.map_err(refused)?;
    let replication = info("replication").await.map_err(refused)?;
    let version = version(&place, &server)?;
    if field(&server, "run_id").is_none() || field(&replication, "master_replid").is_none() {
        return Err(RedisError::Unnamed { place });
    }
    let mut warnings = Vec::new();
    settings(&place, &line, &mut warnings).await?;
    if servers.options.is_in_the_clear() {
        warnings.push(
            "it is on another machine, and what is sent there is not encrypted: write rediss:// in its URL"
                .to_owned(),
        );
    }
    Ok(ExaminedSessions { place, version, warnings })
}

fn version(place: &str, info: &str) -> Result<String, RedisError> {
    // Valkey says that it is Redis 7.2, too.
    let (name, version, oldest) = match field(info, "valkey_version") {
        Some(version) => ("Valkey", version, VALKEY),
        None => ("Redis", field(info, "redis_version").unwrap_or("of no version"), REDIS),
    };
    let found = format!("{name} {version}");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= oldest) {
        Ok(found)
    } else {
        Err(RedisError::Old { place: place.to_owned(), found })
    }
}

async fn settings(place: &str, line: &Line, warnings: &mut Vec<String>) -> Result<(), RedisError> {
    let setting = |name: &'static str| async move {
        line.ask::<Vec<String>>(cmd("CONFIG").arg("GET").arg(name)).await.ok()?.pop()
    };
    let Some(policy) = setting("maxmemory-policy").await else {
        warnings.push(
            "it does not show its settings: make sure that maxmemory-policy is noeviction, and that it keeps what it has answered \
             (appendonly yes, appendfsync always)"
                .to_owned(),
        );
        return Ok(());
    };
    if policy != "noeviction" {
        return Err(RedisError::Evicts { place: place.to_owned(), policy });
    }
    let (append, sync, save) =
        (setting("appendonly").await, setting("appendfsync").await, setting("save").await);
    if append.as_deref() != Some("yes") {
        warnings.push(match save.as_deref() {
            None | Some("") => {
                "it keeps nothing on the disk: a restart signs everybody out (set appendonly to yes)".to_owned()
            }
            Some(_) => "it writes to the disk now and then only: after a crash, sessions of the last minutes are gone, and ended ones \
                        of the last minutes may be back (set appendonly to yes, and appendfsync to always)"
                .to_owned(),
        });
    } else if sync.as_deref() != Some("always") {
        warnings.push(
            "it answers before what it was told is on the disk: after a crash of its machine, sessions of the last second are gone, and \
             ended ones may be back (set appendfsync to always)"
                .to_owned(),
        );
    }
    Ok(())
}

impl RedisOptions {
    /// Where the servers are, ready to be reached.
    pub(super) fn servers(self) -> Result<Arc<Servers>, RedisError> {
        Servers::new(self).map(Arc::new)
    }
}
