//! The pages as data. A handler fills one of these and renders it; what it says and how it looks is in `templates/`.
//!
//! Times arrive in words, because only the handler knows the hour. Everything else arrives as it is: the templates
//! escape it.

use askama::Template;

/// What every page has around its content.
#[derive(Clone, Debug)]
pub struct Layout {
    /// What this place is called.
    pub site_name: String,
    /// Who is looking at the page; nobody if they have not signed in.
    pub signed_in: Option<SignedIn>,
    /// What protects the forms of a page that nobody is signed in to, if such forms are protected by a token.
    pub visitor_csrf: Option<String>,
}

/// Who is looking at a page.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// What they are called: their name, or their e-mail address if they have none.
    pub user_name: String,
    /// The handle of the session that they look at it with.
    pub session: String,
    /// What goes along with each of their forms, as `csrf_token`.
    pub csrf: String,
}

impl Layout {
    /// Around a page for somebody who has not signed in.
    #[must_use]
    pub fn visitor(site_name: impl Into<String>) -> Self {
        Self { site_name: site_name.into(), signed_in: None, visitor_csrf: None }
    }

    /// Around a page for somebody who has signed in.
    #[must_use]
    pub fn signed_in(site_name: impl Into<String>, signed_in: SignedIn) -> Self {
        Self { site_name: site_name.into(), signed_in: Some(signed_in), visitor_csrf: None }
    }

    fn csrf(&self) -> Option<&str> {
        match &self.signed_in {
            Some(signed_in) => Some(&signed_in.csrf),
            None => self.visitor_csrf.as_deref(),
        }
    }
}

/// A moment, for people and for machines.
#[derive(Clone, Debug)]
pub struct Moment {
    /// As it reads in a sentence: "3 minutes ago", "on 12 March 2026", "in 29 days".
    pub words: String,
    /// As the `datetime` of a `<time>` (RFC 3339).
    pub datetime: String,
}

/// What is wrong with a form about an account, each in a sentence for the user.
#[derive(Clone, Debug, Default)]
pub struct FieldErrors {
    /// About the name.
    pub name: Option<String>,
    /// About the e-mail address.
    pub email: Option<String>,
    /// About the password.
    pub password: Option<String>,
    /// About the form as a whole.
    pub form: Option<String>,
}

impl FieldErrors {
    /// Whether something is wrong.
    #[must_use]
    pub fn any(&self) -> bool {
        self.name.is_some() || self.email.is_some() || self.password.is_some() || self.form.is_some()
    }
}

