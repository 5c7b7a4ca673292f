//! Refusals of our own: the only place that picks one of our status codes.
//!
//! Each variant of [`Reject`] is mapped once, in [`Reject::facts`], to its status, its stable reason (access log,
//! metrics, `why`), its gRPC status and the words a visitor reads. [`page`] turns that into an answer, [`refusals`]
//! remembers the last ones.

pub mod page;
pub mod refusals;
pub mod words;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ::auth::Denied;
use http::{HeaderValue, StatusCode};

use crate::http1::head::HeadError;
use crate::message::BodyError;
use crate::request::target::TargetError;
use crate::workload::trouble::Trouble;

/// Why this edge answers a request itself instead of passing it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    // What the client sent cannot be read. The words are for the log.
    /// The head is not HTTP: start line, field name, field value.
    BadHead(&'static str),
    /// Content-Length, Transfer-Encoding or a chunk cannot be trusted to say where the message ends.
    BadFraming(&'static str),
    HeadTooLarge,
    /// The head did not arrive in time.
    HeadTimeout,
    /// Not HTTP/1.0, HTTP/1.1 or HTTP/2.
    VersionUnsupported,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    ExpectationFailed,
    /// CONNECT, TRACE, or a method that is not known.
    MethodUnsupported,
    /// A known method on one of our own resources that does not take it; the value of Allow.
    MethodNotAllowed(&'static str),
    /// The target is malformed, ambiguous or too long.
    BadTarget(TargetError),

    // There is nothing here for this request.
    /// HTTP/2 on a connection whose TLS name belongs to another listener (RFC 9110 §15.5.20).
    Misdirected,
    HostNotFound,
    RouteNotFound,
    /// An access rule of this route cannot be enforced; the words are for the operator.
    Refused(Arc<str>),
    /// The route is configured to answer this status and nothing else.
    RouteStatus(StatusCode),
    /// The share of traffic this request belongs to has an invalid backend reference.
    BackendInvalid,

    // The client may not, or not so much.
    AddressDenied,
    /// The host asks for a client certificate, and the client showed no good one; the words are for the log.
    ClientCertificate(&'static str),
    /// The subject of the client certificate is none that the host lets in.
    SubjectDenied,
    /// Nobody whom the route's providers know; the challenges that they offer (RFC 9110 §11.6.1).
    Unauthenticated(Vec<HeaderValue>),
    /// Someone who is known and may not.
    Forbidden(Box<Forbidden>),
    /// An authentication server says yes, and not to whom; the words are for the operator.
    Unidentified(Arc<str>),
    /// Nobody can tell who is asking at the moment; the words are for the operator.
    AuthUnavailable(Arc<str>),
    BodyTooLarge,
    /// The body stalled.
    BodyTimeout,
    /// The client ended the body early or broke its framing; nobody is left to read the answer.
    BodyAborted,
    /// This client has too many connections or streams open.
    TooManyConnections,
    /// More requests than the route's limit lets through in its time.
    RateLimited(Exceeded),
    /// More requests under way than the route's limit lets through.
    TooManyAtOnce(Exceeded),

    // The upstream did not deliver.
    NoEndpoints,
    /// What stands behind the route did not wake in time; perhaps why, in words for anyone.
    WakeTimeout(Option<Arc<Trouble>>),
    /// It cannot be woken; the words are for the operator.
    WakeFailed(Arc<str>),
    /// It sleeps, and this request is of a sort that wakes nobody.
    Asleep,
    /// It sleeps by its schedule, for so long.
    AsleepBySchedule(Duration),
    /// As many requests wait for it to wake as may.
    TooManyWaiting,
    ConnectFailed,
    ConnectTimeout,
    /// The certificate or handshake of a TLS backend was not acceptable.
    UpstreamTls,
    /// The upstream's answer breaks the protocol; the words are for the log.
    UpstreamProtocol(&'static str),
    /// The upstream closed or reset before a whole response head.
    UpstreamReset,
    /// The response head, or the next byte, did not come in time.
    UpstreamTimeout,
    /// The route's time for the whole request is over.
    RequestDeadline,
    /// The upstream's answer to an upgrade is neither a switch nor a refusal.
    UpgradeFailed,

    // This edge cannot, now.
    /// A queue, or a bound on requests or connections, is full.
    Overloaded,
    Draining,
    Internal,
}

/// The limit of a route that a request was too much for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// As it was written, for the operator.
    pub rule: Arc<str>,
    /// In place of 429, where the configuration of another controller is taken over.
    pub status: Option<StatusCode>,
    pub retry_after: Option<Duration>,
}

/// Why someone who is known may not enter, as far as it is known here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forbidden {
    /// Whom the provider takes them for; shown to them alone.
    pub who: Option<String>,
    pub denied: Option<Denied>,
}

/// gRPC status codes that a refusal can carry (github.com/grpc/grpc, doc/statuscodes.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GrpcStatus {
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Reject {
    /// The status of the answer; a gRPC client gets 200 with [`Reject::grpc_status`] instead.
    pub fn status(&self) -> StatusCode {
        self.facts().status
    }

    /// A stable label: lower case and `_`; one variant, one label.
    pub fn reason(&self) -> &'static str {
        self.facts().reason
    }

    pub fn grpc_status(&self) -> GrpcStatus {
        self.facts().grpc
    }

    /// When trying again makes sense, for Retry-After.
    pub fn retry_after(&self) -> Option<Duration> {
        self.facts().retry_after
    }

    /// True when an HTTP/1 connection cannot be used any more, because nobody knows where the next request begins, or
    /// because it is to go away.
    pub fn closes_connection(&self) -> bool {
        self.facts().connection == Connection::Close
    }

    /// What the log and `why` tell the operator beyond the reason. Never secret, never shown to visitors.
    pub fn detail(&self) -> Option<String> {
        match self {
            Reject::BadHead(words)
            | Reject::BadFraming(words)
            | Reject::UpstreamProtocol(words)
            | Reject::ClientCertificate(words) => Some((*words).to_owned()),
            Reject::BadTarget(error) => Some(error.to_string()),
            Reject::Refused(words) | Reject::WakeFailed(words) => Some(words.to_string()),
            Reject::WakeTimeout(trouble) => trouble.as_ref().map(ToString::to_string),
            Reject::RouteStatus(status) => Some(format!("the route answers {status}")),
            Reject::MethodNotAllowed(allow) => Some(format!("allowed: {allow}")),
            Reject::RateLimited(exceeded) | Reject::TooManyAtOnce(exceeded) => {
                Some(format!("the limit is {}", exceeded.rule))
            }
            Reject::Unidentified(words) | Reject::AuthUnavailable(words) => Some(words.to_string()),
            Reject::Forbidden(forbidden) => forbidden.detail(),
            Reject::HeadTooLarge
            | Reject::HeadTimeout
            | Reject::VersionUnsupported
            | Reject::ExpectationFailed
            | Reject::MethodUnsupported
            | Reject::Misdirected
            | Reject::HostNotFound
            | Reject::RouteNotFound
            | Reject::BackendInvalid
            | Reject::AddressDenied
            | Reject::SubjectDenied
            | Reject::Unauthenticated(_)
            | Reject::BodyTooLarge
            | Reject::BodyTimeout
            | Reject::BodyAborted
            | Reject::TooManyConnections
            | Reject::NoEndpoints
            | Reject::Asleep
            | Reject::AsleepBySchedule(_)
            | Reject::TooManyWaiting
            | Reject::ConnectFailed
            | Reject::ConnectTimeout
            | Reject::UpstreamTls
            | Reject::UpstreamReset
            | Reject::UpstreamTimeout
            | Reject::RequestDeadline
            | Reject::UpgradeFailed
            | Reject::Overloaded
            | Reject::Draining
            | Reject::Internal => None,
        }
    }

    /// The heading and the sentence a visitor reads.
    pub(crate) fn words(&self) -> (&'static str, &'static str) {
        let facts = self.facts();
        (facts.title, facts.words)
    }

    fn facts(&self) -> Facts {
        use GrpcStatus as Grpc;
        use StatusCode as Status;
        match self {
            Reject::BadHead(_) => bad_request("bad_head").closing(),
            Reject::BadFraming(_) => bad_request("bad_framing").closing(),
            Reject::HeadTooLarge => Facts::new(
                Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head_too_large",
                Grpc::ResourceExhausted,
                "Request too large",
                "Your browser sent more headers than this site takes. Deleting the cookies of this site often helps.",
            )
            .closing(),
            Reject::HeadTimeout => timed_out("head_timeout").closing(),
            Reject::VersionUnsupported => Facts::new(
                Status::HTTP_VERSION_NOT_SUPPORTED,
                "version_unsupported",
                Grpc::Unimplemented,
                "HTTP version not supported",
                "This site speaks HTTP/1.1 and HTTP/2.",
            )
            .closing(),
            Reject::ExpectationFailed => Facts::new(
                Status::EXPECTATION_FAILED,
                "expectation_failed",
                Grpc::Unimplemented,
                "Expectation failed",
                "The request asks for something in its Expect header that this site does not know.",
            )
            .closing(),
            Reject::MethodUnsupported => Facts::new(
                Status::NOT_IMPLEMENTED,
                "method_unsupported",
                Grpc::Unimplemented,
                "Method not supported",
                "This site does not take requests of this kind.",
            )
            .closing(),
            Reject::MethodNotAllowed(_) => Facts::new(
                Status::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                Grpc::Unimplemented,
                "Method not allowed",
                "This address does not take requests of this kind.",
            ),
            Reject::BadTarget(TargetError::TooLong) => Facts::new(
                Status::URI_TOO_LONG,
                "target_too_long",
                Grpc::ResourceExhausted,
                "Address too long",
                "The address of this request is longer than this site takes.",
            )
            .closing(),
            Reject::BadTarget(TargetError::Connect) => Reject::MethodUnsupported.facts(),
            Reject::BadTarget(_) => bad_request("bad_target").closing(),
            Reject::Misdirected => Facts::new(
                Status::MISDIRECTED_REQUEST,
                "misdirected",
                Grpc::Unavailable,
                "Wrong connection",
                "This connection was opened for another site. Reloading the page opens a new one.",
            ),
            Reject::HostNotFound => not_found("host_not_found"),
            Reject::RouteNotFound => not_found("route_not_found"),
            Reject::Refused(_) => unavailable("refused"),
            Reject::RouteStatus(status) => Facts::new(
                *status,
                "route_status",
                Grpc::Unavailable,
                status.canonical_reason().unwrap_or("No answer"),
                "This site has no other answer at this address.",
            ),
            Reject::BackendInvalid => Facts::new(
                Status::INTERNAL_SERVER_ERROR,
                "backend_invalid",
                Grpc::Unavailable,
                "Something is wrong here",
                "This address is not set up correctly. It is not your fault, and trying again will not help.",
            ),
            Reject::AddressDenied => Facts::new(
                Status::FORBIDDEN,
                "address_denied",
                Grpc::PermissionDenied,
                "No access from here",
                "This address is open only to certain networks, and yours is not one of them.",
            ),
            Reject::ClientCertificate(_) => Facts::new(
                Status::BAD_REQUEST,
                "client_certificate",
                Grpc::Unauthenticated,
                "A certificate is needed",
                "This site is only for those whose browser or program shows a certificate that it knows.",
            ),
            Reject::SubjectDenied => Facts::new(
                Status::FORBIDDEN,
                "subject_denied",
                Grpc::PermissionDenied,
                "No access",
                "The certificate that your browser or program shows is none that may open this site.",
            ),
            Reject::Unauthenticated(_) => Facts::new(
                Status::UNAUTHORIZED,
                "unauthenticated",
                Grpc::Unauthenticated,
                "Please sign in",
                "This page is only for people who are signed in.",
            ),
            Reject::Forbidden(_) => Facts::new(
                Status::FORBIDDEN,
                "forbidden",
                Grpc::PermissionDenied,
                "No access",
                "You may not open this page.",
            ),
            Reject::Unidentified(_) => Facts::new(
                Status::FORBIDDEN,
                "unidentified",
                Grpc::PermissionDenied,
                "No access",
                "The sign-in service did not say who you are, so this page stays closed. Signing in again may help.",
            ),
            Reject::AuthUnavailable(_) => Facts::new(
                Status::SERVICE_UNAVAILABLE,
                "auth_unavailable",
                Grpc::Unavailable,
                "Sign-in is not available",
                "This page is only for people who are signed in, and the service that checks this does not answer at \
                 the moment. It is not your fault, and your password is not the cause. Please try again in a minute.",
            )
            .retry(RETRY_LATER),
            Reject::BodyTooLarge => Facts::new(
                Status::PAYLOAD_TOO_LARGE,
                "body_too_large",
                Grpc::ResourceExhausted,
                "Too large",
                "What you sent is larger than this site takes.",
            )
            .closing(),
            Reject::BodyTimeout => timed_out("body_timeout").closing(),
            Reject::BodyAborted => Facts { grpc: Grpc::Aborted, ..bad_request("body_aborted").closing() },
            Reject::TooManyConnections => Facts::new(
                Status::TOO_MANY_REQUESTS,
                "too_many_connections",
                Grpc::ResourceExhausted,
                "Too many connections",
                "Too many connections are open from your network. Please try again in a moment.",
            )
            .retry(RETRY_SOON)
            .closing(),
            Reject::RateLimited(exceeded) => limited("rate_limited", exceeded),
            Reject::TooManyAtOnce(exceeded) => limited("too_many_at_once", exceeded),
            Reject::NoEndpoints => unavailable("no_endpoints").retry(RETRY_LATER),
            Reject::WakeTimeout(_) => Facts::new(
                Status::SERVICE_UNAVAILABLE,
                "wake_timeout",
                Grpc::Unavailable,
                "Still starting",
                "The application behind this address was asleep and takes long to start. Please try again shortly.",
            )
            .retry(RETRY_LATER),
            Reject::WakeFailed(_) => Facts::new(
                Status::SERVICE_UNAVAILABLE,
                "wake_failed",
                Grpc::Unavailable,
                "It does not start",
                "The application behind this address was asleep and could not be started. It is not your fault.",
            )
            .retry(RETRY_WAKE),
            Reject::Asleep => Facts::new(
                Status::SERVICE_UNAVAILABLE,
                "asleep",
                Grpc::Unavailable,
                "Asleep",
                "The application behind this address is asleep. Requests of this sort do not wake it.",
            )
            .retry(RETRY_ASLEEP),
            Reject::AsleepBySchedule(left) => Facts::new(
                Status::SERVICE_UNAVAILABLE,
                "asleep_by_schedule",
                Grpc::Unavailable,
                "Closed at this time",
                "The application behind this address sleeps at this time of day. Please come back later.",
            )
            .retry((*left).max(RETRY_LATER)),
            Reject::TooManyWaiting => Facts::new(
                Status::SERVICE_UNAVAILABLE,
                "too_many_waiting",
                Grpc::ResourceExhausted,
                "Busy",
                "The application behind this address is starting, and many are waiting for it. Please try again shortly.",
            )
            .retry(RETRY_LATER),
            Reject::ConnectFailed => bad_gateway("connect_failed"),
            Reject::ConnectTimeout => gateway_timeout("connect_timeout", Grpc::Unavailable),
            Reject::UpstreamTls => bad_gateway("upstream_tls"),
            Reject::UpstreamProtocol(_) => bad_gateway("upstream_protocol"),
            Reject::UpstreamReset => bad_gateway("upstream_reset"),
            Reject::UpstreamTimeout => gateway_timeout("upstream_timeout", Grpc::DeadlineExceeded),
            Reject::RequestDeadline => gateway_timeout("request_deadline", Grpc::DeadlineExceeded),
            Reject::UpgradeFailed => bad_gateway("upgrade_failed"),
            Reject::Overloaded => Facts::new(
                Status::SERVICE_UNAVAILABLE,
                "overloaded",
                Grpc::Unavailable,
                "Busy",
                "This site has more to do than it can at the moment. Please try again shortly.",
            )
            .retry(RETRY_SOON),
            Reject::Draining => unavailable("draining").retry(RETRY_SOON).closing(),
            Reject::Internal => Facts::new(
                Status::INTERNAL_SERVER_ERROR,
                "internal",
                Grpc::Internal,
                "Something is wrong here",
                "This request could not be answered. It is not your fault.",
            ),
        }
    }
}

impl Forbidden {
    /// For `why`: the rule, never the person.
    fn detail(&self) -> Option<String> {
        Some(match self.denied.as_ref()? {
            Denied::NotAllowed { wanted } => format!("auth-allow asks for {wanted}"),
            Denied::EmailUnverified => "the provider does not vouch for the mail address".to_owned(),
            Denied::Excluded => "auth-deny names this account".to_owned(),
        })
    }
}

impl From<HeadError> for Reject {
    fn from(error: HeadError) -> Self {
        use HeadError as Head;
        match error {
            Head::RequestLine
            | Head::StatusLine
            | Head::Target
            | Head::LineEnd
            | Head::FieldName
            | Head::FieldValue
            | Head::HostMissing
            | Head::HostDuplicate
            | Head::HostInvalid => Reject::BadHead(error.reason()),
            Head::ContentLengthInvalid
            | Head::ContentLengthDuplicate
            | Head::TransferEncodingInvalid
            | Head::TransferEncodingHttp10
            | Head::LengthConflict
            | Head::InterimBody => Reject::BadFraming(error.reason()),
            Head::MethodTooLong | Head::TransferCodingUnknown => Reject::MethodUnsupported,
            Head::TargetTooLong => Reject::BadTarget(TargetError::TooLong),
            Head::Version => Reject::VersionUnsupported,
            Head::HeadTooLarge | Head::FieldsTooMany => Reject::HeadTooLarge,
            Head::ExpectationUnknown => Reject::ExpectationFailed,
        }
    }
}

impl From<TargetError> for Reject {
    fn from(error: TargetError) -> Self {
        Reject::BadTarget(error)
    }
}

impl From<&BodyError> for Reject {
    /// Reads an error of the *request's* body.
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::Sender(_) | BodyError::Receiver | BodyError::TooOld => Reject::BodyAborted,
            BodyError::Stalled => Reject::BodyTimeout,
            BodyError::TooLarge { limit: _ } => Reject::BodyTooLarge,
        }
    }
}

