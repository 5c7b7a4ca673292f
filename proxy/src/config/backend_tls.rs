//! BackendTLSPolicies: how the ports of a Service are spoken to in TLS, and who they must prove to be (GEP-1897).
//!
//! A policy that cannot be used still holds: its backends are refused, never spoken to in plain or unverified.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::certs::target;
use super::lower::Scope;
use super::objects::Objects;
use super::objects::backend_tls_policy::{
    BackendTlsPolicy, BackendTlsValidation, SubjectAltName, SubjectAltNameType, WellKnownAuthorities,
};
use super::objects::gateway::ObjectReference;
use super::objects::metadata::{Known, Seniority};
use super::problem::{Kind, ObjectRef, Problem, Severity};
use super::status::{Condition, PolicyStatus};
use crate::route::host::{Host, HostPattern, WildcardLabels};
use crate::tls::client_auth::{ClientAuth, ClientAuthMode};
use crate::upstream::{AlternativeName, BackendTls, Verify};

/// All policies, by the Services that they are for.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    lowered: BTreeMap<ObjectRef, LoweredPolicy>,
    /// By namespace and Service, the oldest first.
    by_service: BTreeMap<(Arc<str>, Arc<str>), Vec<Claim>>,
}

#[derive(Debug, PartialEq, Eq)]
struct LoweredPolicy {
    seniority: Seniority,
    generation: i64,
    /// Services of its namespace, with the name of one port or for all.
    targets: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// `Err`: why its backends are refused.
    tls: Result<Arc<BackendTls>, Arc<str>>,
    accepted: Condition,
    resolved_refs: Condition,
    problems: Vec<Problem>,
    depends: Vec<ObjectRef>,
}

/// That a policy is for a Service, or for one port of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    policy: ObjectRef,
    section: Option<Arc<str>>,
    /// An older policy is for the same.
    lost_to: Option<ObjectRef>,
}

/// What holds for one port of a Service.
pub(crate) struct InForce<'p> {
    /// `Err`: why it cannot be had.
    pub(crate) tls: Result<&'p Arc<BackendTls>, &'p Arc<str>>,
    /// Every policy that is for this port, those that lost against an older one among them.
    pub(crate) policies: Vec<&'p ObjectRef>,
}

