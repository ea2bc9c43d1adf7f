//! Settings of access tokens and refresh tokens.

use std::time::Duration;

use super::{Setting, optional, row};
use crate::config::kind::Kind;

const SECOND: Duration = Duration::from_secs(1);

/// The fewest characters of a key for HS256 (RFC 7518, section 3.2).
const HS256_CHARACTERS: usize = 32;

pub(super) static TOKENS: &[Setting] = &[
    row(
        "tokens.access_lifetime",
        "5m",
        Kind::Duration { least: SECOND, set: |c, v| c.tokens.access_lifetime = v },
        "2m",
        "How long an access token is good, an hour at most. Whoever does not ask Kerria or follow its revocations may accept it for so \
         long after its session has ended.",
    ),
    row(
        "tokens.refresh_grace",
        "30s",
        Kind::Duration { least: SECOND, set: |c, v| c.tokens.refresh_grace = v },
        "10s",
        "How long after its use a refresh token gets the same successor once more, for a client whose answer was lost or \
         that asked several times at once. It ends when the successor is used. Later uses count as theft and end the session.",
    ),
    row(
        "tokens.key_rotation",
        "90d",
        Kind::Duration { least: SECOND, set: |c, v| c.tokens.key_rotation = v },
        "30d",
        "How long a key signs access tokens before the next one takes its place. The next key is published from the \
         start, and the old one until its last token is over.",
    ),
    row(
        "tokens.jwks_max_age",
        "5m",
        Kind::Duration { least: SECOND, set: |c, v| c.tokens.jwks_max_age = v },
        "1m",
        "How long whoever verifies access tokens may keep the published keys. A key signs no sooner than so long after it \
         was published.",
    ),
    row(
        "tokens.audiences",
        "",
        Kind::Audiences(|c, v| c.tokens.audiences = v),
        "https://shop.example.com, https://wiki.example.com",
        "For whom a signed-in user may have access tokens without any client, with POST /api/v1/session/token. What is not \
         named here is refused there.",
    ),
    optional(
        "tokens.sealing_key_file",
        Kind::Path(|c, v| c.tokens.sealing_key_file = Some(v)),
        "/run/secrets/kerria.key",
        "The file with the 32 bytes that encrypt the private signing keys in the database. Without it, `kerria.key` in \
         the data folder is made on the first start. Back it up apart from the database.",
    ),
    optional(
        "tokens.hs256_audience",
        Kind::Audience(|c, v| c.tokens.hs256_audience = Some(v)),
        "https://legacy.example.com",
        "The one audience whose access tokens may be signed with HS256, because it can verify nothing better. It shares \
         the secret, and so could make such tokens itself: Kerria takes none of them for its own API, and exchanges none for \
         tokens for others.",
    ),
    optional(
        "tokens.hs256_secret_file",
        Kind::SecretFile { least: HS256_CHARACTERS, set: |c, v| c.tokens.hs256_secret = Some(v) },
        "/run/secrets/kerria-hs256",
        "A file that holds the secret shared with `tokens.hs256_audience`. A line end after it is ignored.",
    ),
];
