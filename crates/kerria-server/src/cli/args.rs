//! What can be typed after `kerria`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{
    Args, Parser, Subcommand,
    builder::{NonEmptyStringValueParser, Styles},
};
use clap_complete::Shell;
use kerria_core::GroupName;

const AFTER_HELP: &str = "\
Begin with `kerria serve`, and open the address that it prints. Nothing has to be configured for that.

Settings come from the defaults, over them the file (--config, else KERRIA_CONFIG, else kerria.toml in the current \
folder), over it KERRIA_* variables, over them flags. `kerria config explain` lists and explains them all.

Commands about users, sessions, clients and the audit log ask the running server through its control socket. If none runs, \
they open the data folder themselves.

Exit codes: 0 done; 1 it could not be done, or something was found to be wrong; 2 the command line was not understood.";

const SETTINGS: &str = "Settings";

/// Sessions you can end at once: a server for sign-in and sessions.
#[derive(Debug, Parser)]
#[command(name = "kerria", version, after_help = AFTER_HELP, max_term_width = 110, styles = Styles::styled())]
#[command(propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) settings: SettingFlags,
    /// Print JSON for programs, with times in RFC 3339, instead of text for people.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Args)]
pub(super) struct SettingFlags {
    /// The configuration file.
    #[arg(long, global = true, value_name = "PATH", help_heading = SETTINGS)]
    pub(super) config: Option<PathBuf>,
    /// Set anything that the file can set, as in --set session.idle_timeout=30m.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value, help_heading = SETTINGS)]
    pub(super) set: Vec<(String, String)>,
    /// The folder that holds the database.
    #[arg(long, global = true, value_name = "PATH", help_heading = SETTINGS)]
    pub(super) data_dir: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the server.
    Serve(ServeArgs),
    /// Try it out: a Kerria, an application and a reverse proxy between them, with two users, until Ctrl-C.
    Demo(DemoArgs),
    /// Create, list and change users.
    #[command(subcommand)]
    User(UserCommand),
    /// List and end sessions.
    #[command(subcommand)]
    Session(SessionCommand),
    /// Register and change OAuth clients: the applications that get tokens.
    #[command(subcommand)]
    Client(ClientCommand),
    /// Read what happened to accounts and sessions.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// List and rotate the keys that sign access tokens.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Show the processes that share the database.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Explain a token.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Say what the rules of forward-auth make of a request.
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Check, explain and begin a configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Back up, check and migrate the database.
    #[command(subcommand)]
    Db(DbCommand),
    /// Look for everything that could be wrong here, and say what to do about it.
    Doctor,
    /// Print completions for a shell, as in `kerria completions bash`.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The address and port to listen on, as in 0.0.0.0:8080.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) listen: Option<String>,
    /// What people type to get here, as in https://sign-in.example.com.
    #[arg(long, value_name = "URL")]
    pub(super) public_url: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where Kerria listens.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub(super) listen: SocketAddr,
    /// Where the proxy in front of the application listens.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8000")]
    pub(super) application: SocketAddr,
}

/// Whom a command is about.
#[derive(Debug, Args)]
pub(super) struct Who {
    /// The user's name, e-mail address or identifier.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) user: String,
}

#[derive(Debug, Args)]
pub(super) struct Page {
    /// How many to list.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) limit: u32,
    /// Go on after this one, as the last page said.
    #[arg(long, value_name = "ID")]
    pub(super) after: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Create a user. Asks for the password.
    Add(AddArgs),
    /// Print a link with which somebody can create their own account, once.
    Invite,
    /// List users.
    List(Page),
    /// Show a user and their sessions.
    Show(Who),
    /// Put a user in groups, or take them out of some. Rules and applications decide by groups.
    Groups {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        change: GroupsArgs,
    },
    /// Keep a user from signing in, and end their sessions.
    Disable(Who),
    /// Let a disabled user sign in again.
    Enable(Who),
    /// Delete a user, and end their sessions.
    Delete {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        confirmation: Confirmation,
    },
    /// Give a user a new password, and end their sessions. Asks for the password.
    SetPassword {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        password: PasswordFrom,
    },
}

#[derive(Debug, Args)]
#[group(id = "whom", required = true, multiple = true, args = ["name", "email", "invite"])]
pub(super) struct AddArgs {
    /// The name to sign in with.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) name: Option<String>,
    /// The e-mail address to sign in with.
    #[arg(long)]
    pub(super) email: Option<String>,
    #[command(flatten)]
    pub(super) password: PasswordFrom,
    /// Print a one-time link instead, with which they choose their name and password themselves.
    #[arg(long, conflicts_with_all = ["name", "email", "password_stdin"])]
    pub(super) invite: bool,
}

