//! Sessions.

use std::{sync::Arc, time::Duration};

use kerria_core::{
    Cause, CredentialVersion, EmailAddress, Expiry, LogEvent, Method, Selector, SessionPolicy, Standing,
    Status, Store, Transport, UserId, Verdict,
    audit::AuditEvent,
    store::{AtLimit, CarryOver, NewUser, Opened, Renew, Renewal, SignIn},
};

use super::play::{ADDRESS, FIRST, Play, START, at, data_key, device, ended, limit, login, one, together};

pub async fn a_session_is_found_by_its_token_and_says_all_about_itself(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let mut sign_in = play.sign_in_at(alice, at(5));
    sign_in.session.transport = Transport::Bearer;
    sign_in.session.remembered = true;
    let (id, token) = (sign_in.session.id, sign_in.session.token);
    let opened = play.open(sign_in).await;
    assert_eq!(play.store.find(&token).await.unwrap().as_ref(), Some(&opened));
    assert_eq!(opened.user_name.as_deref(), Some("Alice"));
    let session = opened.session;
    assert_eq!((session.id, session.user), (id, Some(alice)));
    assert_eq!((session.transport, session.remembered), (Transport::Bearer, true));
    assert_eq!((session.opened_at, session.last_seen_at, session.authenticated_at), (at(5), at(5), at(5)));
    assert_eq!(session.place, device().place());
    let details = play.store.sessions_of(alice).await.unwrap().pop().unwrap();
    assert_eq!(details.session, session);
    assert_eq!((details.method, details.device), (Some(Method::Password), device()));
    assert_eq!(details.user_name.as_deref(), Some("Alice"));
}

pub async fn an_unknown_token_finds_nothing(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    play.signed_in(alice).await;
    assert_eq!(play.store.find(&play.token()).await.unwrap(), None);
}

pub async fn a_user_without_a_name_is_called_by_the_address(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let email = Some(EmailAddress::parse("Alice@Example.com").unwrap());
    let user = NewUser { name: None, email, ..play.new_user("unused") };
    let alice = user.id;
    play.store.create_user(user, None).await.unwrap();
    let opened = play.open(play.sign_in(alice)).await;
    assert_eq!(opened.user_name.as_deref(), Some("Alice@Example.com"));
}

pub async fn a_sign_in_is_noted_with_the_user_and_in_the_audit_log(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    assert_eq!(play.store.user(alice).await.unwrap().unwrap().last_sign_in_at, None);
    let (session, _) = play.signed_in_at(alice, at(7)).await;
    assert_eq!(play.store.user(alice).await.unwrap().unwrap().last_sign_in_at, Some(at(7)));
    let line = play.store.audit(Some(alice), 1).await.unwrap().pop().unwrap();
    assert_eq!((line.event, line.at), (AuditEvent::SignedIn, at(7)));
    assert_eq!((line.session, line.address), (Some(session), Some(ADDRESS)));
    assert_eq!(line.detail, "password, Firefox on Linux");
}

pub async fn a_sign_in_with_outdated_credentials_opens_nothing(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let [alice, bob, carol] = [play.user("Alice").await, play.user("Bob").await, play.user("Carol").await];
    let (before, _) = play.signed_in(alice).await;
    play.store.set_status(bob, Status::Disabled, START).await.unwrap();
    play.store.delete_user(carol, None, START).await.unwrap();
    let head = play.head().await;
    let newer = CredentialVersion(FIRST.0 + 1);
    for (user, version) in
        [(alice, newer), (bob, FIRST), (bob, newer), (carol, FIRST), (play.user_id(), FIRST)]
    {
        let mut sign_in = play.sign_in(user);
        (sign_in.version, sign_in.replaces) = (Some(version), Some(before));
        let token = sign_in.session.token;
        assert_eq!(play.store.open(sign_in).await.unwrap(), Opened::CredentialsChanged);
        assert!(!play.lives(&token).await);
    }
    assert_eq!(play.sessions_of(alice).await, [before]);
    assert_eq!(play.head().await, head);
}

