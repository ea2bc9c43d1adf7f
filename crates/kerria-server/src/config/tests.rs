//! The configuration as operators meet it.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;

use super::{
    kind::Kind,
    table::{Setting, settings},
    *,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A folder to start in, its `kerria.toml`, an environment and a command line.
struct Place {
    folder: TempDir,
    sources: Sources,
}

impl Place {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sources = Sources { folder: folder.path().to_owned(), ..Sources::default() };
        Self { folder, sources }
    }

    fn file(self, text: &str) -> Self {
        self.write("kerria.toml", text);
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.variables.push((name.into(), value.into()));
        self
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.sources.flags.push(Flag::set(key, value));
        self
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn config(&self) -> Config {
        load(&self.sources).unwrap()
    }

    /// What is wrong, with the folder taken out of the paths.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let problems = load(&self.sources).unwrap_err();
        problems.0.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }
}

#[test]
fn without_any_source_the_defaults_hold() {
    let config = Place::empty().config();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.public_url.as_str(), "http://localhost:8080/");
    assert_eq!(config.data_dir, Path::new("kerria-data"));
    assert_eq!(config.sign_up, SignUp::Invitation);
    assert_eq!(config.session.policy, SessionPolicy::default());
    assert_eq!(config.session.data, DataLimits::default());
    assert_eq!(config.session.limit, None);
    assert_eq!(config.session.last_seen_precision, Duration::from_secs(60));
    assert_eq!(config.session.log_retention, 30 * 24 * HOUR);
    assert_eq!(
        (config.password.memory_kib, config.password.iterations, config.password.lanes),
        (19_456, 2, 1)
    );
    assert!(config.password.workers >= 1);
    assert_eq!(config.throttle.network.forget_after, 24 * HOUR);
    assert!(config.operator_token.is_none());
}

#[test]
fn the_nearer_source_counts() {
    let place = Place::empty().file("site_name = 'file'\n[session]\nfresh_for = '1m'\nidle_timeout = '1h'");
    assert_eq!(place.config().site_name, "file");
    let place = place.variable("KERRIA_SITE_NAME", "variable").variable("KERRIA_SESSION_FRESH_FOR", "2m");
    assert_eq!(place.config().site_name, "variable");
    let place = place.set("site_name", "flag").set("site_name", "later flag");
    let config = place.config();
    assert_eq!(config.site_name, "later flag");
    assert_eq!(config.session.fresh_for, Duration::from_secs(120));
    assert_eq!(config.session.policy.ordinary.idle, HOUR);

    let survey = Survey::of(&place.sources);
    let from = |key| survey.place(key).word();
    assert_eq!(
        (from("site_name"), from("session.fresh_for"), from("session.idle_timeout"), from("listen")),
        ("flag", "variable", "file", "default")
    );
}

