//! A site that people log in to, with a real OpenID provider.

use std::net::SocketAddr;
use std::sync::LazyLock;

use auth::session::KeyRing;

use crate::edge::Edge;
use crate::manifests;
use crate::openid::{Browser, OpenIdProvider};
use crate::upstream::Upstream;

/// The application that most tests open.
pub const APP: &str = "http://app.example";
/// All origins that people may be sent back to.
pub const APPS: [&str; 3] = [APP, "http://other.example", "http://auth.example"];

/// The keys that all replicas of these tests share.
pub static KEYS: LazyLock<String> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "sessions of these tests begin now")]
    let now = jiff::Timestamp::now();
    KeyRing::new(now).expect("random bytes").to_text()
});

/// A provider, an application, and an edge before it.
pub struct Site {
    pub provider: OpenIdProvider,
    pub app: Upstream,
    pub edge: Edge,
    pub yaml: String,
}

impl Site {
    /// `oidc` are further settings of the provider, `annotations` those of the route besides `auth`.
    pub fn new(oidc: &str, annotations: &str) -> Self {
        let mut site = Self::before_start(OpenIdProvider::new(&APPS), oidc, annotations);
        site.provider.start();
        site
    }

    /// The same, with a provider that does not run yet.
    pub fn before_start(provider: OpenIdProvider, oidc: &str, annotations: &str) -> Self {
        Self::with_settings(provider, oidc, annotations, "")
    }

    /// The same, with further settings of the edge.
    pub fn with_settings(provider: OpenIdProvider, oidc: &str, annotations: &str, settings: &str) -> Self {
        let app = Upstream::saying("app");
        let yaml = [
            manifests::settings(&format!(
                "providers:\n  dex:\n    oidc:\n      issuer: {}\n      clientId: edge\n      \
                 clientSecret: {{secretRef: {{namespace: shop, name: client, key: secret}}}}\n      \
                 scopes: [profile, email, groups]\n{oidc}\n{settings}\n",
                provider.issuer()
            )),
            "---\napiVersion: v1\nkind: Secret\nmetadata: {name: client, namespace: shop}\n\
             stringData: {secret: edge-secret-0123456789abcdef0123}\n"
                .to_owned(),
            manifests::site(&format!("auth: dex\n{annotations}"), app.address),
        ]
        .concat();
        let edge = replica(&yaml);
        Site { provider, app, edge, yaml }
    }

    /// A browser that knows nobody.
    pub fn browser(&self) -> Browser {
        browser(self.edge.http())
    }

    /// A browser in which `account` is logged in, at the application's start page.
    #[track_caller]
    pub fn logged_in(&self, account: &str) -> Browser {
        let mut browser = self.browser();
        let form = browser.visit(&format!("{APP}/"));
        let answer = browser.log_in(&form, account);
        assert_eq!(answer.status, 200, "{}: {:#?}", answer.text(), browser.visited);
        browser
    }
}

/// Another edge, with the keys of all.
pub fn replica(yaml: &str) -> Edge {
    let edge = Edge::from_yaml(yaml);
    edge.set_session_keys(&KEYS);
    edge
}

/// A browser for which all applications are at this edge.
pub fn browser(edge: SocketAddr) -> Browser {
    let hosts = ["app.example", "other.example", "auth.example"];
    Browser::new(&hosts.map(|host| (host, edge)))
}
