//! Reference tokens, and what is spent once.

use std::sync::Arc;

use kerria_core::{
    Cause, ClientId, SessionId, SessionPolicy, Store, TokenHash,
    store::{Reference, Renew},
};

use super::play::{Play, START, at, one};

pub async fn a_reference_token_stands_for_what_it_was_kept_with(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
    let (session, refresh) = play.with_tokens(alice, shop).await;
    let mut kept = Vec::new();
    for session in [Some(session), None] {
        for scope in ["", "read", "a:b read write"] {
            let mut reference = play.reference(session, shop);
            reference.grant.scope = scope.parse().unwrap();
            reference.grant.audience = format!("https://{}.example.com", kept.len()).parse().unwrap();
            (reference.issued_at, reference.expires_at) = (at(3), at(3 + kept.len() as u64));
            let token = play.token();
            assert!(play.store.keep_reference(&token, reference.clone()).await.unwrap());
            kept.push((token, reference));
        }
    }
    for (token, reference) in kept {
        assert_eq!(play.store.reference(&token).await.unwrap(), Some(reference));
    }
    for nothing in [refresh, play.token()] {
        assert_eq!(play.store.reference(&nothing).await.unwrap(), None);
    }
}

pub async fn a_reference_token_ends_with_its_session(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
    let (ended, _) = play.with_tokens(alice, shop).await;
    let (over, token) = play.with_tokens(alice, shop).await;
    let (of_ended, _) = play.kept(Some(ended), shop).await;
    let (of_over, _) = play.kept(Some(over), shop).await;
    let (of_nobody, _) = play.kept(None, shop).await;
    play.end(one(ended)).await;
    assert!(!play.stands(&of_ended).await && play.stands(&of_over).await);
    let policy = SessionPolicy::default();
    let now = START + policy.ordinary.idle;
    assert_eq!(play.store.sweep_sessions(policy, now, 100).await.unwrap(), 1);
    assert!(!play.store.is_present_refresh(over, &token).await.unwrap());
    assert!(!play.stands(&of_over).await && play.stands(&of_nobody).await);
}

pub async fn a_reference_token_survives_a_rotation_and_a_new_proof(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
    let (session, first) = play.with_tokens(alice, shop).await;
    let (reference, _) = play.kept(Some(session), shop).await;
    let refresh = play.refresh(session, first, shop, at(1));
    let second = refresh.successor;
    play.store.rotate_refresh(refresh).await.unwrap();
    play.store.renew(&second, &play.token(), Renew::Proved, at(2)).await.unwrap();
    assert!(play.stands(&reference).await);
}

pub async fn a_reference_token_of_what_has_ended_meanwhile_is_not_kept(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
    let removed = play.client("removed").await;
    let (session, _) = play.with_tokens(alice, shop).await;
    let (other, _) = play.with_tokens(alice, ClientId::OWN).await;
    play.end(one(session)).await;
    play.store.remove_client(removed, START).await.unwrap();
    let keep = async |session: Option<SessionId>, client| {
        let token = play.token();
        let kept = play.store.keep_reference(&token, play.reference(session, client)).await.unwrap();
        assert_eq!(play.stands(&token).await, kept);
        kept
    };
    for (session, client) in [
        (Some(session), shop),
        (Some(play.session_id()), shop),
        (None, removed),
        (Some(other), removed),
        (None, "nobody".parse().unwrap()),
    ] {
        assert!(!keep(session, client).await, "{session:?} {client}");
    }
    assert!(keep(Some(other), ClientId::OWN).await, "this installation needs no registration");
    // What was not kept does not come back when there is a client of that name again.
    play.client("removed").await;
    assert!(keep(None, removed).await);
}

pub async fn the_sweep_of_tokens_removes_what_is_over_and_nothing_else(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
    let (session, refresh) = play.with_tokens(alice, shop).await;
    let (live, over): (Vec<_>, Vec<_>) = [9, 10, 11].into_iter().partition(|second| *second > 10);
    let keep = async |second: u64| -> (TokenHash, Reference) {
        let (token, mut reference) =
            (play.token(), play.reference(second.is_multiple_of(2).then_some(session), shop));
        reference.expires_at = at(second);
        assert!(play.store.keep_reference(&token, reference.clone()).await.unwrap());
        assert!(play.store.spend(shop, &second.to_string(), at(second)).await.unwrap());
        (token, reference)
    };
    let (mut standing, mut gone) = (Vec::new(), Vec::new());
    for second in &live {
        standing.push(keep(*second).await);
    }
    for second in &over {
        gone.push(keep(*second).await.0);
    }
    let mut swept = 0;
    assert_eq!(play.store.sweep_tokens(at(10), 0).await.unwrap(), 0);
    while let removed @ 1.. = play.store.sweep_tokens(at(10), 3).await.unwrap() {
        assert!(removed <= 3, "a sweep is bounded");
        swept += removed;
    }
    assert_eq!(swept, 2 * over.len() as u64);
    for token in gone {
        assert!(!play.stands(&token).await);
    }
    for (token, reference) in standing {
        assert_eq!(play.store.reference(&token).await.unwrap(), Some(reference));
    }
    for second in &live {
        assert!(!play.store.spend(shop, &second.to_string(), at(99)).await.unwrap());
    }
    for second in &over {
        assert!(play.store.spend(shop, &second.to_string(), at(99)).await.unwrap());
    }
    assert!(play.store.is_present_refresh(session, &refresh).await.unwrap());
    assert_eq!(play.events().await, [], "what time ends is not in the log");
}

pub async fn an_identifier_is_spent_once_by_each_client(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let [shop, app] = ["shop", "app"].map(|name| name.parse::<ClientId>().unwrap());
    let spend = async |by, jti: &str| play.store.spend(by, jti, at(60)).await.unwrap();
    for jti in ["a", "A", "", "a b", "é", &"x".repeat(500)] {
        assert!(spend(shop, jti).await && spend(app, jti).await, "{jti:?}");
        assert!(!spend(shop, jti).await && !spend(app, jti).await, "{jti:?}");
    }
    // Everything that can be ended is, and what is spent stays spent.
    play.store.revoke(kerria_core::Selector::Everyone, Cause::Operator, None, at(1)).await.unwrap();
    assert!(!spend(shop, "a").await);
}