#[test]
fn the_file_is_the_flags_then_the_variables_then_the_one_in_the_folder() {
    let place = Place::empty().file("site_name = 'in the folder'");
    assert_eq!(place.config().site_name, "in the folder");
    let other = place.write("other.toml", "site_name = 'of the variable'");
    let mut place = place.variable("KERRIA_CONFIG", &other);
    assert_eq!(place.config().site_name, "of the variable");
    place.sources.file = Some(place.write("third.toml", "site_name = 'of the flag'").into());
    assert_eq!(place.config().site_name, "of the flag");
    place.sources.file = Some(place.folder.path().join("missing.toml"));
    assert_eq!(
        place.problems(),
        [
            "missing.toml: cannot be read: No such file or directory (os error 2); check the path and its permissions"
        ]
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let place = Place::empty()
        .file(
            "listn = '1'\n\
             site_name = 5\n\
             idle_timeout = '1h'\n\
             server = 3\n\
             [session]\n\
             idle_timeout = '2x'\n\
             absolute_timeout = 7200\n\
             limit_per_user = '3'\n\
             data_keys = 99999\n\
             carry_over = ['a b']\n\
             [password]\n\
             min_length = true\n\
             [sesion]\n\
             fresh_for = '1m'\n",
        )
        .variable("KERRIA_LISTN", "x")
        .variable("KERRIA_LISTEN", "8080")
        .variable("KERRIA_SIGN_UP_MODE", "everyone")
        .variable("KERRIA_TRUSTED_PROXIES", "10.0.0.0/8, proxy")
        .set("fresh_for", "1m")
        .set("operator.token", "0123456789012345678901234567890")
        .set("session.fresh_for", "0s")
        .set("log.filter", "info,=");
    assert_eq!(
        place.problems(),
        [
            "kerria.toml:1: listn: there is no such setting; did you mean listen?",
            "kerria.toml:2: site_name: write it in quotes; a duration has a unit too, as in \"90s\"",
            "kerria.toml:3: idle_timeout: there is no such setting; did you mean session.idle_timeout?",
            "kerria.toml:4: server: this is a group of settings: write [server] and the settings below it",
            "kerria.toml:6: session.idle_timeout: \"2x\" is not a duration: write a duration such as 90s, 15m, 2h, 7d or \
             1h30m",
            "kerria.toml:7: session.absolute_timeout: write it in quotes; a duration has a unit too, as in \"90s\"",
            "kerria.toml:8: session.limit_per_user: write a whole number, without quotes, not a TOML string",
            "kerria.toml:9: session.data_keys: 99999 is out of range: write a whole number from 0 to 10000",
            "kerria.toml:10: session.carry_over: \"a b\": a key is 1 to 64 characters out of A-Z a-z 0-9 . _ -",
            "kerria.toml:12: password.min_length: write a whole number, without quotes, not a TOML boolean",
            "kerria.toml:14: sesion.fresh_for: there is no such setting; did you mean session.fresh_for?",
            "KERRIA_LISTEN: \"8080\" is not an IP address with a port: write 127.0.0.1:8080 for this machine only, \
             0.0.0.0:8080 or [::]:8080 for all its addresses",
            "KERRIA_LISTN: there is no such setting; did you mean KERRIA_LISTEN?",
            "KERRIA_SIGN_UP_MODE: \"everyone\" is not a choice: write \"open\" or \"invitation\" or \"closed\"",
            "KERRIA_TRUSTED_PROXIES: \"proxy\" is not a network: write one such as 10.0.0.0/8 or fd00::/8, or a single \
             address",
            "--set fresh_for: there is no such setting; did you mean session.fresh_for?",
            "--set log.filter: \"info,=\" is not a filter: invalid filter directive",
            "--set operator.token: everyone on this machine can read a command line: put the secret into a file and name \
             it with operator.token_file, or into KERRIA_OPERATOR_TOKEN",
            "--set session.fresh_for: 0s is too short: it must be at least 1s",
        ]
    );
}

#[test]
fn what_is_written_twice_or_is_not_toml_is_told_with_its_line_and_without_its_content() {
    let place =
        Place::empty().file("site_name = 'a'\n\n[operator]\ntoken = 'a-very-secret-value-here\nlisten =\n");
    let problems = place.problems().join("\n");
    assert!(problems.starts_with("kerria.toml:4: this is not TOML: "), "{problems}");
    assert!(!problems.contains("a-very-secret"), "{problems}");
    let place = Place::empty().file("listen = '127.0.0.1:1'\nlisten = '127.0.0.1:2'");
    assert_eq!(place.problems(), ["kerria.toml:2: this is not TOML: duplicate key"]);
}

#[test]
fn only_variables_that_are_ours_are_looked_at() {
    let place = Place::empty()
        .variable("PATH", "/bin")
        .variable("KERRIASESSION", "x")
        .variable("KERRIA_SERVICE_HOST", "10.3.2.1")
        .variable("KERRIA_SERVICE_PORT_HTTP", "80")
        .variable("KERRIA_PORT", "tcp://10.3.2.1:80")
        .variable("KERRIA_PORT_80_TCP_ADDR", "10.3.2.1");
    place.config();
    assert_eq!(
        place.variable("KERRIA_PORTS", "1").problems(),
        ["KERRIA_PORTS: there is no such setting; `kerria config explain` lists them all"]
    );
}

#[test]
fn the_public_address_follows_the_port_unless_it_is_set() {
    let place = Place::empty().set("listen", "0.0.0.0:9000");
    assert_eq!(place.config().public_url.as_str(), "http://localhost:9000/");
    let place = place.set("public_url", "https://example.com");
    assert_eq!(place.config().public_url.as_str(), "https://example.com/");
}

#[test]
fn a_public_address_without_tls_is_refused_unless_it_is_this_machine() {
    let place = Place::empty().variable("KERRIA_PUBLIC_URL", "http://sign-in.example.com");
    assert_eq!(
        place.problems(),
        [
            "KERRIA_PUBLIC_URL: with http://sign-in.example.com everyone on the way could read passwords and cookies. Put \
          TLS in front (a reverse proxy) and set public_url to https://…, or set allow_insecure_http = true in a network \
          that you trust"
        ]
    );
    assert_eq!(place.set("allow_insecure_http", "true").config().public_url.scheme(), "http");
    for near in ["http://localhost:1", "http://app.localhost", "http://127.0.0.2", "http://[::1]:8080"] {
        Place::empty().set("public_url", near).config();
    }
}

#[test]
fn every_lifetime_can_be_a_second() {
    let mut place = Place::empty();
    for setting in settings() {
        if matches!(setting.kind, kind::Kind::Duration { .. }) && setting.key != "session.last_seen_precision"
        {
            place = place.set(setting.key, "1s");
        }
    }
    let config = place.config();
    assert_eq!(config.session.policy.remembered.absolute, Duration::from_secs(1));
    assert_eq!(config.session.last_seen_precision, Duration::from_millis(250), "the default shrinks to fit");
    let place = place.set("session.idle_timeout", "0s");
    assert_eq!(place.problems(), ["--set session.idle_timeout: 0s is too short: it must be at least 1s"]);
}

#[test]
fn last_seen_is_as_exact_as_the_idle_timeouts_need() {
    let place = Place::empty().set("session.idle_timeout", "1m");
    assert_eq!(place.config().session.last_seen_precision, Duration::from_secs(15));
    assert_eq!(
        place.set("session.last_seen_precision", "16s").problems(),
        [
            "--set session.last_seen_precision: session.last_seen_precision is 16s (--set session.last_seen_precision), \
          session.idle_timeout is 1m (--set session.idle_timeout), session.remembered_idle_timeout is 7d by default: the \
          first may be a quarter of the shorter timeout; remove it to get what fits"
        ]
    );
}

#[test]
fn logs_are_kept_as_long_as_sessions_last() {
    let place = Place::empty().set("session.remembered_absolute_timeout", "60d");
    assert_eq!(place.config().session.log_retention, 60 * 24 * HOUR);
    let problems = place.set("session.log_retention", "59d").problems();
    assert!(problems[0].contains("the first must be as long as the longer timeout"), "{problems:?}");
}

#[test]
fn settings_must_agree_with_each_other() {
    let place = Place::empty()
        .file("[session]\nidle_timeout = '13h'\nremembered_idle_timeout = '31d'\ndata_value_bytes = 20000\n")
        .variable("KERRIA_PASSWORD_MEMORY_KIB", "15")
        .set("password.lanes", "2")
        .set("throttle.account_free", "101")
        .set("throttle.network_delay", "6m")
        .set("throttle.device_longest", "25h");
    assert_eq!(
        place.problems(),
        [
            "kerria.toml:2: session.idle_timeout: session.idle_timeout is 13h (kerria.toml:2), session.absolute_timeout \
             is 12h by default: the first must not be more; lower it or raise the second",
            "kerria.toml:3: session.remembered_idle_timeout: session.remembered_idle_timeout is 31d (kerria.toml:3), \
             session.remembered_absolute_timeout is 30d by default: the first must not be more; lower it or raise the \
             second",
            "kerria.toml:4: session.data_value_bytes: session.data_value_bytes is 20000 (kerria.toml:4), \
             session.data_total_bytes is 16384 by default: the first must not be more; lower it or raise the second",
            "KERRIA_PASSWORD_MEMORY_KIB: password.memory_kib is 15 (KERRIA_PASSWORD_MEMORY_KIB), password.lanes is 2 \
             (--set password.lanes): Argon2id needs at least 8 KiB for each lane (RFC 9106, section 3.1)",
            "--set throttle.account_free: throttle.account_free is 101 (--set throttle.account_free), \
             throttle.account_closes_after is 100 by default: the first must not be more; lower it or raise the second",
            "--set throttle.device_longest: throttle.device_longest is 25h (--set throttle.device_longest), \
             throttle.forget_after is 24h by default: the first must not be more; lower it or raise the second",
            "--set throttle.network_delay: throttle.network_delay is 6m (--set throttle.network_delay), \
             throttle.network_longest is 5m by default: the first must not be more; lower it or raise the second",
        ]
    );
}

#[test]
fn a_setting_that_cannot_be_read_causes_no_further_complaints() {
    let place = Place::empty().set("session.absolute_timeout", "1x").set("session.idle_timeout", "20h");
    assert_eq!(place.problems().len(), 1);
}

#[test]
fn one_session_for_each_user_is_signed_in_at_one_place_only() {
    let limit = Place::empty().set("session.limit_per_user", "1").config().session.limit.unwrap();
    assert_eq!((limit.per_user.get(), limit.at_limit), (1, kerria_core::store::AtLimit::EndOldest));
    let place = Place::empty().set("session.at_limit", "refuse").set("session.limit_per_user", "3");
    assert_eq!(place.config().session.limit.unwrap().at_limit, kerria_core::store::AtLimit::Refuse);
}

#[test]
fn a_secret_comes_from_a_file_or_a_variable_and_is_never_shown() {
    let secret = "correct-horse-battery-staple";
    let place = Place::empty();
    let path = place.write("token", &format!("{secret}\n"));
    let place = place.set("operator.token_file", &path);
    assert_eq!(place.config().operator_token.unwrap().expose(), secret);

    let place = place.variable("KERRIA_OPERATOR_TOKEN", secret);
    let problems = place.problems();
    assert_eq!(
        problems,
        [
            "KERRIA_OPERATOR_TOKEN: operator.token is set in KERRIA_OPERATOR_TOKEN and operator.token_file in --set \
          operator.token_file: remove one of them"
        ]
    );

    let place = Place::empty().variable("KERRIA_OPERATOR_TOKEN", secret);
    let survey = Survey::of(&place.sources);
    let told = format!(
        "{} {} {:?} {:?}",
        explain::explain(&survey, "operator").unwrap(),
        explain::json(&survey, None).unwrap(),
        explain::overview(&survey).collect::<Vec<_>>(),
        survey.draft(),
    );
    assert!(told.contains("(set)") && !told.contains(secret));
}

#[test]
fn the_url_of_the_database_is_a_secret_because_of_its_password() {
    let (url, password) = ("postgres://kerria:correct-horse@db.example.com/kerria", "correct-horse");
    let place = Place::empty();
    let path = place.write("database", &format!("{url}\r\n"));
    let place = place.set("database.url_file", &path);
    assert_eq!(place.config().database.url.unwrap().expose(), url);
    for place in [Place::empty().variable("KERRIA_DATABASE_URL", url), place] {
        let survey = Survey::of(&place.sources);
        let told = format!(
            "{} {} {:?} {:?}",
            explain::explain(&survey, "database").unwrap(),
            explain::json(&survey, None).unwrap(),
            explain::overview(&survey).collect::<Vec<_>>(),
            survey.draft(),
        );
        assert!(!told.contains(password), "{told}");
    }
    let typed = Place::empty().set("database.url", url);
    assert_eq!(
        typed.problems(),
        [
            "--set database.url: everyone on this machine can read a command line: put the secret into a file and name it \
             with database.url_file, or into KERRIA_DATABASE_URL"
        ]
    );
}

#[test]
fn the_url_of_the_database_is_set_in_one_place() {
    let url = "postgres://kerria@db.example.com/kerria";
    let place = Place::empty().file(&format!("[database]\nurl = '{url}'"));
    let path = place.write("database", url);
    assert_eq!(
        place.set("database.url_file", &path).problems(),
        ["kerria.toml:2: database.url: database.url is set in kerria.toml:2 and database.url_file in --set \
             database.url_file: remove one of them"]
    );
}

#[test]
fn what_is_no_url_of_a_database_is_refused_without_repeating_it() {
    let message = "the address of the database is no PostgreSQL URL: write one such as \
                   postgres://user@host:5432/database, with special characters in the password percent-encoded";
    for url in ["mysql://kerria:hunter2@localhost/kerria", "postgres://kerria:hunter2#x@host:port/kerria"] {
        let place = Place::empty().variable("KERRIA_DATABASE_URL", url);
        assert_eq!(place.problems(), [format!("KERRIA_DATABASE_URL: {message}")]);
        let place = Place::empty();
        let path = place.write("database", url);
        let place = place.set("database.url_file", &path);
        assert_eq!(place.problems(), [format!("--set database.url_file: in the file database: {message}")]);
    }
    let place = Place::empty().variable("KERRIA_DATABASE_URL", "postgres://kerria:hunter2@localhost");
    assert_eq!(
        place.problems(),
        ["KERRIA_DATABASE_URL: the address of the database names no database: write it as \
             postgres://user@host:5432/database"]
    );
}

#[test]
fn the_url_of_redis_is_a_secret_that_is_set_in_one_place_and_is_one() {
    let (url, password) = ("redis://kerria:correct-horse@redis.example.com:6379", "correct-horse");
    let place = Place::empty();
    let path = place.write("redis", &format!("{url}\n"));
    assert_eq!(place.set("redis.url_file", &path).config().redis.url.unwrap().expose(), url);
    let survey = Survey::of(&Place::empty().variable("KERRIA_REDIS_URL", url).sources);
    let told = format!("{} {:?}", explain::explain(&survey, "redis").unwrap(), survey.draft());
    assert!(!told.contains(password), "{told}");
    let [refused] = &Place::empty().set("redis.url", url).problems()[..] else { panic!("one problem") };
    assert!(refused.contains("KERRIA_REDIS_URL") && !refused.contains(password), "{refused}");
    let both = Place::empty().file(&format!("[redis]\nurl = '{url}'"));
    let path = both.write("redis", url);
    assert_eq!(
        both.set("redis.url_file", &path).problems(),
        [
            "kerria.toml:2: redis.url: redis.url is set in kerria.toml:2 and redis.url_file in --set redis.url_file: remove \
          one of them"
        ]
    );
    let none = "http://kerria:correct-horse@redis.example.com";
    let [refused] = &Place::empty().variable("KERRIA_REDIS_URL", none).problems()[..] else { panic!("one") };
    assert!(!refused.contains(password), "{refused}");
}

#[test]
fn a_secret_that_is_none_is_refused_without_repeating_it() {
    for (secret, message) in [
        ("hunter2", "it has 7 characters, and needs at least 20: make one with `openssl rand -base64 32`"),
        (
            "hunter2 hunter2 hunter2",
            "it has white space or control characters inside: make one with `openssl rand -base64 32`",
        ),
    ] {
        let place = Place::empty().variable("KERRIA_OPERATOR_TOKEN", secret);
        assert_eq!(place.problems(), [format!("KERRIA_OPERATOR_TOKEN: {message}")]);
        let place = Place::empty();
        let path = place.write("token", secret);
        let place = place.set("operator.token_file", &path);
        assert_eq!(place.problems(), [format!("--set operator.token_file: in the file token: {message}")]);
    }
    let place = Place::empty().file("[operator]\ntoken = ['hunter2']");
    assert_eq!(
        place.problems(),
        ["kerria.toml:2: operator.token: write it in quotes: a text is expected, not a TOML array"]
    );
    let place = Place::empty().set("operator.token", "hunter2");
    assert!(!place.problems()[0].contains("hunter2"));
}

#[test]
fn what_is_shared_for_hs256_is_an_audience_and_a_secret_that_is_long_enough() {
    let shared = |audience: &str, characters: usize| {
        let place = Place::empty();
        let secret = place.write("secret", &"s".repeat(characters));
        place.set("tokens.hs256_audience", audience).set("tokens.hs256_secret_file", &secret)
    };
    let tokens = shared("https://legacy.example", 32).config().tokens;
    assert_eq!(tokens.hs256_audience.unwrap().as_str(), "https://legacy.example");
    assert_eq!(tokens.hs256_secret.unwrap().expose().len(), 32);
    // HMAC with SHA-256 wants a key as long as its output (RFC 7518, section 3.2).
    let problems = shared("https://legacy.example", 31).problems();
    assert!(problems[0].contains("it has 31 characters, and needs at least 32"), "{problems:?}");
    let problems = shared("a legacy", 32).problems();
    assert!(problems[0].contains("\"a legacy\": an audience has 1 to 255 characters"), "{problems:?}");
    assert_eq!(problems.len(), 1, "what could not be read causes no further complaints: {problems:?}");
}

#[test]
fn the_sample_file_is_the_defaults_with_and_without_its_comment_signs() {
    let defaults = format!("{:?}", Place::empty().config());
    let sample = explain::sample();
    assert_eq!(format!("{:?}", Place::empty().file(&sample).config()), defaults);
    let uncommented: Vec<_> = sample
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .filter(|line| !shows_an_example(line))
        .collect();
    let place = Place::empty().file(&uncommented.join("\n"));
    assert_eq!(format!("{:?}", place.config()), defaults);
    let survey = Survey::of(&place.sources);
    for setting in settings() {
        assert_eq!(survey.is_set(setting.key), setting.default.is_some(), "{} is in the sample", setting.key);
    }
}

/// A setting without a default is shown with an example, which may name a file that is not here.
fn shows_an_example(line: &str) -> bool {
    let mut optional = settings().filter(|setting| setting.default.is_none());
    optional.any(|setting| line.starts_with(&format!("{} = ", setting.name())))
}

#[test]
fn every_example_is_good_in_the_file_and_in_a_variable() {
    let needs_no_file = |setting: &&Setting| {
        !matches!(
            setting.kind,
            Kind::Secret(_) | Kind::SecretFile { .. } | Kind::PostgresFile(_) | Kind::RedisFile(_)
        )
    };
    for setting in settings().filter(needs_no_file) {
        let mut config = blank::config();
        setting.kind.apply(&mut config, setting.example).unwrap();
        let mut place = Place::empty().variable(&setting.variable(), setting.example);
        if setting.key == "session.log_retention" || setting.key == "session.last_seen_precision" {
            place = place.set(setting.key, setting.example);
        }
        if setting.key == "session.cookie_domain" {
            place = place.set("public_url", "https://sign-in.example.com");
        }
        if setting.key == "tokens.hs256_audience" {
            let secret = place.write("secret", "a-secret-of-more-than-thirty-two-characters");
            place = place.set("tokens.hs256_secret_file", &secret);
        }
        place.config();
    }
}

#[test]
fn every_setting_can_be_explained() {
    let survey = Survey::of(&Place::empty().sources);
    for setting in settings() {
        let text = explain::explain(&survey, setting.key).unwrap();
        assert!(text.contains(&setting.variable()) && text.contains("now "), "{text}");
    }
    assert_eq!(
        explain::explain(&survey, "session.fresh_for").unwrap(),
        "session.fresh_for\n    How old the last sign-in may be for a sensitive action, such as changing the password. After\n    \
         that the user is asked for the password again.\n\n    \
         now       \"15m\"  (the default)\n    \
         default   \"15m\"\n    \
         accepts   a duration such as 90s, 15m, 2h or 7d, at least 1s\n    \
         file      [session]  fresh_for = \"5m\"\n    \
         variable  KERRIA_SESSION_FRESH_FOR=5m\n    \
         flag      --set session.fresh_for=5m\n"
    );
    let rule = explain::explain(&survey, "forward_auth.rule").unwrap();
    assert!(
        rule.contains("\n    groups = [\"staff\"]\n        The users in one of these groups.\n"),
        "{rule}"
    );
    assert_eq!(
        explain::explain(&survey, "fresh").unwrap_err(),
        "there is no setting fresh; `kerria config explain` lists them all"
    );
    assert_eq!(
        explain::json(&survey, None).unwrap()["settings"].as_array().unwrap().len(),
        settings().count()
    );
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == explain::markdown(),
        "docs/configuration.md is out of date: `kerria config explain --markdown > docs/configuration.md`"
    );
}

