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

use crate::cast::{Browser, HOUR, MINUTE, OPERATOR_TOKEN, PASSWORD, configuration};

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
