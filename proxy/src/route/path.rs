//! The routes of one host, by path.
//!
//! All exact paths and prefixes stand in one sorted array, in an order where `/` is the least byte, so that everything
//! below a prefix follows it directly. One binary search finds the exact path or its place; from there each prefix names
//! the next shorter one that holds it. Regular expressions are tried one after the other, the longer ones before a prefix.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::expression::{LetterCase, RegexError, RegexPattern};
use super::matches::{Conditions, Rule};
use super::{PathPattern, Route};

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path {0:?} does not begin with `/`")]
    Relative(Arc<str>),
    #[error(transparent)]
    Regex(#[from] RegexError),
}

impl PathPattern {
    pub fn exact(text: &str) -> Result<Self, PathError> {
        absolute(text).map(|path| PathPattern::Exact(path.into()))
    }

    /// Trailing slashes make no difference: `/abc/` is `/abc`, and `/` takes every path.
    pub fn prefix(text: &str) -> Result<Self, PathError> {
        absolute(text).map(|path| PathPattern::Prefix(path.trim_end_matches('/').into()))
    }

    pub fn regex(text: &str, case: LetterCase) -> Result<Self, PathError> {
        Ok(PathPattern::Regex(RegexPattern::path(text, case)?))
    }

    /// The rule itself, for one path. A table with many uses [`HostRoutes`].
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            PathPattern::Exact(exact) => exact.as_bytes() == path,
            PathPattern::Prefix(prefix) => is_element_prefix(prefix.as_bytes(), path),
            PathPattern::Regex(pattern) => pattern.is_match(path),
        }
    }

    /// Less is tried first: exact paths, then prefixes and expressions together, the longest text first. Of equal length, a
    /// prefix comes before an expression, and of expressions the alphabetically last.
    ///
    /// Length decides between the two as in ingress-nginx, where a host with expressions has nothing else (Gateway API v1
    /// leaves their place to us): an expression is rarely meant to be hidden by `/`.
    pub fn cmp_precedence(&self, other: &Self) -> Ordering {
        match (self, other) {
            (PathPattern::Exact(_), PathPattern::Exact(_)) => Ordering::Equal,
            (PathPattern::Exact(_), _) => Ordering::Less,
            (_, PathPattern::Exact(_)) => Ordering::Greater,
            (PathPattern::Prefix(own), PathPattern::Prefix(other)) => other.len().cmp(&own.len()),
            (PathPattern::Prefix(own), PathPattern::Regex(other)) => {
                other.text().len().cmp(&own.len()).then(Ordering::Less)
            }
            (PathPattern::Regex(own), PathPattern::Prefix(other)) => {
                other.len().cmp(&own.text().len()).then(Ordering::Greater)
            }
            (PathPattern::Regex(own), PathPattern::Regex(other)) => {
                let key = |pattern: &RegexPattern| (pattern.text().len(), pattern.letter_case());
                key(other).cmp(&key(own)).then_with(|| other.text().cmp(own.text()))
            }
        }
    }
}

impl fmt::Display for PathPattern {
    /// `= /abc`, `/abc`, `~ ^/abc`, with `~*` where case does not count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathPattern::Exact(path) => write!(f, "= {path}"),
            PathPattern::Prefix(path) if path.is_empty() => f.write_str("/"),
            PathPattern::Prefix(path) => f.write_str(path),
            PathPattern::Regex(pattern) => match pattern.letter_case() {
                LetterCase::Sensitive => write!(f, "~ {}", pattern.text()),
                LetterCase::Insensitive => write!(f, "~* {}", pattern.text()),
            },
        }
    }
}

/// The routes of one host, in the order of precedence. Immutable, and shared by every table in which the host is the same:
/// a copy costs a count or two.
#[derive(Clone, Debug)]
pub struct HostRoutes(Layout);

#[derive(Clone, Debug)]
enum Layout {
    /// One rule for `/`: most hosts. Nothing is searched, and nothing lies between the host's entry and its route: each step
    /// of the way is memory that a server with many hosts has to wait for.
    Whole(Candidate),
    Indexed(Arc<Index>),
}

#[derive(Debug)]
struct Index {
    /// Sorted by [`element_order`], each path once.
    nodes: Box<[Node]>,
    expressions: Box<[Expression]>,
    /// Per path, in the order in which they are tried.
    candidates: Box<[Candidate]>,
}

