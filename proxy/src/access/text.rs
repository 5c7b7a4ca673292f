//! Text into a line: JSON strings and `key=value` values, whatever bytes a client sent.

use std::fmt;

/// Appends a JSON string. Valid UTF-8 stays; control characters become `\u00XX`; bytes that are no UTF-8 become the four
/// characters `\xHH` (with its backslash escaped, as JSON wants it).
pub(super) fn push_json(out: &mut Vec<u8>, value: &[u8], is_cut: bool) {
    out.push(b'"');
    push_json_inner(out, value);
    if is_cut {
        out.extend_from_slice("…".as_bytes());
    }
    out.push(b'"');
}

/// Appends a value of a text line: bare where it is one plain word, else in quotes, with control characters and bytes that
/// are no UTF-8 as `\xHH` and quote and backslash escaped.
pub(super) fn push_text(out: &mut Vec<u8>, value: &[u8], is_cut: bool) {
    let is_plain = !value.is_empty() && !is_cut && value.iter().all(|byte| is_plain_word(*byte));
    if is_plain {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    push_text_inner(out, value);
    if is_cut {
        out.extend_from_slice("…".as_bytes());
    }
    out.push(b'"');
}

/// Appends a number.
pub(super) fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// A quoted value that is written in pieces.
pub(super) struct Escaped<'a> {
    out: &'a mut Vec<u8>,
    json: bool,
}

impl<'a> Escaped<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, json: bool) -> Self {
        out.push(b'"');
        Escaped { out, json }
    }

    pub(super) fn finish(self) {
        self.out.push(b'"');
    }
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.json {
            push_json_inner(self.out, text.as_bytes());
        } else {
            push_text_inner(self.out, text.as_bytes());
        }
        Ok(())
    }
}

fn push_json_inner(out: &mut Vec<u8>, value: &[u8]) {
    if value.iter().all(|byte| is_plain(*byte)) {
        out.extend_from_slice(value);
        return;
    }
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                hostile if is_hostile(hostile) => {
                    out.extend_from_slice(b"\\u");
                    push_hexadecimal(out, u32::from(hostile), 4);
                }
                other => push_character(out, other),
            }
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(b"\\\\x");
            push_hexadecimal(out, u32::from(*byte), 2);
        }
    }
}

fn push_text_inner(out: &mut Vec<u8>, value: &[u8]) {
    if value.iter().all(|byte| is_plain(*byte)) {
        out.extend_from_slice(value);
        return;
    }
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                hostile if is_hostile(hostile) => {
                    let mut bytes = [0; 4];
                    for byte in hostile.encode_utf8(&mut bytes).bytes() {
                        out.extend_from_slice(b"\\x");
                        push_hexadecimal(out, u32::from(byte), 2);
                    }
                }
                other => push_character(out, other),
            }
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(b"\\x");
            push_hexadecimal(out, u32::from(*byte), 2);
        }
    }
}

fn push_character(out: &mut Vec<u8>, character: char) {
    let mut bytes = [0; 4];
    out.extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
}

fn push_hexadecimal(out: &mut Vec<u8>, value: u32, digits: u32) {
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(value >> (4 * digit) & 0xf) as usize]);
    }
}

/// Printable ASCII that needs no escape in either form.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn is_plain_word(byte: u8) -> bool {
    is_plain(byte) && byte != b' ' && byte != b'='
}

/// What a terminal or a log viewer may act upon: control characters of both sets, line separators, and what turns the
/// direction of text. All lie below U+10000, so that four digits name them.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
