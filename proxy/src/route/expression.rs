//! Regular expressions of routes: bounded in size, linear in time, anchored in one known way.

use std::fmt;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

/// A compiled expression, cheap to clone. Two are equal when they were written alike and match alike.
///
/// Works on bytes: `.` is any byte but a line feed, and `\w`, `\d`, `\s` are ASCII, as in nginx without UTF mode.
#[derive(Clone)]
pub struct RegexPattern(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    case: LetterCase,
    regex: Regex,
}

/// Whether `A` and `a` are the same letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LetterCase {
    #[default]
    Sensitive,
    /// What ingress-nginx does with every path of a host in regex mode.
    Insensitive,
}

/// Why a text is no usable expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    #[error("the regular expression has {bytes} bytes; at most {REGEX_TEXT_BYTES_MAX} are taken")]
    TooLong { bytes: usize },
    #[error(
        "the regular expression grows beyond {REGEX_COMPILED_BYTES_MAX} bytes when compiled; use smaller repetition counts"
    )]
    TooLarge,
    /// Look-around and back-references end here too: they cannot be matched in linear time.
    #[error("not a regular expression: {reason} (look-around and back-references are not supported)")]
    Syntax { reason: Arc<str> },
}

impl RegexPattern {
    /// An expression for paths: it must match from the first byte, and may end before the path does.
    pub fn path(text: &str, case: LetterCase) -> Result<Self, RegexError> {
        Self::compile(text, case, |text| format!(r"\A(?:{text})"))
    }

    /// An expression for the value of a header or query parameter: it must match the whole value.
    pub fn value(text: &str) -> Result<Self, RegexError> {
        Self::compile(text, LetterCase::Sensitive, |text| format!(r"\A(?:{text})\z"))
    }

    /// An expression that may match anywhere in a value.
    pub fn search(text: &str) -> Result<Self, RegexError> {
        Self::compile(text, LetterCase::Sensitive, |text| format!("(?:{text})"))
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    pub fn letter_case(&self) -> LetterCase {
        self.0.case
    }

    /// The anchored expression. Its capture groups are numbered as in the text.
    pub fn regex(&self) -> &Regex {
        &self.0.regex
    }

    pub fn is_match(&self, bytes: &[u8]) -> bool {
        self.0.regex.is_match(bytes)
    }

    fn compile(text: &str, case: LetterCase, anchor: fn(&str) -> String) -> Result<Self, RegexError> {
        if text.len() > REGEX_TEXT_BYTES_MAX {
            return Err(RegexError::TooLong { bytes: text.len() });
        }
        // The bare text must stand on its own, or `a)|(b` would close the group of the anchor and escape it.
        build(text, case)?;
        let regex = build(&anchor(text), case)?;
        Ok(RegexPattern(Arc::new(Compiled { text: text.into(), case, regex })))
    }
}

fn build(text: &str, case: LetterCase) -> Result<Regex, RegexError> {
    RegexBuilder::new(text)
        .unicode(false)
        .case_insensitive(case == LetterCase::Insensitive)
        .size_limit(REGEX_COMPILED_BYTES_MAX)
        .dfa_size_limit(REGEX_CACHE_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => RegexError::TooLarge,
            // The crate draws a picture over several lines; the last one holds the reason.
            other => {
                let words = other.to_string();
                let reason = words.lines().last().unwrap_or_default().trim_start_matches("error: ");
                RegexError::Syntax { reason: reason.into() }
            }
        })
}

impl PartialEq for RegexPattern {
    fn eq(&self, other: &Self) -> bool {
        // The anchored text tells a path expression from a value expression.
        self.0.case == other.0.case && self.0.regex.as_str() == other.0.regex.as_str()
    }
}

impl Eq for RegexPattern {}

impl fmt::Debug for RegexPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegexPattern({:?}, {:?})", self.0.text, self.0.case)
    }
}

/// Longest expression, as written.
pub const REGEX_TEXT_BYTES_MAX: usize = 4096;
/// Largest compiled program of one expression.
pub const REGEX_COMPILED_BYTES_MAX: usize = 256 << 10;
/// Largest matching cache of one expression on one thread.
const REGEX_CACHE_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests;
