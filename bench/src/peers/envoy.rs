//! Envoy: one static configuration, one worker.

use super::{Place, Prepared};
use crate::failure::Failure;
use crate::workload::host_name;

/// The whole configuration; each generated host is a virtual host, as it would be in a cluster.
pub(crate) fn prepare(place: &Place<'_>) -> Result<Prepared, Failure> {
    let hosts: String =
        (0..place.setup.hosts).map(|number| HOST.replace("@HOST@", &host_name(number))).collect();
    let log = if place.setup.access_log { LOG } else { "" };
    place.write("envoy.yaml", &place.fill(ENVOY).replace("@HOSTS@", &hosts).replace("@LOG_PLAIN@", log))?;
    place.write("bench.crt", &place.site.certificate)?;
    place.write("bench.key", &place.site.key)?;
    let arguments = [
        "-c".into(),
        place.path("envoy.yaml"),
        "--concurrency".into(),
        "1".into(),
        "--log-level".into(),
        "error".into(),
        "--use-dynamic-base-id".into(),
    ];
    place.one("envoy", "install it: bench/run --peers envoy", &arguments, "--version")
}

const ENVOY: &str = include_str!("../../peers/envoy.yaml");
const HOST: &str = "
                    - name: @HOST@
                      domains: [\"@HOST@\"]
                      routes: [{ match: { prefix: / }, route: { cluster: backend, timeout: 0s } }]";
const LOG: &str = "
                access_log:
                  - name: file
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
                      path: /dev/null
                      log_format:
                        json_format: { method: \"%REQ(:METHOD)%\", path: \"%REQ(:PATH)%\", status: \"%RESPONSE_CODE%\", bytes: \"%BYTES_SENT%\", duration: \"%DURATION%\", client: \"%DOWNSTREAM_REMOTE_ADDRESS%\", upstream: \"%UPSTREAM_HOST%\" }";
