//! Session data.

use std::sync::Arc;

use kerria_core::{
    DataKey, DataLimits, DataRefused, Selector, SessionId, SessionPolicy, Store,
    store::{DataOwner, DataWrite, Overtaken},
};

use super::play::{Play, START, crowd, data_key, device, one};

const LIMITS: DataLimits = DataLimits { keys: 3, value_bytes: 10, total_bytes: 24 };

async fn put(play: &Play, session: SessionId, key: &str, json: &str) -> DataWrite {
    let (owner, key) = (DataOwner::Session(session), data_key(key));
    play.store.put_data(owner, &key, json.to_owned(), LIMITS).await.unwrap()
}

async fn add(play: &Play, session: SessionId, key: &str, by: i64) -> DataWrite {
    let (owner, key) = (DataOwner::Session(session), data_key(key));
    play.store.increment_data(owner, &key, by, LIMITS).await.unwrap()
}

fn written(json: &str) -> DataWrite {
    DataWrite::Written { json: json.to_owned(), opened: None }
}

pub async fn a_value_stands_under_its_key_until_it_is_replaced_or_removed(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (session, _) = play.visitor("cart", "[1]").await;
    assert_eq!(put(&play, session, "form", "{}").await, written("{}"));
    assert_eq!(put(&play, session, "cart", "[1,2]").await, written("[1,2]"));
    assert_eq!(play.data(session, "cart").await.as_deref(), Some("[1,2]"));
    assert_eq!(play.data(session, "Cart").await, None, "keys are told apart byte by byte");
    assert_eq!(play.store.remove_data(session, &data_key("cart")).await.unwrap().as_deref(), Some("[1,2]"));
    assert_eq!(play.store.remove_data(session, &data_key("cart")).await.unwrap(), None);
    assert_eq!(play.data(session, "cart").await, None);
    assert_eq!(play.data(session, "form").await.as_deref(), Some("{}"));
}

pub async fn whatever_ends_a_session_ends_its_data_for_who_has_read_it(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
    for selector in [
        None,
        Some(Selector::User { user: alice }),
        Some(Selector::UserExcept { user: alice, except: SessionId::from_bytes([0xee; 16]) }),
        Some(Selector::Client { client: shop }),
        Some(Selector::Everyone),
    ] {
        let (session, _) = play.with_tokens(alice, shop).await;
        put(&play, session, "cart", "[1]").await;
        for (key, json) in [("cart", Some("[1]")), ("form", None)] {
            assert_eq!(play.data(session, key).await.as_deref(), json);
        }
        play.end(selector.unwrap_or_else(|| one(session))).await;
        assert_eq!(play.data(session, "cart").await, None, "{selector:?}");
    }
    let (session, _) = play.visitor("cart", "[1]").await;
    assert_eq!(play.data(session, "cart").await.as_deref(), Some("[1]"));
    let policy = SessionPolicy::default();
    play.store.sweep_sessions(policy, START + policy.ordinary.idle, 10).await.unwrap();
    assert_eq!(play.data(session, "cart").await, None, "it is over");
}

pub async fn a_session_that_ended_takes_no_data(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (session, token) = play.visitor("cart", "[1]").await;
    play.end(one(session)).await;
    assert_eq!(put(&play, session, "cart", "[1]").await, DataWrite::Gone);
    assert_eq!(add(&play, session, "count", 1).await, DataWrite::Gone);
    assert_eq!(put(&play, session, "cart", "[12345678901234567890]").await, DataWrite::Gone);
    assert_eq!(play.store.remove_data(session, &data_key("cart")).await.unwrap(), None);
    assert_eq!(play.data(session, "cart").await, None);
    assert!(!play.lives(&token).await);
}

pub async fn an_increment_answers_the_sum(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (session, _) = play.visitor("cart", "[1]").await;
    assert_eq!(add(&play, session, "count", 5).await, written("5"));
    assert_eq!(add(&play, session, "count", -7).await, written("-2"));
    assert_eq!(play.data(session, "count").await.as_deref(), Some("-2"));
}

async fn change(
    play: &Play,
    owner: DataOwner,
    held: Option<&str>,
    json: &str,
) -> Result<DataWrite, Overtaken> {
    let (key, held) = (data_key("cart"), held.map(ToOwned::to_owned));
    play.store.change_data(owner, &key, held, json.to_owned(), LIMITS).await.unwrap()
}

