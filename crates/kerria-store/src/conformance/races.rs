//! What happens at the same moment. Each race is run for many rounds: one that is run once finds nothing.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use kerria_core::{
    Cause, DataLimits, LogNumber, Selector, Store, Verdict,
    store::{
        AtLimit, CarryOver, DataOwner, DataWrite, Follower, Invitation, Opened, PasswordChange,
        PasswordChanged, Renew, Renewal, UserCreation,
    },
    throttle::{Admission, Door},
};

use super::{
    doors::RULE,
    play::{FIRST, Play, START, at, crowd, data_key, limit, one, password, together},
};

const ROUNDS: u32 = 100;

pub async fn with_a_limit_of_one_two_sign_ins_at_once_leave_one_session(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    for round in 0..ROUNDS {
        let at_limit = if round % 2 == 0 { AtLimit::EndOldest } else { AtLimit::Refuse };
        play.end(Selector::User { user: alice }).await;
        let enter = || {
            let (mut sign_in, store) = (play.sign_in(alice), Arc::clone(&play.store));
            sign_in.limit = limit(1, at_limit);
            async move { store.open(sign_in).await.unwrap() }
        };
        let (one, other) = together(enter(), enter()).await;
        let opened = [one, other].iter().filter(|opened| matches!(opened, Opened::Opened(_))).count();
        assert_eq!(opened, if at_limit == AtLimit::Refuse { 1 } else { 2 });
        assert_eq!(play.sessions_of(alice).await.len(), 1, "{at_limit:?}");
    }
}

pub async fn a_session_opened_while_all_are_ended_survives_whole_or_not_at_all(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    for round in 0..ROUNDS {
        let checker = play.checker().await;
        let (_, older) = play.signed_in(alice).await;
        let older_found = play.store.find(&older).await.unwrap().unwrap();
        let (visitor, _) = play.visitor("cart", "[1]").await;
        let mut sign_in = play.sign_in(alice);
        (sign_in.replaces, sign_in.carry_over) = (Some(visitor), CarryOver::Keys(vec![data_key("cart")]));
        let (session, token) = (sign_in.session.id, sign_in.session.token);
        let everything = if round % 2 == 0 { Selector::User { user: alice } } else { Selector::Everyone };
        let (opening, ending) = (Arc::clone(&play.store), Arc::clone(&play.store));
        let (opened, _) = together(async move { opening.open(sign_in).await.unwrap() }, async move {
            ending.revoke(everything, Cause::EndedByUser, None, START).await.unwrap()
        })
        .await;
        let Opened::Opened(opened) = opened else { panic!("{opened:?}") };
        assert!(!play.lives(&older).await);
        assert_eq!(checker.verdict(&older_found), Verdict::Ended);
        let lives = play.lives(&token).await;
        assert_eq!(play.sessions_of(alice).await, if lives { vec![session] } else { vec![] });
        // Everyone's end may have come first, and ended the visitor too.
        let cart = play.data(session, "cart").await;
        assert!(lives || cart.is_none());
        assert!(!lives || everything == Selector::Everyone || cart.is_some());
        assert_eq!(checker.verdict(&opened), if lives { Verdict::Stands } else { Verdict::Ended });
    }
}

pub async fn a_sign_in_never_overtakes_a_change_of_password(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let mut version = FIRST;
    for _ in 0..ROUNDS {
        let mut sign_in = play.sign_in(alice);
        sign_in.version = Some(version);
        let token = sign_in.session.token;
        let change = PasswordChange {
            user: alice,
            version: Some(version),
            password: password("next"),
            keep: None,
            device: None,
            now: START,
        };
        let (opening, changing) = (Arc::clone(&play.store), Arc::clone(&play.store));
        let (_, changed) = together(async move { opening.open(sign_in).await.unwrap() }, async move {
            changing.change_password(change).await.unwrap()
        })
        .await;
        assert!(matches!(changed, PasswordChanged::Changed { .. }));
        assert!(!play.lives(&token).await, "it was opened with the old password");
        assert_eq!(play.sessions_of(alice).await, []);
        version = play.store.credentials_of(alice).await.unwrap().unwrap().version;
    }
}

