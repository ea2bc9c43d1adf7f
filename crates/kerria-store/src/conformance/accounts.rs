//! Users and what they sign in with.

use std::sync::Arc;

use kerria_core::{
    Cause, CredentialVersion, EmailAddress, Groups, LogEvent, LoginName, Selector, Status, Store, TokenHash,
    UserId,
    audit::AuditEvent,
    group::GROUPS,
    store::{
        Grouping, Invitation, KNOWN_DEVICES, NewUser, PasswordChange, PasswordChanged, Removal, Renaming,
        UserCreation,
    },
};

use super::play::{ADDRESS, FIRST, Play, START, at, crowd, device, ended, login, name, password};

fn email(address: &str) -> Option<EmailAddress> {
    Some(EmailAddress::parse(address).unwrap())
}

fn change(user: UserId) -> PasswordChange {
    PasswordChange {
        user,
        version: Some(FIRST),
        password: password("second"),
        keep: None,
        device: Some(device()),
        now: at(5),
    }
}

async fn invited(play: &Play, first_account: bool) -> TokenHash {
    let token = play.token();
    play.store.invite(&token, Invitation { expires_at: at(60), first_account }, START).await.unwrap();
    token
}

pub async fn a_user_is_found_by_every_spelling_of_either_name(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = NewUser { email: email("Alice@Example.com"), ..play.new_user("Zoë") };
    let id = alice.id;
    assert_eq!(play.store.create_user(alice, None).await.unwrap(), UserCreation::Created(FIRST));
    play.user("Bob").await;
    let user = play.store.user(id).await.unwrap().unwrap();
    assert_eq!((user.id, user.status, user.created_at), (id, Status::Active, START));
    assert_eq!(user.name, Some(name("Zoë")));
    assert_eq!(user.email, email("Alice@Example.com"));
    for spelling in ["zoë", " ZOE\u{308} ", "alice@example.COM"] {
        assert_eq!(play.store.user_called(&login(spelling)).await.unwrap().as_ref(), Some(&user));
        let credentials = play.store.credentials(&login(spelling)).await.unwrap().unwrap();
        assert_eq!((credentials.user, credentials.status, credentials.version), (id, Status::Active, FIRST));
        assert_eq!(credentials.password, password("first"));
        assert_eq!(play.store.credentials_of(id).await.unwrap(), Some(credentials));
    }
    for nobody in ["zoe", "alice", "", "@", "zoë@example.com", &"z".repeat(10_000)] {
        assert_eq!(play.store.user_called(&login(nobody)).await.unwrap(), None, "{nobody}");
        assert_eq!(play.store.credentials(&login(nobody)).await.unwrap(), None);
    }
    assert_eq!(play.store.user(play.user_id()).await.unwrap(), None);
    assert_eq!(play.store.credentials_of(play.user_id()).await.unwrap(), None);
}

pub async fn a_taken_name_is_taken_in_every_spelling(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = NewUser { email: email("alice@example.com"), ..play.new_user("Alice") };
    play.store.create_user(alice, None).await.unwrap();
    let created = async |user| play.store.create_user(user, None).await.unwrap();
    assert_eq!(created(play.new_user("ALICE")).await, UserCreation::NameTaken);
    let same_address = NewUser { email: email("ALICE@example.com"), ..play.new_user("Bob") };
    assert_eq!(created(same_address).await, UserCreation::EmailTaken);
    assert_eq!(play.store.users(None, 10).await.unwrap().len(), 1);
    let both_nameless = |address| NewUser { name: None, email: email(address), ..play.new_user("unused") };
    assert_eq!(created(both_nameless("bob@example.com")).await, UserCreation::Created(FIRST));
    assert_eq!(created(both_nameless("carol@example.com")).await, UserCreation::Created(FIRST));
}

