//! The objects that were read, as lean types of our own, and the container that holds the current ones.
//!
//! Objects come from files or from an API server by the same road: [`Object::deserialize`] takes any serde deserializer.
//! Only what Vestibule uses is kept. Nothing here judges; `compile` does.

pub mod core;
pub mod gateway;
pub mod httproute;
pub mod ingress;
pub mod metadata;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer};
use smallvec::SmallVec;

pub use self::core::{ConfigMap, EndpointSlice, Namespace, Secret, Service};
pub use self::gateway::{Gateway, GatewayClass, ReferenceGrant};
pub use self::httproute::HttpRoute;
pub use self::ingress::{Ingress, IngressClass};
pub use self::metadata::Metadata;
use super::problem::{Kind, ObjectRef};

/// One object of a kind that Vestibule reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    Ingress(Arc<Ingress>),
    IngressClass(Arc<IngressClass>),
    GatewayClass(Arc<GatewayClass>),
    Gateway(Arc<Gateway>),
    HttpRoute(Arc<HttpRoute>),
    ReferenceGrant(Arc<ReferenceGrant>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Secret(Arc<Secret>),
    ConfigMap(Arc<ConfigMap>),
    Namespace(Arc<Namespace>),
}

impl Object {
    /// Reads one object of this kind. An absent namespace becomes `default`, as kubectl has it; for kinds that stand
    /// outside namespaces it becomes empty.
    pub fn deserialize<'de, D: Deserializer<'de>>(kind: Kind, deserializer: D) -> Result<Object, D::Error> {
        Ok(match kind {
            Kind::Ingress => Object::Ingress(read(kind, deserializer)?),
            Kind::IngressClass => Object::IngressClass(read(kind, deserializer)?),
            Kind::GatewayClass => Object::GatewayClass(read(kind, deserializer)?),
            Kind::Gateway => Object::Gateway(read(kind, deserializer)?),
            Kind::HTTPRoute => Object::HttpRoute(read(kind, deserializer)?),
            Kind::ReferenceGrant => Object::ReferenceGrant(read(kind, deserializer)?),
            Kind::Service => Object::Service(read(kind, deserializer)?),
            Kind::EndpointSlice => Object::EndpointSlice(read(kind, deserializer)?),
            Kind::Secret => Object::Secret(read(kind, deserializer)?),
            Kind::ConfigMap => Object::ConfigMap(read(kind, deserializer)?),
            Kind::Namespace => Object::Namespace(read(kind, deserializer)?),
        })
    }

    pub fn kind(&self) -> Kind {
        match self {
            Object::Ingress(_) => Kind::Ingress,
            Object::IngressClass(_) => Kind::IngressClass,
            Object::GatewayClass(_) => Kind::GatewayClass,
            Object::Gateway(_) => Kind::Gateway,
            Object::HttpRoute(_) => Kind::HTTPRoute,
            Object::ReferenceGrant(_) => Kind::ReferenceGrant,
            Object::Service(_) => Kind::Service,
            Object::EndpointSlice(_) => Kind::EndpointSlice,
            Object::Secret(_) => Kind::Secret,
            Object::ConfigMap(_) => Kind::ConfigMap,
            Object::Namespace(_) => Kind::Namespace,
        }
    }

    pub fn metadata(&self) -> &Metadata {
        match self {
            Object::Ingress(object) => &object.metadata,
            Object::IngressClass(object) => &object.metadata,
            Object::GatewayClass(object) => &object.metadata,
            Object::Gateway(object) => &object.metadata,
            Object::HttpRoute(object) => &object.metadata,
            Object::ReferenceGrant(object) => &object.metadata,
            Object::Service(object) => &object.metadata,
            Object::EndpointSlice(object) => &object.metadata,
            Object::Secret(object) => &object.metadata,
            Object::ConfigMap(object) => &object.metadata,
            Object::Namespace(object) => &object.metadata,
        }
    }

    pub fn reference(&self) -> ObjectRef {
        self.metadata().reference(self.kind())
    }
}

