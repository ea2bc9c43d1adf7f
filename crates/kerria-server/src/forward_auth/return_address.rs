//! Where a browser goes back to after signing in, when a proxy has sent it: signed, so that nobody else can make such links.

use url::Url;

use super::original::Original;
use crate::{app::App, login::return_to};

/// What our signature is about.
const PURPOSE: &str = "return";

/// How long a signature is, in base64url.
const SIGNATURE: usize = 43;

/// The address of the page `path` of ours, which leads back to what was asked for.
#[must_use]
pub fn by_way_of(app: &App, path: &str, original: &Original) -> String {
    let target = Some(original.url()).filter(|url| return_to::is_plain(url));
    // What cannot be given back whole, because it is too long, leads to the beginning.
    let target = target.unwrap_or_else(|| original.origin() + "/");
    let mut url = app.config.public_url.clone();
    url.set_path(path);
    url.query_pairs_mut().append_pair("return_to", &sign(app, &target));
    url.into()
}

fn sign(app: &App, target: &str) -> String {
    format!("{}.{target}", app.form_key.sign(PURPOSE, target))
}

/// The target that we have signed, if `wanted` is one and a rule still is about its host.
#[must_use]
pub fn signed_target<'w>(app: &App, wanted: &'w str) -> Option<&'w str> {
    let (signature, target) = wanted.split_at_checked(SIGNATURE)?;
    let target = target.strip_prefix('.')?;
    let is_ours = app.form_key.has_signed(PURPOSE, target, signature) && return_to::is_plain(target);
    let url = Url::parse(target).ok()?;
    (is_ours && app.config.forward_auth.rules.name_host(url.host_str()?)).then_some(target)
}