pub async fn a_new_account_is_noted_in_the_audit_log(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = NewUser { device: Some(device()), now: at(3), ..play.new_user("Alice") };
    let id = alice.id;
    play.store.create_user(alice, None).await.unwrap();
    let line = play.store.audit(Some(id), 1).await.unwrap().pop().unwrap();
    assert_eq!((line.event, line.at, line.address), (AuditEvent::UserCreated, at(3), Some(ADDRESS)));
}

pub async fn users_are_listed_page_by_page(store: Arc<dyn Store>) {
    let play = Play::new(store);
    assert!(!play.store.has_users().await.unwrap());
    let mut expected = Vec::new();
    for called in ["Alice", "Bob", "Carol"] {
        expected.push(play.user(called).await);
    }
    assert!(play.store.has_users().await.unwrap());
    let ids = async |after, limit| {
        let users = play.store.users(after, limit).await.unwrap();
        users.into_iter().map(|user| user.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, 2).await, expected[..2]);
    assert_eq!(ids(Some(expected[1]), 2).await, expected[2..]);
    assert_eq!(ids(Some(expected[2]), 2).await, []);
}

pub async fn an_invitation_is_good_for_one_account(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let token = invited(&play, false).await;
    let invitation = Invitation { expires_at: at(60), first_account: false };
    assert_eq!(play.store.invitation(&token, at(59)).await.unwrap(), Some(invitation));
    let created = async |user, token| play.store.create_user(user, Some(&token)).await.unwrap();
    assert_eq!(created(play.new_user("Alice"), token).await, UserCreation::Created(FIRST));
    assert_eq!(play.store.invitation(&token, START).await.unwrap(), None);
    assert_eq!(created(play.new_user("Bob"), token).await, UserCreation::InvitationSpent);
    assert_eq!(created(play.new_user("Bob"), play.token()).await, UserCreation::InvitationSpent);
    assert_eq!(created(play.new_user("Alice"), token).await, UserCreation::InvitationSpent);
    assert_eq!(play.store.users(None, 10).await.unwrap().len(), 1);
}

pub async fn a_taken_name_does_not_use_up_the_invitation(store: Arc<dyn Store>) {
    let play = Play::new(store);
    play.user("Alice").await;
    let token = invited(&play, false).await;
    let refused = play.store.create_user(play.new_user("alice"), Some(&token)).await.unwrap();
    assert_eq!(refused, UserCreation::NameTaken);
    let created = play.store.create_user(play.new_user("Bob"), Some(&token)).await.unwrap();
    assert_eq!(created, UserCreation::Created(FIRST));
}

pub async fn an_invitation_is_over_at_its_very_instant(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let token = invited(&play, false).await;
    assert_eq!(play.store.invitation(&token, at(60)).await.unwrap(), None);
    let late = NewUser { now: at(60), ..play.new_user("Alice") };
    assert_eq!(play.store.create_user(late, Some(&token)).await.unwrap(), UserCreation::InvitationSpent);
    let in_time = NewUser { now: at(59), ..play.new_user("Alice") };
    assert_eq!(play.store.create_user(in_time, Some(&token)).await.unwrap(), UserCreation::Created(FIRST));
}

pub async fn the_link_for_the_first_account_works_only_while_there_is_none(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let [one, other] = [invited(&play, true).await, invited(&play, true).await];
    assert!(play.store.invitation(&one, START).await.unwrap().is_some());
    let alice = play.new_user("Alice");
    let id = alice.id;
    assert_eq!(play.store.create_user(alice, Some(&one)).await.unwrap(), UserCreation::Created(FIRST));
    assert_eq!(play.store.invitation(&other, START).await.unwrap(), None);
    let second = play.store.create_user(play.new_user("Bob"), Some(&other)).await.unwrap();
    assert_eq!(second, UserCreation::InvitationSpent);
    assert_eq!(play.store.delete_user(id, None, START).await.unwrap(), Removal::Removed { ended: 0 });
    assert!(play.store.invitation(&other, START).await.unwrap().is_some());
}

