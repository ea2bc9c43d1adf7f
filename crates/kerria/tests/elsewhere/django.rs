//! What Django's suites of sessions and of sign-ins ask.

use std::sync::Arc;

use axum::{
    Router,
    extract::Path,
    http::{StatusCode, header},
    routing::{get, post},
};
use kerria::{Expiry, Session, SessionError, Timestamp, testing::START};
use tokio::sync::Barrier;

use crate::{Browser, HTTPS, MINUTE, Shop, idle, user};

#[tokio::test]
async fn a_value_that_is_taken_is_gone_and_one_that_is_not_there_has_a_default() {
    let shop = Shop::open().await;
    let mut browser = shop.visitor().await;
    assert_eq!(shop.post(&mut browser, "/take/cart").await.text, "book");
    assert_eq!(shop.post(&mut browser, "/take/cart").await.text, "nothing");
    assert_eq!(shop.value(&browser, "cart").await, "nothing");
}

#[tokio::test]
async fn a_default_is_set_once() {
    let at_first = async |session: Session| {
        session.update("language", |held: Option<String>| held.unwrap_or_else(|| "en".to_owned())).await
    };
    let shop = Shop::open().await.with(Router::new().route("/language", get(at_first)));
    let mut browser = Browser::default();
    assert_eq!(shop.get(&mut browser, "/language").await.text, "en");
    shop.post(&mut browser, "/value/language/de").await;
    assert_eq!(shop.get(&mut browser, "/language").await.text, "de");
}

#[tokio::test]
async fn one_can_ask_what_there_is() {
    let ask = async |session: Session| -> Result<String, SessionError> {
        let keys = session.keys().await?;
        assert_eq!(session.contains("cart").await?, keys.contains(&"cart".to_owned()));
        Ok(keys.join(" "))
    };
    let shop = Shop::open().await.with(Router::new().route("/keys", get(ask)));
    let mut browser = Browser::default();
    assert_eq!(shop.get(&mut browser, "/keys").await.text, "");
    assert_eq!((browser.0.len(), shop.count().await), (0, 0), "to ask makes no session");
    for key in ["language", "cart"] {
        shop.post(&mut browser, &format!("/value/{key}/x")).await;
    }
    assert_eq!(shop.get(&mut browser, "/keys").await.text, "cart language");
    shop.post(&mut browser, "/remove/cart").await;
    assert_eq!(shop.get(&mut browser, "/keys").await.text, "language");
}

#[tokio::test]
async fn a_visitor_whose_key_is_cycled_keeps_what_they_had() {
    let shop = Shop::open().await;
    let mut browser = shop.visitor().await;
    let before = browser.clone();
    shop.post(&mut browser, "/cycle").await;
    assert_ne!(browser, before);
    assert_eq!(
        (shop.value(&browser, "cart").await, shop.value(&before, "cart").await),
        ("book".into(), "nothing".into())
    );
    // Who has none gets none.
    assert_eq!(shop.post(&mut Browser::default(), "/cycle").await.set(), None);
    assert_eq!(shop.count().await, 1);
}

#[tokio::test]
async fn messages_are_shown_once_in_their_order_on_whichever_page_comes_next() {
    let say = async |session: Session| -> Result<(), SessionError> {
        session.flash("saved").await?;
        session.flash("sent").await
    };
    let show = async |session: Session| session.take_flashes::<String>().await.map(|all| all.join(" "));
    let shop = Shop::open().await.with(Router::new().route("/messages", get(show).post(say)));
    let mut browser = Browser::default();
    shop.post(&mut browser, "/messages").await;
    shop.get(&mut browser, "/").await;
    // They outlast the sign-in.
    shop.post(&mut browser, "/sign-in/alice").await;
    assert_eq!(shop.get(&mut browser, "/messages").await.text, "saved sent");
    assert_eq!(shop.get(&mut browser, "/messages").await.text, "");
}

#[tokio::test]
async fn a_session_that_is_cleared_is_empty_and_the_same() {
    let shop = Shop::open().await;
    let mut browser = shop.signed_in("alice").await;
    shop.post(&mut browser, "/value/cart/book").await;
    let before = browser.clone();
    shop.post(&mut browser, "/clear").await;
    assert_eq!(shop.value(&browser, "cart").await, "nothing");
    assert_eq!((&browser, shop.who(&browser).await.as_str()), (&before, "alice"));
}

