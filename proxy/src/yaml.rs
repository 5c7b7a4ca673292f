//! YAML as files have it: one way to read it, and the line of a field for messages.

use std::borrow::Cow;

use granit_parser::{Event, Parser, Span};
use serde::de::DeserializeOwned;

/// Why a text is not what it should be, in one line, with its place in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct YamlError {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    pub message: String,
}

/// Reads one document. Duplicate keys are errors; aliases are bounded by the parser's own budget.
pub(crate) fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| YamlError::from(&error))
}

/// Reads one document through a deserializer that the caller drives.
pub(crate) fn with_deserializer<T>(
    text: &str,
    read: impl for<'e> FnOnce(serde_saphyr::Deserializer<'_, 'e>) -> Result<T, serde_saphyr::Error>,
) -> Result<T, YamlError> {
    let mut options = options();
    // As kubectl has it: a number or `true` is text only in quotes.
    options.no_schema = true;
    serde_saphyr::with_deserializer_from_str_with_options(text, options, read)
        .map_err(|error| YamlError::from(&error))
}

/// Bounds that a file of the largest size stays within, so that the size of a file is what limits it; aliases keep the
/// parser's own bounds, because they multiply.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // The rendered snippet would make the message many lines long.
        with_snippet: false,
        emit_comments: false,
        budget: serde_saphyr::budget! {
            max_events: EVENTS_MAX,
            max_nodes: EVENTS_MAX,
        },
    }
}

impl From<&serde_saphyr::Error> for YamlError {
    fn from(error: &serde_saphyr::Error) -> Self {
        let error = error.without_snippet();
        let location = error.location().unwrap_or(serde_saphyr::Location::UNKNOWN);
        let number = |n: u64| usize::try_from(n).unwrap_or(1).max(1);
        YamlError {
            line: number(location.line()),
            column: number(location.column()),
            message: describe(error),
        }
    }
}

/// The line and column (from 1) of a field, or of its nearest ancestor that is written down.
///
/// `line` is where the object starts that `field` is a path in: a document's first line of content, or an item of a
/// `List`. `field` is written as `spec.rules[0].http.paths[1].backend` or `metadata.annotations['vestibule.dev/auth']`.
/// `None` when no object starts at that line, or the text is not YAML up to there.
pub(crate) fn position(text: &str, line: usize, field: &str) -> Option<(usize, usize)> {
    let segments = parse_path(field);
    let mut events = Events { parser: Parser::new_from_str(text), depth: 0 };
    loop {
        let (event, span) = events.next()?;
        if matches!(event, Event::MappingStart(..)) && span.start.line() >= line {
            return Some(events.follow(place(span), &segments));
        }
    }
}

/// One step of a field path.
#[derive(Debug, PartialEq, Eq)]
enum Segment<'a> {
    Key(Cow<'a, str>),
    Index(usize),
}