/// `/sign-in`. Its form is sent there: `login`, `password`, `remember` ("yes" or absent), `return_to`.
#[derive(Clone, Debug, Template)]
#[template(path = "sign_in.html")]
pub struct SignInPage {
    /// Around it.
    pub layout: Layout,
    /// The name or e-mail address that was typed before.
    pub login: String,
    /// Whether "stay signed in" was chosen before.
    pub remember: bool,
    /// Where to go afterwards, if anywhere in particular.
    pub return_to: Option<String>,
    /// Whether everyone may create an account.
    pub sign_up_open: bool,
    /// Something to know before signing in, such as why one has to.
    pub notice: Option<String>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// `/sign-up` and `/join`. The form is sent to `/sign-up`: `name`, `email`, `password`, and `invitation` if there is one.
#[derive(Clone, Debug, Template)]
#[template(path = "sign_up.html")]
pub struct SignUpPage {
    /// Around it.
    pub layout: Layout,
    /// What allows the visitor to create an account.
    pub by: SignUpBy,
    /// The name that was typed before.
    pub name: String,
    /// The e-mail address that was typed before.
    pub email: String,
    /// The fewest characters of a password.
    pub min_length: u32,
    /// What was wrong with the last attempt.
    pub errors: FieldErrors,
}

/// What allows a visitor to create an account.
#[derive(Clone, Debug)]
pub enum SignUpBy {
    /// Everyone may.
    Everyone,
    /// This invitation.
    Invitation(String),
    /// The link that the first start prints. It holds this invitation.
    FirstAccount(String),
}

impl SignUpBy {
    fn invitation(&self) -> Option<&str> {
        match self {
            Self::Everyone => None,
            Self::Invitation(token) | Self::FirstAccount(token) => Some(token),
        }
    }
}

/// `/sessions`. Its forms are sent to `/sessions/{handle}/end`, `/sessions/end-others` and `/sessions/end-all`.
#[derive(Clone, Debug, Template)]
#[template(path = "sessions.html")]
pub struct SessionsPage {
    /// Around it.
    pub layout: Layout,
    /// The sessions, in the order in which they are shown. Best begin with this one.
    pub sessions: Vec<SessionItem>,
    /// What has just been done, such as "Ended 2 sessions."
    pub notice: Option<String>,
    /// When a session was ended because its refresh token was used twice, if that is not long ago.
    pub stolen: Option<Moment>,
}

/// One session in the list.
#[derive(Clone, Debug)]
pub struct SessionItem {
    /// Its handle.
    pub handle: String,
    /// The device in words, as in "Firefox on Windows".
    pub device: String,
    /// Whether it is the session that the page is looked at with.
    pub this_device: bool,
    /// The address it was opened from, or its network, if known.
    pub address: Option<String>,
    /// How the user signed in, as it goes on after "Signed in yesterday": "with a password", "by an invitation".
    pub how: String,
    /// When the user signed in, as in "Signed in yesterday".
    pub signed_in: Moment,
    /// When it was last used, as in "Last seen 3 minutes ago".
    pub last_seen: Moment,
    /// The application whose tokens carry it, if tokens do.
    pub client: Option<String>,
    /// Whether the user asked to stay signed in on this device.
    pub remembered: bool,
    /// When it ends if it is not used, as in "Ends in 29 days if unused".
    pub expires: Moment,
}

impl SessionsPage {
    fn has_others(&self) -> bool {
        self.sessions.iter().any(|session| !session.this_device)
    }
}

/// `/operator`.
#[derive(Clone, Debug, Template)]
#[template(path = "operator.html")]
pub struct OperatorPage {
    /// Around it.
    pub layout: Layout,
    /// What there is to say of them all, in sentences.
    pub said: Vec<String>,
    /// The processes that hold a lease, in the order in which they are shown.
    pub checkers: Vec<CheckerItem>,
    /// Why they cannot be shown.
    pub trouble: Option<String>,
}

/// One process in the list.
#[derive(Clone, Debug)]
pub struct CheckerItem {
    /// What people call it.
    pub name: String,
    /// Whether it is the one that shows the page.
    pub answers: bool,
    /// Whether it has not applied everything.
    pub is_behind: bool,
    /// How far it is, as in "Has applied every end".
    pub state: String,
    /// How long the last end took it, as in "12 milliseconds".
    pub lag: Option<String>,
}

/// `/account`. Its form is sent to `/account/name`: `name`, `email`.
#[derive(Clone, Debug, Template)]
#[template(path = "account.html")]
pub struct AccountPage {
    /// Around it.
    pub layout: Layout,
    /// The name, as it is or as it was typed.
    pub name: String,
    /// The e-mail address, as it is or as it was typed.
    pub email: String,
    /// When the account was created, as in "Created on 12 March 2026".
    pub created: Moment,
    /// What has just been done, such as "Saved."
    pub notice: Option<String>,
    /// What was wrong with the last attempt.
    pub errors: FieldErrors,
}

/// `/account/password`. Its form is sent there: `current_password`, `new_password`.
#[derive(Clone, Debug, Template)]
#[template(path = "password.html")]
pub struct PasswordPage {
    /// Around it.
    pub layout: Layout,
    /// The name or e-mail address under which a password manager keeps the password.
    pub login: String,
    /// The fewest characters of a password.
    pub min_length: u32,
    /// What was wrong with the last attempt.
    pub errors: PasswordErrors,
}

/// What is wrong with a change of password, each in a sentence for the user.
#[derive(Clone, Debug, Default)]
pub struct PasswordErrors {
    /// About the current password.
    pub current_password: Option<String>,
    /// About the new password.
    pub new_password: Option<String>,
    /// About the form as a whole.
    pub form: Option<String>,
}

impl PasswordErrors {
    /// Whether something is wrong.
    #[must_use]
    pub fn any(&self) -> bool {
        self.current_password.is_some() || self.new_password.is_some() || self.form.is_some()
    }
}

/// `/confirm`, before a sensitive action. Its form is sent there: `password`, `return_to`.
#[derive(Clone, Debug, Template)]
#[template(path = "confirm.html")]
pub struct ConfirmPage {
    /// Around it.
    pub layout: Layout,
    /// The name or e-mail address under which a password manager keeps the password.
    pub login: String,
    /// Where to go afterwards.
    pub return_to: String,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// `/account/delete`. Its form is sent there: `confirm` ("delete" or absent).
#[derive(Clone, Debug, Template)]
#[template(path = "delete_account.html")]
pub struct DeleteAccountPage {
    /// Around it.
    pub layout: Layout,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// `/signed-out`.
#[derive(Clone, Debug, Template)]
#[template(path = "signed_out.html")]
pub struct SignedOutPage {
    /// Around it.
    pub layout: Layout,
    /// What else to know, such as "Your account is deleted."
    pub notice: Option<String>,
}

/// What is shown in place of a page that cannot be.
#[derive(Clone, Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    /// Around it.
    pub layout: Layout,
    /// The status of the answer.
    pub status: u16,
    /// What happened, in a few words.
    pub title: String,
    /// What happened, in a sentence or two.
    pub explanation: String,
    /// What the user can do about it.
    pub what_to_do: String,
    /// Where to go from here.
    pub link: Option<Link>,
}

/// A link.
#[derive(Clone, Debug)]
pub struct Link {
    /// A path on this server. Never what a client sent, unless it was checked.
    pub href: String,
    /// Where it leads, in words.
    pub text: String,
}

impl Link {
    /// A link to `href` that reads `text`.
    #[must_use]
    pub fn new(href: impl Into<String>, text: impl Into<String>) -> Self {
        Self { href: href.into(), text: text.into() }
    }
}

impl ErrorPage {
    /// 400: a field is missing, or what was sent is no form.
    #[must_use]
    pub fn malformed_form(layout: Layout) -> Self {
        Self::new(
            layout,
            400,
            "Something is missing",
            "What arrived is not a complete form. Nothing was changed.",
        )
        .advise("Open the page again and fill the form in once more.")
        .link("/", "Go to the start page")
    }

