//! Routes and requests for the tests of this module.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};

use super::host::{Host, HostPattern, WildcardLabels};
use super::matches::{Conditions, Lookup, Precedence, Rule};
use super::{Action, Handling, Origin, PathPattern, Route};
use crate::config::problem::{Kind, ObjectRef};

/// `HTTPRoute default/<name>`.
pub(crate) fn object(name: &str) -> ObjectRef {
    ObjectRef { kind: Kind::HTTPRoute, namespace: "default".into(), name: name.into() }
}

/// A route told apart by the name of its object.
pub(crate) fn route(name: &str, path: &PathPattern) -> Arc<Route> {
    Arc::new(Route {
        origin: Origin { object: object(name), rule: 0, name: None, path: path.clone() },
        refusal: None,
        action: Action::Status(StatusCode::OK),
        canary: None,
        https_redirect: None,
        handling: Handling::plain(),
        wake: None,
        metrics: Default::default(),
    })
}

pub(crate) fn rule(name: &str, path: PathPattern) -> Rule {
    rule_with(name, path, Conditions::default())
}

pub(crate) fn rule_with(name: &str, path: PathPattern, conditions: Conditions) -> Rule {
    let precedence = Precedence { created: None, object: object(name), rule: 0, entry: 0 };
    let route = route(name, &path);
    Rule { path, conditions, precedence, route }
}

pub(crate) fn exact(path: &str) -> PathPattern {
    PathPattern::exact(path).unwrap()
}

pub(crate) fn prefix(path: &str) -> PathPattern {
    PathPattern::prefix(path).unwrap()
}

pub(crate) fn regex(text: &str) -> PathPattern {
    PathPattern::regex(text, Default::default()).unwrap()
}

pub(crate) fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

/// A host as a Gateway API object writes it; `*` for any.
pub(crate) fn pattern(text: &str) -> HostPattern {
    pattern_of(text, WildcardLabels::OneOrMore)
}

pub(crate) fn pattern_of(text: &str, labels: WildcardLabels) -> HostPattern {
    if text == "*" { HostPattern::Any } else { HostPattern::parse(text, labels).unwrap() }
}

/// One request, owned.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) host: Option<Host>,
    pub(crate) path: Vec<u8>,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Option<Vec<u8>>,
}

/// `GET http://<host><path>`, with what follows a `?` as its query.
pub(crate) fn get(name: &str, target: &str) -> Request {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.into())),
        None => (target, None),
    };
    Request {
        host: Some(host(name)),
        path: path.into(),
        method: Method::GET,
        headers: HeaderMap::new(),
        query,
    }
}

impl Request {
    pub(crate) fn lookup(&self) -> Lookup<'_> {
        Lookup {
            host: self.host.as_ref(),
            path: &self.path,
            method: &self.method,
            headers: &self.headers,
            query: self.query.as_deref(),
        }
    }
}