struct Events<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    /// Collections that are open.
    depth: usize,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        loop {
            let (event, span) = self.parser.next_event()?.ok()?;
            match event {
                Event::MappingStart(..) | Event::SequenceStart(..) => self.depth += 1,
                Event::MappingEnd | Event::SequenceEnd => self.depth = self.depth.saturating_sub(1),
                Event::Comment(..) => continue,
                _ => {}
            }
            return Some((event, span));
        }
    }

    /// Passes over the rest of the node that `event` began.
    fn skip(&mut self, event: &Event<'a>) -> Option<()> {
        if matches!(event, Event::MappingStart(..) | Event::SequenceStart(..)) {
            let outside = self.depth - 1;
            while self.depth > outside {
                self.next()?;
            }
        }
        Some(())
    }

    /// Goes down from an open mapping along `segments`, as far as they lead.
    fn follow(&mut self, start: (usize, usize), segments: &[Segment<'_>]) -> (usize, usize) {
        let mut best = start;
        let mut in_mapping = true;
        for segment in segments {
            let found = match (segment, in_mapping) {
                (Segment::Key(key), true) => self.seek_key(key),
                (Segment::Index(index), false) => self.seek_item(*index),
                _ => None,
            };
            let Some((at, value)) = found else { return best };
            best = at;
            match value {
                Event::MappingStart(..) => in_mapping = true,
                Event::SequenceStart(..) => in_mapping = false,
                _ => return best,
            }
        }
        best
    }

    /// In an open mapping: the place of the key, and the event that begins its value.
    fn seek_key(&mut self, wanted: &str) -> Option<((usize, usize), Event<'a>)> {
        loop {
            let (key, span) = self.next()?;
            if matches!(key, Event::MappingEnd) {
                return None;
            }
            let is_wanted = matches!(&key, Event::Scalar(text, ..) if text == wanted);
            self.skip(&key)?;
            let (value, _) = self.next()?;
            if is_wanted {
                return Some((place(span), value));
            }
            self.skip(&value)?;
        }
    }

    /// In an open sequence: the place of the item, and the event that begins it.
    fn seek_item(&mut self, wanted: usize) -> Option<((usize, usize), Event<'a>)> {
        for index in 0.. {
            let (item, span) = self.next()?;
            if matches!(item, Event::SequenceEnd) {
                return None;
            }
            if index == wanted {
                return Some((place(span), item));
            }
            self.skip(&item)?;
        }
        None
    }
}

fn place(span: Span) -> (usize, usize) {
    (span.start.line(), span.start.col() + 1)
}

/// Splits `a.b[0]['c.d']`. What is not well formed ends the path there.
fn parse_path(field: &str) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let (segment, after) = match rest.strip_prefix('[') {
            Some(inner) => match inner.strip_prefix('\'') {
                Some(quoted) => match quoted.split_once("']") {
                    Some((key, after)) => (Segment::Key(key.into()), after),
                    None => break,
                },
                None => match inner.split_once(']').and_then(|(n, after)| Some((n.parse().ok()?, after))) {
                    Some((index, after)) => (Segment::Index(index), after),
                    None => break,
                },
            },
            None => {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                if end == 0 {
                    break;
                }
                (Segment::Key(rest[..end].into()), &rest[end..])
            }
        };
        segments.push(segment);
        rest = after;
    }
    segments
}

/// The fault in one line. Unknown names are answered with the nearest known one.
fn describe(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::{Error, MessageFormatter};
    let unknown = |what: &str, written: &str, expected: &[&'static str]| {
        let mend = match nearest(written, expected) {
            Some(near) => format!("did you mean `{near}`?"),
            None if expected.len() <= EXPECTED_SHOWN_MAX => format!("write one of {}", expected.join(", ")),
            None => "`vestibule schema` prints what is known".to_owned(),
        };
        format!("unknown {what} `{written}`; {mend}")
    };
    let message = match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
        Error::SerdeUnknownVariant { variant, expected, .. } => unknown("value", variant, expected),
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing; add it"),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` is written twice; remove one")
        }
        Error::InvalidScalar { ty: "bool", .. } => "is neither true nor false".to_owned(),
        Error::InvalidScalar { ty, .. } if ty.starts_with(['u', 'i']) => {
            "is no number; write one such as 8".to_owned()
        }
        // The formatter's message has no place in it: the caller says it once, in front.
        other => serde_saphyr::UserMessageFormatter.format_message(other).into_owned(),
    };
    one_line(&message)
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The known word within two edits, if there is one.
fn nearest(written: &str, known: &[&'static str]) -> Option<&'static str> {
    known
        .iter()
        .map(|word| (edit_distance(written, word), *word))
        .filter(|(distance, _)| *distance <= 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Levenshtein distance over bytes, without regard to case.
fn edit_distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

const EVENTS_MAX: usize = 32 << 20;
const EXPECTED_SHOWN_MAX: usize = 6;

#[cfg(test)]
mod tests;
