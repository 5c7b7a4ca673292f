//! What the compiled configuration means for the status of its objects, as data. Who writes it to an API server adds times
//! and generations; who runs without one prints it.

use std::sync::Arc;

use super::objects::httproute::ParentReference;
use super::problem::ObjectRef;

/// One condition (Gateway API v1): its type is the field that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub holds: bool,
    /// One of Gateway API's words for this type of condition.
    pub reason: &'static str,
    pub message: Arc<str>,
}

impl Condition {
    pub(crate) fn yes(reason: &'static str) -> Self {
        Condition { holds: true, reason, message: "".into() }
    }

    pub(crate) fn no(reason: &'static str, message: impl Into<Arc<str>>) -> Self {
        Condition { holds: false, reason, message: message.into() }
    }
}

/// What the compiled configuration means for everything but routes and Ingresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses {
    pub gateways: Vec<GatewayStatus>,
    pub sets: Vec<ListenerSetStatus>,
    pub policies: Vec<PolicyStatus>,
}

/// A Gateway that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayStatus {
    pub gateway: ObjectRef,
    /// The generation that was judged.
    pub generation: i64,
    pub accepted: Condition,
    pub programmed: Condition,
    /// Present where the Gateway itself refers to something.
    pub resolved_refs: Option<Condition>,
    /// Present while some listener lets in clients without a valid certificate.
    pub insecure_frontend_validation: Option<Condition>,
    /// ListenerSets that are accepted here.
    pub attached_listener_sets: u32,
    /// Where clients come in, as the settings have it.
    pub addresses: Vec<Arc<str>>,
    pub listeners: Vec<ListenerStatus>,
}

/// A ListenerSet of a Gateway that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSetStatus {
    pub set: ObjectRef,
    pub generation: i64,
    pub accepted: Condition,
    pub programmed: Condition,
    pub listeners: Vec<ListenerStatus>,
}

/// A BackendTLSPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyStatus {
    pub policy: ObjectRef,
    pub generation: i64,
    /// The Gateways of ours with routes that use it; sorted.
    pub ancestors: Vec<ObjectRef>,
    pub accepted: Condition,
    pub resolved_refs: Condition,
}

/// One listener of a Gateway or ListenerSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerStatus {
    pub name: Arc<str>,
    /// Kinds of routes that may attach.
    pub supported_kinds: Vec<&'static str>,
    /// Routes that are accepted here.
    pub attached_routes: u32,
    pub accepted: Condition,
    pub programmed: Condition,
    pub resolved_refs: Condition,
    pub conflicted: Condition,
}

/// A route with at least one parent that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStatus {
    pub route: ObjectRef,
    pub generation: i64,
    pub parents: Vec<ParentStatus>,
}

/// What one parent of a route says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentStatus {
    /// As the route wrote it.
    pub parent: ParentReference,
    /// The Gateway that it is, or is a ListenerSet of.
    pub gateway: ObjectRef,
    pub accepted: Condition,
    pub resolved_refs: Condition,
    /// Present when some rules are not in use and others are.
    pub partially_invalid: Option<Condition>,
    /// Names of the listeners that carry the route; empty when it is not accepted.
    pub listeners: Vec<Arc<str>>,
}
