//! Where settings come from: the file, the environment, the command line.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt, fs,
    path::{Path, PathBuf},
};

use super::{file, problem::Problem, suggest, table};
use crate::forward_auth::rules::Rule;

/// The file that is read if no other is named.
const FILE_NAME: &str = "kerria.toml";

/// The variable that names the file.
const FILE_VARIABLE: &str = "KERRIA_CONFIG";

/// All that a configuration is made from. Nothing else is looked at.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that the command line names.
    pub file: Option<PathBuf>,
    /// The current folder, in which `kerria.toml` is looked for. Empty will do.
    pub folder: PathBuf,
    /// The environment.
    pub variables: Vec<(OsString, OsString)>,
    /// Settings on the command line. A later one of the same key counts.
    pub flags: Vec<Flag>,
}

/// A setting on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// How it was written: `--listen`, `--set listen`.
    pub flag: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

impl Flag {
    /// From `--set key=value`.
    #[must_use]
    pub fn set(key: &str, value: &str) -> Self {
        Self { flag: format!("--set {key}"), key: key.to_owned(), value: value.to_owned() }
    }

    /// From a flag of its own.
    #[must_use]
    pub fn named(flag: &str, key: &str, value: &str) -> Self {
        Self { flag: flag.to_owned(), key: key.to_owned(), value: value.to_owned() }
    }
}

/// Where a value is written. The order is that of the sources, the weakest first, and within a file that of the lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere: it is the default.
    Default,
    /// In the file.
    File {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1, if it is known.
        line: Option<usize>,
    },
    /// In an environment variable.
    Variable(String),
    /// On the command line.
    Flag(String),
}

impl Place {
    /// What kind of place it is, in a word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File { .. } => "file",
            Self::Variable(_) => "variable",
            Self::Flag(_) => "flag",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value as it was given. Lists are written with commas.
pub(super) struct Given {
    pub(super) text: String,
    pub(super) place: Place,
}

/// What all sources give, the stronger source having replaced the weaker.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) values: BTreeMap<&'static str, Given>,
    pub(super) rules: Vec<Rule>,
    pub(super) file: Option<PathBuf>,
    pub(super) problems: Vec<Problem>,
}

impl Sources {
    pub(super) fn collect(&self) -> Collected {
        let mut collected = Collected::default();
        self.collect_file(&mut collected);
        self.collect_variables(&mut collected);
        self.collect_flags(&mut collected);
        collected
    }

    fn collect_file(&self, collected: &mut Collected) {
        let Some(path) = self.file_path() else { return };
        let place = Place::File { path: path.clone(), line: None };
        match fs::read_to_string(&path) {
            Ok(text) => file::read(&path, &text, collected),
            Err(why) => {
                let message = format!("cannot be read: {why}; check the path and its permissions");
                collected.problems.push(Problem::elsewhere(place, message));
            }
        }
        collected.file = Some(path);
    }

    /// The flag's, else the variable's, else the one in the current folder, if there is one.
    fn file_path(&self) -> Option<PathBuf> {
        let variable = self.variables.iter().find(|(name, _)| name == FILE_VARIABLE);
        let named = self.file.clone().or_else(|| variable.map(|(_, path)| PathBuf::from(path)));
        named.or_else(|| Some(self.folder.join(FILE_NAME)).filter(|path| Path::exists(path)))
    }

    fn collect_variables(&self, collected: &mut Collected) {
        for (name, value) in &self.variables {
            let Some(name) = name.to_str().filter(|name| is_ours(name)) else { continue };
            let place = Place::Variable(name.to_owned());
            match (table::settings().find(|setting| setting.variable() == name), value.to_str()) {
                (Some(setting), Some(text)) => {
                    collected.values.insert(setting.key, Given { text: text.to_owned(), place });
                }
                (Some(setting), None) => {
                    collected.problems.push(Problem::at(&place, setting.key, "its value is not UTF-8"));
                }
                (None, _) => {
                    collected.problems.push(Problem::unknown(&place, name, &suggest::variable(name)));
                }
            }
        }
    }

    fn collect_flags(&self, collected: &mut Collected) {
        for Flag { flag, key, value } in &self.flags {
            let place = Place::Flag(flag.clone());
            match table::find(key) {
                Some(setting) if setting.kind.is_secret() => {
                    let message = format!(
                        "everyone on this machine can read a command line: put the secret into a file and name it with \
                         {key}_file, or into {}",
                        setting.variable()
                    );
                    collected.problems.push(Problem::at(&place, key, message));
                }
                Some(setting) => {
                    collected.values.insert(setting.key, Given { text: value.clone(), place });
                }
                None => collected.problems.push(Problem::unknown(&place, key, &suggest::key(key))),
            }
        }
    }
}

/// Whether a variable is meant for us. Kubernetes gives every container variables about the services beside it, and to
/// a service that is called `kerria` they are `KERRIA_SERVICE_HOST`, `KERRIA_PORT_8080_TCP_ADDR` and so on.
fn is_ours(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("KERRIA_") else { return false };
    let of_kubernetes = rest == "PORT"
        || rest == "SERVICE_HOST"
        || rest.starts_with("SERVICE_PORT")
        || rest.strip_prefix("PORT_").is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit()));
    OsStr::new(name) != FILE_VARIABLE && !of_kubernetes
}
