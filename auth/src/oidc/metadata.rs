//! What is known of a provider: its endpoints and its keys (OpenID Connect Discovery 1.0).

use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm,
    CoreJwsSigningAlgorithm, CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{AdditionalProviderMetadata, AuthUrl, EndSessionUrl, ProviderMetadata, TokenUrl};
use serde::{Deserialize, Serialize};

use super::Settings;
use crate::bearer::Keys;

/// Addresses of a provider's endpoints; `None` where the discovery document is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    pub authorization: Option<String>,
    pub token: Option<String>,
    pub jwks: Option<String>,
    pub userinfo: Option<String>,
    pub end_session: Option<String>,
}

/// A provider as it is known now. Made anew when its keys change.
#[derive(Clone, Debug)]
pub struct Metadata {
    pub(super) authorization: AuthUrl,
    pub(super) token: TokenUrl,
    pub(super) jwks_address: String,
    pub(super) userinfo: Option<String>,
    pub(super) end_session: Option<String>,
    /// Every answer carries `iss` (RFC 9207 §3).
    pub(super) sends_issuer: bool,
    pub(super) algorithms: Vec<CoreJwsSigningAlgorithm>,
    pub(super) jwks: CoreJsonWebKeySet,
    pub(super) keys: Option<Keys>,
}

/// Why a provider's documents cannot be used. Each names what is wrong and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("the discovery document is not what OpenID Connect Discovery says: {0}")]
    Form(String),
    #[error(
        "the discovery document is that of {found}, and the issuer is {expected}: they must agree byte for byte"
    )]
    Issuer { found: String, expected: String },
    #[error("the endpoint `{name}` is missing: give it in `endpoints`")]
    Missing { name: &'static str },
    #[error("the endpoint `{name}` is no http(s) address: {address}")]
    Address { name: &'static str, address: String },
    #[error(
        "the provider signs with none of the algorithms that are taken here (RS, PS, ES256, ES384, EdDSA)"
    )]
    Algorithms,
    #[error("the set of keys is not JSON as RFC 7517 has it: {0}")]
    Keys(String),
}

/// What the document says beyond what the library knows.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct More {
    end_session_endpoint: Option<EndSessionUrl>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for More {}

type Document = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// Where the discovery document is (OpenID Connect Discovery §4), or `None` when every endpoint that is needed is given.
pub fn discovery_address(settings: &Settings) -> Option<String> {
    let given = &settings.endpoints;
    if given.authorization.is_some() && given.token.is_some() && given.jwks.is_some() {
        return None;
    }
    let issuer = settings.issuer.trim_end_matches('/');
    Some(format!("{issuer}/.well-known/openid-configuration"))
}

impl Metadata {
    /// Reads the discovery document; without one, the settings must say everything. The keys come later.
    pub fn parse(document: Option<&[u8]>, settings: &Settings) -> Result<Self, MetadataError> {
        let document: Option<Document> = document
            .map(serde_json::from_slice)
            .transpose()
            .map_err(|error| MetadataError::Form(error.to_string()))?;
        if let Some(document) = &document
            && document.issuer().as_str() != settings.issuer
        {
            let found = document.issuer().to_string();
            return Err(MetadataError::Issuer { found, expected: settings.issuer.clone() });
        }
        let given = &settings.endpoints;
        let document = document.as_ref();
        let more = document.map(Document::additional_metadata);
        let authorization = given
            .authorization
            .clone()
            .or(document.map(|document| document.authorization_endpoint().to_string()))
            .ok_or(MetadataError::Missing { name: "authorization" })?;
        let token = given
            .token
            .clone()
            .or(document.and_then(|document| document.token_endpoint().map(ToString::to_string)))
            .ok_or(MetadataError::Missing { name: "token" })?;
        let jwks_address = given
            .jwks
            .clone()
            .or(document.map(|document| document.jwks_uri().to_string()))
            .ok_or(MetadataError::Missing { name: "jwks" })?;
        let userinfo = given
            .userinfo
            .clone()
            .or(document.and_then(|document| document.userinfo_endpoint().map(ToString::to_string)));
        let end_session = given
            .end_session
            .clone()
            .or(more.and_then(|more| more.end_session_endpoint.as_ref().map(ToString::to_string)));
        let known: [(&'static str, Option<&String>); 5] = [
            ("authorization", Some(&authorization)),
            ("token", Some(&token)),
            ("jwks", Some(&jwks_address)),
            ("userinfo", userinfo.as_ref()),
            ("endSession", end_session.as_ref()),
        ];
        for (name, address) in known {
            if let Some(address) = address.filter(|address| !is_http(address)) {
                return Err(MetadataError::Address { name, address: address.clone() });
            }
        }
        let algorithms: Vec<CoreJwsSigningAlgorithm> = match document {
            Some(document) => {
                let offered = document.id_token_signing_alg_values_supported();
                offered.iter().filter(|offered| is_taken(offered, settings)).cloned().collect()
            }
            None => ASYMMETRIC.to_vec(),
        };
        if algorithms.is_empty() {
            return Err(MetadataError::Algorithms);
        }
        let wrong =
            |name: &'static str, address: &str| MetadataError::Address { name, address: address.to_owned() };
        Ok(Metadata {
            authorization: AuthUrl::new(authorization.clone())
                .map_err(|_| wrong("authorization", &authorization))?,
            token: TokenUrl::new(token.clone()).map_err(|_| wrong("token", &token))?,
            jwks_address,
            userinfo,
            end_session,
            sends_issuer: more.is_some_and(|more| more.authorization_response_iss_parameter_supported),
            algorithms,
            jwks: CoreJsonWebKeySet::new(Vec::new()),
            keys: None,
        })
    }

    /// Where the keys are.
    pub fn jwks_address(&self) -> &str {
        &self.jwks_address
    }

    /// Puts the keys of this document in the place of those that are known.
    pub fn set_keys(&mut self, document: &[u8]) -> Result<(), MetadataError> {
        let wrong = |error: serde_json::Error| MetadataError::Keys(error.to_string());
        self.jwks = serde_json::from_slice(document).map_err(wrong)?;
        // Without a usable key a shared secret may still sign: the verifier knows.
        self.keys = Keys::parse(document).ok();
        Ok(())
    }

    /// The keys as bearer and logout tokens are judged by.
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }
}

fn is_http(address: &str) -> bool {
    openidconnect::url::Url::parse(address).is_ok_and(|url| {
        matches!(url.scheme(), "https" | "http") && url.has_host() && url.username().is_empty()
    })
}

/// A shared secret signs only where there is one, and the provider says that it does so.
fn is_taken(algorithm: &CoreJwsSigningAlgorithm, settings: &Settings) -> bool {
    match algorithm {
        CoreJwsSigningAlgorithm::HmacSha256
        | CoreJwsSigningAlgorithm::HmacSha384
        | CoreJwsSigningAlgorithm::HmacSha512 => settings.client_secret.is_some(),
        other => ASYMMETRIC.contains(other),
    }
}

const ASYMMETRIC: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
];
