//! Traefik's rules (``Host(`a.example`) && PathPrefix(`/x`)``), as far as an Ingress can say the same.

/// What one alternative of a rule matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) hosts: Vec<String>,
    pub(super) paths: Vec<Path>,
    /// `ClientIP`: an access rule in the shape of a matcher.
    pub(super) clients: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Exact(String),
    Prefix(String),
    Expression(String),
}

/// Alternatives of a rule in the order in which they are written.
pub(super) fn parse(text: &str) -> Result<Vec<Match>, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let matches = parser.any()?;
    match parser.peek() {
        None => Ok(matches),
        Some(token) => Err(format!("`{token:?}` stands where nothing was expected")),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Open,
    Close,
    Comma,
    And,
    Or,
    Not,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            '!' => (Token::Not, 1),
            '&' if rest.starts_with("&&") => (Token::And, 2),
            '|' if rest.starts_with("||") => (Token::Or, 2),
            '`' | '"' => {
                let end = rest[1..].find(first).ok_or("a text is not closed")?;
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            c if c.is_ascii_alphabetic() => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                (Token::Word(rest[..end].to_owned()), end)
            }
            c => return Err(format!("`{c}` has no meaning in a rule")),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn takes(&mut self, token: &Token) -> bool {
        let takes = self.peek() == Some(token);
        self.at += usize::from(takes);
        takes
    }

    fn any(&mut self) -> Result<Vec<Match>, String> {
        let mut all = self.every()?;
        while self.takes(&Token::Or) {
            all.extend(self.every()?);
            if all.len() > ALTERNATIVES_MAX {
                return Err(format!("more than {ALTERNATIVES_MAX} alternatives"));
            }
        }
        Ok(all)
    }

    fn every(&mut self) -> Result<Vec<Match>, String> {
        let mut all = self.one()?;
        while self.takes(&Token::And) {
            let other = self.one()?;
            let mut joined = Vec::new();
            for left in &all {
                for right in &other {
                    joined.push(left.and(right)?);
                }
            }
            if joined.len() > ALTERNATIVES_MAX {
                return Err(format!("more than {ALTERNATIVES_MAX} alternatives"));
            }
            all = joined;
        }
        Ok(all)
    }

    fn one(&mut self) -> Result<Vec<Match>, String> {
        if self.takes(&Token::Not) {
            return Err("`!` has no equivalent".into());
        }
        if self.takes(&Token::Open) {
            let inner = self.any()?;
            return if self.takes(&Token::Close) {
                Ok(inner)
            } else {
                Err("a parenthesis is not closed".into())
            };
        }
        let Some(Token::Word(name)) = self.peek().cloned() else { return Err("a matcher is missing".into()) };
        self.at += 1;
        let mut arguments = Vec::new();
        if !self.takes(&Token::Open) {
            return Err(format!("`{name}` has no arguments"));
        }
        while let Some(Token::Text(text)) = self.peek().cloned() {
            self.at += 1;
            arguments.push(text);
            if !self.takes(&Token::Comma) {
                break;
            }
        }
        if !self.takes(&Token::Close) || arguments.is_empty() {
            return Err(format!("the arguments of `{name}` cannot be read"));
        }
        Match::of(&name, arguments).map(|matched| vec![matched])
    }
}

impl Match {
    fn of(name: &str, arguments: Vec<String>) -> Result<Match, String> {
        let paths = |path: fn(String) -> Path| Match {
            paths: arguments.iter().cloned().map(path).collect(),
            ..Match::default()
        };
        Ok(match name {
            "Host" | "HostSNI" => Match { hosts: arguments, ..Match::default() },
            "HostRegexp" => {
                let hosts: Option<Vec<String>> = arguments.iter().map(|text| one_label(text)).collect();
                let hosts = hosts
                    .ok_or("an expression for hosts has no equivalent; write the hosts, or *.example.com")?;
                Match { hosts, ..Match::default() }
            }
            "Path" => paths(Path::Exact),
            "PathPrefix" => paths(Path::Prefix),
            "PathRegexp" => paths(Path::Expression),
            "ClientIP" => Match { clients: arguments, ..Match::default() },
            _ => {
                return Err(format!(
                    "`{name}` has no equivalent in an Ingress: write an HTTPRoute with `matches` for it"
                ));
            }
        })
    }

    fn and(&self, other: &Match) -> Result<Match, String> {
        let both = |a: &Vec<String>, b: &Vec<String>, what: &str| match (a.is_empty(), b.is_empty()) {
            (true, _) => Ok(b.clone()),
            (_, true) => Ok(a.clone()),
            _ => Err(format!("two conditions on the {what} at the same time have no equivalent")),
        };
        let paths = match (self.paths.is_empty(), other.paths.is_empty()) {
            (true, _) => other.paths.clone(),
            (_, true) => self.paths.clone(),
            _ => return Err("two conditions on the path at the same time have no equivalent".into()),
        };
        Ok(Match {
            hosts: both(&self.hosts, &other.hosts, "host")?,
            paths,
            clients: both(&self.clients, &other.clients, "client")?,
        })
    }
}

/// ``^[a-z0-9-]+\.example\.com$`` and the like are `*.example.com`.
fn one_label(expression: &str) -> Option<String> {
    let inner = expression.trim_start_matches('^').trim_end_matches('$');
    let rest =
        ["[^.]+", "[a-z0-9-]+", "[a-zA-Z0-9-]+", "[a-z-]+", ".+", "{subdomain:[a-z]+}", "{subdomain:.+}"]
            .iter()
            .find_map(|label| inner.strip_prefix(label))?;
    let suffix = rest.strip_prefix("\\.").or_else(|| rest.strip_prefix('.'))?.replace("\\.", ".");
    let plain = suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
    plain.then(|| format!("*.{suffix}"))
}

/// Alternatives of one rule.
const ALTERNATIVES_MAX: usize = 64;

#[cfg(test)]
mod tests;
