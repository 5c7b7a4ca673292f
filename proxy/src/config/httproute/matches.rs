//! The matches of an HTTPRoute rule.

use http::{HeaderName, Method};

use crate::config::objects::httproute::{
    HttpPathMatch, HttpRouteMatch, HttpRouteRule, HttpValueMatch, PathMatchType, ValueMatchType,
};
use crate::config::objects::metadata::Known;
use crate::route::PathPattern;
use crate::route::expression::LetterCase;
use crate::route::expression::RegexPattern;
use crate::route::matches::{Conditions, HeaderMatch, QueryMatch, ValueMatch};

/// A match, or the field of it that cannot be understood, and why.
pub(crate) type Match = Result<(PathPattern, Conditions), Fault>;

/// Field and message.
type Fault = (String, String);

/// The matches of one rule.
pub(super) fn lower(rule: &HttpRouteRule) -> Vec<Match> {
    if rule.matches.is_empty() {
        return vec![Ok((PathPattern::Prefix("".into()), Conditions::default()))];
    }
    rule.matches.iter().map(one).collect()
}

fn one(written: &HttpRouteMatch) -> Result<(PathPattern, Conditions), Fault> {
    let path = match &written.path {
        None => PathPattern::Prefix("".into()),
        Some(path) => pattern(path).map_err(|message| ("path".to_owned(), message))?,
    };
    let method = match written.method.as_deref() {
        None => None,
        Some(text) => {
            let method = Method::from_bytes(text.as_bytes());
            Some(method.map_err(|_| ("method".to_owned(), format!("`{text}` is no method")))?)
        }
    };
    let headers = headers(&written.headers)?;
    let mut query = Vec::with_capacity(written.query_params.len());
    for (index, parameter) in written.query_params.iter().enumerate() {
        let fault = |message: String| (format!("queryParams[{index}]"), message);
        let name = parameter.name.as_bytes().into();
        query.push(QueryMatch { name, value: value(parameter).map_err(fault)? });
    }
    Ok((path, Conditions::new(method, headers, query)))
}

/// The conditions on headers of one match.
pub(crate) fn headers(written: &[HttpValueMatch]) -> Result<Vec<HeaderMatch>, Fault> {
    let mut headers = Vec::with_capacity(written.len());
    for (index, header) in written.iter().enumerate() {
        let fault = |message: String| (format!("headers[{index}]"), message);
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| fault(format!("`{}` is no header name", header.name.escape_debug())))?;
        headers.push(HeaderMatch { name, value: value(header).map_err(fault)? });
    }
    Ok(headers)
}

fn pattern(path: &HttpPathMatch) -> Result<PathPattern, String> {
    let text = path.value.as_deref().unwrap_or("/");
    let pattern = match &path.match_type {
        None | Some(Known::Value(PathMatchType::PathPrefix)) => PathPattern::prefix(text),
        Some(Known::Value(PathMatchType::Exact)) => PathPattern::exact(text),
        Some(Known::Value(PathMatchType::RegularExpression)) => {
            PathPattern::regex(text, LetterCase::Sensitive)
        }
        Some(Known::Unknown(word)) => {
            return Err(format!(
                "`{word}` is no type of path match: write Exact, PathPrefix or RegularExpression"
            ));
        }
    };
    pattern.map_err(|error| error.to_string())
}

fn value(written: &HttpValueMatch) -> Result<ValueMatch, String> {
    match &written.match_type {
        None | Some(Known::Value(ValueMatchType::Exact)) => {
            Ok(ValueMatch::Exact(written.value.as_bytes().into()))
        }
        Some(Known::Value(ValueMatchType::RegularExpression)) => {
            RegexPattern::value(&written.value).map(ValueMatch::Regex).map_err(|error| error.to_string())
        }
        Some(Known::Unknown(word)) => {
            Err(format!("`{word}` is no type of match: write Exact or RegularExpression"))
        }
    }
}
