//! What happens to tokens at the same moment. Each race is run for many rounds: one that is run once finds nothing.

use std::{collections::BTreeSet, sync::Arc};

use kerria_core::{
    Algorithm, Cause, KeyState, Selector, Store,
    store::{Opened, Renew, Renewal, Rotation, SessionRotation},
};

use super::{
    play::{AFTER, GRACE, Play, START, WINDOW, at, crowd, ended, one, together},
    signing_keys::{key, pair},
};

const ROUNDS: u64 = 60;

pub async fn of_many_uses_of_one_refresh_token_all_get_the_same_successor(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
    let (session, mut token) = play.with_tokens(alice, shop).await;
    for round in 0..ROUNDS {
        let uses: Vec<_> = (0..16).map(|_| play.refresh(session, token, shop, at(round))).collect();
        let outcomes = crowd(16, |number| {
            let (store, refresh) = (Arc::clone(&play.store), uses[number].clone());
            async move { store.rotate_refresh(refresh).await.unwrap() }
        })
        .await;
        let winners: Vec<_> = (0..16).filter(|at| matches!(outcomes[*at], Rotation::Rotated(..))).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        let winner = &uses[winners[0]];
        let repeated =
            |one: &&Rotation| matches!(one, Rotation::Repeated(_, _, nonce) if *nonce == winner.nonce);
        assert_eq!(outcomes.iter().filter(repeated).count(), 15, "{outcomes:?}");
        for refresh in &uses {
            let is_present = play.store.is_present_refresh(session, &refresh.successor).await.unwrap();
            assert_eq!(is_present, refresh.successor == winner.successor);
        }
        token = winner.successor;
    }
    assert_eq!((play.sessions_of(alice).await, play.events().await), (vec![session], vec![]));
}

pub async fn of_many_uses_of_one_session_token_all_get_the_same_successor_and_all_go_on(
    store: Arc<dyn Store>,
) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (session, mut token) = play.signed_in(alice).await;
    for round in 1..=ROUNDS {
        let now = START + AFTER * round as u32;
        let uses: Vec<_> = (0..16).map(|_| play.token_use(token, now)).collect();
        let outcomes = crowd(16, |number| {
            let (store, used) = (Arc::clone(&play.store), uses[number].clone());
            async move { store.rotate(used).await.unwrap() }
        })
        .await;
        let winners: Vec<_> =
            (0..16).filter(|at| matches!(outcomes[*at], SessionRotation::Rotated(_))).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        let winner = uses[winners[0]].successor.unwrap();
        let repeated = |one: &&SessionRotation| **one == SessionRotation::Repeated(winner.nonce);
        assert_eq!(outcomes.iter().filter(repeated).count(), 15, "{outcomes:?}");
        for used in &uses {
            let successor = used.successor.unwrap().token;
            assert_eq!(play.lives(&successor).await, successor == winner.token);
        }
        let before = std::mem::replace(&mut token, winner.token);
        // Some have the reply already, and some have not; and the first use of the successor is one.
        let outcomes = crowd(16, |number| {
            let used = play.token_use(if number % 2 == 0 { before } else { token }, now);
            let store = Arc::clone(&play.store);
            async move { store.rotate(used).await.unwrap() }
        })
        .await;
        let confirmed = |one: &&SessionRotation| matches!(one, SessionRotation::Confirmed(_));
        assert_eq!(outcomes.iter().filter(confirmed).count(), 1, "{outcomes:?}");
        let lost =
            |one: &&SessionRotation| matches!(one, SessionRotation::Gone | SessionRotation::Replayed { .. });
        assert_eq!(outcomes.iter().filter(lost).count(), 0, "{outcomes:?}");
        assert!(play.lives(&before).await && play.lives(&token).await);
    }
    assert_eq!(play.sessions_of(alice).await, [session]);
}

pub async fn a_rotation_never_revives_a_session_that_is_ended(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    for round in 0..ROUNDS {
        let (session, first) = play.signed_in(alice).await;
        let used = play.token_use(first, START + AFTER);
        let second = used.successor.unwrap().token;
        let selector = [one(session), Selector::User { user: alice }, Selector::Everyone][round as usize % 3];
        let (ending, rotating) = (Arc::clone(&play.store), Arc::clone(&play.store));
        let (revoked, rotation) = together(
            async move { ending.revoke(selector, Cause::SignedOut, None, START).await.unwrap() },
            async move { rotating.rotate(used).await.unwrap() },
        )
        .await;
        assert_eq!(revoked.ended, 1);
        assert!(matches!(rotation, SessionRotation::Rotated(_) | SessionRotation::Gone), "{rotation:?}");
        for token in [first, second] {
            assert!(!play.lives(&token).await);
            let used = play.token_use(token, START + AFTER);
            assert_eq!(play.store.rotate(used).await.unwrap(), SessionRotation::Gone);
        }
        assert_eq!(play.sessions_of(alice).await, []);
    }
}

