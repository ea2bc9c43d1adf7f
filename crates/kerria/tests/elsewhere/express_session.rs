//! What express-session's suite asks.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
    routing::{get, post},
};
use kerria::{Session, SessionError};
use kerria_store::{Access, Observer, SqliteStore};
use tokio::sync::Barrier;

use crate::{Browser, HTTP, HTTPS, MINUTE, Shop, idle, visits};

/// How often a store was asked, and for what.
#[derive(Default)]
struct Asked {
    reads: AtomicU32,
    writes: AtomicU32,
}

impl Observer for Asked {
    fn answered(&self, access: Access, _: std::time::Duration) {
        let counter = if access == Access::Read { &self.reads } else { &self.writes };
        counter.fetch_add(1, Ordering::Relaxed);
    }
    fn announced(&self, _: std::time::Duration) {}
    fn acknowledged(&self, _: std::time::Duration, _: usize) {}
}

impl Asked {
    fn so_far(&self) -> (u32, u32) {
        (self.reads.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed))
    }
}

/// A request that stands still twice in its handler, until the test lets it go on.
fn slow<H, T>(handler: impl FnOnce(Arc<Barrier>) -> H) -> (Arc<Barrier>, Router)
where
    H: axum::handler::Handler<T, ()>,
    T: 'static,
{
    let pause = Arc::new(Barrier::new(2));
    (Arc::clone(&pause), Router::new().route("/slow", post(handler(pause))))
}

#[tokio::test]
async fn nothing_is_kept_and_no_cookie_is_set_until_something_is_put_in() {
    let shop = Shop::open().await;
    let mut browser = Browser::default();
    for path in ["/", "/value/cart", "/who"] {
        assert_eq!(shop.get(&mut browser, path).await.set(), None, "{path}");
    }
    assert_eq!(shop.count().await, 0);
    assert!(shop.get(&mut browser, "/visits").await.set().is_some());
    assert_eq!(shop.count().await, 1);
}

#[tokio::test]
async fn a_visitor_is_known_again_and_two_are_not_mixed_up() {
    let shop = Shop::open().await;
    let (mut one, mut other) = (Browser::default(), Browser::default());
    for visits in ["1", "2", "3"] {
        assert_eq!(shop.get(&mut one, "/visits").await.text, visits);
    }
    assert_eq!(shop.get(&mut other, "/visits").await.text, "1");
    assert_eq!(shop.get(&mut one, "/visits").await.text, "4");
}

#[tokio::test]
async fn a_cookie_is_set_once_and_not_with_every_answer() {
    let shop = Shop::open().await;
    let mut browser = Browser::default();
    assert!(shop.get(&mut browser, "/visits").await.set().is_some());
    for _ in 0..3 {
        assert_eq!(shop.get(&mut browser, "/visits").await.set(), None);
    }
}

#[tokio::test]
async fn a_request_that_changes_nothing_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let asked = Arc::new(Asked::default());
    let store =
        SqliteStore::open_observed(&folder.path().join("sessions.db"), Arc::clone(&asked) as _).unwrap();
    let shop = Shop::over(Arc::new(store), HTTP, |options| options).await;
    let browser = shop.visitor().await;
    let (_, writes) = asked.so_far();
    for _ in 0..20 {
        assert_eq!(shop.value(&browser, "cart").await, "book");
    }
    let (reads, still) = asked.so_far();
    assert_eq!(still, writes);
    for _ in 0..20 {
        assert_eq!(shop.who(&browser).await, "nobody");
    }
    assert_eq!(asked.so_far(), (reads, writes), "who it is, memory knows");
}

#[tokio::test]
async fn use_keeps_a_session_alive_without_another_cookie() {
    let shop = Shop::open().await;
    let (used, unused) = (shop.visitor().await, shop.visitor().await);
    for _ in 0..4 {
        shop.clock.advance(idle() - MINUTE);
        let answer = shop.get(&mut used.clone(), "/value/cart").await;
        assert_eq!((answer.text.as_str(), answer.set()), ("book", None));
    }
    assert_eq!(shop.value(&unused, "cart").await, "nothing");
}

