//! What the suite of tower-sessions asks.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
    middleware::{Next, from_fn},
    routing::{get, post},
};
use kerria::{Session, SessionError, SessionValue, Stored};
use kerria_core::SessionPolicy;
use kerria_store::SqliteStore;
use serde::{Deserialize, Serialize};

use crate::{Browser, HTTP, Shop, idle, visits};

#[tokio::test]
async fn a_bogus_cookie_is_left_alone_until_something_is_put_in() {
    let shop = Shop::open().await;
    for bogus in ["AAAAAAAAAAAAAAAAAAAAAA", "malformed", ""] {
        let mut browser = Browser::of("session", bogus);
        let answer = shop.get(&mut browser, "/").await;
        assert_eq!((answer.status, answer.set()), (StatusCode::OK, None));
        shop.get(&mut browser, "/visits").await;
        assert_ne!(browser.token(), bogus);
    }
}

#[tokio::test]
async fn a_cookie_says_how_long_it_is_kept_only_where_somebody_asked_to_stay() {
    let shop = Shop::open().await;
    let ordinary = shop.post(&mut Browser::default(), "/sign-in/alice").await;
    assert_eq!(ordinary.attributes(), "HttpOnly; SameSite=Lax; Path=/");
    let remembered = shop.post(&mut Browser::default(), "/sign-in/alice/remembered").await;
    let longest = SessionPolicy::default().remembered.absolute.as_secs();
    assert_eq!(remembered.attributes(), format!("HttpOnly; SameSite=Lax; Path=/; Max-Age={longest}"));
}

#[tokio::test]
async fn a_value_is_read_as_what_it_was_written_and_as_nothing_else() {
    let shop = Shop::open().await;
    let mut browser = Browser::default();
    assert_eq!(shop.value(&browser, "visits").await, "nothing");
    shop.get(&mut browser, "/visits").await;
    // It is a number, and asked for as a text.
    let answer = shop.get(&mut browser, "/value/visits").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(shop.get(&mut browser, "/visits").await.text, "2", "it stays what it was");
}

#[tokio::test]
async fn a_session_whose_last_value_is_removed_goes_on_empty() {
    let shop = Shop::open().await;
    let mut browser = shop.visitor().await;
    let before = browser.clone();
    assert_eq!(shop.post(&mut browser, "/remove/cart").await.text, "true");
    assert_eq!(shop.value(&browser, "cart").await, "nothing");
    assert_eq!((&browser, shop.count().await), (&before, 1));
    shop.post(&mut browser, "/value/cart/lamp").await;
    assert_eq!((shop.value(&before, "cart").await.as_str(), shop.count().await), ("lamp", 1));
}

#[tokio::test]
async fn a_cycled_session_has_another_token_and_what_it_had_and_the_old_one_is_refused() {
    let shop = Shop::open().await;
    let mut browser = shop.signed_in("alice").await;
    shop.post(&mut browser, "/value/cart/book").await;
    let before = browser.clone();
    assert!(shop.post(&mut browser, "/cycle").await.set().is_some());
    assert_ne!(browser, before);
    assert_eq!(shop.value(&browser, "cart").await, "book");
    assert_eq!((shop.who(&browser).await, shop.who(&before).await), ("alice".into(), "nobody".into()));
    assert_eq!(shop.count().await, 1);
}