#[test]
fn settings_of_tokens_that_do_not_fit_together_are_told() {
    let place = Place::empty().set("tokens.access_lifetime", "2h").set("session.idle_timeout", "3h");
    assert!(place.problems()[0].contains("an hour is the most"), "{:?}", place.problems());
    let place = Place::empty().set("tokens.access_lifetime", "20m").set("session.idle_timeout", "10m");
    assert!(place.problems()[0].contains("the first must not be more"), "{:?}", place.problems());
    let place = Place::empty().set("tokens.key_rotation", "10s");
    assert!(place.problems()[0].contains("they would be too many"), "{:?}", place.problems());
    let place = Place::empty().set("tokens.hs256_audience", "https://legacy.example");
    assert!(place.problems()[0].contains("belong together"), "{:?}", place.problems());
    for own in ["http://localhost:8080", "https://auth.example"] {
        let place = Place::empty();
        let secret = place.write("secret", &"s".repeat(32));
        let place = place.set("public_url", own).set("tokens.hs256_audience", own);
        let place = place.set("tokens.hs256_secret_file", &secret);
        assert!(place.problems()[0].contains("is Kerria itself"), "{:?}", place.problems());
    }
    assert_eq!(
        Place::empty().set("session.idle_timeout", "2m").config().tokens.access_lifetime,
        Duration::from_secs(120),
        "the default shrinks to fit"
    );
}

