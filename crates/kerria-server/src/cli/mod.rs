//! The command line.

mod answers;
mod args;
mod audit;
mod clients;
mod cluster;
mod configuration;
mod db;
mod doctor;
mod failure;
mod keys;
mod operator;
mod out;
mod prompt;
mod rules;
mod sessions;
mod table;
mod times;
mod tokens;
mod users;

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{CommandFactory, Parser};
use tokio::runtime::Runtime;

use crate::{
    config::{self, Config, Flag, Sources},
    demo, logs,
};
use args::{Cli, ClusterCommand, Command, DemoArgs, ServeArgs, SettingFlags, TokenCommand};
use failure::Failure;
use operator::{Missing, Operator};
use out::Out;

/// Runs the command that was typed, and says how it ended: 0 done, 1 not done or found wrong, 2 not understood.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let sources = sources(&cli);
    // https://no-color.org: any value but an empty one.
    let no_colour = sources.variables.iter().any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
    let mut out = Out::of_process(cli.json, no_colour);
    let outcome = run(cli.command, &sources, &mut out).and_then(|()| out.flush());
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    // What was printed before the failure stands before it.
    out.flush().ok();
    if let Some(message) = failure.message() {
        out.note(&format!("kerria: {message}"));
    }
    failure.exit_code()
}

fn run(command: Command, sources: &Sources, out: &mut Out) -> Result<(), Failure> {
    match command {
        Command::Serve(_) => Ok(runtime()?.block_on(serve(config::load(sources)?))?),
        Command::Demo(DemoArgs { listen, application }) => {
            let welcome = |text: &str| out.note(text);
            Ok(runtime()?.block_on(demo::run(listen, application, welcome))?)
        }
        Command::User(command) => {
            let missing = command.missing();
            ask(sources, missing, async |operator| users::run(command, operator, out).await)
        }
        Command::Session(command) => {
            ask(sources, Missing::Refuse, async |operator| sessions::run(command, operator, out).await)
        }
        Command::Client(command) => {
            let missing = command.missing();
            ask(sources, missing, async |operator| clients::run(command, operator, out).await)
        }
        Command::Audit(command) => {
            ask(sources, Missing::Refuse, async |operator| audit::run(command, operator, out).await)
        }
        Command::Keys(command) => {
            ask(sources, Missing::Refuse, async |operator| keys::run(command, operator, out).await)
        }
        Command::Cluster(ClusterCommand::Status) => {
            ask(sources, Missing::Refuse, async |operator| cluster::status(operator, out).await)
        }
        Command::Token(TokenCommand::Inspect) => {
            let token = prompt::token()?;
            ask(sources, Missing::Refuse, async |operator| tokens::inspect(&token, operator, out).await)
        }
        Command::Rules(command) => {
            ask(sources, Missing::Refuse, async |operator| rules::run(command, operator, out).await)
        }
        Command::Config(command) => configuration::run(command, sources, out),
        Command::Db(command) => {
            let config = config::load(sources)?;
            runtime()?.block_on(db::run(&command, &config, out))
        }
        Command::Doctor => runtime()?.block_on(doctor::run(sources, out)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kerria", &mut script);
            out.text(&String::from_utf8_lossy(&script))
        }
    }
}

/// Lets `question` ask whoever answers for the configured folder.
fn ask(
    sources: &Sources,
    missing: Missing,
    question: impl AsyncFnOnce(&Operator) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let config = config::load(sources)?;
    runtime()?.block_on(async {
        let operator = Operator::reach(config, missing).await?;
        let outcome = question(&operator).await;
        operator.close().await;
        outcome
    })
}

async fn serve(config: Config) -> anyhow::Result<()> {
    logs::init(&config.log)?;
    crate::serve::run(config).await
}

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads that do the work")
}

/// The environment is read here, once.
fn sources(cli: &Cli) -> Sources {
    let SettingFlags { config, set, data_dir } = &cli.settings;
    let mut flags: Vec<Flag> = set.iter().map(|(key, value)| Flag::set(key, value)).collect();
    let mut named = |flag: &str, key: &str, value: &Option<String>| {
        flags.extend(value.as_deref().map(|value| Flag::named(flag, key, value)));
    };
    named("--data-dir", "data_dir", data_dir);
    if let Command::Serve(ServeArgs { listen, public_url }) = &cli.command {
        named("--listen", "listen", listen);
        named("--public-url", "public_url", public_url);
    }
    Sources { file: config.clone(), folder: PathBuf::new(), variables: env::vars_os().collect(), flags }
}
