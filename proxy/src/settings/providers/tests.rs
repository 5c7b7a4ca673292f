use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse(text, Path::new("vestibule.yaml")).map_err(|error| error.to_string())
}

#[test]
fn a_chain_is_names_in_order() {
    let providers =
        |names: &[&str]| Ok(Chain::Providers(names.iter().map(|name| Arc::from(*name)).collect()));
    assert_eq!(Chain::parse("dex"), providers(&["dex"]));
    assert_eq!(Chain::parse(" jwt, else dex "), providers(&["jwt", "dex"]));
    assert_eq!(Chain::parse("a,b , else c,d"), providers(&["a", "b", "c", "d"]));
    assert_eq!(Chain::parse("none"), Ok(Chain::None));
    assert_eq!(Chain::parse("jwt, else dex").map(|chain| chain.to_string()), Ok("jwt, else dex".into()));
    for (text, error) in [
        ("", ChainError::Name("".into())),
        ("dex,", ChainError::Name("".into())),
        ("Dex", ChainError::Name("Dex".into())),
        ("else dex", ChainError::Name("else dex".into())),
        ("-dex", ChainError::Name("-dex".into())),
        ("a, a", ChainError::Twice("a".into())),
        ("none, else a", ChainError::NoneWithOthers),
        ("a,b,c,d,e", ChainError::TooLong),
    ] {
        assert_eq!(Chain::parse(text), Err(error), "{text}");
    }
    assert!(is_provider_name(&"a".repeat(PROVIDER_NAME_BYTES_MAX)));
    assert!(!is_provider_name(&"a".repeat(PROVIDER_NAME_BYTES_MAX + 1)));
}

#[test]
fn providers_are_read_by_kind() {
    let settings = parse(
        "providers:\n  dex:\n    oidc: {issuer: \"https://dex.example\", clientId: edge, clientSecret: {secretRef: {namespace: a, name: b, key: c}}}\n  \
         old:\n    basic: {users: {file: users.htpasswd}}\n  \
         gate:\n    external: {preset: oauth2-proxy, service: {namespace: auth, name: proxy, port: 80}}\n\
         auth: {provider: \"old, else dex\", allow: \"group:staff\", mandatory: true, optOutNamespaces: [public]}\n",
    )
    .expect("settings");
    assert_eq!(settings.providers.len(), 3);
    assert!(matches!(&settings.providers["gate"], Provider::External(gate)
        if gate.preset == Some(ExternalPreset::Oauth2Proxy) && gate.timeout == EXTERNAL_TIMEOUT));
    assert!(settings.auth.mandatory);
}

#[test]
fn what_contradicts_itself_is_refused_with_its_place() {
    for (text, words) in [
        ("auth: {provider: dex}", "auth.provider: there is no provider `dex`"),
        ("auth: {mandatory: true}", "auth.mandatory"),
        ("auth: {allow: everyone}", "auth.allow"),
        ("auth: {headers: nonsense}", "auth.headers"),
        ("auth: {provider: \"a, a\"}", "stands in the chain twice"),
        ("providers: {none: {basic: {users: {env: U}}}}", "is no name of a provider"),
        ("providers: {a: {external: {}}}", "either `service` or `url`"),
        (
            "providers: {a: {external: {url: \"http://a/\", service: {name: b, port: 1}}}}",
            "either `service` or `url`",
        ),
        ("providers: {a: {external: {url: ftp}}}", "providers.a.external"),
        ("providers: {a: {ldap: {}}}", "ldap"),
        ("providers: {a: {oidc: {issuer: i, clientId: c, clientSecret: hunter2}}}", "never written here"),
        (
            "providers: {a: {oidc: {issuer: i, clientId: c, clientSecret: {secretRef: hunter2}}}}",
            "of a Secret",
        ),
        (
            "providers: {a: {oidc: {issuer: i, clientId: c, clientSecret: {hunter2: x}}}}",
            "never written here",
        ),
        ("providers: {a: {basic: {users: {env: A, file: b}}}}", "never written here"),
        ("classes: [{name: a, http: [\"0.0.0.0:80\"], auth: {provider: b}}]", "classes[0].auth.provider"),
    ] {
        let error = parse(text).map(|_| ()).expect_err(text);
        assert!(error.contains(words), "{text}: {error}");
        assert!(!error.contains("hunter2"), "a secret in an error: {error}");
    }
}
