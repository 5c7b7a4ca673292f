//! Everything that moving in looks at, read once: objects of other controllers too, as they are.

use http::{Request, StatusCode};
use kube::Client;
use serde_json::Value;

use super::{ClusterError, ClusterOptions, client};

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub struct Survey {
    pub objects: Vec<Value>,
    /// Kinds that the server has and does not let us read, such as `traefik.io/v1alpha1 middlewares`.
    pub unreadable: Vec<String>,
}

/// Reads every kind that moving in looks at, save those that the server does not have. Secrets are not among them.
pub async fn survey(options: &ClusterOptions) -> Result<Survey, ClusterError> {
    let client = client(options).await?;
    let mut survey = Survey::default();
    for (group, plural) in RESOURCES {
        let path = match group.split_once('/') {
            Some(_) => format!("/apis/{group}/{plural}"),
            None => format!("/api/{group}/{plural}"),
        };
        match list(&client, &path).await {
            Ok(objects) => survey.objects.extend(objects),
            Err(Fault::Missing) => {}
            Err(Fault::Forbidden) => survey.unreadable.push(format!("{group} {plural}")),
            Err(Fault::Other(message)) => {
                return Err(ClusterError::Client(format!("{group} {plural}: {message}")));
            }
        }
    }
    if !options.namespaces.is_empty() {
        survey.objects.retain(|object| {
            let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
            namespace.is_none_or(|own| options.namespaces.iter().any(|wanted| **wanted == *own))
        });
    }
    Ok(survey)
}

enum Fault {
    Missing,
    Forbidden,
    Other(String),
}

async fn list(client: &Client, path: &str) -> Result<Vec<Value>, Fault> {
    let mut objects = Vec::new();
    let mut token = String::new();
    loop {
        let query = if token.is_empty() { String::new() } else { format!("&continue={token}") };
        let request = Request::get(format!("{path}?limit={PAGE_LEN}{query}")).body(Vec::new());
        let request = request.map_err(|error| Fault::Other(error.to_string()))?;
        let page: Value = client.request(request).await.map_err(fault)?;
        let text = |pointer: &str| page.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        // Items of a list do not say what they are.
        let kind = text("/kind").trim_end_matches("List").to_owned();
        let api_version = text("/apiVersion").to_owned();
        token = text("/metadata/continue").to_owned();
        for item in page.get("items").and_then(Value::as_array).into_iter().flatten() {
            let mut item = item.clone();
            item["kind"] = kind.clone().into();
            item["apiVersion"] = api_version.clone().into();
            objects.push(item);
        }
        if objects.len() > OBJECTS_LEN_MAX {
            return Err(Fault::Other(format!("there are more than {OBJECTS_LEN_MAX} objects")));
        }
        if token.is_empty() {
            return Ok(objects);
        }
    }
}

fn fault(error: kube::Error) -> Fault {
    match error {
        kube::Error::Api(status) if status.code == StatusCode::NOT_FOUND.as_u16() => Fault::Missing,
        kube::Error::Api(status) if status.code == StatusCode::FORBIDDEN.as_u16() => Fault::Forbidden,
        other => Fault::Other(other.to_string()),
    }
}

/// Group and version, and the plural.
const RESOURCES: [(&str, &str); 30] = [
    ("networking.k8s.io/v1", "ingresses"),
    ("networking.k8s.io/v1", "ingressclasses"),
    ("networking.k8s.io/v1", "networkpolicies"),
    ("v1", "services"),
    ("apps/v1", "deployments"),
    ("apps/v1", "daemonsets"),
    ("apps/v1", "statefulsets"),
    ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations"),
    ("gateway.networking.k8s.io/v1", "gateways"),
    ("gateway.networking.k8s.io/v1", "httproutes"),
    ("gateway.networking.k8s.io/v1", "grpcroutes"),
    ("traefik.io/v1alpha1", "ingressroutes"),
    ("traefik.io/v1alpha1", "ingressroutetcps"),
    ("traefik.io/v1alpha1", "ingressrouteudps"),
    ("traefik.io/v1alpha1", "middlewares"),
    ("traefik.io/v1alpha1", "middlewaretcps"),
    ("traefik.io/v1alpha1", "tlsoptions"),
    ("traefik.io/v1alpha1", "serverstransports"),
    ("traefik.io/v1alpha1", "serverstransporttcps"),
    ("traefik.io/v1alpha1", "traefikservices"),
    ("traefik.containo.us/v1alpha1", "ingressroutes"),
    ("traefik.containo.us/v1alpha1", "ingressroutetcps"),
    ("traefik.containo.us/v1alpha1", "ingressrouteudps"),
    ("traefik.containo.us/v1alpha1", "middlewares"),
    ("cert-manager.io/v1", "certificates"),
    ("security.istio.io/v1", "authorizationpolicies"),
    ("security.istio.io/v1", "peerauthentications"),
    ("policy.linkerd.io/v1beta3", "servers"),
    ("policy.linkerd.io/v1beta1", "serverauthorizations"),
    ("policy.linkerd.io/v1alpha1", "authorizationpolicies"),
];
const PAGE_LEN: usize = 500;
/// Of one kind.
const OBJECTS_LEN_MAX: usize = 100_000;