pub async fn an_enabled_user_signs_in_with_newly_verified_credentials(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    play.store.set_status(alice, Status::Disabled, START).await.unwrap();
    play.store.set_status(alice, Status::Active, START).await.unwrap();
    assert_eq!(play.store.open(play.sign_in(alice)).await.unwrap(), Opened::CredentialsChanged);
    let version = play.store.credentials_of(alice).await.unwrap().unwrap().version;
    let mut sign_in = play.sign_in(alice);
    sign_in.version = Some(version);
    play.open(sign_in).await;
}

pub async fn the_replaced_session_ends_and_the_log_says_why(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (first, first_token) = play.signed_in(alice).await;
    let (other, _) = play.signed_in(alice).await;
    let mut sign_in = play.sign_in(alice);
    sign_in.replaces = Some(first);
    let opened = play.open(sign_in).await;
    assert!(!play.lives(&first_token).await);
    assert_eq!(play.sessions_of(alice).await, [opened.session.id, other]);
    assert_eq!(play.events().await, [ended(one(first), Cause::Replaced)]);
    assert_eq!(opened.as_of, play.head().await, "the new session knows of the end that it caused");
}

pub async fn only_the_named_data_of_a_visitor_survives_a_sign_in(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (visitor, _) = play.visitor("cart", "[1]").await;
    play.put(visitor, "return_to", "\"/\"").await;
    let mut sign_in = play.sign_in(alice);
    sign_in.replaces = Some(visitor);
    sign_in.carry_over = CarryOver::Keys(vec![data_key("cart"), data_key("absent")]);
    assert_eq!(play.data(sign_in.session.id, "cart").await, None, "not yet");
    let session = play.open(sign_in).await.session.id;
    assert_eq!(play.data(session, "cart").await.as_deref(), Some("[1]"));
    assert_eq!(play.data(session, "return_to").await, None);
    assert_eq!(play.data(visitor, "cart").await, None);
    assert_eq!(play.data(visitor, "return_to").await, None);
}

pub async fn own_data_survives_a_new_sign_in_and_another_users_does_not(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let [alice, bob] = [play.user("Alice").await, play.user("Bob").await];
    let (first, _) = play.signed_in(alice).await;
    play.put(first, "cart", "[1]").await;
    let sign_in_after = |user, replaced| {
        let mut sign_in = play.sign_in(user);
        sign_in.replaces = Some(replaced);
        sign_in.carry_over = CarryOver::Keys(vec![data_key("cart")]);
        sign_in
    };
    let second = play.open(sign_in_after(alice, first)).await.session.id;
    assert_eq!(play.data(second, "cart").await.as_deref(), Some("[1]"));
    let third = play.open(sign_in_after(bob, second)).await.session.id;
    assert_eq!(play.data(third, "cart").await, None);
    assert_eq!(play.data(second, "cart").await, None);
    assert_eq!(play.sessions_of(alice).await, []);
}

pub async fn all_data_of_a_visitor_survives_a_sign_in_that_says_so_and_another_users_does_not(
    store: Arc<dyn Store>,
) {
    let play = Play::new(store);
    let [alice, bob] = [play.user("Alice").await, play.user("Bob").await];
    let (visitor, _) = play.visitor("cart", "[1]").await;
    play.put(visitor, "return_to", "\"/\"").await;
    let sign_in_after = |user, replaced| SignIn {
        replaces: Some(replaced),
        carry_over: CarryOver::Everything,
        ..play.sign_in(user)
    };
    let first = play.open(sign_in_after(alice, visitor)).await.session.id;
    let held = |key, json: &str| (data_key(key), json.to_owned());
    let all = [held("cart", "[1]"), held("return_to", "\"/\"")];
    assert_eq!(play.store.all_data(first).await.unwrap(), all);
    assert_eq!(play.store.all_data(visitor).await.unwrap(), []);
    // It can be written as before.
    play.put(first, "cart", "[2]").await;
    let second = play.open(sign_in_after(bob, first)).await.session.id;
    assert_eq!(play.store.all_data(second).await.unwrap(), []);
}