/// One path with its rules: `candidates[exact_start..prefix_start]` and `candidates[prefix_start..end]`. A host cannot have
/// 2³² rules: their text alone would not fit in memory.
#[derive(Debug)]
struct Node {
    path: Arc<str>,
    exact_start: u32,
    prefix_start: u32,
    end: u32,
    /// The longest other path that is a prefix of this one by element and has prefix rules, or [`NO_PARENT`].
    parent: u32,
}

#[derive(Debug)]
struct Expression {
    pattern: RegexPattern,
    start: u32,
    end: u32,
}

/// One rule as it is tried once its path has matched.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub conditions: Conditions,
    pub route: Arc<Route>,
}

impl HostRoutes {
    /// Sorts and indexes the rules; their order does not matter. Rules that can never be reached stay, behind those that hide
    /// them.
    pub fn new(mut rules: Vec<Rule>) -> Self {
        if let [Rule { path: PathPattern::Prefix(path), .. }] = &*rules
            && path.is_empty()
            && let Some(rule) = rules.pop()
        {
            return HostRoutes(Layout::Whole(Candidate { conditions: rule.conditions, route: rule.route }));
        }
        rules.sort_by(|a, b| storage_order(&a.path, &b.path).then_with(|| a.cmp_within_path(b)));
        HostRoutes(Layout::Indexed(Arc::new(Index::new(rules))))
    }

    /// The first `Some` that `visit` gives over the rules whose path matches, in the order of precedence.
    pub fn find_map<'a, R>(
        &'a self,
        path: &[u8],
        mut visit: impl FnMut(&'a Candidate) -> Option<R>,
    ) -> Option<R> {
        match &self.0 {
            Layout::Whole(candidate) => visit(candidate),
            Layout::Indexed(index) => index.find_map(path, &mut visit),
        }
    }

    /// True when both are one: nothing was made anew.
    #[cfg(test)]
    pub(crate) fn is_copy_of(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Layout::Whole(own), Layout::Whole(other)) => Arc::ptr_eq(&own.route, &other.route),
            (Layout::Indexed(own), Layout::Indexed(other)) => Arc::ptr_eq(own, other),
            (Layout::Whole(_), Layout::Indexed(_)) | (Layout::Indexed(_), Layout::Whole(_)) => false,
        }
    }

    /// All rules with their paths, in the order of precedence; for people.
    pub fn list(&self) -> Vec<(PathPattern, &Candidate)> {
        let mut list = match &self.0 {
            Layout::Whole(candidate) => vec![(PathPattern::Prefix("".into()), candidate)],
            Layout::Indexed(index) => index.list(),
        };
        // Stable, so the rules of one path keep their order.
        list.sort_by(|(a, _), (b, _)| a.cmp_precedence(b));
        list
    }
}

impl Index {
    fn new(rules: Vec<Rule>) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        let mut expressions: Vec<Expression> = Vec::new();
        let mut candidates = Vec::with_capacity(rules.len());
        for Rule { path, conditions, route, .. } in rules {
            let at = candidates.len() as u32;
            let exact = matches!(path, PathPattern::Exact(_));
            candidates.push(Candidate { conditions, route });
            match path {
                PathPattern::Exact(path) | PathPattern::Prefix(path) => {
                    if nodes.last().is_none_or(|node| node.path != path) {
                        nodes.push(Node {
                            path,
                            exact_start: at,
                            prefix_start: at,
                            end: at,
                            parent: NO_PARENT,
                        });
                    }
                    if let Some(node) = nodes.last_mut() {
                        node.end = at + 1;
                        if exact {
                            node.prefix_start = at + 1;
                        }
                    }
                }
                PathPattern::Regex(pattern) => match expressions.last_mut() {
                    Some(last) if last.pattern == pattern => last.end = at + 1,
                    _ => expressions.push(Expression { pattern, start: at, end: at + 1 }),
                },
            }
        }
        link_parents(&mut nodes);
        Index { nodes: nodes.into(), expressions: expressions.into(), candidates: candidates.into() }
    }

    fn find_map<'a, R>(
        &'a self,
        path: &[u8],
        visit: &mut impl FnMut(&'a Candidate) -> Option<R>,
    ) -> Option<R> {
        let after = self.nodes.partition_point(|node| element_order(node.path.as_bytes(), path).is_le());
        // The greatest path that is not above the request's: itself, or below the longest prefix of it.
        let nearest = self.nodes[..after].last();
        if let Some(node) = nearest
            && node.path.as_bytes() == path
            && let Some(result) =
                self.candidates(node.exact_start, node.prefix_start).iter().find_map(&mut *visit)
        {
            return Some(result);
        }
        let mut expressions = &*self.expressions;
        let mut next = nearest;
        while let Some(node) = next {
            if is_element_prefix(node.path.as_bytes(), path) {
                // The longer expressions come before this prefix, the others after it.
                let longer = expressions.partition_point(|it| it.pattern.text().len() > node.path.len());
                let (before, after) = expressions.split_at(longer);
                expressions = after;
                let found = self.find_expression(before, path, visit);
                let found = found
                    .or_else(|| self.candidates(node.prefix_start, node.end).iter().find_map(&mut *visit));
                if found.is_some() {
                    return found;
                }
            }
            next = self.nodes.get(node.parent as usize);
        }
        self.find_expression(expressions, path, visit)
    }

    fn find_expression<'a, R>(
        &'a self,
        expressions: &'a [Expression],
        path: &[u8],
        visit: &mut impl FnMut(&'a Candidate) -> Option<R>,
    ) -> Option<R> {
        let matching = expressions.iter().filter(|expression| expression.pattern.is_match(path));
        matching.flat_map(|expression| self.candidates(expression.start, expression.end)).find_map(visit)
    }

    fn candidates(&self, start: u32, end: u32) -> &[Candidate] {
        &self.candidates[start as usize..end as usize]
    }

    fn list(&self) -> Vec<(PathPattern, &Candidate)> {
        let mut list = Vec::with_capacity(self.candidates.len());
        for node in &self.nodes {
            let exact = PathPattern::Exact(Arc::clone(&node.path));
            let prefix = PathPattern::Prefix(Arc::clone(&node.path));
            list.extend(
                self.candidates(node.exact_start, node.prefix_start).iter().map(|c| (exact.clone(), c)),
            );
            list.extend(self.candidates(node.prefix_start, node.end).iter().map(|c| (prefix.clone(), c)));
        }
        for expression in &self.expressions {
            let path = PathPattern::Regex(expression.pattern.clone());
            list.extend(self.candidates(expression.start, expression.end).iter().map(|c| (path.clone(), c)));
        }
        list
    }
}