#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["join", "leave"])]
pub(super) struct GroupsArgs {
    /// A group to put them in. Can be given several times.
    #[arg(long, value_name = "GROUP")]
    pub(super) join: Vec<GroupName>,
    /// A group to take them out of. Can be given several times.
    #[arg(long, value_name = "GROUP")]
    pub(super) leave: Vec<GroupName>,
}

#[derive(Debug, Args)]
pub(super) struct PasswordFrom {
    /// Read the password from the first line of standard input. (There is no flag for the password itself: everyone on
    /// the machine could read it.)
    #[arg(long)]
    pub(super) password_stdin: bool,
}

#[derive(Debug, Args)]
pub(super) struct Confirmation {
    /// Do it without asking.
    #[arg(long, short = 'y')]
    pub(super) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// List sessions.
    List {
        /// Only this user's.
        #[arg(long, value_name = "USER", conflicts_with_all = ["limit", "after"])]
        user: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// End one session, all of a user or of a client, everyone's, or one access token. They are refused from the moment this returns,
    /// unless it is told to wait for less.
    End(EndArgs),
}

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false, args = ["handle", "user", "client", "token", "everyone"])]
pub(super) struct EndArgs {
    /// The session's handle, as `kerria session list` shows it.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) handle: Option<String>,
    /// All sessions of this user.
    #[arg(long, value_name = "USER", value_parser = NonEmptyStringValueParser::new())]
    pub(super) user: Option<String>,
    /// All sessions that were opened for this client, and every token that was issued to it.
    #[arg(long, value_name = "CLIENT", value_parser = NonEmptyStringValueParser::new())]
    pub(super) client: Option<String>,
    /// One access token, by its `jti`. Its session goes on.
    #[arg(long, value_name = "JTI", value_parser = NonEmptyStringValueParser::new())]
    pub(super) token: Option<String>,
    /// All sessions of all users. Asks first.
    #[arg(long)]
    pub(super) everyone: bool,
    /// For whom to wait: until no checker accepts them any more; until the store has it, and checkers elsewhere hear of it in
    /// a moment; or for nobody.
    #[arg(long, value_name = "WHOM", value_parser = ["checkers", "store", "none"], default_value = "checkers")]
    pub(super) wait: String,
    #[command(flatten)]
    pub(super) confirmation: Confirmation,
}

/// Which client a command is about.
#[derive(Debug, Args)]
pub(super) struct WhichClient {
    /// The client's identifier (client_id).
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) client: String,
}