pub async fn a_user_whom_the_application_keeps_has_sessions_like_everyone(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let somebody = UserId::from_bytes([7; 16]);
    let foreign = || SignIn { version: None, method: Method::Application, ..play.sign_in(somebody) };
    let found = play.open(foreign()).await;
    assert_eq!((found.session.user, &found.user_name), (Some(somebody), &None));
    let [details] = &play.store.sessions_of(somebody).await.unwrap()[..] else { panic!("there is one") };
    assert_eq!((details.session.id, details.method), (found.session.id, Some(Method::Application)));
    let mut limited = foreign();
    limited.limit = limit(1, AtLimit::EndOldest);
    let token = limited.session.token;
    play.open(limited).await;
    assert_eq!(play.sessions_of(somebody).await.len(), 1);
    assert!(play.lives(&token).await);
    for round in 0..100 {
        let checker = play.checker().await;
        let sign_in = foreign();
        let token = sign_in.session.token;
        let (opening, ending) = (Arc::clone(&play.store), Arc::clone(&play.store));
        let (opened, _) = together(async move { opening.open(sign_in).await.unwrap() }, async move {
            let everything = Selector::User { user: somebody };
            ending.revoke(everything, Cause::EndedByUser, None, START).await.unwrap()
        })
        .await;
        let Opened::Opened(opened) = opened else { panic!("{opened:?}") };
        let verdict = if play.lives(&token).await { Verdict::Stands } else { Verdict::Ended };
        assert_eq!(checker.verdict(&opened), verdict, "round {round}");
    }
}

pub async fn a_session_that_ended_before_it_was_replaced_gives_nothing_and_ends_no_second_time(
    store: Arc<dyn Store>,
) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (visitor, _) = play.visitor("cart", "[1]").await;
    play.end(one(visitor)).await;
    let mut sign_in = play.sign_in(alice);
    sign_in.replaces = Some(visitor);
    sign_in.carry_over = CarryOver::Keys(vec![data_key("cart")]);
    let session = play.open(sign_in).await.session.id;
    assert_eq!(play.data(session, "cart").await, None);
    assert_eq!(play.events().await, [ended(one(visitor), Cause::SignedOut)]);
}

pub async fn at_the_limit_a_sign_in_is_refused_and_changes_nothing(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let [alice, bob] = [play.user("Alice").await, play.user("Bob").await];
    let (visitor, _) = play.visitor("cart", "[1]").await;
    for _ in 0..2 {
        play.signed_in(bob).await;
    }
    for second in [1, 2] {
        let mut sign_in = play.sign_in_at(alice, at(second));
        sign_in.limit = limit(2, AtLimit::Refuse);
        play.open(sign_in).await;
    }
    let before = (play.store.user(alice).await.unwrap(), play.store.audit(None, 100).await.unwrap());
    let mut sign_in = play.sign_in_at(alice, at(9));
    sign_in.limit = limit(2, AtLimit::Refuse);
    (sign_in.replaces, sign_in.carry_over) = (Some(visitor), CarryOver::Keys(vec![data_key("cart")]));
    assert_eq!(play.store.open(sign_in).await.unwrap(), Opened::LimitReached);
    let after = (play.store.user(alice).await.unwrap(), play.store.audit(None, 100).await.unwrap());
    assert_eq!(before, after);
    assert_eq!(play.data(visitor, "cart").await.as_deref(), Some("[1]"));
    assert_eq!(play.sessions_of(alice).await.len(), 2);
    assert_eq!(play.events().await, []);
}

