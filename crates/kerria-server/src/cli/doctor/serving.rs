//! The running server, and the address it listens on.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use axum::http::Method;

use super::Finding;
use crate::{
    cli::{
        answers::{self, Cluster},
        operator::Operator,
    },
    config::Config,
};

/// Whether a server runs on the folder, and is ready.
pub(super) async fn server(running: anyhow::Result<Option<Operator>>) -> Finding {
    let subject = "server";
    let operator = match running {
        Ok(Some(operator)) => operator,
        Ok(None) => return Finding::ok(subject, "does not run; `kerria serve` starts it"),
        Err(why) => {
            return Finding::fail(subject, format!("{why:#}"), "run this as the user who runs the server");
        }
    };
    match operator.send(Method::GET, "/health/ready", None).await {
        Ok(reply) if reply.status.is_success() => Finding::ok(subject, "runs and is ready"),
        Ok(reply) => Finding::fail(
            subject,
            format!("runs, and says that it is not ready ({})", reply.status),
            "look into its log: it says what it waits for",
        ),
        Err(why) => {
            Finding::fail(subject, format!("does not answer: {why:#}"), "look into its log, and restart it")
        }
    }
}

/// Whether applications may follow, and how many processes hold a lease.
pub(super) async fn checkers(running: &anyhow::Result<Option<Operator>>, config: &Config) -> Finding {
    let subject = "checkers";
    if config.checkers_token.is_none() {
        return Finding::ok(subject, "applications may not follow (checkers.token is not set)");
    }
    let Ok(Some(operator)) = running else {
        return Finding::ok(subject, "applications with the token may follow while the server runs");
    };
    let answer = operator.ask(Method::GET, "cluster", None).await;
    let cluster: Cluster = match answer.and_then(|answer| answers::read(&answer)) {
        Ok(cluster) => cluster,
        Err(why) => {
            let text = format!("who follows cannot be told: {why:#}");
            return Finding::warn(
                subject,
                text,
                "see what is said there; `kerria cluster status` tells it again",
            );
        }
    };
    judge_checkers(&cluster, config.checkers_max as usize)
}

fn judge_checkers(cluster: &Cluster, max: usize) -> Finding {
    let (subject, there) = ("checkers", cluster.nodes.len());
    let behind: Vec<_> =
        cluster.nodes.iter().filter(|node| node.behind > 0).map(|node| node.name.as_str()).collect();
    let text = format!("{there} of at most {max} processes hold a lease, nodes among them");
    if there >= max {
        let advice = "stop applications that are not needed, or raise checkers.max at every node; `kerria cluster status` lists them";
        return Finding::warn(subject, format!("{text}: one application more is refused"), advice);
    }
    if !behind.is_empty() {
        let advice = "look again: if they stay behind, every end waits for them; `kerria cluster status` shows how far they are";
        return Finding::warn(subject, format!("{text}; behind right now: {}", behind.join(", ")), advice);
    }
    Finding::ok(subject, text)
}

/// Whether the configured address is free, or the server's.
pub(super) fn listen(address: SocketAddr, is_running: bool) -> Finding {
    let subject = "address";
    match TcpListener::bind(address) {
        Ok(_) if is_running => Finding::warn(
            subject,
            format!("the server runs, and nothing listens on {address}"),
            "it was started with other settings: restart it, or give this command the same ones",
        ),
        Ok(_) => Finding::ok(subject, format!("{address} is free")),
        Err(why) if why.kind() == io::ErrorKind::AddrInUse && is_running => {
            Finding::ok(subject, format!("{address} is in use while the server runs, as it should be"))
        }
        Err(why) => {
            let advice = match why.kind() {
                io::ErrorKind::AddrInUse => {
                    "another program uses it: stop that, or set listen to another port"
                }
                io::ErrorKind::AddrNotAvailable => {
                    "this machine does not have that address: set listen to one it has"
                }
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need a privilege: set listen to a higher one"
                }
                _ => "set listen to another address",
            };
            Finding::fail(subject, format!("cannot listen on {address}: {why}"), advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    #[test]
    fn an_address_is_free_ours_or_somebody_elses() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(listen(address, true).state, State::Ok);
        let found = listen(address, false);
        assert_eq!(found.state, State::Fail);
        assert!(found.advice.unwrap().starts_with("another program uses it"));
        drop(taken);
        assert_eq!(listen(address, false).state, State::Ok);
        assert_eq!(listen("192.0.2.1:0".parse().unwrap(), false).state, State::Fail);
    }
}
