//! Rotation of session tokens.

use std::{sync::Arc, time::Duration};

use kerria_core::{
    Cause, LogEvent, Phase, RotationNonce, Selector, SessionId, Store, Succession, Timestamp, TokenHash,
    Transport, UserId,
    audit::AuditEvent,
    store::{Found, Renaming, Renew, Renewal, Rotation, SessionRotation},
};

use super::play::{ADDRESS, AFTER, GRACE, Play, START, at, ended, name, one};

const MOMENT: Duration = Duration::from_millis(1);

/// Alice, and her session in a cookie.
struct Visit {
    play: Play,
    alice: UserId,
    session: SessionId,
    first: TokenHash,
}

impl Visit {
    async fn new(store: Arc<dyn Store>) -> Self {
        let play = Play::new(store);
        let alice = play.user("Alice").await;
        let (session, first) = play.signed_in(alice).await;
        Self { play, alice, session, first }
    }

    async fn present(&self, token: TokenHash, now: Timestamp) -> SessionRotation {
        self.play.store.rotate(self.play.token_use(token, now)).await.unwrap()
    }

    /// Uses what must be the present token when it must be due, and returns its successor and the nonce.
    async fn rotated(&self, token: TokenHash, now: Timestamp) -> (TokenHash, RotationNonce) {
        let used = self.play.token_use(token, now);
        let next = used.successor.unwrap();
        let rotation = self.play.store.rotate(used).await.unwrap();
        assert!(matches!(rotation, SessionRotation::Rotated(_)), "{rotation:?}");
        (next.token, next.nonce)
    }

    /// The same, and the successor is used at once.
    async fn rotated_and_used(&self, token: TokenHash, now: Timestamp) -> TokenHash {
        let (next, _) = self.rotated(token, now).await;
        let rotation = self.present(next, now).await;
        assert!(matches!(rotation, SessionRotation::Confirmed(_)), "{rotation:?}");
        next
    }

    async fn found(&self, token: &TokenHash) -> Option<Found> {
        self.play.store.find(token).await.unwrap()
    }

    async fn phase(&self, token: &TokenHash) -> Option<(Phase, Timestamp)> {
        self.found(token).await.map(|found| (found.succession.phase, found.succession.since))
    }

    fn replayed(&self) -> SessionRotation {
        SessionRotation::Replayed { session: self.session, user: Some(self.alice) }
    }
}

pub async fn a_session_token_is_replaced_once_it_was_in_use_for_so_long(store: Arc<dyn Store>) {
    let on = Visit::new(store).await;
    let opened = on.found(&on.first).await.unwrap();
    assert_eq!((opened.succession, opened.other_token), (Succession::first(START), None));
    assert_eq!(on.present(on.first, START + AFTER - MOMENT).await, SessionRotation::Unchanged);
    assert_eq!(on.found(&on.first).await, Some(opened.clone()));
    let now = START + AFTER;
    let used = on.play.token_use(on.first, now);
    let second = used.successor.unwrap().token;
    let rotation = on.play.store.rotate(used).await.unwrap();
    let mut expected = opened;
    expected.session.last_seen_at = now;
    expected.as_of.0 += 1;
    expected.succession = Succession { phase: Phase::Replaced, since: now };
    expected.other_token = Some(second);
    assert_eq!(rotation, SessionRotation::Rotated(expected.clone()), "it is a use, and proves nothing anew");
    assert_eq!(on.found(&on.first).await, Some(expected.clone()));
    expected.succession.phase = Phase::Unused;
    expected.other_token = Some(on.first);
    assert_eq!(on.found(&second).await, Some(expected.clone()));
    expected.other_token = Some(second);
    let by_handle = on.play.store.session(on.session).await.unwrap();
    assert_eq!(by_handle, Some((expected, None)), "in use under its present token");
    let details = on.play.store.sessions_of(on.alice).await.unwrap().pop().unwrap();
    assert_eq!((details.token, details.previous), (second, Some(on.first)));
}

pub async fn a_session_token_without_a_successor_or_with_the_rule_off_is_never_replaced(
    store: Arc<dyn Store>,
) {
    let on = Visit::new(store).await;
    let mut used = on.play.token_use(on.first, START + 10 * AFTER);
    used.successor = None;
    assert_eq!(on.play.store.rotate(used).await.unwrap(), SessionRotation::Unchanged);
    let mut used = on.play.token_use(on.first, START + 10 * AFTER);
    used.rule.after = Duration::ZERO;
    assert_eq!(on.play.store.rotate(used).await.unwrap(), SessionRotation::Unchanged);
    assert_eq!(on.play.events().await, []);
}