pub async fn withdrawn_links_for_the_first_account_do_not_work_and_other_invitations_do(
    store: Arc<dyn Store>,
) {
    let play = Play::new(store);
    let [old, ordinary] = [invited(&play, true).await, invited(&play, false).await];
    play.store.withdraw_first_account_invitations().await.unwrap();
    let newest = invited(&play, true).await;
    assert_eq!(play.store.invitation(&old, START).await.unwrap(), None);
    assert!(play.store.invitation(&ordinary, START).await.unwrap().is_some());
    assert!(play.store.invitation(&newest, START).await.unwrap().is_some());
    let line = play.store.audit(None, 1).await.unwrap().pop().unwrap();
    assert_eq!((line.event, line.user), (AuditEvent::Invited, None));
}

pub async fn a_new_password_ends_all_sessions_and_makes_devices_unknown(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let [alice, bob] = [play.user("Alice").await, play.user("Bob").await];
    let (session, token) = play.signed_in(alice).await;
    play.signed_in(alice).await;
    play.put(session, "cart", "[1]").await;
    let (_, bobs) = play.signed_in(bob).await;
    let phone = play.token();
    for user in [alice, bob] {
        play.store.know_device(user, &phone, START).await.unwrap();
    }
    let changed = play.store.change_password(change(alice)).await.unwrap();
    assert_eq!(changed, PasswordChanged::Changed { ended: 2, kept: None });
    assert!(!play.lives(&token).await && play.lives(&bobs).await);
    assert_eq!(play.data(session, "cart").await, None);
    let credentials = play.store.credentials_of(alice).await.unwrap().unwrap();
    assert_eq!((credentials.password, credentials.version), (password("second"), CredentialVersion(2)));
    assert!(!play.store.knows_device(alice, &phone).await.unwrap());
    assert!(play.store.knows_device(bob, &phone).await.unwrap());
    assert_eq!(play.events().await, [ended(Selector::User { user: alice }, Cause::PasswordChanged)]);
    let line = play.store.audit(Some(alice), 1).await.unwrap().pop().unwrap();
    assert_eq!((line.event, line.at, line.address), (AuditEvent::PasswordChanged, at(5), Some(ADDRESS)));
}

pub async fn what_an_ended_session_asked_for_is_not_done(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, bob) = (play.user("Alice").await, play.user("Bob").await);
    let (session, token) = play.signed_in(alice).await;
    let (_, bobs) = play.signed_in(bob).await;
    let rename =
        async |by| play.store.rename(alice, Some(name("Alina")), None, Some(by), at(1)).await.unwrap();
    let delete = async |by| play.store.delete_user(alice, Some(by), at(1)).await.unwrap();
    assert_eq!((rename(bobs).await, delete(bobs).await), (Renaming::Gone, Removal::Unknown));
    assert_eq!(rename(token).await, Renaming::Renamed);
    play.end(Selector::Session { session }).await;
    assert_eq!((rename(token).await, delete(token).await), (Renaming::Gone, Removal::Unknown));
    let (_, again) = play.signed_in(alice).await;
    assert_eq!(delete(again).await, Removal::Removed { ended: 1 });
}

pub async fn of_many_devices_of_a_user_the_latest_are_known(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, bob) = (play.user("Alice").await, play.user("Bob").await);
    let bobs = play.token();
    play.store.know_device(bob, &bobs, START).await.unwrap();
    let devices: Vec<_> = (0..KNOWN_DEVICES + 3).map(|_| play.token()).collect();
    for (number, device) in devices.iter().enumerate() {
        play.store.know_device(alice, device, at(number as u64)).await.unwrap();
    }
    for (number, device) in devices.iter().enumerate() {
        assert_eq!(play.store.knows_device(alice, device).await.unwrap(), number >= 3, "device {number}");
    }
    assert!(play.store.knows_device(bob, &bobs).await.unwrap());
}

