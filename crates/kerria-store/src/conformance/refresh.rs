//! Refresh rotation.

use std::{sync::Arc, time::Duration};

use kerria_core::{
    Cause, ClientId, LogEvent, RotationNonce, Selector, SessionId, SessionPolicy, Status, Store, Timestamp,
    TokenHash, Transport, UserId,
    audit::AuditEvent,
    store::{CarryOver, Found, Opened, PasswordChange, PasswordChanged, Renew, Renewal, Rotation},
};

use super::play::{ADDRESS, FIRST, Play, START, WINDOW, at, client, data_key, ended, grant, one, password};

const MOMENT: Duration = Duration::from_millis(1);

/// Alice, and her session in tokens of the shop.
struct Shop {
    play: Play,
    alice: UserId,
    shop: ClientId,
    session: SessionId,
    first: TokenHash,
}

impl Shop {
    async fn new(store: Arc<dyn Store>) -> Self {
        let play = Play::new(store);
        let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
        let (session, first) = play.with_tokens(alice, shop).await;
        Self { play, alice, shop, session, first }
    }

    async fn present(&self, token: TokenHash, now: Timestamp) -> Rotation {
        let refresh = self.play.refresh(self.session, token, self.shop, now);
        self.play.store.rotate_refresh(refresh).await.unwrap()
    }

    /// Uses what must be the present token, and returns its successor and the nonce.
    async fn rotated(&self, token: TokenHash, now: Timestamp) -> (TokenHash, RotationNonce) {
        let refresh = self.play.refresh(self.session, token, self.shop, now);
        let next = (refresh.successor, refresh.nonce);
        let rotation = self.play.store.rotate_refresh(refresh).await.unwrap();
        assert!(matches!(rotation, Rotation::Rotated(..)), "{rotation:?}");
        next
    }

    async fn found(&self) -> Option<Found> {
        self.play.store.session(self.session).await.unwrap().map(|(found, _)| found)
    }

    async fn is_present(&self, token: &TokenHash) -> bool {
        self.play.store.is_present_refresh(self.session, token).await.unwrap()
    }

    fn replayed(&self) -> Rotation {
        Rotation::Replayed { user: Some(self.alice) }
    }
}

pub async fn a_refresh_gives_a_new_token_and_the_session_goes_on(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    on.play.put(on.session, "cart", "[1]").await;
    let opened = on.found().await.unwrap();
    assert!(on.is_present(&on.first).await);
    let refresh = on.play.refresh(on.session, on.first, on.shop, at(60));
    let second = refresh.successor;
    let rotation = on.play.store.rotate_refresh(refresh).await.unwrap();
    let Rotation::Rotated(found, granted) = rotation else { panic!("{rotation:?}") };
    assert_eq!(granted, grant(on.shop));
    let mut expected = opened;
    expected.session.last_seen_at = at(60);
    assert_eq!(found, expected, "a refresh is a use, and proves nothing anew");
    assert_eq!(on.found().await, Some(found));
    assert!(on.is_present(&second).await && !on.is_present(&on.first).await);
    assert_eq!(on.play.data(on.session, "cart").await.as_deref(), Some("[1]"));
    let (third, _) = on.rotated(second, at(120)).await;
    let details = on.play.store.sessions_of(on.alice).await.unwrap().pop().unwrap();
    assert_eq!((details.session.id, details.token, details.client), (on.session, third, Some(on.shop)));
}

pub async fn a_rotation_writes_nothing_into_either_log(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let checker = on.play.checker().await;
    let lines = on.play.store.audit(None, 100).await.unwrap();
    let (second, _) = on.rotated(on.first, at(1)).await;
    on.present(on.first, at(2)).await;
    on.rotated(second, at(3)).await;
    assert_eq!(on.play.events().await, []);
    assert_eq!(on.play.store.audit(None, 100).await.unwrap(), lines);
    assert_eq!(checker.heard(), []);
}

pub async fn a_lost_reply_is_forgiven_with_the_same_successor_each_time(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let (second, nonce) = on.rotated(on.first, at(60)).await;
    let held = on.found().await.unwrap();
    for again in 0..10 {
        let repeated = on.present(on.first, at(60 + again)).await;
        assert_eq!(repeated, Rotation::Repeated(held.clone(), grant(on.shop), nonce));
        assert!(on.is_present(&second).await);
        assert_eq!(on.found().await.as_ref(), Some(&held), "it changes nothing, not even when it was used");
    }
    on.rotated(second, at(70)).await;
}