pub async fn of_a_rotation_and_a_new_proof_at_once_the_new_proof_stands_alone(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    for _ in 0..ROUNDS {
        let (_, first) = play.signed_in(alice).await;
        let (used, new) = (play.token_use(first, START + AFTER), play.token());
        let second = used.successor.unwrap().token;
        let (renewing, rotating) = (Arc::clone(&play.store), Arc::clone(&play.store));
        let (renewal, _) = together(
            async move { renewing.renew(&first, &new, Renew::Proved, START + AFTER).await.unwrap() },
            async move { rotating.rotate(used).await.unwrap() },
        )
        .await;
        assert!(matches!(renewal, Renewal::Renewed(_)), "{renewal:?}");
        assert!(play.lives(&new).await && !play.lives(&first).await && !play.lives(&second).await);
    }
}

pub async fn of_many_session_replays_at_once_one_ends_the_session(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    for _ in 0..ROUNDS / 4 {
        let (session, first) = play.signed_in(alice).await;
        let used = play.token_use(first, START + AFTER);
        let second = used.successor.unwrap().token;
        play.store.rotate(used).await.unwrap();
        play.store.rotate(play.token_use(second, START + AFTER)).await.unwrap();
        let head = play.log().await.len();
        let outcomes = crowd(16, |number| {
            let token = if number % 2 == 0 { first } else { second };
            let (store, used) = (Arc::clone(&play.store), play.token_use(token, START + AFTER + GRACE));
            async move { store.rotate(used).await.unwrap() }
        })
        .await;
        let replayed = SessionRotation::Replayed { session, user: Some(alice) };
        assert_eq!(outcomes.iter().filter(|one| **one == replayed).count(), 1, "{outcomes:?}");
        assert_eq!(play.events().await[head..], [ended(one(session), Cause::Replayed)]);
    }
}

pub async fn a_refresh_never_revives_a_session_that_is_ended(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
    for round in 0..ROUNDS {
        let (session, first) = play.with_tokens(alice, shop).await;
        let refresh = play.refresh(session, first, shop, at(1));
        let second = refresh.successor;
        let selector = [
            one(session),
            Selector::User { user: alice },
            Selector::Client { client: shop },
            Selector::Everyone,
        ][round as usize % 4];
        let (ending, refreshing) = (Arc::clone(&play.store), Arc::clone(&play.store));
        let (revoked, rotation) = together(
            async move { ending.revoke(selector, Cause::SignedOut, None, START).await.unwrap() },
            async move { refreshing.rotate_refresh(refresh).await.unwrap() },
        )
        .await;
        assert_eq!(revoked.ended, 1);
        assert!(matches!(rotation, Rotation::Rotated(..) | Rotation::Gone), "{rotation:?}");
        for token in [first, second] {
            assert!(!play.store.is_present_refresh(session, &token).await.unwrap());
            let refresh = play.refresh(session, token, shop, at(2));
            assert_eq!(play.store.rotate_refresh(refresh).await.unwrap(), Rotation::Gone);
        }
        assert_eq!(play.sessions_of(alice).await, []);
    }
}

pub async fn a_refresh_and_a_replay_at_once_end_the_session(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
    for _ in 0..ROUNDS {
        let (session, first) = play.with_tokens(alice, shop).await;
        let refresh = play.refresh(session, first, shop, START);
        let second = refresh.successor;
        play.store.rotate_refresh(refresh).await.unwrap();
        let head = play.log().await.len();
        let late = START + WINDOW;
        let (owner, thief) =
            (play.refresh(session, second, shop, late), play.refresh(session, first, shop, late));
        let (refreshing, replaying) = (Arc::clone(&play.store), Arc::clone(&play.store));
        let (refreshed, replayed) =
            together(async move { refreshing.rotate_refresh(owner).await.unwrap() }, async move {
                replaying.rotate_refresh(thief).await.unwrap()
            })
            .await;
        assert!(matches!(refreshed, Rotation::Rotated(..) | Rotation::Gone), "{refreshed:?}");
        assert_eq!(replayed, Rotation::Replayed { user: Some(alice) });
        assert_eq!(play.store.session(session).await.unwrap(), None);
        assert_eq!(play.events().await[head..], [ended(one(session), Cause::Replayed)]);
    }
}