impl Metadata {
    /// The name of the object of this kind that carries this metadata.
    pub fn reference(&self, kind: Kind) -> ObjectRef {
        ObjectRef { kind, namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// What applying one object did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The same object as before; at most its resourceVersion moved (someone wrote a status).
    None,
    Added,
    Updated,
}

/// The current objects of every kind, and a journal of what changed last.
#[derive(Debug)]
pub struct Objects {
    pub ingresses: Store<Ingress>,
    pub ingress_classes: Store<IngressClass>,
    pub gateway_classes: Store<GatewayClass>,
    pub gateways: Store<Gateway>,
    pub http_routes: Store<HttpRoute>,
    pub reference_grants: Store<ReferenceGrant>,
    pub services: Store<Service>,
    pub endpoint_slices: Store<EndpointSlice>,
    pub secrets: Store<Secret>,
    pub config_maps: Store<ConfigMap>,
    pub namespaces: Store<Namespace>,
    slices_by_service: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Slices>>,
    journal: Journal,
}

impl Default for Objects {
    fn default() -> Self {
        Self::new()
    }
}

impl Objects {
    pub fn new() -> Self {
        Objects {
            ingresses: Store::default(),
            ingress_classes: Store::default(),
            gateway_classes: Store::default(),
            gateways: Store::default(),
            http_routes: Store::default(),
            reference_grants: Store::default(),
            services: Store::default(),
            endpoint_slices: Store::default(),
            secrets: Store::default(),
            config_maps: Store::default(),
            namespaces: Store::default(),
            slices_by_service: BTreeMap::new(),
            journal: Journal::new(),
        }
    }

    /// Adds the object or puts it in the place of the one of the same kind and name.
    pub fn apply(&mut self, object: Object) -> Change {
        let reference = object.reference();
        if let Object::EndpointSlice(slice) = object {
            return self.apply_slice(&reference, slice);
        }
        let change = match object {
            Object::Ingress(object) => self.ingresses.apply(object),
            Object::IngressClass(object) => self.ingress_classes.apply(object),
            Object::GatewayClass(object) => self.gateway_classes.apply(object),
            Object::Gateway(object) => self.gateways.apply(object),
            Object::HttpRoute(object) => self.http_routes.apply(object),
            Object::ReferenceGrant(object) => self.reference_grants.apply(object),
            Object::Service(object) => self.services.apply(object),
            Object::EndpointSlice(object) => self.endpoint_slices.apply(object),
            Object::Secret(object) => self.secrets.apply(object),
            Object::ConfigMap(object) => self.config_maps.apply(object),
            Object::Namespace(object) => self.namespaces.apply(object),
        };
        if change != Change::None {
            self.journal.push(reference);
        }
        change
    }

    /// Removes the object; false when there was none.
    pub fn remove(&mut self, reference: &ObjectRef) -> bool {
        let (namespace, name) = (&*reference.namespace, &*reference.name);
        let removed = match reference.kind {
            Kind::Ingress => self.ingresses.remove(namespace, name),
            Kind::IngressClass => self.ingress_classes.remove(namespace, name),
            Kind::GatewayClass => self.gateway_classes.remove(namespace, name),
            Kind::Gateway => self.gateways.remove(namespace, name),
            Kind::HTTPRoute => self.http_routes.remove(namespace, name),
            Kind::ReferenceGrant => self.reference_grants.remove(namespace, name),
            Kind::Service => self.services.remove(namespace, name),
            Kind::EndpointSlice => {
                let service = self.forget_slice(reference);
                self.journal_endpoints(service);
                return self.endpoint_slices.remove(namespace, name);
            }
            Kind::Secret => self.secrets.remove(namespace, name),
            Kind::ConfigMap => self.config_maps.remove(namespace, name),
            Kind::Namespace => self.namespaces.remove(namespace, name),
        };
        if removed {
            self.journal.push(reference.clone());
        }
        removed
    }

    /// The EndpointSlices of one Service, by name.
    pub fn slices_of(&self, namespace: &str, service: &str) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        let services = self.slices_by_service.get(namespace);
        services.and_then(|services| services.get(service)).into_iter().flatten()
    }

    /// Whether an object of this kind and name is here.
    pub fn contains(&self, reference: &ObjectRef) -> bool {
        let (namespace, name) = (&*reference.namespace, &*reference.name);
        match reference.kind {
            Kind::Ingress => self.ingresses.find(namespace, name).is_some(),
            Kind::IngressClass => self.ingress_classes.find(namespace, name).is_some(),
            Kind::GatewayClass => self.gateway_classes.find(namespace, name).is_some(),
            Kind::Gateway => self.gateways.find(namespace, name).is_some(),
            Kind::HTTPRoute => self.http_routes.find(namespace, name).is_some(),
            Kind::ReferenceGrant => self.reference_grants.find(namespace, name).is_some(),
            Kind::Service => self.services.find(namespace, name).is_some(),
            Kind::EndpointSlice => self.endpoint_slices.find(namespace, name).is_some(),
            Kind::Secret => self.secrets.find(namespace, name).is_some(),
            Kind::ConfigMap => self.config_maps.find(namespace, name).is_some(),
            Kind::Namespace => self.namespaces.find(namespace, name).is_some(),
        }
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.ingresses.len()
            + self.ingress_classes.len()
            + self.gateway_classes.len()
            + self.gateways.len()
            + self.http_routes.len()
            + self.reference_grants.len()
            + self.services.len()
            + self.endpoint_slices.len()
            + self.secrets.len()
            + self.config_maps.len()
            + self.namespaces.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A mark of the present state, for [`Objects::changes_since`].
    pub fn cursor(&self) -> Cursor {
        Cursor { container: self.journal.container, position: self.journal.end() }
    }

    /// What was applied or removed since the mark, perhaps more than once, or `None` when that is no longer known: the
    /// mark is of another container, or too much happened since.
    ///
    /// For EndpointSlices the name is that of the Service whose endpoints changed, not that of the slice.
    pub fn changes_since(&self, cursor: Cursor) -> Option<impl Iterator<Item = &ObjectRef>> {
        self.journal.since(cursor)
    }

    fn apply_slice(&mut self, reference: &ObjectRef, slice: Arc<EndpointSlice>) -> Change {
        let before = self.forget_slice(reference);
        let after =
            slice.service().map(|service| (slice.metadata.namespace.clone(), Arc::<str>::from(service)));
        if let Some((namespace, service)) = &after {
            let services = self.slices_by_service.entry(namespace.clone()).or_default();
            let slices = services.entry(service.clone()).or_default();
            let at = slices.partition_point(|other| other.metadata.name < slice.metadata.name);
            slices.insert(at, slice.clone());
        }
        let change = self.endpoint_slices.apply(slice);
        if change != Change::None {
            if before != after {
                self.journal_endpoints(before);
            }
            self.journal_endpoints(after);
        }
        change
    }

    /// Takes the slice off its Service, which is returned.
    fn forget_slice(&mut self, reference: &ObjectRef) -> Option<(Arc<str>, Arc<str>)> {
        let slice = self.endpoint_slices.find(&reference.namespace, &reference.name)?;
        let service = slice.service()?;
        let services = self.slices_by_service.get_mut(&reference.namespace)?;
        if let Some(slices) = services.get_mut(service) {
            slices.retain(|other| other.metadata.name != reference.name);
            if slices.is_empty() {
                services.remove(service);
            }
        }
        Some((reference.namespace.clone(), service.into()))
    }

    fn journal_endpoints(&mut self, service: Option<(Arc<str>, Arc<str>)>) {
        if let Some((namespace, name)) = service {
            self.journal.push(ObjectRef { kind: Kind::EndpointSlice, namespace, name });
        }
    }
}

/// The EndpointSlices of one Service, by name: nearly always one.
type Slices = SmallVec<[Arc<EndpointSlice>; 1]>;

/// The objects of one kind, by namespace and name.
#[derive(Debug)]
pub struct Store<T> {
    namespaces: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<T>>>,
    len: usize,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Store { namespaces: BTreeMap::new(), len: 0 }
    }
}

impl<T> Store<T> {
    /// The object of this name; `namespace` is empty for kinds that stand outside namespaces.
    pub fn find(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.namespaces.get(namespace)?.get(name)
    }