pub async fn the_window_does_not_grow_with_its_use(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    on.rotated(on.first, at(60)).await;
    for late in [Duration::ZERO, WINDOW / 2, WINDOW - MOMENT] {
        let repeated = on.present(on.first, at(60) + late).await;
        assert!(matches!(repeated, Rotation::Repeated(..)), "{repeated:?}");
    }
    assert_eq!(on.present(on.first, at(60) + WINDOW).await, on.replayed(), "over at its very instant");
}

pub async fn each_rotation_has_a_window_of_its_own(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let (second, _) = on.rotated(on.first, at(0)).await;
    let (third, nonce) = on.rotated(second, at(1_000)).await;
    let repeated = on.present(second, at(1_001)).await;
    assert!(matches!(repeated, Rotation::Repeated(_, _, again) if again == nonce), "{repeated:?}");
    on.rotated(third, at(1_002)).await;
}

pub async fn a_token_that_comes_again_after_the_window_ends_the_session(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let (other, others) = on.play.with_tokens(on.alice, on.shop).await;
    on.play.put(on.session, "cart", "[1]").await;
    let (reference, _) = on.play.kept(Some(on.session), on.shop).await;
    let (second, _) = on.rotated(on.first, START).await;
    let stood = on.found().await.unwrap();
    let checker = on.play.checker().await;
    assert_eq!(on.present(on.first, START + WINDOW).await, on.replayed());
    assert_eq!(on.found().await, None);
    assert_eq!(on.play.events().await, [ended(one(on.session), Cause::Replayed)]);
    assert_eq!(on.play.log().await[0].at, START + WINDOW);
    assert_eq!(checker.verdict(&stood), kerria_core::Verdict::Ended);
    let line = on.play.store.audit(Some(on.alice), 1).await.unwrap().pop().unwrap();
    assert_eq!((line.event, line.session), (AuditEvent::SessionsEnded, Some(on.session)));
    assert_eq!((line.at, line.detail.as_str()), (START + WINDOW, "replayed, 1 session"));
    assert_eq!(line.address, Some(ADDRESS), "of who presented it");
    assert_eq!(on.play.data(on.session, "cart").await, None);
    assert!(!on.play.stands(&reference).await);
    for dead in [on.first, second] {
        assert_eq!(on.present(dead, START + WINDOW).await, Rotation::Gone, "for thief and owner alike");
    }
    assert!(on.play.store.is_present_refresh(other, &others).await.unwrap(), "it ends no other session");
}

pub async fn the_token_before_is_dead_once_its_successor_was_used(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let (second, _) = on.rotated(on.first, START).await;
    let (third, _) = on.rotated(second, START).await;
    // At the same instant, so that the window forgives nothing.
    assert_eq!(on.present(on.first, START).await, on.replayed());
    assert_eq!(on.present(third, START).await, Rotation::Gone);
}

pub async fn an_older_token_ends_the_session_however_old(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let mut present = on.first;
    for minute in 0..9 {
        present = on.rotated(present, at(60 * minute)).await.0;
    }
    assert_eq!(on.present(on.first, at(60 * 9)).await, on.replayed());
    assert_eq!(on.found().await, None);
    assert_eq!(on.play.events().await, [ended(one(on.session), Cause::Replayed)]);
}

/// Only a genuine token gets this far: one that nobody remembers was used before.
pub async fn a_token_that_is_none_of_the_two_ends_the_session_before_any_rotation_too(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    assert_eq!(on.present(on.play.token(), START).await, on.replayed());
    assert_eq!(on.found().await, None);
}

pub async fn a_token_of_another_client_changes_nothing_and_the_owners_still_works(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let thief = on.play.client("thief").await;
    let (second, _) = on.rotated(on.first, at(1)).await;
    let (third, _) = on.rotated(second, at(2)).await;
    let held = on.found().await;
    for token in [third, second, on.first, on.play.token()] {
        for now in [at(3), at(3) + WINDOW, at(1_000_000)] {
            for other in [thief, ClientId::OWN] {
                let stolen = on.play.refresh(on.session, token, other, now);
                assert_eq!(on.play.store.rotate_refresh(stolen).await.unwrap(), Rotation::OtherClient);
            }
        }
    }
    assert_eq!((on.found().await, on.play.events().await), (held, vec![]));
    assert!(matches!(on.present(second, at(3)).await, Rotation::Repeated(..)));
    on.rotated(third, at(4)).await;
}

pub async fn an_ended_session_is_refreshed_no_more(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let (second, _) = on.rotated(on.first, at(1)).await;
    on.play.end(one(on.session)).await;
    let head = on.play.head().await;
    for token in [second, on.first, on.play.token()] {
        assert_eq!(on.present(token, at(2)).await, Rotation::Gone);
        let unknown = on.play.refresh(on.play.session_id(), token, on.shop, at(2));
        assert_eq!(on.play.store.rotate_refresh(unknown).await.unwrap(), Rotation::Gone);
    }
    assert_eq!((on.found().await, on.play.head().await), (None, head));
}

