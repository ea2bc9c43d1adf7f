//! Keyrings.

use std::sync::Arc;

use kerria_core::{Algorithm, Cause, KeyState, Selector, SigningKey, Store, Timestamp};

use super::play::{Play, START, at, ended};

const EDDSA: Algorithm = Algorithm::EdDsa;

pub(super) fn key(kid: &str, algorithm: Algorithm, state: KeyState, since: Timestamp) -> SigningKey {
    SigningKey {
        kid: kid.to_owned(),
        algorithm,
        state,
        sealed: format!("sealed {kid}\0").into_bytes(),
        public: format!("{{\"kid\":\"{kid}\"}}"),
        created_at: START,
        since,
    }
}

/// A keyring to begin with.
pub(super) fn pair(algorithm: Algorithm, active: &str, next: &str) -> Vec<SigningKey> {
    vec![key(active, algorithm, KeyState::Active, START), key(next, algorithm, KeyState::Next, START)]
}

fn next(kid: &str) -> SigningKey {
    key(kid, EDDSA, KeyState::Next, at(1))
}

async fn sorted(play: &Play) -> Vec<SigningKey> {
    let mut keys = play.store.signing_keys().await.unwrap();
    keys.sort_by(|one, other| one.kid.cmp(&other.kid));
    keys
}

async fn states(play: &Play) -> Vec<(String, KeyState)> {
    sorted(play).await.into_iter().map(|key| (key.kid, key.state)).collect()
}

fn state(kid: &str, state: KeyState) -> (String, KeyState) {
    (kid.to_owned(), state)
}

pub async fn a_keyring_begins_once(store: Arc<dyn Store>) {
    let play = Play::new(store);
    assert_eq!(sorted(&play).await, []);
    play.store.begin_keyring(EDDSA, pair(EDDSA, "a", "b")).await.unwrap();
    play.store.begin_keyring(EDDSA, pair(EDDSA, "c", "d")).await.unwrap();
    assert_eq!(sorted(&play).await, pair(EDDSA, "a", "b"), "as they were written");
    assert_eq!(play.events().await, []);
}

pub async fn each_algorithm_has_a_keyring_of_its_own(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let mut all = Vec::new();
    for algorithm in [EDDSA, Algorithm::Es256, Algorithm::Hs256, Algorithm::Rs256] {
        let name = algorithm.as_str();
        let keys = pair(algorithm, &format!("{name} 1"), &format!("{name} 2"));
        play.store.begin_keyring(algorithm, keys.clone()).await.unwrap();
        all.extend(keys);
    }
    all.sort_by(|one, other| one.kid.cmp(&other.kid));
    assert_eq!(sorted(&play).await, all);
    assert!(!play.store.turn_keyring(Algorithm::Es256, "EdDSA 1", next("x"), at(1)).await.unwrap());
    assert!(play.store.turn_keyring(EDDSA, "EdDSA 1", next("x"), at(1)).await.unwrap());
    let untouched =
        |keys: Vec<SigningKey>| keys.into_iter().filter(|key| key.algorithm != EDDSA).collect::<Vec<_>>();
    assert_eq!(untouched(sorted(&play).await), untouched(all));
}

pub async fn a_turn_retires_the_active_key_and_the_next_one_signs(store: Arc<dyn Store>) {
    let play = Play::new(store);
    play.store.begin_keyring(EDDSA, pair(EDDSA, "a", "b")).await.unwrap();
    assert!(play.store.turn_keyring(EDDSA, "a", next("c"), at(9)).await.unwrap());
    let expected =
        [key("a", EDDSA, KeyState::Retired, at(9)), key("b", EDDSA, KeyState::Active, at(9)), next("c")];
    assert_eq!(sorted(&play).await, expected);
    assert!(play.store.turn_keyring(EDDSA, "b", next("d"), at(19)).await.unwrap());
    assert_eq!(
        states(&play).await,
        [
            state("a", KeyState::Retired),
            state("b", KeyState::Retired),
            state("c", KeyState::Active),
            state("d", KeyState::Next)
        ]
    );
    assert_eq!(sorted(&play).await[0].since, at(9), "what is retired stays as it is");
    assert_eq!(play.events().await, [], "what was signed before is as good as ever");
}

