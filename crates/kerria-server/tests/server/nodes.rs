//! Several processes on one PostgreSQL database, in this one: with a clock that moves.

use std::sync::Arc;

use hyper::StatusCode;
use kerria::{ManualClock, SystemEntropy};
use kerria_core::{Clock, Timestamp};
use kerria_server::{
    app::{App, Edge},
    maintenance,
    serve::Server,
};
use kerria_store::testing::TestDatabase;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::cast::{Answer, Browser, FILE, HOUR, MINUTE, OPERATOR_TOKEN, PASSWORD, configuration};

/// What a proxy asks about, on another domain.
const RULES: &str = r#"
trusted_proxies = ["127.0.0.1"]

[[forward_auth.rule]]
hosts = ["wiki.other.example"]
allow = "signed-in"
"#;

/// Nodes that share a database and a clock.
struct Cluster {
    nodes: Vec<Node>,
    clock: Arc<ManualClock>,
    _database: TestDatabase,
}

struct Node {
    app: Arc<App>,
    server: Server,
    _folder: TempDir,
}

impl Cluster {
    async fn of(count: usize) -> Self {
        let database = TestDatabase::create();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
        let mut nodes: Vec<Node> = Vec::new();
        for _ in 0..count {
            let folder = TempDir::new().unwrap();
            let first = nodes.first().map_or(&folder, |first| &first._folder);
            let shared = |name| first.path().join(name).display().to_string();
            std::fs::write(shared("database"), database.url()).unwrap();
            let settings = [
                ("database.url_file", shared("database")),
                ("database.connections", "2".to_owned()),
                ("tokens.sealing_key_file", shared("sealing.key")),
                ("sign_up.mode", "open".to_owned()),
                (FILE, RULES.to_owned()),
            ];
            let config = configuration(&folder, &settings.map(|(key, value)| (key.to_owned(), value)));
            let edge = Edge { clock: Arc::clone(&clock) as Arc<dyn Clock>, entropy: Arc::new(SystemEntropy) };
            let app = App::open_at(config, edge).await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = Server::start(Arc::clone(&app), listener).unwrap();
            nodes.push(Node { server, app, _folder: folder });
        }
        Self { nodes, clock, _database: database }
    }

    /// Somebody who signs up at the first node.
    async fn signed_up(&self, name: &str) -> Browser {
        let mut browser = Browser::new(self.nodes[0].server.address);
        let account = json!({ "name": name, "password": PASSWORD });
        let answer = browser.send("POST", "/api/v1/users", &account).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        browser
    }

    /// Whether a node takes a browser for signed in.
    async fn knows(&self, node: usize, browser: &Browser) -> bool {
        Browser { address: self.nodes[node].server.address, ..browser.clone() }.is_signed_in().await
    }