pub async fn a_session_that_time_has_ended_is_refreshed_no_more_and_nothing_changes(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let (second, _) = on.rotated(on.first, at(1)).await;
    let held = on.found().await;
    let lives = SessionPolicy::default().ordinary;
    for over in [at(1) + lives.idle, START + lives.absolute, START + lives.absolute * 9] {
        for token in [second, on.first, on.play.token()] {
            assert_eq!(on.present(token, over).await, Rotation::Gone);
        }
    }
    assert_eq!((on.found().await, on.play.events().await), (held, vec![]));
    on.rotated(second, at(1) + lives.idle - MOMENT).await;
}

pub async fn a_refresh_moves_the_idle_limit_and_never_the_absolute_one(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let lives = SessionPolicy::default().ordinary;
    let (mut token, mut now) = (on.first, START);
    while now + lives.idle / 2 < START + lives.absolute {
        now = now + lives.idle / 2;
        token = on.rotated(token, now).await.0;
    }
    let last = START + lives.absolute - MOMENT;
    token = on.rotated(token, last).await.0;
    assert_eq!(on.found().await.unwrap().session.opened_at, START);
    assert_eq!(on.present(token, last + MOMENT).await, Rotation::Gone);
}

pub async fn a_remembered_session_in_tokens_has_the_limits_of_a_remembered_one(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let mut sign_in = on.play.sign_in_with_tokens(on.alice, on.shop);
    sign_in.session.remembered = true;
    let (session, token) = (sign_in.session.id, sign_in.session.token);
    on.play.open(sign_in).await;
    let idle = SessionPolicy::default().remembered.idle;
    for (now, stands) in [(START + idle, false), (START + idle - MOMENT, true)] {
        let refresh = on.play.refresh(session, token, on.shop, now);
        let rotation = on.play.store.rotate_refresh(refresh).await.unwrap();
        assert_eq!(matches!(rotation, Rotation::Rotated(..)), stands, "{rotation:?}");
    }
}

pub async fn a_clock_that_went_back_sets_nothing_back_and_ends_nothing(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let (second, _) = on.rotated(on.first, at(600)).await;
    assert!(matches!(on.present(on.first, at(500)).await, Rotation::Repeated(..)));
    on.rotated(second, at(400)).await;
    assert_eq!(on.found().await.unwrap().session.last_seen_at, at(600));
}

pub async fn a_grant_never_changes(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let mut narrower = client("shop");
    (narrower.scope, narrower.audiences) =
        (kerria_core::Scope::default(), vec!["elsewhere".parse().unwrap()]);
    let mut token = on.first;
    for second in 0..3 {
        token = on.rotated(token, at(second)).await.0;
        assert!(on.play.store.change_client(&narrower).await.unwrap());
        let (_, granted) = on.play.store.session(on.session).await.unwrap().unwrap();
        assert_eq!(granted, Some(grant(on.shop)));
    }
    let rotation = on.present(token, at(9)).await;
    assert!(matches!(&rotation, Rotation::Rotated(_, granted) if *granted == grant(on.shop)), "{rotation:?}");
}

pub async fn a_session_that_is_carried_otherwise_cannot_be_refreshed(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    for transport in [Transport::Cookie, Transport::Bearer] {
        let mut sign_in = on.play.sign_in(on.alice);
        sign_in.session.transport = transport;
        let (session, token) = (sign_in.session.id, sign_in.session.token);
        on.play.open(sign_in).await;
        for presented in [token, on.first, on.play.token()] {
            let refresh = on.play.refresh(session, presented, on.shop, at(1));
            assert_eq!(on.play.store.rotate_refresh(refresh).await.unwrap(), Rotation::Gone);
        }
        let (found, granted) = on.play.store.session(session).await.unwrap().unwrap();
        assert_eq!((found.other_token, granted), (Some(token), None));
        let by_token = Found { other_token: None, ..found };
        assert_eq!(on.play.store.find(&token).await.unwrap(), Some(by_token));
    }
}

pub async fn a_refresh_token_is_no_session_token(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let (second, _) = on.rotated(on.first, at(1)).await;
    for token in [on.first, second] {
        assert_eq!(on.play.store.find(&token).await.unwrap(), None);
    }
    assert_eq!(on.found().await.unwrap().session.transport, Transport::Tokens);
    assert!(!on.play.store.is_present_refresh(on.play.session_id(), &second).await.unwrap());
}