#[tokio::test]
async fn to_ask_with_an_unknown_token_makes_no_session() {
    let shop = Shop::open().await;
    for unknown in ["1", "someunknownkey", "../../etc/passwd", r"a\\b\\c", &"x".repeat(1_000)] {
        let mut browser = Browser::of("session", unknown);
        assert_eq!(shop.value(&browser, "cart").await, "nothing");
        shop.post(&mut browser, "/take/cart").await;
        shop.post(&mut browser, "/remove/cart").await;
    }
    assert_eq!(shop.count().await, 0);
}

#[tokio::test]
async fn what_a_failing_handler_has_put_in_is_kept() {
    let shop = Shop::open().await;
    let mut browser = Browser::default();
    let answer = shop.post(&mut browser, "/fail/cart/book").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(shop.value(&browser, "cart").await, "book");
}

#[tokio::test]
async fn a_request_does_not_bring_back_a_session_that_was_ended_meanwhile() {
    let pause = Arc::new(Barrier::new(2));
    let inside = Arc::clone(&pause);
    let slow = move |session: Session| async move {
        session.get::<String>("cart").await?;
        inside.wait().await;
        inside.wait().await;
        session.insert("cart", "lamp").await
    };
    let shop = Shop::open().await.with(Router::new().route("/slow", post(slow)));
    let browser = shop.signed_in("alice").await;
    let (mut slow, mut quick) = (browser.clone(), browser.clone());
    let (answer, ()) = tokio::join!(shop.post(&mut slow, "/slow"), async {
        pause.wait().await;
        shop.post(&mut quick, "/sign-out").await;
        pause.wait().await;
    });
    assert_eq!((answer.status, answer.set()), (StatusCode::UNAUTHORIZED, None));
    assert_eq!((shop.who(&browser).await.as_str(), shop.count().await), ("nobody", 0));
}

#[tokio::test]
async fn a_cookie_is_removed_with_the_attributes_that_it_was_set_with() {
    let shop = Shop::at(HTTPS, |options| options.cookie("sessionid")).await;
    let mut browser = Browser::default();
    let set = shop.get(&mut browser, "/visits").await.attributes().to_owned();
    let answer = shop.post(&mut browser, "/sign-out").await;
    assert_eq!(answer.attributes(), format!("{set}; Max-Age=0"));
    assert!(answer.set().unwrap().starts_with("__Host-sessionid=;"));
    assert_eq!(browser, Browser::default());
}

#[tokio::test]
async fn a_sign_in_gives_another_token_and_keeps_what_the_visitor_had() {
    let shop = Shop::open().await;
    let mut browser = shop.visitor().await;
    let visitor = browser.clone();
    shop.post(&mut browser, "/sign-in/alice").await;
    assert_ne!(browser, visitor);
    assert_eq!(
        (shop.who(&browser).await, shop.value(&browser, "cart").await),
        ("alice".into(), "book".into())
    );
    assert_eq!((shop.value(&visitor, "cart").await.as_str(), shop.count().await), ("nothing", 1));
}

#[tokio::test]
async fn nobody_gets_what_the_user_before_them_has_left() {
    let shop = Shop::open().await;
    let mut browser = shop.signed_in("alice").await;
    shop.post(&mut browser, "/value/cart/diary").await;
    let alice = browser.clone();
    shop.post(&mut browser, "/sign-in/bob").await;
    assert_eq!(
        (shop.who(&browser).await, shop.value(&browser, "cart").await),
        ("bob".into(), "nothing".into())
    );
    assert_eq!((shop.who(&alice).await.as_str(), shop.count().await), ("nobody", 1), "hers has ended");
    shop.post(&mut browser, "/value/cart/map").await;
    shop.post(&mut browser, "/sign-out").await;
    assert_eq!(shop.value(&browser, "cart").await, "nothing");
}

#[tokio::test]
async fn who_signs_in_again_finds_what_they_had() {
    let shop = Shop::open().await;
    let mut browser = shop.signed_in("alice").await;
    shop.post(&mut browser, "/value/cart/diary").await;
    let before = browser.clone();
    shop.post(&mut browser, "/sign-in/alice").await;
    assert_ne!(browser, before);
    assert_eq!(
        (shop.value(&browser, "cart").await.as_str(), shop.who(&before).await.as_str()),
        ("diary", "nobody")
    );
}

