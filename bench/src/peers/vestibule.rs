//! Vestibule: a settings file and a directory of manifests.

use std::fs;
use std::path::Path;

use auth::identity::Identity;
use auth::session::{Cookies, KeyRing, Lifetimes, SameSite, Session, Transport};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{Command, Place, Prepared};
use crate::child;
use crate::failure::{Doing, Failure};
use crate::target::free_address;
use crate::workload::{GUARDED_HOST, host_name};

/// Settings, manifests, and a key ring with which a session is sealed, as after a login.
pub(crate) fn prepare(place: &Place<'_>, binary: &Path) -> Result<Prepared, Failure> {
    let format = if place.setup.access_log { "json" } else { "off" };
    let settings =
        place.fill(SETTINGS).replace("@ADMIN@", &free_address()?.to_string()).replace("@LOG@", format);
    place.write("vestibule.yaml", &settings)?;
    let manifests = place.path("manifests");
    fs::create_dir(&manifests).doing(|| format!("create {manifests}"))?;
    let base = place
        .fill(BASE)
        .replace("@CERTIFICATE@", &BASE64_STANDARD.encode(&place.site.certificate))
        .replace("@KEY@", &BASE64_STANDARD.encode(&place.site.key));
    place.write("manifests/base.yaml", &base)?;
    let hosts = place.setup.hosts;
    for first in (0..hosts).step_by(HOSTS_PER_FILE) {
        let numbers = first..hosts.min(first + HOSTS_PER_FILE);
        let text: String = numbers.map(|number| host(&host_name(number))).collect();
        place.write(&format!("manifests/hosts-{first}.yaml"), &text)?;
    }
    let cookie = signed_in(place)?;
    let arguments =
        ["serve".into(), "--manifests".into(), manifests, "--settings".into(), place.path("vestibule.yaml")];
    let mend = "build it: cargo build --release -p proxy";
    let command = Command { binary: binary.into(), arguments: arguments.into(), mend };
    Ok(Prepared {
        commands: vec![command],
        version: child::version(binary, "--version"),
        cookie: Some(cookie),
    })
}

/// The manifest of one host.
pub(crate) fn host(name: &str) -> String {
    HOST.replace("@HOST@", name)
}

/// Writes the key ring, and seals a session of about 600 bytes with it; the cookie as browsers send it.
fn signed_in(place: &Place<'_>) -> Result<String, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::Load(format!("no session could be sealed: {error}"));
    let now = crate::now();
    let ring = KeyRing::new(now).map_err(|error| failed(&error))?;
    place.write("session-keys.json", &ring.to_text())?;
    let identity = Identity {
        subject: "d7f0c7f6-2c53-4b1a-9d0e-5a8a7f3b6c21".into(),
        user: "visitor".into(),
        name: Some("A Visitor".into()),
        email: Some("visitor@bench.test".into()),
        email_verified: true,
        groups: (0..GROUPS).map(|number| format!("department-of-figures-{number}")).collect(),
        claims: Default::default(),
    };
    let session = Session::begin(identity, None, &Lifetimes::default(), now);
    let cookies = Cookies::new(PROVIDER, None, SameSite::default());
    let none = http::HeaderMap::new();
    let written = cookies.write(&ring, &session, &none, Transport::Plain, GUARDED_HOST, now);
    let written = written.map_err(|error| failed(&error))?;
    let value = written.first().and_then(|value| value.to_str().ok()?.split(';').next());
    value.map(str::to_owned).ok_or_else(|| failed(&"there is no cookie"))
}

const SETTINGS: &str = include_str!("../../peers/vestibule.yaml");
const BASE: &str = include_str!("../../peers/vestibule-base.yaml");
const HOST: &str = include_str!("../../peers/vestibule-host.yaml");
/// Name, issuer and client of the provider in the settings, as `auth::oidc::Settings::key` writes them: sessions are bound to
/// it. Nobody is asked there.
const PROVIDER: &str = "bench\nhttps://provider.bench.test\nbench";
const GROUPS: usize = 12;
const HOSTS_PER_FILE: usize = 100;
