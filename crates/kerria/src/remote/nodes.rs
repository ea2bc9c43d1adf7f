//! The nodes of a server, of which one is asked.

use std::{
    error::Error,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kerria_core::store::{StoreError, Trouble};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::timeout;
use tracing::warn;

use super::{RemoteError, RemoteOptions};
use crate::{
    Stopwatch,
    https::{self, is_safe},
};

/// How long the first node may take to answer a question about a session.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long all of them together may take.
const DEADLINE: Duration = Duration::from_millis(4_500);

/// How long a connection is kept that is not used. Shorter than servers keep it, so that few requests meet a closed one.
const IDLE: Duration = Duration::from_secs(5);

/// The longest answer, in bytes.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The nodes, and what opens them.
pub(super) struct Nodes {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    origins: Vec<String>,
    credential: HeaderValue,
    /// The one that answered last.
    asked: AtomicUsize,
}

/// How long nodes may take to answer.
#[derive(Clone, Copy)]
pub(super) struct Time {
    /// The first one that is asked.
    pub(super) first: Duration,
    /// All together.
    pub(super) all: Duration,
}

impl Time {
    /// How long the node may take whose turn it is, of so many, when so much time has passed: those after the first share what is left.
    fn share(self, turn: usize, nodes: usize, passed: Duration) -> Duration {
        let left = self.all.saturating_sub(passed);
        if turn == 0 {
            return self.first.min(left);
        }
        left / u32::try_from(nodes.saturating_sub(turn)).unwrap_or(u32::MAX).max(1)
    }
}

/// The type of the problem of a node whose store takes no more work.
const BUSY: &str = "urn:kerria:problem:busy";

/// Why a node has not answered as it should.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It cannot be reached.
    #[error("{node} cannot be reached: {}", in_full(&**source))]
    Unreachable {
        /// Which.
        node: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// It does not answer in time.
    #[error("{node} does not answer in time")]
    Late {
        /// Which.
        node: String,
    },
    /// It refuses the token.
    #[error(
        "{node} refuses the token: it has to be the one that is set there as checkers.token or checkers.token_file"
    )]
    Token {
        /// Which.
        node: String,
    },
    /// More waits for its store than that can take, so it has asked nobody.
    #[error("{node} has too much to do at the moment")]
    Busy {
        /// Which.
        node: String,
    },
    /// It answers with an error.
    #[error("{node} answers {status}: {detail}")]
    Problem {
        /// Which.
        node: String,
        /// The status.
        status: StatusCode,
        /// What it says.
        detail: String,
    },
    /// It answers something that is not understood.
    #[error(
        "{node} answers something that is not understood: it may be newer than this program, or no Kerria at all"
    )]
    Answer {
        /// Which.
        node: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// What is read of a problem (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    detail: String,
}