impl Policies {
    /// What holds for this port of a Service; `None` where no policy does. One for the port goes before one for all.
    pub(crate) fn in_force(
        &self,
        namespace: &Arc<str>,
        service: &Arc<str>,
        port: &str,
    ) -> Option<InForce<'_>> {
        let claims = self.by_service.get(&(namespace.clone(), service.clone()))?;
        let applies = |claim: &&Claim| claim.section.as_deref().is_none_or(|section| section == port);
        let mut live = claims.iter().filter(applies).filter(|claim| claim.lost_to.is_none());
        let winner = live.clone().find(|claim| claim.section.is_some()).or_else(|| live.next())?;
        let policy = self.lowered.get(&winner.policy)?;
        let policies = claims.iter().filter(applies).map(|claim| &claim.policy).collect();
        Some(InForce { tls: policy.tls.as_ref(), policies })
    }

    /// Judges the policy of this name anew, which may be gone. `Some` when routes may see a difference: what it looked at
    /// before and does now.
    pub(crate) fn update(
        &mut self,
        reference: &ObjectRef,
        objects: &Objects,
        scope: Scope<'_>,
    ) -> Option<Dependence> {
        let object = objects.backend_tls_policies.find(&reference.namespace, &reference.name);
        let new = object.map(|policy| lower(policy, scope));
        let old = self.lowered.remove(reference);
        if old == new {
            self.lowered.extend(new.map(|new| (reference.clone(), new)));
            return None;
        }
        let depends = |policy: &Option<LoweredPolicy>| {
            policy.as_ref().map_or_else(Vec::new, |policy| policy.depends.clone())
        };
        let dependence = Dependence { before: depends(&old), now: depends(&new) };
        let mut touched: BTreeSet<Arc<str>> = BTreeSet::new();
        for policy in old.iter().chain(&new) {
            touched.extend(policy.targets.iter().map(|(service, _)| service.clone()));
        }
        self.lowered.extend(new.map(|new| (reference.clone(), new)));
        for service in touched {
            self.settle(&reference.namespace, service);
        }
        Some(dependence)
    }

    /// The names of all policies that were judged.
    pub(crate) fn names(&self) -> impl Iterator<Item = &ObjectRef> {
        self.lowered.keys()
    }

    pub(crate) fn problems(&self) -> impl Iterator<Item = Problem> {
        self.lowered.iter().flat_map(|(reference, policy)| {
            let lost = self.lost(reference, policy);
            let lost = lost.into_iter().map(|(message, _)| Problem {
                severity: Severity::Degraded,
                object: Some(reference.clone()),
                field: "spec.targetRefs".into(),
                reason: "Conflicted",
                message,
                place: None,
            });
            policy.problems.iter().cloned().chain(lost)
        })
    }

    /// The statuses, by the Gateways whose routes use each policy.
    pub(crate) fn statuses(&self, ancestors: &BTreeMap<ObjectRef, BTreeSet<ObjectRef>>) -> Vec<PolicyStatus> {
        let status = |(reference, policy): (&ObjectRef, &LoweredPolicy)| {
            let accepted = match self.lost(reference, policy) {
                Some((message, true)) => Condition::no("Conflicted", message),
                Some((_, false)) | None => policy.accepted.clone(),
            };
            PolicyStatus {
                policy: reference.clone(),
                generation: policy.generation,
                ancestors: ancestors.get(reference).into_iter().flatten().cloned().collect(),
                accepted,
                resolved_refs: policy.resolved_refs.clone(),
            }
        };
        self.lowered.iter().map(status).collect()
    }

    /// Which older policy has what this one is for, in words, and whether that leaves nothing to it.
    fn lost(&self, reference: &ObjectRef, policy: &LoweredPolicy) -> Option<(Arc<str>, bool)> {
        let claims = policy.targets.iter().filter_map(|(service, section)| {
            let claims = self.by_service.get(&(reference.namespace.clone(), service.clone()))?;
            claims.iter().find(|claim| claim.policy == *reference && claim.section == *section)
        });
        let claims: Vec<&Claim> = claims.collect();
        let (claim, winner) = claims.iter().find_map(|claim| Some((claim, claim.lost_to.as_ref()?)))?;
        let part = claim.section.as_ref().map_or(String::new(), |section| format!(" for port {section}"));
        let message = format!("{winner} is older and has the same target{part}");
        Some((message.into(), claims.iter().all(|claim| claim.lost_to.is_some())))
    }

    /// Decides which policies hold for a Service: of several for the same, the oldest (GEP-713).
    fn settle(&mut self, namespace: &Arc<str>, service: Arc<str>) {
        let mut wanted: Vec<(&Seniority, &ObjectRef, &Option<Arc<str>>)> = Vec::new();
        for (reference, policy) in
            self.lowered.iter().filter(|(reference, _)| reference.namespace == *namespace)
        {
            let own = policy.targets.iter().filter(|(target, _)| *target == service);
            wanted.extend(own.map(|(_, section)| (&policy.seniority, reference, section)));
        }
        wanted.sort();
        let mut claims: Vec<Claim> = Vec::with_capacity(wanted.len());
        for (_, policy, section) in wanted {
            let older = claims.iter().find(|claim| claim.section == *section && claim.lost_to.is_none());
            let lost_to = older.map(|claim| claim.policy.clone()).filter(|winner| winner != policy);
            claims.push(Claim { policy: policy.clone(), section: section.clone(), lost_to });
        }
        let key = (namespace.clone(), service);
        if claims.is_empty() {
            self.by_service.remove(&key);
        } else {
            self.by_service.insert(key, claims);
        }
    }
}

/// What a policy looked at.
pub(crate) struct Dependence {
    pub(crate) before: Vec<ObjectRef>,
    pub(crate) now: Vec<ObjectRef>,
}

fn lower(policy: &BackendTlsPolicy, mut scope: Scope<'_>) -> LoweredPolicy {
    let mut accepted = Condition::yes("Accepted");
    let mut resolved_refs = Condition::yes("ResolvedRefs");
    let mut targets = Vec::new();
    for (index, target) in policy.spec.target_refs.iter().enumerate() {
        if (&*target.group, &*target.kind) == ("", "Service") {
            targets.push((target.name.clone(), target.section_name.clone()));
            continue;
        }
        let message = format!("only Services can be targets, not a {}", target.kind);
        scope.problem(Severity::Degraded, format!("spec.targetRefs[{index}]"), "Invalid", message);
    }
    let tls = read(&policy.spec.validation, &mut scope, &mut accepted, &mut resolved_refs);
    LoweredPolicy {
        seniority: policy.metadata.seniority(),
        generation: policy.metadata.generation,
        targets,
        tls,
        accepted,
        resolved_refs,
        problems: scope.problems,
        depends: scope.depends,
    }
}