    /// 403: an account is created with an invitation only.
    #[must_use]
    pub fn not_invited(layout: Layout) -> Self {
        Self::new(
            layout,
            403,
            "You need an invitation",
            "Accounts are created with a link that works once and for a limited time. This one is missing, was used, or is over.",
        )
        .advise("Ask whoever runs this site for a new one.")
        .link("/sign-in", "Sign in instead")
    }

    /// 403: the form was sent by another site.
    #[must_use]
    pub fn cross_site(layout: Layout) -> Self {
        let explanation = format!(
            "Another site tried to do something here in your name. {} did not do it.",
            layout.site_name
        );
        Self::new(layout, 403, "This came from another site", &explanation)
            .advise("If it was you, open the page here and try again.")
            .link("/", "Go to the start page")
    }

    /// 403: the token of the form is not the one of this session. `again` is where a fresh form is.
    #[must_use]
    pub fn form_out_of_date(layout: Layout, again: &str) -> Self {
        Self::new(
            layout,
            403,
            "This form is out of date",
            "You have signed in or out since it was opened. Nothing was changed.",
        )
        .advise("Open the page again and repeat what you did.")
        .link(again, "Open it again")
    }

    /// 404.
    #[must_use]
    pub fn not_found(layout: Layout) -> Self {
        Self::new(layout, 404, "There is nothing here", "This page does not exist, or no longer does.")
            .advise("Check the address for a slip of the keyboard, or start over.")
            .link("/", "Go to the start page")
    }

    /// 405.
    #[must_use]
    pub fn method_not_allowed(layout: Layout) -> Self {
        Self::new(
            layout,
            405,
            "That does not work here",
            "This address exists, but not for what your browser asked of it.",
        )
        .advise("It may have been opened from the history. Start over, and you will find the way.")
        .link("/", "Go to the start page")
    }

    /// 413.
    #[must_use]
    pub fn too_large(layout: Layout) -> Self {
        Self::new(
            layout,
            413,
            "That was too much",
            "What you sent is larger than anything that belongs in this form. Nothing was changed.",
        )
        .advise("Go back and shorten it.")
    }

    /// 429, to go with `Retry-After`.
    #[must_use]
    pub fn too_many_requests(layout: Layout, seconds: u64) -> Self {
        let wait = match seconds {
            0 | 1 => "Try again in a second.".to_owned(),
            2..120 => format!("Try again in {seconds} seconds."),
            _ => format!("Try again in {} minutes.", seconds.div_ceil(60)),
        };
        Self::new(
            layout,
            429,
            "Too many attempts",
            "There were many attempts in a short time, so we are slowing down to keep accounts safe.",
        )
        .advise(&wait)
    }

