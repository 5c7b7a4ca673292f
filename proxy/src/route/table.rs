//! The compiled table: per listener, because one host may mean different things on different listeners.

use std::net::SocketAddr;
use std::sync::Arc;

use super::host::{HostPattern, HostTable};

/// All listeners with all their routes.
#[derive(Debug, Default)]
pub struct Table {
    pub listeners: Vec<Arc<Listener>>,
}

/// What identifies a listener across configuration changes, so that its sockets and ticket keys survive them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenerKey {
    /// The plain or the TLS side of an Ingress class.
    Class { class: Arc<str>, tls: bool },
    /// One port of one Gateway.
    Gateway { namespace: Arc<str>, name: Arc<str>, port: u16 },
}

/// One set of sockets with its routes.
#[derive(Debug)]
pub struct Listener {
    pub key: ListenerKey,
    pub addresses: Vec<SocketAddr>,
    /// `None`: plain HTTP.
    pub tls: Option<Arc<crate::tls::ListenerTls>>,
    /// Parts told apart by host name (the listeners of a Gateway that share a port). A request uses the routes of exactly
    /// one of them: the most specific that matches its host. An Ingress class has one section without a host name.
    pub sections: Vec<Section>,
}

/// One isolated part of a listener.
#[derive(Debug)]
pub struct Section {
    /// The Gateway listener's name; empty for a class.
    pub name: Arc<str>,
    /// `None` matches every host.
    pub host: Option<HostPattern>,
    pub hosts: HostTable,
}
