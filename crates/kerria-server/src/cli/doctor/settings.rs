//! The configuration, and what follows from it.

use std::collections::BTreeSet;

use kerria_core::{GroupName, Groups};

use super::Finding;
use crate::{
    config::{Config, PasswordSettings, Survey, is_insecure, is_loopback},
    forward_auth::rules::{Allow, HostPattern},
};

/// Whether it can be read, and what is wrong with it.
pub(super) fn configuration(survey: &Survey) -> Vec<Finding> {
    let subject = "configuration";
    if survey.problems.is_empty() {
        let text = match &survey.file {
            Some(path) => format!("good; the file is {}", path.display()),
            None => "good; there is no file".to_owned(),
        };
        return vec![Finding::ok(subject, text)];
    }
    let advice =
        "`kerria config explain` says what can be set; what cannot be read is taken as its default below";
    survey.problems.iter().map(|problem| Finding::fail(subject, problem.to_string(), advice)).collect()
}

/// What the public address means for cookies, and whether people can get there.
pub(super) fn public_url(config: &Config) -> Finding {
    let subject = "public address";
    let origin = config.public_url.origin().ascii_serialization();
    if is_insecure(&config.public_url) {
        return Finding::warn(
            subject,
            format!("{origin} is without TLS: everyone on the way can read passwords and cookies"),
            "put TLS in front (a reverse proxy) and set public_url to https://…",
        );
    }
    let listens_outside = !config.listen.ip().is_loopback();
    match config.public_url.scheme() {
        "https" => Finding::ok(subject, format!("{origin}; cookies are sent over TLS only")),
        _ if listens_outside => Finding::warn(
            subject,
            format!(
                "{origin} means this machine, and {} is open to others, who cannot sign in there",
                config.listen
            ),
            "set public_url to what people type to get here",
        ),
        _ => Finding::ok(subject, format!("{origin}, for trying out on this machine")),
    }
}

/// Whether the addresses of clients can be told.
pub(super) fn proxies(config: &Config) -> Finding {
    let subject = "proxies";
    match config.trusted_proxies.len() {
        0 if config.public_url.scheme() == "https" && !is_loopback(&config.public_url) => Finding::warn(
            subject,
            "TLS ends at a proxy that is not trusted: all clients seem to come from its address",
            "set trusted_proxies to the proxy's address, so that throttling tells clients apart",
        ),
        0 => Finding::ok(subject, "none are trusted; clients are told apart by their own addresses"),
        count => Finding::ok(subject, format!("trusted networks: {count}")),
    }
}

/// Whether reverse proxies can ask, and to which hosts the session is handed over.
pub(super) fn forward_auth(config: &Config) -> Option<Finding> {
    let subject = "forward-auth";
    let rules = &config.forward_auth.rules.0;
    if rules.is_empty() {
        return None;
    }
    if config.trusted_proxies.is_empty() {
        let advice = "set trusted_proxies to the address of the proxy that asks";
        return Some(Finding::warn(
            subject,
            "there are rules, and no proxy is trusted: every question is refused",
            advice,
        ));
    }
    let for_users = rules.iter().filter(|rule| rule.allow != Allow::Everyone).flat_map(|rule| &rule.hosts);
    let elsewhere: BTreeSet<_> =
        for_users.map(HostPattern::to_string).filter(|host| !config.session_cookie_reaches(host)).collect();
    let rules = format!("rules: {}", rules.len());
    Some(Finding::ok(
        subject,
        match elsewhere.len() {
            0 => rules,
            _ => format!(
                "{rules}; browsers do not send the session cookie to {}: the session is handed over",
                elsewhere.into_iter().collect::<Vec<_>>().join(", ")
            ),
        },
    ))
}

/// Whether somebody is in the groups that rules name: one that is mistyped lets nobody through.
pub(super) fn groups(config: &Config, in_use: &Groups) -> Option<Finding> {
    let named = config.forward_auth.rules.0.iter().flat_map(|rule| match &rule.allow {
        Allow::Some { groups, .. } => groups.iter().collect(),
        Allow::Everyone | Allow::SignedIn => Vec::new(),
    });
    let empty: BTreeSet<_> = named.map(GroupName::as_str).filter(|group| !in_use.contains(group)).collect();
    (!empty.is_empty()).then(|| {
        Finding::warn(
            "forward-auth",
            format!(
                "rules name groups that nobody is in: {}",
                empty.into_iter().collect::<Vec<_>>().join(", ")
            ),
            "`kerria user groups` puts somebody in one; if one is mistyped, mend the rule",
        )
    })
}

/// Whether password hashing keeps to the OWASP Password Storage Cheat Sheet: memory and passes that cost an attacker
/// about the same.
pub(super) fn passwords(settings: &PasswordSettings) -> Finding {
    let subject = "passwords";
    let PasswordSettings { memory_kib, iterations, lanes, .. } = *settings;
    let text = format!("Argon2id with m={memory_kib} KiB, t={iterations}, p={lanes}");
    let needed_memory = match iterations {
        1 => 47_104,
        2 => 19_456,
        3 => 12_288,
        4 => 9_216,
        _ => 7_168,
    };
    if memory_kib < needed_memory {
        let advice =
            format!("set password.memory_kib to at least {needed_memory} (OWASP), or to the default");
        return Finding::warn(subject, format!("{text} is weak"), advice);
    }
    Finding::ok(subject, text)
}

