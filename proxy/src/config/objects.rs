//! The objects that were read, as lean types of our own, and the container that holds the current ones.
//!
//! Objects come from files or from an API server by the same road: [`Object::deserialize`] takes any serde deserializer.
//! Only what Vestibule uses is kept. Nothing here judges; `compile` does.

pub mod backend_tls_policy;
pub mod core;
pub mod gateway;
pub mod grpcroute;
pub mod httproute;
pub mod ingress;
pub mod listener_set;
pub mod metadata;
pub mod relay_routes;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer};
use smallvec::SmallVec;

pub use self::backend_tls_policy::BackendTlsPolicy;
pub use self::core::{ConfigMap, EndpointSlice, Namespace, Secret, Service};
pub use self::gateway::{Gateway, GatewayClass, ReferenceGrant};
pub use self::grpcroute::GrpcRoute;
pub use self::httproute::HttpRoute;
pub use self::ingress::{Ingress, IngressClass};
pub use self::listener_set::ListenerSet;
pub use self::metadata::Metadata;
pub use self::relay_routes::{TcpRoute, TlsRoute, UdpRoute};
use super::problem::{Kind, ObjectRef};

/// Makes what has one part for each kind: the kind, its type, which also names it in [`Object`], and its store.
macro_rules! kinds {
    ($($kind:ident $object:ident $store:ident,)*) => {
        /// One object of a kind that Vestibule reads.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Object {
            $($object(Arc<$object>),)*
        }

        impl Object {
            /// Reads one object of this kind. An absent namespace becomes `default`, as kubectl has it; for kinds that
            /// stand outside namespaces it becomes empty.
            pub fn deserialize<'de, D: Deserializer<'de>>(kind: Kind, deserializer: D) -> Result<Object, D::Error> {
                Ok(match kind {
                    $(Kind::$kind => Object::$object(read(kind, deserializer)?),)*
                })
            }

            pub fn kind(&self) -> Kind {
                match self {
                    $(Object::$object(_) => Kind::$kind,)*
                }
            }

            pub fn metadata(&self) -> &Metadata {
                match self {
                    $(Object::$object(object) => &object.metadata,)*
                }
            }
        }

        /// The current objects of every kind, and a journal of what changed last.
        #[derive(Debug)]
        pub struct Objects {
            $(pub $store: Store<$object>,)*
            slices_by_service: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Slices>>,
            journal: Journal,
        }

        impl Objects {
            pub fn new() -> Self {
                Objects {
                    $($store: Store::default(),)*
                    slices_by_service: BTreeMap::new(),
                    journal: Journal::new(),
                }
            }

            /// What the object of this kind and name says of itself, when it is here.
            pub fn metadata_of(&self, reference: &ObjectRef) -> Option<&Metadata> {
                let (namespace, name) = (&*reference.namespace, &*reference.name);
                match reference.kind {
                    $(Kind::$kind => self.$store.find(namespace, name).map(|object| &object.metadata),)*
                }
            }

            /// How many objects there are.
            pub fn len(&self) -> usize {
                [$(self.$store.len(),)*].iter().sum()
            }

            fn put(&mut self, object: Object) -> Change {
                match object {
                    $(Object::$object(object) => self.$store.apply(object),)*
                }
            }

            fn take_out(&mut self, reference: &ObjectRef) -> bool {
                let (namespace, name) = (&*reference.namespace, &*reference.name);
                match reference.kind {
                    $(Kind::$kind => self.$store.remove(namespace, name),)*
                }
            }
        }

        $(impl Stored for $object {
            fn metadata(&self) -> &Metadata {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut Metadata {
                &mut self.metadata
            }
        })*
    };
}

kinds! {
    Ingress Ingress ingresses,
    IngressClass IngressClass ingress_classes,
    GatewayClass GatewayClass gateway_classes,
    Gateway Gateway gateways,
    HTTPRoute HttpRoute http_routes,
    GRPCRoute GrpcRoute grpc_routes,
    TLSRoute TlsRoute tls_routes,
    TCPRoute TcpRoute tcp_routes,
    UDPRoute UdpRoute udp_routes,
    ListenerSet ListenerSet listener_sets,
    BackendTLSPolicy BackendTlsPolicy backend_tls_policies,
    ReferenceGrant ReferenceGrant reference_grants,
    Service Service services,
    EndpointSlice EndpointSlice endpoint_slices,
    Secret Secret secrets,
    ConfigMap ConfigMap config_maps,
    Namespace Namespace namespaces,
}

impl Object {
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

impl Default for Objects {
    fn default() -> Self {
        Self::new()
    }
}

impl Objects {
    /// Adds the object or puts it in the place of the one of the same kind and name.
    pub fn apply(&mut self, object: Object) -> Change {
        let reference = object.reference();
        if let Object::EndpointSlice(slice) = object {
            return self.apply_slice(&reference, slice);
        }
        let change = self.put(object);
        if change != Change::None {
            self.journal.push(reference);
        }
        change
    }

    /// Removes the object; false when there was none.
    pub fn remove(&mut self, reference: &ObjectRef) -> bool {
        if reference.kind == Kind::EndpointSlice {
            let service = self.forget_slice(reference);
            self.journal_endpoints(service);
            return self.take_out(reference);
        }
        let removed = self.take_out(reference);
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
        self.metadata_of(reference).is_some()
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