pub async fn at_the_limit_the_sessions_that_were_opened_first_end(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let mut opened = Vec::new();
    for second in [3, 1, 2, 4] {
        opened.push(play.signed_in_at(alice, at(second)).await.0);
    }
    // That one was used since does not help it.
    play.store.touch(vec![(opened[1], at(50))]).await.unwrap();
    play.put(opened[1], "cart", "[1]").await;
    let mut sign_in = play.sign_in_at(alice, at(60));
    sign_in.limit = limit(2, AtLimit::EndOldest);
    let newest = play.open(sign_in).await;
    assert_eq!(play.sessions_of(alice).await, [newest.session.id, opened[3]]);
    assert_eq!(play.data(opened[1], "cart").await, None);
    let oldest_first = [opened[1], opened[2], opened[0]];
    assert_eq!(play.events().await, oldest_first.map(|session| ended(one(session), Cause::Limit)));
    assert_eq!(newest.as_of, play.head().await);
}

pub async fn sessions_that_time_has_ended_do_not_count_for_the_limit(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (over, _) = play.signed_in(alice).await;
    let idle = SessionPolicy::default().ordinary.idle.as_secs();
    let mut sign_in = play.sign_in_at(alice, at(idle - 1));
    sign_in.limit = limit(1, AtLimit::Refuse);
    assert_eq!(play.store.open(sign_in).await.unwrap(), Opened::LimitReached);
    let mut sign_in = play.sign_in_at(alice, at(idle));
    sign_in.limit = limit(1, AtLimit::Refuse);
    let second = play.open(sign_in).await.session.id;
    assert_eq!(play.sessions_of(alice).await, [second, over], "it is the sweep that removes it");
}

pub async fn the_replaced_session_does_not_count_for_the_limit(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    for at_limit in [AtLimit::Refuse, AtLimit::EndOldest] {
        let replaces = play.sessions_of(alice).await.pop();
        let mut sign_in = play.sign_in(alice);
        (sign_in.replaces, sign_in.limit) = (replaces, limit(1, at_limit));
        let session = play.open(sign_in).await.session.id;
        assert_eq!(play.sessions_of(alice).await, [session]);
    }
    assert!(
        play.events().await.iter().all(|(_, event)| *event == LogEvent::Ended { cause: Cause::Replaced })
    );
}

pub async fn a_touch_moves_the_time_forward_only(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let [(one, token), (other, other_token)] = [play.signed_in(alice).await, play.signed_in(alice).await];
    for (seen, expected) in [(at(9), at(9)), (at(5), at(9)), (at(10), at(10))] {
        play.store.touch(vec![(one, seen), (other, at(1))]).await.unwrap();
        let session = play.store.find(&token).await.unwrap().unwrap().session;
        assert_eq!((session.last_seen_at, session.opened_at), (expected, START));
        assert_eq!(session.authenticated_at, START, "to be seen is to prove nothing");
    }
    assert_eq!(play.store.find(&other_token).await.unwrap().unwrap().session.last_seen_at, at(1));
}

pub async fn a_touch_revives_nothing(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (session, token) = play.signed_in(alice).await;
    let (other, _) = play.signed_in(alice).await;
    play.end(one(session)).await;
    play.store.touch(vec![(session, at(5)), (other, at(6)), (play.session_id(), at(7))]).await.unwrap();
    assert!(!play.lives(&token).await);
    assert_eq!(play.sessions_of(alice).await, [other]);
    assert_eq!(play.store.all_sessions(None, 10).await.unwrap().len(), 1);
}