#[test]
fn rules_of_forward_auth_are_read_in_order() {
    let place = Place::empty().file(
        "[[forward_auth.rule]]\nhosts = [\"a.example\"]\npaths = [\"/public/*\"]\nmethods = [\"GET\"]\nallow = \"everyone\"\n\n\
         [[forward_auth.rule]]\nhosts = [\"a.example\", \"*.b.example\"]\nusers = [\"Alice\"]\ngroups = [\"Staff\"]\n\
         fresh_within = \"10m\"\nconsistency = \"strict\"\naudience = \"it\"\n",
    );
    let config = place.config();
    let [first, second] = &*config.forward_auth.rules.0 else { panic!("two rules") };
    assert_eq!(first.to_string(), "hosts a.example; paths /public/*; methods GET; everyone");
    assert_eq!(
        second.to_string(),
        "hosts a.example, *.b.example; users alice; groups staff; fresh within 10m"
    );
    assert!(second.place.ends_with("kerria.toml:7"), "{}", second.place);
    assert_eq!(second.consistency, Some(kerria::Consistency::Strict));
    assert_eq!(second.audience.as_ref().map(|audience| audience.as_str()), Some("it"));
}

#[test]
fn everything_that_is_wrong_with_rules_is_told_with_its_line() {
    let place = Place::empty().file(
        "[[forward_auth.rule]]\nallow = \"everybody\"\nhost = [\"a.example\"]\n\n\
         [[forward_auth.rule]]\nhosts = [\"https://a.example\"]\npaths = [\"admin\"]\nusers = []\nmethods = \"GET\"\n\n\
         [[forward_auth.rule]]\nhosts = [\"a.example\"]\nallow = \"everyone\"\nfresh_within = \"5\"\ngroups = [\"a b\"]\n\n\
         [[forward_auth.rule]]\nhosts = [\"a.example\"]\n\n\
         [[forward_auth.rule]]\nhosts = [\"a.example\"]\nallow = \"everyone\"\nfresh_within = \"5m\"\n",
    );
    let rule = |line: u32, rest: &str| format!("kerria.toml:{line}: forward_auth.rule.{rest}");
    assert_eq!(
        place.problems(),
        [
            rule(1, "hosts: name the hosts that the rule is about, as in hosts = [\"wiki.example.com\"]"),
            rule(2, "allow: \"everybody\" is not a choice: write \"signed-in\" or \"everyone\""),
            rule(3, "host: a rule has no such key; did you mean hosts?"),
            rule(
                6,
                "hosts: \"https://a.example\" is not a host: write one such as app.example.com or *.example.com"
            ),
            rule(7, "paths: \"admin\" does not begin with a slash: write /reports or /reports/*"),
            rule(8, "users: nothing is in the list: remove it, or name something"),
            rule(9, "methods: write a list, as in [\"one\", \"two\"]"),
            rule(
                13,
                "allow: users and groups say already whom the rule lets through: remove it, or remove them"
            ),
            rule(14, "fresh_within: \"5\" has no unit: write \"5s\" if you mean seconds, \"5m\" for minutes"),
            rule(
                15,
                "groups: \"a b\": The name of a group is made of the letters a to z, digits, and . _ - : / after the first one."
            ),
            rule(
                17,
                "allow: say whom the rule lets through: allow = \"signed-in\" or \"everyone\", or users, or groups"
            ),
            rule(
                23,
                "fresh_within: it says nothing of those who are not signed in: remove it, or write allow = \"signed-in\""
            ),
        ]
    );
    let single = Place::empty().file("[forward_auth.rule]\nhosts = [\"a.example\"]\n");
    assert_eq!(
        single.problems(),
        [
            "kerria.toml:1: forward_auth.rule: write [[forward_auth.rule]], with two brackets, before each rule"
        ]
    );
}

#[test]
fn the_domain_of_the_cookie_is_that_of_the_address() {
    let problems = |domain: &str, url: &str| {
        let place = Place::empty().set("session.cookie_domain", domain).set("public_url", url);
        load(&place.sources).map_or_else(|Problems(problems)| problems.len(), |_| 0)
    };
    assert_eq!(problems("example.com", "https://id.example.com"), 0);
    assert_eq!(problems("Example.com.", "https://example.com"), 0);
    for (domain, url) in [
        ("example.com", "https://notexample.com"),
        ("id.example.com", "https://example.com"),
        ("com", "https://example.com"),
        (".example.com", "https://example.com"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("example.com:80", "https://example.com"),
        ("localhost", "http://localhost"),
    ] {
        assert_eq!(problems(domain, url), 1, "{domain} {url}");
    }
}
