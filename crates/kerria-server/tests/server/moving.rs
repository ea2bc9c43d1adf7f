//! An installation that outgrows its SQLite file: the real program moves it to PostgreSQL.

use std::path::Path;

use hyper::{StatusCode, header::SET_COOKIE};
use kerria_store::testing::TestDatabase;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    cast::PASSWORD,
    program::{Client, Program, command, kerria},
};

const VARIABLE: &str = "KERRIA_DATABASE_URL";

/// `kerria db migrate`, and what it answers.
async fn migrate(folder: &Path, database: Option<&str>, arguments: &[&str]) -> (bool, String, String) {
    let mut command = kerria(folder);
    command.args(["db", "migrate", "--data-dir=data"]).args(arguments);
    if let Some(url) = database {
        command.env(VARIABLE, url);
    }
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn serve(folder: &Path, database: &str) -> Command {
    let mut command = command(folder);
    command.env(VARIABLE, database);
    command
}

/// Everybody who is signed in, in each of the three ways.
struct People {
    cookie: String,
    bearer: String,
    refresh: String,
    ended: String,
}

impl People {
    async fn sign_in(program: &Program) -> Self {
        let account = json!({ "name": "user0", "password": PASSWORD });
        let (status, body) =
            program.operator().send("POST", "/api/v1/operator/users", &account).await.unwrap();
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let client = program.client();
        let login = |transport| json!({ "login": "user0", "password": PASSWORD, "transport": transport });
        let answer = client.ask("POST", "/api/v1/login", &login("cookie")).await.unwrap();
        let set = answer.headers.get_all(SET_COOKIE).iter();
        let cookies: Vec<_> = set.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap()).collect();
        let cookie = cookies.join("; ");
        let (_, tokens) = client.send("POST", "/api/v1/login", &login("tokens")).await.unwrap();
        let refresh = tokens["refresh_token"].as_str().unwrap().to_owned();
        let ended = client.login(0).await.unwrap();
        let (status, _) = client.with(&ended).send("POST", "/api/v1/logout", &json!({})).await.unwrap();
        assert!(status.is_success());
        let bearer = client.login(0).await.unwrap();
        Self { cookie, bearer, refresh, ended }
    }

    async fn are_recognised(&self, client: &Client) {
        assert_eq!(client.with_cookie(&self.cookie).status("/api/v1/session").await, StatusCode::OK);
        assert_eq!(client.with(&self.bearer).status("/api/v1/session").await, StatusCode::OK);
        assert_eq!(client.with(&self.ended).status("/api/v1/session").await, StatusCode::UNAUTHORIZED);
        let refresh = json!({ "refresh_token": self.refresh });
        let (status, body) = client.send("POST", "/api/v1/session/refresh", &refresh).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_ne!(body["refresh_token"], Value::Null);
    }
}

#[tokio::test]
async fn nobody_is_signed_out_by_a_move_to_postgresql() {
    let (folder, database) = (TempDir::new().unwrap(), TestDatabase::create());
    let program = Program::start(folder.path()).await;
    let people = People::sign_in(&program).await;
    let from = "--from=sqlite:data/kerria.db";

    let (moved, _, told) = migrate(folder.path(), Some(&database.url()), &[from]).await;
    assert!(!moved && told.contains("stop it first"), "the server runs: {told}");
    program.stop().await;

    let (moved, told, error) = migrate(folder.path(), Some(&database.url()), &[from]).await;
    assert!(moved && told.contains("1 user, 3 sessions"), "{told}{error}");
    let program = Program::spawn(serve(folder.path(), &database.url())).await;
    people.are_recognised(&program.client()).await;
    program.stop().await;

    let Err(log) = Program::try_spawn(command(folder.path())).await else {
        panic!("there are two installations")
    };
    assert!(log.contains("was moved to a PostgreSQL database"), "{log}");
}

#[tokio::test]
async fn a_move_says_what_it_needs() {
    let folder = TempDir::new().unwrap();
    let from = "--from=sqlite:data/kerria.db";
    let (_, _, told) = migrate(folder.path(), None, &[from, "--to=postgres://localhost/kerria"]).await;
    assert!(told.contains("there is no database at data/kerria.db"), "{told}");
    Program::start(folder.path()).await.stop().await;
    for (arguments, words) in [
        (&[from][..], "say where to move it"),
        (&[from, "--to=postgres://kerria:secret@localhost/kerria"], "can read a command line"),
        (&[from, "--to=mysql://localhost/kerria"], "is no PostgreSQL URL"),
        (&["--from=data/kerria.db"], "write sqlite: and the file"),
        (&["--to=postgres://localhost/kerria"], "--from"),
    ] {
        let (moved, _, told) = migrate(folder.path(), None, arguments).await;
        assert!(!moved && told.contains(words) && !told.contains("secret"), "{told}");
    }
}
