//! Text for terminals: wrapped at a width, and nothing in it that a terminal acts upon.

/// Columns that output keeps to.
pub(super) const WIDTH: usize = 80;

/// Breaks at spaces so that no line is wider than [`WIDTH`], where words allow. The first line begins with `first`, the
/// others with as many spaces as `indent` says.
pub(super) fn wrap(first: &str, indent: usize, text: &str) -> String {
    let mut out = String::from(first);
    let mut column = first.chars().count();
    let mut at_start = true;
    for word in plain(text).split(' ').filter(|word| !word.is_empty()) {
        let width = word.chars().count();
        if !at_start && column + 1 + width > WIDTH {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
            at_start = true;
        }
        if !at_start {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
        at_start = false;
    }
    out.push('\n');
    out
}

/// Cuts to a width, with `…` for what is left out.
pub(super) fn cut(text: &str, width: usize) -> String {
    let text = plain(text);
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Control characters become spaces: names and messages come from files and from the network.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
