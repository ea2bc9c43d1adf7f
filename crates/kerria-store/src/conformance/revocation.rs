//! Ending sessions, and the log.

use std::sync::Arc;

use kerria_core::{
    Bearing, Cause, CheckerId, LogNumber, RevokedSet, Selector, Store, Verdict,
    audit::AuditEvent,
    lease::Renewal,
    store::{LogPage, Wait},
};

use super::play::{ADDRESS, Play, START, at, device, ended, one};

pub async fn ending_a_session_ends_it_alone_and_its_data_with_it(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let [(phone, phone_token), (laptop, laptop_token)] =
        [play.signed_in(alice).await, play.signed_in(alice).await];
    play.put(phone, "cart", "[1]").await;
    play.put(laptop, "cart", "[2]").await;
    let revoked = play.store.revoke(one(phone), Cause::EndedByUser, Some(device()), at(5)).await.unwrap();
    assert_eq!((revoked.ended, revoked.number), (1, LogNumber(1)));
    assert!(!play.lives(&phone_token).await);
    assert!(play.lives(&laptop_token).await);
    assert_eq!(play.data(phone, "cart").await, None);
    assert_eq!(play.data(laptop, "cart").await.as_deref(), Some("[2]"));
    assert_eq!(play.sessions_of(alice).await, [laptop]);
    let entry = play.log().await[0];
    assert_eq!((entry.number, entry.at), (LogNumber(1), at(5)));
    assert_eq!((entry.selector, entry.event), ended(one(phone), Cause::EndedByUser));
    let line = play.store.audit(Some(alice), 1).await.unwrap().pop().unwrap();
    assert_eq!(
        (line.event, line.session, line.address),
        (AuditEvent::SessionsEnded, Some(phone), Some(ADDRESS))
    );
    assert_eq!((line.at, line.detail.as_str()), (at(5), "ended_by_user, 1 session"));
}

pub async fn each_selector_ends_what_it_selects(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let [alice, bob] = [play.user("Alice").await, play.user("Bob").await];
    let (kept, _) = play.signed_in(alice).await;
    for _ in 0..3 {
        let (session, _) = play.signed_in(alice).await;
        play.put(session, "cart", "[1]").await;
    }
    let (visitor, visitor_token) = play.visitor("cart", "[1]").await;
    let (_, bobs_token) = play.signed_in(bob).await;
    let except = Selector::UserExcept { user: alice, except: kept };
    assert_eq!(play.end(except).await, 3);
    assert_eq!(play.sessions_of(alice).await, [kept]);
    play.signed_in(alice).await;
    assert_eq!(play.end(Selector::User { user: alice }).await, 2);
    assert_eq!(play.sessions_of(alice).await, []);
    assert!(play.lives(&bobs_token).await && play.lives(&visitor_token).await);
    assert_eq!(play.end(Selector::Everyone).await, 2);
    assert!(!play.lives(&bobs_token).await && !play.lives(&visitor_token).await);
    assert_eq!(play.data(visitor, "cart").await, None);
    let selectors = [except, Selector::User { user: alice }, Selector::Everyone];
    assert_eq!(play.events().await, selectors.map(|selector| ended(selector, Cause::SignedOut)));
}

pub async fn ending_nothing_writes_nothing_except_about_everyone(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (kept, token) = play.signed_in(alice).await;
    play.end(one(kept)).await;
    assert!(!play.lives(&token).await);
    let lines = play.store.audit(None, 100).await.unwrap().len();
    for nothing in [
        one(kept),
        one(play.session_id()),
        Selector::User { user: alice },
        Selector::UserExcept { user: alice, except: kept },
        Selector::User { user: play.user_id() },
    ] {
        let revoked = play.store.revoke(nothing, Cause::SignedOut, None, at(1)).await.unwrap();
        assert_eq!((revoked.ended, revoked.number), (0, LogNumber(1)), "{nothing:?}");
    }
    assert_eq!(play.store.audit(None, 100).await.unwrap().len(), lines);
    let revoked = play.store.revoke(Selector::Everyone, Cause::Operator, None, at(1)).await.unwrap();
    assert_eq!((revoked.ended, revoked.number), (0, LogNumber(2)));
    assert_eq!(play.log().await.len(), 2);
}

