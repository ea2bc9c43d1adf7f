//! One sign-in for hosts of other domains.

use std::{collections::BTreeMap, time::Duration};

use hyper::StatusCode;
use serde_json::json;

use super::{IDENTITY, ask, asking, change_groups, kerria_with, return_to};
use crate::cast::{Answer, Browser, FILE, HOUR, Kerria, MINUTE, OTHER_PASSWORD, PASSWORD};

const RULES: &str = r#"
trusted_proxies = ["127.0.0.1"]

[[forward_auth.rule]]
hosts = ["wiki.other.example"]
paths = ["/public/*"]
allow = "everyone"

[[forward_auth.rule]]
hosts = ["wiki.other.example"]
paths = ["/fresh/*"]
allow = "signed-in"
fresh_within = "10m"

[[forward_auth.rule]]
hosts = ["wiki.other.example"]
paths = ["/bob/*"]
users = ["bob"]

[[forward_auth.rule]]
hosts = ["localhost", "wiki.other.example", "*.third.example"]
allow = "signed-in"
"#;

const KERRIA: &str = "http://localhost:8080";
const WIKI: &str = "http://wiki.other.example/page?a=b%20c";
const SHOP: &str = "http://shop.third.example:81/";

async fn kerria() -> Kerria {
    kerria_with(&[(FILE, RULES), ("session.idle_timeout", "30m")]).await
}

/// A person with one browser, which keeps the cookies of each host by themselves.
#[derive(Clone)]
struct Person {
    at_kerria: Browser,
    elsewhere: BTreeMap<String, Browser>,
}

impl Person {
    fn new(kerria: &Kerria) -> Self {
        Self { at_kerria: kerria.browser(), elsewhere: BTreeMap::new() }
    }

    /// Who has signed in at Kerria.
    async fn signed_in(kerria: &Kerria, name: &str) -> Self {
        Self { at_kerria: kerria.signed_in(name).await, ..Self::new(kerria) }
    }

    /// The browser as the host of this URL sees it.
    fn at(&mut self, url: &str) -> &mut Browser {
        let address = self.at_kerria.address;
        self.elsewhere.entry(host(url).to_owned()).or_insert_with(|| Browser::new(address))
    }

    /// Asks for one page, with these headers.
    async fn ask(&mut self, url: &str, headers: &[(&str, &str)]) -> Answer {
        if let Some(path) = url.strip_prefix(KERRIA) {
            return self.at_kerria.get(path).await;
        }
        let jar = self.at(url);
        let asking = asking(jar, "GET", url);
        let mut browser = headers.iter().fold(asking, |browser, (name, value)| browser.with(name, value));
        let answer = browser.get("/forward-auth").await;
        jar.cookies = browser.cookies;
        answer
    }

    /// Opens one page, without going where the answer leads.
    async fn look(&mut self, url: &str) -> Answer {
        self.ask(url, &[("accept", "text/html"), ("sec-fetch-mode", "navigate")]).await
    }

    /// Opens a page and goes where the answers lead. The last answer, and where it is from.
    async fn open(&mut self, url: &str) -> (String, Answer) {
        let mut at = url.to_owned();
        for _ in 0..10 {
            let answer = self.look(&at).await;
            let Some(next) = answer.header("location") else { return (at, answer) };
            at = if next.starts_with('/') { format!("{KERRIA}{next}") } else { next.to_owned() };
        }
        panic!("{url} leads round and round, to {at}");
    }

    /// Opens a page as far as the code with which the browser is sent to its host.
    async fn code_for(&mut self, url: &str) -> String {
        let away = self.look(url).await.header("location").unwrap().to_owned();
        assert!(away.starts_with(&format!("{KERRIA}/hand-over?to=")), "{away}");
        let code = self.look(&away).await.header("location").unwrap().to_owned();
        assert!(code.contains("/.kerria/hand-over?code="), "{code}");
        code
    }

    /// Fills in the form of the page at `at`, sends it to `action`, and goes on from there.
    async fn fill_in(&mut self, at: &str, action: &str, fields: &[(&str, &str)]) -> (String, Answer) {
        let path = at.strip_prefix(KERRIA).unwrap_or_else(|| panic!("no page of Kerria's: {at}"));
        let kept = return_to(&self.at_kerria.get(path).await);
        let fields: Vec<_> = fields.iter().copied().chain([("return_to", &*kept)]).collect();
        let answer = self.at_kerria.submit(path, action, &fields).await;
        let next = answer.header("location").unwrap_or_else(|| panic!("{}", answer.text)).to_owned();
        self.open(&if next.starts_with('/') { format!("{KERRIA}{next}") } else { next }).await
    }