pub async fn whatever_ends_the_sessions_of_a_user_ends_those_in_tokens_too(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let shop = play.client("shop").await;
    for (turn, called) in ["Alice", "Bob", "Carol", "Dave", "Erin", "Frank"].into_iter().enumerate() {
        let user = play.user(called).await;
        let (session, token) = play.with_tokens(user, shop).await;
        let (reference, _) = play.kept(Some(session), shop).await;
        play.put(session, "cart", "[1]").await;
        match turn {
            0 => {
                let (version, password) = (Some(FIRST), password("second"));
                let change = PasswordChange { user, version, password, keep: None, device: None, now: START };
                let changed = play.store.change_password(change).await.unwrap();
                assert_eq!(changed, PasswordChanged::Changed { ended: 1, kept: None });
            }
            1 => {
                let disabled = play.store.set_status(user, Status::Disabled, START).await.unwrap();
                assert_eq!(disabled, Some(1));
            }
            2 => drop(play.store.delete_user(user, None, START).await.unwrap()),
            3 => assert_eq!(play.end(Selector::User { user }).await, 1),
            4 => {
                let (except, _) = play.signed_in(user).await;
                assert_eq!(play.end(Selector::UserExcept { user, except }).await, 1);
            }
            _ => {
                let mut sign_in = play.sign_in(user);
                sign_in.replaces = Some(session);
                play.open(sign_in).await;
            }
        }
        let refresh = play.refresh(session, token, shop, START);
        assert_eq!(play.store.rotate_refresh(refresh).await.unwrap(), Rotation::Gone, "{called}");
        assert_eq!(play.store.session(session).await.unwrap(), None);
        assert!(!play.stands(&reference).await, "{called}");
        assert_eq!(play.data(session, "cart").await, None);
    }
}

pub async fn who_proves_again_who_they_are_gets_a_refresh_token_and_all_before_are_dead(
    store: Arc<dyn Store>,
) {
    let on = Shop::new(store).await;
    for by_password in [true, false] {
        let (session, first) = on.play.with_tokens(on.alice, on.shop).await;
        let on = Shop { session, first, play: on.play.clone(), ..on };
        let (second, _) = on.rotated(first, at(1)).await;
        let new = on.play.token();
        let found = if by_password {
            let (password, keep) = (password("second"), Some((session, new)));
            let change =
                PasswordChange { user: on.alice, version: None, password, keep, device: None, now: at(2) };
            match on.play.store.change_password(change).await.unwrap() {
                PasswordChanged::Changed { kept: Some(found), .. } => found,
                refused => panic!("{refused:?}"),
            }
        } else {
            match on.play.store.renew(&second, &new, Renew::Proved, at(2)).await.unwrap() {
                Renewal::Renewed(found) => found,
                Renewal::Gone => panic!("it was the present token"),
            }
        };
        assert_eq!((found.session.id, found.session.authenticated_at), (session, at(2)));
        assert_eq!(on.play.events().await.last(), Some(&(one(session), LogEvent::Changed)));
        assert!(on.is_present(&new).await && !on.is_present(&second).await);
        // Its successor would be a token that is dead by now.
        assert_eq!(on.present(first, at(2)).await, on.replayed());
        assert_eq!(on.present(new, at(2)).await, Rotation::Gone);
    }
}

pub async fn a_refresh_token_of_a_new_proof_is_rotated_like_every_other(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let new = on.play.token();
    assert!(matches!(
        on.play.store.renew(&on.first, &new, Renew::Proved, at(2)).await.unwrap(),
        Renewal::Renewed(_)
    ));
    let (newer, nonce) = on.rotated(new, at(3)).await;
    let repeated = on.present(new, at(4)).await;
    assert!(matches!(repeated, Rotation::Repeated(_, _, again) if again == nonce), "{repeated:?}");
    on.rotated(newer, at(5)).await;
}

pub async fn nothing_is_opened_for_a_client_that_was_removed(store: Arc<dyn Store>) {
    let on = Shop::new(store).await;
    let sign_in = on.play.sign_in_with_tokens(on.alice, on.shop);
    let (visitor, _) = on.play.visitor("cart", "[1]").await;
    assert!(on.play.store.remove_client(on.shop, START).await.unwrap());
    let head = on.play.head().await;
    let mut late = sign_in.clone();
    (late.replaces, late.carry_over) = (Some(visitor), CarryOver::Keys(vec![data_key("cart")]));
    assert_eq!(on.play.store.open(late).await.unwrap(), Opened::CredentialsChanged);
    assert_eq!((on.play.sessions_of(on.alice).await, on.play.head().await), (vec![], head));
    assert_eq!(on.play.data(visitor, "cart").await.as_deref(), Some("[1]"));
    // This installation itself needs no registration.
    on.play.with_tokens(on.alice, ClientId::OWN).await;
}
