//! Readers of the keys by which several Services share the requests of an Ingress. Their errors follow "cannot be used:".

use std::sync::Arc;

use super::{Key, Takes, text};
use crate::config::annotations::ServiceWeight;
use crate::config::values::items;

pub(super) const SERVICE_WEIGHTS: Key = text(
    "service-weights",
    Takes::Ingress,
    "Services with weights such as \"web-v1=80, web-v2=15, web-v3:8080=5\"",
    |a, value| weights(value).map(|weights| a.service_weights = weights),
    "Services of the same namespace that share the requests of every path, in the place of the one that the path names. A port \
     follows the name where it is not that of the path. 0 gets nothing.",
);

fn weights(value: &str) -> Result<Vec<ServiceWeight>, String> {
    let weights: Vec<ServiceWeight> = items(value).map(one).collect::<Result<_, _>>()?;
    if weights.is_empty() || weights.len() > SERVICES_MAX {
        return Err(format!("it has to name one to {SERVICES_MAX} Services"));
    }
    Ok(weights)
}

fn one(item: &str) -> Result<ServiceWeight, String> {
    let wrong = || format!("`{item}` is no NAME=WEIGHT or NAME:PORT=WEIGHT");
    let (service, weight) = item.split_once('=').ok_or_else(wrong)?;
    let (name, port) = match service.trim().split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (service.trim(), None),
    };
    let is_name = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if !is_name(name) || port.is_some_and(|port| !is_name(port)) {
        return Err(wrong());
    }
    let weight = weight.trim().parse().ok().filter(|weight| *weight <= WEIGHT_MAX);
    let weight =
        weight.ok_or_else(|| format!("the weight of `{item}` is no number from 0 to {WEIGHT_MAX}"))?;
    Ok(ServiceWeight { name: name.into(), port: port.map(Arc::from), weight })
}

/// As many as a rule of an HTTPRoute may have.
const SERVICES_MAX: usize = 16;
const WEIGHT_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests;