/// All that is fixed about one variant.
struct Facts {
    status: StatusCode,
    reason: &'static str,
    grpc: GrpcStatus,
    title: &'static str,
    words: &'static str,
    retry_after: Option<Duration>,
    connection: Connection,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    Keep,
    Close,
}

impl Facts {
    const fn new(
        status: StatusCode,
        reason: &'static str,
        grpc: GrpcStatus,
        title: &'static str,
        words: &'static str,
    ) -> Self {
        Facts { status, reason, grpc, title, words, retry_after: None, connection: Connection::Keep }
    }

    const fn closing(mut self) -> Self {
        self.connection = Connection::Close;
        self
    }

    const fn retry(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

fn bad_request(reason: &'static str) -> Facts {
    Facts::new(
        StatusCode::BAD_REQUEST,
        reason,
        GrpcStatus::Internal,
        "Bad request",
        "This site could not make sense of the request.",
    )
}

fn timed_out(reason: &'static str) -> Facts {
    Facts::new(
        StatusCode::REQUEST_TIMEOUT,
        reason,
        GrpcStatus::DeadlineExceeded,
        "Too slow",
        "The request did not arrive in time. Please check your connection and try again.",
    )
}

fn not_found(reason: &'static str) -> Facts {
    // gRPC clients expect Unimplemented where no route is (Gateway API, GRPCRoute).
    Facts::new(
        StatusCode::NOT_FOUND,
        reason,
        GrpcStatus::Unimplemented,
        "Not found",
        "There is nothing at this address. Please check how it is spelt.",
    )
}

fn unavailable(reason: &'static str) -> Facts {
    Facts::new(
        StatusCode::SERVICE_UNAVAILABLE,
        reason,
        GrpcStatus::Unavailable,
        "Not available",
        "This site is not available at the moment. It is not your fault; please try again later.",
    )
}

fn limited(reason: &'static str, exceeded: &Exceeded) -> Facts {
    let facts = Facts::new(
        exceeded.status.unwrap_or(StatusCode::TOO_MANY_REQUESTS),
        reason,
        GrpcStatus::ResourceExhausted,
        "Too many requests",
        "More requests came from you than this site takes. Please try again in a moment.",
    );
    Facts { retry_after: exceeded.retry_after, ..facts }
}

fn bad_gateway(reason: &'static str) -> Facts {
    Facts::new(
        StatusCode::BAD_GATEWAY,
        reason,
        GrpcStatus::Unavailable,
        "No answer",
        "The application behind this address did not answer properly. It is not your fault; please try again shortly.",
    )
}

fn gateway_timeout(reason: &'static str, grpc: GrpcStatus) -> Facts {
    Facts::new(
        StatusCode::GATEWAY_TIMEOUT,
        reason,
        grpc,
        "No answer in time",
        "The application behind this address took too long to answer. It is not your fault; please try again shortly.",
    )
}

/// Retry-After where the cause passes in a moment.
const RETRY_SOON: Duration = Duration::from_secs(1);
/// Retry-After where something has to start first.
const RETRY_LATER: Duration = Duration::from_secs(5);
/// Retry-After where somebody has to mend something first.
const RETRY_WAKE: Duration = Duration::from_secs(30);
/// Retry-After for machines that look in and wake nobody.
const RETRY_ASLEEP: Duration = Duration::from_secs(3600);