    async fn is_let_through(&mut self, url: &str) -> bool {
        match self.ask(url, &[]).await.status {
            StatusCode::OK => true,
            StatusCode::UNAUTHORIZED => false,
            status => panic!("{status}"),
        }
    }

    async fn sign_out(&mut self) {
        let answer = self.at_kerria.send("POST", "/api/v1/logout", &json!({})).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
}

fn host(url: &str) -> &str {
    url.split("://").nth(1).unwrap().split(['/', ':']).next().unwrap()
}

fn is_failed(answer: &Answer) -> bool {
    answer.status == StatusCode::FORBIDDEN
        && answer.set_cookies().is_empty()
        && answer.text.contains("You are not signed in here")
}

#[tokio::test]
async fn one_sign_in_opens_hosts_of_all_domains_and_a_sign_out_ends_all() {
    let kerria = kerria().await;
    let mut alice = Person::new(&kerria);
    for _ in 0..10 {
        let (at, _) = alice.open(WIKI).await;
        assert!(at.starts_with(&format!("{KERRIA}/sign-in?")), "{at}");
        let fields = [("login", "alice"), ("password", PASSWORD)];
        let (at, answer) = alice.fill_in(&at, "/sign-in", &fields).await;
        assert_eq!((&*at, answer.status), (WIKI, StatusCode::OK), "{}", answer.text);
        assert_eq!((answer.header("remote-name"), answer.header("cookie")), (Some("alice"), Some("")));
        // Nothing to type, nothing to click.
        let (at, answer) = alice.open(SHOP).await;
        assert_eq!(
            (&*at, answer.status, answer.header("remote-name")),
            (SHOP, StatusCode::OK, Some("alice"))
        );
        alice.sign_out().await;
        for url in [WIKI, SHOP] {
            let answer = alice.ask(url, &[]).await;
            assert_eq!(
                (answer.status, answer.problem()),
                (StatusCode::UNAUTHORIZED, "not-signed-in".to_owned())
            );
            assert!(IDENTITY.iter().all(|name| answer.header(name).is_none()));
        }
    }
}

#[tokio::test]
async fn whatever_ends_or_changes_the_session_counts_on_all_domains_at_once() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    alice.open(WIKI).await;
    let groups = json!({ "join": ["staff"] });
    change_groups(&kerria, "alice", &groups).await;
    assert_eq!(alice.look(WIKI).await.header("remote-groups"), Some("staff"));
    // Another user takes the session's place in this browser.
    alice.at_kerria.sign_in("bob", PASSWORD).await;
    assert!(!alice.is_let_through(WIKI).await);
    let (at, answer) = alice.open(WIKI).await;
    assert_eq!((&*at, answer.header("remote-name")), (WIKI, Some("bob")));
    let answer = kerria.operator().send("POST", "/api/v1/operator/users/bob/disable", &json!({})).await;
    assert!(answer.status.is_success(), "{}", answer.text);
    assert!(!alice.is_let_through(WIKI).await);
}

#[tokio::test]
async fn a_copy_of_a_visit_is_worth_nothing_after_a_new_proof_and_its_owner_goes_on_without_a_click() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    let proof = json!({ "password": PASSWORD });
    let change = json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD });
    for (method, path, body) in
        [("POST", "/api/v1/session/step-up", &proof), ("PUT", "/api/v1/password", &change)]
    {
        alice.open(WIKI).await;
        let mut thief = Person::new(&kerria);
        thief.at(WIKI).cookies = alice.at(WIKI).cookies.clone();
        assert!(thief.is_let_through(WIKI).await);
        kerria.clock.advance(MINUTE);
        let answer = alice.at_kerria.send(method, path, body).await;
        assert!(answer.status.is_success(), "{}", answer.text);
        assert!(!thief.is_let_through(WIKI).await, "{path}");
        let (at, _) = thief.open(WIKI).await;
        assert!(at.starts_with(&format!("{KERRIA}/sign-in?")), "{at}");
        let (at, answer) = alice.open(WIKI).await;
        assert_eq!((&*at, answer.header("remote-name")), (WIKI, Some("alice")), "{path}");
    }
}

