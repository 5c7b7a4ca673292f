//! Login with an OpenID provider (OpenID Connect Core 1.0): authorization code, always with PKCE S256, state and nonce.
//!
//! [`Provider`] decides: from a request and what is known of the provider to the next step of a login, which is a redirect
//! with cookies, a code to be redeemed, or a failure. Nothing is kept between the steps: what a login under way needs is
//! sealed in a cookie of its own. The caller fetches: [`exchange`] and [`Metadata`] say what.
//!
//! With a central auth host the provider knows one redirect URI only. An application's host sends people there with a sealed
//! request, and they come back with a sealed, short-lived ticket that is good for that host and that browser; each host has
//! a session cookie of its own.
//!
//! Where sessions are kept in a store, the caller looks there first ([`Visit::stored`]), and writes what a step says
//! ([`Step::write`]) before it answers.

pub mod exchange;
mod flow;
pub mod logout;
mod metadata;
mod return_address;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use http::HeaderMap;

use crate::identity::ClaimNames;
use crate::secret::Secret;
use crate::session::stored::Stored;
use crate::session::{Cookies, Lifetimes, SameSite, Transport};

pub use flow::{
    BeginError, Callback, Failure, Login, Manner, Pending, Step, TICKET_SECONDS_MAX, flow_provider, parameter,
};
pub use metadata::{Endpoints, Metadata, MetadataError, discovery_address};
pub use return_address::{RETURN_BYTES_MAX, return_address};
pub use sessions::Kept;

/// A provider as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// As routes name it.
    pub name: String,
    /// As the provider writes it into its tokens, byte for byte.
    pub issuer: String,
    pub client_id: String,
    /// None: a public client.
    pub client_secret: Option<Secret>,
    /// How the secret is shown to the token endpoint.
    pub client_auth: ClientAuth,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// Those that are given here win over what the discovery document says.
    pub endpoints: Endpoints,
    /// Further parameters of the authorization request: `prompt`, `acr_values`, `audience`, …
    pub parameters: BTreeMap<String, String>,
    pub claims: ClaimNames,
    /// Claims that are kept in the session for rules and headers, besides those with a field of their own.
    pub extra_claims: Vec<String>,
    pub lifetimes: Lifetimes,
    pub same_site: SameSite,
    /// Sessions are good on all hosts of this domain; None: each host has its own.
    pub cookie_domain: Option<String>,
    /// The one host, with a port perhaps, that the provider sends people back to; None: each host by itself.
    pub auth_host: Option<String>,
    pub keeping: Keeping,
}

/// Where sessions are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeping {
    /// In the browser.
    #[default]
    Cookie,
    /// In the store that all replicas share, with the provider's tokens; the browser has their name.
    Store {
        /// Keeps the access token, as the claim `access_token`.
        access_token: bool,
        /// Keeps the id token, as the claim `id_token`.
        id_token: bool,
    },
}

/// How a client shows its secret (OpenID Connect Core §9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// `client_secret_basic`.
    #[default]
    Basic,
    /// `client_secret_post`.
    Post,
}

/// What a step of a login has to know of the request.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    pub transport: Transport,
    /// The normalised host, without a port.
    pub host: &'a str,
    /// The same as it stands in addresses, with its port if it has one.
    pub authority: &'a str,
    pub headers: &'a HeaderMap,
    /// What the store has under the provider's handle in `headers` ([`Provider::handle`]); None where nothing is stored.
    pub stored: Option<&'a Stored>,
}

/// A provider, ready to decide.
#[derive(Debug)]
pub struct Provider {
    settings: Settings,
    key: String,
    cookies: Cookies,
}

impl Settings {
    /// All that makes the provider the one it is: sessions of another one are none of ours.
    pub fn key(&self) -> String {
        format!("{}\n{}\n{}", self.name, self.issuer, self.client_id)
    }
}

impl Provider {
    pub fn new(settings: Settings) -> Self {
        let key = settings.key();
        let cookies = Cookies::new(&key, settings.cookie_domain.as_deref(), settings.same_site);
        Provider { settings, key, cookies }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// [`Settings::key`].
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The session cookie of this provider.
    pub fn cookies(&self) -> &Cookies {
        &self.cookies
    }
}

impl Visit<'_> {
    /// `https://app.example:8443`.
    pub fn origin(&self) -> String {
        let scheme = match self.transport {
            Transport::Plain => "http",
            Transport::Tls => "https",
        };
        format!("{scheme}://{}", self.authority)
    }
}

/// The claims that tokens are kept as, where they are.
pub const ACCESS_TOKEN: &str = "access_token";
/// See [`ACCESS_TOKEN`].
pub const ID_TOKEN: &str = "id_token";
/// The path under which the endpoints of logins are.
pub const PREFIX: &str = "/oauth2/";
/// Where the provider sends people back to.
pub const CALLBACK_PATH: &str = "/oauth2/callback";
/// Where a login begins.
pub const START_PATH: &str = "/oauth2/start";
/// Where people are after a logout.
pub const SIGNED_OUT_PATH: &str = "/oauth2/signed_out";