pub async fn of_two_changes_of_a_password_one_wins(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    for _ in 0..ROUNDS {
        let version = play.store.credentials_of(alice).await.unwrap().unwrap().version;
        let outcomes = crowd(4, |number| {
            let store = Arc::clone(&play.store);
            let change = PasswordChange {
                user: alice,
                version: Some(version),
                password: password(&number.to_string()),
                keep: None,
                device: None,
                now: START,
            };
            async move { store.change_password(change).await.unwrap() }
        })
        .await;
        assert_eq!(outcomes.iter().filter(|outcome| **outcome != PasswordChanged::Stale).count(), 1);
    }
}

pub async fn of_many_uses_of_an_invitation_one_succeeds(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for round in 0..ROUNDS {
        let token = play.token();
        let invitation = Invitation { expires_at: at(60), first_account: false };
        play.store.invite(&token, invitation, START).await.unwrap();
        let outcomes = crowd(16, |number| {
            let (store, user) = (Arc::clone(&play.store), play.new_user(&format!("u{round}-{number}")));
            async move { store.create_user(user, Some(&token)).await.unwrap() }
        })
        .await;
        let created = outcomes.iter().filter(|outcome| **outcome == UserCreation::Created(FIRST)).count();
        let spent = outcomes.iter().filter(|outcome| **outcome == UserCreation::InvitationSpent).count();
        assert_eq!((created, spent), (1, 15));
    }
    assert_eq!(play.store.users(None, 10_000).await.unwrap().len(), ROUNDS as usize);
}

pub async fn of_many_who_want_one_name_one_gets_it(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for round in 0..ROUNDS / 4 {
        let outcomes = crowd(8, |_| {
            let (store, user) = (Arc::clone(&play.store), play.new_user(&format!("name{round}")));
            async move { store.create_user(user, None).await.unwrap() }
        })
        .await;
        let taken = outcomes.iter().filter(|outcome| **outcome == UserCreation::NameTaken).count();
        assert_eq!(taken, 7);
    }
}

pub async fn of_many_links_for_the_first_account_one_works(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for _ in 0..ROUNDS / 4 {
        let mut tokens = Vec::new();
        for _ in 0..8 {
            let token = play.token();
            let invitation = Invitation { expires_at: at(60), first_account: true };
            play.store.invite(&token, invitation, START).await.unwrap();
            tokens.push(token);
        }
        crowd(8, |number| {
            let (store, token) = (Arc::clone(&play.store), tokens[number]);
            let user = play.new_user(&format!("first{number}"));
            async move { store.create_user(user, Some(&token)).await.unwrap() }
        })
        .await;
        let users = play.store.users(None, 100).await.unwrap();
        assert_eq!(users.len(), 1);
        play.store.delete_user(users[0].id, None, START).await.unwrap();
    }
}

pub async fn of_a_thousand_guesses_at_once_only_the_free_ones_go_through(store: Arc<dyn Store>) {
    let admitted = crowd(1_000, |_| {
        let store = Arc::clone(&store);
        let doors = ["alice", "network"].map(|name| Door { name: name.to_owned(), rule: RULE });
        async move { store.knock(doors.to_vec(), START).await.unwrap() == Admission::Admitted }
    })
    .await;
    assert_eq!(admitted.into_iter().filter(|admitted| *admitted).count(), RULE.free as usize);
}

pub async fn a_thousand_increments_at_once_add_up_to_a_thousand(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (session, _) = play.visitor("cart", "[1]").await;
    let sums = crowd(1_000, |_| {
        let store = Arc::clone(&play.store);
        async move {
            let (owner, key) = (DataOwner::Session(session), data_key("count"));
            store.increment_data(owner, &key, 1, DataLimits::default()).await.unwrap()
        }
    })
    .await;
    assert_eq!(play.data(session, "count").await.as_deref(), Some("1000"));
    let answered: BTreeSet<u32> = sums
        .into_iter()
        .map(|written| match written {
            DataWrite::Written { json, .. } => json.parse().unwrap(),
            refused => panic!("{refused:?}"),
        })
        .collect();
    assert_eq!(answered, (1..=1_000).collect(), "each was told another sum");
}

