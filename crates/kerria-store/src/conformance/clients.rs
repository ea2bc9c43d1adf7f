//! Clients, as operators register them.

use std::sync::Arc;

use kerria_core::{
    AccessTokenForm, Algorithm, Cause, Client, ClientAuthentication, ClientId, GrantType, Scope, Selector,
    Store, audit::AuditEvent, store::Rotation,
};

use super::play::{Play, START, at, client, ended, one};

/// One of each kind.
fn all_kinds(play: &Play) -> Vec<Client> {
    use AccessTokenForm::{Jwt, Reference};
    let secret = ClientAuthentication::Secret(play.token());
    let jwks = ClientAuthentication::PrivateKeyJwt("{\"keys\": [\"é\"]}".to_owned());
    let kinds = [
        (ClientAuthentication::Public, Reference),
        (secret.clone(), Jwt(Algorithm::EdDsa)),
        (jwks.clone(), Jwt(Algorithm::Es256)),
        (secret, Jwt(Algorithm::Rs256)),
        (jwks, Jwt(Algorithm::Hs256)),
    ];
    let of_kind = |(number, (authentication, access_tokens))| Client {
        name: format!("Client \"{number}\" é"),
        authentication,
        grants: GrantType::ALL.into_iter().skip(number).collect(),
        scope: ["", "read", "a:b read write"][number % 3].parse().unwrap(),
        audiences: (0..number % 3)
            .map(|one| format!("https://z{}.example.com/", 9 - one).parse().unwrap())
            .collect(),
        access_tokens,
        created_at: at(number as u64),
        ..client(&format!("client:{number}"))
    };
    kinds.into_iter().enumerate().map(of_kind).collect()
}

pub async fn a_client_is_read_back_as_it_was_registered(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let clients = all_kinds(&play);
    for client in clients.iter().rev() {
        assert!(play.store.add_client(client).await.unwrap());
    }
    for client in &clients {
        assert_eq!(play.store.client(client.id).await.unwrap().as_ref(), Some(client));
    }
    assert_eq!(play.store.clients().await.unwrap(), clients, "by name");
    assert_eq!(play.store.client("nobody".parse().unwrap()).await.unwrap(), None);
}

pub async fn a_taken_client_identifier_is_taken_and_nothing_is_changed(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let first = client("shop");
    assert!(play.store.add_client(&first).await.unwrap());
    let second = Client { name: "Another".to_owned(), scope: Scope::default(), ..client("shop") };
    assert!(!play.store.add_client(&second).await.unwrap());
    assert_eq!(play.store.clients().await.unwrap(), [first]);
    assert!(play.store.add_client(&client("Shop")).await.unwrap(), "told apart byte by byte");
}

pub async fn a_change_of_a_client_changes_all_of_it_and_no_other(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let other = client("other");
    assert!(play.store.add_client(&other).await.unwrap());
    for client in [client("shop")] {
        assert!(!play.store.change_client(&client).await.unwrap(), "there is none");
        assert!(play.store.add_client(&client).await.unwrap());
    }
    for kind in all_kinds(&play) {
        let changed = Client { id: "shop".parse().unwrap(), ..kind };
        assert!(play.store.change_client(&changed).await.unwrap());
        assert_eq!(play.store.clients().await.unwrap(), [other.clone(), changed]);
    }
    assert_eq!(play.events().await, []);
}

pub async fn a_replaced_secret_of_a_client_does_not_come_back(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let by = |secret| Client { authentication: ClientAuthentication::Secret(secret), ..client("shop") };
    let [first, second, third] = [play.token(), play.token(), play.token()];
    let secret = async || play.store.client(client("shop").id).await.unwrap().unwrap().authentication;
    let set = async |secret| play.store.set_client_secret(client("shop").id, &secret).await.unwrap();
    assert!(!set(first).await, "there is no such client");
    assert!(play.store.add_client(&client("shop")).await.unwrap());
    assert!(!set(first).await, "it has no secret");
    assert_eq!(secret().await, ClientAuthentication::Public);
    assert!(play.store.change_client(&by(first)).await.unwrap());
    assert_eq!(secret().await, ClientAuthentication::Secret(first));
    assert!(set(second).await);
    // Somebody who had read the client before that.
    let changed = Client { name: "Another".to_owned(), ..by(first) };
    assert!(play.store.change_client(&changed).await.unwrap());
    assert_eq!(play.store.clients().await.unwrap(), [Client { name: "Another".to_owned(), ..by(second) }]);
    assert!(play.store.change_client(&client("shop")).await.unwrap());
    assert!(play.store.change_client(&by(third)).await.unwrap());
    assert_eq!(secret().await, ClientAuthentication::Secret(third), "it had none in between");
    assert_eq!(play.events().await, []);
}

pub async fn removing_a_client_ends_all_that_was_issued_to_it_for_good(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let alice = play.user("Alice").await;
    let [shop, app] = [play.client("shop").await, play.client("app").await];
    let (session, token) = play.with_tokens(alice, shop).await;
    let (kept, kept_token) = play.with_tokens(alice, app).await;
    let (_, in_a_cookie) = play.signed_in(alice).await;
    play.put(session, "cart", "[1]").await;
    let gone = [play.kept(Some(session), shop).await.0, play.kept(None, shop).await.0];
    let standing = [play.kept(Some(kept), app).await.0, play.kept(None, app).await.0];
    assert!(play.store.remove_client(shop, at(5)).await.unwrap());
    assert!(!play.store.remove_client(shop, at(6)).await.unwrap());
    assert!(!play.store.remove_client("nobody".parse().unwrap(), at(6)).await.unwrap());
    let events = [one(session), Selector::Client { client: shop }].map(|what| ended(what, Cause::Operator));
    assert_eq!(play.events().await, events);
    assert!(play.log().await.iter().all(|entry| entry.at == at(5)));
    let line = play.store.audit(None, 1).await.unwrap().pop().unwrap();
    assert_eq!((line.event, line.at), (AuditEvent::SessionsEnded, at(5)));
    // A client that gets its name is another one.
    assert_eq!(play.client("shop").await, shop);
    let refresh = play.refresh(session, token, shop, at(7));
    assert_eq!(play.store.rotate_refresh(refresh).await.unwrap(), Rotation::Gone);
    assert_eq!(play.data(session, "cart").await, None);
    for reference in gone {
        assert!(!play.stands(&reference).await);
    }
    for reference in standing {
        assert!(play.stands(&reference).await);
    }
    assert!(play.lives(&in_a_cookie).await);
    assert!(play.store.is_present_refresh(kept, &kept_token).await.unwrap());
    assert_eq!(play.store.clients().await.unwrap(), [client("app"), client("shop")]);
}

pub async fn removing_a_client_nobody_uses_is_logged_too(store: Arc<dyn Store>) {
    let play = Play::new(store);
    let shop: ClientId = play.client("shop").await;
    let checker = play.checker().await;
    assert!(play.store.remove_client(shop, START).await.unwrap());
    assert_eq!(play.events().await, [ended(Selector::Client { client: shop }, Cause::Operator)]);
    assert_eq!(checker.heard(), play.log().await);
}