/// Whether it says no more than that there was no time for the question (RFC 9110, section 15.5.9; RFC 6585, section 4).
fn is_of_time(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

impl Nodes {
    pub(super) fn new(options: &RemoteOptions) -> Result<Self, RemoteError> {
        if options.nodes.is_empty() {
            return Err(RemoteError::NoNode);
        }
        let origin = |text: &String| origin(text, options.insecure_http);
        let origins = options.nodes.iter().map(origin).collect::<Result<_, _>>()?;
        let bearer = format!("Bearer {}", options.token.expose());
        let mut credential = HeaderValue::try_from(bearer).map_err(|_| RemoteError::Token)?;
        if options.token.expose().trim().is_empty() {
            return Err(RemoteError::Token);
        }
        credential.set_sensitive(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(https::connector(options.authorities.as_deref())?);
        Ok(Self { client, origins, credential, asked: AtomicUsize::new(0) })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.origins.len()
    }

    /// What is at this path.
    pub(super) async fn read<A: DeserializeOwned>(&self, path: &str) -> Result<A, AskError> {
        let nothing = Bytes::new();
        self.any(Method::GET, path, [&nothing, &nothing], Time { first: PATIENCE, all: DEADLINE }).await
    }

    /// The answer to a question about a session.
    pub(super) async fn ask<A: DeserializeOwned>(
        &self,
        path: &str,
        question: &impl Serialize,
    ) -> Result<A, StoreError> {
        let time = Time { first: PATIENCE, all: DEADLINE };
        self.ask_within(time, path, question, question).await
    }

    /// The answer to a question, of which there may be another form for those that are asked after the first.
    pub(super) async fn ask_within<A: DeserializeOwned>(
        &self,
        time: Time,
        path: &str,
        question: &impl Serialize,
        afterwards: &impl Serialize,
    ) -> Result<A, StoreError> {
        let failed = |error: serde_json::Error| StoreError::new(Trouble::Failed, error);
        let first = serde_json::to_vec(question).map_err(failed)?.into();
        let others = serde_json::to_vec(afterwards).map_err(failed)?.into();
        let answer = self.any(Method::POST, path, [&first, &others], time).await;
        answer.map_err(|error| {
            let trouble = match &error {
                // That is an answer, too.
                AskError::Token { .. } | AskError::Answer { .. } => Trouble::Failed,
                AskError::Problem { status, .. } if status.is_client_error() && !is_of_time(*status) => {
                    Trouble::Failed
                }
                AskError::Busy { .. } => Trouble::Busy,
                AskError::Unreachable { .. } | AskError::Late { .. } | AskError::Problem { .. } => {
                    Trouble::Unavailable
                }
            };
            StoreError::new(trouble, error)
        })
    }

    /// Asks the node that answered last, and then the others, each of which gets its share of the time that is left. Every
    /// question may be asked twice.
    async fn any<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        [question, afterwards]: [&Bytes; 2],
        time: Time,
    ) -> Result<A, AskError> {
        let (began, first) = (Stopwatch::start(), self.asked.load(Relaxed));
        let mut turn = 0;
        loop {
            let at = (first + turn) % self.count();
            let node = &self.origins[at];
            let body = if turn == 0 { question } else { afterwards };
            let asked = self.one(node, method.clone(), path, body.clone());
            let patience = time.share(turn, self.count(), began.elapsed());
            let answer =
                timeout(patience, asked).await.unwrap_or_else(|_| Err(AskError::Late { node: node.clone() }));
            turn += 1;
            match answer {
                Ok(answer) => {
                    if turn > 1 {
                        self.asked.store(at, Relaxed);
                        warn!("{node} is followed from now on");
                    }
                    return Ok(answer);
                }
                Err(error) => {
                    // Whoever asks next begins with another one, also if nobody waits for this answer any more.
                    self.asked.store((at + 1) % self.count(), Relaxed);
                    if turn == self.count() {
                        return Err(error);
                    }
                    warn!("{error}");
                }
            }
        }
    }

    async fn one<A: DeserializeOwned>(
        &self,
        node: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, AskError> {
        let unreachable =
            |source: Box<dyn Error + Send + Sync>| AskError::Unreachable { node: node.to_owned(), source };
        let request = Request::builder()
            .method(method)
            .uri(format!("{node}{path}"))
            .header(header::AUTHORIZATION, &self.credential)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| unreachable(error.into()))?;
        let response = self.client.request(request).await.map_err(|error| unreachable(error.into()))?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), ANSWER_BYTES).collect().await.map_err(unreachable)?.to_bytes();
        if status == StatusCode::UNAUTHORIZED {
            return Err(AskError::Token { node: node.to_owned() });
        }
        if !status.is_success() {
            let (node, problem) = (node.to_owned(), serde_json::from_slice::<Problem>(&body));
            return Err(match problem {
                Ok(Problem { kind, .. }) if kind == BUSY => AskError::Busy { node },
                Ok(Problem { detail, .. }) => AskError::Problem { node, status, detail },
                Err(_) => AskError::Problem { node, status, detail: String::new() },
            });
        }
        // What has no content says as much as null.
        let body = if body.is_empty() { Bytes::from_static(b"null") } else { body };
        serde_json::from_slice(&body).map_err(|source| AskError::Answer { node: node.to_owned(), source })
    }
}

/// An origin as it stands before a path.
fn origin(text: &str, insecure_http: bool) -> Result<String, RemoteError> {
    let refused = || RemoteError::Address(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| refused())?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(refused());
    };
    if uri.path_and_query().is_some_and(|path| path.as_str() != "/") || authority.as_str().contains('@') {
        return Err(refused());
    }
    if !insecure_http && !is_safe(&uri) {
        return Err(RemoteError::Insecure(text.to_owned()));
    }
    Ok(format!("{scheme}://{authority}"))
}