#[tokio::test]
async fn a_copy_of_a_visit_that_is_over_takes_no_code_of_its_owner() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    alice.open(WIKI).await;
    let mut thief = Person::new(&kerria);
    thief.at(WIKI).cookies = alice.at(WIKI).cookies.clone();
    kerria.clock.advance(MINUTE);
    let proof = json!({ "password": PASSWORD });
    alice.at_kerria.send("POST", "/api/v1/session/step-up", &proof).await;
    let code = alice.code_for(WIKI).await;
    assert!(thief.look(&code).await.set_cookies().is_empty());
    assert!(!thief.is_let_through(WIKI).await);
}

#[tokio::test]
async fn a_use_on_one_host_is_a_use_of_the_session_everywhere() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    alice.open(WIKI).await;
    for _ in 0..3 {
        kerria.clock.advance(20 * MINUTE);
        assert!(alice.is_let_through(WIKI).await);
    }
    kerria.clock.advance(20 * MINUTE);
    assert!(alice.at_kerria.is_signed_in().await, "by use of the wiki");
    for _ in 0..3 {
        kerria.clock.advance(20 * MINUTE);
        assert!(alice.at_kerria.is_signed_in().await);
    }
    kerria.clock.advance(20 * MINUTE);
    assert!(alice.is_let_through(WIKI).await, "by use of Kerria's pages");
    kerria.clock.advance(31 * MINUTE);
    assert!(!alice.is_let_through(WIKI).await);
    assert!(!alice.at_kerria.is_signed_in().await);
}

#[tokio::test]
async fn a_code_works_once() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    for round in 0..20 {
        let mut alice = alice.clone();
        let code = alice.code_for(WIKI).await;
        let mut tries: Vec<_> = (0..16).map(|_| alice.clone()).collect();
        let tries = tries.iter_mut().map(|browser| browser.look(&code));
        let answers = futures_util::future::join_all(tries).await;
        let winners = answers.iter().filter(|answer| !answer.set_cookies().is_empty()).count();
        assert_eq!(winners, 1, "round {round}");
        for answer in &answers {
            assert_eq!((answer.status, answer.header("location")), (StatusCode::FOUND, Some(WIKI)));
        }
    }
    let code = alice.code_for(WIKI).await;
    let before = alice.clone();
    let answer = alice.look(&code).await;
    assert_eq!((answer.header("location"), answer.header("cache-control")), (Some(WIKI), Some("no-store")));
    // Going back in the browser leads on again.
    let answer = alice.look(&code).await;
    assert_eq!((answer.header("location"), answer.set_cookies().len()), (Some(WIKI), 0));
    assert!(alice.is_let_through(WIKI).await);
    // What was used stays so when what is over is removed.
    kerria.sweep().await;
    for mut copy in [before, Person::signed_in(&kerria, "bob").await] {
        assert!(copy.look(&code).await.set_cookies().is_empty());
        assert!(!copy.is_let_through(WIKI).await);
    }
}

#[tokio::test]
async fn a_code_counts_only_in_the_browser_that_was_sent_away_and_who_brings_one_uses_it_up() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    let mut mallory = Person::signed_in(&kerria, "bob").await;
    // Mallory leads Alice into a session of his own.
    let code = mallory.code_for(WIKI).await;
    assert!(is_failed(&alice.look(&code).await));
    assert!(!alice.is_let_through(WIKI).await);
    assert!(mallory.look(&code).await.set_cookies().is_empty(), "it is used up");
    // Or he sends her for a code that is meant for his browser, and sees it.
    let away = mallory.look(WIKI).await.header("location").unwrap().to_owned();
    let (at, answer) = alice.open(&away).await;
    assert!(at.contains("/.kerria/hand-over?code=") && is_failed(&answer), "{at}");
    assert!(mallory.look(&at).await.set_cookies().is_empty(), "it is used up");
    assert!(!mallory.is_let_through(WIKI).await);
    // Alice is not troubled by it: she gets to the page as herself.
    alice.look(WIKI).await;
    let (at, answer) = alice.open(&mallory.code_for(WIKI).await).await;
    assert_eq!((&*at, answer.header("remote-name")), (WIKI, Some("alice")));
}

