//! What guards the routes of one object: its own keys, a filter, or the operator's default.

use std::sync::Arc;
use std::time::Duration;

use ::auth::{HeaderRules, Policy};

use super::{Home, OwnPath, Usable, nginx};
use crate::config::annotations::{AuthWords, Reading};
use crate::config::lower::Scope;
use crate::config::problem::Severity;
use crate::request::external::{External, NamePattern};
use crate::route::Refusal;
use crate::route::auth::{Auth, Provider, ProviderKind, ToldBy};
use crate::settings::providers::{AuthDefaults, Chain};

/// What guards the routes of an object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    pub(crate) auth: Option<Arc<Auth>>,
    /// It was written down that nobody has to be known.
    pub(crate) declared_open: bool,
    /// The object says nothing itself: it is the operator's default.
    pub(crate) by_default: bool,
    pub(crate) own_paths: Vec<OwnPath>,
}

/// Who says what guards the object.
enum Chosen {
    Nobody {
        declared: bool,
    },
    /// By name, and whether the operator did it.
    Named(Chain),
    /// By keys of the object itself.
    Own(Box<Usable>),
}

/// What guards the routes of the object that `reading` is of. What cannot be had refuses all of them.
pub(crate) fn guard(scope: &mut Scope<'_>, reading: &mut Reading, defaults: &AuthDefaults) -> Guard {
    let words = reading.annotations.auth.clone();
    let counted = reading.annotations.limits.claims();
    match compile(scope, &words, &counted, defaults) {
        Ok(guard) => guard,
        Err(Fault { key, reason, message }) => {
            let message: Arc<str> = message.into();
            let field =
                key.map_or(String::new(), |key| format!("metadata.annotations['vestibule.dev/{key}']"));
            scope.problem(Severity::Refused, field, reason, message.clone());
            reading.refusal.get_or_insert(Refusal { message });
            Guard::default()
        }
    }
}

/// Why an object's authentication cannot be had.
struct Fault {
    /// The key at fault, without prefix; `None`: the operator's default.
    key: Option<&'static str>,
    reason: &'static str,
    message: String,
}

impl Fault {
    fn new(key: Option<&'static str>, reason: &'static str, message: impl Into<String>) -> Self {
        Fault { key, reason, message: message.into() }
    }
}

/// `counted` are the claims that limits count by.
fn compile(
    scope: &mut Scope<'_>,
    words: &AuthWords,
    counted: &[Arc<str>],
    defaults: &AuthDefaults,
) -> Result<Guard, Fault> {
    let may_opt_out = !defaults.mandatory || defaults.opt_out_namespaces.contains(&scope.source.namespace);
    let chosen = choose(scope, words, defaults)?;
    let (usable, by_default) = match chosen {
        Chosen::Nobody { declared } => {
            if declared && defaults.provider.is_some() && !may_opt_out {
                return Err(mandatory("auth", "`none` is not allowed here"));
            }
            needs_provider(words)?;
            return Ok(Guard { declared_open: declared, ..Guard::default() });
        }
        Chosen::Own(usable) if may_opt_out || defaults.provider.is_none() => (vec![*usable], false),
        Chosen::Own(_) => {
            return Err(mandatory("auth-url", "an authentication of your own is not allowed here"));
        }
        Chosen::Named(Chain::None) => return Ok(Guard::default()),
        Chosen::Named(Chain::Providers(names)) => {
            let key = words.chain.is_some().then_some("auth");
            let mut chain = Vec::with_capacity(names.len());
            for name in &*names {
                let (usable, home) = scope.provider(name).map_err(|error| {
                    Fault::new(key, "ProviderUnusable", format!("the provider `{name}` {error}"))
                })?;
                if home != Home::Operator && !may_opt_out && defaults.provider.is_some() {
                    return Err(mandatory("auth", "a provider of the namespace's own is not allowed here"));
                }
                chain.push(usable);
            }
            (chain, words.chain.is_none())
        }
    };
    if words.skip.is_some() && !may_opt_out {
        return Err(mandatory("auth-skip", "paths without a login are not allowed here"));
    }
    let policy = policy(words, defaults, by_default)?;
    let headers = headers(scope, words, defaults, &usable)?;
    needs_claims(&usable, &policy, headers.as_ref(), counted)?;
    let stream_age = stream_age(words, defaults, may_opt_out);
    Ok(Guard { by_default, ..assemble(usable, policy, headers, (words, stream_age)) })
}