pub async fn two_who_write_different_keys_at_once_both_stand(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (session, _) = play.visitor("seen", "1").await;
    for round in 0..ROUNDS {
        let put = |key: &'static str| {
            let store = Arc::clone(&play.store);
            async move {
                let (owner, key) = (DataOwner::Session(session), data_key(key));
                store.put_data(owner, &key, round.to_string(), DataLimits::default()).await.unwrap()
            }
        };
        together(put("cart"), put("form")).await;
        for key in ["cart", "form"] {
            assert_eq!(play.data(session, key).await, Some(round.to_string()));
        }
    }
}

pub async fn many_who_write_at_once_do_not_exceed_the_limits(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let limits = DataLimits { keys: 4, ..DataLimits::default() };
    for _ in 0..ROUNDS / 4 {
        let (session, _) = play.visitor("first", "1").await;
        let outcomes = crowd(16, |number| {
            let store = Arc::clone(&play.store);
            async move {
                let (owner, key) = (DataOwner::Session(session), data_key(&format!("key{number}")));
                store.put_data(owner, &key, "1".to_owned(), limits).await.unwrap()
            }
        })
        .await;
        let written = outcomes.iter().filter(|one| matches!(one, DataWrite::Written { .. })).count();
        assert_eq!(written, 3);
    }
}

pub async fn nothing_in_flight_revives_a_session_or_leaves_data_of_it(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    for round in 0..ROUNDS {
        let (session, old) = play.signed_in(alice).await;
        let new = play.token();
        let selector = if round % 4 < 2 { one(session) } else { Selector::User { user: alice } };
        let (ending, writing) = (Arc::clone(&play.store), Arc::clone(&play.store));
        together(
            async move { ending.revoke(selector, Cause::SignedOut, None, START).await.unwrap() },
            async move {
                if round % 2 == 0 {
                    writing.touch(vec![(session, at(9))]).await.unwrap();
                    let (owner, key) = (DataOwner::Session(session), data_key("cart"));
                    writing.put_data(owner, &key, "1".to_owned(), DataLimits::default()).await.unwrap();
                } else {
                    let renewed = writing.renew(&old, &new, Renew::Proved, at(9)).await.unwrap();
                    if renewed == Renewal::Gone {
                        writing.touch(vec![(session, at(9))]).await.unwrap();
                    }
                }
            },
        )
        .await;
        assert!(!play.lives(&old).await && !play.lives(&new).await);
        assert_eq!(play.data(session, "cart").await, None);
        assert_eq!(play.sessions_of(alice).await, []);
    }
}