impl Rule {
    /// Less is tried first, of two rules with the same path.
    fn cmp_within_path(&self, other: &Self) -> Ordering {
        self.conditions.cmp_precedence(&other.conditions).then_with(|| self.precedence.cmp(&other.precedence))
    }
}

/// Paths and prefixes by element order, the exact path before the same prefix, then expressions in precedence.
fn storage_order(a: &PathPattern, b: &PathPattern) -> Ordering {
    match (a, b) {
        (
            PathPattern::Exact(own) | PathPattern::Prefix(own),
            PathPattern::Exact(other) | PathPattern::Prefix(other),
        ) => element_order(own.as_bytes(), other.as_bytes())
            .then_with(|| matches!(a, PathPattern::Prefix(_)).cmp(&matches!(b, PathPattern::Prefix(_)))),
        (PathPattern::Regex(_), PathPattern::Regex(_)) => a.cmp_precedence(b),
        (PathPattern::Exact(_) | PathPattern::Prefix(_), PathPattern::Regex(_)) => Ordering::Less,
        (PathPattern::Regex(_), PathPattern::Exact(_) | PathPattern::Prefix(_)) => Ordering::Greater,
    }
}

/// Lexical order with `/` as the least byte, so that `/a/b` comes before `/a-b`: what lies below `/a` follows it directly.
fn element_order(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |byte: u8| if byte == b'/' { 0 } else { u16::from(byte) + 1 };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((&a, &b)) => rank(a).cmp(&rank(b)),
        None => a.len().cmp(&b.len()),
    }
}

/// True when `path` is `prefix` or lies below it. The empty prefix holds everything, `*` too.
fn is_element_prefix(prefix: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| prefix.is_empty() || matches!(rest, [] | [b'/', ..]))
}

/// In element order every path comes after those that hold it and before anything else they do not hold, so the open ones
/// form a stack.
fn link_parents(nodes: &mut [Node]) {
    let mut open: Vec<u32> = Vec::new();
    for at in 0..nodes.len() {
        while let Some(&top) = open.last()
            && !is_element_prefix(nodes[top as usize].path.as_bytes(), nodes[at].path.as_bytes())
        {
            open.pop();
        }
        nodes[at].parent = open.last().copied().unwrap_or(NO_PARENT);
        if nodes[at].prefix_start < nodes[at].end {
            open.push(at as u32);
        }
    }
}

fn absolute(text: &str) -> Result<&str, PathError> {
    if text.starts_with('/') { Ok(text) } else { Err(PathError::Relative(text.into())) }
}

/// Beyond every index.
const NO_PARENT: u32 = u32::MAX;

#[cfg(test)]
mod tests;