/// What the object asks for, else the operator's default.
fn choose(scope: &mut Scope<'_>, words: &AuthWords, defaults: &AuthDefaults) -> Result<Chosen, Fault> {
    let own = nginx::provider(scope, words)
        .map_err(|(key, message)| Fault::new(Some(key), "ProviderUnusable", message))?;
    match (&words.chain, own) {
        (Some(Chain::None), None) => Ok(Chosen::Nobody { declared: true }),
        (Some(chain), None) => Ok(Chosen::Named(chain.clone())),
        (Some(_), Some(_)) => {
            let message = "`auth` names a provider and other keys define one: write one of the two";
            Err(Fault::new(Some("auth"), "ConflictingAuth", message))
        }
        (None, Some(usable)) => Ok(Chosen::Own(Box::new(usable))),
        (None, None) if words.use_default == Some(false) => Ok(Chosen::Nobody { declared: true }),
        (None, None) => match &defaults.provider {
            Some(Chain::None) | None => Ok(Chosen::Nobody { declared: false }),
            Some(chain) => Ok(Chosen::Named(chain.clone())),
        },
    }
}

/// Rules without anyone who says who is asking would let everyone in, whatever their author thinks.
fn needs_provider(words: &AuthWords) -> Result<(), Fault> {
    let written = [("auth-allow", words.allow.is_some()), ("auth-deny", words.deny.is_some())];
    match written.into_iter().find(|(_, written)| *written) {
        Some((key, _)) => {
            let message = format!("`{key}` needs a provider that says who is asking: name one in `auth`");
            Err(Fault::new(Some(key), "ProviderMissing", message))
        }
        None => Ok(()),
    }
}

/// A claim that no session keeps would be absent at every request: rules that need it would let nobody in, or everybody.
fn needs_claims(
    usable: &[Usable],
    policy: &Policy,
    headers: Option<&HeaderRules>,
    counted: &[Arc<str>],
) -> Result<(), Fault> {
    let by_rules = policy.extra_claims().map(|claim| (None, claim));
    let by_headers =
        headers.into_iter().flat_map(HeaderRules::extra_claims).map(|claim| (Some("auth-headers"), claim));
    let by_limits = counted.iter().map(|claim| (Some("rate-limit"), &**claim));
    let by_limits = by_limits.filter(|(_, claim)| !::auth::identity::has_field(claim));
    for (key, claim) in by_rules.chain(by_headers).chain(by_limits) {
        let lacks = |usable: &&Usable| {
            usable.claims.as_ref().is_some_and(|known| !known.iter().any(|known| known == claim))
        };
        if let Some(provider) = usable.iter().find(lacks) {
            let name = &provider.provider.name;
            let message = format!(
                "the claim `{claim}` is not one that the provider `{name}` says: add it to `keepClaims` of the provider"
            );
            return Err(Fault::new(key, "ClaimUnknown", message));
        }
    }
    Ok(())
}

fn mandatory(key: &'static str, what: &str) -> Fault {
    let message = format!("{what}: the operator has made authentication mandatory (`auth.mandatory`)");
    Fault::new(Some(key), "AuthMandatory", message)
}

/// The rules of the object; those of the operator's default where the object has none and uses the default.
fn policy(words: &AuthWords, defaults: &AuthDefaults, by_default: bool) -> Result<Policy, Fault> {
    let default = defaults.allow.as_deref().filter(|_| by_default);
    let allow = words.allow.as_deref().or(default);
    Policy::parse(allow, words.deny.as_deref(), words.skip.as_deref()).map_err(|error| {
        let message = format!("a rule of the authentication cannot be used: {error}");
        Fault::new(None, "InvalidAuthRule", message)
    })
}

