//! Lowering a GRPCRoute: its methods are paths of HTTP/2, and all else is as with an HTTPRoute.
//!
//! The path of a call is `/SERVICE/METHOD` (gRPC over HTTP/2, "Requests"), so a service is a prefix and a method of it a
//! whole path. Backends are spoken to in HTTP/2 unless their Service says what cannot carry it.

use super::attach::{Belonging, Parents};
use super::httproute::matches::{Match, headers};
use super::httproute::{Written, WrittenRule, lower_written};
use super::lower::{Lowered, Scope};
use super::objects::grpcroute::{GrpcMethodMatch, GrpcRoute, GrpcRouteMatch, GrpcRouteRule};
use super::objects::httproute::ValueMatchType;
use super::objects::metadata::Known;
use crate::route::PathPattern;
use crate::route::expression::LetterCase;
use crate::route::matches::Conditions;

/// Lowers a GRPCRoute.
pub(crate) fn lower(object: &GrpcRoute, parents: Parents<'_>, scope: Scope<'_>) -> Lowered {
    let belonging = Belonging {
        namespace: &object.metadata.namespace,
        parent_refs: &object.spec.parent_refs,
        hostnames: &object.spec.hostnames,
    };
    let rules = object.spec.rules.iter().map(rule).collect();
    lower_written(Written { metadata: &object.metadata, belonging, rules }, parents, scope)
}

fn rule(rule: &GrpcRouteRule) -> WrittenRule<'_> {
    let matches = if rule.matches.is_empty() {
        vec![Ok((PathPattern::Prefix("".into()), Conditions::default()))]
    } else {
        rule.matches.iter().map(one).collect()
    };
    WrittenRule {
        name: rule.name.as_ref(),
        matches,
        filters: &rule.filters,
        backend_refs: &rule.backend_refs,
        timeouts: None,
        retry: None,
        session_persistence: rule.session_persistence.as_ref(),
    }
}

fn one(written: &GrpcRouteMatch) -> Match {
    let path = match &written.method {
        None => PathPattern::Prefix("".into()),
        Some(method) => pattern(method).map_err(|message| ("method".to_owned(), message))?,
    };
    Ok((path, Conditions::new(None, headers(&written.headers)?, Vec::new())))
}

fn pattern(written: &GrpcMethodMatch) -> Result<PathPattern, String> {
    let service = written.service.as_deref().filter(|service| !service.is_empty());
    let method = written.method.as_deref().filter(|method| !method.is_empty());
    let pattern = match &written.match_type {
        None | Some(Known::Value(ValueMatchType::Exact)) => {
            for part in [service, method].into_iter().flatten() {
                if !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')) {
                    return Err(format!("`{}` is no name of a gRPC service or method", part.escape_debug()));
                }
            }
            match (service, method) {
                (Some(service), Some(method)) => PathPattern::exact(&format!("/{service}/{method}")),
                (Some(service), None) => PathPattern::prefix(&format!("/{service}")),
                (None, Some(method)) => {
                    PathPattern::regex(&format!("/{ANY_PART}/{method}$"), LetterCase::Sensitive)
                }
                (None, None) => return Err("write a service, a method or both".into()),
            }
        }
        Some(Known::Value(ValueMatchType::RegularExpression)) => {
            if service.or(method).is_none() {
                return Err("write a service, a method or both".into());
            }
            let part = |part: Option<&str>| part.map_or(ANY_PART.to_owned(), |part| format!("(?:{part})"));
            PathPattern::regex(&format!("/{}/{}$", part(service), part(method)), LetterCase::Sensitive)
        }
        Some(Known::Unknown(word)) => {
            return Err(format!("`{word}` is no type of match: write Exact or RegularExpression"));
        }
    };
    pattern.map_err(|error| error.to_string())
}

/// One part of a path, whatever it is.
const ANY_PART: &str = "[^/]+";