    /// All objects, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.namespaces.values().flat_map(BTreeMap::values)
    }

    /// The objects of one namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<T>> {
        self.namespaces.get(namespace).into_iter().flat_map(BTreeMap::values)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn remove(&mut self, namespace: &str, name: &str) -> bool {
        let Some(objects) = self.namespaces.get_mut(namespace) else { return false };
        let removed = objects.remove(name).is_some();
        self.len -= usize::from(removed);
        if objects.is_empty() {
            self.namespaces.remove(namespace);
        }
        removed
    }
}

impl<T: Stored> Store<T> {
    fn apply(&mut self, mut object: Arc<T>) -> Change {
        // Thousands of objects share a few namespaces, and then also their names.
        if let Some((namespace, _)) = self.namespaces.get_key_value(&object.metadata().namespace)
            && let Some(object) = Arc::get_mut(&mut object)
        {
            object.metadata_mut().namespace = namespace.clone();
        }
        let metadata = object.metadata();
        let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
        let old = self.namespaces.entry(namespace).or_default().insert(name, object.clone());
        match old {
            None => {
                self.len += 1;
                Change::Added
            }
            Some(old) if object.same_but_for_version(&old) => Change::None,
            Some(_) => Change::Updated,
        }
    }
}

/// What the container needs to know of its objects.
pub trait Stored: Clone + PartialEq {
    fn metadata(&self) -> &Metadata;
    fn metadata_mut(&mut self) -> &mut Metadata;