pub async fn what_is_opened_after_an_end_of_everything_stands(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    play.signed_in(alice).await;
    for selector in [Selector::User { user: alice }, Selector::Everyone] {
        play.end(selector).await;
        // At the same instant: it is not the clock that decides.
        let (_, token) = play.signed_in(alice).await;
        assert!(play.lives(&token).await);
    }
}

pub async fn the_log_is_read_page_by_page(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    assert_eq!(play.store.log_after(LogNumber(0), 10).await.unwrap(), LogPage::Entries(Vec::new()));
    let mut expected = Vec::new();
    for _ in 0..5 {
        let (session, _) = play.signed_in(alice).await;
        play.end(one(session)).await;
        expected.push(ended(one(session), Cause::SignedOut));
    }
    assert_eq!(play.events().await, expected);
    let (mut read, mut number) = (Vec::new(), LogNumber(0));
    loop {
        let LogPage::Entries(page) = play.store.log_after(number, 2).await.unwrap() else { panic!() };
        let Some(last) = page.last() else { break };
        number = last.number;
        read.extend(page);
    }
    assert_eq!(read, play.log().await);
    assert_eq!(read.iter().map(|entry| entry.number.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

pub async fn who_asks_for_what_was_removed_is_told_to_start_over(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for second in 1..=6 {
        play.store.revoke(Selector::Everyone, Cause::Operator, None, at(second)).await.unwrap();
    }
    let start_over = LogPage::StartOver { head: LogNumber(6) };
    assert_eq!(play.store.trim_log(at(4), 2).await.unwrap(), 2, "a trim is bounded, the oldest first");
    assert_eq!(play.store.log_after(LogNumber(1), 10).await.unwrap(), start_over);
    let LogPage::Entries(entries) = play.store.log_after(LogNumber(2), 10).await.unwrap() else { panic!() };
    assert_eq!(entries.iter().map(|entry| entry.number.0).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(play.store.trim_log(at(4), 100).await.unwrap(), 1, "what is written at the limit stays");
    assert_eq!(play.store.trim_log(at(4), 100).await.unwrap(), 0);
    assert_eq!(play.store.log_after(LogNumber(2), 10).await.unwrap(), start_over);
    assert_eq!(play.store.trim_log(at(100), 100).await.unwrap(), 3);
    assert_eq!(play.store.log_after(LogNumber(5), 10).await.unwrap(), start_over);
    assert_eq!(play.store.log_after(LogNumber(6), 10).await.unwrap(), LogPage::Entries(Vec::new()));
    let next = play.store.revoke(Selector::Everyone, Cause::Operator, None, at(200)).await.unwrap();
    assert_eq!(next.number, LogNumber(7), "a number is never given twice");
}

pub async fn who_knows_more_than_was_ever_written_is_told_to_start_over(store: Arc<dyn Store>) {
    let play = Play::new(store);
    play.end(Selector::Everyone).await;
    let start_over = LogPage::StartOver { head: LogNumber(1) };
    for number in [2, 1_000, u64::MAX] {
        assert_eq!(play.store.log_after(LogNumber(number), 10).await.unwrap(), start_over);
    }
}

pub async fn an_entry_of_a_clock_that_went_back_leaves_no_hole(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for second in [1, 9, 2, 3] {
        play.store.revoke(Selector::Everyone, Cause::Operator, None, at(second)).await.unwrap();
    }
    assert_eq!(play.store.trim_log(at(5), 100).await.unwrap(), 1);
    let LogPage::Entries(entries) = play.store.log_after(LogNumber(1), 10).await.unwrap() else { panic!() };
    assert_eq!(entries.len(), 3);
}

pub async fn a_follower_has_applied_what_is_answered_and_nothing_from_before(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    play.end(Selector::Everyone).await;
    let first = play.checker().await;
    let (session, _) = play.signed_in(alice).await;
    play.end(one(session)).await;
    assert_eq!(first.head(), LogNumber(2));
    let second = play.checker().await;
    let refused = play.end(one(session)).await;
    assert_eq!((refused, first.head()), (0, LogNumber(2)));
    play.end(Selector::Everyone).await;
    let log = play.log().await;
    assert_eq!(first.heard(), log[1..]);
    assert_eq!(second.heard(), log[2..]);
}

pub async fn an_end_says_for_whom_it_has_waited_and_is_true_here_in_any_case(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let checker = play.checker().await;
    for wait in [Wait::Store, Wait::Checkers] {
        for times in 0..20 {
            let (session, token) = play.signed_in(alice).await;
            let revoked = play.end_and_wait(one(session), wait).await;
            assert_eq!(checker.heard().last().map(|entry| entry.number), Some(revoked.number), "{times}");
            assert!(!play.lives(&token).await);
            let again = play.end_and_wait(one(session), wait).await;
            assert_eq!((revoked.ended, again.ended, again.number), (1, 0, revoked.number));
            for acknowledged in [revoked.acknowledged, again.acknowledged] {
                assert_eq!(acknowledged.is_some(), wait == Wait::Checkers);
                assert_eq!(acknowledged.unwrap_or_default().late, [""; 0]);
            }
        }
    }
}

pub async fn an_end_names_those_whose_leases_had_to_run_out(store: Arc<dyn Store>) {
    let play = Play::new(store);
    // A store that nobody else can follow has nobody to wait for.
    let Some(ledger) = play.store.ledger() else { return };
    let alice = play.user("Alice").await;
    let silent = Renewal { checker: CheckerId::from_bytes([9; 16]), applied: None };
    for wait in [Wait::Store, Wait::Checkers] {
        ledger.renew_lease(silent, "a silent one").await.unwrap();
        let (session, token) = play.signed_in(alice).await;
        let revoked = play.end_and_wait(one(session), wait).await;
        assert!(!play.lives(&token).await);
        match (wait, revoked.acknowledged) {
            (Wait::Store, None) => {}
            (Wait::Checkers, Some(acknowledged)) => assert_eq!(acknowledged.late, ["a silent one"]),
            (_, acknowledged) => panic!("{wait:?}: {acknowledged:?}"),
        }
    }
    // The next end may still meet it: that it is silent is seen a moment later than its lease is over.
    for _ in 0..2 {
        let (session, _) = play.signed_in(alice).await;
        let acknowledged = play.end_and_wait(one(session), Wait::Checkers).await.acknowledged;
        if acknowledged.unwrap().late.is_empty() {
            return;
        }
    }
    panic!("it is not forgotten");
}

pub async fn what_was_found_is_as_of_the_last_entry(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (_, token) = play.signed_in(alice).await;
    for number in 0..3 {
        assert_eq!(play.store.find(&token).await.unwrap().unwrap().as_of, LogNumber(number));
        let (other, _) = play.signed_in_at(alice, START).await;
        play.end(one(other)).await;
    }
}

pub async fn ending_one_access_token_ends_it_alone(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, shop) = (play.user("Alice").await, play.client("shop").await);
    let (session, refresh) = play.with_tokens(alice, shop).await;
    let (reference, id) = play.kept(Some(session), shop).await;
    let others = [play.kept(Some(session), shop).await.0, play.kept(None, shop).await.0];
    let selector = Selector::Token { token: id };
    let revoked = play.store.revoke(selector, Cause::GivenBack, Some(device()), at(5)).await.unwrap();
    assert_eq!((revoked.ended, revoked.number), (0, LogNumber(1)), "its session goes on");
    assert!(!play.stands(&reference).await);
    assert!(play.stands(&others[0]).await && play.stands(&others[1]).await);
    assert!(play.store.is_present_refresh(session, &refresh).await.unwrap());
    assert_eq!(play.events().await, [ended(selector, Cause::GivenBack)]);
    let line = play.store.audit(None, 1).await.unwrap().pop().unwrap();
    assert_eq!((line.event, line.at, line.address), (AuditEvent::SessionsEnded, at(5), Some(ADDRESS)));
}

pub async fn ending_a_client_ends_its_sessions_and_access_tokens_and_no_others(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let [alice, bob] = [play.user("Alice").await, play.user("Bob").await];
    let [shop, app] = [play.client("shop").await, play.client("app").await];
    let (of_alice, _) = play.with_tokens(alice, shop).await;
    let (of_bob, _) = play.with_tokens(bob, shop).await;
    let (of_app, _) = play.with_tokens(alice, app).await;
    let (in_a_cookie, cookie) = play.signed_in(alice).await;
    for session in [of_alice, of_bob, of_app] {
        play.put(session, "cart", "[1]").await;
    }
    let gone = [play.kept(Some(of_bob), shop).await.0, play.kept(None, shop).await.0];
    // One client's token in another client's session (RFC 8693).
    let exchanged = play.kept(Some(of_app), shop).await.0;
    let stands = [play.kept(Some(of_app), app).await.0, play.kept(None, app).await.0];
    let selector = Selector::Client { client: shop };
    let revoked = play.store.revoke(selector, Cause::Operator, None, at(5)).await.unwrap();
    assert_eq!((revoked.ended, revoked.number), (2, LogNumber(3)));
    assert_eq!(play.sessions_of(alice).await, [in_a_cookie, of_app]);
    assert_eq!(play.sessions_of(bob).await, []);
    for session in [of_alice, of_bob] {
        assert_eq!(play.data(session, "cart").await, None);
    }
    assert_eq!(play.data(of_app, "cart").await.as_deref(), Some("[1]"));
    for reference in [gone[0], gone[1], exchanged] {
        assert!(!play.stands(&reference).await);
    }
    assert!(play.stands(&stands[0]).await && play.stands(&stands[1]).await);
    assert!(play.lives(&cookie).await);
    let mut named = [of_alice, of_bob];
    named.sort_unstable();
    let events = [one(named[0]), one(named[1]), selector].map(|what| ended(what, Cause::Operator));
    assert_eq!(play.events().await, events);
    // The client is still registered, and what it gets from here on is good.
    play.with_tokens(alice, shop).await;
    assert!(play.stands(&play.kept(None, shop).await.0).await);
}

/// RFC 8693: whoever verifies such a token sees the log and the token, and neither says whose session it is.
pub async fn ending_a_client_ends_what_others_were_issued_in_its_sessions(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let [shop, app] = [play.client("shop").await, play.client("app").await];
    for removed in [false, true] {
        let [(of_shop, _), (of_app, _)] =
            [play.with_tokens(alice, shop).await, play.with_tokens(alice, app).await];
        let reference = play.kept(Some(of_shop), app).await.0;
        let before = LogNumber(play.log().await.len() as u64);
        if removed {
            assert!(play.store.remove_client(shop, at(5)).await.unwrap());
        } else {
            play.end(Selector::Client { client: shop }).await;
        }
        assert!(!play.stands(&reference).await);
        let mut set = RevokedSet::starting_at(LogNumber(0));
        play.log().await.into_iter().for_each(|entry| set.apply(entry));
        let token = play.token_id();
        for (session, verdict) in [(of_shop, Verdict::Ended), (of_app, Verdict::Stands)] {
            let issued = Bearing { token, client: app, session: Some(session), user: Some(alice) };
            assert_eq!(set.verdict_on(&issued, before), verdict);
            assert_eq!(set.verdict(session, Some(alice), before), verdict);
        }
    }
}

pub async fn ending_everyone_ends_the_access_tokens_of_clients_themselves_too(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let shop = play.client("shop").await;
    let (reference, _) = play.kept(None, shop).await;
    play.end(Selector::Everyone).await;
    assert!(!play.stands(&reference).await);
    assert_eq!(play.store.clients().await.unwrap().len(), 1);
}

/// There may be JWTs that no store knows.
pub async fn ending_an_access_token_or_a_client_is_logged_even_if_nothing_of_it_is_kept(
    store: Arc<dyn Store>,
) {
    let play = Play::new(store);
    let token = play.token_id();
    let client = "nobody".parse().unwrap();
    let longest = "x".repeat(40).parse().unwrap();
    let selectors = [
        Selector::Token { token },
        Selector::Client { client },
        Selector::Token { token },
        Selector::Client { client: longest },
    ];
    let checker = play.checker().await;
    for (count, selector) in (1..).zip(selectors) {
        let revoked = play.store.revoke(selector, Cause::GivenBack, None, at(1)).await.unwrap();
        assert_eq!((revoked.ended, revoked.number), (0, LogNumber(count)));
    }
    assert_eq!(play.events().await, selectors.map(|selector| ended(selector, Cause::GivenBack)));
    assert_eq!(checker.heard(), play.log().await);
    assert_eq!(play.store.audit(None, 100).await.unwrap().len(), 4);
}
