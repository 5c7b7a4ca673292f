#![allow(missing_docs)]
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use proxy::edge::*;
use proxy::settings::Settings;
use proxy::listen::Inherited;
use proxy::access::Writer;
use proxy::config::problem::{Kind, ObjectRef};
use proxy::route::host::HostPattern;
use proxy::route::matches::{Conditions, Precedence, Rule};
use proxy::route::path::HostRoutes;
use proxy::route::table::{HostFallback, HostTable, Listener, Section, ListenerKey, Table};
use proxy::route::{
    Action, AddressRules, HeaderEdits, Limits, Origin, PathPattern, Retry, Rewrite, Route, Timeouts, WeightedBackend,
};
use proxy::upstream::{Backend, BackendKey, BackendProtocol, Balance, EndpointAddress, EndpointSpec};
#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn route(upstream: SocketAddr) -> Route {
    let backend = Backend::new(
        BackendKey {
            namespace: "shop".into(),
            service: "web".into(),
            port: 80,
            protocol: BackendProtocol::Http1,
            tls: None,
            balance: Balance::PowerOfTwo,
        },
        &Default::default(),
    );
    backend.publish(&[EndpointSpec { address: EndpointAddress::Socket(upstream), local: false }]);
    Route {
        origin: Origin {
            object: ObjectRef { kind: Kind::Ingress, namespace: "shop".into(), name: "web".into() },
            rule: 0,
            name: None,
            path: PathPattern::prefix("/").expect("a path"),
        },
        refusal: None,
        action: Action::Forward(vec![WeightedBackend {
            weight: 1,
            backend: Ok(Arc::new(backend)),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
        }]),
        https_redirect: None,
        hsts: None,
        cors: None,
        access: AddressRules::default(),
        limits: Limits { body_bytes_max: None },
        timeouts: Timeouts::default(),
        retry: Retry::default(),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        rewrite: Rewrite::default(), metrics: Default::default(), mirrors: Vec::new(),
    }
}

fn table(upstream: SocketAddr) -> Table {
    let route = Arc::new(route(upstream));
    let routes = HostRoutes::new(vec![Rule {
        path: route.origin.path.clone(),
        conditions: Conditions::default(),
        precedence: Precedence { created: None, object: route.origin.object.clone(), rule: 0, entry: 0 },
        route,
    }]);
    let hosts = HostTable::new([(HostPattern::Any, Arc::new(routes))], HostFallback::Never, None);
    let section = Section { name: "".into(), host: HostPattern::Any, hosts };
    let key = ListenerKey::Class { class: "vestibule".into(), tls: false };
    let any_port = std::env::args().nth(1).unwrap().parse().expect("an address");
    Table { listeners: vec![Arc::new(Listener::new(key, vec![any_port], None, vec![section]))] }
}


fn main() {
    let up: SocketAddr = std::env::args().nth(2).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut settings = Settings::default();
    settings.access_log.format = proxy::settings::AccessLogFormat::Off;
    let settings = Arc::new(settings);
    let (_writer, access) = Writer::start(std::io::sink()).expect("a thread");
    let mut edge = Edge::start(EdgeOptions { workers: NonZeroUsize::MIN, inherited: Inherited::default(), control: runtime.handle().clone(), metrics: Arc::new(proxy::admin::metrics::Metrics::new(1, Arc::default(), jiff::Timestamp::now())), access }, Arc::clone(&settings)).unwrap();
    runtime.block_on(async {
        let f = edge.publish(Arc::new(table(up)), settings).await.1;
        eprintln!("{f:?}");
        std::future::pending::<()>().await;
    });
}
