//! How host and path change on the way upstream.
//!
//! The new path is normalised like the old one, and must have no dot segment: a rule that cuts or captures at a byte
//! position can otherwise turn `/api../admin` into `/../admin`, and with it leave the part of the upstream that the
//! route opens (the class of CVE-2026-48020).

#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::target::{DotSegments, EncodedSlash, PathAndQuery, TargetError, normalise};
use crate::reject::Reject;
use crate::route::{PathPattern, PathRewrite};

/// The request target for the upstream: `current`, rewritten as the route says.
///
/// `pattern` is what matched the path. The query stays, save that a query written in a replacement goes before it.
/// Refused with 400 when the result is no valid path any more.
pub fn rewrite(
    rewrite: &PathRewrite,
    pattern: &PathPattern,
    current: &PathAndQuery,
) -> Result<PathAndQuery, Reject> {
    if current.path() == b"*" {
        // `OPTIONS *` asks the server as a whole; there is no path to change.
        return Ok(current.clone());
    }
    let replaced = match rewrite {
        PathRewrite::Full(path) => Bytes::copy_from_slice(path.as_bytes()),
        PathRewrite::Prefix(prefix) => replace_prefix(prefix, pattern, current.path()),
        PathRewrite::Captures(template) => match fill(template, pattern, current.path()) {
            Some(filled) => filled,
            None => return Ok(current.clone()),
        },
    };
    finish(replaced, current.query()).map_err(Reject::BadTarget)
}

/// Puts `prefix` in the place of what the pattern matched (Gateway API `ReplacePrefixMatch`): the prefix's trailing slash
/// counts only when nothing follows, and an empty result is `/`.
fn replace_prefix(prefix: &str, pattern: &PathPattern, path: &[u8]) -> Bytes {
    let rest = &path[matched_length(pattern, path)..];
    let head = if rest.is_empty() { prefix } else { prefix.trim_end_matches('/') };
    let mut replaced = Vec::with_capacity(head.len() + rest.len() + 1);
    replaced.extend_from_slice(head.as_bytes());
    // A regular expression can end in the middle of a segment; what is left must still be told from the new head.
    if !rest.is_empty() && rest[0] != b'/' {
        replaced.push(b'/');
    }
    replaced.extend_from_slice(rest);
    if replaced.is_empty() {
        replaced.push(b'/');
    }
    replaced.into()
}

fn matched_length(pattern: &PathPattern, path: &[u8]) -> usize {
    match pattern {
        PathPattern::Exact(_) => path.len(),
        PathPattern::Prefix(prefix) if path.starts_with(prefix.as_bytes()) => prefix.len(),
        PathPattern::Prefix(_) => 0,
        PathPattern::Regex(regex) => {
            regex.regex().find(path).filter(|found| found.start() == 0).map_or(0, |found| found.end())
        }
    }
}

/// The template with `$0` to `$9` filled in; as in ingress-nginx it becomes the whole path. `None`: the expression does
/// not match, nothing changes. A group that took no part is empty.
fn fill(template: &str, pattern: &PathPattern, path: &[u8]) -> Option<Bytes> {
    let captures = match pattern {
        PathPattern::Regex(regex) => Some(regex.regex().captures(path)?),
        PathPattern::Exact(_) | PathPattern::Prefix(_) => None,
    };
    let mut filled = Vec::with_capacity(template.len() + path.len());
    let mut rest = template.as_bytes();
    while let [byte, tail @ ..] = rest {
        match (byte, tail.first()) {
            (b'$', Some(digit @ b'0'..=b'9')) => {
                let group = usize::from(digit - b'0');
                if let Some(captured) = captures.as_ref().and_then(|captures| captures.get(group)) {
                    filled.extend_from_slice(captured.as_bytes());
                }
                rest = &tail[1..];
            }
            _ => {
                filled.push(*byte);
                rest = tail;
            }
        }
    }
    Some(filled.into())
}

/// Joins the new path, which may bring a query of its own, with the request's query, and normalises it.
fn finish(replaced: Bytes, query: Option<&[u8]>) -> Result<PathAndQuery, TargetError> {
    let own_query = memchr::memchr(b'?', &replaced).is_some();
    let joined = match query {
        None => replaced,
        Some(query) => {
            let mut joined = Vec::from(replaced);
            joined.push(if own_query { b'&' } else { b'?' });
            joined.extend_from_slice(query);
            joined.into()
        }
    };
    let rooted = if joined.first() == Some(&b'/') { joined } else { [b"/", joined.as_ref()].concat().into() };
    // Whether `%2F` may pass was decided for the request as it came.
    normalise(&rooted, DotSegments::Refuse, EncodedSlash::Keep)
}