#[derive(Debug, Default, Args)]
pub(super) struct Described {
    /// What to call it.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// How it proves who it is.
    #[arg(long, value_name = "METHOD", value_parser = ["none", "client_secret", "private_key_jwt"])]
    pub(super) authentication: Option<String>,
    /// A file with its public keys, a JWK Set.
    #[arg(long, value_name = "PATH")]
    pub(super) jwks_file: Option<PathBuf>,
    /// What it may ask for at the token endpoint. Can be given several times; `none` for a resource server that only asks
    /// about tokens.
    #[arg(long = "grant", value_name = "GRANT", value_parser = ["refresh_token", "client_credentials", "token-exchange", "none"])]
    pub(super) grants: Vec<String>,
    /// The most that its tokens may do: words with spaces between them.
    #[arg(long)]
    pub(super) scope: Option<String>,
    /// For whom its access tokens may be meant. Can be given several times; the first one counts where a request names none.
    #[arg(long = "audience", value_name = "URL")]
    pub(super) audiences: Vec<String>,
    /// The form of its access tokens: a JWT with this algorithm, or `reference`.
    #[arg(long, value_name = "FORM", value_parser = ["EdDSA", "ES256", "RS256", "HS256", "reference"])]
    pub(super) access_tokens: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Register a client. Prints its secret, if it has one.
    Add {
        #[command(flatten)]
        which: WhichClient,
        #[command(flatten)]
        described: Described,
    },
    /// List clients.
    List,
    /// Show a client.
    Show(WhichClient),
    /// Change a client. What is not said stays as it is.
    Change {
        #[command(flatten)]
        which: WhichClient,
        #[command(flatten)]
        described: Described,
    },
    /// Remove a client, and end everything that was issued to it.
    Remove {
        #[command(flatten)]
        which: WhichClient,
        #[command(flatten)]
        confirmation: Confirmation,
    },
    /// Give a client a new secret, and print it. The old one is over at once.
    NewSecret(WhichClient),
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List the latest entries of the audit log, the newest first.
    List {
        /// Only what is about this user.
        #[arg(long, value_name = "USER", value_parser = NonEmptyStringValueParser::new())]
        user: Option<String>,
        /// How many to list.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// List the keys: which one signs, which one is next, and which ones are still believed.
    List,
    /// Let the next key sign from now on. What the old one signed stays good until it is over.
    Rotate {
        /// Only the keys of this algorithm, as in EdDSA.
        #[arg(long, conflicts_with = "revoke")]
        algorithm: Option<String>,
        /// Throw all keys away instead, and end everything of everyone: for keys that are in wrong hands. Asks first.
        #[arg(long)]
        revoke: bool,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// List the processes that share the database, and how far each has followed the revocation log.
    Status,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Say in words what a token is and whether it is good. Reads it from the first line of standard input. (There is no
    /// flag for it: everyone on the machine could read it.)
    Inspect,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Find every mistake in the configuration at once.
    Check,
    /// Say what a setting means, what holds, and where it comes from; without a key, list all settings.
    Explain {
        /// A setting, such as session.idle_timeout, or a group of them, such as session.
        key: Option<String>,
        /// Print the reference of all settings as Markdown.
        #[arg(long, conflicts_with_all = ["key", "json"])]
        markdown: bool,
    },
    /// Print a configuration file with every setting, explained and commented out.
    Sample,
}

#[derive(Debug, Subcommand)]
pub(super) enum RulesCommand {
    /// Say which rule decides on a request, and why.
    Test {
        /// The whole address, as in https://wiki.example.com/admin.
        url: String,
        /// The method.
        #[arg(long, default_value = "GET")]
        method: String,
        /// The user who sends it, by name, e-mail address or identifier. Without it, nobody is signed in.
        #[arg(long = "as", value_name = "USER")]
        user: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Copy the database to a new file, also while the server runs. (PostgreSQL has tools of its own: pg_dump.)
    Backup {
        /// The file to write. It must not exist.
        to: PathBuf,
    },
    /// Bring the database to this version's schema, as `kerria serve` does too; or, with --from, move an installation from an
    /// SQLite file to PostgreSQL, with all its sessions.
    Migrate(MigrateArgs),
    /// Look for damage in the database. (PostgreSQL has a tool of its own: pg_amcheck.)
    Check,
    /// Keep the sessions in the database from now on, where they were in Redis. Everybody is signed out.
    WithoutRedis,
}

#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// The file to move, as in sqlite:kerria-data/kerria.db. No server may be using it.
    #[arg(long, value_name = "sqlite:FILE", value_parser = sqlite_file)]
    pub(super) from: Option<PathBuf>,
    /// The empty database to move it to, as in postgres://kerria@db.example.com/kerria; if it is not said, the one of the
    /// configuration. A URL with a password belongs there.
    #[arg(long, value_name = "URL", requires = "from")]
    pub(super) to: Option<String>,
}

fn sqlite_file(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("sqlite:") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err("write sqlite: and the file, as in sqlite:kerria-data/kerria.db".to_owned()),
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, as in session.idle_timeout=30m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn refused(line: &str) -> ErrorKind {
        Cli::try_parse_from(line.split(' ')).unwrap_err().kind()
    }

    fn understood(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        let cli =
            understood("kerria user list --json --set listen=127.0.0.1:1 --config a.toml --set a.b=c=d");
        assert!(cli.json);
        assert_eq!(cli.settings.config.unwrap().to_str(), Some("a.toml"));
        assert_eq!(cli.settings.set[1], ("a.b".to_owned(), "c=d".to_owned()));
        assert_eq!(refused("kerria --set listen user list"), ErrorKind::ValueValidation);
    }

    #[test]
    fn ending_sessions_names_exactly_one_target() {
        for line in [
            "kerria session end x",
            "kerria session end --user x",
            "kerria session end --client x",
            "kerria session end --token x",
            "kerria session end --everyone --yes",
        ] {
            understood(line);
        }
        assert_eq!(refused("kerria session end"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("kerria session end x --everyone"), ErrorKind::ArgumentConflict);
        assert_eq!(refused("kerria session end --user x --everyone"), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn a_client_is_described_in_known_words() {
        understood(
            "kerria client add shop --audience x --audience y --grant refresh_token --access-tokens reference",
        );
        understood("kerria client change shop --authentication private_key_jwt --jwks-file x");
        assert_eq!(refused("kerria client add"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("kerria client add shop --access-tokens none"), ErrorKind::InvalidValue);
        assert_eq!(refused("kerria client add shop --secret mine"), ErrorKind::UnknownArgument);
    }

    #[test]
    fn a_user_has_a_name_or_an_address_or_is_invited() {
        for line in [
            "kerria user add x",
            "kerria user add --email x@y",
            "kerria user add x --email x@y",
            "kerria user add --invite",
        ] {
            understood(line);
        }
        assert_eq!(refused("kerria user add"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("kerria user add x --invite"), ErrorKind::ArgumentConflict);
        assert_eq!(refused("kerria user add x --password secret"), ErrorKind::UnknownArgument);
    }
}
