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

/// A Gateway that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayStatus {
    pub gateway: ObjectRef,
    /// The generation that was judged.
    pub generation: i64,
    pub accepted: Condition,
    pub programmed: Condition,
    /// Present while some listener lets in clients without a valid certificate.
    pub insecure_frontend_validation: Option<Condition>,
    pub listeners: Vec<ListenerStatus>,
}

/// One listener of a Gateway.
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

/// An HTTPRoute with at least one parent that is ours.
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
    pub accepted: Condition,
    pub resolved_refs: Condition,
    /// Present when some rules are not in use and others are.
    pub partially_invalid: Option<Condition>,
    /// Names of the listeners that carry the route; empty when it is not accepted.
    pub listeners: Vec<Arc<str>>,
}
