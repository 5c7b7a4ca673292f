use std::path::Path;

use super::*;
use crate::config::compile::Compiler;
use crate::directory::Directory;
use crate::settings::Locality;
use crate::tls::tickets::TicketSecret;

const SETTINGS: &str = "
issuers:
  - name: le
    default: true
    directory: https://ca.test/dir
    domains: [example.com]
    wildcards: ['*.apps.example.com']
    solvers: [{provider: {webhook: {endpoint: 'http://127.0.0.1:1'}}}]
  - name: other
    directory: https://other.test/dir
    solvers: [{provider: {webhook: {endpoint: 'http://127.0.0.1:1'}}}]
";

fn requested_by(manifests: &str) -> Requested {
    requested_with(SETTINGS, manifests)
}

fn requested_with(settings: &str, manifests: &str) -> Requested {
    let settings = Settings::parse(settings, Path::new("vestibule.yaml")).expect("settings");
    let (directory, _) = Directory::from_reader("test", manifests.as_bytes()).expect("manifests");
    let mut compiler = Compiler::new(TicketSecret::new([7; 32]), None, Locality::default());
    let compiled = compiler.compile(directory.objects(), &settings);
    requested(directory.objects(), &settings, &compiled.statuses)
}

fn wanted(requested: &Requested) -> Vec<String> {
    let line = |wanted: &acme::plan::Wanted| {
        let names: Vec<&str> = wanted.names.iter().map(Name::as_str).collect();
        format!("{} {} {}", wanted.id, wanted.issuer, names.join(","))
    };
    requested.plan.wanted.iter().map(line).collect()
}

fn reasons(requested: &Requested) -> Vec<&'static str> {
    requested.problems.iter().map(|problem| problem.reason).collect()
}

/// An Ingress in the namespace `shop`.
fn ingress(annotations: &str, tls: &str, rules: &[&str]) -> String {
    let rules: String = rules
        .iter()
        .map(|host| {
            format!(
                "  - host: '{host}'\n    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, \
                 port: {{number: 80}}}}}}}}]}}\n"
            )
        })
        .collect();
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, namespace: shop, annotations: \
         {{{annotations}}}}}\nspec:\n  tls: [{tls}]\n  rules:\n{rules}"
    )
}

#[test]
fn names_with_tls_that_a_rule_serves_are_asked_for() {
    let tls = "{hosts: [a.example.com, unserved.example.com], secretName: a-tls}, {hosts: [b.example.com]}";
    let requested = requested_by(&ingress("", tls, &["a.example.com", "b.example.com", "plain.example.com"]));
    assert_eq!(
        wanted(&requested),
        ["shop/a-tls le a.example.com", "vestibule/vestibule-le-b.example.com le b.example.com"]
    );
    assert_eq!(reasons(&requested), [""; 0]);
}

#[test]
fn a_wildcard_takes_the_place_of_what_it_covers() {
    let tls = "{hosts: [x.apps.example.com], secretName: x-tls}";
    let requested = requested_by(&ingress("", tls, &["x.apps.example.com"]));
    assert_eq!(
        wanted(&requested),
        ["vestibule/vestibule-le-wildcard-apps.example.com le *.apps.example.com"]
    );
}

#[test]
fn the_annotation_chooses_and_cert_manager_is_left_alone() {
    let tls = "{hosts: [a.example.com], secretName: a-tls}";
    let by = |annotations: &str| wanted(&requested_by(&ingress(annotations, tls, &["a.example.com"])));
    assert_eq!(by("vestibule.dev/issuer: other"), ["shop/a-tls other a.example.com"]);
    assert_eq!(by("vestibule.dev/issuer: none"), [""; 0]);
    assert_eq!(by("cert-manager.io/cluster-issuer: le"), [""; 0]);
    assert_eq!(by("cert-manager.io/issuer: le, vestibule.dev/issuer: le"), [""; 0]);
}

#[test]
fn what_no_issuer_allows_is_a_problem_and_not_an_order() {
    let tls = "{hosts: [bank.test], secretName: a-tls}";
    let requested = requested_by(&ingress("", tls, &["bank.test"]));
    assert_eq!((wanted(&requested), reasons(&requested)), (Vec::new(), vec!["NameNotAllowed"]));
    let requested = requested_by(&ingress("vestibule.dev/issuer: unknown", tls, &["bank.test"]));
    assert_eq!((wanted(&requested), reasons(&requested)), (Vec::new(), vec!["UnknownIssuer"]));
}

