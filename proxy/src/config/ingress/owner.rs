//! Whose an Ingress is: ours by its class, another controller's, or nobody's.

use std::sync::Arc;

use crate::config::nginx::NGINX_CONTROLLER;
use crate::config::objects::ingress::Ingress;
use crate::config::objects::{IngressClass, Objects};
use crate::settings::{Class, Settings};

/// `spec.controller` of the IngressClasses that are ours.
pub const INGRESS_CONTROLLER: &str = "vestibule.dev/ingress-controller";

/// Whose an Ingress is.
pub(crate) enum Owner<'a> {
    Class(&'a Class),
    /// Another controller's, or nobody's.
    Other,
    /// Ours by its IngressClass, but the settings give that class no addresses.
    Unbound(Arc<str>),
    /// Nobody's, as far as can be seen: there are no IngressClasses, and the settings do not know its class (or, with `None`,
    /// have none for Ingresses that name no class).
    Nobody(Option<Arc<str>>),
}

/// Whose this Ingress is: by `spec.ingressClassName` or the annotation that came before it, else by the default class.
pub(crate) fn owner<'a>(ingress: &Ingress, objects: &Objects, settings: &'a Settings) -> Owner<'a> {
    let legacy =
        ingress.metadata.annotations.get("kubernetes.io/ingress.class").filter(|name| !name.is_empty());
    let written = legacy.or(ingress.spec.ingress_class_name.as_deref()).filter(|name| !name.is_empty());
    let listed = |name: &str| settings.classes.iter().find(|class| *class.name == *name);
    if let Some(name) = written {
        let object = objects.ingress_classes.find("", name);
        return match (object.map(|class| &*class.spec.controller), listed(name)) {
            (Some(INGRESS_CONTROLLER | NGINX_CONTROLLER) | None, Some(class)) => Owner::Class(class),
            (Some(INGRESS_CONTROLLER), None) => Owner::Unbound(name.into()),
            (None, None) if objects.ingress_classes.is_empty() => Owner::Nobody(Some(name.into())),
            (Some(_), _) | (None, None) => Owner::Other,
        };
    }
    // Of two default classes the API server refuses to choose; here the one by name is as good as another.
    let default = objects.ingress_classes.iter().find(|class| is_default(class));
    match default {
        Some(class) => match (&*class.spec.controller, listed(&class.metadata.name)) {
            (INGRESS_CONTROLLER | NGINX_CONTROLLER, Some(class)) => Owner::Class(class),
            (INGRESS_CONTROLLER, None) => Owner::Unbound(class.metadata.name.clone()),
            (_, _) => Owner::Other,
        },
        None => match settings.classes.iter().find(|class| class.default) {
            Some(class) => Owner::Class(class),
            None if objects.ingress_classes.is_empty() => Owner::Nobody(None),
            None => Owner::Other,
        },
    }
}

fn is_default(class: &IngressClass) -> bool {
    class.metadata.annotations.get("ingressclass.kubernetes.io/is-default-class") == Some("true")
}
