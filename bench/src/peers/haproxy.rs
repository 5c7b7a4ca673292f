//! HAProxy: one configuration, and hosts in a map.

use super::{Place, Prepared};
use crate::failure::Failure;
use crate::workload::{LIMITED_HOST, PLAIN_HOST, SECURE_HOST, host_name};

/// The whole configuration.
pub(crate) fn prepare(place: &Place<'_>) -> Result<Prepared, Failure> {
    let log = if place.setup.access_log { "log stdout format raw local0" } else { "no log" };
    place.write("haproxy.cfg", &place.fill(HAPROXY).replace("@LOG@", log))?;
    place.write("bench.pem", &format!("{}{}", place.site.certificate, place.site.key))?;
    let named = [PLAIN_HOST, SECURE_HOST, LIMITED_HOST].map(str::to_owned);
    let names = named.into_iter().chain((0..place.setup.hosts).map(host_name));
    let map: String = names.map(|name| format!("{name} forward\n")).collect();
    place.write("hosts.map", &map)?;
    let arguments = ["-db".into(), "-f".into(), place.path("haproxy.cfg")];
    place.one("haproxy", "install it: apt-get install haproxy", &arguments, "-v")
}

const HAPROXY: &str = include_str!("../../peers/haproxy.cfg");
