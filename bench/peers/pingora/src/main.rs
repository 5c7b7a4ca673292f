//! A reverse proxy on Pingora's crates: one backend, one worker, with and without TLS.
//!
//!     bench-pingora PLAIN TLS BACKEND CERTIFICATE KEY

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::apps::HttpServerOptions;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Forward {
    backend: String,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.backend.as_str(), false, String::new())))
    }

    /// What an ingress controller tells the application.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut pingora_http::RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            let client = client.ip().to_string();
            request.insert_header("X-Real-IP", &client)?;
            request.insert_header("X-Forwarded-For", &client)?;
        }
        request.insert_header("X-Forwarded-Proto", "http")
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [plain, tls, backend, certificate, key] = arguments.as_slice() else {
        return Err("usage: bench-pingora PLAIN TLS BACKEND CERTIFICATE KEY".into());
    };
    let settings = ServerConf { threads: 1, upstream_keepalive_pool_size: 256, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, settings);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Forward { backend: backend.clone() });
    let mut options = HttpServerOptions::default();
    options.keepalive_request_limit = None;
    if let Some(app) = service.app_logic_mut() {
        app.server_options = Some(options);
    }
    service.add_tcp(plain);
    let mut secure = TlsSettings::intermediate(certificate, key)?;
    secure.enable_h2();
    service.add_tls_with_settings(tls, None, secure);
    server.add_service(service);
    server.run_forever()
}