#[tokio::test]
async fn a_code_counts_only_where_it_was_sent_and_for_a_minute() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    let code = alice.code_for(WIKI).await;
    let value = alice.at(WIKI).cookies.clone();
    alice.at(SHOP).cookies = value;
    for (from, to) in [
        ("wiki.other.example", "shop.third.example"),
        ("wiki.other.example", "wiki.other.example:81"),
        ("http://wiki", "https://wiki"),
        ("code=", "code=x&code="),
        ("code=", "cod="),
        ("alice", ""),
    ] {
        let changed = code.replacen(from, to, 1);
        if changed != code {
            assert!(is_failed(&alice.look(&changed).await), "{changed}");
        }
    }
    for at in 0..code.len() - code.find("code=").unwrap() - 5 {
        let mut changed = code.clone().into_bytes();
        let at = code.find("code=").unwrap() + 5 + at;
        changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
        assert!(is_failed(&alice.look(std::str::from_utf8(&changed).unwrap()).await), "{at}");
    }
    let for_another_port = alice.code_for(SHOP).await.replacen(":81/", "/", 1);
    assert!(is_failed(&alice.look(&for_another_port).await), "{for_another_port}");
    kerria.clock.advance(MINUTE - Duration::from_millis(1));
    assert_eq!(alice.clone().look(&code).await.set_cookies().len(), 1);
    let code = alice.code_for(WIKI).await;
    kerria.clock.advance(MINUTE);
    assert!(is_failed(&alice.look(&code).await));
}

#[tokio::test]
async fn a_code_of_a_session_that_has_ended_opens_nothing() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    let code = alice.code_for(WIKI).await;
    alice.sign_out().await;
    assert!(is_failed(&alice.look(&code).await));
    let mut alice = Person::signed_in(&kerria, "alice").await;
    let code = alice.code_for(WIKI).await;
    kerria.store.fail(kerria::testing::Steps::All);
    assert_eq!(alice.look(&code).await.status, StatusCode::SERVICE_UNAVAILABLE);
    kerria.store.mend();
    assert_eq!(alice.look(&code).await.header("location"), Some(WIKI));
}

#[tokio::test]
async fn a_visit_is_good_for_its_host_alone() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    alice.open(WIKI).await;
    let visit = alice.at(WIKI).cookies["kerria-visit"].clone();
    assert!(visit.len() < 200 && !visit.contains(&alice.at_kerria.token()), "{visit}");
    let mut thief = Person::new(&kerria);
    for url in [SHOP, "http://localhost:81/", "http://wiki.third.example/"] {
        thief.at(url).cookies.insert("kerria-visit".to_owned(), visit.clone());
        assert!(!thief.is_let_through(url).await, "{url}");
    }
    for name in ["kerria-visit", "kerria", "kerria-access", "kerria-refresh"] {
        thief.at_kerria.cookies = BTreeMap::from([(name.to_owned(), visit.clone())]);
        assert!(!thief.at_kerria.is_signed_in().await, "{name}");
    }
    thief.at_kerria.cookies.clear();
    thief.at_kerria.bearer = Some(visit.clone());
    assert!(!thief.at_kerria.is_signed_in().await);
    assert_eq!(
        thief.ask(WIKI, &[("authorization", &format!("Bearer {visit}"))]).await.status,
        StatusCode::UNAUTHORIZED
    );
    // Of two, neither counts.
    let mut bob = Person::signed_in(&kerria, "bob").await;
    bob.open(WIKI).await;
    let other = format!("kerria-visit={}", bob.at(WIKI).cookies["kerria-visit"]);
    assert_eq!(alice.ask(WIKI, &[("cookie", &other)]).await.status, StatusCode::UNAUTHORIZED);
    // The session of somebody else is known by its handle, which is no secret.
    let bob = kerria.signed_in("bob").await.handle().await;
    let signature = visit.split_once('.').unwrap().1;
    for value in [format!("{bob}.{signature}"), bob.clone(), format!("{bob}."), visit.to_uppercase()] {
        thief.at(WIKI).cookies.insert("kerria-visit".to_owned(), value);
        assert!(!thief.is_let_through(WIKI).await);
    }
}