#[tokio::test]
async fn a_session_whose_time_is_over_is_not_found_and_the_next_one_is_another() {
    let shop = Shop::open().await;
    let mut browser = shop.visitor().await;
    let before = browser.clone();
    shop.clock.advance(idle() + MINUTE);
    assert_eq!(shop.value(&browser, "cart").await, "nothing");
    assert_eq!(shop.get(&mut browser, "/visits").await.text, "1");
    assert_ne!(browser, before);
    shop.sweep().await;
    assert_eq!((shop.count().await, shop.value(&before, "cart").await.as_str()), (1, "nothing"));
}

#[tokio::test]
async fn a_token_that_nobody_has_given_out_is_never_adopted_and_costs_no_question() {
    let folder = tempfile::tempdir().unwrap();
    let asked = Arc::new(Asked::default());
    let store =
        SqliteStore::open_observed(&folder.path().join("sessions.db"), Arc::clone(&asked) as _).unwrap();
    let shop = Shop::over(Arc::new(store), HTTP, |options| options).await;
    // One of another installation is as well made as our own.
    let foreign = Shop::open().await.visitor().await;
    let long = "x".repeat(4_000);
    for made_up in ["", "x", "s%3Aabc.def", "kst_x", foreign.token(), &long] {
        let planted = Browser::of("session", made_up);
        let before = asked.so_far();
        assert_eq!(shop.who(&planted).await, "nobody");
        assert_eq!(asked.so_far(), before, "{made_up:?} is looked up");
        let mut browser = planted.clone();
        assert_eq!(shop.get(&mut browser, "/visits").await.text, "1");
        assert_ne!(browser, planted);
        assert_eq!(shop.value(&planted, "visits").await, "nothing", "{made_up:?} was adopted");
    }
}

#[tokio::test]
async fn a_token_whose_session_is_gone_is_not_given_to_another_one() {
    let shop = Shop::open().await;
    let gone = shop.visitor().await;
    shop.post(&mut gone.clone(), "/sign-out").await;
    let mut browser = gone.clone();
    assert_eq!(shop.get(&mut browser, "/visits").await.text, "1");
    assert_ne!(browser.token(), gone.token());
    assert_eq!(shop.value(&gone, "cart").await, "nothing");
}

#[tokio::test]
async fn what_is_destroyed_is_gone_with_its_cookie_and_destroying_nothing_sets_none() {
    let shop = Shop::open().await;
    let mut browser = shop.visitor().await;
    let copy = browser.clone();
    assert_eq!(
        shop.post(&mut browser, "/sign-out").await.attributes(),
        "HttpOnly; SameSite=Lax; Path=/; Max-Age=0"
    );
    assert_eq!((browser, shop.count().await), (Browser::default(), 0));
    assert_eq!(shop.value(&copy, "cart").await, "nothing");
}

#[tokio::test]
async fn after_a_session_was_destroyed_the_same_request_may_begin_another() {
    let anew = async |session: Session| -> Result<(), SessionError> {
        session.logout().await?;
        session.insert("cart", "empty").await
    };
    let shop = Shop::open().await.with(Router::new().route("/anew", post(anew)));
    let mut browser = shop.visitor().await;
    let before = browser.clone();
    shop.post(&mut browser, "/anew").await;
    assert_eq!(shop.value(&browser, "cart").await, "empty");
    assert_eq!(shop.value(&before, "cart").await, "nothing");
}