/// How operators get in.
pub(super) fn operator_token(config: &Config) -> Finding {
    Finding::ok(
        "operator's API",
        match config.operator_token {
            Some(_) => "open over HTTP to those with the operator token, and through the control socket",
            None => "reached through the control socket only (operator.token is not set)",
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::doctor::State,
        config::{Flag, Sources},
    };

    fn config(set: &[(&str, &str)]) -> Survey {
        let flags = set.iter().map(|(key, value)| Flag::set(key, value)).collect();
        Survey::of(&Sources { folder: "/nonexistent".into(), flags, ..Sources::default() })
    }

    #[test]
    fn every_problem_of_the_configuration_is_a_finding() {
        assert_eq!(configuration(&config(&[]))[0].state, State::Ok);
        let findings = configuration(&config(&[("listn", "x"), ("listen", "x")]));
        assert_eq!(findings.len(), 2);
        assert!(findings.iter().all(|finding| finding.state == State::Fail));
    }

    #[test]
    fn the_public_address_is_judged_by_who_gets_there() {
        let state = |set: &[(&str, &str)]| public_url(config(set).draft()).state;
        assert_eq!(state(&[]), State::Ok);
        assert_eq!(state(&[("listen", "0.0.0.0:8080")]), State::Warn);
        assert_eq!(state(&[("listen", "0.0.0.0:8080"), ("public_url", "https://example.com")]), State::Ok);
        assert_eq!(state(&[("public_url", "http://nas.lan"), ("allow_insecure_http", "true")]), State::Warn);
    }

    #[test]
    fn a_proxy_in_front_wants_to_be_trusted() {
        let state = |set: &[(&str, &str)]| proxies(config(set).draft()).state;
        assert_eq!(state(&[]), State::Ok);
        assert_eq!(state(&[("public_url", "https://example.com")]), State::Warn);
        assert_eq!(
            state(&[("public_url", "https://example.com"), ("trusted_proxies", "10.0.0.1")]),
            State::Ok
        );
    }

    #[test]
    fn rules_that_nobody_can_ask_about_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let told = |set: &[(&str, &str)]| {
            let rule = "[[forward_auth.rule]]\nhosts = [\"wiki.example.com\"]\nallow = \"signed-in\"\n";
            std::fs::write(folder.path().join("kerria.toml"), rule).unwrap();
            let flags = set.iter().map(|(key, value)| Flag::set(key, value)).collect();
            let sources = Sources { folder: folder.path().to_owned(), flags, ..Sources::default() };
            forward_auth(Survey::of(&sources).draft()).unwrap().text
        };
        let url = ("public_url", "https://sign-in.example.com");
        let proxy = ("trusted_proxies", "10.0.0.1");
        assert_eq!(told(&[url]), "there are rules, and no proxy is trusted: every question is refused");
        let handed_over = "rules: 1; browsers do not send the session cookie to wiki.example.com: the session is handed over";
        assert_eq!(told(&[url, proxy]), handed_over);
        assert_eq!(told(&[url, proxy, ("session.cookie_domain", "sign-in.example.com")]), handed_over);
        assert_eq!(told(&[url, proxy, ("session.cookie_domain", "example.com")]), "rules: 1");
        assert_eq!(told(&[("public_url", "https://wiki.example.com"), proxy]), "rules: 1");
        assert!(forward_auth(config(&[]).draft()).is_none());
    }

    #[test]
    fn groups_that_nobody_is_in_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let rules = "[[forward_auth.rule]]\nhosts = [\"a.example\"]\ngroups = [\"staff\", \"Cooks\"]\n\
                     [[forward_auth.rule]]\nhosts = [\"b.example\"]\ngroups = [\"cooks\", \"admins\"]\n\
                     [[forward_auth.rule]]\nhosts = [\"c.example\"]\nallow = \"signed-in\"\n";
        std::fs::write(folder.path().join("kerria.toml"), rules).unwrap();
        let sources = Sources { folder: folder.path().to_owned(), ..Sources::default() };
        let survey = Survey::of(&sources);
        let told = |groups: &str| groups_of(&survey, groups).map(|finding| finding.text);
        let empty = Some("rules name groups that nobody is in: admins, cooks".to_owned());
        assert_eq!(told("staff others"), empty);
        assert_eq!(told("staff cooks admins"), None);
    }

    fn groups_of(survey: &Survey, in_use: &str) -> Option<Finding> {
        groups(survey.draft(), &in_use.parse().unwrap())
    }

    #[test]
    fn weak_hashing_is_noticed() {
        let state = |set: &[(&str, &str)]| passwords(&config(set).draft().password).state;
        assert_eq!(state(&[]), State::Ok);
        assert_eq!(state(&[("password.iterations", "1")]), State::Warn);
        assert_eq!(state(&[("password.memory_kib", "7168"), ("password.iterations", "5")]), State::Ok);
    }
}
