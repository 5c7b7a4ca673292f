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

/// The matches of one rule. What cannot be understood is told to `problem` by field and left out as a whole match: to
/// guess at a part of it could take requests that were never meant.
pub(super) fn lower(
    rule: &HttpRouteRule,
    field: &str,
    problem: &mut dyn FnMut(String, String),
) -> Vec<(PathPattern, Conditions)> {
    if rule.matches.is_empty() {
        return vec![(PathPattern::Prefix("".into()), Conditions::default())];
    }
    let mut lowered = Vec::with_capacity(rule.matches.len());
    for (index, written) in rule.matches.iter().enumerate() {
        match one(written) {
            Ok(matched) => lowered.push(matched),
            Err((part, message)) => problem(format!("{field}.matches[{index}].{part}"), message),
        }
    }
    lowered
}

type Fault = (String, String);

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
    let mut headers = Vec::with_capacity(written.headers.len());
    for (index, header) in written.headers.iter().enumerate() {
        let fault = |message: String| (format!("headers[{index}]"), message);
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| fault(format!("`{}` is no header name", header.name.escape_debug())))?;
        headers.push(HeaderMatch { name, value: value(header).map_err(fault)? });
    }
    let mut query = Vec::with_capacity(written.query_params.len());
    for (index, parameter) in written.query_params.iter().enumerate() {
        let fault = |message: String| (format!("queryParams[{index}]"), message);
        let name = parameter.name.as_bytes().into();
        query.push(QueryMatch { name, value: value(parameter).map_err(fault)? });
    }
    Ok((path, Conditions::new(method, headers, query)))
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
