//! Caddy: one Caddyfile.

use super::{Place, Prepared};
use crate::failure::Failure;

/// The whole configuration.
pub(crate) fn prepare(place: &Place<'_>) -> Result<Prepared, Failure> {
    let log = if place.setup.access_log { "log {\n\t\toutput file /dev/null\n\t}" } else { "" };
    place.write("Caddyfile", &place.fill(CADDY).replace("@LOG@", log))?;
    place.write("bench.crt", &place.site.certificate)?;
    place.write("bench.key", &place.site.key)?;
    let arguments =
        ["run".into(), "--config".into(), place.path("Caddyfile"), "--adapter".into(), "caddyfile".into()];
    place.one("caddy", "build it: bench/run --peers caddy", &arguments, "version")
}

const CADDY: &str = include_str!("../../peers/Caddyfile");
