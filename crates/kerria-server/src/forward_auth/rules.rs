//! The rules: which requests the proxies may let through, and for whom.

use std::{collections::BTreeSet, fmt, time::Duration};

use axum::http::Method;
use kerria::Consistency;
use kerria_core::{Audience, GroupName, LoginName, Profile, Timestamp, UserId};

use super::{
    original::{self, Original},
    path::{Ambiguous, PathPattern, canonical, in_small_letters},
};
use crate::config;

/// The rules, in the order in which they are tried. The first one that matches a request decides.
#[derive(Clone, Debug, Default)]
pub struct Rules(pub Vec<Rule>);

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The hosts that it is about.
    pub hosts: Vec<HostPattern>,
    /// The paths; all, if none is named.
    pub paths: Vec<PathPattern>,
    /// The methods; all, if none is named.
    pub methods: Vec<Method>,
    /// Whom it lets through.
    pub allow: Allow,
    /// How old the last sign-in may be.
    pub fresh_within: Option<Duration>,
    /// On what the check of the session rests, if not on what is set for all.
    pub consistency: Option<Consistency>,
    /// For whom the signed identity is meant, if not for the origin.
    pub audience: Option<Audience>,
    /// Where it is written.
    pub place: String,
}

/// Whom a rule lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// Everyone, signed in or not.
    Everyone,
    /// Every signed-in user.
    SignedIn,
    /// These users, and those in one of these groups.
    Some {
        /// The users.
        users: Vec<UserIs>,
        /// The groups.
        groups: BTreeSet<GroupName>,
    },
}

/// A user, as a rule names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserIs {
    /// By the identifier, which is never another one's.
    Known(UserId),
    /// By the name, in the form that is compared.
    Called(LoginName),
}

/// A host, or all below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// In small letters.
    host: String,
    /// Whether it is about the hosts below this one, and not about this one.
    below: bool,
}

/// What the rules say of a request before anybody is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'r> {
    /// This rule decides; it is at this place in the order, from 1.
    Rule(usize, &'r Rule),
    /// No rule matches.
    Nothing,
    /// It cannot be told which one decides.
    Unclear(Unclear),
}

/// Why it cannot be told which rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// The application may read the path otherwise.
    Path(Ambiguous),
    /// Another rule would decide if large letters counted as small ones, as they do in some applications.
    Case,
    /// Something asks the application to take the request for one with another method, or it is written in small letters.
    Method,
}

/// What a rule says of whoever has sent the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it through.
    Allowed,
    /// Somebody has to sign in.
    SignIn,
    /// The user has to prove again who they are.
    Confirm,
    /// Not for this user.
    Forbidden,
}

impl Rules {
    /// Which rule decides on a request.
    #[must_use]
    pub fn find(&self, original: &Original<'_>, overrides_method: bool) -> Found<'_> {
        let path = canonical(original.path());
        let small = path.as_deref().map(in_small_letters);
        let (mut methods_count, mut paths_count) = (false, false);
        let (mut exact, mut loose) = (None, None);
        let of_host = self.0.iter().enumerate().filter(|(_, rule)| rule.is_about_host(&original.host));
        for (at, rule) in of_host {
            methods_count |= !rule.methods.is_empty();
            paths_count |= !rule.paths.is_empty();
            if rule.is_about_method(&original.method) {
                if rule.is_about(|pattern| path.as_deref().is_ok_and(|path| pattern.covers(path))) {
                    exact.get_or_insert((at, rule));
                }
                if rule.is_about(|pattern| small.as_deref().is_ok_and(|small| pattern.covers_small(small))) {
                    loose.get_or_insert((at, rule));
                }
            }
        }
        if methods_count && (overrides_method || !original.says_one_method()) {
            return Found::Unclear(Unclear::Method);
        }
        if let Err(why) = path
            && paths_count
        {
            return Found::Unclear(Unclear::Path(why));
        }
        if exact.map(|(at, _)| at) != loose.map(|(at, _)| at) {
            return Found::Unclear(Unclear::Case);
        }
        exact.map_or(Found::Nothing, |(at, rule)| Found::Rule(at + 1, rule))
    }

    /// Whether a rule is about this host.
    #[must_use]
    pub fn name_host(&self, host: &str) -> bool {
        self.hosts().any(|pattern| pattern.covers(host))
    }

    /// The hosts that rules are about.
    pub fn hosts(&self) -> impl Iterator<Item = &HostPattern> {
        self.0.iter().flat_map(|rule| &rule.hosts)
    }
}

impl Rule {
    fn is_about_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|pattern| pattern.covers(host))
    }

    fn is_about(&self, covers: impl Fn(&PathPattern) -> bool) -> bool {
        self.paths.is_empty() || self.paths.iter().any(covers)
    }

    /// A HEAD is a GET without the body.
    fn is_about_method(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            || (*method == Method::HEAD && self.methods.contains(&Method::GET))
    }

    /// What it says of a user who proved at `authenticated_at` who they are, or of nobody.
    #[must_use]
    pub fn judge(&self, user: Option<(&Profile, Timestamp)>, now: Timestamp) -> Verdict {
        let (profile, authenticated_at) = match (&self.allow, user) {
            (Allow::Everyone, _) => return Verdict::Allowed,
            (_, None) => return Verdict::SignIn,
            (_, Some(user)) => user,
        };
        let is_allowed = match &self.allow {
            Allow::Everyone | Allow::SignedIn => true,
            Allow::Some { users, groups } => {
                users.iter().any(|user| user.is(profile)) || profile.groups.contains_any(groups)
            }
        };
        match self.fresh_within {
            _ if !is_allowed => Verdict::Forbidden,
            Some(within) if now.since(authenticated_at) >= within => Verdict::Confirm,
            _ => Verdict::Allowed,
        }
    }
}