pub async fn checkers_hear_of_a_rotation_and_of_the_first_use_of_a_successor_and_of_no_other(
    store: Arc<dyn Store>,
) {
    let on = Visit::new(store).await;
    let checker = on.play.checker().await;
    let lines = on.play.store.audit(None, 100).await.unwrap();
    let changed = (one(on.session), LogEvent::Changed);
    let (second, _) = on.rotated(on.first, START + AFTER).await;
    assert_eq!((on.play.events().await, checker.heard().len()), (vec![changed], 1));
    on.present(on.first, START + AFTER).await;
    assert_eq!(on.play.events().await, [changed]);
    for _ in 0..3 {
        on.present(second, START + AFTER).await;
        on.present(on.first, START + AFTER).await;
        assert_eq!((on.play.events().await, checker.heard().len()), (vec![changed; 2], 2));
    }
    assert_eq!(on.play.store.audit(None, 100).await.unwrap(), lines, "people are told of thefts only");
}

pub async fn a_lost_reply_is_forgiven_however_late_with_the_same_successor(store: Arc<dyn Store>) {
    let on = Visit::new(store).await;
    let (second, nonce) = on.rotated(on.first, START + AFTER).await;
    let held = on.found(&on.first).await;
    for minutes in [0, 1, 10, 60, 90] {
        let now = START + AFTER + Duration::from_secs(60 * minutes);
        assert_eq!(on.present(on.first, now).await, SessionRotation::Repeated(nonce));
        assert_eq!(on.found(&on.first).await, held, "it changes nothing");
    }
    let confirmed = on.present(second, START + AFTER + Duration::from_secs(5_400)).await;
    assert!(matches!(confirmed, SessionRotation::Confirmed(_)), "{confirmed:?}");
}

pub async fn the_token_before_is_good_for_the_grace_once_its_successor_was_used(store: Arc<dyn Store>) {
    let on = Visit::new(store).await;
    let (second, _) = on.rotated(on.first, START + AFTER).await;
    let used_at = START + 2 * AFTER;
    assert!(matches!(on.present(second, used_at).await, SessionRotation::Confirmed(_)));
    assert_eq!(on.phase(&on.first).await, Some((Phase::Outlived, used_at)));
    assert_eq!(on.phase(&second).await, Some((Phase::Present, used_at)));
    for late in [Duration::ZERO, GRACE / 2, GRACE - MOMENT] {
        assert_eq!(on.present(on.first, used_at + late).await, SessionRotation::Unchanged);
        assert_eq!(on.present(second, used_at + late).await, SessionRotation::Unchanged);
    }
    assert_eq!(on.present(on.first, used_at + GRACE).await, on.replayed(), "over at its very instant");
}

pub async fn a_session_token_that_comes_after_the_grace_ends_the_session_for_all(store: Arc<dyn Store>) {
    let on = Visit::new(store).await;
    let checker = on.play.checker().await;
    on.play.put(on.session, "cart", "[1]").await;
    let (other, others) = on.play.signed_in(on.alice).await;
    let second = on.rotated_and_used(on.first, START + AFTER).await;
    let read = on.found(&second).await.unwrap();
    assert_eq!(on.present(on.first, START + AFTER + GRACE).await, on.replayed());
    assert_eq!(on.play.events().await.last(), Some(&ended(one(on.session), Cause::Replayed)));
    assert_eq!(checker.verdict(&read), kerria_core::Verdict::Ended);
    for token in [on.first, second] {
        assert_eq!(on.found(&token).await, None);
        assert_eq!(on.present(token, START + AFTER + GRACE).await, SessionRotation::Gone);
    }
    assert_eq!(on.play.data(on.session, "cart").await, None);
    assert_eq!((on.play.sessions_of(on.alice).await, on.play.lives(&others).await), (vec![other], true));
    let line = on.play.store.audit(Some(on.alice), 1).await.unwrap().pop().unwrap();
    assert_eq!((line.event, line.session), (AuditEvent::SessionsEnded, Some(on.session)));
    assert!(line.detail.starts_with("replayed"), "{}", line.detail);
    assert_eq!(line.address, Some(ADDRESS), "of who presented it");
}

pub async fn no_token_is_replaced_while_the_one_before_has_its_grace(store: Arc<dyn Store>) {
    let on = Visit::new(store).await;
    let quick = |token, now| {
        let mut used = on.play.token_use(token, now);
        used.rule.after = Duration::from_secs(1);
        used
    };
    let second = on.rotated_and_used(on.first, START + AFTER).await;
    let used = quick(second, START + AFTER + GRACE - MOMENT);
    assert_eq!(on.play.store.rotate(used).await.unwrap(), SessionRotation::Unchanged);
    let rotation = on.play.store.rotate(quick(second, START + AFTER + GRACE)).await.unwrap();
    assert!(matches!(rotation, SessionRotation::Rotated(_)), "{rotation:?}");
    assert_eq!(on.found(&on.first).await, None, "of a line, the last two are known");
}