pub async fn whoever_reads_a_value_after_another_reads_nothing_older(store: Arc<dyn Store>) {
    const KEYS: usize = 16;
    let play = Play::new(store);
    for _ in 0..ROUNDS / 4 {
        let (session, _) = play.visitor("other", "0").await;
        // How many values somebody has seen or written; one more when the session has ended.
        let seen = Arc::new(AtomicUsize::new(0));
        crowd(4, |number| {
            let (play, seen) = (play.clone(), Arc::clone(&seen));
            let name = |number: usize| format!("key-{number}");
            let write = async move |play: &Play, seen: &AtomicUsize| {
                for key in 0..KEYS {
                    play.put(session, &name(key), "1").await;
                    seen.fetch_max(key + 1, Ordering::SeqCst);
                }
                play.end(one(session)).await;
                seen.fetch_max(KEYS + 1, Ordering::SeqCst);
            };
            async move {
                if number == 0 {
                    write(&play, &seen).await;
                }
                loop {
                    let before = seen.load(Ordering::SeqCst);
                    let is_there = async |key: usize| play.data(session, &name(key)).await.is_some();
                    if before > KEYS {
                        assert!(!is_there(KEYS - 1).await, "it has ended");
                        break;
                    }
                    if before > 0 && !is_there(before - 1).await {
                        assert!(seen.load(Ordering::SeqCst) >= KEYS, "value {before} was there");
                    }
                    if before < KEYS && is_there(before).await {
                        seen.fetch_max(before + 1, Ordering::SeqCst);
                    }
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
    }
}

pub async fn of_two_renewals_with_one_token_one_succeeds(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (_, mut token) = play.signed_in(alice).await;
    for _ in 0..ROUNDS {
        let tokens = [play.token(), play.token()];
        let outcomes = crowd(2, |number| {
            let store = Arc::clone(&play.store);
            let (old, new) = (token, tokens[number]);
            async move { store.renew(&old, &new, Renew::Proved, at(1)).await.unwrap() != Renewal::Gone }
        })
        .await;
        assert_ne!(outcomes[0], outcomes[1]);
        token = tokens[usize::from(outcomes[1])];
        assert!(play.lives(&token).await);
    }
}

pub async fn a_follower_hears_every_entry_once_in_order_and_before_the_answer(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let checker = play.checker().await;
    crowd(32, |_| {
        let (play, checker) = (play.clone(), Arc::clone(&checker));
        async move {
            for _ in 0..10 {
                let (session, token) = play.signed_in(alice).await;
                let found = play.store.find(&token).await.unwrap().unwrap();
                let ended = play.store.revoke(one(session), Cause::SignedOut, None, START).await.unwrap();
                assert!(checker.head() >= ended.number, "answered before it was announced");
                assert_eq!(checker.verdict(&found), Verdict::Ended);
            }
        }
    })
    .await;
    let numbers: Vec<_> = checker.heard().iter().map(|entry| entry.number.0).collect();
    assert_eq!(numbers, (1..=320).collect::<Vec<_>>());
    assert_eq!(checker.heard(), play.log().await);
}

pub async fn who_begins_to_follow_in_the_middle_misses_nothing(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for _ in 0..ROUNDS / 4 {
        let ending = play.clone();
        let follower = Arc::new(super::play::Checker::default());
        let store = Arc::clone(&play.store);
        let joining: Weak<dyn Follower> = Arc::downgrade(&follower) as _;
        let (_, head) = together(
            async move {
                for _ in 0..8 {
                    ending.end(Selector::Everyone).await;
                }
            },
            async move { store.follow(joining).await.unwrap() },
        )
        .await;
        let expected: Vec<_> = play.log().await.into_iter().filter(|entry| entry.number > head).collect();
        assert_eq!(follower.heard(), expected);
    }
}

/// The race that a cache has to win: a session is read before its end and used after it.
pub async fn what_was_read_before_an_end_is_never_accepted_after_it(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let checker = play.checker().await;
    for round in 0..ROUNDS {
        let (session, token) = play.signed_in(alice).await;
        let selector = if round % 2 == 0 { one(session) } else { Selector::User { user: alice } };
        let ended = Arc::new(AtomicBool::new(false));
        let (ending, told) = (Arc::clone(&play.store), Arc::clone(&ended));
        let (reading, set) = (Arc::clone(&play.store), Arc::clone(&checker));
        together(
            async move {
                ending.revoke(selector, Cause::SignedOut, None, START).await.unwrap();
                told.store(true, Ordering::SeqCst);
            },
            async move {
                let mut cached = None;
                loop {
                    // Whether it was over is asked first; all that follows comes after.
                    let over = ended.load(Ordering::SeqCst);
                    let fresh = reading.find(&token).await.unwrap();
                    for found in cached.iter().chain(&fresh) {
                        let accepted = set.verdict(found) == Verdict::Stands;
                        assert!(!(over && accepted), "accepted {found:?} after it was ended");
                    }
                    assert!(!(over && fresh.is_some()), "found after it was ended");
                    if over {
                        break;
                    }
                    cached = fresh;
                }
            },
        )
        .await;
    }
}

pub async fn log_numbers_are_given_without_gap_or_repetition(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let mut numbers: Vec<_> = crowd(64, |_| {
        let store = Arc::clone(&play.store);
        async move { store.revoke(Selector::Everyone, Cause::Operator, None, START).await.unwrap().number }
    })
    .await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=64).map(LogNumber).collect::<Vec<_>>());
}
