//! Puts a configuration together from its sources, and keeps what came from where.

use std::{collections::BTreeSet, path::PathBuf};

use url::Url;

use super::{
    Config, blank,
    checks::{self, RULES, Rule},
    duration,
    problem::{Problem, Problems},
    sources::{Given, Place, Sources},
    table::{self, Setting},
};
use crate::forward_auth::rules::Rules;

/// What all sources say together: each setting's value and origin, and everything that is wrong.
pub struct Survey {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    values: Vec<Value>,
    config: Config,
}

/// What holds for one setting.
pub(crate) struct Value {
    pub(crate) setting: &'static Setting,
    /// The value, lists with commas; empty if there is none, and not the value if it is a secret.
    pub(crate) text: String,
    pub(crate) place: Place,
    /// Whether it could be read. If not, the default stands in for it.
    is_good: bool,
}

impl Survey {
    /// Reads all sources.
    #[must_use]
    pub fn of(sources: &Sources) -> Self {
        let mut given = sources.collect();
        let mut survey =
            Self { file: given.file, problems: given.problems, values: Vec::new(), config: blank::config() };
        // One that could not be read has been reported; its default must not cause further complaints.
        let unreadable: BTreeSet<_> =
            survey.problems.iter().filter_map(|problem| problem.key.clone()).collect();
        for setting in table::settings() {
            let is_good = !unreadable.contains(setting.key);
            survey.take(setting, given.values.remove(setting.key), is_good);
        }
        survey.config.forward_auth.rules = Rules(given.rules);
        survey.fit_defaults();
        for rule in RULES {
            survey.check(rule);
        }
        survey.problems.sort_by(|a, b| a.place.cmp(&b.place));
        survey
    }

    /// The configuration, or all that is wrong with it.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn into_config(self) -> Result<Config, Problems> {
        if self.problems.is_empty() { Ok(self.config) } else { Err(Problems(self.problems)) }
    }

    /// The configuration as far as it could be read, with defaults in the place of what could not.
    pub(crate) const fn draft(&self) -> &Config {
        &self.config
    }

    /// All settings in the order of the table.
    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }

    /// What holds for `key`, which is one of the table's.
    pub(crate) fn value(&self, key: &str) -> &Value {
        self.values.iter().find(|value| value.setting.key == key).expect("the key is a row of the table")
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        &self.value(key).text
    }

    pub(crate) fn place(&self, key: &str) -> &Place {
        &self.value(key).place
    }

    pub(crate) fn is_set(&self, key: &str) -> bool {
        *self.place(key) != Place::Default
    }

    fn take(&mut self, setting: &'static Setting, given: Option<Given>, mut is_good: bool) {
        let default = setting.default.unwrap_or_default();
        let Given { text, place } =
            given.unwrap_or(Given { text: default.to_owned(), place: Place::Default });
        if place != Place::Default
            && let Err(message) = setting.kind.apply(&mut self.config, &text)
        {
            is_good = false;
            self.problems.push(Problem::at(&place, setting.key, message));
        }
        if let Some(default) = setting.default
            && (place == Place::Default || !is_good)
        {
            setting.kind.apply(&mut self.config, default).expect("the default is good");
        }
        let text =
            if setting.kind.is_secret() && place != Place::Default { "(set)".to_owned() } else { text };
        self.values.push(Value { setting, text, place, is_good });
    }

    /// Some defaults follow other settings.
    fn fit_defaults(&mut self) {
        if !self.is_set("public_url") && self.is_set("listen") {
            let mut url = Url::parse("http://localhost").expect("this is a URL");
            url.set_port(Some(self.config.listen.port())).expect("it has a host");
            let text = url.origin().ascii_serialization();
            self.config.public_url = url;
            self.fit("public_url", text);
        }
        let coarsest = checks::coarsest_precision(&self.config);
        if !self.is_set("session.last_seen_precision") && self.config.session.last_seen_precision > coarsest {
            self.config.session.last_seen_precision = coarsest;
            self.fit("session.last_seen_precision", duration::write(coarsest));
        }
        let idle = checks::shortest_idle(&self.config);
        if !self.is_set("tokens.access_lifetime") && self.config.tokens.access_lifetime > idle {
            self.config.tokens.access_lifetime = idle;
            self.fit("tokens.access_lifetime", duration::write(idle));
        }
        let longest = checks::longest_lifetime(&self.config);
        if !self.is_set("session.log_retention") && self.config.session.log_retention < longest {
            self.config.session.log_retention = longest;
            self.fit("session.log_retention", duration::write(longest));
        }
    }

    fn fit(&mut self, key: &str, text: String) {
        let value = self.values.iter_mut().find(|value| value.setting.key == key);
        value.expect("the key is a row of the table").text = text;
    }

    fn check(&mut self, rule: &Rule) {
        let values = || rule.keys.iter().map(|key| self.value(key));
        if values().all(|value| value.is_good) && (rule.is_broken)(self, &self.config) {
            let blamed = values()
                .find(|value| value.place != Place::Default)
                .unwrap_or_else(|| self.value(rule.keys[0]));
            let message = (rule.message)(self, rule.keys);
            let problem = Problem::at(&blamed.place, blamed.setting.key, message);
            self.problems.push(problem);
        }
    }
}
