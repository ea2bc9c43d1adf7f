//! A sign-in with a form, a page for whoever is signed in, and every device to be signed out: in one file.
//!
//! ```sh
//! cargo run --package kerria --features sqlite --example login -- 127.0.0.1:3000 sessions.db
//! ```
//!
//! The application keeps its users itself. Kerria keeps their sessions.

use std::{error::Error, net::SocketAddr, path::Path, sync::Arc};

use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use axum::{
    Form, Router,
    extract::{Request, State},
    http::StatusCode,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use kerria::{
    CurrentUser, Denied, LoadUser, Session, SessionError, SessionOptions, Sessions, SqliteStore, UserId,
    require_login, require_own_page,
};
use serde::Deserialize;

/// A user, as this application knows them. A real one has a table of them.
#[derive(Clone)]
struct User {
    id: UserId,
    name: &'static str,
    password_hash: Arc<str>,
}

#[derive(Clone)]
struct Users(Arc<[User]>);

impl Users {
    fn new() -> Self {
        let user = |number, name| User {
            id: UserId::from_number(number),
            name,
            // Do not write passwords into programs. These are for whoever tries the example.
            password_hash: hash(&format!("{name}'s password")).into(),
        };
        Self(Arc::new([user(1, "alice"), user(2, "bob")]))
    }

    /// Who has this name and this password.
    fn verify(&self, name: &str, password: &str) -> Option<&User> {
        let user = self.0.iter().find(|user| user.name == name);
        // Somebody who does not exist takes as long as somebody who does.
        let hash = user.unwrap_or(&self.0[0]).password_hash.clone();
        let hash = PasswordHash::new(&hash).ok()?;
        let is_right = Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
        user.filter(|_| is_right)
    }
}

fn hash(password: &str) -> String {
    Argon2::default().hash_password(password.as_bytes()).expect("a password can be hashed").to_string()
}

impl LoadUser<Users> for User {
    type Error = StatusCode;

    async fn load(id: UserId, users: &Users) -> Result<Option<Self>, StatusCode> {
        Ok(users.0.iter().find(|user| user.id == id).cloned())
    }
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
}

async fn form(session: Session) -> Result<Html<String>, SessionError> {
    let message = session.take::<String>("message").await?.unwrap_or_default();
    Ok(page(&format!(
        "<p>{message}</p><form method=post><p><label>Name <input name=name autocomplete=username></label>\
         <p><label>Password <input name=password type=password autocomplete=current-password></label>\
         <p><button>Sign in</button></form>"
    )))
}

async fn sign_in(
    State(users): State<Users>,
    session: Session,
    Form(credentials): Form<Credentials>,
) -> Result<Redirect, SessionError> {
    // A password takes long to verify: not where requests are answered.
    let Credentials { name, password } = credentials;
    let verified = tokio::task::spawn_blocking(move || users.verify(&name, &password).map(|user| user.id));
    match verified.await.ok().flatten() {
        Some(user) => {
            session.login(user).await?;
            Ok(Redirect::to("/"))
        }
        None => {
            session.insert("message", "That is not a name and its password.").await?;
            Ok(Redirect::to("/sign-in"))
        }
    }
}

async fn home(CurrentUser(user): CurrentUser<User>, session: Session) -> Result<Html<String>, SessionError> {
    let name = user.name;
    let devices: String = session
        .list()
        .await?
        .iter()
        .map(|details| {
            let here = if Some(details.session.id) == session.handle() { ", this one" } else { "" };
            format!("<li>{}{here}", details.device.in_words())
        })
        .collect();
    Ok(page(&format!(
        "<h1>Hello, {name}</h1><p>You are signed in with:<ul>{devices}</ul>\
         <form method=post action=/sign-out><button>Sign out</button></form>\
         <form method=post action=/sign-out-everywhere><button>Sign out everywhere</button></form>"
    )))
}

async fn sign_out(session: Session) -> Result<Redirect, SessionError> {
    session.logout().await?;
    Ok(Redirect::to("/sign-in"))
}

async fn sign_out_everywhere(session: Session) -> Result<Redirect, SessionError> {
    session.logout_everywhere().await?;
    Ok(Redirect::to("/sign-in"))
}

/// Browsers are sent to the form. That nobody can say right now who they are does not look like a sign-out.
fn to_the_form(denied: Denied, _: &Request) -> Response {
    match denied {
        Denied::NotSignedIn => Redirect::to("/sign-in").into_response(),
        other => other.into_response(),
    }
}

fn page(content: &str) -> Html<String> {
    Html(format!("<!doctype html><html lang=en><meta charset=utf-8><title>Login</title>{content}"))
}

async fn interrupted() {
    tokio::signal::ctrl_c().await.expect("the program can hear of Ctrl+C");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let database = arguments.next().unwrap_or_else(|| "sessions.db".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let store = Arc::new(SqliteStore::open(Path::new(&database))?);
    let sessions = Sessions::start(store, SessionOptions::new(url.parse()?)).await?;
    let app = Router::new()
        .route("/", get(home))
        .route("/sign-out-everywhere", post(sign_out_everywhere))
        .layer(require_login().or(to_the_form))
        .route("/sign-in", get(form).post(sign_in))
        .route("/sign-out", post(sign_out))
        .layer(require_own_page(sessions.own_origin()))
        .layer(sessions.layer())
        .with_state(Users::new())
        .into_make_service_with_connect_info::<SocketAddr>();
    eprintln!("alice signs in with \"alice's password\", bob with \"bob's password\"");
    eprintln!("listening on {url}");
    axum::serve(listener, app).with_graceful_shutdown(interrupted()).await?;
    Ok(sessions.stop().await?)
}
