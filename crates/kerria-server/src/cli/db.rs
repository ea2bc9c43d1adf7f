//! `kerria db`.

use std::path::Path;

use anyhow::{anyhow, bail};
use kerria_store::{Migrated, Moved, PostgresOptions, PostgresStore};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use super::{
    answers::count,
    args::{DbCommand, MigrateArgs},
    failure::Failure,
    out::Out,
};
use crate::{
    app::{database_path, postgres},
    config::{Config, DatabaseSettings},
};

pub(super) async fn run(command: &DbCommand, config: &Config, out: &mut Out) -> Result<(), Failure> {
    if let DbCommand::Migrate(MigrateArgs { from: Some(from), to }) = command {
        return move_to_postgres(from, to.as_deref(), config, out).await;
    }
    if let Some(options) = postgres(&config.database)? {
        return on_postgres(command, options, out).await;
    }
    let path = database_path(&config.data_dir);
    match command {
        DbCommand::Backup { to } => backup(&path, to, out),
        DbCommand::Migrate(_) => migrate(&path, out),
        DbCommand::Check => check(&path, config.redis.url.is_some(), out),
        DbCommand::WithoutRedis => {
            must_exist(&path)?;
            kerria_store::keep_sessions_here(&path)?;
            without_redis(out)
        }
    }
}

fn backup(path: &Path, to: &Path, out: &mut Out) -> Result<(), Failure> {
    must_exist(path)?;
    kerria_store::backup(path, to, |done, of| out.progress("Copying", done, of))?;
    let sentence = format!(
        "Backed up to {}. To restore it, stop the server, move {} and the files beside it that begin with its name away, \
         and put the backup in its place.",
        to.display(),
        path.display()
    );
    out.done(&sentence, &json!({ "backup": to }))
}

fn migrate(path: &Path, out: &mut Out) -> Result<(), Failure> {
    must_exist(path)?;
    migrated(kerria_store::migrate(path)?, out)
}

async fn move_to_postgres(
    from: &Path,
    to: Option<&str>,
    config: &Config,
    out: &mut Out,
) -> Result<(), Failure> {
    must_exist(from)?;
    let options = target(to, &config.database)?;
    let (tell, mut told) = unbounded_channel();
    let moving = kerria_store::move_to_postgres(from, options, move |done, of| {
        // Whoever does not look any more does not want to know.
        let _ = tell.send((done, of));
    });
    let watching = async {
        while let Some((done, of)) = told.recv().await {
            out.progress("Moving", done, of);
        }
    };
    let (moved, ()) = tokio::join!(moving, watching);
    let Moved { users, sessions, rows, to } = moved?;
    let sentence = format!(
        "Moved {}, {} and everything else to {to}: {}. Next: set database.url_file in the configuration, keep the sealing key \
         (kerria.key) where it is, and start the server. {} is only kept for you; no server uses it any more.",
        count(users, "user"),
        count(sessions, "session"),
        count(rows, "row"),
        from.display()
    );
    out.done(&sentence, &json!({ "users": users, "sessions": sessions, "rows": rows, "to": to }))
}

fn target(to: Option<&str>, configured: &DatabaseSettings) -> anyhow::Result<PostgresOptions> {
    let Some(url) = to else {
        return postgres(configured)?.ok_or_else(|| {
            anyhow!("say where to move it: set database.url_file in the configuration, or give --to postgres://user@host/database")
        });
    };
    let options = PostgresOptions::parse(url)?;
    if options.has_password() {
        bail!(
            "other users of this machine can read a command line: write the URL with its password to a file, and name that in \
               database.url_file"
        );
    }
    Ok(match &configured.ca_file {
        Some(authorities) => options.authorities(authorities),
        None => options,
    })
}

/// PostgreSQL has better tools than we could write.
async fn on_postgres(command: &DbCommand, options: PostgresOptions, out: &mut Out) -> Result<(), Failure> {
    match command {
        DbCommand::Migrate(_) => migrated(PostgresStore::migrate(options).await?, out),
        DbCommand::Backup { .. } => bail_out(
            "the database is PostgreSQL's: back it up with `pg_dump --no-unlogged-table-data`, or with `pg_basebackup`",
        ),
        DbCommand::WithoutRedis => {
            PostgresStore::keep_sessions_here(options).await?;
            without_redis(out)
        }
        DbCommand::Check => bail_out("the database is PostgreSQL's: look for damage with `pg_amcheck`"),
    }
}

fn bail_out(why: &'static str) -> Result<(), Failure> {
    Err(anyhow!(why).into())
}

fn migrated(Migrated { from, to }: Migrated, out: &mut Out) -> Result<(), Failure> {
    let sentence = if from == to {
        format!("The database has schema version {to} already.")
    } else {
        format!("Migrated the database from schema version {from} to {to}.")
    };
    out.done(&sentence, &json!({ "from": from, "to": to }))
}

fn without_redis(out: &mut Out) -> Result<(), Failure> {
    let sentence = "The sessions are kept in the database from now on, and everybody has to sign in again. Remove redis.url from the \
         configuration of every server before you start one.";
    out.done(sentence, &json!({ "sessions": "database" }))
}

fn check(path: &Path, sessions_in_redis: bool, out: &mut Out) -> Result<(), Failure> {
    must_exist(path)?;
    let kerria_store::Checked { problems, schema, users, sessions, .. } = kerria_store::check(path)?;
    let document = json!({ "ok": problems.is_empty(), "problems": problems, "schema": schema, "users": users, "sessions": sessions });
    if problems.is_empty() {
        let sessions = if sessions_in_redis {
            "sessions in Redis, which are not looked at".to_owned()
        } else {
            count(sessions, "session")
        };
        let sentence =
            format!("The database is sound: schema version {schema}, {}, {sessions}.", count(users, "user"));
        return out.done(&sentence, &document);
    }
    if out.json {
        out.document(&document)?;
    } else {
        out.line(&format!("The database {} is damaged:", path.display()))?;
        problems.iter().try_for_each(|problem| out.line(&format!("  {problem}")))?;
        out.line("Stop the server, keep a copy of the folder, and restore the latest backup.")?;
    }
    Err(Failure::Found)
}

/// What is not there is not created by looking at it.
fn must_exist(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        bail!("there is no database at {}: say where the folder is with --data-dir", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::out::tests::Paper,
        config::{self, Sources},
    };

    #[tokio::test]
    async fn postgresql_has_tools_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let url = "postgres://kerria:secret@127.0.0.1:1/kerria";
        let variables = vec![("KERRIA_DATABASE_URL".into(), url.into())];
        let sources = Sources { folder: folder.path().to_owned(), variables, ..Sources::default() };
        let config = config::load(&sources).unwrap();
        for (command, words) in [
            (DbCommand::Backup { to: "backup".into() }, "pg_dump"),
            (DbCommand::Check, "pg_amcheck"),
            (
                DbCommand::Migrate(MigrateArgs { from: None, to: None }),
                "kerria at 127.0.0.1:1 cannot be reached",
            ),
        ] {
            let failure = run(&command, &config, &mut Paper::default().out(false)).await.unwrap_err();
            let told = failure.message().unwrap();
            assert!(told.contains(words) && !told.contains("secret"), "{told}");
        }
    }
}
