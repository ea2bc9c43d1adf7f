//! Where a browser goes back to after signing in, when a proxy has sent it: signed, so that nobody else can make such links.

use axum::http::HeaderValue;
use url::Url;

use super::{
    Asked,
    hand_over::{Visits, is_elsewhere, send_away},
    signed::Purpose,
};
use crate::{app::App, login::return_to};

/// Where a browser is sent.
pub(super) struct Way {
    /// The address of a page of ours.
    pub(super) address: String,
    /// A cookie that it needs to come back.
    pub(super) cookie: Option<HeaderValue>,
}

/// To sign in, and back to what was asked for. Who is signed in at Kerria already comes back to a host of another domain at once.
pub(super) fn to_sign_in(app: &App, asked: &Asked<'_>) -> Way {
    if !is_elsewhere(app, &asked.original.host) {
        return by_way_of(app, "/sign-in", asked);
    }
    let (page, cookie) = send_away(app, asked, Visits::Over);
    let address = app.config.public_url.join(&page).expect("a path of ours is one");
    Way { address: address.into(), cookie }
}

/// To the page `path` of ours, which leads back to what was asked for.
pub(super) fn by_way_of(app: &App, path: &str, asked: &Asked<'_>) -> Way {
    let original = asked.original;
    let (target, cookie) = if is_elsewhere(app, &original.host) {
        send_away(app, asked, Visits::GoOn)
    } else {
        let target = Some(original.url()).filter(|url| return_to::is_plain(url));
        // What cannot be given back whole, because it is too long, leads to the beginning.
        let target = target.unwrap_or_else(|| original.origin() + "/");
        (Purpose::Return.write(app, &target), None)
    };
    let mut url = app.config.public_url.clone();
    url.set_path(path);
    url.query_pairs_mut().append_pair("return_to", &target);
    Way { address: url.into(), cookie }
}

/// The target that we have signed, if `wanted` is one and a rule still is about its host.
#[must_use]
pub fn signed_target<'w>(app: &App, wanted: &'w str) -> Option<&'w str> {
    let target = Purpose::Return.read(app, wanted).filter(|target| return_to::is_plain(target))?;
    let url = Url::parse(target).ok()?;
    app.config.forward_auth.rules.name_host(url.host_str()?).then_some(target)
}
