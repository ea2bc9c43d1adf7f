//! Which rule decides on a request, and why, in words.

use std::fmt;

use kerria_core::{GroupName, Profile, Timestamp};
use serde::Serialize;

use super::{
    original::Original,
    rules::{Allow, Found, Rule, Rules, UserIs, Verdict},
    unclear,
};
use crate::config::duration;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What is done.
    pub outcome: Outcome,
    /// Why, in sentences.
    pub why: String,
    /// The place in the order of the rule that decides, from 1.
    pub number: Option<usize>,
    /// The rule, in short.
    pub rule: Option<String>,
    /// Where it is written.
    pub place: Option<String>,
}

/// What is done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It passes.
    Passes,
    /// Somebody has to sign in first.
    SignIn,
    /// It is not for this user.
    Forbidden,
    /// No rule is about it, or it is not clear which: nobody's passes.
    Refused,
}

/// Explains what becomes of a request of this user, who has just signed in, or of nobody.
#[must_use]
pub fn explain(rules: &Rules, original: &Original<'_>, user: Option<&Profile>) -> Explanation {
    let refused = |why| Explanation { outcome: Outcome::Refused, why, number: None, rule: None, place: None };
    let (number, rule) = match rules.find(original, false) {
        Found::Rule(number, rule) => (number, rule),
        Found::Unclear(why) => return refused(unclear(why)),
        Found::Nothing if rules.name_host(&original.host) => {
            return refused("No rule of this host is about this path and method.".to_owned());
        }
        Found::Nothing => return refused("No rule is about this host.".to_owned()),
    };
    let now = Timestamp::EPOCH;
    let outcome = match rule.judge(user.map(|profile| (profile, now)), now) {
        Verdict::Allowed | Verdict::Confirm => Outcome::Passes,
        Verdict::SignIn => Outcome::SignIn,
        Verdict::Forbidden => Outcome::Forbidden,
    };
    let mut why = why(rule, user, outcome);
    if let (Some(within), Outcome::Passes) = (rule.fresh_within, outcome) {
        let within = duration::write(within);
        why.push_str(&format!(" Who has signed in more than {within} ago is asked for the password again."));
    }
    Explanation {
        outcome,
        why,
        number: Some(number),
        rule: Some(rule.to_string()),
        place: Some(rule.place.clone()),
    }
}

fn why(rule: &Rule, user: Option<&Profile>, outcome: Outcome) -> String {
    let Some(profile) = user.filter(|_| outcome != Outcome::SignIn) else {
        return match rule.allow {
            Allow::Everyone => "It is for everyone.".to_owned(),
            _ => "It is not for those who are not signed in.".to_owned(),
        };
    };
    let name = profile.display_name();
    match &rule.allow {
        Allow::Everyone => "It is for everyone.".to_owned(),
        Allow::SignedIn => format!("It is for every user, and so for {name}."),
        Allow::Some { users, groups } => {
            let theirs = profile.groups.iter().filter(|group| groups.contains(*group));
            let shared: Vec<&str> = theirs.map(GroupName::as_str).collect();
            match &*shared {
                _ if users.iter().any(|user| user.is(profile)) => format!("It names {name}."),
                [] => format!("It names neither {name} nor one of {name}'s groups."),
                shared => format!("{name} is in {}.", shared.join(", ")),
            }
        }
    }
}

/// In short, in the order of the file.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hosts {}", list(&self.hosts))?;
        if !self.paths.is_empty() {
            write!(f, "; paths {}", list(&self.paths))?;
        }
        if !self.methods.is_empty() {
            write!(f, "; methods {}", list(&self.methods))?;
        }
        match &self.allow {
            Allow::Everyone => f.write_str("; everyone")?,
            Allow::SignedIn => f.write_str("; every user")?,
            Allow::Some { users, groups } => {
                if !users.is_empty() {
                    write!(f, "; users {}", list(users))?;
                }
                if !groups.is_empty() {
                    write!(f, "; groups {}", list(groups))?;
                }
            }
        }
        if let Some(within) = self.fresh_within {
            write!(f, "; fresh within {}", duration::write(within))?;
        }
        Ok(())
    }
}

impl fmt::Display for UserIs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(user) => user.fmt(f),
            Self::Called(name) => f.write_str(name.key()),
        }
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