pub async fn who_does_not_know_the_active_key_turns_nothing(store: Arc<dyn Store>) {
    let play = Play::new(store);
    assert!(!play.store.turn_keyring(EDDSA, "a", next("x"), at(1)).await.unwrap(), "there is none yet");
    play.store.begin_keyring(EDDSA, pair(EDDSA, "a", "b")).await.unwrap();
    play.store.turn_keyring(EDDSA, "a", next("c"), at(1)).await.unwrap();
    let before = sorted(&play).await;
    for not_active in ["a", "c", "nobody", ""] {
        assert!(!play.store.turn_keyring(EDDSA, not_active, next("x"), at(2)).await.unwrap());
    }
    assert_eq!(sorted(&play).await, before);
}

pub async fn without_a_key_to_follow_it_the_active_one_stays(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alone = vec![key("a", EDDSA, KeyState::Active, START)];
    play.store.begin_keyring(EDDSA, alone.clone()).await.unwrap();
    assert!(!play.store.turn_keyring(EDDSA, "a", next("b"), at(1)).await.unwrap());
    assert_eq!(sorted(&play).await, alone);
}

pub async fn there_is_one_active_key_of_an_algorithm_and_one_that_is_next(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for state in [KeyState::Active, KeyState::Next] {
        let twice = vec![key("a", EDDSA, state, START), key("b", EDDSA, state, START)];
        play.store.begin_keyring(EDDSA, twice.clone()).await.unwrap_err();
        play.store.reset_keyrings(twice, START).await.unwrap_err();
        assert_eq!(sorted(&play).await, []);
    }
    play.store.begin_keyring(EDDSA, pair(EDDSA, "a", "b")).await.unwrap();
    let active = key("c", EDDSA, KeyState::Active, at(1));
    for impossible in [active, next("a"), next("b")] {
        play.store.turn_keyring(EDDSA, "a", impossible, at(1)).await.unwrap_err();
        assert_eq!(sorted(&play).await, pair(EDDSA, "a", "b"), "what failed has changed nothing");
    }
    assert_eq!(play.events().await, []);
}

pub async fn a_reset_throws_all_keys_away_and_ends_everything_of_everyone(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
    let (session, _) = play.with_tokens(alice, shop).await;
    let (_, in_a_cookie) = play.signed_in(alice).await;
    let references = [play.kept(Some(session), shop).await.0, play.kept(None, shop).await.0];
    for algorithm in [EDDSA, Algorithm::Es256] {
        let [active, next] = ["a", "b"].map(|kid| format!("{kid} {}", algorithm.as_str()));
        play.store.begin_keyring(algorithm, pair(algorithm, &active, &next)).await.unwrap();
    }
    play.store.reset_keyrings(pair(EDDSA, "x", "y"), at(7)).await.unwrap();
    assert_eq!(sorted(&play).await, pair(EDDSA, "x", "y"));
    assert_eq!(play.sessions_of(alice).await, []);
    assert!(!play.lives(&in_a_cookie).await);
    for reference in references {
        assert!(!play.stands(&reference).await);
    }
    assert_eq!(play.events().await, [ended(Selector::Everyone, Cause::Operator)]);
    assert_eq!(play.log().await[0].at, at(7));
    play.store.reset_keyrings(Vec::new(), at(8)).await.unwrap();
    assert_eq!((sorted(&play).await, play.events().await.len()), (vec![], 2));
}

pub async fn keys_are_dropped_a_while_after_they_retired_and_not_before(store: Arc<dyn Store>) {
    let play = Play::new(store);
    play.store.begin_keyring(EDDSA, pair(EDDSA, "a", "b")).await.unwrap();
    for (second, active, following) in [(10, "a", "c"), (20, "b", "d"), (30, "c", "e")] {
        assert!(play.store.turn_keyring(EDDSA, active, next(following), at(second)).await.unwrap());
    }
    assert_eq!(play.store.drop_retired_keys(at(10)).await.unwrap(), 0);
    assert_eq!(play.store.drop_retired_keys(at(30)).await.unwrap(), 2);
    let left = [state("c", KeyState::Retired), state("d", KeyState::Active), state("e", KeyState::Next)];
    assert_eq!(states(&play).await, left);
    assert_eq!(play.store.drop_retired_keys(at(1_000_000)).await.unwrap(), 1);
    assert_eq!(states(&play).await, left[1..], "what signs, or is going to, is never dropped");
}