pub async fn a_long_line_of_tokens_carries_one_session(store: Arc<dyn Store>) {
    let on = Visit::new(store).await;
    let mut token = on.first;
    for turn in 1..=20_u32 {
        let next = on.rotated_and_used(token, START + turn * AFTER).await;
        assert_eq!(on.phase(&token).await, Some((Phase::Outlived, START + turn * AFTER)));
        token = next;
    }
    let found = on.found(&token).await.unwrap();
    assert_eq!((found.session.id, found.session.opened_at), (on.session, START));
    assert_eq!(found.session.authenticated_at, START, "a rotation proves nothing");
}

pub async fn an_ended_session_is_not_rotated(store: Arc<dyn Store>) {
    let on = Visit::new(store).await;
    let (second, _) = on.rotated(on.first, START + AFTER).await;
    on.play.end(one(on.session)).await;
    let head = on.play.head().await;
    for token in [on.first, second, on.play.token()] {
        assert_eq!(on.present(token, START + 2 * AFTER).await, SessionRotation::Gone);
        assert!(!on.play.lives(&token).await);
    }
    assert_eq!(on.play.head().await, head);
}

pub async fn only_what_a_cookie_carries_is_rotated(store: Arc<dyn Store>) {
    let on = Visit::new(store).await;
    let mut sign_in = on.play.sign_in(on.alice);
    sign_in.session.transport = Transport::Bearer;
    let bearer = sign_in.session.token;
    on.play.open(sign_in).await;
    let shop = on.play.client("shop").await;
    let (session, refresh) = on.play.with_tokens(on.alice, shop).await;
    let used = on.play.refresh(session, refresh, shop, START);
    let next = used.successor;
    assert!(matches!(on.play.store.rotate_refresh(used).await.unwrap(), Rotation::Rotated(..)));
    for token in [bearer, refresh, next] {
        assert_eq!(on.present(token, START + AFTER).await, SessionRotation::Gone);
    }
    assert_eq!(on.play.events().await, []);
    assert_eq!(on.phase(&bearer).await, Some((Phase::Present, START)));
}

pub async fn a_visitors_session_is_rotated_too(store: Arc<dyn Store>) {
    let on = Visit::new(store).await;
    let (session, first) = on.play.visitor("cart", "[1]").await;
    let (second, _) = on.rotated(first, START + AFTER).await;
    assert_eq!(on.found(&second).await.unwrap().session.id, session);
    assert_eq!(on.play.data(session, "cart").await.as_deref(), Some("[1]"));
}

pub async fn who_was_let_in_with_the_token_before_can_go_on(store: Arc<dyn Store>) {
    let on = Visit::new(store).await;
    let (second, _) = on.rotated(on.first, START + AFTER).await;
    for (token, called) in [(on.first, "Alicia"), (second, "Alice")] {
        let renaming = on
            .play
            .store
            .rename(on.alice, Some(name(called)), None, Some(token), START + AFTER)
            .await
            .unwrap();
        assert!(matches!(renaming, Renaming::Renamed), "{renaming:?}");
    }
    let new = on.play.token();
    let renewal = on.play.store.renew(&on.first, &new, Renew::Proved, START + AFTER).await.unwrap();
    assert!(matches!(renewal, Renewal::Renewed(_)), "{renewal:?}");
    for token in [on.first, second] {
        assert_eq!(on.present(token, START + 2 * AFTER).await, SessionRotation::Gone);
        assert!(!on.play.lives(&token).await, "a new proof leaves one token");
    }
    assert_eq!(on.phase(&new).await, Some((Phase::Present, START + AFTER)));
}

pub async fn a_clock_that_went_back_replaces_nothing_and_ends_nothing(store: Arc<dyn Store>) {
    let on = Visit::new(store).await;
    let second = on.rotated_and_used(on.first, START + 2 * AFTER).await;
    for token in [on.first, second] {
        assert_eq!(on.present(token, at(1)).await, SessionRotation::Unchanged);
    }
    assert_eq!(on.found(&second).await.unwrap().session.last_seen_at, START + 2 * AFTER);
}

pub async fn what_ends_the_others_spares_the_session_under_both_its_tokens(store: Arc<dyn Store>) {
    let on = Visit::new(store).await;
    let (second, _) = on.rotated(on.first, START + AFTER).await;
    let (_, others) = on.play.signed_in(on.alice).await;
    let selector = Selector::UserExcept { user: on.alice, except: on.session };
    assert_eq!(on.play.end(selector).await, 1);
    let lives = [on.first, second, others].map(|token| (token, on.play.store.clone()));
    for (number, (token, store)) in lives.into_iter().enumerate() {
        assert_eq!(store.find(&token).await.unwrap().is_some(), number < 2);
    }
}
