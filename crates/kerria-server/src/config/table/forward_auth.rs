//! Settings of forward-auth. Its rules are tables of their own.

use super::{Setting, row};
use crate::config::{RemoteUser, kind::Kind};

pub(super) static FORWARD_AUTH: &[Setting] = &[row(
    "forward_auth.remote_user",
    "id",
    Kind::Choice(&[
        ("id", |c| c.forward_auth.remote_user = RemoteUser::Id),
        ("name", |c| c.forward_auth.remote_user = RemoteUser::Name),
    ]),
    "name",
    "What `Remote-User` tells applications behind a reverse proxy. \"id\" is the identifier, which never changes. \"name\" is \
     the name, and the identifier of those who have none: users may change their name, and take one that has become free, so \
     choose it only where that does no harm.",
)];
