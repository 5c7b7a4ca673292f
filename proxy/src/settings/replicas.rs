//! How replicas find and believe each other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Fault;

/// The port on which the replicas of this edge speak with each other: what each serves, who uses a workload before it is put to
/// sleep, who is logged out. Calls are believed by a MAC with keys that all replicas have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Replicas {
    /// The address to listen on for other replicas, as `address:port`. Default: none; replicas do not speak with each other.
    /// (restart)
    #[schemars(with = "Option<String>")]
    pub listen: Option<SocketAddr>,
    /// In a cluster: the headless Service that selects the Pods of all replicas, as `namespace/name`. Of several ports the one
    /// named `replicas` counts. Default: none. (live)
    pub service: Option<Arc<str>>,
    /// Without a cluster: the addresses that the replicas listen on; this one's may be among them. Default: none. (live)
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<SocketAddr>,
    /// In a cluster: the Secret in Vestibule's own namespace with the keys of the calls. The replica that leads fills it, makes it
    /// where it may, and rotates the keys. Default: `vestibule-replicas`. (restart)
    pub secret: Arc<str>,
    /// Without a cluster: the file with the keys of the calls, which all replicas share; it is made where there is none, and
    /// rotated. A relative path starts at the settings file's directory. Default: none. (restart)
    pub key_file: Option<PathBuf>,
}

impl Default for Replicas {
    fn default() -> Self {
        Replicas {
            listen: None,
            service: None,
            addresses: Vec::new(),
            secret: "vestibule-replicas".into(),
            key_file: None,
        }
    }
}

impl Replicas {
    /// Namespace and name of the Service.
    pub(crate) fn service(&self) -> Option<(&str, &str)> {
        self.service.as_deref()?.split_once('/')
    }

    pub(super) fn resolve_paths(&mut self, directory: &Path) {
        if let Some(file) = &mut self.key_file {
            *file = directory.join(&*file);
        }
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        let fault = |key: &str, message: &str| Err(Fault::new(format!("replicas.{key}"), message));
        let well_formed = |name: &Arc<str>| {
            name.split_once('/').is_some_and(|(namespace, name)| {
                !namespace.is_empty() && !name.is_empty() && !name.contains('/')
            })
        };
        if let Some(service) = &self.service
            && !well_formed(service)
        {
            return fault("service", &format!("`{service}` is not namespace/name"));
        }
        if self.service.is_some() && !self.addresses.is_empty() {
            return fault(
                "addresses",
                "is written beside `service`; replicas are found in one way, so remove one",
            );
        }
        if self.addresses.len() > ADDRESSES_LEN_MAX {
            return fault("addresses", &format!("has more than {ADDRESSES_LEN_MAX} entries"));
        }
        let speaks_of_others =
            self.service.is_some() || !self.addresses.is_empty() || self.key_file.is_some();
        match self.listen {
            None if speaks_of_others => {
                fault("listen", "is missing; write the address to listen on, such as 0.0.0.0:9443")
            }
            Some(_) if self.service.is_none() && self.key_file.is_none() => fault(
                "listen",
                "stands alone; name a headless `service`, or, without a cluster, a `keyFile` and `addresses`",
            ),
            Some(_) | None => Ok(()),
        }
    }
}

/// More replicas than one edge has.
const ADDRESSES_LEN_MAX: usize = 1024;
