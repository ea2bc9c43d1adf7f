//! `kerria demo`, as a newcomer meets it.

use std::process::Stdio;

use hyper::StatusCode;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::Command,
    time::timeout,
};

use crate::cast::{Browser, PATIENCE};

#[tokio::test]
async fn a_newcomer_signs_in_twice_and_ends_one_from_the_other() {
    let [kerria, application] = [free().await, free().await];
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_kerria"))
        .args(["demo", "--listen", &kerria.to_string(), "--application", &application.to_string()])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stderr.take().unwrap()).lines();
    let mut password = None;
    let told = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let mut words = line.split_whitespace();
            if let (Some("alice"), Some(word), None) = (words.next(), words.next(), words.next()) {
                password = Some(word.to_owned());
            }
            if line.contains("Ctrl-C") {
                break;
            }
        }
    };
    timeout(PATIENCE, told).await.expect("it says what to do");
    let password = password.expect("the password of alice");
    let at_application = |browser: &Browser| {
        let host = format!("localhost:{}", application.port());
        Browser { address: application, host, ..browser.clone() }
    };
    let mut browsers = [Browser::new(kerria), Browser::new(kerria)];
    for browser in &mut browsers {
        browser.host = format!("localhost:{}", kerria.port());
        let answer = at_application(browser).with("accept", "text/html").get("/").await;
        assert_eq!(answer.status, StatusCode::FOUND, "{}", answer.text);
        let origin = format!("http://localhost:{}", kerria.port());
        let path = answer.header("location").unwrap().strip_prefix(&*origin).unwrap().to_owned();
        let wanted = path.split_once("return_to=").unwrap().1.to_owned();
        let wanted =
            url::form_urlencoded::parse(format!("r={wanted}").as_bytes()).next().unwrap().1.into_owned();
        let fields = [("login", "alice"), ("password", &*password), ("return_to", &*wanted)];
        let answer = browser.submit(&path, "/sign-in", &fields).await;
        let home = format!("http://localhost:{}/", application.port());
        assert_eq!(answer.header("location"), Some(&*home), "{}", answer.text);
        let page = at_application(browser).get("/kitchen/").await;
        assert!(page.text.contains("Hello, alice") && page.text.contains("cooks"), "{}", page.text);
        assert_eq!(at_application(browser).get("/now").await.status, StatusCode::NO_CONTENT);
    }
    let [mut one, other] = browsers;
    let answer = one.submit("/sessions", "/sessions/end-others", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(at_application(&other).get("/now").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(at_application(&one).get("/now").await.status, StatusCode::NO_CONTENT);
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(demo.id().unwrap().try_into().unwrap()).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert!(timeout(PATIENCE, demo.wait()).await.expect("it ends").unwrap().success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
}

async fn free() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
