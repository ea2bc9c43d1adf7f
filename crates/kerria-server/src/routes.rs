//! Every route, one row each: the router is made from the rows, and a test knocks on every guarded door without a key.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, get, post, put},
};
use kerria::{CurrentSession, protocol::paths};

use crate::{
    api::{
        account, checkers, clients, cluster, data,
        guard::{checkers_only, operators_only, own_pages_only},
        keys, login, openapi, operator, rules, session, tokens,
    },
    app::App,
    events,
    oauth::{introspection, metadata, revocation, token},
    operation,
    pages::{self, reply::error_page, views::ErrorPage, visitor::layout},
    problem::Problem,
};

/// The largest body of a request, in bytes.
const BODY_BYTES: usize = 64 * 1024;

/// Where applications ask whether a session is good.
pub const SESSION_PATH: &str = "/api/v1/session";

/// One route.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    handler: MethodRouter<Arc<App>>,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Public,
    /// Whoever carries a good session, signed in or not.
    Session,
    /// Signed-in users.
    User,
    /// Signed-in users who have proved recently who they are.
    Fresh,
    /// The operator.
    Operator,
    /// Checkers in other processes.
    Checker,
}

type Handler = MethodRouter<Arc<App>>;

fn row(method: Method, path: &'static str, access: Access, handler: Handler) -> Route {
    Route { method, path, access, handler }
}

/// The pages.
#[rustfmt::skip]
pub fn pages() -> Vec<Route> {
    use Access::{Fresh, Public, User};
    use pages::{account, confirm, hand_over, operator, sessions, sign_in, sign_up};
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    vec![
        row(GET,  "/",                      Public, get(sign_in::home)),
        row(GET,  "/sign-in",               Public, get(sign_in::show)),
        row(POST, "/sign-in",               Public, post(sign_in::submit)),
        row(GET,  "/sign-up",               Public, get(sign_up::show)),
        row(POST, "/sign-up",               Public, post(sign_up::submit)),
        row(GET,  "/join",                  Public, get(sign_up::join)),
        row(POST, "/sign-out",              Public, post(sign_in::sign_out)),
        row(GET,  "/signed-out",            Public, get(sign_in::signed_out)),
        row(GET,  "/confirm",               User,   get(confirm::show)),
        row(POST, "/confirm",               User,   post(confirm::submit)),
        row(GET,  "/hand-over",             User,   get(hand_over::show)),
        row(GET,  "/account",               User,   get(account::show)),
        row(POST, "/account/name",          Fresh,  post(account::rename)),
        row(GET,  "/account/password",      User,   get(account::password)),
        row(POST, "/account/password",      User,   post(account::submit_password)),
        row(GET,  "/account/delete",        Fresh,  get(account::delete)),
        row(POST, "/account/delete",        Fresh,  post(account::submit_delete)),
        row(GET,  "/sessions",              User,   get(sessions::show)),
        row(POST, "/sessions/{handle}/end", User,   post(sessions::end_one)),
        row(POST, "/sessions/end-others",   User,   post(sessions::end_others)),
        row(POST, "/sessions/end-all",      Fresh,  post(sessions::end_all)),
        row(GET,  "/operator",              User,   get(operator::show)),
    ]
}

/// The API for applications and scripts.
#[rustfmt::skip]
pub fn api() -> Vec<Route> {
    use Access::{Fresh, Public, Session, User};
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    const DELETE: Method = Method::DELETE;
    vec![
        row(POST,   "/api/v1/login",              Public,  post(login::login)),
        row(POST,   "/api/v1/logout",             Public,  post(session::logout)),
        row(POST,   "/api/v1/users",              Public,  post(login::create_user)),
        row(GET,    "/api/v1/openapi.json",       Public,  get(openapi::show)),
        row(GET,    SESSION_PATH,                 Session, get(session::show)),
        row(GET,    "/api/v1/session/csrf-token", Session, get(session::csrf_token)),
        row(POST,   "/api/v1/session/step-up",    User,    post(session::confirm)),
        row(POST,   "/api/v1/session/refresh",    Public,  post(tokens::renew)),
        row(POST,   "/api/v1/session/token",      User,    post(tokens::for_audience)),
        row(GET,    "/api/v1/session/data/{key}", Session, get(data::get)),
        row(PUT,    "/api/v1/session/data/{key}", Public,  put(data::put)),
        row(POST,   "/api/v1/session/data/{key}", Public,  post(data::increment)),
        row(DELETE, "/api/v1/session/data/{key}", Session, delete(data::remove)),
        row(GET,    "/api/v1/sessions",           User,    get(session::list)),
        row(DELETE, "/api/v1/sessions",           User,    delete(session::end_many)),
        row(DELETE, "/api/v1/sessions/{handle}",  User,    delete(session::end_one)),
        row(GET,    "/api/v1/user",               User,    get(account::show)),
        row(PUT,    "/api/v1/user",               Fresh,   put(account::rename)),
        row(DELETE, "/api/v1/user",               Fresh,   delete(account::delete)),
        row(PUT,    "/api/v1/password",           User,    put(account::change_password)),
        row(GET,    "/session/events",            Session, get(events::stream)),
    ]
}

