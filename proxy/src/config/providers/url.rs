//! The address of an authentication server, as people write it.

use crate::request::external::{Template, TemplateError};

/// `https://auth.example.com:8443/verify?x=y`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerUrl {
    pub(super) tls: bool,
    /// A host name in lower case, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The port stands in the text.
    pub(super) names_port: bool,
    /// Path and query; `/` where there is none.
    pub(super) target: Template,
}

/// Why a text is no such address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("it does not begin with http:// or https://")]
    Scheme,
    #[error("its host is no host name, with a port perhaps; variables may stand behind the host only")]
    Host,
    #[error("it names a user; put credentials into headers")]
    User,
    #[error(transparent)]
    Target(#[from] TemplateError),
}

impl ServerUrl {
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(UrlError::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UrlError::User);
        }
        let parsed = crate::request::target::parse_authority(authority.as_bytes());
        let (host, port) = parsed.map_err(|_| UrlError::Host)?;
        let target = match target.as_bytes().first() {
            None => Template::parse("/")?,
            Some(b'/') => Template::parse(target)?,
            Some(_) => Template::parse(&format!("/{target}"))?,
        };
        if target.as_text().is_some_and(|text| text.contains('#')) {
            return Err(TemplateError::Character.into());
        }
        let host = host.as_str().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(ServerUrl {
            tls,
            host,
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            names_port: port.is_some(),
            target,
        })
    }

    /// The Service that the host names: `(namespace, name)` of `name.namespace.svc`, with the domain of a cluster or without.
    pub(super) fn service(&self) -> Option<(&str, &str)> {
        let mut labels = self.host.splitn(4, '.');
        let (name, namespace, svc) = (labels.next()?, labels.next()?, labels.next()?);
        let plain = !name.is_empty() && !namespace.is_empty();
        (svc == "svc" && plain).then_some((namespace, name))
    }

    /// Host as the server knows itself.
    pub(super) fn host_header(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.names_port { format!("{host}:{}", self.port) } else { host }
    }
}

#[cfg(test)]
mod tests;
