//! Basic providers: from a file or Secret with users to what passwords are verified against.

use std::sync::Arc;

use ::auth::Texts;
use ::auth::basic::Users;
use http::HeaderValue;

use super::Home;
use crate::config::lower::Scope;
use crate::config::objects::core::SecretBytes;
use crate::request::identity::passwords::{Basic, Listed};
use crate::settings::providers::BasicProvider;

/// Reads a provider of the settings or of a tenant's Secret. The error is for a sentence that begins with the provider.
pub(super) fn compile(
    scope: &mut Scope<'_>,
    name: &Arc<str>,
    written: &BasicProvider,
    home: &Home,
) -> Result<Basic, String> {
    let text = scope.secret_value(&written.users, home, name)?;
    let groups = written.groups.iter().collect();
    basic(&text, groups, written.realm.as_deref().unwrap_or(name))
}

/// What passwords are verified against, from the lines of htpasswd.
pub(super) fn basic(text: &SecretBytes, groups: Texts, realm: &str) -> Result<Basic, String> {
    let text =
        std::str::from_utf8(text.expose()).map_err(|_| "has users that are not in UTF-8".to_owned())?;
    let users =
        Users::parse(text, groups).map_err(|error| format!("has users that cannot be read: {error}"))?;
    Ok(Basic { users: Arc::new(Listed(users)), challenge: challenge(realm)? })
}

fn challenge(realm: &str) -> Result<HeaderValue, String> {
    let plain = realm.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\');
    let value = HeaderValue::from_str(&format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
    match value {
        Ok(value) if plain => Ok(value),
        Ok(_) | Err(_) => Err("has a `realm` with quotes or characters beyond ASCII".into()),
    }
}
