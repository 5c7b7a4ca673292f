//! How durations and sizes are written: `1m30s`, `500ms`; `64k`, `1m`, or a number of bytes.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A number of bytes, written as a number or with a unit: `k`, `m`, `g` as nginx has them, or `Ki`, `Mi`, `Gi` as
/// Kubernetes has them. Both count in powers of 1024.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The number for use as a length in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The number as a bound, where zero stands for none.
    pub fn as_limit(self) -> Option<u64> {
        (self.0 != 0).then_some(self.0)
    }

    /// Reads `64k`, `64Ki`, `1m`, `65536`. `None` for anything else, and for more than 64 bits hold.
    pub fn parse(text: &str) -> Option<Bytes> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match &text[digits.len()..] {
            "" | "b" | "B" => 0,
            "k" | "K" | "Ki" | "KiB" => 10,
            "m" | "M" | "Mi" | "MiB" => 20,
            "g" | "G" | "Gi" | "GiB" => 30,
            _ => return None,
        };
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        digits.parse::<u64>().ok()?.checked_mul(1 << shift).map(Bytes)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;
        impl Visitor<'_> for BytesVisitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 64k, 1m or a number of bytes")
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Bytes, E> {
                Ok(Bytes(value))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Bytes, E> {
                u64::try_from(value).map(Bytes).map_err(|_| E::custom(format!("{value} is less than zero")))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Bytes, E> {
                Bytes::parse(value).ok_or_else(|| {
                    E::custom(format!("`{value}` is no size; write 64k, 1m or a number of bytes"))
                })
            }
        }
        deserializer.deserialize_any(BytesVisitor)
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": "^[0-9]+([bBkKmMgG]|[KMG]i|[KMG]iB)?$"}
            ]
        })
    }
}

/// Reads a duration: numbers with `h`, `m`, `s` or `ms`, in that order (GEP-2257, which is Go's form without fractions).
///
/// `0s` is a duration. `None` for a bare number: nobody knows its unit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let mut rest = text;
    let mut milliseconds = 0u64;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = UNITS.iter().position(|(name, _)| *name == &rest[..letters])?;
        if unit < next_unit {
            return None;
        }
        next_unit = unit + 1;
        rest = &rest[letters..];
        milliseconds = milliseconds.checked_add(number.checked_mul(UNITS[unit].1)?)?;
    }
    (next_unit > 0).then(|| Duration::from_millis(milliseconds))
}

/// For `#[serde(deserialize_with)]`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct DurationVisitor;
    impl Visitor<'_> for DurationVisitor {
        type Value = Duration;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as 30s, 1m30s or 500ms")
        }
        fn visit_u64<E: Error>(self, value: u64) -> Result<Duration, E> {
            Err(E::custom(format!("`{value}` has no unit; write {value}s or {value}ms")))
        }
        fn visit_str<E: Error>(self, value: &str) -> Result<Duration, E> {
            parse_duration(value)
                .ok_or_else(|| E::custom(format!("`{value}` is no duration; write 30s, 1m30s or 500ms")))
        }
    }
    deserializer.deserialize_any(DurationVisitor)
}

/// For `#[serde(deserialize_with)]` of a duration that may be left out, with `#[serde(default)]`.
pub(super) fn some_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// The schema of a duration.
pub(super) struct DurationText;

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", "minLength": 2})
    }
}
