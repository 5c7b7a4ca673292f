//! nginx: one configuration, one worker.

use std::net::SocketAddr;

use super::{Place, Prepared};
use crate::failure::Failure;
use crate::workload::host_name;

/// The whole configuration; more hosts are in a file of their own, as is the one that changes.
pub(crate) fn prepare(place: &Place<'_>) -> Result<Prepared, Failure> {
    configure(place, NGINX)?;
    place.one("nginx", MEND, &arguments(place), "-v")
}

/// The server of one host.
pub(crate) fn host(name: &str, plain: SocketAddr) -> String {
    HOST.replace("@HOST@", name).replace("@PLAIN@", &plain.to_string())
}

/// Writes `template` and what it includes.
pub(super) fn configure(place: &Place<'_>, template: &str) -> Result<(), Failure> {
    // With root's privileges the worker would become nobody, who cannot reach its files.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let log = if place.setup.access_log { "/dev/null json" } else { "off" };
    place.write("nginx.conf", &place.fill(template).replace("@USER@", user).replace("@LOG@", log))?;
    place.write("bench.crt", &place.site.certificate)?;
    place.write("bench.key", &place.site.key)?;
    let servers: String =
        (0..place.setup.hosts).map(|number| host(&host_name(number), place.plain)).collect();
    place.write("hosts.conf", &servers)?;
    place.write("added.conf", "")
}

/// Its command line.
pub(super) fn arguments(place: &Place<'_>) -> [String; 6] {
    let directory = place.directory.display().to_string();
    ["-p".into(), directory, "-c".into(), "nginx.conf".into(), "-e".into(), "stderr".into()]
}

pub(super) const MEND: &str = "install it: apt-get install nginx-light";
const NGINX: &str = include_str!("../../peers/nginx.conf");
const HOST: &str = include_str!("../../peers/nginx-host.conf");