#[tokio::test]
async fn nobody_else_can_make_a_link_that_leads_to_a_code() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    let away = alice.look(WIKI).await.header("location").unwrap().to_owned();
    let wish = url::Url::parse(&away).unwrap().query_pairs().next().unwrap().1.into_owned();
    let target = async |alice: &mut Person, wish: &str| {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("to", wish).finish();
        let answer = alice.at_kerria.get(&format!("/hand-over?{query}")).await;
        answer.header("location").unwrap().to_owned()
    };
    assert!(target(&mut alice, &wish).await.starts_with("http://wiki.other.example/.kerria/hand-over?code="));
    let (_, unsigned) = wish.split_once('.').unwrap();
    for changed in [
        wish.replace("other", "evil"),
        wish.replace("page", "pages"),
        wish.replace("http:", "https:"),
        wish[1..].to_owned(),
        unsigned.to_owned(),
        unsigned.split_once('.').unwrap().1.to_owned(),
        String::new(),
    ] {
        assert_eq!(target(&mut alice, &changed).await, "/sessions", "{changed}");
    }
    let kerria = kerria.restart_with(&[(FILE, &RULES.replace("wiki.other", "wiki.another"))]).await;
    alice.at_kerria.address = kerria.address;
    assert_eq!(target(&mut alice, &wish).await, "/sessions", "no rule is about its host any more");
    let of_ours =
        [("public_url", "http://wiki.other.example"), ("allow_insecure_http", "true"), (FILE, RULES)];
    let kerria = kerria.restart_with(&of_ours).await;
    alice.at_kerria.address = kerria.address;
    assert_eq!(target(&mut alice, &wish).await, "/sessions", "the session cookie reaches its host");
}

#[tokio::test]
async fn a_browser_is_known_by_no_value_that_was_not_given_to_it() {
    let kerria = kerria().await;
    for value in ["known", &"x".repeat(23), "!!!!!!!!!!!!!!!!!!!!!!"] {
        let mut alice = Person::signed_in(&kerria, "alice").await;
        alice.at(WIKI).cookies.insert("kerria-visit".to_owned(), value.to_owned());
        alice.look(WIKI).await;
        let given = alice.at(WIKI).cookies["kerria-visit"].clone();
        assert_eq!(given.len(), 22);
        assert_ne!(given, value);
    }
}

#[tokio::test]
async fn what_is_too_long_to_be_given_back_leads_to_the_beginning() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    let page = "http://wiki.other.example/page";
    for (query, target) in [
        ("a={b|c}&d=\"e\"".to_owned(), format!("{page}?a=%7Bb%7Cc%7D&d=%22e%22")),
        ("a".repeat(3_000), "http://wiki.other.example/".to_owned()),
        ("%20".repeat(600), "http://wiki.other.example/".to_owned()),
    ] {
        let (at, answer) = alice.open(&format!("{page}?{query}")).await;
        assert_eq!((at, answer.status), (target, StatusCode::OK));
        alice.at(WIKI).cookies.clear();
    }
}

#[tokio::test]
async fn a_sign_in_that_is_too_old_is_confirmed_from_another_domain_too() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    alice.open(WIKI).await;
    kerria.clock.advance(11 * MINUTE);
    let url = "http://wiki.other.example/fresh/x";
    assert_eq!(alice.ask(url, &[]).await.problem(), "fresh-sign-in-required");
    let (at, _) = alice.open(url).await;
    assert!(at.starts_with(&format!("{KERRIA}/confirm?")), "{at}");
    assert!(alice.is_let_through(WIKI).await, "the visit goes on meanwhile");
    let (at, answer) = alice.fill_in(&at, "/confirm", &[("password", PASSWORD)]).await;
    assert_eq!((&*at, answer.status), (url, StatusCode::OK), "{}", answer.text);
}

#[tokio::test]
async fn two_tabs_at_once_both_get_there() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    // Both are sent away before either is known.
    let other_tab = alice.clone().look(WIKI).await.header("location").unwrap().to_owned();
    let code = alice.code_for(WIKI).await;
    let (at, answer) = alice.open(&other_tab).await;
    assert_eq!((&*at, answer.status), (WIKI, StatusCode::OK));
    let (at, answer) = alice.open(&code).await;
    assert_eq!((&*at, answer.status), (WIKI, StatusCode::OK));
}

#[tokio::test]
async fn who_may_not_get_there_signs_in_as_somebody_else() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    alice.open(WIKI).await;
    let url = "http://wiki.other.example/bob/";
    let page = alice.look(url).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    let link = page.text.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let fields = [("login", "bob"), ("password", PASSWORD)];
    let (at, answer) = alice.fill_in(&link, "/sign-in", &fields).await;
    assert_eq!((&*at, answer.header("remote-name")), (url, Some("bob")));
}