pub async fn a_renewed_session_is_the_same_with_a_new_token(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (session, old) = play.signed_in(alice).await;
    play.put(session, "cart", "[1]").await;
    let new = play.token();
    let Renewal::Renewed(found) = play.store.renew(&old, &new, Renew::Proved, at(5)).await.unwrap() else {
        panic!()
    };
    assert_eq!((found.session.id, found.session.opened_at), (session, START));
    assert_eq!((found.session.authenticated_at, found.session.last_seen_at), (at(5), at(5)));
    assert_eq!(play.store.find(&new).await.unwrap().as_ref(), Some(&found));
    assert!(!play.lives(&old).await);
    assert_eq!(play.data(session, "cart").await.as_deref(), Some("[1]"));
    assert_eq!(play.events().await, [(one(session), LogEvent::Changed)]);
    assert_eq!(found.as_of, play.head().await);
    let line = play.store.audit(Some(alice), 1).await.unwrap().pop().unwrap();
    assert_eq!((line.event, line.session), (AuditEvent::SteppedUp, Some(session)));
}

pub async fn a_session_whose_token_is_exchanged_is_the_same_in_all_else(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let lines = play.store.audit(None, 100).await.unwrap().len();
    for (session, old) in [play.signed_in(alice).await, play.visitor("form", "{}").await] {
        play.put(session, "cart", "[1]").await;
        let mut expected = play.store.find(&old).await.unwrap().unwrap();
        let new = play.token();
        let renewal = play.store.renew(&old, &new, Renew::Exchanged, at(5)).await.unwrap();
        expected.session.last_seen_at = at(5);
        expected.as_of = play.head().await;
        assert_eq!(renewal, Renewal::Renewed(expected.clone()), "it is a use, and proves nothing");
        assert_eq!(play.store.find(&new).await.unwrap(), Some(expected));
        assert!(!play.lives(&old).await);
        assert_eq!(play.data(session, "cart").await.as_deref(), Some("[1]"));
        assert_eq!(play.events().await.last(), Some(&(one(session), LogEvent::Changed)));
    }
    assert_eq!(play.store.audit(None, 100).await.unwrap().len(), lines + 1, "the sign-in alone");
}

pub async fn a_session_is_renewed_by_its_present_token_only(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (session, old) = play.signed_in(alice).await;
    let new = play.token();
    assert!(matches!(play.store.renew(&old, &new, Renew::Proved, at(1)).await.unwrap(), Renewal::Renewed(_)));
    assert_eq!(play.store.renew(&old, &play.token(), Renew::Proved, at(2)).await.unwrap(), Renewal::Gone);
    assert!(play.lives(&new).await);
    play.end(one(session)).await;
    assert_eq!(play.store.renew(&new, &play.token(), Renew::Proved, at(3)).await.unwrap(), Renewal::Gone);
    assert_eq!(play.sessions_of(alice).await, []);
}

pub async fn a_session_is_over_when_it_was_told_to_be_and_checkers_hear_of_it(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let checker = play.checker().await;
    for (session, token) in [play.signed_in(alice).await, play.visitor("cart", "[1]").await] {
        for expiry in [Expiry::at(at(5)), Expiry::on_inactivity(Duration::from_secs(60)), Expiry::BY_POLICY] {
            let mut expected = play.store.find(&token).await.unwrap().unwrap();
            let heard = checker.heard().len();
            assert!(play.store.set_expiry(session, expiry, at(1)).await.unwrap());
            assert_eq!(checker.heard().len(), heard + 1);
            assert_eq!(play.events().await.last(), Some(&(one(session), LogEvent::Changed)));
            (expected.session.expiry, expected.as_of) = (expiry, play.head().await);
            assert_eq!(play.store.find(&token).await.unwrap(), Some(expected));
        }
    }
    let (session, token) = play.signed_in(alice).await;
    play.store.set_expiry(session, Expiry::at(at(5)), at(1)).await.unwrap();
    play.store.touch(vec![(session, at(3))]).await.unwrap();
    let new = play.token();
    play.store.renew(&token, &new, Renew::Proved, at(4)).await.unwrap();
    let found = play.store.find(&new).await.unwrap().unwrap();
    assert_eq!(found.session.expiry, Expiry::at(at(5)), "nothing moves it");
    let policy = SessionPolicy::default();
    assert_eq!(policy.standing(&found.session, at(5)), Standing::Expired);
    // It goes when the policy says.
    assert_eq!(play.store.sweep_sessions(policy, at(6), 10).await.unwrap(), 0);
    play.end(one(session)).await;
    let head = play.head().await;
    assert!(!play.store.set_expiry(session, Expiry::BY_POLICY, at(6)).await.unwrap());
    assert_eq!(play.head().await, head);
}

