//! `gateway.networking.k8s.io`: HTTPRoute (v1 of Gateway API 1.6, experimental fields included).

use std::sync::Arc;

use serde::Deserialize;

use super::gateway::ObjectReference;
use super::metadata::{Known, Metadata, Words, or_default};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HttpRoute {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: HttpRouteSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteSpec {
    #[serde(deserialize_with = "or_default")]
    pub parent_refs: Box<[ParentReference]>,
    #[serde(deserialize_with = "or_default")]
    pub hostnames: Box<[Box<str>]>,
    /// `None`: one rule that matches everything and has no backend, as the API defaults it.
    pub rules: Option<Box<[HttpRouteRule]>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// Absent: `gateway.networking.k8s.io`.
    pub group: Option<Box<str>>,
    /// Absent: `Gateway`.
    pub kind: Option<Box<str>>,
    pub namespace: Option<Arc<str>>,
    pub name: Arc<str>,
    pub section_name: Option<Arc<str>>,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteRule {
    pub name: Option<Arc<str>>,
    /// Empty: everything.
    #[serde(deserialize_with = "or_default")]
    pub matches: Box<[HttpRouteMatch]>,
    #[serde(deserialize_with = "or_default")]
    pub filters: Box<[HttpRouteFilter]>,
    #[serde(deserialize_with = "or_default")]
    pub backend_refs: Box<[HttpBackendReference]>,
    #[serde(deserialize_with = "or_default")]
    pub timeouts: HttpRouteTimeouts,
    pub retry: Option<HttpRouteRetry>,
    pub session_persistence: Option<SessionPersistence>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteMatch {
    pub path: Option<HttpPathMatch>,
    #[serde(deserialize_with = "or_default")]
    pub headers: Box<[HttpValueMatch]>,
    #[serde(deserialize_with = "or_default")]
    pub query_params: Box<[HttpValueMatch]>,
    pub method: Option<Box<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HttpPathMatch {
    /// Absent: `PathPrefix`.
    #[serde(rename = "type")]
    pub match_type: Option<Known<PathMatchType>>,
    /// Absent: `/`.
    pub value: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathMatchType {
    Exact,
    PathPrefix,
    RegularExpression,
}

impl Words for PathMatchType {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("Exact", PathMatchType::Exact),
        ("PathPrefix", PathMatchType::PathPrefix),
        ("RegularExpression", PathMatchType::RegularExpression),
    ];
}

/// A header or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HttpValueMatch {
    /// Absent: `Exact`.
    #[serde(rename = "type")]
    pub match_type: Option<Known<ValueMatchType>>,
    pub name: Box<str>,
    #[serde(default, deserialize_with = "or_default")]
    pub value: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueMatchType {
    Exact,
    RegularExpression,
}

impl Words for ValueMatchType {
    const WORDS: &'static [(&'static str, Self)] =
        &[("Exact", ValueMatchType::Exact), ("RegularExpression", ValueMatchType::RegularExpression)];
}

/// One filter: the field that its type names is set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteFilter {
    #[serde(rename = "type")]
    pub filter_type: Known<FilterType>,
    pub request_header_modifier: Option<HeaderModifier>,
    pub response_header_modifier: Option<HeaderModifier>,
    pub request_redirect: Option<RequestRedirect>,
    pub url_rewrite: Option<UrlRewrite>,
    pub request_mirror: Option<RequestMirror>,
    pub cors: Option<CorsFilter>,
    pub extension_ref: Option<ObjectReference>,
    pub external_auth: Option<ExternalAuth>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterType {
    RequestHeaderModifier,
    ResponseHeaderModifier,
    RequestRedirect,
    UrlRewrite,
    RequestMirror,
    Cors,
    ExtensionRef,
    ExternalAuth,
}

impl Words for FilterType {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("RequestHeaderModifier", FilterType::RequestHeaderModifier),
        ("ResponseHeaderModifier", FilterType::ResponseHeaderModifier),
        ("RequestRedirect", FilterType::RequestRedirect),
        ("URLRewrite", FilterType::UrlRewrite),
        ("RequestMirror", FilterType::RequestMirror),
        ("CORS", FilterType::Cors),
        ("ExtensionRef", FilterType::ExtensionRef),
        ("ExternalAuth", FilterType::ExternalAuth),
    ];
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HeaderModifier {
    #[serde(deserialize_with = "or_default")]
    pub set: Box<[HeaderValuePair]>,
    #[serde(deserialize_with = "or_default")]
    pub add: Box<[HeaderValuePair]>,
    #[serde(deserialize_with = "or_default")]
    pub remove: Box<[Box<str>]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HeaderValuePair {
    pub name: Box<str>,
    #[serde(default, deserialize_with = "or_default")]
    pub value: Box<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestRedirect {
    pub scheme: Option<Box<str>>,
    pub hostname: Option<Box<str>>,
    pub path: Option<PathModifier>,
    pub port: Option<u16>,
    /// Absent: 302.
    pub status_code: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct UrlRewrite {
    pub hostname: Option<Box<str>>,
    pub path: Option<PathModifier>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathModifier {
    #[serde(rename = "type")]
    pub modifier_type: Known<PathModifierType>,
    pub replace_full_path: Option<Box<str>>,
    pub replace_prefix_match: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathModifierType {
    ReplaceFullPath,
    ReplacePrefixMatch,
}

impl Words for PathModifierType {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("ReplaceFullPath", PathModifierType::ReplaceFullPath),
        ("ReplacePrefixMatch", PathModifierType::ReplacePrefixMatch),
    ];
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestMirror {
    pub backend_ref: BackendReference,
    /// 0 to 100; with neither this nor a fraction every request is mirrored.
    pub percent: Option<u32>,
    pub fraction: Option<Fraction>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Fraction {
    pub numerator: u32,
    /// Absent: 100.
    pub denominator: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CorsFilter {
    #[serde(deserialize_with = "or_default")]
    pub allow_origins: Box<[Box<str>]>,
    pub allow_credentials: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    pub allow_methods: Box<[Box<str>]>,
    #[serde(deserialize_with = "or_default")]
    pub allow_headers: Box<[Box<str>]>,
    #[serde(deserialize_with = "or_default")]
    pub expose_headers: Box<[Box<str>]>,
    /// Seconds; absent: 5.
    pub max_age: Option<i32>,
}

/// GEP-1494, experimental.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAuth {
    pub protocol: Option<Box<str>>,
    pub backend_ref: Option<BackendReference>,
    pub http: Option<HttpAuth>,
    pub forward_body: Option<ForwardBody>,
}

/// What an HTTP authentication server is sent, and what of its answer is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpAuth {
    /// Stands before the path of the request.
    pub path: Option<Box<str>>,
    #[serde(deserialize_with = "or_default")]
    pub allowed_headers: Box<[Box<str>]>,
    /// Empty: all.
    #[serde(deserialize_with = "or_default")]
    pub allowed_response_headers: Box<[Box<str>]>,
}

/// How much of a request's body goes along.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardBody {
    /// Bytes.
    #[serde(default)]
    pub max_size: u16,
}

/// A Service and its port, perhaps in another namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct BackendReference {
    /// Absent: the core group.
    pub group: Option<Box<str>>,
    /// Absent: `Service`.
    pub kind: Option<Box<str>>,
    pub name: Arc<str>,
    pub namespace: Option<Arc<str>>,
    pub port: Option<u16>,
}

/// A [`BackendReference`] with its share. (Its fields stand here in full, because serde's `flatten` loses the line numbers
/// of a manifest.)
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HttpBackendReference {
    pub group: Option<Box<str>>,
    pub kind: Option<Box<str>>,
    pub name: Arc<str>,
    pub namespace: Option<Arc<str>>,
    pub port: Option<u16>,
    /// Absent: 1.
    pub weight: Option<u32>,
    #[serde(default, deserialize_with = "or_default")]
    pub filters: Box<[HttpRouteFilter]>,
}

impl HttpBackendReference {
    pub fn reference(&self) -> BackendReference {
        BackendReference {
            group: self.group.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            port: self.port,
        }
    }
}

/// Durations as they were written (`10s`, `1m30s`; GEP-2257).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteTimeouts {
    pub request: Option<Box<str>>,
    pub backend_request: Option<Box<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HttpRouteRetry {
    #[serde(deserialize_with = "or_default")]
    pub codes: Box<[u16]>,
    pub attempts: Option<u32>,
    pub backoff: Option<Box<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionPersistence {
    pub session_name: Option<Box<str>>,
    /// Absent: `Cookie`.
    #[serde(rename = "type")]
    pub persistence_type: Option<Box<str>>,
    pub absolute_timeout: Option<Box<str>>,
    pub idle_timeout: Option<Box<str>>,
    pub cookie_config: Option<CookieConfig>,
}

/// How long browsers keep the cookie of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CookieConfig {
    /// Absent: `Session`.
    pub lifetime_type: Option<Box<str>>,
}
