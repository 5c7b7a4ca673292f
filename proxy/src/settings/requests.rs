//! How requests are read where applications differ over what they mean.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::request::sanitize::Underscores;
use crate::request::target::EncodedSlash;

/// What becomes of requests that applications read in different ways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Requests {
    /// An encoded slash, `%2F`, in a path: `refuse` answers 400, `keep` hands it on as data, for applications that have it in
    /// names (npm, GitLab). Rules for a path see it as data, too, so keep it only where no application decodes it before it
    /// decides on access. Default: `refuse`. (live)
    pub encoded_slash: EncodedSlash,
    /// Header names with `_`, which CGI-like applications cannot tell from `-`: `drop` removes them, `refuse` answers 400,
    /// `keep` hands them on, save for those that could be taken for a header that only the edge may set. Default: `drop`.
    /// (live)
    pub underscores: Underscores,
}
