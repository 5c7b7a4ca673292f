//! What a kind that people name by `kind.group` is called by its API.

use std::collections::HashMap;
use std::sync::Arc;

use kube::Client;
use serde_json::Value;
use tokio::sync::Mutex;
use wake::scaler::ScaleError;
use wake::workload::Kind;

use super::super::write;

/// Where objects of a kind are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    /// `apps/v1`.
    pub(super) api_version: Arc<str>,
    pub(super) plural: Arc<str>,
}

/// The kinds that were asked for, each once.
#[derive(Clone, Default)]
pub(super) struct Kinds(Arc<Mutex<HashMap<Arc<str>, Resource>>>);

impl Kinds {
    pub(super) async fn of(&self, client: &Client, kind: &Kind) -> Result<Resource, ScaleError> {
        let resource = |api_version: &str, plural: &str| Resource {
            api_version: api_version.into(),
            plural: plural.into(),
        };
        let name = match kind {
            Kind::Deployment => return Ok(resource("apps/v1", "deployments")),
            Kind::StatefulSet => return Ok(resource("apps/v1", "statefulsets")),
            Kind::PostgresCluster => return Ok(resource("postgresql.cnpg.io/v1", "clusters")),
            Kind::Process => return Err(ScaleError::Missing),
            Kind::Scalable(name) => name,
        };
        let mut known = self.0.lock().await;
        if let Some(resource) = known.get(name) {
            return Ok(resource.clone());
        }
        let found = discover(client, name).await?;
        known.insert(name.clone(), found.clone());
        Ok(found)
    }
}

/// Asks the server for the preferred version of the group, and for the kind in it.
async fn discover(client: &Client, name: &str) -> Result<Resource, ScaleError> {
    let (word, group) = name.split_once('.').unwrap_or((name, ""));
    let unknown =
        || ScaleError::Refused(format!("the API server has no {name} with a scale subresource").into());
    let read = async |path: String| match write::read(client, &path).await {
        Ok(value) => Ok(value),
        Err(write::WriteError::Missing) => Err(unknown()),
        Err(error) => Err(ScaleError::unreachable(error)),
    };
    let about = read(format!("/apis/{group}")).await?;
    let api_version = about["preferredVersion"]["groupVersion"].as_str().ok_or_else(unknown)?.to_owned();
    let list = read(format!("/apis/{api_version}")).await?;
    let plural = plural_of(&list, word).ok_or_else(unknown)?;
    Ok(Resource { api_version: api_version.into(), plural: plural.into() })
}

/// The plural of a kind that has a scale subresource.
pub(super) fn plural_of(list: &Value, word: &str) -> Option<String> {
    let resources = list["resources"].as_array()?;
    let named = resources.iter().find(|resource| {
        ["name", "singularName", "kind"]
            .iter()
            .any(|key| resource[*key].as_str().is_some_and(|known| known.eq_ignore_ascii_case(word)))
            && !resource["name"].as_str().unwrap_or_default().contains('/')
    })?;
    let plural = named["name"].as_str()?;
    let scale = format!("{plural}/scale");
    resources.iter().any(|resource| resource["name"].as_str() == Some(&scale)).then(|| plural.to_owned())
}