pub async fn of_many_replays_at_once_one_ends_the_session(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
    for _ in 0..ROUNDS / 4 {
        let (session, _) = play.with_tokens(alice, shop).await;
        let head = play.log().await.len();
        let outcomes = crowd(16, |_| {
            let (store, stolen) = (Arc::clone(&play.store), play.refresh(session, play.token(), shop, START));
            async move { store.rotate_refresh(stolen).await.unwrap() }
        })
        .await;
        let count = |outcome: &Rotation| outcomes.iter().filter(|one| *one == outcome).count();
        assert_eq!((count(&Rotation::Replayed { user: Some(alice) }), count(&Rotation::Gone)), (1, 15));
        assert_eq!(play.events().await[head..], [ended(one(session), Cause::Replayed)]);
    }
}

pub async fn a_reference_token_that_is_kept_while_its_session_ends_ends_with_it(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
    for round in 0..ROUNDS {
        let (session, _) = play.with_tokens(alice, shop).await;
        let (token, reference) = (play.token(), play.reference(Some(session), shop));
        let selector = if round % 2 == 0 { one(session) } else { Selector::Client { client: shop } };
        let (ending, keeping) = (Arc::clone(&play.store), Arc::clone(&play.store));
        together(
            async move { ending.revoke(selector, Cause::SignedOut, None, START).await.unwrap() },
            async move { keeping.keep_reference(&token, reference).await.unwrap() },
        )
        .await;
        assert!(!play.stands(&token).await);
    }
}

pub async fn nothing_issued_while_its_client_is_removed_outlives_it(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    for _ in 0..ROUNDS {
        let shop = play.client("shop").await;
        let (token, reference) = (play.token(), play.reference(None, shop));
        let sign_in = play.sign_in_with_tokens(alice, shop);
        let (removing, issuing) = (Arc::clone(&play.store), Arc::clone(&play.store));
        let (removed, opened) =
            together(async move { removing.remove_client(shop, START).await.unwrap() }, async move {
                issuing.keep_reference(&token, reference).await.unwrap();
                issuing.open(sign_in).await.unwrap()
            })
            .await;
        assert!(removed && matches!(opened, Opened::Opened(_) | Opened::CredentialsChanged), "{opened:?}");
        assert_eq!(play.sessions_of(alice).await, []);
        assert!(!play.stands(&token).await);
    }
}

pub async fn of_many_who_spend_one_identifier_one_may(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let shop = "shop".parse().unwrap();
    for round in 0..ROUNDS {
        let outcomes = crowd(16, |_| {
            let store = Arc::clone(&play.store);
            async move { store.spend(shop, &format!("jti {round}"), at(60)).await.unwrap() }
        })
        .await;
        assert_eq!(outcomes.into_iter().filter(|may| *may).count(), 1);
    }
}

pub async fn of_many_who_begin_a_keyring_one_does(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for _ in 0..ROUNDS / 4 {
        play.store.reset_keyrings(Vec::new(), START).await.unwrap();
        crowd(8, |number| {
            let store = Arc::clone(&play.store);
            let keys = pair(Algorithm::EdDsa, &format!("{number} active"), &format!("{number} next"));
            async move { store.begin_keyring(Algorithm::EdDsa, keys).await.unwrap() }
        })
        .await;
        let kids: Vec<_> = play.store.signing_keys().await.unwrap().into_iter().map(|key| key.kid).collect();
        let whose: BTreeSet<_> = kids.iter().map(|kid| &kid[..1]).collect();
        assert_eq!((kids.len(), whose.len()), (2, 1), "{kids:?}");
    }
}

pub async fn of_many_turns_of_a_keyring_at_once_one_counts(store: Arc<dyn Store>) {
    let play = Play::new(store);
    play.store.begin_keyring(Algorithm::EdDsa, pair(Algorithm::EdDsa, "a", "b")).await.unwrap();
    for round in 0..ROUNDS {
        let of_state = async |state| {
            let keys = play.store.signing_keys().await.unwrap();
            let mut kids = keys.into_iter().filter(|key| key.state == state).map(|key| key.kid);
            (kids.next().unwrap(), kids.next())
        };
        let (active, another) = of_state(KeyState::Active).await;
        assert_eq!(another, None);
        let (following, another) = of_state(KeyState::Next).await;
        assert_eq!(another, None);
        let outcomes = crowd(8, |number| {
            let (store, active) = (Arc::clone(&play.store), active.clone());
            let next = key(&format!("{round}-{number}"), Algorithm::EdDsa, KeyState::Next, at(round));
            async move { store.turn_keyring(Algorithm::EdDsa, &active, next, at(round)).await.unwrap() }
        })
        .await;
        assert_eq!(outcomes.into_iter().filter(|turned| *turned).count(), 1);
        assert_eq!(of_state(KeyState::Active).await, (following, None));
    }
}