fn read(
    validation: &BackendTlsValidation,
    scope: &mut Scope<'_>,
    accepted: &mut Condition,
    resolved_refs: &mut Condition,
) -> Result<Arc<BackendTls>, Arc<str>> {
    let mut invalid = |scope: &mut Scope<'_>, field: &str, reason: &'static str, message: String| {
        let message: Arc<str> = message.into();
        scope.problem(Severity::Refused, format!("spec.validation{field}"), reason, message.clone());
        *accepted = Condition::no(reason, message.clone());
        message
    };
    let server_name = Host::parse(&*validation.hostname).map_err(|error| {
        invalid(scope, ".hostname", "Invalid", format!("the host name cannot be used: {error}"))
    })?;
    let mut names = Vec::with_capacity(validation.subject_alt_names.len());
    for (index, name) in validation.subject_alt_names.iter().enumerate() {
        let name = alternative_name(name)
            .map_err(|message| invalid(scope, &format!(".subjectAltNames[{index}]"), "Invalid", message))?;
        names.push(name);
    }
    let verify = match (&validation.well_known_ca_certificates, &*validation.ca_certificate_refs) {
        (Some(_), [_, ..]) => {
            let message = "write caCertificateRefs or wellKnownCACertificates, not both".to_owned();
            return Err(invalid(scope, "", "Invalid", message));
        }
        (Some(Known::Value(WellKnownAuthorities::System)), []) => {
            if names.iter().any(|name| !matches!(name, AlternativeName::Host(HostPattern::Exact(_)))) {
                let message =
                    "with the system's authorities only whole host names can be verified".to_owned();
                return Err(invalid(scope, ".subjectAltNames", "Invalid", message));
            }
            Verify::System
        }
        (Some(Known::Unknown(word)), []) => {
            let message = format!("`{word}` are no authorities that are known: write System");
            return Err(invalid(scope, ".wellKnownCACertificates", "Invalid", message));
        }
        (None, references) => {
            let bundle = authorities(references, scope, resolved_refs);
            if bundle.is_empty() {
                let message = "no backend can be verified: no authority can be used".to_owned();
                return Err(invalid(scope, ".caCertificateRefs", "NoValidCACertificate", message));
            }
            Verify::Authority(bundle.into())
        }
    };
    Ok(Arc::new(BackendTls {
        server_name: Some(server_name.as_str().into()),
        verify,
        alternative_names: names.into(),
        client_certificate: None,
        offers_alpn: true,
    }))
}

fn alternative_name(written: &SubjectAltName) -> Result<AlternativeName, String> {
    match &written.name_type {
        Known::Value(SubjectAltNameType::Hostname) => {
            let host = written.hostname.as_deref().unwrap_or_default();
            let host = HostPattern::parse(host, WildcardLabels::One).map_err(|error| error.to_string())?;
            if host == HostPattern::Any {
                Err("write the host name".into())
            } else {
                Ok(AlternativeName::Host(host))
            }
        }
        Known::Value(SubjectAltNameType::Uri) => match written.uri.as_deref() {
            Some(uri) if uri.contains(':') => Ok(AlternativeName::Uri(uri.into())),
            Some(uri) => Err(format!("`{}` is no URI with a scheme", uri.escape_debug())),
            None => Err("write the URI".into()),
        },
        Known::Unknown(word) => Err(format!("`{word}` is no type of name: write Hostname or URI")),
    }
}

/// The PEM of all authorities that can be read; the others are told of.
fn authorities(references: &[ObjectReference], scope: &mut Scope<'_>, resolved: &mut Condition) -> Vec<u8> {
    let mut bundle = Vec::new();
    for (index, reference) in references.iter().enumerate() {
        match authority(reference, scope) {
            Ok(pem) => {
                bundle.extend_from_slice(pem.as_bytes());
                bundle.push(b'\n');
            }
            Err((reason, message)) => {
                let field = format!("spec.validation.caCertificateRefs[{index}]");
                scope.problem(Severity::Refused, field, reason, message.clone());
                *resolved = Condition::no(reason, message);
            }
        }
    }
    bundle
}

fn authority(reference: &ObjectReference, scope: &mut Scope<'_>) -> Result<Arc<str>, (&'static str, String)> {
    let namespace = scope.source.namespace.clone();
    let target = target(reference, Kind::ConfigMap, &[Kind::ConfigMap], &namespace)
        .map_err(|kind| ("InvalidKind", format!("authorities stand in a ConfigMap, not in a {kind}")))?;
    let invalid = |message: String| ("InvalidCACertificateRef", message);
    if target.namespace != namespace {
        return Err(invalid(format!("{target} is of another namespace than the policy")));
    }
    scope.depend(Kind::ConfigMap, &target.namespace, &target.name);
    let map = scope.objects.config_maps.find(&target.namespace, &target.name);
    let map = map.ok_or_else(|| invalid(format!("there is no {target}")))?;
    let pem = map.data.get("ca.crt").ok_or_else(|| invalid(format!("{target} has no ca.crt")))?;
    // Judged one by one, so that a bad one is named and does not spoil the others.
    ClientAuth::from_pem(ClientAuthMode::Require, pem.as_bytes())
        .map_err(|error| invalid(format!("{target} cannot be used: {error}")))?;
    Ok(pem.into())
}