#[tokio::test]
async fn a_flushed_session_is_gone_with_its_data_and_its_cookie() {
    let shop = Shop::open().await;
    let mut browser = shop.signed_in("alice").await;
    shop.post(&mut browser, "/value/cart/book").await;
    let copy = browser.clone();
    let answer = shop.post(&mut browser, "/flush").await;
    assert_eq!(answer.attributes(), "HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
    assert_eq!(
        (shop.who(&copy).await.as_str(), shop.value(&copy, "cart").await.as_str()),
        ("nobody", "nothing")
    );
    assert_eq!((browser, shop.count().await), (Browser::default(), 0));
}

#[tokio::test]
async fn a_value_with_a_type_of_its_own_begins_as_its_default_and_is_changed_in_place() {
    #[derive(Default, Serialize, Deserialize)]
    struct Guest {
        pages: u32,
    }
    impl SessionValue for Guest {
        const KEY: &'static str = "guest";
    }
    let look = async |guest: Stored<Guest>| guest.get().await.map(|guest| guest.pages.to_string());
    let turn = async |guest: Stored<Guest>| {
        guest.update(|guest| guest.pages += 1).await.map(|guest| guest.pages.to_string())
    };
    let shop = Shop::open().await.with(Router::new().route("/guest", get(look).post(turn)));
    let mut browser = Browser::default();
    assert_eq!(shop.get(&mut browser, "/guest").await.text, "0");
    for pages in ["1", "2"] {
        assert_eq!(shop.post(&mut browser, "/guest").await.text, pages);
        assert_eq!(shop.get(&mut browser, "/guest").await.text, pages);
    }
}

#[tokio::test]
async fn middleware_and_handler_have_the_same_session() {
    async fn greeted(session: Session, request: Request<Body>, next: Next) -> Response<Body> {
        session.insert("greeting", "hello").await.unwrap();
        let response = next.run(request).await;
        assert_eq!(session.get::<u64>("visits").await.unwrap(), Some(1));
        response
    }
    let inside = Router::new().route("/inside", get(visits)).layer(from_fn(greeted));
    let shop = Shop::open().await.with(inside);
    let mut browser = Browser::default();
    let answer = shop.get(&mut browser, "/inside").await;
    assert_eq!((answer.text.as_str(), answer.set().is_some(), shop.count().await), ("1", true, 1));
    assert_eq!(shop.value(&browser, "greeting").await, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_the_same_time_lose_nothing_of_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("sessions.db")).unwrap();
    let shop = Arc::new(Shop::over(Arc::new(store), HTTP, |options| options).await);
    let browser = shop.visitor().await;
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..30 {
        let (shop, mut browser) = (Arc::clone(&shop), browser.clone());
        crowd.spawn(async move {
            shop.get(&mut browser, "/visits").await;
            shop.post(&mut browser, &format!("/value/key-{number}/{number}")).await;
        });
    }
    crowd.join_all().await;
    for number in 0..30 {
        assert_eq!(shop.value(&browser, &format!("key-{number}")).await, number.to_string());
    }
    assert_eq!(shop.get(&mut browser.clone(), "/visits").await.text, "31");
}

#[tokio::test]
async fn what_is_over_is_deleted_in_the_background_and_nothing_else() {
    let shop = Shop::open().await;
    let (idle_one, used) = (shop.visitor().await, shop.visitor().await);
    shop.clock.advance(idle() / 2);
    assert_eq!(shop.value(&used, "cart").await, "book");
    shop.clock.advance(idle() / 2 + crate::MINUTE);
    shop.sweep().await;
    assert_eq!(shop.count().await, 1);
    assert_eq!(
        (shop.value(&used, "cart").await, shop.value(&idle_one, "cart").await),
        ("book".into(), "nothing".into())
    );
}

#[tokio::test]
async fn without_the_layer_a_handler_is_told_what_is_missing() {
    let app = Router::new().route("/visits", get(visits));
    let shop = Shop { app, ..Shop::open().await };
    assert_eq!(shop.get(&mut Browser::default(), "/visits").await.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn an_update_that_fails_leaves_the_value() {
    let grow = async |session: Session| -> Result<(), SessionError> {
        session.update("cart", |cart: Option<String>| cart.unwrap_or_default().repeat(10_000)).await.map(drop)
    };
    let shop = Shop::open().await.with(Router::new().route("/grow", post(grow)));
    let mut browser = shop.visitor().await;
    assert_eq!(shop.post(&mut browser, "/grow").await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(shop.value(&browser, "cart").await, "book");
}
