//! Which namespaces may claim which host names.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::route::host::{HostPattern, WildcardLabels};

/// Hosts of one pattern, and whose they are.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostClaim {
    /// A host name; `*.example.com` for every name below `example.com`, however deep; `*` for all. Of several patterns that
    /// take a host the narrowest decides. (live)
    #[schemars(with = "String")]
    #[serde(deserialize_with = "pattern")]
    pub pattern: HostPattern,
    /// The namespaces whose Ingresses and routes may claim them; one that ends in `*` stands for all that begin so. (live)
    pub namespaces: Vec<Arc<str>>,
}

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HostPattern, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    HostPattern::parse(&text, WildcardLabels::OneOrMore)
        .map_err(|error| serde::de::Error::custom(format!("`{text}` is no pattern of hosts: {error}")))
}