pub async fn the_session_that_is_kept_gets_a_new_token(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (kept, old) = play.signed_in(alice).await;
    let (_, other) = play.signed_in(alice).await;
    play.put(kept, "cart", "[1]").await;
    let new = play.token();
    let change = PasswordChange { keep: Some((kept, new)), ..change(alice) };
    let changed = play.store.change_password(change).await.unwrap();
    let PasswordChanged::Changed { ended: 1, kept: Some(found) } = changed else { panic!("{changed:?}") };
    assert_eq!((found.session.id, found.session.opened_at), (kept, START));
    assert_eq!((found.session.authenticated_at, found.session.last_seen_at), (at(5), at(5)));
    assert_eq!(play.store.find(&new).await.unwrap().as_ref(), Some(&found));
    assert!(!play.lives(&old).await && !play.lives(&other).await);
    assert_eq!(play.data(kept, "cart").await.as_deref(), Some("[1]"));
    let session = Selector::Session { session: kept };
    assert_eq!(
        play.events().await,
        [
            ended(Selector::UserExcept { user: alice, except: kept }, Cause::PasswordChanged),
            (session, LogEvent::Changed)
        ]
    );
    assert_eq!(found.as_of, play.head().await);
}

pub async fn a_stale_change_of_password_changes_nothing(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let [alice, bob] = [play.user("Alice").await, play.user("Bob").await];
    let (ended, _) = play.signed_in(alice).await;
    play.end(Selector::Session { session: ended }).await;
    let (session, token) = play.signed_in(alice).await;
    let (bobs, _) = play.signed_in(bob).await;
    let (visitor, _) = play.visitor("cart", "[1]").await;
    let phone = play.token();
    play.store.know_device(alice, &phone, START).await.unwrap();
    let before = (play.store.credentials_of(alice).await.unwrap(), play.events().await);
    let keep = |session| Some((session, play.token()));
    for stale in [
        PasswordChange { version: Some(CredentialVersion(2)), ..change(alice) },
        PasswordChange { version: Some(CredentialVersion(2)), keep: keep(session), ..change(alice) },
        PasswordChange { keep: keep(ended), ..change(alice) },
        PasswordChange { keep: keep(bobs), ..change(alice) },
        PasswordChange { keep: keep(visitor), ..change(alice) },
        PasswordChange { version: None, ..change(play.user_id()) },
    ] {
        assert_eq!(play.store.change_password(stale).await.unwrap(), PasswordChanged::Stale);
    }
    assert_eq!((play.store.credentials_of(alice).await.unwrap(), play.events().await), before);
    assert!(play.lives(&token).await && play.store.knows_device(alice, &phone).await.unwrap());
}

pub async fn an_operator_sets_a_password_whatever_the_version(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    for version in 2..5 {
        let by_operator = PasswordChange { version: None, device: None, ..change(alice) };
        let changed = play.store.change_password(by_operator).await.unwrap();
        assert_eq!(changed, PasswordChanged::Changed { ended: 0, kept: None });
        let credentials = play.store.credentials_of(alice).await.unwrap().unwrap();
        assert_eq!(credentials.version, CredentialVersion(version));
    }
}

pub async fn a_rehash_replaces_only_the_hash_that_was_verified(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (_, token) = play.signed_in(alice).await;
    let credentials = async || play.store.credentials_of(alice).await.unwrap().unwrap();
    play.store.rehash_password(alice, &password("other"), &password("bad")).await.unwrap();
    assert_eq!(credentials().await.password, password("first"));
    play.store.rehash_password(alice, &password("first"), &password("stronger")).await.unwrap();
    assert_eq!(credentials().await.password, password("stronger"));
    assert_eq!(credentials().await.version, FIRST, "the password is the same");
    assert!(play.lives(&token).await);
}