#[tokio::test]
async fn what_is_for_everyone_tells_who_visits_and_leads_nobody_away() {
    let kerria = kerria().await;
    let url = "http://wiki.other.example/public/";
    let mut alice = Person::signed_in(&kerria, "alice").await;
    let answer = alice.look(url).await;
    assert_eq!((answer.status, answer.header("remote-name")), (StatusCode::OK, Some("")));
    alice.open(WIKI).await;
    assert_eq!(alice.look(url).await.header("remote-name"), Some("alice"));
    // A bearer token speaks for the request alone.
    let answer = alice.ask(url, &[("authorization", "Bearer x")]).await;
    assert_eq!((answer.status, answer.header("remote-name")), (StatusCode::OK, Some("")));
    let answer = alice.ask(WIKI, &[("authorization", "Basic YTpi")]).await;
    assert_eq!((answer.status, answer.header("authorization")), (StatusCode::OK, Some("Basic YTpi")));
}

#[tokio::test]
async fn over_tls_no_other_host_can_set_the_cookie_and_nothing_is_handed_over_without() {
    let settings = [(FILE, RULES), ("public_url", "https://id.example")];
    let kerria = Kerria::with(&settings).await;
    let mut alice = Person::new(&kerria);
    let answer = alice.look(&WIKI.replace("http:", "https:")).await;
    let cookies = answer.set_cookies();
    assert!(cookies[0].starts_with("__Host-kerria-visit=") && cookies.len() == 1, "{cookies:?}");
    for attribute in ["; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age=3600"] {
        assert!(cookies[0].contains(attribute), "{cookies:?}");
    }
    let answer = alice.look("http://wiki.other.example/.kerria/hand-over?code=x").await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::FORBIDDEN, "not-believed".to_owned()));
}

#[tokio::test]
async fn a_visit_is_kept_as_long_as_the_session() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    let code = alice.code_for(WIKI).await;
    let answer = alice.look(&code).await;
    assert!(!answer.set_cookies()[0].contains("Max-Age"), "{:?}", answer.set_cookies());
    let mut alice = Person::new(&kerria);
    let login = json!({ "login": "alice", "password": PASSWORD, "remember": true });
    alice.at_kerria.send("POST", "/api/v1/login", &login).await;
    kerria.clock.advance(HOUR);
    let code = alice.code_for(WIKI).await;
    let answer = alice.look(&code).await;
    let seconds: u64 = answer.set_cookies()[0].split("Max-Age=").nth(1).unwrap().parse().unwrap();
    let absolute = kerria.app.config.session.policy.remembered.absolute;
    assert_eq!(Duration::from_secs(seconds), absolute - HOUR);
}

#[tokio::test]
async fn the_path_of_the_hand_over_is_ours_on_hosts_of_other_domains_alone() {
    let kerria = kerria().await;
    let mut alice = Person::signed_in(&kerria, "alice").await;
    let path = "/.kerria/hand-over";
    let answer = alice.ask(&format!("http://wiki.other.example{path}"), &[]).await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::FORBIDDEN, "hand-over-failed".to_owned()));
    let unknown = alice.ask(&format!("http://unknown.example{path}"), &[]).await;
    assert_eq!((unknown.status, unknown.problem()), (StatusCode::FORBIDDEN, "not-allowed".to_owned()));
    let post = ask(&alice.at_kerria, "POST", &format!("http://wiki.other.example{path}")).await;
    assert_eq!(post.problem(), "not-allowed");
    let own = ask(&alice.at_kerria, "GET", &format!("http://localhost:81{path}")).await;
    assert_eq!(own.status, StatusCode::OK);
}

#[tokio::test]
async fn nginx_gets_the_code_and_the_cookie_in_the_headers_of_a_401() {
    let kerria = kerria().await;
    let navigation = kerria.browser().with("accept", "text/html");
    let mut nginx = navigation.with("x-original-method", "GET").with("x-original-url", WIKI);
    let answer = nginx.get("/forward-auth/nginx").await;
    assert_eq!((answer.status, answer.set_cookies().len()), (StatusCode::UNAUTHORIZED, 1));
    assert!(answer.header("location").unwrap().starts_with("http://localhost:8080/hand-over?to="));
}
