//! Requests that need nobody: by method and normalised path, and by nothing else.

use http::Method;
use regex::Regex;

use super::{RuleError, entries};

/// One entry of `auth-skip`: `GET /healthz`, `GET|HEAD /public/*`, `~^/v[0-9]+/status$`.
#[derive(Clone, Debug)]
pub struct Skip {
    /// Empty: every method.
    methods: Vec<Method>,
    path: Pattern,
}

#[derive(Clone, Debug)]
enum Pattern {
    Exact(String),
    /// With its `/` at the end.
    Under(String),
    /// Takes the whole path or nothing of it.
    Expression(Regex),
}

impl Skip {
    pub(super) fn parse_list(text: &str) -> Result<Vec<Self>, RuleError> {
        entries(text)?.into_iter().map(Skip::parse).collect()
    }

    fn parse(entry: &str) -> Result<Self, RuleError> {
        let (methods, path) = match entry.split_once(char::is_whitespace) {
            Some((methods, path)) => (methods.split('|').map(method).collect::<Result<_, _>>()?, path.trim()),
            None => (Vec::new(), entry),
        };
        Ok(Skip { methods, path: Pattern::parse(path)? })
    }

    pub(super) fn matches(&self, method: &Method, path: &str) -> bool {
        let takes_method = self.methods.is_empty() || self.methods.contains(method);
        takes_method
            && match &self.path {
                Pattern::Exact(exact) => path == exact,
                Pattern::Under(prefix) => path.starts_with(prefix.as_str()),
                Pattern::Expression(expression) => expression.is_match(path),
            }
    }
}

impl PartialEq for Skip {
    fn eq(&self, other: &Self) -> bool {
        self.methods == other.methods
            && match (&self.path, &other.path) {
                (Pattern::Exact(one), Pattern::Exact(two)) | (Pattern::Under(one), Pattern::Under(two)) => {
                    one == two
                }
                (Pattern::Expression(one), Pattern::Expression(two)) => one.as_str() == two.as_str(),
                (Pattern::Exact(_) | Pattern::Under(_) | Pattern::Expression(_), _) => false,
            }
    }
}

impl Eq for Skip {}

impl Pattern {
    fn parse(text: &str) -> Result<Self, RuleError> {
        if let Some(expression) = text.strip_prefix('~') {
            // Anchored by us: a rule about `/status` must not open `/admin/status-page`.
            let whole = format!("^(?:{expression})$");
            let parsed = regex::RegexBuilder::new(&whole).size_limit(EXPRESSION_BYTES_MAX).build();
            return parsed
                .map(Pattern::Expression)
                .map_err(|error| RuleError::Expression { entry: text.to_owned(), cause: error.to_string() });
        }
        let (path, under) = match text.strip_suffix('*') {
            Some(prefix) if prefix.ends_with('/') => (prefix, true),
            Some(_) | None => (text, false),
        };
        if !path.starts_with('/') || path.contains('*') {
            return Err(RuleError::Path(text.to_owned()));
        }
        if !is_normal(path) {
            return Err(RuleError::NotNormal(text.to_owned()));
        }
        Ok(if under { Pattern::Under(path.to_owned()) } else { Pattern::Exact(path.to_owned()) })
    }
}

fn method(text: &str) -> Result<Method, RuleError> {
    let wrong = || RuleError::Method(text.to_owned());
    if !text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        return Err(wrong());
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| wrong())
}

/// A path in the one form in which targets are matched. Any other could never match, and whoever wrote it would not know.
fn is_normal(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\;\"<>[]^`{|}".contains(&byte));
    let segments = !path.contains("//") && path.split('/').all(|segment| segment != "." && segment != "..");
    plain && segments && encoded_as_needed(path.as_bytes())
}

/// Every `%XX` is upper case, and stands for a byte that cannot be written bare (RFC 3986 §6.2.2).
fn encoded_as_needed(path: &[u8]) -> bool {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'%').all(|(at, _)| {
        let Some(&[high, low]) = path.get(at + 1..at + 3) else { return false };
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'A'..=b'F' => Some(byte - b'A' + 10),
            _ => None,
        };
        let (Some(high), Some(low)) = (digit(high), digit(low)) else { return false };
        let byte = (high << 4) | low;
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        !unreserved && !byte.is_ascii_control() && byte != b'/' && byte != b'\\'
    })
}

/// Compiled size of one expression.
const EXPRESSION_BYTES_MAX: usize = 1 << 20;
