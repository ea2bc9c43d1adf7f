//! `kerria db`.

use std::path::Path;

use anyhow::bail;
use serde_json::json;

use super::{answers::count, args::DbCommand, failure::Failure, out::Out};
use crate::{app::database_path, config::Config};

pub(super) fn run(command: &DbCommand, config: &Config, out: &mut Out) -> Result<(), Failure> {
    let path = database_path(&config.data_dir);
    match command {
        DbCommand::Backup { to } => backup(&path, to, out),
        DbCommand::Migrate => migrate(&path, out),
        DbCommand::Check => check(&path, out),
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
    let kerria_store::Migrated { from, to } = kerria_store::migrate(path)?;
    let sentence = if from == to {
        format!("The database has schema version {to} already.")
    } else {
        format!("Migrated the database from schema version {from} to {to}.")
    };
    out.done(&sentence, &json!({ "from": from, "to": to }))
}

fn check(path: &Path, out: &mut Out) -> Result<(), Failure> {
    must_exist(path)?;
    let kerria_store::Checked { problems, schema, users, sessions, .. } = kerria_store::check(path)?;
    let document = json!({ "ok": problems.is_empty(), "problems": problems, "schema": schema, "users": users, "sessions": sessions });
    if problems.is_empty() {
        let sentence = format!(
            "The database is sound: schema version {schema}, {}, {}.",
            count(users, "user"),
            count(sessions, "session")
        );
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
