//! The audit log, and what belongs to the whole installation.

use std::sync::Arc;

use kerria_core::{
    Store,
    audit::{AuditEntry, AuditEvent},
    store::InstallationKeys,
};

use super::play::{ADDRESS, Play, at, crowd};

pub async fn lines_are_read_back_as_they_were_written_the_newest_first(store: Arc<dyn Store>) {
    use AuditEvent::{
        GroupsChanged, Invited, PasswordChanged, PlaceChanged, SessionsEnded, SignInFailed, SignedIn,
        SteppedUp, UserCreated, UserDeleted, UserDisabled, UserEnabled, UserRenamed,
    };
    let play = Play::new(store);
    let (alice, bob) = (play.user_id(), play.user_id());
    let events = [
        SignedIn,
        SignInFailed,
        SteppedUp,
        SessionsEnded,
        PlaceChanged,
        UserCreated,
        UserRenamed,
        GroupsChanged,
        PasswordChanged,
        UserDisabled,
        UserEnabled,
        UserDeleted,
        Invited,
    ];
    let mut written = Vec::new();
    for (number, event) in events.into_iter().enumerate() {
        let line = AuditEntry {
            // The clock goes back; the order stays.
            at: at(100 - number as u64),
            event,
            user: [Some(alice), Some(bob), None][number % 3],
            session: (number % 2 == 0).then(|| play.session_id()),
            address: [Some(ADDRESS), Some("2001:db8::1".parse().unwrap()), None][number % 3],
            detail: format!("line {number}, \"quoted\" and é"),
        };
        play.store.record(&line).await.unwrap();
        written.insert(0, line);
    }
    assert_eq!(play.store.audit(None, 100).await.unwrap(), written);
    assert_eq!(play.store.audit(None, 4).await.unwrap(), written[..4]);
    let of_alice: Vec<_> = written.iter().filter(|line| line.user == Some(alice)).cloned().collect();
    assert_eq!(play.store.audit(Some(alice), 100).await.unwrap(), of_alice);
    assert_eq!(play.store.audit(Some(alice), 1).await.unwrap(), of_alice[..1]);
    assert_eq!(play.store.audit(Some(play.user_id()), 100).await.unwrap(), []);
}

pub async fn all_processes_get_the_keys_that_the_first_one_kept(store: Arc<dyn Store>) {
    let kept = crowd(16, |number| {
        let store = Arc::clone(&store);
        let fresh = InstallationKeys { token: [number as u8; 16], form: [number as u8; 32] };
        async move { store.installation_keys(fresh).await.unwrap() }
    })
    .await;
    assert!(kept.iter().all(|keys| *keys == kept[0]));
    assert_eq!(kept[0].token[0], kept[0].form[0]);
    let later = InstallationKeys { token: [99; 16], form: [99; 32] };
    assert_eq!(store.installation_keys(later).await.unwrap(), kept[0]);
}

pub async fn a_healthy_store_says_so_and_is_unchanged(store: Arc<dyn Store>) {
    let play = Play::new(store);
    play.user("Alice").await;
    let before = (play.log().await, play.store.audit(None, 10).await.unwrap());
    play.store.check_health().await.unwrap();
    assert_eq!((play.log().await, play.store.audit(None, 10).await.unwrap()), before);
}
