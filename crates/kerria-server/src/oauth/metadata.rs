//! What there is, for programs that configure themselves (RFC 8414).

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use kerria_core::{Algorithm, GrantType};
use serde_json::json;

use crate::app::App;

/// `GET /.well-known/oauth-authorization-server`.
pub async fn show(State(app): State<Arc<App>>) -> Response {
    let issuer = app.issuer();
    let confidential = ["client_secret_basic", "client_secret_post", "private_key_jwt"];
    let all = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"];
    let algorithms = Algorithm::ASYMMETRIC.map(Algorithm::as_str);
    let metadata = json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "token_endpoint_auth_methods_supported": all,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint": format!("{issuer}/oauth2/introspect"),
        "introspection_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint": format!("{issuer}/oauth2/revoke"),
        "revocation_endpoint_auth_methods_supported": all,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "grant_types_supported": GrantType::ALL.map(GrantType::as_str),
        // There is no authorization endpoint, and the member has to be there.
        "response_types_supported": [],
    });
    let about = [
        (header::CACHE_CONTROL, "public, max-age=300"),
        // Other sites' pages configure themselves, too.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (about, Json(metadata)).into_response()
}