pub async fn the_sessions_of_a_user_are_listed_the_last_used_first(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let [alice, bob] = [play.user("Alice").await, play.user("Bob").await];
    let (first, _) = play.signed_in_at(alice, at(1)).await;
    let (second, _) = play.signed_in_at(alice, at(2)).await;
    let (third, _) = play.signed_in_at(alice, at(3)).await;
    play.signed_in(bob).await;
    play.visitor("cart", "[1]").await;
    play.store.touch(vec![(first, at(9))]).await.unwrap();
    assert_eq!(play.sessions_of(alice).await, [first, third, second]);
}

pub async fn all_sessions_are_listed_page_by_page_anonymous_ones_too(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let mut expected = vec![play.visitor("cart", "[1]").await.0];
    for _ in 0..4 {
        expected.push(play.signed_in(alice).await.0);
    }
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = play.store.all_sessions(after, 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.session.id);
        listed.extend(page.iter().map(|details| (details.session.id, details.method)));
    }
    assert_eq!(listed[0], (expected[0], None));
    assert_eq!(listed.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), expected);
}

pub async fn the_sweep_removes_what_time_has_ended_and_nothing_else(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let policy = SessionPolicy::default();
    let mut sessions = Vec::new();
    // Around each limit: the last instant at which a session counts, the first at which it does not, and the next.
    let around = [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(2)];
    for remembered in [false, true] {
        let lives = policy.lifetimes(remembered);
        let now = START + lives.absolute * 2 + around[1];
        for age in around {
            for (opened, seen) in [
                (now - lives.absolute - age, now),
                (now - lives.absolute / 2, now - lives.idle - age),
                (now - lives.idle - age, now - lives.idle - age),
            ] {
                let mut sign_in = play.sign_in_at(alice, opened);
                sign_in.session.remembered = remembered;
                let session = play.open(sign_in).await.session.id;
                play.put(session, "cart", "[1]").await;
                play.store.touch(vec![(session, seen)]).await.unwrap();
                sessions.push(session);
            }
        }
    }
    let head = play.head().await;
    for now in [START + policy.ordinary.absolute * 2, START + policy.remembered.absolute * 2] {
        let listed = play.store.sessions_of(alice).await.unwrap();
        let stands = |session| matches!(policy.standing(session, now), Standing::Active { .. });
        let expected: Vec<_> = listed.iter().filter(|details| stands(&details.session)).cloned().collect();
        let over = (listed.len() - expected.len()) as u64;
        let mut swept = 0;
        while let removed @ 1.. = play.store.sweep_sessions(policy, now, 2).await.unwrap() {
            assert!(removed <= 2, "a sweep is bounded");
            swept += removed;
        }
        assert_eq!(swept, over);
        assert_eq!(play.store.sessions_of(alice).await.unwrap(), expected);
    }
    let left = play.sessions_of(alice).await;
    for session in sessions {
        assert_eq!(play.data(session, "cart").await.is_some(), left.contains(&session));
    }
    assert_eq!(play.head().await, head, "what time ends is not in the log");
}

pub async fn a_session_of_a_deleted_user_is_not_found_under_any_name(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (_, token) = play.signed_in(alice).await;
    play.store.delete_user(alice, None, at(1)).await.unwrap();
    assert!(!play.lives(&token).await);
    assert_eq!(play.store.user_called(&login("alice")).await.unwrap(), None);
}
