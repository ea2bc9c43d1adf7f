//! The rules of forward-auth in the file: `[[forward_auth.rule]]`, one table each.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use kerria::Consistency;
use kerria_core::{GroupName, LoginName, UserName};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{duration, problem::Problem, sources::Place, suggest};
use crate::forward_auth::{
    path::PathPattern,
    rules::{Allow, HostPattern, Rule, UserIs},
};

/// The key under which they stand.
pub(super) const KEY: &str = "forward_auth.rule";

/// What can be said in a rule: the key, an example, and what it means.
pub(crate) const KEYS: [(&str, &str, &str); 9] = [
    (
        "hosts",
        "[\"wiki.example.com\", \"*.apps.example.com\"]",
        "The hosts that the rule is about; `*.` before a name stands for all hosts below it.",
    ),
    (
        "paths",
        "[\"/admin/*\", \"/status\"]",
        "The paths; all, if it is left out. `/admin/*` is `/admin` and everything below it. Where a rule of a host names paths, \
         only paths that every server reads in the same way pass.",
    ),
    ("methods", "[\"GET\"]", "The methods; all, if it is left out. GET includes HEAD."),
    (
        "allow",
        "\"signed-in\"",
        "Whom the rule lets through: \"signed-in\" for every user, \"everyone\" for those who are not signed in, too. Left out \
         where `users` or `groups` says it.",
    ),
    ("users", "[\"alice\"]", "These users, by name or identifier."),
    ("groups", "[\"staff\"]", "The users in one of these groups."),
    (
        "fresh_within",
        "\"10m\"",
        "How old the last sign-in may be; after that, the user is asked for the password again.",
    ),
    ("consistency", "\"strict\"", "On what the check rests, instead of `session.consistency`."),
    (
        "audience",
        "\"wiki\"",
        "For whom the signed identity in `Remote-Jwt` is meant; the origin that was asked for, if it is left out.",
    ),
];

/// A rule to begin with.
pub(crate) const SAMPLE: &str =
    "[[forward_auth.rule]]\nhosts = [\"wiki.example.com\"]\nallow = \"signed-in\"\n";

/// Reads all rules. What is wrong with one is told with its line, and the rule is left out.
pub(super) fn read(
    value: &DeValue<'_>,
    here: &Place,
    place: impl Fn(usize) -> Place,
    problems: &mut Vec<Problem>,
) -> Vec<Rule> {
    let tables = match value {
        DeValue::Array(items) => {
            { items.iter().map(|item| item.get_ref().as_table().map(|table| (item.span().start, table))) }
                .collect()
        }
        _ => None,
    };
    let Some(tables): Option<Vec<_>> = tables else {
        problems.push(Problem::at(
            here,
            KEY,
            "write [[forward_auth.rule]], with two brackets, before each rule",
        ));
        return Vec::new();
    };
    let read = |(start, table)| rule(table, &place(start), &place, problems);
    tables.into_iter().filter_map(read).collect()
}

fn rule(
    table: &DeTable<'_>,
    here: &Place,
    place: impl Fn(usize) -> Place,
    problems: &mut Vec<Problem>,
) -> Option<Rule> {
    let before = problems.len();
    let mut reader = Reader { values: BTreeMap::new(), problems };
    for (name, value) in table {
        let (name, at) = (name.get_ref().to_string(), place(name.span().start));
        match KEYS.iter().find(|(key, ..)| *key == name) {
            Some((key, ..)) => {
                reader.values.insert(key, (at, value));
            }
            None => {
                let guess = suggest::likeliest(&name, KEYS.iter().map(|(key, ..)| (*key).to_owned()));
                let keys = KEYS.map(|(key, ..)| key).join(", ");
                let guess =
                    guess.map_or_else(|| format!("these are: {keys}"), |key| format!("did you mean {key}?"));
                reader.complain(&at, &name, &format!("a rule has no such key; {guess}"));
            }
        }
    }
    if !reader.values.contains_key("hosts") {
        reader.complain(
            here,
            "hosts",
            "name the hosts that the rule is about, as in hosts = [\"wiki.example.com\"]",
        );
    }
    let rule = Rule {
        hosts: reader.list("hosts", HostPattern::parse),
        paths: reader.list("paths", PathPattern::parse),
        methods: reader.list("methods", method),
        allow: reader.allow(here),
        fresh_within: reader.one("fresh_within", duration::parse),
        consistency: reader.one("consistency", consistency),
        audience: reader.one("audience", |text| text.parse().map_err(|why| format!("\"{text}\": {why}"))),
        place: here.to_string(),
    };
    if rule.allow == Allow::Everyone && rule.fresh_within.is_some() {
        let at = reader.place("fresh_within", here);
        let message =
            "it says nothing of those who are not signed in: remove it, or write allow = \"signed-in\"";
        reader.complain(&at, "fresh_within", message);
    }
    (problems.len() == before).then_some(rule)
}

