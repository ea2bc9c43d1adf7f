//! Settings of the place as a whole: its address, who may sign up, operation.

use std::time::Duration;

use super::{Setting, optional, row};
use crate::config::{
    LogFormat, SignUp,
    kind::{Kind, SECRET_CHARACTERS},
};

const SECOND: Duration = Duration::from_secs(1);

pub(super) static TOP: &[Setting] = &[
    row(
        "data_dir",
        "kerria-data",
        Kind::Path(|c, v| c.data_dir = v),
        "/var/lib/kerria",
        "The folder that holds the database, its lock and the control socket. It is created on the first start, for \
         its owner alone.",
    ),
    row(
        "listen",
        "127.0.0.1:8080",
        Kind::Address(|c, v| c.listen = v),
        "0.0.0.0:8080",
        "The address and the port on which Kerria takes HTTP. The default is reached from this machine only.",
    ),
    row(
        "public_url",
        "http://localhost:8080",
        Kind::Origin(|c, v| c.public_url = v),
        "https://sign-in.example.com",
        "What people type to get here: scheme, host and port. Links, cookies and the checks against forged requests \
         come from it, never from what a request claims. If only `listen` is set, the port follows it.",
    ),
    row(
        "allow_insecure_http",
        "false",
        Kind::Switch(|c, v| c.allow_insecure_http = v),
        "true",
        "Accepts a `public_url` with http:// that is not this machine. Everyone on the way can then read passwords \
         and cookies, so turn it on only in a network that you trust.",
    ),
    row(
        "trusted_proxies",
        "",
        Kind::Networks(|c, v| c.trusted_proxies = v),
        "10.0.0.0/8, ::1",
        "The reverse proxies whose `X-Forwarded-For` is believed, as networks or addresses, and who may ask whether \
         requests may pass. From anywhere else the header is ignored, and such a question refused.",
    ),
    row(
        "site_name",
        "Kerria",
        Kind::Text(|c, v| c.site_name = v),
        "Example Books",
        "What the pages call this place.",
    ),
    row(
        "return_to_origins",
        "",
        Kind::Origins(|c, v| c.return_to_origins = v),
        "https://shop.example.com, https://wiki.example.com",
        "Other origins that people may be sent back to after they signed in. Kerria's own is always allowed.",
    ),
    optional(
        "clients_file",
        Kind::Path(|c, v| c.clients_file = Some(v)),
        "/etc/kerria/clients.toml",
        "A TOML file that registers OAuth clients, each under `[clients.NAME]`. It is read at the start, and what it says of \
         a client replaces what was registered before. A client that is taken out of it stays until it is removed with \
         `kerria client remove`.",
    ),
];

pub(super) static SIGN_UP: &[Setting] = &[
    row(
        "sign_up.mode",
        "invitation",
        Kind::Choice(&[
            ("open", |c| c.sign_up = SignUp::Open),
            ("invitation", |c| c.sign_up = SignUp::Invitation),
            ("closed", |c| c.sign_up = SignUp::Closed),
        ]),
        "open",
        "Who may create an account. With \"open\" it is everyone, with \"invitation\" those who were sent a link \
         (`kerria user invite`), with \"closed\" operators alone (`kerria user add`). The link to the first account \
         works with each.",
    ),
    row(
        "sign_up.invitation_lifetime",
        "7d",
        Kind::Duration { least: SECOND, set: |c, v| c.invitation_lifetime = v },
        "1d",
        "How long an invitation is good. It can be used once.",
    ),
];

pub(super) static OPERATOR: &[Setting] = &[
    optional(
        "operator.token",
        Kind::Secret(|c, v| c.operator_token = Some(v)),
        "a long random text",
        "The secret that opens the operator's API over HTTP, sent as `Authorization: Bearer …`. Without it that API \
         is reached through the control socket only, which is what this command line uses. Better kept in a file: \
         see `operator.token_file`.",
    ),
    optional(
        "operator.token_file",
        Kind::SecretFile { least: SECRET_CHARACTERS, set: |c, v| c.operator_token = Some(v) },
        "/run/secrets/kerria-operator-token",
        "A file that holds the `operator.token` and nothing else. A line end after it is ignored. Set one of the two.",
    ),
    optional(
        "operator.group",
        Kind::Group(|c, v| c.operator_group = Some(v)),
        "operators",
        "The group of users who may look at `/operator`, a page that shows the nodes and the applications that follow, and how far \
         each is. It changes nothing, and opens nothing else. `kerria user groups` puts a user into a group. Without it nobody sees \
         that page.",
    ),
];

pub(super) static SERVER: &[Setting] = &[
    row(
        "server.request_timeout",
        "30s",
        Kind::Duration { least: SECOND, set: |c, v| c.request_timeout = v },
        "10s",
        "How long a request may take. After that it is answered with 408, and that of a reverse proxy which asks with 503.",
    ),
    row(
        "server.header_timeout",
        "10s",
        Kind::Duration { least: SECOND, set: |c, v| c.header_timeout = v },
        "5s",
        "How long a client may take to send the header of a request. After that the connection is closed.",
    ),
    row(
        "server.max_connections",
        "10000",
        Kind::Number { least: 1, most: 1_000_000, set: |c, v| c.max_connections = v },
        "2000",
        "How many connections are served at once. More of them wait to be accepted. The limit of open files of the \
         process must be higher.",
    ),
    row(
        "server.shutdown_grace",
        "10s",
        Kind::Duration { least: SECOND, set: |c, v| c.shutdown_grace = v },
        "30s",
        "How long requests under way may go on when the server stops.",
    ),
];

pub(super) static LOG: &[Setting] = &[
    row(
        "log.format",
        "text",
        Kind::Choice(&[
            ("text", |c| c.log.format = LogFormat::Text),
            ("json", |c| c.log.format = LogFormat::Json),
        ]),
        "json",
        "How log lines look: \"text\" for people, \"json\" with one object a line for programs.",
    ),
    row(
        "log.filter",
        "info",
        Kind::LogFilter(|c, v| c.log.filter = v),
        "info,kerria_server=debug",
        "What is logged: a level, or levels for parts of the program. No level logs a password or a token.",
    ),
];
