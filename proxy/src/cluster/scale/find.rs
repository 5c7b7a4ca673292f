//! Which workloads are meant where none are named.

use std::sync::Arc;

use serde_json::Value;
use wake::plan::Plan;
use wake::sablier::Labels;
use wake::workload::{Kind, Reference};

use super::super::write::{self, WriteError};
use super::Kubernetes;

/// A Deployment or StatefulSet of one namespace.
pub(super) struct Candidate {
    pub(super) kind: Kind,
    pub(super) object: Value,
}

impl Kubernetes {
    /// The workload whose Pods each of these Services selects, by the template, so that it is found while it sleeps, too.
    pub(crate) async fn own_workloads(
        &self,
        namespace: &Arc<str>,
        services: &[Arc<str>],
    ) -> Result<Plan, Arc<str>> {
        let candidates = self.candidates(namespace).await?;
        let mut found = Vec::new();
        for service in services {
            let path = write::path("v1", "services", namespace, service, "");
            let object = write::read(&self.client, &path)
                .await
                .map_err(|error| format!("the Service {namespace}/{service} cannot be read: {error}"))?;
            found.push(own(&object["spec"]["selector"], &candidates).map_err(|reason| {
                format!("`vestibule.dev/wake: \"true\"` for the Service {namespace}/{service}: {reason}")
            })?);
        }
        Plan::together(found).map_err(|error| error.to_string().into())
    }

    /// The workloads that carry the label `sablier.group` with this name.
    pub(crate) async fn group(&self, namespace: &Arc<str>, group: &str) -> Result<Plan, Arc<str>> {
        let candidates = self.candidates(namespace).await?;
        let mut found = Vec::new();
        for candidate in &candidates {
            let labels = labels(&candidate.object)
                .map_err(|error| format!("{} in {namespace}: {error}", reference(candidate)))?;
            if labels.is_some_and(|labels| labels.groups.iter().any(|name| **name == *group)) {
                found.push(reference(candidate));
            }
        }
        if found.is_empty() {
            return Err(format!(
                "no Deployment or StatefulSet of {namespace} has the labels sablier.enable=true and sablier.group={group}"
            )
            .into());
        }
        Plan::together(found).map_err(|error| error.to_string().into())
    }

    async fn candidates(&self, namespace: &str) -> Result<Vec<Candidate>, Arc<str>> {
        let mut candidates = Vec::new();
        for (kind, plural) in [(Kind::Deployment, "deployments"), (Kind::StatefulSet, "statefulsets")] {
            let path = write::path("apps/v1", plural, namespace, "", "");
            let mut list = match write::read(&self.client, &path).await {
                Ok(list) => list,
                Err(WriteError::Missing) => continue,
                Err(error) => {
                    return Err(format!(
                        "the {plural} of {namespace} cannot be read: {error}; grant get, list and watch"
                    )
                    .into());
                }
            };
            let items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
            candidates.extend(items.into_iter().map(|object| Candidate { kind: kind.clone(), object }));
        }
        Ok(candidates)
    }
}

/// The one workload whose template the selector takes.
pub(super) fn own(selector: &Value, candidates: &[Candidate]) -> Result<Reference, String> {
    let Some(selector) = selector.as_object().filter(|selector| !selector.is_empty()) else {
        return Err("it selects no Pods: name the workload, such as deployment/web".into());
    };
    let takes = |candidate: &&Candidate| {
        let labels = &candidate.object["spec"]["template"]["metadata"]["labels"];
        selector.iter().all(|(key, value)| labels[key] == *value)
    };
    let found: Vec<&Candidate> = candidates.iter().filter(takes).collect();
    match found[..] {
        [] => {
            Err("no Deployment or StatefulSet has a Pod template that it selects: name the workload".into())
        }
        [only] => match owner(&only.object) {
            None => Ok(reference(only)),
            Some(owner) => Err(format!(
                "{} belongs to {owner}, which would scale it back: name what is to be scaled",
                reference(only)
            )),
        },
        _ => {
            let names: Vec<String> = found.iter().map(|candidate| reference(candidate).to_string()).collect();
            Err(format!("it selects the Pods of {}: name those that are meant", names.join(" and ")))
        }
    }
}

/// `sablier.active.replicas` of a workload.
pub(super) fn active_replicas(object: &Value) -> Option<u32> {
    labels(object).ok().flatten()?.active_replicas
}

fn labels(object: &Value) -> Result<Option<Labels>, wake::sablier::LabelError> {
    let metadata = &object["metadata"];
    Labels::read(|key| metadata["labels"][key].as_str(), |key| metadata["annotations"][key].as_str())
}

/// The controller that an object belongs to.
fn owner(object: &Value) -> Option<String> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let controller = owners.iter().find(|owner| owner["controller"] == Value::Bool(true))?;
    Some(format!("{} {}", controller["kind"].as_str()?, controller["name"].as_str()?))
}

fn reference(candidate: &Candidate) -> Reference {
    let name = candidate.object["metadata"]["name"].as_str().unwrap_or_default();
    Reference { kind: candidate.kind.clone(), name: name.into() }
}
