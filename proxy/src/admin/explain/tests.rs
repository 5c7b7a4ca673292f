use super::*;
use crate::route::challenges::Challenges;
use crate::route::client_certificates::{ClientCertificates, Demand};
use crate::route::fixtures;
use crate::route::host::{HostPattern, WildcardLabels};
use crate::route::path::HostRoutes;
use crate::route::table::{HostFallback, HostTable, Section};
use crate::route::{AddressRules, Handling, Refusal, RegexPattern};

fn question(url: &str) -> Question {
    Question::parse(url, "GET", &[], None).unwrap()
}

/// One plain listener with one host and one route under `/cart`.
fn table(change: impl FnOnce(&mut Route)) -> Table {
    let mut rule = fixtures::rule("shop", fixtures::prefix("/cart"));
    change(Arc::get_mut(&mut rule.route).unwrap());
    let host = HostPattern::parse("shop.example", WildcardLabels::One).unwrap();
    let hosts = HostTable::new([(host, HostRoutes::new(vec![rule]))], HostFallback::Never, None);
    let section = Section { name: "".into(), host: HostPattern::Any, hosts };
    let key = ListenerKey::Class { class: "vestibule".into(), tls: false };
    let listener = Listener::new(key, vec!["127.0.0.1:8080".parse().unwrap()], None, vec![section]);
    Table { listeners: vec![Arc::new(listener)], challenges: None }
}

fn by(table: &Table) -> Grounds<'_> {
    static DEFAULTS: std::sync::LazyLock<Settings> = std::sync::LazyLock::new(Settings::default);
    Grounds { table, settings: &DEFAULTS, bound: &[] }
}

fn answer_of(table: &Table, question: &Question) -> String {
    let report = explain(by(table), question);
    assert_eq!(report.refused, None);
    assert_eq!(report.listeners.len(), 1);
    report.listeners[0].answer.clone()
}

#[test]
fn urls_headers_and_addresses_are_read() {
    let question =
        Question::parse("HTTPS://Shop.example:8443/a?b#c", "POST", &["X-A: b".into()], Some("::1")).unwrap();
    assert_eq!(question.scheme, Scheme::Https);
    assert_eq!((question.port, &*question.target), (Some(8443), &b"/a?b"[..]));
    assert_eq!(question.headers["x-a"], "b");
    assert_eq!(Question::parse("shop.example?x", "GET", &[], None).unwrap().target, "/?x");
    for url in ["", "ftp://a/", "http://", "http://a b/", "https:///x"] {
        assert!(Question::parse(url, "GET", &[], None).is_err(), "{url}");
    }
    assert!(Question::parse("a", "G T", &[], None).is_err());
    assert!(Question::parse("a", "GET", &["nonsense".into()], None).is_err());
    assert!(Question::parse("a", "GET", &[], Some("me")).is_err());
}

#[test]
fn what_a_ca_asks_is_answered_before_routes_or_said_to_be_left_to_them() {
    let mut table = table(|_| {});
    let ask = |table: &Table, host: &str| {
        let url = format!("http://{host}/.well-known/acme-challenge/token");
        let mut report = explain(by(table), &question(&url));
        let is_served = report.is_served();
        let listener = report.listeners.remove(0);
        let verdict = listener.verdicts.into_iter().find(|verdict| verdict.step == "challenge");
        (listener.answer, verdict.expect("a verdict").passes, is_served)
    };
    assert_eq!(ask(&table, "shop.example"), ("404 route_not_found".into(), true, false));
    table.challenges = Challenges::new([("shop.example".into(), "print".into())]);
    assert_eq!(ask(&table, "shop.example"), ("200 with the proof for the CA".into(), false, true));
    assert_eq!(ask(&table, "other.example"), ("404 host_not_found".into(), true, false));
    let report = explain(by(&table), &question("http://shop.example/cart"));
    assert!(report.listeners[0].verdicts.iter().all(|verdict| verdict.step != "challenge"));
}

#[test]
fn plain_http_cannot_show_a_client_certificate() {
    let certificates = ClientCertificates {
        demand: Demand::Required,
        subject: Some(RegexPattern::search("CN=ada").unwrap()),
        passes_certificate: false,
        error_page: None,
    };
    let handling = Handling { client_certificates: Some(Arc::new(certificates)), ..Handling::default() };
    let table = table(|route| route.handling = Arc::new(handling.clone()));
    assert_eq!(answer_of(&table, &question("http://shop.example/cart")), "400 client_certificate");
    let report = explain(by(&table), &question("http://shop.example/cart"));
    let last = report.listeners[0].verdicts.last().expect("a verdict");
    assert_eq!((last.step.as_str(), last.passes), ("access", false));
}

#[test]
fn the_steps_lead_to_the_answer() {
    let table = table(|_| {});
    assert_eq!(answer_of(&table, &question("http://shop.example/cart/1")), "200 route_status");
    assert_eq!(answer_of(&table, &question("http://shop.example/other")), "404 route_not_found");
    assert_eq!(answer_of(&table, &question("http://other.example/cart")), "404 host_not_found");
    let report = explain(by(&table), &question("http://SHOP.example/x/../cart"));
    assert_eq!(report.request, "GET http://shop.example/cart");
    assert_eq!(report.listeners[0].route.as_deref(), Some("HTTPRoute default/shop rule 0"));
}

