//! `kerria cluster`.

use axum::http::Method;

use super::{
    answers::{self, Cluster, Node},
    failure::Failure,
    operator::Operator,
    out::Out,
    table,
};

pub(super) async fn status(operator: &Operator, out: &mut Out) -> Result<(), Failure> {
    let answer = operator.ask(Method::GET, "cluster", None).await?;
    if out.json {
        return out.document(&answer);
    }
    let cluster: Cluster = answers::read(&answer)?;
    if !cluster.shared {
        let name = cluster.nodes.first().map_or("this one", |node| &node.name);
        return out.line(&format!("{name} is the only process that uses this database."));
    }
    table::lines(&rows(&cluster.nodes)).iter().try_for_each(|line| out.line(line))?;
    out.line("")?;
    words(&cluster).iter().try_for_each(|line| out.line(line))
}

fn rows(nodes: &[Node]) -> Vec<[String; 6]> {
    let head = ["NODE", "APPLIED", "BEHIND", "LAG", "ANSWERS", "ID"].map(ToOwned::to_owned);
    let row = |node: &Node| {
        [
            node.name.clone(),
            node.applied.map(|number| number.to_string()).unwrap_or_default(),
            node.behind.to_string(),
            node.lag_in_ms.map(|lag| format!("{lag} ms")).unwrap_or_default(),
            if node.answers { "this one".to_owned() } else { String::new() },
            node.id.clone().unwrap_or_default(),
        ]
    };
    std::iter::once(head).chain(nodes.iter().map(row)).collect()
}

/// What the table does not say.
fn words(cluster: &Cluster) -> [String; 3] {
    let head = cluster.head.unwrap_or_default();
    let ledger = if cluster.settled {
        "The ledger is settled: every lease that may run is in it."
    } else {
        "The ledger is new, as after a crash of the database: until it is settled, an end is not answered before a lease has passed."
    };
    let lease = match cluster.lease.as_str() {
        "held" => "The node that answers holds its lease: its memory answers.",
        _ => "The lease of the node that answers has run out: it asks the database for every session.",
    };
    [format!("The revocation log is at {head}."), ledger.to_owned(), lease.to_owned()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nodes_are_listed_with_how_far_they_are() {
        let answer = json!({ "shared": true, "head": 41, "settled": true, "lease": "held", "nodes": [
            { "id": "n1", "name": "kerria-1", "applied": 41, "behind": 0, "lag_in_ms": 2, "answers": true },
            { "id": "n2", "name": "kerria-2", "applied": 38, "behind": 3, "lag_in_ms": null, "answers": false },
        ]});
        let mut cluster: Cluster = answers::read(&answer).unwrap();
        assert_eq!(
            table::lines(&rows(&cluster.nodes)),
            [
                "NODE      APPLIED  BEHIND  LAG   ANSWERS   ID",
                "kerria-1  41       0       2 ms  this one  n1",
                "kerria-2  38       3       -     -         n2",
            ]
        );
        let [log, ledger, lease] = words(&cluster);
        assert_eq!(log, "The revocation log is at 41.");
        assert!(ledger.contains("is settled") && lease.contains("holds its lease"));
        (cluster.settled, cluster.lease) = (false, "run_out".to_owned());
        let [_, ledger, lease] = words(&cluster);
        assert!(ledger.contains("is new") && lease.contains("has run out"));
    }
}
