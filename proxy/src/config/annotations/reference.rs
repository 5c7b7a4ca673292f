//! The manual's reference of annotations, made from the tables.

use std::fmt::Write as _;

use super::PREFIX;
use super::keys::nginx::{NGINX_KEYS, describe};
use super::keys::{KEYS, Takes};

/// The whole page, in Markdown.
pub fn reference() -> String {
    let mut page = String::from(HEAD);
    for key in KEYS {
        let names: Vec<String> = key.names().map(|name| format!("`{name}`")).collect();
        let on = match key.takes {
            Takes::Ingress => "Ingress",
            Takes::Routes => "routes",
            Takes::Relays => "TCP and TLS routes",
        };
        let guard = if key.guards_access { "yes" } else { "" };
        let (doc, expects) = (cell(key.doc), cell(key.setter.expects()));
        row(&mut page, &[&names.join(", "), on, guard, &expects, &doc]);
    }
    page.push_str(NGINX);
    for key in &NGINX_KEYS {
        let (what, words) = describe(key);
        let guard = if key.guards_access { "yes" } else { "" };
        row(&mut page, &[&format!("`{}`", key.name), guard, what, &cell(&words)]);
    }
    page.push_str(DIFFERENCES);
    page
}

fn row(page: &mut String, cells: &[&str]) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

const _: () = assert!(PREFIX.len() == 14, "the page names the prefix");

const HEAD: &str = "\
# Annotations

This page is made from the tables that the program reads annotations by: `REGENERATE=1 cargo test -p proxy --lib reference`.

## Own keys

Under `vestibule.dev/`, on an Ingress or (where it says \"routes\") also on an HTTPRoute or GRPCRoute. A key that guards access and has a
value that cannot be used refuses all routes of its object; any other key counts as absent then. Both are problems in
`vestibule check`.

| key | on | guards | write | what it does |
|---|---|---|---|---|
";

const NGINX: &str = "
## Keys of ingress-nginx

Under `nginx.ingress.kubernetes.io/`, in classes that take the place of ingress-nginx: those whose settings say `ingressNginx`, and
those whose IngressClass has the controller `k8s.io/ingress-nginx`. In other classes they are not in force, and those that
guard access refuse. All 136 keys of version 1.15 are here:

- *does the same*: what it did there, with the defaults below;
- *needs nothing*: what it asks for is so anyway, or there is nothing to tune;
- *only its default*: other values are problems, and refuse where the key guards access;
- *refused*: a problem with any value, and refuses where the key guards access.

| key | guards | here | what it does, or what to write instead |
|---|---|---|---|
";

const DIFFERENCES: &str = "
### What holds for the whole class

Where an Ingress says nothing: bodies up to 1m (413), `Strict-Transport-Security: max-age=31536000; includeSubDomains` over TLS, 308 to
https where the host has TLS, round robin, three tries, 503 for limits without Retry-After, 5 s to connect and 60 s between
two reads or writes, 301 from `/path` to a rule's `/path/`. The ConfigMap that `ingressNginx.configMap` names changes these:
`proxy-body-size`, `proxy-{connect,read,send}-timeout`, `proxy-next-upstream`, `proxy-next-upstream-{tries,timeout}`, `ssl-redirect`,
`force-ssl-redirect`, `http-redirect-code`, `hsts`, `hsts-{max-age,include-subdomains,preload}`, `limit-{req,conn}-status-code`, `load-balance`,
`service-upstream`, `whitelist-source-range`, `denylist-source-range`, `block-cidrs`, `custom-http-errors`, `add-headers`,
`proxy-set-headers`, and `global-auth-*`, which hold for each Ingress that asks nobody itself. What else stands in it is told in a problem where it
had an effect; what restricted access there and cannot be enforced here closes the class.

### What is different, and why

- A rate limit that cannot be read closes the route; there it is dropped. Whoever wrote it wanted one.
- Expressions are those of RE2 and run in linear time: no look-around and no back references. `use-regex` and
  `rewrite-target` make expressions of the paths of their own Ingress; there they do so for every Ingress of the host, which changes what
  others wrote.
- A path is matched and forwarded in one normalised form; there it is matched decoded and forwarded as it came, and the two
  can be read differently.
- Forwarding headers are believed from networks that `trust` names; there, with `use-forwarded-headers`, from anybody.
- Bodies stream and are not collected first. Only requests without a body, or with one of at most 64 kB, are tried again.
- `ssl-passthrough` needs no flag of the controller, and leads to the endpoints of the Service in place of its ClusterIP. Beside a
  rule for access its connections are closed; there the rules are void.
- On a host with `auth-tls-secret` paths that no Ingress has are answered with 404; there the default backend answers them. Over
  plain HTTP, where no certificate can be shown, such a host sends to https or answers 400; there it answers. `auth-tls-error-page` is a
  URL; an authority that cannot be read closes the host with 503 in place of 403.
- A client that an affinity cookie keeps stays while its endpoint exists, in both modes; there some clients of `balanced` move
  when endpoints are added. A request that its endpoint does not answer is tried at another one.
- The page of `custom-http-errors` is asked for by GET (or HEAD), without the body of the request that failed.
- Requests with more than 64 kB, or a body of unknown length, are not mirrored, unless `mirror-request-body` is off; a slow mirror
  slows nobody.
- Access lists are judged before limits.
";

#[cfg(test)]
mod tests;
