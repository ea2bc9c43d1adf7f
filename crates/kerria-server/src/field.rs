//! The members of requests that a problem can name.

/// Declares the members with their words, so that none can be missing from the list of all.
macro_rules! fields {
    ($($name:ident $word:literal)*) => {
        /// A member of a request whose value is not allowed, as the problem `invalid-value` names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $(#[doc = concat!("`", $word, "`.")] $name,)*
        }

        impl Field {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The member's name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

fields! {
    Name "name"
    Email "email"
    Password "password"
    NewPassword "new_password"
    ClientId "client_id"
    Scope "scope"
    Audience "audience"
    Id "id"
    Authentication "authentication"
    Jwks "jwks"
    Grants "grants"
    Audiences "audiences"
    AccessTokens "access_tokens"
    Algorithm "algorithm"
    Url "url"
    Method "method"
}
