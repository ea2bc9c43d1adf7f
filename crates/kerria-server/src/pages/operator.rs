//! The operator's page: who holds a lease, and how far each is. It changes nothing.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};

use crate::{
    api::cluster::{Cluster, LeaseStanding, Node, look},
    app::App,
    pages::{
        reply::{Page, error_page, failed, page},
        views::{CheckerItem, ErrorPage, OperatorPage},
        visitor::PageUser,
        words::count,
    },
};

/// `GET /operator`. To all but operators there is no such page.
pub async fn show(State(app): State<Arc<App>>, user: PageUser) -> Page {
    let layout = user.layout(&app);
    if !is_operator(&app, &user).await? {
        return Ok(error_page(&app, &ErrorPage::not_found(layout)));
    }
    let view = match look(&app).await {
        Ok(cluster) => OperatorPage {
            layout,
            said: said(&cluster),
            checkers: cluster.nodes.into_iter().map(|node| item(node, cluster.shared)).collect(),
            trouble: None,
        },
        Err(problem) => OperatorPage {
            layout,
            said: Vec::new(),
            checkers: Vec::new(),
            trouble: Some(problem.detail().to_owned()),
        },
    };
    Ok(page(&app, StatusCode::OK, &view))
}

async fn is_operator(app: &App, user: &PageUser) -> Result<bool, axum::response::Response> {
    let Some(operators) = &app.config.operator_group else { return Ok(false) };
    let profile = app.checker.profile(user.user).await.map_err(|error| failed(app, error))?;
    Ok(profile.is_some_and(|profile| profile.groups.contains(operators.as_str())))
}

fn said(cluster: &Cluster) -> Vec<String> {
    let Some(head) = cluster.head else {
        return vec!["This is the only process that uses the database. It needs no lease.".to_owned()];
    };
    let mut said = vec![format!("The revocation log is at {}.", head.0)];
    said.push(match cluster.lease {
        LeaseStanding::NotNeeded => "This node needs no lease: nobody else writes to its file.".to_owned(),
        LeaseStanding::Held => "This node holds its lease: its memory answers.".to_owned(),
        LeaseStanding::RunOut => {
            "The lease of this node has run out: it asks the store for every session.".to_owned()
        }
    });
    if !cluster.settled {
        let unsettled =
            "The ledger is new, and may not have all leases: until it is settled, every end takes a lease.";
        said.push(unsettled.to_owned());
    }
    said
}

fn item(node: Node, is_shared: bool) -> CheckerItem {
    let state = match node.behind {
        _ if !is_shared => "Up to date".to_owned(),
        0 => "Has applied every end".to_owned(),
        1 => "1 entry behind: an end waits for it".to_owned(),
        behind => format!("{behind} entries behind: an end waits for it"),
    };
    let lag = node.lag_in_ms.map(|lag| match lag {
        0 => "less than a millisecond".to_owned(),
        lag => count(lag, "millisecond"),
    });
    CheckerItem { name: node.name, answers: node.answers, is_behind: node.behind > 0, state, lag }
}

#[cfg(test)]
mod tests {
    use kerria_core::LogNumber;

    use super::*;

    fn node(behind: u64, lag_in_ms: Option<u64>) -> Node {
        let applied = Some(LogNumber(41 - behind));
        Node { id: None, name: "kerria-1".to_owned(), applied, behind, lag_in_ms, answers: true }
    }

    #[test]
    fn how_far_each_is_is_told_in_words() {
        let upright = item(node(0, Some(0)), true);
        assert_eq!(upright.state, "Has applied every end");
        assert_eq!(upright.lag.as_deref(), Some("less than a millisecond"));
        let late = item(node(3, Some(12)), true);
        assert!(late.is_behind && late.state.starts_with("3 entries behind"));
        assert_eq!(late.lag.as_deref(), Some("12 milliseconds"));
        assert_eq!(item(node(0, None), false).state, "Up to date");
    }

    #[test]
    fn what_the_list_does_not_show_is_said() {
        let lease = LeaseStanding::RunOut;
        let cluster =
            Cluster { shared: true, head: Some(LogNumber(41)), settled: false, lease, nodes: Vec::new() };
        let said = said(&cluster).join(" ");
        assert!(said.contains("is at 41") && said.contains("has run out") && said.contains("ledger is new"));
    }
}