#[test]
fn what_is_ambiguous_is_refused_before_any_listener() {
    let report = explain(by(&table(|_| {})), &question("http://shop.example/a%2fb"));
    assert!(report.listeners.is_empty());
    assert!(report.refused.unwrap().text.contains("400"));
    let report = explain(by(&table(|_| {})), &question("https://shop.example/"));
    assert_eq!(report.refused.unwrap().text, "no listener speaks https");
}

#[test]
fn refusal_redirect_and_access_end_the_request() {
    let refused = table(|route| route.refusal = Some(Refusal { message: "the key is wrong".into() }));
    assert_eq!(answer_of(&refused, &question("http://shop.example/cart")), "503 refused");
    let redirected = table(|route| {
        route.https_redirect =
            Some(crate::route::HttpsRedirect { status: http::StatusCode::PERMANENT_REDIRECT, port: None });
    });
    let answer = answer_of(&redirected, &question("http://shop.example/cart?x"));
    assert_eq!(answer, "308 to https://shop.example/cart?x");
    let private = table(|route| {
        Arc::make_mut(&mut route.handling).access =
            AddressRules { allow: vec!["10.0.0.0/8".parse().unwrap()], deny: Vec::new() };
    });
    let from = |client| Question::parse("http://shop.example/cart", "GET", &[], Some(client)).unwrap();
    assert_eq!(answer_of(&private, &from("192.0.2.1")), "403 address_denied");
    assert_eq!(answer_of(&private, &from("10.1.1.1")), "200 route_status");
}

#[test]
fn a_port_chooses_among_listeners_and_an_unknown_one_does_not() {
    let table = table(|_| {});
    assert_eq!(answer_of(&table, &question("http://shop.example:8080/cart")), "200 route_status");
    assert_eq!(answer_of(&table, &question("http://shop.example:80/cart")), "200 route_status");
}

#[test]
fn a_route_that_refuses_is_not_served_and_a_redirect_is() {
    let asked = question("http://shop.example/cart");
    let refusing = table(|route| route.refusal = Some(Refusal { message: "no Secret shop/users".into() }));
    assert!(!explain(by(&refusing), &asked).is_served());
    assert!(explain(by(&table(|_| {})), &asked).is_served());
    assert!(!explain(by(&Table::default()), &asked).is_served());
}

#[test]
fn the_settings_decide_on_an_encoded_slash_here_too() {
    let (table, mut settings) = (table(|_| {}), Settings::default());
    settings.requests.encoded_slash = crate::request::target::EncodedSlash::Keep;
    let grounds = Grounds { settings: &settings, ..by(&table) };
    assert_eq!(explain(grounds, &question("http://shop.example/cart/a%2fb")).refused, None);
}

#[test]
fn a_port_that_was_left_to_the_system_is_the_one_that_is_bound() {
    let table = table(|_| {});
    let listener = &table.listeners[0];
    let wanted = listener.addresses[0];
    let actual = SocketAddr::new(wanted.ip(), 41_234);
    let bound = [Bound { listener: listener.key.clone(), wanted, actual }];
    let report =
        explain(Grounds { bound: &bound, ..by(&table) }, &question("http://shop.example:41234/cart"));
    assert_eq!(report.listeners[0].addresses, ["127.0.0.1:41234"]);
}

#[test]
fn who_has_to_be_known_is_a_step() {
    use ::auth::Policy;
    use ::auth::basic::Users;

    use crate::request::identity::passwords::{Basic, Listed};
    use crate::route::auth::{Auth, Provider, ProviderKind, Satisfy, ToldBy};

    let guarded = |satisfy| {
        let users =
            Users::parse("ada:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/", ::auth::Texts::default()).unwrap();
        let challenge = HeaderValue::from_static("Basic");
        let kind = ProviderKind::Basic(Basic { users: Arc::new(Listed(users)), challenge });
        let auth = Auth {
            chain: [Arc::new(Provider { name: "house".into(), kind })].into(),
            policy: Policy::parse(None, None, Some("GET /cart/open")).unwrap(),
            headers: None,
            satisfy,
            told_by: ToldBy::default(),
            stream_age: None,
        };
        table(move |route| {
            let handling = Arc::make_mut(&mut route.handling);
            handling.auth = Some(Arc::new(auth));
            handling.access = AddressRules { allow: vec!["10.0.0.0/8".parse().unwrap()], deny: Vec::new() };
        })
    };
    let step = |satisfy, url, client: &str| {
        let question = Question::parse(url, "GET", &[], Some(client)).unwrap();
        let report = explain(by(&guarded(satisfy)), &question);
        let verdicts = &report.listeners[0].verdicts;
        verdicts.iter().find(|verdict| verdict.step == "auth").map(|verdict| verdict.text.clone())
    };
    let asked = step(Satisfy::All, "http://shop.example/cart", "10.1.1.1");
    assert_eq!(asked.as_deref(), Some("house is asked who it is"));
    let skipped = step(Satisfy::All, "http://shop.example/cart/open?x", "10.1.1.1").unwrap();
    assert!(skipped.contains("auth-skip"), "{skipped}");
    assert_eq!(step(Satisfy::Any, "http://shop.example/cart", "10.1.1.1"), None);
    let elsewhere = step(Satisfy::Any, "http://shop.example/cart", "192.0.2.1").unwrap();
    assert!(elsewhere.contains("satisfy: any"), "{elsewhere}");
}
