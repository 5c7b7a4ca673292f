//! What is running: a table, the settings it was compiled with, and for each socket the listener that serves it.
//!
//! Every worker holds the snapshot through an `Rc` of its own, so that requests on different cores share no counter. The last
//! worker to let go of an old one hands it to the control thread, which pays for freeing it.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::mpsc;

use crate::request::forwarded::{PeerTrust, TrustedProxies};
use crate::route::table::{Listener, ListenerKey, Table};
use crate::settings::Settings;

/// One version of the running configuration. Never changed after it was made.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up from 1 with each published change.
    pub version: u64,
    pub table: Arc<Table>,
    pub settings: Arc<Settings>,
    /// By [`Slot`]; `None` where the listener is gone.
    served: Vec<Option<Served>>,
}

/// A listener with what requests on it need from the settings.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) listener: Arc<Listener>,
    pub(crate) trusted: TrustedProxies,
    /// Peers that must speak the PROXY protocol; empty: nobody does.
    pub(crate) proxy_protocol: Vec<ipnet::IpNet>,
}

impl Served {
    /// True when `address` may carry the connections of many clients: a trusted proxy, or a sender of PROXY headers.
    pub(crate) fn speaks_for_others(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.judge(address) != PeerTrust::Untrusted
            || self.proxy_protocol.iter().any(|network| network.contains(&address))
    }
}

/// A number for a listener that stays the same across snapshots.
pub(crate) type Slot = usize;

/// Gives listeners their slots, for as long as the process lives.
#[derive(Debug, Default)]
pub(crate) struct Slots(Vec<ListenerKey>);

impl Slots {
    pub(crate) fn of(&mut self, key: &ListenerKey) -> Slot {
        self.0.iter().position(|known| known == key).unwrap_or_else(|| {
            self.0.push(key.clone());
            self.0.len() - 1
        })
    }

    /// The listener that has this slot.
    pub(crate) fn key(&self, slot: Slot) -> &ListenerKey {
        &self.0[slot]
    }
}

impl Snapshot {
    /// Puts each listener of `table` into its slot.
    pub(crate) fn new(version: u64, table: Arc<Table>, settings: Arc<Settings>, slots: &mut Slots) -> Self {
        let mut served = Vec::new();
        for listener in &table.listeners {
            let slot = slots.of(&listener.key);
            if served.len() <= slot {
                served.resize_with(slot + 1, || None);
            }
            let trust = settings.trust_on(&listener.key);
            served[slot] = Some(Served {
                listener: Arc::clone(listener),
                trusted: TrustedProxies::new(trust.forwarded, trust.cloudflare),
                proxy_protocol: trust.proxy_protocol,
            });
        }
        Snapshot { version, table, settings, served }
    }

    pub(crate) fn served(&self, slot: Slot) -> Option<&Served> {
        self.served.get(slot)?.as_ref()
    }

    /// The slots that have a listener.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.served.iter().enumerate().filter_map(|(slot, served)| served.as_ref().map(|_| slot))
    }

    /// Every address that should be bound, with the slot whose listener it belongs to.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (Slot, SocketAddr)> {
        self.served.iter().enumerate().flat_map(|(slot, served)| {
            served
                .iter()
                .flat_map(move |served| served.listener.addresses.iter().map(move |address| (slot, *address)))
        })
    }
}

/// One worker's hold on a snapshot.
pub(crate) struct Current {
    snapshot: Option<Arc<Snapshot>>,
    graveyard: mpsc::SyncSender<Arc<Snapshot>>,
}

impl Current {
    pub(crate) fn new(snapshot: Arc<Snapshot>, graveyard: mpsc::SyncSender<Arc<Snapshot>>) -> Self {
        Current { snapshot: Some(snapshot), graveyard }
    }
}

impl Deref for Current {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        // It is taken only by `drop`.
        self.snapshot.as_ref().expect("a live hold has its snapshot")
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            // Without room, or when the thread is gone, freeing here is as good.
            let _ = self.graveyard.try_send(snapshot);
        }
    }
}