pub async fn a_renamed_user_is_called_so_at_once_and_checkers_hear_of_it(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (_, token) = play.signed_in(alice).await;
    let renamed =
        play.store.rename(alice, Some(name("Alina")), email("a@example.com"), None, at(1)).await.unwrap();
    assert_eq!(renamed, Renaming::Renamed);
    let found = play.store.find(&token).await.unwrap().unwrap();
    assert_eq!(found.user_name.as_deref(), Some("Alina"));
    assert_eq!(play.events().await, [(Selector::User { user: alice }, LogEvent::Changed)]);
    assert_eq!(found.as_of, play.head().await);
    assert_eq!(play.store.user_called(&login("alice")).await.unwrap(), None);
    for called in ["alina", "A@example.com"] {
        assert_eq!(play.store.user_called(&login(called)).await.unwrap().unwrap().id, alice);
    }
    assert_eq!(play.store.credentials_of(alice).await.unwrap().unwrap().version, FIRST);
    let line = play.store.audit(Some(alice), 1).await.unwrap().pop().unwrap();
    assert_eq!((line.event, line.at), (AuditEvent::UserRenamed, at(1)));
}

pub async fn a_user_keeps_or_respells_the_own_name_and_takes_nobody_elses(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let bob = NewUser { email: email("bob@example.com"), ..play.new_user("Bob") };
    play.store.create_user(bob, None).await.unwrap();
    let rename = async |user, name, email| play.store.rename(user, name, email, None, at(1)).await.unwrap();
    assert_eq!(rename(alice, Some(name("ALICE")), None).await, Renaming::Renamed);
    assert_eq!(rename(alice, Some(name("bob")), None).await, Renaming::NameTaken);
    assert_eq!(rename(alice, None, email("BOB@example.com")).await, Renaming::EmailTaken);
    assert_eq!(rename(play.user_id(), Some(name("Carol")), None).await, Renaming::Gone);
    assert_eq!(play.store.user(alice).await.unwrap().unwrap().name, Some(name("ALICE")));
    assert_eq!(play.events().await.len(), 1);
}

fn groups(names: &str) -> Groups {
    names.parse().unwrap()
}

pub async fn a_user_is_in_the_groups_that_they_were_put_in_and_checkers_hear_of_it(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let (alice, bob) = (play.user("Alice").await, play.user("Bob").await);
    let (_, token) = play.signed_in(alice).await;
    let change = async |joined, left| {
        play.store.change_groups(alice, &groups(joined), &groups(left), at(1)).await.unwrap()
    };
    assert_eq!(change("staff admins", "").await, Grouping::Grouped(groups("admins staff")));
    assert_eq!(change("wiki", "admins nothing").await, Grouping::Grouped(groups("staff wiki")));
    let changed = (Selector::User { user: alice }, LogEvent::Changed);
    assert_eq!(play.events().await, [changed, changed]);
    assert!(play.lives(&token).await);
    let held = async |user| play.store.user(user).await.unwrap().unwrap().groups;
    assert_eq!((held(alice).await, held(bob).await), (groups("staff wiki"), Groups::default()));
    assert_eq!(play.store.users(None, 10).await.unwrap()[0].groups, groups("staff wiki"));
    let line = play.store.audit(Some(alice), 1).await.unwrap().pop().unwrap();
    assert_eq!((line.event, line.at), (AuditEvent::GroupsChanged, at(1)));
    assert_eq!(line.detail, "in staff wiki");
    assert_eq!(change("", "staff wiki").await, Grouping::Grouped(Groups::default()));
    assert_eq!(held(alice).await, Groups::default());
}

pub async fn groups_that_change_nothing_write_nothing_and_too_many_are_refused(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let change = async |joined: &Groups, left: &Groups| {
        play.store.change_groups(alice, joined, left, at(1)).await.unwrap()
    };
    let all: Groups = (0..GROUPS).map(|number| format!("g{number}").parse().unwrap()).collect();
    assert_eq!(change(&all, &groups("none")).await, Grouping::Grouped(all.clone()));
    let before = (play.log().await, play.store.audit(None, 10).await.unwrap());
    assert_eq!(change(&groups("one-more"), &groups("")).await, Grouping::TooMany);
    assert_eq!(change(&all, &groups("none")).await, Grouping::Grouped(all.clone()));
    let nobodys = play.store.change_groups(play.user_id(), &all, &groups(""), at(1)).await.unwrap();
    assert_eq!(nobodys, Grouping::Unknown);
    assert_eq!((play.log().await, play.store.audit(None, 10).await.unwrap()), before);
    let exchanged = change(&groups("one-more"), &groups("g0")).await;
    assert!(matches!(exchanged, Grouping::Grouped(now) if now.len() == GROUPS));
}