impl UserIs {
    /// Whether this is the user.
    #[must_use]
    pub fn is(&self, profile: &Profile) -> bool {
        match self {
            Self::Known(user) => profile.user == *user,
            Self::Called(wanted) => profile.name.as_ref().is_some_and(|name| name.key() == wanted.key()),
        }
    }
}

impl HostPattern {
    /// Reads a pattern: `app.example.com`, or `*.example.com` for all hosts below it.
    ///
    /// # Errors
    /// What is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        match original::host_and_port(name) {
            Some((host, _)) if host.starts_with('[') => Err(format!("\"{text}\" {}", config::NO_WAY_BACK)),
            Some((host, None)) => Ok(Self { host: host.into_owned(), below }),
            Some((host, Some(_))) => {
                Err(format!("\"{text}\" has a port, which does not count: write {host}"))
            }
            _ => Err(format!("\"{text}\" is not a host: write one such as app.example.com or *.example.com")),
        }
    }

    fn covers(&self, host: &str) -> bool {
        if !self.below {
            return host == self.host;
        }
        host.strip_suffix(self.host.as_str()).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.below { "*." } else { "" })?;
        f.write_str(&self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn rule(hosts: &[&str], paths: &[&str], methods: &[&str], allow: Allow) -> Rule {
        Rule {
            hosts: hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
            paths: paths.iter().map(|path| PathPattern::parse(path).unwrap()).collect(),
            methods: methods.iter().map(|method| method.parse().unwrap()).collect(),
            allow,
            fresh_within: None,
            consistency: None,
            audience: None,
            place: String::new(),
        }
    }

    fn some(users: &[UserIs], groups: &[&str]) -> Allow {
        let groups = groups.iter().map(|group| group.parse().unwrap()).collect();
        Allow::Some { users: users.to_vec(), groups }
    }

    fn profile(name: &str, groups: &str) -> Profile {
        let user = UserId::new(NOW, &kerria::SystemEntropy);
        let name = kerria_core::UserName::parse(name).ok();
        Profile { user, name, email: None, groups: groups.parse().unwrap() }
    }

    /// The number of the rule that decides, 0 for none.
    fn found(rules: &[Rule], method: &str, url: &str) -> Result<usize, Unclear> {
        let original = Original::typed(method.parse().unwrap(), url).unwrap();
        match Rules(rules.to_vec()).find(&original, false) {
            Found::Rule(number, _) => Ok(number),
            Found::Nothing => Ok(0),
            Found::Unclear(why) => Err(why),
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_none_is_a_refusal() {
        let rules = [
            rule(&["app.example"], &["/public/*"], &[], Allow::Everyone),
            rule(&["app.example"], &["/api/*"], &["GET"], Allow::SignedIn),
            rule(&["app.example"], &["/api/*"], &[], some(&[], &["staff"])),
            rule(&["*.wiki.example"], &[], &[], Allow::SignedIn),
        ];
        for (method, url, number) in [
            ("GET", "https://app.example/public/x", 1),
            ("POST", "https://APP.example.:8443/public/x", 1),
            ("GET", "https://app.example/api/x?y=/public/", 2),
            ("HEAD", "https://app.example/api", 2),
            ("POST", "https://app.example/api/x", 3),
            ("OPTIONS", "https://app.example/api/x", 3),
            ("GET", "https://app.example/", 0),
            ("GET", "https://a.wiki.example/", 4),
            ("GET", "https://a.b.wiki.example/x//../y", 4),
            ("GET", "https://wiki.example/", 0),
            ("GET", "https://awiki.example/", 0),
            ("GET", "https://other.example/public/x", 0),
            ("GET", "https://[::1]:8443/public/x", 0),
        ] {
            assert_eq!(found(&rules, method, url), Ok(number), "{method} {url}");
        }
    }

    #[test]
    fn where_paths_count_each_is_read_in_one_way_or_not_at_all() {
        let rules = [
            rule(&["app.example"], &["/admin/*"], &[], some(&[], &["staff"])),
            rule(&["app.example"], &[], &[], Allow::SignedIn),
        ];
        for (path, why) in [
            ("/public/../admin", Unclear::Path(Ambiguous::Segments)),
            ("//admin", Unclear::Path(Ambiguous::Segments)),
            ("/%61dmin", Unclear::Path(Ambiguous::Escape)),
            ("/x%2f..%2fadmin", Unclear::Path(Ambiguous::Escape)),
            ("/x;/../admin", Unclear::Path(Ambiguous::Character)),
            ("/Admin", Unclear::Case),
            ("/ADMIN/users", Unclear::Case),
        ] {
            assert_eq!(found(&rules, "GET", &format!("https://app.example{path}")), Err(why), "{path}");
        }
        assert_eq!(found(&rules, "GET", "https://app.example/Elsewhere"), Ok(2));
        // Whichever rule it is that names paths.
        let rules = [
            rule(&["app.example"], &[], &["POST"], Allow::SignedIn),
            rule(&["app.example"], &["/public/*"], &[], Allow::Everyone),
        ];
        let why = Err(Unclear::Path(Ambiguous::Segments));
        assert_eq!(found(&rules, "POST", "https://app.example/public/../x"), why);
        assert_eq!(found(&rules, "GET", "https://app.example/Public/x"), Err(Unclear::Case));
    }

    #[test]
    fn a_method_that_may_be_another_one_is_refused_where_methods_count() {
        let original = Original::typed(Method::POST, "https://app.example/").unwrap();
        let by_method = Rules(vec![rule(&["app.example"], &[], &["POST"], Allow::SignedIn)]);
        assert_eq!(by_method.find(&original, true), Found::Unclear(Unclear::Method));
        let by_host = Rules(vec![rule(&["app.example"], &[], &[], Allow::SignedIn)]);
        assert!(matches!(by_host.find(&original, true), Found::Rule(1, _)));
        let beside =
            Rules([by_host.0, vec![rule(&["api.example"], &[], &["GET"], Allow::SignedIn)]].concat());
        assert!(matches!(beside.find(&original, true), Found::Rule(1, _)), "those of another host do not");
    }

    #[test]
    fn a_rule_lets_through_whom_it_names() {
        let alice = profile("Alice", "staff");
        let bob = profile("bob", "");
        let judge = |allow: Allow, user: Option<&Profile>| {
            rule(&["x"], &[], &[], allow).judge(user.map(|profile| (profile, NOW)), NOW)
        };
        let called = |name| UserIs::Called(LoginName::parse(name));
        use Verdict::{Allowed, Forbidden, SignIn};
        for (allow, nobody, of_alice, of_bob) in [
            (Allow::Everyone, Allowed, Allowed, Allowed),
            (Allow::SignedIn, SignIn, Allowed, Allowed),
            (some(&[called("ALICE")], &[]), SignIn, Allowed, Forbidden),
            (some(&[UserIs::Known(bob.user)], &[]), SignIn, Forbidden, Allowed),
            (some(&[], &["staff", "others"]), SignIn, Allowed, Forbidden),
            (some(&[called("bob")], &["staff"]), SignIn, Allowed, Allowed),
            (some(&[], &["others"]), SignIn, Forbidden, Forbidden),
        ] {
            let judged = [None, Some(&alice), Some(&bob)].map(|user| judge(allow.clone(), user));
            assert_eq!(judged, [nobody, of_alice, of_bob], "{allow:?}");
        }
    }

    #[test]
    fn a_proof_that_is_too_old_is_asked_for_again() {
        let alice = profile("alice", "");
        let strict =
            Rule { fresh_within: Some(Duration::from_secs(600)), ..rule(&["x"], &[], &[], Allow::SignedIn) };
        let after = |seconds| strict.judge(Some((&alice, NOW)), NOW + Duration::from_secs(seconds));
        assert_eq!((after(599), after(600)), (Verdict::Allowed, Verdict::Confirm));
        let for_others = Rule { allow: some(&[], &["staff"]), ..strict };
        let late = NOW + Duration::from_secs(600);
        assert_eq!(for_others.judge(Some((&alice, NOW)), late), Verdict::Forbidden);
    }

    #[test]
    fn a_wrong_host_is_told() {
        for (host, told) in [
            (
                "https://app.example",
                "\"https://app.example\" is not a host: write one such as app.example.com or *.example.com",
            ),
            ("app.example:8443", "\"app.example:8443\" has a port, which does not count: write app.example"),
            (
                "[::1]:8443",
                "\"[::1]:8443\" is an IPv6 address, and from our pages browsers lead nobody back to one: give it a name",
            ),
            ("*", "\"*\" is not a host: write one such as app.example.com or *.example.com"),
            (
                "a.*.example",
                "\"a.*.example\" is not a host: write one such as app.example.com or *.example.com",
            ),
        ] {
            assert_eq!(HostPattern::parse(host).unwrap_err(), told);
        }
    }
}