    /// 500. What went wrong is for the log alone.
    #[must_use]
    pub fn internal(layout: Layout) -> Self {
        Self::new(layout, 500, "Something broke", "This is our fault, not yours. It has been written down.")
            .advise("Try again in a moment. If it keeps happening, tell whoever runs this site.")
    }

    /// 503: the store does not answer, so nobody can say whether the session is still good.
    #[must_use]
    pub fn unavailable(layout: Layout) -> Self {
        Self::new(
            layout,
            503,
            "Just a moment",
            "We cannot check your session right now. You are not signed out.",
        )
        .advise("Try again in a moment.")
    }

    fn new(layout: Layout, status: u16, title: &str, explanation: &str) -> Self {
        Self {
            layout,
            status,
            title: title.to_owned(),
            explanation: explanation.to_owned(),
            what_to_do: String::new(),
            link: None,
        }
    }

    fn advise(self, what_to_do: &str) -> Self {
        Self { what_to_do: what_to_do.to_owned(), ..self }
    }

    fn link(self, href: &str, text: &str) -> Self {
        Self { link: Some(Link::new(href, text)), ..self }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const HOSTILE: &str = r#"</title><script>alert(1)</script>"'&<b onclick=alert(1)>"#;

    /// Every view in every state, with each text that comes from outside passed through `say`.
    pub(crate) fn rendered(say: impl Fn(&str) -> String) -> Vec<(&'static str, String)> {
        let visitor = || Layout::visitor(say("Garden Club"));
        let layout = || {
            Layout::signed_in(
                say("Garden Club"),
                SignedIn {
                    user_name: say("Alice"),
                    session: say("0198c0de-7a11"),
                    csrf: say("c5rf-of-alice"),
                },
            )
        };
        let moment = |words| Moment { words: say(words), datetime: say("2026-03-12T14:05:00Z") };
        let session = |device, how, last_seen, this_device, remembered| SessionItem {
            handle: say("0198c0de-7a11"),
            device: say(device),
            this_device,
            address: this_device.then(|| say("2001:db8:85a3::/64")).or_else(|| Some(say("203.0.113.7"))),
            how: say(how),
            signed_in: moment("on 12 March 2026"),
            last_seen: moment(last_seen),
            client: None,
            remembered,
            expires: moment(if remembered { "in 29 days" } else { "in 12 hours" }),
        };
        let this = || session("Firefox on Linux", "with a password", "just now", true, true);
        let some = |text| Some(say(text));

        let sign_in = || SignInPage {
            layout: visitor(),
            login: String::new(),
            remember: false,
            return_to: None,
            sign_up_open: true,
            notice: None,
            error: None,
        };
        let sign_up = |by| SignUpPage {
            layout: visitor(),
            by,
            name: String::new(),
            email: String::new(),
            min_length: 15,
            errors: FieldErrors::default(),
        };
        let sessions = |sessions, notice| SessionsPage { layout: layout(), sessions, notice, stolen: None };
        let checker = |name, behind: bool| CheckerItem {
            name: say(name),
            answers: !behind,
            is_behind: behind,
            state: say(if behind {
                "2 entries behind: an end waits for it"
            } else {
                "Has applied every end"
            }),
            lag: some("3 milliseconds"),
        };
        let operator = |trouble| OperatorPage {
            layout: layout(),
            said: vec![
                say("The revocation log is at 41."),
                say("This node holds its lease: its memory answers."),
            ],
            checkers: vec![checker("kerria-1", false), checker("shop-1", true)],
            trouble,
        };
        let account = || AccountPage {
            layout: layout(),
            name: say("Alice"),
            email: say("alice@example.com"),
            created: moment("on 12 March 2026"),
            notice: None,
            errors: FieldErrors::default(),
        };
        let password =
            |errors| PasswordPage { layout: layout(), login: say("Alice"), min_length: 15, errors };
        let confirm = |error| ConfirmPage {
            layout: layout(),
            login: say("Alice"),
            return_to: say("/account/delete"),
            error,
        };

        let twelve = [
            ("Safari on iPhone", "with a password", "3 minutes ago"),
            ("Chrome on Windows", "with a password", "2 hours ago"),
            ("Samsung Internet on Android", "by an invitation", "yesterday"),
            ("A program", "by signing up", "on 3 March 2026"),
        ];
        let many = std::iter::once(this())
            .chain(
                twelve
                    .iter()
                    .cycle()
                    .take(11)
                    .zip(0..)
                    .map(|(&(device, how, seen), nth)| session(device, how, seen, false, nth % 3 == 0)),
            )
            .collect();

        let page = |name, view: &dyn askama::DynTemplate| (name, view.dyn_render().unwrap());
        vec![
            page("sign-in", &sign_in()),
            page(
                "sign-in-notice",
                &SignInPage {
                    return_to: some("/sessions"),
                    sign_up_open: false,
                    notice: some(
                        "You were signed out here because your session was ended on another device.",
                    ),
                    ..sign_in()
                },
            ),
            page(
                "sign-in-error",
                &SignInPage {
                    layout: Layout { visitor_csrf: some("c5rf-of-a-visitor"), ..visitor() },
                    login: say("alice@example.com"),
                    remember: true,
                    error: some("That name and password do not belong together."),
                    ..sign_in()
                },
            ),
            page("sign-up", &sign_up(SignUpBy::Everyone)),
            page(
                "sign-up-errors",
                &SignUpPage {
                    name: say("alice@home"),
                    email: say("alice"),
                    errors: FieldErrors {
                        name: some("A name has no @ in it. Put an e-mail address in the field for it."),
                        email: some("Enter an e-mail address such as alice@example.com."),
                        password: some("This password is in every list of passwords. Choose another."),
                        form: some("Nothing was saved yet."),
                    },
                    ..sign_up(SignUpBy::Everyone)
                },
            ),
            page("join", &sign_up(SignUpBy::Invitation(say("kit_2Yw")))),
            page("first-account", &sign_up(SignUpBy::FirstAccount(say("kit_2Yw")))),
            page("sessions-one", &sessions(vec![this()], some("Ended 2 sessions."))),
            page(
                "sessions-three",
                &sessions(
                    vec![
                        this(),
                        session("Safari on iPhone", "with a password", "3 minutes ago", false, true),
                        SessionItem {
                            address: None,
                            ..session("Chrome on Windows", "by an invitation", "yesterday", false, false)
                        },
                    ],
                    None,
                ),
            ),
            page("sessions-twelve", &sessions(many, None)),
            page(
                "sessions-stolen",
                &SessionsPage {
                    stolen: Some(moment("2 hours ago")),
                    ..sessions(
                        vec![
                            this(),
                            SessionItem {
                                client: some("shop"),
                                ..session("A program", "with a password", "just now", false, false)
                            },
                        ],
                        None,
                    )
                },
            ),
            page("operator", &operator(None)),
            page("operator-error", &operator(some("The database does not answer."))),
            page("account", &account()),
            page("account-saved", &AccountPage { notice: some("Saved."), email: String::new(), ..account() }),
            page(
                "account-errors",
                &AccountPage {
                    errors: FieldErrors {
                        name: some("Somebody else has that name."),
                        email: some("Somebody else has that e-mail address."),
                        form: some("Keep a name or an e-mail address, or you could not sign in."),
                        password: None,
                    },
                    ..account()
                },
            ),
            page("password", &password(PasswordErrors::default())),
            page(
                "password-errors",
                &password(PasswordErrors {
                    current_password: some("That is not your password."),
                    new_password: some("Choose a password of at least 15 characters."),
                    form: some("Nothing was changed."),
                }),
            ),
            page("confirm", &confirm(None)),
            page("confirm-error", &confirm(some("That is not your password."))),
            page("delete-account", &DeleteAccountPage { layout: layout(), error: None }),
            page(
                "delete-account-error",
                &DeleteAccountPage {
                    layout: layout(),
                    error: some("Tick the box if you want your account deleted."),
                },
            ),
            page("signed-out", &SignedOutPage { layout: visitor(), notice: None }),
            page(
                "account-deleted",
                &SignedOutPage {
                    layout: visitor(),
                    notice: some("Your account is deleted. Thank you for having been here."),
                },
            ),
            page("error-403-cross-site", &ErrorPage::cross_site(visitor())),
            page("error-403-form", &ErrorPage::form_out_of_date(layout(), &say("/account"))),
            page("error-404", &ErrorPage::not_found(layout())),
            page("error-405", &ErrorPage::method_not_allowed(visitor())),
            page("error-413", &ErrorPage::too_large(layout())),
            page("error-429", &ErrorPage::too_many_requests(visitor(), 30)),
            page("error-500", &ErrorPage::internal(visitor())),
            page("error-503", &ErrorPage::unavailable(visitor())),
        ]
    }

    /// The start tags of a page, without their brackets. No attribute holds a bracket: they are escaped.
    fn start_tags(html: &str) -> impl Iterator<Item = &str> {
        html.split('<')
            .skip(1)
            .map(|tag| tag.split('>').next().unwrap())
            .filter(|tag| !tag.starts_with(['/', '!']))
    }

    fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
        let value = tag.split_once(&format!(" {name}=\""))?.1;
        value.split('"').next()
    }