pub async fn of_many_who_change_the_groups_of_one_user_at_once_none_is_lost(store: Arc<dyn Store>) {
    let play = Play::new(Arc::clone(&store));
    let alice = play.user("Alice").await;
    crowd(16, |number| {
        let store = Arc::clone(&store);
        async move {
            let joined = groups(&format!("g{number}"));
            store.change_groups(alice, &joined, &Groups::default(), at(1)).await.unwrap()
        }
    })
    .await;
    assert_eq!(store.user(alice).await.unwrap().unwrap().groups.len(), 16);
}

pub async fn disabling_ends_all_sessions_and_enabling_revives_none(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (_, token) = play.signed_in(alice).await;
    let status = async || play.store.user(alice).await.unwrap().unwrap().status;
    assert_eq!(play.store.set_status(alice, Status::Disabled, at(1)).await.unwrap(), Some(1));
    assert_eq!(status().await, Status::Disabled);
    assert!(!play.lives(&token).await);
    let found = play.store.credentials(&LoginName::parse("alice")).await.unwrap().unwrap();
    assert_eq!((found.status, found.version), (Status::Disabled, CredentialVersion(2)));
    assert_eq!(play.store.set_status(alice, Status::Active, at(2)).await.unwrap(), Some(0));
    assert_eq!(status().await, Status::Active);
    assert!(!play.lives(&token).await);
    assert_eq!(play.events().await, [ended(Selector::User { user: alice }, Cause::UserDisabled)]);
    assert_eq!(play.store.set_status(play.user_id(), Status::Disabled, at(3)).await.unwrap(), None);
    let lines = play.store.audit(Some(alice), 2).await.unwrap();
    assert_eq!(
        lines.iter().map(|line| line.event).collect::<Vec<_>>(),
        [AuditEvent::UserEnabled, AuditEvent::UserDisabled]
    );
}

pub async fn a_deleted_user_leaves_the_audit_log_and_nothing_else(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let (session, token) = play.signed_in(alice).await;
    play.put(session, "cart", "[1]").await;
    let phone = play.token();
    play.store.know_device(alice, &phone, START).await.unwrap();
    assert_eq!(play.store.delete_user(alice, None, at(1)).await.unwrap(), Removal::Removed { ended: 1 });
    assert_eq!(play.store.delete_user(alice, None, at(1)).await.unwrap(), Removal::Unknown);
    assert!(!play.lives(&token).await);
    assert_eq!(play.data(session, "cart").await, None);
    assert_eq!(play.store.user(alice).await.unwrap(), None);
    assert_eq!(play.store.credentials_of(alice).await.unwrap(), None);
    assert!(!play.store.knows_device(alice, &phone).await.unwrap());
    assert_eq!(play.events().await, [ended(Selector::User { user: alice }, Cause::UserDeleted)]);
    let line = play.store.audit(Some(alice), 1).await.unwrap().pop().unwrap();
    assert_eq!((line.event, line.at), (AuditEvent::UserDeleted, at(1)));
    play.user("Alice").await;
}

pub async fn a_device_is_known_to_the_user_who_signed_in_from_it(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let [alice, bob] = [play.user("Alice").await, play.user("Bob").await];
    let phone = play.token();
    assert!(!play.store.knows_device(alice, &phone).await.unwrap());
    for second in [1, 2] {
        play.store.know_device(alice, &phone, at(second)).await.unwrap();
    }
    assert!(play.store.knows_device(alice, &phone).await.unwrap());
    assert!(!play.store.knows_device(bob, &phone).await.unwrap());
    let nobody = play.user_id();
    play.store.know_device(nobody, &phone, START).await.unwrap();
    assert!(!play.store.knows_device(nobody, &phone).await.unwrap());
}
