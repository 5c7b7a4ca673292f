//! Answers that another backend gives in place of the route's own (ingress-nginx, `custom-http-errors` and `default-backend`).

use std::fmt;
use std::sync::Arc;

use http::StatusCode;

use super::WeightedBackend;
use crate::upstream::Backend;

/// Who writes the pages of errors, and of which.
#[derive(Clone, Debug)]
pub struct ErrorPages {
    /// Statuses that are replaced; none: the backend only stands in for one without endpoints.
    pub codes: Vec<StatusCode>,
    pub source: Source,
    pub backend: Arc<Backend>,
    /// Set where the backend also takes the requests of one without endpoints.
    pub stand_in: Option<Box<[WeightedBackend]>>,
}

/// Whose answers are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The backend's and the edge's own.
    Everybody,
    /// The edge's own alone (`disable-proxy-intercept-errors`).
    Edge,
}

impl ErrorPages {
    /// Who takes the requests for `backends` while none of them has an endpoint.
    pub(crate) fn stand_in_for(&self, backends: &[WeightedBackend]) -> Option<&[WeightedBackend]> {
        let stand_in = self.stand_in.as_deref()?;
        let is_empty = |share: &WeightedBackend| {
            share.backend.as_ref().is_ok_and(|backend| backend.endpoints().is_empty())
        };
        (backends.iter().all(is_empty) && !self.backend.endpoints().is_empty()).then_some(stand_in)
    }
}

impl PartialEq for ErrorPages {
    fn eq(&self, other: &Self) -> bool {
        let parts = |pages: &Self| (pages.codes.clone(), pages.source, pages.stand_in.is_some());
        Arc::ptr_eq(&self.backend, &other.backend) && parts(self) == parts(other)
    }
}

impl Eq for ErrorPages {}

impl fmt::Display for ErrorPages {
    /// `404, 503 from shop/errors:80, which stands in, too`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, code) in self.codes.iter().enumerate() {
            write!(f, "{}{}", if index > 0 { ", " } else { "" }, code.as_u16())?;
        }
        let empty = if self.codes.is_empty() { "none" } else { "" };
        write!(f, "{empty} from {}", self.backend.key)?;
        if self.source == Source::Edge {
            f.write_str(", the edge's own alone")?;
        }
        if self.stand_in.is_some() { f.write_str(", which stands in, too") } else { Ok(()) }
    }
}