pub async fn a_change_replaces_only_what_is_still_held(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (session, _) = play.visitor("cart", "[1]").await;
    let owner = || DataOwner::Session(session);
    let overtaken = |json: Option<&str>| Err(Overtaken { json: json.map(ToOwned::to_owned) });
    assert_eq!(change(&play, owner(), Some("[1]"), "[2]").await, Ok(written("[2]")));
    assert_eq!(change(&play, owner(), Some("[1]"), "[3]").await, overtaken(Some("[2]")));
    assert_eq!(change(&play, owner(), None, "[3]").await, overtaken(Some("[2]")));
    let refused = DataWrite::Refused(DataRefused::ValueTooLarge { bytes: 11, limit: 10 });
    assert_eq!(change(&play, owner(), Some("[2]"), "12345678901").await, Ok(refused));
    assert_eq!(play.data(session, "cart").await.as_deref(), Some("[2]"));
    assert!(play.store.remove_data(session, &data_key("cart")).await.unwrap().is_some());
    assert_eq!(change(&play, owner(), Some("[2]"), "[3]").await, overtaken(None));
    assert_eq!(change(&play, owner(), None, "[4]").await, Ok(written("[4]")));
    let visitor = DataOwner::Visitor(play.new_session(START));
    assert!(matches!(
        change(&play, visitor, None, "1").await,
        Ok(DataWrite::Written { opened: Some(_), .. })
    ));
    let visitor = play.new_session(START);
    let token = visitor.token;
    assert_eq!(change(&play, DataOwner::Visitor(visitor), Some("1"), "2").await, overtaken(None));
    assert!(!play.lives(&token).await);
    play.end(one(session)).await;
    assert_eq!(change(&play, owner(), Some("[4]"), "[5]").await, Ok(DataWrite::Gone));
}

pub async fn what_is_read_to_be_changed_may_be_old_and_who_changes_it_is_told(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (session, _) = play.visitor("cart", "[1]").await;
    let owner = || DataOwner::Session(session);
    let to_change = async || play.store.data_to_change(session, &data_key("cart")).await.unwrap();
    assert_eq!(to_change().await.as_deref(), Some("[1]"));
    assert_eq!(change(&play, owner(), Some("[1]"), "[2]").await, Ok(written("[2]")));
    assert_eq!(to_change().await.as_deref(), Some("[2]"));
    assert!(play.store.remove_data(session, &data_key("cart")).await.unwrap().is_some());
    let held = to_change().await;
    let changed = change(&play, owner(), held.as_deref(), "[3]").await;
    let told = held.map_or(Ok(written("[3]")), |_| Err(Overtaken { json: None }));
    assert_eq!(changed, told);
    play.end(one(session)).await;
    let held = to_change().await;
    assert_eq!(change(&play, owner(), held.as_deref(), "[4]").await, Ok(DataWrite::Gone));
}

pub async fn all_data_is_read_in_order_and_cleared_at_once(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (session, token) = play.visitor("b", "1").await;
    let (other, _) = play.visitor("b", "2").await;
    for key in ["a", "B"] {
        put(&play, session, key, "0").await;
    }
    let held = |key, json: &str| (data_key(key), json.to_owned());
    let all = [held("B", "0"), held("a", "0"), held("b", "1")];
    assert_eq!(play.store.all_data(session).await.unwrap(), all);
    assert_eq!(play.store.clear_data(session).await.unwrap(), 3);
    assert_eq!(play.store.clear_data(session).await.unwrap(), 0);
    assert_eq!(play.store.all_data(session).await.unwrap(), []);
    assert_eq!(play.store.all_data(other).await.unwrap(), [held("b", "2")]);
    assert!(play.lives(&token).await, "the session goes on");
    assert_eq!(put(&play, session, "c", "1").await, written("1"));
}

pub async fn of_many_who_change_one_value_at_once_none_is_lost(store: Arc<dyn Store>) {
    let play = Play::new(Arc::clone(&store));
    let (session, _) = play.visitor("cart", "0").await;
    crowd(16, |_| {
        let store = Arc::clone(&store);
        async move {
            let (key, mut held) = (data_key("cart"), Some("0".to_owned()));
            loop {
                let next = held.as_deref().unwrap().parse::<u64>().unwrap() + 1;
                let owner = DataOwner::Session(session);
                match store.change_data(owner, &key, held, next.to_string(), LIMITS).await.unwrap() {
                    Ok(DataWrite::Written { .. }) => return,
                    Err(Overtaken { json }) => held = json,
                    other => panic!("{other:?}"),
                }
            }
        }
    })
    .await;
    assert_eq!(play.data(session, "cart").await.as_deref(), Some("16"));
}

pub async fn of_many_who_remove_one_value_at_once_one_gets_it(store: Arc<dyn Store>) {
    let play = Play::new(Arc::clone(&store));
    let (session, _) = play.visitor("message", "1").await;
    let removed = crowd(16, |_| {
        let store = Arc::clone(&store);
        async move { store.remove_data(session, &data_key("message")).await.unwrap() }
    });
    let got: Vec<_> = removed.await.into_iter().flatten().collect();
    assert_eq!(got, ["1"]);
    assert_eq!(play.data(session, "message").await, None);
}