#[tokio::test]
async fn what_another_request_has_changed_is_read_without_reloading() {
    let (pause, routes) = slow(|pause| {
        move |session: Session| async move {
            let before = session.get::<String>("cart").await?;
            pause.wait().await;
            pause.wait().await;
            let after = session.get::<String>("cart").await?;
            Ok::<_, SessionError>(format!("{before:?} {after:?}"))
        }
    });
    let shop = Shop::open().await.with(routes);
    let browser = shop.visitor().await;
    let (mut slow, mut quick) = (browser.clone(), browser.clone());
    let (answer, ()) = tokio::join!(shop.post(&mut slow, "/slow"), async {
        pause.wait().await;
        shop.post(&mut quick, "/value/cart/lamp").await;
        pause.wait().await;
    });
    assert_eq!(answer.text, r#"Some("book") Some("lamp")"#);
}

#[tokio::test]
async fn what_was_put_in_is_kept_before_the_answer_begins() {
    let (pause, routes) = slow(|pause| {
        move |session: Session| async move {
            session.insert("order", "paid").await?;
            pause.wait().await;
            pause.wait().await;
            Ok::<_, SessionError>(())
        }
    });
    let shop = Shop::open().await.with(routes);
    let browser = shop.visitor().await;
    let mut slow = browser.clone();
    tokio::join!(shop.post(&mut slow, "/slow"), async {
        pause.wait().await;
        assert_eq!(shop.value(&browser, "order").await, "paid");
        pause.wait().await;
    });
}

#[tokio::test]
async fn a_slow_request_takes_nothing_back_that_a_quick_one_has_changed() {
    let (pause, routes) = slow(|pause| {
        move |session: Session| async move {
            session.get::<String>("cart").await?;
            pause.wait().await;
            pause.wait().await;
            session.insert("slow", "done").await
        }
    });
    let shop = Shop::open().await.with(routes);
    let browser = shop.visitor().await;
    let (mut slow, mut quick) = (browser.clone(), browser.clone());
    tokio::join!(shop.post(&mut slow, "/slow"), async {
        pause.wait().await;
        shop.post(&mut quick, "/value/cart/lamp").await;
        pause.wait().await;
    });
    assert_eq!(
        (shop.value(&browser, "cart").await, shop.value(&browser, "slow").await),
        ("lamp".into(), "done".into())
    );
}

#[tokio::test]
async fn the_cookie_ends_with_the_browser_and_is_for_this_host_all_paths_and_no_script() {
    let shop = Shop::open().await;
    let answer = shop.get(&mut Browser::default(), "/visits").await;
    assert_eq!(answer.attributes(), "HttpOnly; SameSite=Lax; Path=/");
    let shop = Shop::at(HTTPS, |options| options).await;
    let answer = shop.get(&mut Browser::default(), "/visits").await;
    assert_eq!(answer.attributes(), "HttpOnly; SameSite=Lax; Secure; Path=/");
    assert!(answer.set().unwrap().starts_with("__Host-session=kst_"));
}

#[tokio::test]
async fn whether_the_cookie_is_secure_says_the_address_and_no_header() {
    for (origin, secure) in [(HTTP, false), (HTTPS, true)] {
        let shop = Shop::at(origin, |options| options).await;
        for proto in ["http", "https", "https,http", "nonsense"] {
            let request = Request::get("/visits")
                .header("x-forwarded-proto", proto)
                .header("forwarded", format!("proto={proto}"))
                .body(Body::empty());
            let answer = shop.ask(&mut Browser::default(), request.unwrap()).await;
            assert_eq!(answer.attributes().contains("Secure"), secure, "{origin} behind {proto}");
        }
    }
}

#[tokio::test]
async fn around_a_part_of_the_application_the_layer_leaves_the_rest_alone() {
    let shop = Shop::open().await;
    let part = Router::new().route("/visits", get(visits)).layer(shop.sessions.layer());
    let app = Router::new()
        .nest("/admin", part.clone())
        .nest("/shop", part)
        .route("/", get(async || "outside"))
        .route("/visits", get(visits));
    let shop = Shop { app, ..shop };
    let mut browser = Browser::default();
    assert_eq!(shop.get(&mut browser, "/admin/visits").await.text, "1");
    assert_eq!(shop.get(&mut browser, "/shop/visits").await.text, "2", "one cookie is for all paths");
    let outside = shop.get(&mut browser, "/").await;
    assert_eq!((outside.text.as_str(), outside.set()), ("outside", None));
    assert_eq!(shop.get(&mut browser, "/visits").await.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn of_two_layers_one_counts() {
    let shop = Shop::open().await;
    let app = shop.app.clone().layer(shop.sessions.layer()).layer(shop.sessions.layer());
    let shop = Shop { app, ..shop };
    let mut browser = Browser::default();
    for visits in ["1", "2"] {
        assert_eq!(shop.get(&mut browser, "/visits").await.text, visits);
    }
    assert_eq!(shop.count().await, 1);
}

#[tokio::test]
async fn of_two_cookies_of_the_name_the_genuine_one_counts_and_of_two_genuine_ones_none() {
    let shop = Shop::open().await;
    let (one, other) = (shop.visitor().await, shop.visitor().await);
    let ask = async |cookies: String| {
        let request = Request::get("/value/cart").header(header::COOKIE, cookies).body(Body::empty());
        shop.ask(&mut Browser::default(), request.unwrap()).await.text
    };
    let (one, other) = (one.token(), other.token());
    assert_eq!(ask(format!("session={one}; session=planted")).await, "book");
    assert_eq!(ask(format!("session=planted; other=1; session={one}")).await, "book");
    assert_eq!(ask(format!("session={one}; session={other}")).await, "nothing");
    assert_eq!(ask(format!("Session={one}")).await, "nothing", "names are case-sensitive");
}

#[tokio::test]
async fn the_cookie_is_called_what_the_application_says() {
    let shop = Shop::at(HTTP, |options| options.cookie("connect.sid")).await;
    let mut browser = Browser::default();
    for visits in ["1", "2"] {
        assert_eq!(shop.get(&mut browser, "/visits").await.text, visits);
    }
    assert_eq!(browser.0.keys().collect::<Vec<_>>(), ["connect.sid"]);
}

#[tokio::test]
async fn cookies_that_the_handler_sets_are_set_beside_the_session() {
    let both = async |session: Session| -> Result<_, SessionError> {
        session.insert("cart", "book").await?;
        Ok([(header::SET_COOKIE, "theme=dark; Path=/")])
    };
    let shop = Shop::open().await.with(Router::new().route("/both", post(both)));
    let mut browser = Browser::default();
    let answer = shop.post(&mut browser, "/both").await;
    assert_eq!(answer.headers.get_all(header::SET_COOKIE).iter().count(), 2);
    assert_eq!(browser.0.keys().collect::<Vec<_>>(), ["session", "theme"]);
    assert_eq!(shop.value(&browser, "cart").await, "book");
}

#[tokio::test]
async fn no_key_has_a_meaning_of_its_own() {
    let shop = Shop::open().await;
    let mut browser = Browser::default();
    for key in ["cookie", "id", "save", "__proto__", "constructor", "expires", "user"] {
        assert_eq!(shop.post(&mut browser, &format!("/value/{key}/plain")).await.status, StatusCode::OK);
        assert_eq!(shop.value(&browser, key).await, "plain");
    }
    assert_eq!(shop.who(&browser).await, "nobody");
}

#[tokio::test]
async fn an_answer_without_a_body_sets_the_cookie_too() {
    let quiet = async |session: Session| -> Result<_, SessionError> {
        session.insert("cart", "book").await?;
        Ok(StatusCode::NO_CONTENT)
    };
    let shop = Shop::open().await.with(Router::new().route("/quiet", get(quiet)));
    for method in ["GET", "HEAD"] {
        let mut browser = Browser::default();
        let request = Request::builder().method(method).uri("/quiet").body(Body::empty()).unwrap();
        assert_eq!(shop.ask(&mut browser, request).await.status, StatusCode::NO_CONTENT);
        assert_eq!(shop.value(&browser, "cart").await, "book", "{method}");
    }
}