    /// Equal, but perhaps of another resourceVersion, because somebody wrote a status that is not read here.
    fn same_but_for_version(&self, other: &Self) -> bool {
        if self.metadata().resource_version == other.metadata().resource_version {
            return self == other;
        }
        let mut aligned = self.clone();
        aligned.metadata_mut().resource_version = other.metadata().resource_version.clone();
        aligned == *other
    }
}

macro_rules! stored {
    ($($kind:ty),*) => {$(
        impl Stored for $kind {
            fn metadata(&self) -> &Metadata {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut Metadata {
                &mut self.metadata
            }
        }
    )*};
}

stored!(
    Ingress,
    IngressClass,
    GatewayClass,
    Gateway,
    HttpRoute,
    ReferenceGrant,
    Service,
    EndpointSlice,
    Secret,
    ConfigMap,
    Namespace
);

/// A mark in the journal of one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    container: u64,
    position: u64,
}

#[derive(Debug)]
struct Journal {
    container: u64,
    /// Position of the first entry.
    start: u64,
    entries: VecDeque<ObjectRef>,
}

impl Journal {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Journal { container: NEXT.fetch_add(1, Ordering::Relaxed), start: 0, entries: VecDeque::new() }
    }

    fn end(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    fn push(&mut self, reference: ObjectRef) {
        if self.entries.len() == JOURNAL_ENTRIES_MAX {
            self.entries.pop_front();
            self.start += 1;
        }
        self.entries.push_back(reference);
    }

    fn since(&self, cursor: Cursor) -> Option<impl Iterator<Item = &ObjectRef>> {
        let known =
            cursor.container == self.container && (self.start..=self.end()).contains(&cursor.position);
        // The journal is shorter than `usize::MAX`, so the distance fits.
        known.then(|| self.entries.iter().skip((cursor.position - self.start) as usize))
    }
}

fn read<'de, T, D>(kind: Kind, deserializer: D) -> Result<Arc<T>, D::Error>
where
    T: Stored + Deserialize<'de>,
    D: Deserializer<'de>,
{
    let mut object = T::deserialize(deserializer)?;
    let metadata = object.metadata_mut();
    if !kind.is_namespaced() {
        metadata.namespace = "".into();
    } else if metadata.namespace.is_empty() {
        metadata.namespace = NAMESPACE_DEFAULT.into();
    }
    Ok(Arc::new(object))
}

/// Where an object without a namespace stands, as kubectl has it.
pub const NAMESPACE_DEFAULT: &str = "default";

/// How many changes a reader of the journal may lie behind before it starts over.
pub const JOURNAL_ENTRIES_MAX: usize = 4096;

#[cfg(test)]
mod tests;