#[tokio::test]
async fn whether_a_browser_keeps_cookies_shows_on_the_next_request() {
    let shop = Shop::open().await;
    let mut keeps = Browser::default();
    shop.post(&mut keeps, "/value/test-cookie/worked").await;
    assert_eq!(shop.post(&mut keeps, "/take/test-cookie").await.text, "worked");
    shop.post(&mut Browser::default(), "/value/test-cookie/worked").await;
    assert_eq!(shop.post(&mut Browser::default(), "/take/test-cookie").await.text, "nothing");
}

#[tokio::test]
async fn a_change_of_password_ends_the_other_sessions_and_leaves_this_one() {
    let change = async |session: Session| -> Result<(), SessionError> {
        session.logout_others().await?;
        session.confirm().await
    };
    let shop = Shop::open().await.with(Router::new().route("/password", post(change)));
    let (mut here, there, bob) =
        (shop.signed_in("alice").await, shop.signed_in("alice").await, shop.signed_in("bob").await);
    let before = here.clone();
    shop.post(&mut here, "/password").await;
    assert_eq!((shop.who(&here).await, shop.who(&bob).await), ("alice".into(), "bob".into()));
    for gone in [there, before] {
        assert_eq!(shop.who(&gone).await, "nobody");
    }
}

#[tokio::test]
async fn when_a_user_is_disabled_their_sessions_end_and_nobody_elses() {
    let shop = Shop::open().await;
    let (alice, bob, visitor) =
        (shop.signed_in("alice").await, shop.signed_in("bob").await, shop.visitor().await);
    shop.sessions.end_all(user("alice")).await.unwrap();
    assert_eq!((shop.who(&alice).await, shop.who(&bob).await), ("nobody".into(), "bob".into()));
    assert_eq!(shop.value(&visitor, "cart").await, "book");
}

#[tokio::test]
async fn a_session_with_an_expiry_of_its_own_is_over_then_and_one_without_any_more_is_not() {
    let at = async |session: Session, Path(minutes): Path<i64>| {
        session.set_expiry(Expiry::at(Timestamp::from_millis(START.as_millis() + minutes * 60_000))).await
    };
    let reset = async |session: Session| session.set_expiry(Expiry::BY_POLICY).await;
    let routes = Router::new().route("/expiry/{minutes}", post(at)).route("/expiry", post(reset));
    let shop = Shop::open().await.with(routes);
    let (mut soon, mut past, mut reset) = (shop.visitor().await, shop.visitor().await, shop.visitor().await);
    shop.post(&mut soon, "/expiry/10").await;
    shop.post(&mut past, "/expiry/-1").await;
    shop.post(&mut reset, "/expiry/10").await;
    shop.post(&mut reset, "/expiry").await;
    let cart = async |browser: &Browser| shop.value(browser, "cart").await;
    assert_eq!((cart(&soon).await, cart(&past).await), ("book".into(), "nothing".into()));
    shop.clock.advance(11 * MINUTE);
    assert_eq!((cart(&soon).await, cart(&reset).await), ("nothing".into(), "book".into()));
}

#[tokio::test]
async fn what_is_over_is_cleared_away_and_a_remembered_session_is_not() {
    let shop = Shop::open().await;
    let mut remembered = Browser::default();
    shop.post(&mut remembered, "/sign-in/alice/remembered").await;
    let ordinary = shop.signed_in("alice").await;
    shop.clock.advance(2 * idle());
    shop.sweep().await;
    assert_eq!((shop.who(&remembered).await, shop.who(&ordinary).await), ("alice".into(), "nobody".into()));
    assert_eq!(shop.count().await, 1);
}

#[tokio::test]
async fn an_answer_that_sets_the_cookie_is_kept_by_no_cache() {
    let shop = Shop::open().await;
    let mut browser = Browser::default();
    let answer = shop.get(&mut browser, "/visits").await;
    assert_eq!(answer.headers.get(header::CACHE_CONTROL).unwrap(), "no-store");
    let answer = shop.get(&mut browser, "/visits").await;
    assert_eq!(answer.headers.get(header::CACHE_CONTROL), None, "the handler says what may be kept");
}
