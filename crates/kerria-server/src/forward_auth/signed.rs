//! What we sign and send through browsers, so that nobody else can make such a thing.

use crate::app::App;

/// How long a signature is, in base64url.
const SIGNATURE: usize = 43;

/// What a signature is about. It counts for nothing else.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// Where a browser goes back to on a host that the session cookie reaches.
    Return,
    /// The right to be let through at one host of another domain.
    Visit,
    /// The value by which a browser is known there.
    Browser,
    /// The wish to come back there.
    Wish,
    /// The code with which it comes back.
    Code,
}

impl Purpose {
    /// The word for it in what is signed. Another word would make worthless what browsers hold.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Return => "return",
            Self::Visit => "visit",
            Self::Browser => "browser",
            Self::Wish => "hand-over",
            Self::Code => "code",
        }
    }

    /// Our signature.
    pub(super) fn sign(self, app: &App, text: &str) -> String {
        app.form_key.sign(self.as_str(), text)
    }

    /// Whether this signature is ours.
    pub(super) fn has_signed(self, app: &App, text: &str, signature: &str) -> bool {
        app.form_key.has_signed(self.as_str(), text, signature)
    }

    /// The text with our signature before it.
    pub(super) fn write(self, app: &App, text: &str) -> String {
        format!("{}.{text}", self.sign(app, text))
    }

    /// The text before which our signature stands.
    pub(super) fn read<'t>(self, app: &App, signed: &'t str) -> Option<&'t str> {
        let (signature, text) = signed.split_at_checked(SIGNATURE)?;
        let text = text.strip_prefix('.')?;
        self.has_signed(app, text, signature).then_some(text)
    }
}