/// The operator's API, and what is measured.
#[rustfmt::skip]
pub fn operators() -> Vec<Route> {
    use Access::Operator;
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    const DELETE: Method = Method::DELETE;
    vec![
        row(GET,    "/api/v1/operator/users",                 Operator, get(operator::users)),
        row(POST,   "/api/v1/operator/users",                 Operator, post(operator::create_user)),
        row(GET,    "/api/v1/operator/users/{user}",          Operator, get(operator::user)),
        row(DELETE, "/api/v1/operator/users/{user}",          Operator, delete(operator::delete_user)),
        row(POST,   "/api/v1/operator/users/{user}/disable",  Operator, post(operator::disable)),
        row(POST,   "/api/v1/operator/users/{user}/enable",   Operator, post(operator::enable)),
        row(PUT,    "/api/v1/operator/users/{user}/password", Operator, put(operator::set_password)),
        row(POST,   "/api/v1/operator/users/{user}/groups",   Operator, post(operator::change_groups)),
        row(GET,    "/api/v1/operator/users/{user}/sessions", Operator, get(operator::sessions_of)),
        row(GET,    "/api/v1/operator/sessions",              Operator, get(operator::sessions)),
        row(DELETE, "/api/v1/operator/sessions/{handle}",     Operator, delete(operator::end_session)),
        row(POST,   "/api/v1/operator/revocations",           Operator, post(operator::revoke)),
        row(GET,    "/api/v1/operator/cluster",               Operator, get(cluster::show)),
        row(GET,    "/api/v1/operator/keys",                  Operator, get(keys::list)),
        row(POST,   "/api/v1/operator/keys/rotate",           Operator, post(keys::rotate)),
        row(POST,   "/api/v1/operator/keys/reset",            Operator, post(keys::reset)),
        row(POST,   "/api/v1/operator/tokens/inspect",        Operator, post(tokens::inspect)),
        row(POST,   "/api/v1/operator/rules/test",            Operator, post(rules::test)),
        row(POST,   "/api/v1/operator/invitations",           Operator, post(operator::invite)),
        row(GET,    "/api/v1/operator/clients",               Operator, get(clients::list)),
        row(POST,   "/api/v1/operator/clients",               Operator, post(clients::add)),
        row(GET,    "/api/v1/operator/clients/{client}",      Operator, get(clients::show)),
        row(PUT,    "/api/v1/operator/clients/{client}",      Operator, put(clients::change)),
        row(DELETE, "/api/v1/operator/clients/{client}",      Operator, delete(clients::remove)),
        row(POST,   "/api/v1/operator/clients/{client}/secret", Operator, post(clients::new_secret)),
        row(GET,    "/api/v1/operator/audit",                 Operator, get(operator::audit)),
        row(GET,    "/metrics",                               Operator, get(operation::metrics)),
    ]
}

/// What checkers in other processes ask.
#[rustfmt::skip]
pub fn checkers() -> Vec<Route> {
    use Access::Checker;
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    vec![
        row(GET,  paths::SETTINGS, Checker, get(checkers::settings)),
        row(POST, paths::RENEW,    Checker, post(checkers::renew)),
        row(POST, paths::FIND,     Checker, post(checkers::find)),
        row(POST, paths::SESSION,  Checker, post(checkers::session)),
        row(POST, paths::PROFILE,  Checker, post(checkers::profile)),
        row(POST, paths::TOUCH,    Checker, post(checkers::touch)),
        row(POST, paths::ROTATE,   Checker, post(checkers::rotate)),
        row(POST, paths::LOG,      Checker, post(checkers::log)),
        row(POST, paths::LEAVE,    Checker, post(checkers::leave)),
    ]
}

