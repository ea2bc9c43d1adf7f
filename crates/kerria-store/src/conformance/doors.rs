//! The counters that slow down those who guess.

use std::{sync::Arc, time::Duration};

use kerria_core::{
    Store, Timestamp,
    store::Invitation,
    throttle::{Admission, Door, ThrottleRule},
};

use super::play::{Play, START, at};

pub(super) const RULE: ThrottleRule = ThrottleRule {
    free: 3,
    delay: Duration::from_secs(10),
    longest: Duration::from_secs(60),
    closes_after: 8,
    forget_after: Duration::from_secs(3_600),
};

fn door(name: &str) -> Door {
    Door { name: name.to_owned(), rule: RULE }
}

async fn knock(play: &Play, names: &[&str], now: Timestamp) -> Admission {
    play.store.knock(names.iter().map(|name| door(name)).collect(), now).await.unwrap()
}

fn until(seconds: u64) -> Admission {
    Admission::Throttled { retry_at: at(seconds) }
}

pub async fn attempts_are_counted_and_slowed_down(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for _ in 0..3 {
        assert_eq!(knock(&play, &["alice"], START).await, Admission::Admitted);
    }
    for _ in 0..3 {
        assert_eq!(knock(&play, &["alice"], at(9)).await, until(10), "what is refused is not counted");
    }
    assert_eq!(knock(&play, &["alice"], at(10)).await, Admission::Admitted);
    assert_eq!(knock(&play, &["alice"], at(10)).await, until(30));
    assert_eq!(knock(&play, &["bob"], at(10)).await, Admission::Admitted);
}

pub async fn one_closed_door_is_enough_and_the_open_ones_count_nothing(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for _ in 0..3 {
        assert_eq!(knock(&play, &["alice"], START).await, Admission::Admitted);
    }
    for _ in 0..5 {
        assert_eq!(knock(&play, &["network", "alice"], START).await, until(10));
    }
    for _ in 0..3 {
        assert_eq!(knock(&play, &["network"], START).await, Admission::Admitted);
    }
    assert_eq!(knock(&play, &["network", "bob"], START).await, until(10));
    assert_eq!(knock(&play, &[], START).await, Admission::Admitted);
}

pub async fn a_success_takes_back_its_own_attempt_only(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for _ in 0..3 {
        knock(&play, &["alice", "network"], START).await;
    }
    play.store.take_back(vec![door("alice"), door("network"), door("unknown")]).await.unwrap();
    assert_eq!(knock(&play, &["alice"], START).await, Admission::Admitted);
    assert_eq!(knock(&play, &["alice"], START).await, until(10));
    assert_eq!(knock(&play, &["network"], START).await, Admission::Admitted);
    assert_eq!(knock(&play, &["unknown"], START).await, Admission::Admitted);
}

pub async fn more_is_never_taken_back_than_was_counted(store: Arc<dyn Store>) {
    let play = Play::new(store);
    knock(&play, &["alice"], START).await;
    for _ in 0..5 {
        play.store.take_back(vec![door("alice")]).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(knock(&play, &["alice"], START).await, Admission::Admitted);
    }
    assert_eq!(knock(&play, &["alice"], START).await, until(10));
}

pub async fn a_reset_forgets_the_failures_at_that_door(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for _ in 0..3 {
        knock(&play, &["alice", "network"], START).await;
    }
    play.store.reset(vec![door("alice"), door("unknown")]).await.unwrap();
    assert_eq!(knock(&play, &["alice"], START).await, Admission::Admitted);
    assert_eq!(knock(&play, &["network"], START).await, until(10));
}

pub async fn the_sweep_forgets_what_would_be_forgotten_anyway(store: Arc<dyn Store>) {
    let play = Play::new(store);
    for name in ["a", "b", "c", "d"] {
        knock(&play, &[name], START).await;
    }
    for _ in 0..3 {
        knock(&play, &["late"], at(1)).await;
    }
    let (spent, good) = (play.token(), play.token());
    for (token, seconds) in [(spent, 3_600), (good, 3_601)] {
        let invitation = Invitation { expires_at: at(seconds), first_account: false };
        play.store.invite(&token, invitation, START).await.unwrap();
    }
    let sweep = async |now| {
        let mut swept = Vec::new();
        while let removed @ 1.. = play.store.sweep_doors(now, 2).await.unwrap() {
            swept.push(removed);
        }
        swept
    };
    assert!(sweep(at(3_599)).await.is_empty());
    assert_eq!(sweep(at(3_600)).await, [2, 2, 1], "four doors and an invitation, two at a time");
    assert_eq!(knock(&play, &["late"], at(1)).await, until(11));
    assert!(play.store.invitation(&good, at(3_600)).await.unwrap().is_some());
    assert_eq!(sweep(at(3_601)).await, [2]);
}