struct Reader<'r, 'v> {
    values: BTreeMap<&'static str, (Place, &'r Spanned<DeValue<'v>>)>,
    problems: &'r mut Vec<Problem>,
}

impl Reader<'_, '_> {
    fn complain(&mut self, at: &Place, key: &str, message: &str) {
        self.problems.push(Problem::at(at, &format!("{KEY}.{key}"), message));
    }

    fn place(&self, key: &str, otherwise: &Place) -> Place {
        self.values.get(key).map_or(otherwise, |(place, _)| place).clone()
    }

    fn one<T>(&mut self, key: &'static str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let (at, value) = self.values.get(key)?;
        let at = at.clone();
        let Some(text) = value.get_ref().as_str() else {
            self.complain(&at, key, "write it in quotes");
            return None;
        };
        read(text).map_err(|message| self.complain(&at, key, &message)).ok()
    }

    fn list<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some((at, value)) = self.values.get(key) else { return Vec::new() };
        let at = at.clone();
        let texts: Option<Vec<&str>> = match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|item| item.get_ref().as_str()).collect(),
            _ => None,
        };
        match texts {
            None => self.complain(&at, key, "write a list, as in [\"one\", \"two\"]"),
            // An empty list would be about everything, or about nothing.
            Some(texts) if texts.is_empty() => {
                self.complain(&at, key, "nothing is in the list: remove it, or name something");
            }
            Some(texts) => match texts.into_iter().map(read).collect() {
                Ok(list) => return list,
                Err(message) => self.complain(&at, key, &message),
            },
        }
        Vec::new()
    }

    fn allow(&mut self, here: &Place) -> Allow {
        let users = self.list("users", user);
        let groups: BTreeSet<_> = self.list("groups", group).into_iter().collect();
        let names_some = self.values.contains_key("users") || self.values.contains_key("groups");
        let at = self.place("allow", here);
        let word = self.one("allow", |text| match text {
            "everyone" => Ok(Allow::Everyone),
            "signed-in" => Ok(Allow::SignedIn),
            _ => Err(format!("\"{text}\" is not a choice: write \"signed-in\" or \"everyone\"")),
        });
        match word {
            Some(_) if names_some => {
                let message =
                    "users and groups say already whom the rule lets through: remove it, or remove them";
                self.complain(&at, "allow", message);
            }
            None if !names_some && !self.values.contains_key("allow") => {
                let message = "say whom the rule lets through: allow = \"signed-in\" or \"everyone\", or users, or groups";
                self.complain(here, "allow", message);
            }
            Some(allow) => return allow,
            None => {}
        }
        Allow::Some { users, groups }
    }
}

fn method(text: &str) -> Result<Method, String> {
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') => Ok(method),
        _ => Err(format!("\"{text}\" is not a method: write one such as GET or POST, in capitals")),
    }
}

fn consistency(text: &str) -> Result<Consistency, String> {
    match text {
        "leased" => Ok(Consistency::Leased),
        "strict" => Ok(Consistency::Strict),
        _ => Err(format!("\"{text}\" is not a choice: write \"leased\" or \"strict\"")),
    }
}

fn user(text: &str) -> Result<UserIs, String> {
    if let Ok(user) = text.parse() {
        return Ok(UserIs::Known(user));
    }
    match UserName::parse(text) {
        Ok(name) => Ok(UserIs::Called(LoginName::parse(name.as_str()))),
        Err(_) => Err(format!("\"{text}\" is neither a user's name nor an identifier")),
    }
}

fn group(text: &str) -> Result<GroupName, String> {
    text.parse().map_err(|why| format!("\"{text}\": {why}"))
}
