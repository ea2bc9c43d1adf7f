//! The description of the API says what there is: no more, no less.

use std::collections::BTreeSet;

use kerria_server::{api::openapi::DOCUMENT, field::Field, forward_auth::original, routes};
use serde_json::Value;

/// What is described begins like this.
const DESCRIBED: [&str; 3] = ["/api/v1/", "/oauth2/", "/.well-known/"];

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "patch", "options", "head"];

fn document() -> Value {
    serde_json::from_str(DOCUMENT).expect("openapi.json is JSON")
}

/// The operations: `GET /path` and what is said of it.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .flat_map(|(path, item)| {
            METHODS.iter().filter_map(move |method| {
                item.get(method).map(|operation| (format!("{} {path}", method.to_uppercase()), operation))
            })
        })
        .collect()
}

/// What `reference` points at, if it is one.
fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return value };
    let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads elsewhere"));
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

fn every(value: &Value, visit: &mut impl FnMut(&Value)) {
    visit(value);
    match value {
        Value::Object(members) => members.values().for_each(|member| every(member, visit)),
        Value::Array(items) => items.iter().for_each(|item| every(item, visit)),
        _ => {}
    }
}

#[test]
fn it_is_of_this_version() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["info"]["license"]["identifier"], env!("CARGO_PKG_LICENSE"));
}

#[test]
fn it_describes_every_route_of_the_api_and_no_other() {
    let document = document();
    let described: BTreeSet<_> = operations(&document).into_iter().map(|(name, _)| name).collect();
    let routes = routes::api().into_iter().chain(routes::operators()).chain(routes::oauth());
    let served: BTreeSet<_> = routes
        .chain(routes::checkers())
        .chain(routes::plain())
        .filter(|route| DESCRIBED.iter().any(|prefix| route.path.starts_with(prefix)))
        .map(|route| format!("{} {}", route.method, route.path))
        // These are answered at the front door, without a route.
        .chain(original::PATHS.map(|path| format!("GET {path}")))
        .collect();
    assert_eq!(served.difference(&described).collect::<Vec<_>>(), [""; 0], "not in openapi.json");
    assert_eq!(described.difference(&served).collect::<Vec<_>>(), [""; 0], "in openapi.json only");
}

#[test]
fn every_operation_is_named_once_and_says_who_may_use_it() {
    let document = document();
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    let mut names = BTreeSet::new();
    for (name, operation) in operations(&document) {
        assert!(names.insert(operation["operationId"].as_str().unwrap()), "{name} has another's operationId");
        assert!(operation["summary"].is_string() && operation["description"].is_string(), "{name}");
        let security = operation["security"].as_array().unwrap_or_else(|| panic!("{name} names no security"));
        assert!(!security.is_empty(), "{name}: an empty list takes away what is said for all");
        for scheme in security.iter().flat_map(|choice| choice.as_object().unwrap().keys()) {
            assert!(schemes.contains_key(scheme), "{name}: no scheme {scheme}");
        }
    }
}

#[test]
fn who_may_use_a_route_is_what_its_row_says() {
    use routes::Access::{Checker, Fresh, Operator, Public, Session, User};
    let document = document();
    let operations = operations(&document);
    for route in routes::api().into_iter().chain(routes::operators()).chain(routes::checkers()) {
        let name = format!("{} {}", route.method, route.path);
        let Some((_, operation)) = operations.iter().find(|(described, _)| *described == name) else {
            continue;
        };
        let choices: Vec<Vec<&str>> = operation["security"]
            .as_array()
            .unwrap()
            .iter()
            .map(|choice| choice.as_object().unwrap().keys().map(String::as_str).collect())
            .collect();
        match route.access {
            Public => assert!(choices.contains(&vec![]), "{name} is for everyone"),
            Operator => assert_eq!(choices, [["operatorToken"]], "{name}"),
            Checker => assert_eq!(choices, [["checkersToken"]], "{name}"),
            Session | User | Fresh => {
                assert!(!choices.contains(&vec![]) && choices.contains(&vec!["sessionBearer"]), "{name}");
                let by_cookie_alone = choices.contains(&vec!["sessionCookie"]);
                assert_eq!(by_cookie_alone, route.method.is_safe(), "{name}: only reads take a cookie alone");
            }
        }
        let guarded = route.access != Public;
        assert!(!guarded || operation["responses"].get("401").is_some(), "{name} answers 401");
    }
}

#[test]
fn every_error_is_a_problem_and_every_answer_is_described() {
    let document = document();
    for (name, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolve(&document, response);
            assert!(response["description"].is_string(), "{name} {status}");
            if status.starts_with(['4', '5']) {
                let content = response["content"].as_object().unwrap_or_else(|| panic!("{name} {status}"));
                if let Some(error) = content.get("application/json").filter(|_| name.contains("/oauth2/")) {
                    let examples = error["examples"].as_object().unwrap().values();
                    examples.for_each(|example| assert!(example["value"]["error"].is_string(), "{name}"));
                    continue;
                }
                assert_eq!(
                    content.keys().collect::<Vec<_>>(),
                    ["application/problem+json"],
                    "{name} {status}"
                );
                for example in content["application/problem+json"]["examples"].as_object().unwrap().values() {
                    assert_eq!(example["value"]["status"].to_string(), *status, "{name}");
                }
            }
        }
    }
}

#[test]
fn every_reference_leads_somewhere_and_everything_is_referred_to() {
    let document = document();
    let mut used = BTreeSet::new();
    every(&document, &mut |value| {
        resolve(&document, value);
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            used.insert(reference.to_owned());
        }
    });
    for kind in ["schemas", "responses", "parameters", "headers"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(used.contains(&format!("#/components/{kind}/{name}")), "nothing refers to {kind}/{name}");
        }
    }
}

#[test]
fn every_member_that_a_problem_can_name_is_described_and_no_other() {
    let document = document();
    let described = &document["components"]["schemas"]["Problem"]["properties"]["field"]["enum"];
    let described: Vec<_> = described.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(described, Field::ALL.iter().map(|field| field.as_str()).collect::<Vec<_>>());
}

#[test]
fn every_parameter_of_a_path_is_described() {
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS.iter().filter(|method| item.get(**method).is_some()) {
            let lists = [item.get("parameters"), item[method].get("parameters")];
            let described: BTreeSet<_> = lists
                .into_iter()
                .flatten()
                .flat_map(|list| list.as_array().unwrap())
                .map(|parameter| resolve(&document, parameter))
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let in_path: BTreeSet<_> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            assert_eq!(described, in_path, "{method} {path}");
        }
    }
}