    fn element(tag: &str) -> &str {
        tag.split_ascii_whitespace().next().unwrap()
    }

    #[test]
    fn every_page_is_a_whole_document_with_one_heading() {
        for (name, html) in rendered(str::to_owned) {
            assert!(html.starts_with("<!doctype html>\n<html lang=\"en\">"), "{name}");
            assert!(html.trim_end().ends_with("</html>"), "{name}");
            assert_eq!(start_tags(&html).filter(|tag| element(tag) == "h1").count(), 1, "{name}");
            assert!(html.contains(" · Garden Club</title>"), "{name}");
        }
    }

    #[test]
    fn what_comes_from_outside_never_becomes_markup() {
        let markup = |html: &str| html.chars().filter(|c| "<>\"'".contains(*c)).collect::<String>();
        let plain = rendered(str::to_owned);
        let hostile = rendered(|_| HOSTILE.to_owned());
        for ((name, plain), (_, hostile)) in plain.iter().zip(&hostile) {
            assert_eq!(markup(plain), markup(hostile), "{name}");
            assert!(hostile.contains("&#60;script&#62;"), "{name}");
        }
    }

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_another_host() {
        for (name, html) in rendered(str::to_owned) {
            for tag in start_tags(&html) {
                assert_ne!(element(tag), "style", "{name}");
                assert!(element(tag) != "script" || tag.contains(" src=\"/assets/"), "{name}: <{tag}>");
                for attribute in tag.split_ascii_whitespace().skip(1) {
                    assert!(
                        !attribute.starts_with("style=") && !attribute.starts_with("on"),
                        "{name}: <{tag}>"
                    );
                }
                for address in ["href", "src", "action"].iter().filter_map(|name| attribute(tag, name)) {
                    let own = address.starts_with('/') && !address.starts_with("//");
                    assert!(own || address == "#content", "{name}: <{tag}>");
                }
            }
        }
    }