    /// An access token that a node has signed for Alice.
    async fn token(&self, node: usize) -> String {
        let mut program = Browser::new(self.nodes[node].server.address);
        let login = json!({ "login": "alice", "password": PASSWORD, "transport": "tokens" });
        let answer = program.send("POST", "/api/v1/login", &login).await;
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Whether a node takes whoever presents this token for signed in.
    async fn accepts(&self, node: usize, token: &str) -> bool {
        let mut program = Browser::new(self.nodes[node].server.address);
        program.bearer = Some(token.to_owned());
        program.is_signed_in().await
    }

    async fn stop(self) {
        for node in self.nodes {
            node.server.stop().await;
        }
    }
}

#[tokio::test]
async fn a_session_that_is_used_at_one_node_is_not_idle_at_another() {
    let cluster = Cluster::of(2).await;
    let alice = cluster.signed_up("alice").await;
    assert!(cluster.knows(0, &alice).await);
    // Two hours are the limit; it is used all the time, but not where it was used first.
    for _ in 0..3 {
        cluster.clock.advance(HOUR + 30 * MINUTE);
        assert!(cluster.knows(1, &alice).await);
        cluster.nodes[1].app.checker.flush(cluster.clock.now()).await.unwrap();
    }
    assert!(cluster.knows(0, &alice).await);
    cluster.clock.advance(2 * HOUR);
    assert!(!cluster.knows(0, &alice).await);
    cluster.stop().await;
}

#[tokio::test]
async fn a_session_in_use_at_one_node_is_not_swept_by_another() {
    let cluster = Cluster::of(2).await;
    let alice = cluster.signed_up("alice").await;
    cluster.clock.advance(2 * HOUR - MINUTE);
    // The second node has seen it, and has not told the database yet.
    assert!(cluster.knows(1, &alice).await);
    cluster.clock.advance(MINUTE + MINUTE / 2);
    maintenance::sweep_all(&cluster.nodes[0].app).await.unwrap();
    assert!(cluster.knows(1, &alice).await);
    cluster.nodes[1].app.checker.flush(cluster.clock.now()).await.unwrap();
    assert!(cluster.knows(0, &alice).await);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_sweep_at_once_remove_what_is_over_and_nothing_else() {
    let cluster = Cluster::of(2).await;
    let mut used = vec![cluster.signed_up("alice").await];
    let mut over = Vec::new();
    for number in 1..40 {
        let mut browser = Browser::new(cluster.nodes[number % 2].server.address);
        assert_eq!(browser.sign_in("alice", PASSWORD).await.status, StatusCode::OK);
        if number % 2 == 0 { used.push(browser) } else { over.push(browser) }
    }
    for _ in 0..2 {
        cluster.clock.advance(HOUR + MINUTE);
        for (number, browser) in used.iter().enumerate() {
            assert!(cluster.knows(number % 2, browser).await);
        }
    }
    let [here, there] = &cluster.nodes[..] else { unreachable!() };
    let (one, other) = tokio::join!(maintenance::sweep_all(&here.app), maintenance::sweep_all(&there.app));
    one.and(other).unwrap();
    let left = here.app.store.all_sessions(None, 100).await.unwrap();
    assert_eq!(left.len(), used.len());
    for node in 0..2 {
        for browser in &used {
            assert!(cluster.knows(node, browser).await);
        }
        for browser in &over {
            assert!(!cluster.knows(node, browser).await);
        }
    }
    cluster.stop().await;
}

#[tokio::test]
async fn while_one_node_signs_with_another_key_already_all_accept_what_either_signs() {
    let cluster = Cluster::of(2).await;
    cluster.signed_up("alice").await;
    let mut operator = Browser::new(cluster.nodes[0].server.address);
    operator.bearer = Some(OPERATOR_TOKEN.to_owned());
    for _ in 0..3 {
        let before = [cluster.token(0).await, cluster.token(1).await];
        // A key is published for a while before anything is signed with it.
        cluster.clock.advance(MINUTE * 4);
        maintenance::turn_keys(&cluster.nodes[0].app).await;
        cluster.clock.advance(MINUTE * 2);
        let rotated = operator.send("POST", "/api/v1/operator/keys/rotate", &json!({})).await;
        assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.text);
        let after = [cluster.token(0).await, cluster.token(1).await];
        assert_ne!(key_of(&after[0]), key_of(&before[0]));
        assert_eq!(key_of(&after[1]), key_of(&before[1]), "the other node has not heard of it");
        for node in 0..2 {
            for token in &after {
                assert!(cluster.accepts(node, token).await);
            }
        }
        cluster.nodes[1].app.keyring.reload().await.unwrap();
        assert_eq!(key_of(&cluster.token(1).await), key_of(&after[0]));
    }
    cluster.stop().await;
}

/// The header of a JWT, in which its key is named.
fn key_of(token: &str) -> &str {
    token.split('.').next().unwrap()
}

#[tokio::test]
async fn an_operator_sees_all_nodes_and_how_far_each_is() {
    let cluster = Cluster::of(2).await;
    let mut operator = Browser::new(cluster.nodes[1].server.address);
    operator.bearer = Some(OPERATOR_TOKEN.to_owned());
    let everyone = json!({ "selector": { "kind": "everyone" } });
    let ended = operator.send("POST", "/api/v1/operator/revocations", &everyone).await.json();
    let seen = operator.get("/api/v1/operator/cluster").await.json();
    assert_eq!(
        (&seen["shared"], &seen["settled"], &seen["lease"]),
        (&json!(true), &json!(true), &json!("held"))
    );
    assert_eq!(seen["head"], ended["number"]);
    let nodes = seen["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 2, "{seen}");
    assert!(nodes.iter().all(|node| node["applied"] == seen["head"] && node["behind"] == 0), "{seen}");
    assert_eq!(nodes.iter().filter(|node| node["answers"] == true).count(), 1, "{seen}");
    cluster.stop().await;
}

/// A proxy asks a node for what a browser opens at the wiki; the cookies are those of that host.
async fn at_wiki(cluster: &Cluster, node: usize, jar: &Browser, path: &str) -> (Answer, Browser) {
    let jar = Browser { address: cluster.nodes[node].server.address, ..jar.clone() };
    let mut asking = jar
        .with("accept", "text/html")
        .with("x-forwarded-method", "GET")
        .with("x-forwarded-proto", "http")
        .with("x-forwarded-host", "wiki.other.example")
        .with("x-forwarded-uri", path);
    let answer = asking.get("/forward-auth").await;
    (answer, Browser { cookies: asking.cookies, ..jar })
}

#[tokio::test]
async fn a_code_works_once_at_all_nodes_and_an_end_at_one_ends_the_visit_at_another() {
    let cluster = Cluster::of(2).await;
    let mut alice = cluster.signed_up("alice").await;
    let stranger = Browser::new(alice.address);
    let (answer, known) = at_wiki(&cluster, 0, &stranger, "/page").await;
    let away = answer.header("location").unwrap().strip_prefix("http://localhost:8080").unwrap().to_owned();
    for round in 0..20 {
        alice.address = cluster.nodes[round % 2].server.address;
        let code = alice.get(&away).await.header("location").unwrap().to_owned();
        let path = code.strip_prefix("http://wiki.other.example").unwrap();
        let tries = (0..8).map(|number| at_wiki(&cluster, number % 2, &known, path));
        let answers = futures_util::future::join_all(tries).await;
        let winners: Vec<_> = answers.iter().filter(|(answer, _)| !answer.set_cookies().is_empty()).collect();
        assert_eq!(winners.len(), 1, "round {round}");
        let visiting = &winners[0].1;
        for node in [0, 1] {
            assert_eq!(at_wiki(&cluster, node, visiting, "/page").await.0.status, StatusCode::OK);
        }
        if round == 19 {
            let answer = alice.send("POST", "/api/v1/logout", &json!({})).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT);
            for node in [0, 1] {
                assert_eq!(at_wiki(&cluster, node, visiting, "/page").await.0.status, StatusCode::FOUND);
            }
        }
    }
    cluster.stop().await;
}