/// An error with what caused it.
fn in_full(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(error.source(), |error| (*error).source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// A node that answers every request with what it was asked.
    async fn node_that_answers() -> String {
        node("200 OK", None).await
    }

    /// A node that answers every request with this status, and this or what it was asked.
    async fn node(status: &'static str, says: Option<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut request = vec![0; 4096];
                    while let Ok(read @ 1..) = stream.read(&mut request).await {
                        let text = String::from_utf8_lossy(&request[..read]).into_owned();
                        let body = says.unwrap_or_else(|| text.split_once("\r\n\r\n").unwrap().1);
                        let answer =
                            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        origin
    }

    /// Nodes of which the last alone answers. Connections to the others are taken, and nothing more; for as long as they are kept.
    async fn nodes_with_silent_ones(silent: usize) -> (Nodes, Vec<TcpListener>) {
        let (mut origins, mut kept) = (Vec::new(), Vec::new());
        for _ in 0..silent {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            origins.push(format!("http://{}", listener.local_addr().unwrap()));
            kept.push(listener);
        }
        origins.push(node_that_answers().await);
        (Nodes::new(&RemoteOptions::new(origins, "a token")).unwrap(), kept)
    }

    #[tokio::test]
    async fn however_many_nodes_are_silent_the_one_that_answers_is_found_in_time() {
        let (nodes, _kept) = nodes_with_silent_ones(4).await;
        let answer: String = timeout(DEADLINE, nodes.ask("/", &"a question")).await.unwrap().unwrap();
        assert_eq!(answer, "a question");
        let watch = Stopwatch::start();
        let answer: String = nodes.ask("/", &"another one").await.unwrap();
        assert_eq!(answer, "another one");
        assert!(watch.elapsed() < PATIENCE / 2, "it is asked first from now on: {:?}", watch.elapsed());
    }

    #[tokio::test]
    async fn what_a_node_refuses_is_an_answer_and_what_it_cannot_tell_is_none() {
        let busy = r#"{"type": "urn:kerria:problem:busy", "detail": "Try again."}"#;
        let unavailable = r#"{"type": "urn:kerria:problem:unavailable", "detail": "Try again."}"#;
        for (status, says, trouble) in [
            ("503 Service Unavailable", busy, Trouble::Busy),
            ("503 Service Unavailable", unavailable, Trouble::Unavailable),
            ("502 Bad Gateway", "<h1>by a proxy</h1>", Trouble::Unavailable),
            ("503 Service Unavailable", r#"{"title": "without a type"}"#, Trouble::Unavailable),
            ("408 Request Timeout", "", Trouble::Unavailable),
            ("429 Too Many Requests", "", Trouble::Unavailable),
            ("401 Unauthorized", "", Trouble::Failed),
            ("404 Not Found", "", Trouble::Failed),
            ("200 OK", "no JSON", Trouble::Failed),
        ] {
            let options = RemoteOptions::new([node(status, Some(says)).await], "a token");
            let answer = Nodes::new(&options).unwrap().ask::<String>("/", &"a question").await;
            assert_eq!(answer.unwrap_err().trouble, trouble, "{status}: {says}");
        }
    }

    #[tokio::test]
    async fn a_lease_lasts_for_as_long_as_it_takes_to_find_the_node_that_answers() {
        let (nodes, _kept) = nodes_with_silent_ones(3).await;
        let (first, all) = (Duration::from_millis(500), Duration::from_millis(950));
        let (held_back, at_once) = ("may be held back", "at once");
        let asked = nodes.ask_within(Time { first, all }, "/", &held_back, &at_once);
        let answer: String = timeout(Duration::from_secs(1), asked).await.unwrap().unwrap();
        assert_eq!(answer, at_once, "there is no time to hold it back");
    }

    #[tokio::test]
    async fn who_is_not_waited_for_any_more_leaves_the_silent_node_behind() {
        let (nodes, _kept) = nodes_with_silent_ones(2).await;
        let time = Time { first: Duration::from_millis(50), all: Duration::from_secs(9) };
        let asked = nodes.ask_within::<String>(time, "/", &"a question", &"a question");
        assert!(timeout(Duration::from_millis(100), asked).await.is_err());
        let answer: String = nodes.ask("/", &"another one").await.unwrap();
        assert_eq!(answer, "another one");
        assert_eq!(nodes.asked.load(Relaxed), 2);
    }

    #[test]
    fn a_node_is_an_origin_that_nobody_on_the_way_can_read_along() {
        for (good, origin_of) in [
            ("https://id.example", "https://id.example"),
            ("https://id.example:8443/", "https://id.example:8443"),
            ("http://localhost:8080", "http://localhost:8080"),
        ] {
            assert_eq!(origin(good, false).unwrap(), origin_of);
        }
        for bad in ["", "id.example", "ftp://id.example", "https://id.example/kerria", "https://a@id.example"]
        {
            assert!(matches!(origin(bad, true), Err(RemoteError::Address(_))), "{bad}");
        }
        assert!(matches!(origin("http://id.example", false), Err(RemoteError::Insecure(_))));
        assert_eq!(origin("http://id.example", true).unwrap(), "http://id.example");
    }
}