#[test]
fn only_secrets_that_may_be_written_are_ordered_for() {
    let tls = "{hosts: [a.example.com], secretName: a-tls}";
    let secret = |metadata: &str| {
        format!(
            "---\napiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: a-tls, namespace: shop, {metadata}}}\n"
        )
    };
    let with = |annotations: &str, metadata: &str| {
        requested_by(&format!("{}{}", ingress(annotations, tls, &["a.example.com"]), secret(metadata)))
    };
    let foreign = with("", "labels: {a: b}");
    assert_eq!((wanted(&foreign), reasons(&foreign)), (Vec::new(), Vec::new()), "a default is no wish");
    let foreign = with("vestibule.dev/issuer: le", "labels: {a: b}");
    assert_eq!((wanted(&foreign), reasons(&foreign)), (Vec::new(), vec!["SecretNotOurs"]));
    let ours = with("", "labels: {vestibule.dev/certificate: managed}");
    assert_eq!((wanted(&ours).len(), ours.seen.len()), (1, 1));
    let left_behind = "annotations: {cert-manager.io/certificate-name: a-tls}";
    assert_eq!(wanted(&with("vestibule.dev/issuer: le", left_behind)).len(), 1);
    assert_eq!(wanted(&with("", left_behind)).len(), 0, "it is taken over only when it is asked for by name");
}

#[test]
fn the_host_of_all_logins_is_asked_for_where_a_rule_serves_it() {
    let settings = format!(
        "{SETTINGS}providers: {{dex: {{oidc: {{issuer: 'https://id.test', clientId: edge, authHost: 'auth.example.com:8443'}}}}}}\n"
    );
    let by = |tls: &str| {
        let yaml = ingress("", tls, &["auth.example.com", "a.example.com"]);
        wanted(&requested_with(&settings, &yaml))
    };
    assert_eq!(by(""), ["vestibule/vestibule-le-auth.example.com le auth.example.com"]);
    assert_eq!(by("{hosts: [auth.example.com], secretName: own}"), ["shop/own le auth.example.com"]);
    assert_eq!(wanted(&requested_with(&settings, &ingress("", "", &["a.example.com"]))), [""; 0]);
}

#[test]
fn listeners_are_asked_for_once_a_route_is_attached() {
    let gateway = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: edge}\n\
        spec:\n  gatewayClassName: vestibule\n  allowedListeners: {namespaces: {from: All}}\n  listeners:\n  \
        - {name: https, port: 443, protocol: HTTPS, hostname: '*.example.com', tls: {certificateRefs: [{name: wild}]}, \
           allowedRoutes: {namespaces: {from: All}}}\n  \
        - {name: apps, port: 443, protocol: HTTPS, hostname: 'a.b.example.com', tls: {certificateRefs: [{name: deep}]}, \
           allowedRoutes: {namespaces: {from: All}}}\n  \
        - {name: any, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: other}]}}\n---\n\
        apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {name: more, namespace: shop}\n\
        spec:\n  parentRef: {name: gw, namespace: edge}\n  listeners:\n  \
        - {name: set, port: 443, protocol: HTTPS, hostname: set.example.com, tls: {certificateRefs: [{name: set}]}}\n";
    let class = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: vestibule}\n\
        spec: {controllerName: vestibule.dev/gateway-controller}\n";
    let route = |namespace: &str, parent: &str, host: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r, namespace: {namespace}}}\n\
             spec: {{hostnames: ['{host}'], parentRefs: [{{{parent}}}], rules: [{{}}]}}\n"
        )
    };
    let by = |routes: &str| wanted(&requested_by(&format!("{class}{gateway}{routes}")));
    assert_eq!(by(""), [""; 0]);
    let to_gateway = "name: gw, namespace: edge";
    assert_eq!(by(&route("shop", to_gateway, "x.example.com")), ["edge/wild le *.example.com"]);
    assert_eq!(by(&route("shop", to_gateway, "a.b.example.com")).len(), 2, "both listeners take it");
    assert_eq!(
        by(&route("shop", "name: gw, namespace: edge, sectionName: apps", "a.b.example.com")),
        ["edge/deep le a.b.example.com"]
    );
    assert_eq!(by(&route("shop", to_gateway, "elsewhere.test")), [""; 0]);
    let to_set = "name: more, kind: ListenerSet";
    assert_eq!(by(&route("shop", to_set, "set.example.com")), ["shop/set le set.example.com"]);
    assert_eq!(
        by(&route("other", "name: more, namespace: shop, kind: ListenerSet", "set.example.com")),
        [""; 0]
    );
}