/// How the application is told. External servers do it by themselves, unless it is written down.
fn headers(
    scope: &Scope<'_>,
    words: &AuthWords,
    defaults: &AuthDefaults,
    usable: &[Usable],
) -> Result<Option<HeaderRules>, Fault> {
    let only_external = usable.iter().all(|usable| matches!(usable.provider.kind, ProviderKind::External(_)));
    let Some(text) = words.headers.as_deref().or(defaults.headers.as_deref()) else {
        return Ok((!only_external).then(HeaderRules::default));
    };
    let key = words.headers.is_some().then_some("auth-headers");
    let rules = HeaderRules::parse(text)
        .map_err(|error| Fault::new(key, "InvalidAuthHeaders", format!("`auth-headers`: {error}")))?;
    if rules.is_custom() && words.headers.is_some() {
        let allowed = &scope.settings.auth.custom_headers;
        let strange =
            rules.names().find(|name| !allowed.iter().any(|known| known.eq_ignore_ascii_case(name.as_str())));
        if let Some(name) = strange {
            let message = format!(
                "`auth-headers` sets `{name}`, which the operator has not allowed: use a preset, or add the name to `auth.customHeaders` in the settings"
            );
            return Err(Fault::new(key, "InvalidAuthHeaders", message));
        }
    }
    Ok(Some(rules))
}

/// What the object says, else the operator; what is mandatory can be shortened only.
fn stream_age(words: &AuthWords, defaults: &AuthDefaults, may_opt_out: bool) -> Option<Duration> {
    let some = |age: Duration| (!age.is_zero()).then_some(age);
    let default = some(defaults.stream_age);
    match words.stream_age {
        None => default,
        Some(own) if may_opt_out => some(own),
        Some(own) => some(own).into_iter().chain(default).min(),
    }
}

fn assemble(
    usable: Vec<Usable>,
    policy: Policy,
    headers: Option<HeaderRules>,
    (words, stream_age): (&AuthWords, Option<Duration>),
) -> Guard {
    let mut told_by: Vec<NamePattern> = Vec::new();
    let mut own_paths = Vec::new();
    let mut chain: Vec<Arc<Provider>> = Vec::with_capacity(usable.len());
    for usable in usable {
        told_by.extend(usable.told_by);
        own_paths.extend(usable.own_paths);
        chain.push(usable.provider);
    }
    if let Some(rules) = &headers {
        told_by.extend(rules.names().cloned().map(NamePattern::Exact));
    }
    let auth = Auth {
        chain: chain.into(),
        policy,
        headers,
        satisfy: words.satisfy.unwrap_or_default(),
        told_by: ToldBy::new(&told_by),
        stream_age,
    };
    Guard { auth: Some(Arc::new(auth)), own_paths, ..Guard::default() }
}

impl Guard {
    /// The guard of a rule with a filter `ExternalAuth`: the filter takes the place of the operator's default, and nothing
    /// else may stand beside it.
    pub(crate) fn with_filter(
        scope: &Scope<'_>,
        words: &AuthWords,
        defaults: &AuthDefaults,
        external: External,
    ) -> Result<Arc<Auth>, String> {
        if words.chain.is_some() || words.url.is_some() || words.basic.is_some() {
            return Err("the filter ExternalAuth and the keys of the object both define who may enter: write one of the two".into());
        }
        let may_opt_out =
            !defaults.mandatory || defaults.opt_out_namespaces.contains(&scope.source.namespace);
        if defaults.provider.is_some() && !may_opt_out {
            return Err("an authentication of your own is not allowed here: the operator has made his mandatory (`auth.mandatory`)".into());
        }
        let told_by = match &external.response_headers {
            crate::request::external::Selection::All => ToldBy::default(),
            crate::request::external::Selection::Only(names) => ToldBy::new(names),
        };
        let provider =
            Provider { name: "ExternalAuth".into(), kind: ProviderKind::External(Box::new(external)) };
        let policy = policy(words, &AuthDefaults::default(), false).map_err(|fault| fault.message)?;
        Ok(Arc::new(Auth {
            chain: [Arc::new(provider)].into(),
            policy,
            headers: None,
            satisfy: words.satisfy.unwrap_or_default(),
            told_by,
            stream_age: stream_age(words, defaults, may_opt_out),
        }))
    }
}
