//! The HTTP client of everything that speaks to CAs and DNS providers: that of the control runtime, with their patience.

use std::sync::Arc;
use std::time::Duration;

use acme::http::{BoxFuture, Http, HttpError};
use bytes::Bytes;
use http::{Request, Response};
use tokio::runtime::Handle;

use crate::fetch::{FetchError, Fetcher, Route};
use crate::tls::upstream::system_verifier;

/// Verifies servers by the system's authorities, or by those that it is given.
#[derive(Clone)]
pub(crate) struct Client {
    fetcher: Arc<Fetcher>,
}

impl Client {
    /// `authorities` is PEM; `None` means those of the system. Needs a running tokio runtime.
    pub(crate) fn new(authorities: Option<&[u8]>) -> Result<Client, FetchError> {
        let fetcher = Fetcher::new(Handle::current()).patient(EXCHANGE_TIMEOUT);
        let fetcher = match authorities {
            Some(pem) => fetcher.trusting(pem)?,
            // Where they cannot be read, that is told of the issuer and not of its CA.
            None => system_verifier().map(|_| fetcher)?,
        };
        Ok(Client { fetcher: Arc::new(fetcher) })
    }
}

impl Http for Client {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, HttpError>> {
        let fetcher = self.fetcher.clone();
        Box::pin(async move {
            // The operator names CAs and DNS hosts, wherever they are.
            let answer = fetcher.fetch(request.map(Vec::from), &Route::anywhere(None)).await;
            answer.map(|answer| answer.map(Bytes::from)).map_err(|error| HttpError(error.to_string()))
        })
    }
}

/// CAs take their time over some answers.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