pub async fn only_a_whole_number_is_incremented_and_stays_one(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (session, _) = play.visitor("cart", "[1]").await;
    let limits = DataLimits::default();
    let key = data_key("x");
    for not_a_number in ["\"5\"", "1.5", "[1]", "null", "1e3", "9223372036854775808"] {
        play.put(session, "x", not_a_number).await;
        let outcome = play.store.increment_data(DataOwner::Session(session), &key, 1, limits).await.unwrap();
        assert_eq!(outcome, DataWrite::Refused(DataRefused::NotANumber), "{not_a_number}");
        assert_eq!(play.data(session, "x").await.as_deref(), Some(not_a_number));
    }
    for (last, by) in [(i64::MAX, 1), (i64::MIN, -1)] {
        play.put(session, "x", &last.to_string()).await;
        let outcome = play.store.increment_data(DataOwner::Session(session), &key, by, limits).await.unwrap();
        assert_eq!(outcome, DataWrite::Refused(DataRefused::NotANumber));
        assert_eq!(play.data(session, "x").await, Some(last.to_string()));
    }
}

pub async fn what_is_too_much_is_refused_with_the_limit_in_the_way(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (session, _) = play.visitor("a", "1").await;
    assert_eq!(
        put(&play, session, "b", "12345678901").await,
        DataWrite::Refused(DataRefused::ValueTooLarge { bytes: 11, limit: 10 })
    );
    assert_eq!(put(&play, session, "b", "1234567890").await, written("1234567890"));
    assert_eq!(put(&play, session, "c", "1234567890").await, written("1234567890"), "24 bytes with the keys");
    assert_eq!(put(&play, session, "a", "12").await, DataWrite::Refused(DataRefused::Full { limit: 24 }));
    assert_eq!(add(&play, session, "a", 9).await, DataWrite::Refused(DataRefused::Full { limit: 24 }));
    assert_eq!(play.data(session, "a").await.as_deref(), Some("1"));
}

pub async fn a_full_session_can_still_replace_what_it_holds(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (session, _) = play.visitor("a", "1").await;
    for key in ["b", "c"] {
        assert_eq!(put(&play, session, key, "1").await, written("1"));
    }
    let refused = DataWrite::Refused(DataRefused::TooManyKeys { limit: 3 });
    assert_eq!(put(&play, session, "d", "1").await, refused);
    assert_eq!(add(&play, session, "d", 1).await, refused);
    assert_eq!(play.data(session, "d").await, None);
    assert_eq!(put(&play, session, "c", "1234567890").await, written("1234567890"));
    assert!(play.store.remove_data(session, &data_key("a")).await.unwrap().is_some());
    assert_eq!(put(&play, session, "d", "1").await, written("1"));
}

pub async fn a_value_counts_in_bytes_and_not_in_characters(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (session, _) = play.visitor("a", "1").await;
    assert_eq!(put(&play, session, "b", "\"éééé\"").await, written("\"éééé\""));
    assert_eq!(put(&play, session, "c", "1234567890").await, written("1234567890"));
    assert_eq!(put(&play, session, "a", "12").await, DataWrite::Refused(DataRefused::Full { limit: 24 }));
}

pub async fn the_first_value_of_a_visitor_opens_a_session_with_nobody_signed_in(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for increment in [false, true] {
        let visitor = play.new_session(START);
        let (id, token) = (visitor.id, visitor.token);
        let (owner, key) = (DataOwner::Visitor(visitor), data_key("cart"));
        let outcome = if increment {
            play.store.increment_data(owner, &key, 7, LIMITS).await.unwrap()
        } else {
            play.store.put_data(owner, &key, "7".to_owned(), LIMITS).await.unwrap()
        };
        let DataWrite::Written { json, opened: Some(found) } = outcome else { panic!("{outcome:?}") };
        assert_eq!(json, "7");
        assert_eq!(play.store.find(&token).await.unwrap().as_ref(), Some(&found));
        assert_eq!((found.session.id, found.session.user, found.user_name), (id, None, None));
        assert_eq!(found.session.place, device().place());
        assert_eq!(play.data(id, "cart").await.as_deref(), Some("7"));
    }
    assert_eq!(play.events().await, []);
}

pub async fn a_visitor_whose_value_is_refused_gets_no_session(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let visitor = play.new_session(START);
    let token = visitor.token;
    let key = DataKey::parse("cart").unwrap();
    let outcome = play
        .store
        .put_data(DataOwner::Visitor(visitor), &key, "12345678901".to_owned(), LIMITS)
        .await
        .unwrap();
    assert_eq!(outcome, DataWrite::Refused(DataRefused::ValueTooLarge { bytes: 11, limit: 10 }));
    assert!(!play.lives(&token).await);
    assert_eq!(play.store.all_sessions(None, 10).await.unwrap(), []);
}
