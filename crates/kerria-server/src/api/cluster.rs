//! The operator's API on the processes that share the database.

use std::sync::Arc;

use axum::{Json, extract::State};
use kerria_core::{CheckerId, Lease, LogNumber};
use serde::Serialize;

use crate::{
    app::{App, node_name},
    problem::{Problem, log_store_error},
};

/// Who shares the database, as the one that answers sees it.
#[derive(Serialize)]
pub struct Cluster {
    /// Whether other processes can.
    pub shared: bool,
    /// The number of the last entry of the revocation log. `None` if nobody has to follow it.
    pub head: Option<LogNumber>,
    /// Whether every lease that may run is in the ledger.
    pub settled: bool,
    /// Of the one that answers.
    pub lease: LeaseStanding,
    /// In the order of their names.
    pub nodes: Vec<Node>,
}

/// How the lease of the one that answers stands.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseStanding {
    /// Nobody else can write.
    NotNeeded,
    /// Memory may answer.
    Held,
    /// The store is asked for every session.
    RunOut,
}

/// A process.
#[derive(Serialize)]
pub struct Node {
    /// Made anew at each start.
    pub id: Option<CheckerId>,
    /// What people call it.
    pub name: String,
    /// The last entry of the log that it says it has applied.
    pub applied: Option<LogNumber>,
    /// Entries of the log that it has not applied yet, as far as it has said so.
    pub behind: u64,
    /// How many milliseconds after its commit the last entry was applied there that this process waited for.
    pub lag_in_ms: Option<u64>,
    /// Whether it is the one that answers.
    pub answers: bool,
}

/// `GET /api/v1/operator/cluster`: the processes that share the database.
pub async fn show(State(app): State<Arc<App>>) -> Result<Json<Cluster>, Problem> {
    look(&app).await.map(Json)
}

/// Who shares the database.
///
/// # Errors
/// If it does not answer.
pub async fn look(app: &App) -> Result<Cluster, Problem> {
    let lease = LeaseStanding::of(&app.store.lease());
    let call = app.store.roll_call().await.map_err(|error| {
        log_store_error(&error);
        Problem::unavailable_because(format!("The database does not answer, and {}.", lease.words()))
    })?;
    let Some(call) = call else {
        let alone = Node {
            id: None,
            name: node_name(&app.config),
            applied: None,
            behind: 0,
            lag_in_ms: None,
            answers: true,
        };
        return Ok(Cluster { shared: false, head: None, settled: true, lease, nodes: vec![alone] });
    };
    let nodes = call.nodes.into_iter().map(|node| Node {
        behind: node.behind(call.head),
        lag_in_ms: node.lag.and_then(|lag| u64::try_from(lag.as_millis()).ok()),
        answers: node.id == call.this,
        id: Some(node.id),
        name: node.name,
        applied: Some(node.applied),
    });
    let nodes = nodes.collect();
    Ok(Cluster { shared: true, head: Some(call.head), settled: call.settled, lease, nodes })
}

impl LeaseStanding {
    fn of(lease: &Lease) -> Self {
        match (lease.is_limited(), lease.holds()) {
            (false, _) => Self::NotNeeded,
            (true, true) => Self::Held,
            (true, false) => Self::RunOut,
        }
    }

    const fn words(&self) -> &'static str {
        match self {
            Self::NotNeeded => "this process needs no lease",
            Self::Held => "the lease of this node runs out soon",
            Self::RunOut => "the lease of this node has run out: of no session can it say whether it is good",
        }
    }
}