/// The OAuth endpoints. No row is guarded: the handlers ask for the client, each in its own way, because a client's proof may
/// be in the body. They are not behind the layer that checks sessions, so a cookie means nothing to them.
#[rustfmt::skip]
pub fn oauth() -> Vec<Route> {
    use Access::Public;
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    vec![
        row(POST, "/oauth2/token",      Public, post(token::token)),
        row(POST, "/oauth2/introspect", Public, post(introspection::introspect)),
        row(POST, "/oauth2/revoke",     Public, post(revocation::revoke)),
        row(GET,  "/.well-known/oauth-authorization-server", Public, get(metadata::show)),
    ]
}

/// What says whether the server is well, and the files that pages refer to.
#[rustfmt::skip]
pub fn plain() -> Vec<Route> {
    use Access::Public;
    const GET: Method = Method::GET;
    vec![
        row(GET, "/.well-known/jwks.json", Public, get(tokens::keys)),
        row(GET, "/health/live",   Public, get(operation::live)),
        row(GET, "/health/ready",  Public, get(operation::ready)),
        row(GET, "/assets/{name}", Public, get(operation::asset)),
        row(GET, "/favicon.ico",   Public, get(operation::favicon)),
    ]
}

/// What is served on the public address.
pub fn public(app: Arc<App>) -> Router {
    let in_session = router(pages(), &app)
        .merge(router_with(api(), |handler| guard(handler, &app)))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(app.session_layer());
    let for_operators = router(operators(), &app)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), operators_only));
    let for_checkers = router(self::checkers(), &app)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), checkers_only));
    in_session
        .merge(for_operators)
        .merge(for_checkers)
        .merge(router(oauth(), &app).method_not_allowed_fallback(no_such_method))
        .merge(router(plain(), &app).method_not_allowed_fallback(no_such_method))
        .with_state(app)
}

/// What is served on the control socket, and to the command line when no server runs: the operator's API, without a
/// credential, because only the owner of the folder gets there.
pub fn control(app: Arc<App>) -> Router {
    let rows = operators().into_iter().chain(plain()).collect();
    router(rows, &app)
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(app)
}

fn router(rows: Vec<Route>, app: &Arc<App>) -> Router<Arc<App>> {
    router_with(rows, |handler| bounded(handler, app))
}

/// Requests that change nothing are answered as they are: the check of a session is one of them, and has to be quick.
fn router_with(rows: Vec<Route>, for_changes: impl Fn(Handler) -> Handler) -> Router<Arc<App>> {
    rows.into_iter().fold(Router::new(), |router, row| {
        let handler = if row.method.is_safe() { row.handler } else { for_changes(row.handler) };
        router.route(row.path, handler)
    })
}

fn guard(handler: Handler, app: &Arc<App>) -> Handler {
    bounded(handler.layer(middleware::from_fn_with_state(Arc::clone(app), own_pages_only)), app)
}

fn bounded(handler: Handler, app: &Arc<App>) -> Handler {
    handler
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(app), in_time))
}

/// Gives up on a request that takes too long, because its body does not come.
async fn in_time(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(app.config.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-timeout",
            "The request took too long",
            "Send the whole request sooner.",
        )
        .into_response(),
    }
}

async fn no_such_route(State(app): State<Arc<App>>, current: CurrentSession, request: Request) -> Response {
    if is_api(&request) {
        return Problem::not_found("The API has no such path; GET /api/v1/openapi.json lists those it has.")
            .into_response();
    }
    error_page(&app, &ErrorPage::not_found(layout(&app, &current)))
}

async fn no_such_method(State(app): State<Arc<App>>, current: CurrentSession, request: Request) -> Response {
    if is_api(&request) {
        let detail = "The header Allow lists the methods that this path takes.";
        return Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "no-such-method",
            "The method is not allowed",
            detail,
        )
        .into_response();
    }
    error_page(&app, &ErrorPage::method_not_allowed(layout(&app, &current)))
}

fn is_api(request: &Request) -> bool {
    let path = request.uri().path();
    path.starts_with("/api/") || path.starts_with("/oauth2/")
}
