//! The store that replicas share.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::ValueSource;

/// Redis or Valkey: one server, or whatever stands for one behind an address. Not a cluster of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SharedStore {
    /// Host and port, such as `redis.infra.svc:6379`. (live)
    pub address: Arc<str>,
    /// Whether it is spoken to over TLS, with a certificate that the system's authorities vouch for. Default: false. (live)
    #[serde(default)]
    pub tls: bool,
    /// Default: none, which is the default user. (live)
    pub username: Option<Arc<str>>,
    /// Where its password stands. Default: none. (live)
    pub password: Option<ValueSource>,
    /// The number of the database. Default: 0. (live)
    #[serde(default)]
    pub database: u16,
}

impl SharedStore {
    /// Host and port; `None` when the address is not one.
    pub(crate) fn host_and_port(&self) -> Option<(&str, u16)> {
        let (host, port) = self.address.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let valid = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte));
        let port = port.parse().ok().filter(|port| *port != 0)?;
        valid.then_some((host, port))
    }
}
