//! `gateway.networking.k8s.io`: ListenerSet (v1 of Gateway API 1.6).

use std::sync::Arc;

use serde::Deserialize;

use super::gateway::Listener;
use super::metadata::{Metadata, or_default};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListenerSet {
    pub metadata: Metadata,
    pub spec: ListenerSetSpec,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetSpec {
    pub parent_ref: ParentGateway,
    /// Written as those of a Gateway are.
    #[serde(default, deserialize_with = "or_default")]
    pub listeners: Box<[Listener]>,
}

/// The Gateway whose sockets are used.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ParentGateway {
    /// Absent: `gateway.networking.k8s.io`.
    pub group: Option<Box<str>>,
    /// Absent: `Gateway`.
    pub kind: Option<Box<str>>,
    pub name: Arc<str>,
    /// Absent: the namespace of the ListenerSet.
    pub namespace: Option<Arc<str>>,
}