    #[test]
    fn every_form_is_posted_and_carries_the_token_of_the_session() {
        for (name, html) in rendered(str::to_owned) {
            let signed_in = html.contains("data-session=");
            for form in html.split("<form").skip(1) {
                let (form, _) = form.split_once("</form>").unwrap();
                assert!(form.starts_with(" method=\"post\" action=\"/"), "{name}: {form}");
                let tokens =
                    form.matches("<input type=\"hidden\" name=\"csrf_token\" value=\"c5rf-of-").count();
                assert_eq!(tokens, usize::from(signed_in || name == "sign-in-error"), "{name}: {form}");
            }
            assert_eq!(html.contains("/assets/kerria.js"), signed_in, "{name}");
        }
    }

    #[test]
    fn every_input_has_a_label_and_every_description_exists() {
        for (name, html) in rendered(str::to_owned) {
            for tag in start_tags(&html) {
                let unseen = tag.contains("type=\"hidden\"") || tag.ends_with(" hidden");
                if element(tag) == "input" && !unseen {
                    let id = attribute(tag, "id").unwrap();
                    assert!(html.contains(&format!("<label for=\"{id}\">")), "{name}: <{tag}>");
                }
                for id in attribute(tag, "aria-describedby").into_iter().flat_map(str::split_ascii_whitespace)
                {
                    assert_eq!(html.matches(&format!(" id=\"{id}\"")).count(), 1, "{name}: {id}");
                }
            }
            assert!(start_tags(&html).filter(|tag| tag.contains(" autofocus")).count() <= 1, "{name}");
        }
    }

    #[test]
    fn a_page_with_a_problem_says_so_in_its_title() {
        for (name, html) in rendered(str::to_owned) {
            let problem = name.ends_with("-error") || name.ends_with("-errors");
            assert_eq!(html.contains("<title>Problem: "), problem, "{name}");
            assert_eq!(html.contains(" role=\"alert\""), problem, "{name}");
        }
    }

    #[test]
    fn a_wait_is_told_in_words_that_fit_it() {
        for (seconds, expected) in [(0, "in a second."), (30, "in 30 seconds."), (121, "in 3 minutes.")] {
            let page = ErrorPage::too_many_requests(Layout::visitor("Garden Club"), seconds);
            assert!(page.what_to_do.ends_with(expected), "{}", page.what_to_do);
        }
    }
}
