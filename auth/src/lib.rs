//! Who is asking: providers, sessions, rules and identity. This crate knows neither the server nor the cluster.
//!
//! Everything here decides over data; time is an argument, and whoever calls does the input and output.
//!
//! - [`identity`]: who asks, whichever provider said so; [`Answer`] is what one provider says about one request.
//! - [`rules`]: who may enter ([`Policy`]), and which requests need nobody.
//! - [`headers`]: how the application is told.
//! - [`oidc`]: people log in with an OpenID provider.
//! - [`basic`], [`bearer`]: passwords and tokens that a request shows.
//! - [`session`]: sealed cookies that remember a login.

pub mod basic;
pub mod bearer;
pub mod headers;
pub mod identity;
pub mod oidc;
pub mod rules;
mod secret;
pub mod session;
mod texts;

pub use headers::{HeaderPreset, HeaderRules};
pub use identity::{Answer, Identity, Invalid, ProviderKind};
pub use rules::{Denied, Policy};
pub use secret::Secret;
pub use texts::Texts;
