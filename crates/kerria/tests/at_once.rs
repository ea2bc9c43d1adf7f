//! What several requests do with one session at the same time, and several steps of one request.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::time::Duration;

use axum::{Router, body::Body, extract::State, routing::get};
use http::{HeaderValue, Request, header};
use kerria::{
    Expiry, Session, UserId,
    testing::{self, START, TestSessions, login_as},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tower::ServiceExt;

const MINUTE: Duration = Duration::from_secs(60);
const ALICE: UserId = UserId::from_number(1);
const BOB: UserId = UserId::from_number(2);

/// A request that is under way, and its session.
struct UnderWay {
    session: Session,
    answer: oneshot::Sender<()>,
    answered: JoinHandle<Option<HeaderValue>>,
}

type Lender = mpsc::UnboundedSender<(Session, oneshot::Sender<()>)>;

/// Gives its session away, and answers when it is told to.
async fn lend(session: Session, State(lender): State<Lender>) {
    let (answer, is_to_answer) = oneshot::channel();
    lender.send((session, answer)).unwrap();
    is_to_answer.await.unwrap();
}

impl UnderWay {
    /// A request with this cookie.
    async fn with(play: &TestSessions, cookie: &HeaderValue) -> Self {
        let (lender, mut lent) = mpsc::unbounded_channel();
        let app = Router::new().route("/", get(lend)).with_state(lender).layer(play.sessions.layer());
        let request = Request::get("/").header(header::COOKIE, cookie).body(Body::empty()).unwrap();
        let answered = tokio::spawn(async {
            let response = app.oneshot(request).await.unwrap();
            response.headers().get(header::SET_COOKIE).cloned()
        });
        let (session, answer) = lent.recv().await.unwrap();
        Self { session, answer, answered }
    }

    /// A request of Alice.
    async fn of_alice(play: &TestSessions) -> Self {
        Self::with(play, &login_as(&play.sessions, ALICE).await).await
    }

    /// Answers, and says who is signed in with the cookie of the answer.
    async fn answer(self, play: &TestSessions) -> Option<UserId> {
        self.answer.send(()).unwrap();
        let set = self.answered.await.unwrap().unwrap();
        let cookie = set.to_str().unwrap().split(';').next().unwrap();
        Self::with(play, &cookie.parse().unwrap()).await.session.user()
    }
}

/// Does one thing, and another one after the store has done this step of the first, which has not heard of it yet.
async fn overtaken<A: Send + 'static, B: Send + 'static>(
    play: &TestSessions,
    step: &'static str,
    first: impl Future<Output = A> + Send + 'static,
    second: impl Future<Output = B> + Send + 'static,
) -> (A, B) {
    let held = play.store.hold(step);
    let first = tokio::spawn(first);
    held.reached().await;
    let mut second = tokio::spawn(second);
    // It may wait for the first.
    let early = timeout(Duration::from_millis(50), &mut second).await;
    held.release();
    let first = first.await.unwrap();
    let second = match early {
        Ok(second) => second,
        Err(_) => second.await,
    };
    (first, second.unwrap())
}

#[tokio::test]
async fn a_new_token_is_not_forgotten_for_an_expiry_that_is_set_meanwhile() {
    let play = testing::sessions().await;
    let request = UnderWay::of_alice(&play).await;
    let [one, other] = [request.session.clone(), request.session.clone()];
    let expire = async move { one.set_expiry(Expiry::on_inactivity(MINUTE)).await };
    let (expiry, cycled) =
        overtaken(&play, "set_expiry", expire, async move { other.cycle_id().await }).await;
    assert!(expiry.is_ok() && cycled.is_ok(), "{expiry:?} {cycled:?}");
    request.session.cycle_id().await.unwrap();
    assert_eq!(request.answer(&play).await, Some(ALICE));
}

#[tokio::test]
async fn an_expiry_is_not_forgotten_for_a_new_token_that_is_given_meanwhile() {
    let play = testing::sessions().await;
    let request = UnderWay::of_alice(&play).await;
    let [one, other] = [request.session.clone(), request.session.clone()];
    let expire = async move { other.set_expiry(Expiry::at(START - MINUTE)).await };
    let (cycled, expiry) = overtaken(&play, "renew", async move { one.cycle_id().await }, expire).await;
    assert!(expiry.is_ok() && cycled.is_ok(), "{expiry:?} {cycled:?}");
    assert_eq!(request.session.user(), None, "it is over");
    assert_eq!(request.answer(&play).await, None);
}

#[tokio::test]
async fn a_sign_in_stands_whatever_happens_to_the_session_before_meanwhile() {
    let play = testing::sessions().await;
    let request = UnderWay::of_alice(&play).await;
    let [one, other] = [request.session.clone(), request.session.clone()];
    let expire = async move { one.set_expiry(Expiry::on_inactivity(MINUTE)).await };
    let (_, signed_in) = overtaken(&play, "set_expiry", expire, async move { other.login(BOB).await }).await;
    assert!(signed_in.is_ok(), "{signed_in:?}");
    assert_eq!(request.session.user(), Some(BOB));
    let [one, other] = [request.session.clone(), request.session.clone()];
    let (out, signed_in) =
        overtaken(
            &play,
            "revoke",
            async move { one.logout().await },
            async move { other.login(ALICE).await },
        )
        .await;
    assert!(out.is_ok() && signed_in.is_ok(), "{out:?} {signed_in:?}");
    assert_eq!(request.session.user(), Some(ALICE));
    assert_eq!(request.answer(&play).await, Some(ALICE));
}

#[tokio::test]
async fn of_two_requests_that_set_an_expiry_the_last_one_counts_for_both() {
    let play = testing::sessions().await;
    let cookie = login_as(&play.sessions, ALICE).await;
    let [first, second] = [UnderWay::with(&play, &cookie).await, UnderWay::with(&play, &cookie).await];
    let [one, other] = [first.session.clone(), second.session.clone()];
    let (long, over) = overtaken(
        &play,
        "set_expiry",
        async move { one.set_expiry(Expiry::on_inactivity(MINUTE)).await },
        async move { other.set_expiry(Expiry::at(START - MINUTE)).await },
    )
    .await;
    assert!(long.is_ok() && over.is_ok(), "{long:?} {over:?}");
    assert_eq!((first.session.user(), second.session.user()), (None, None), "it is over");
}
