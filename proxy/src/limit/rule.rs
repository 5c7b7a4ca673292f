//! How limits are written: `20/s burst 40 per ip; 600/m per user`, and `10 per ip; 200 per route`.

use std::fmt;

use http::{HeaderName, StatusCode};
use ipnet::IpNet;

use super::{Across, By, Mode};

/// So many requests in so much time, and so many of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    period: Period,
    burst: u32,
}

/// What the annotations of one object limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenLimits {
    pub rates: Vec<WrittenRate>,
    pub at_once: Vec<WrittenAtOnce>,
    pub exempt: Vec<IpNet>,
    /// What those over a rate get in place of 429 with Retry-After.
    pub rate_status: Option<StatusCode>,
    /// The same for requests at once.
    pub at_once_status: Option<StatusCode>,
}

/// One rule of `rate-limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenRate {
    pub rate: Rate,
    pub by: By,
    pub mode: Mode,
    pub across: Across,
}

/// One rule of `concurrency-limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenAtOnce {
    pub max: u32,
    pub by: By,
    pub mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    Second,
    Minute,
    Hour,
    Day,
}

impl Rate {
    /// `count` in a `period`, evenly, of which `burst` may come at once. `None` when one of them is 0 or more
    /// than [`COUNT_MAX`], or when the burst takes more than a year to come back.
    pub fn new(count: u32, period: Period, burst: u32) -> Option<Rate> {
        let bounds = 1..=COUNT_MAX;
        let rate =
            (bounds.contains(&count) && bounds.contains(&burst)).then_some(Rate { count, period, burst })?;
        let refill_ns = rate.interval_ns().checked_mul(u64::from(burst))?;
        (refill_ns <= REFILL_NS_MAX).then_some(rate)
    }

    /// The time between two requests that come evenly.
    pub fn interval_ns(&self) -> u64 {
        self.period.ns() / u64::from(self.count)
    }

    /// How far ahead of even a request may come.
    pub fn tolerance_ns(&self) -> u64 {
        self.interval_ns() * u64::from(self.burst - 1)
    }
}

impl Period {
    fn parse(text: &str) -> Option<Period> {
        Some(match text {
            "s" | "sec" | "second" => Period::Second,
            "m" | "min" | "minute" => Period::Minute,
            "h" | "hour" => Period::Hour,
            "d" | "day" => Period::Day,
            _ => return None,
        })
    }

    fn ns(self) -> u64 {
        const SECOND: u64 = 1_000_000_000;
        match self {
            Period::Second => SECOND,
            Period::Minute => 60 * SECOND,
            Period::Hour => 3_600 * SECOND,
            Period::Day => 86_400 * SECOND,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Period::Second => "s",
            Period::Minute => "m",
            Period::Hour => "h",
            Period::Day => "d",
        }
    }
}

/// Reads `20/s burst 40 per ip; 600/m per route dry-run`. Without `burst` as many may come at once as in the whole period;
/// without `per` clients are told apart by address.
pub fn parse_rates(text: &str) -> Result<Vec<WrittenRate>, String> {
    let rates: Vec<WrittenRate> = rules(text).map(parse_rate).collect::<Result<_, _>>()?;
    bounded(rates)
}

/// Reads `10 per ip; 200 per route`.
pub fn parse_at_once(text: &str) -> Result<Vec<WrittenAtOnce>, String> {
    let limits: Vec<WrittenAtOnce> = rules(text)
        .map(|rule| {
            let mut words = rule.split_ascii_whitespace();
            let max = number(words.next().unwrap_or_default())?;
            let tail = Tail::parse(&mut words)?;
            if tail.burst.is_some() {
                return Err("`burst` has no meaning here".into());
            }
            if tail.across == Across::Cluster {
                return Err(
                    "`cluster` has no meaning here: requests under way are counted on each replica".into()
                );
            }
            Ok(WrittenAtOnce { max, by: tail.by, mode: tail.mode })
        })
        .collect::<Result<_, String>>()?;
    bounded(limits)
}

fn parse_rate(rule: &str) -> Result<WrittenRate, String> {
    let mut words = rule.split_ascii_whitespace();
    let first = words.next().unwrap_or_default();
    let (count, period) = first.split_once('/').ok_or_else(|| format!("`{first}` is no rate"))?;
    let count = number(count)?;
    let period = Period::parse(period).ok_or_else(|| format!("`{period}` is none of s, m, h and d"))?;
    let tail = Tail::parse(&mut words)?;
    let burst = tail.burst.unwrap_or(count);
    let rate = Rate::new(count, period, burst).ok_or("its burst takes more than a year to come back")?;
    Ok(WrittenRate { rate, by: tail.by, mode: tail.mode, across: tail.across })
}

/// What may follow the number.
struct Tail {
    burst: Option<u32>,
    by: By,
    mode: Mode,
    across: Across,
}

impl Tail {
    fn parse<'t>(words: &mut impl Iterator<Item = &'t str>) -> Result<Tail, String> {
        let (mut burst, mut by, mut mode, mut across) = (None, None, Mode::Enforced, Across::Replica);
        while let Some(word) = words.next() {
            match word {
                "burst" if burst.is_none() => burst = Some(number(words.next().unwrap_or_default())?),
                "per" if by.is_none() => by = Some(parse_by(words)?),
                "dry-run" => mode = Mode::DryRun,
                "cluster" => across = Across::Cluster,
                "burst" | "per" => return Err(format!("`{word}` is written twice")),
                _ => return Err(format!("`{word}` is not known")),
            }
        }
        Ok(Tail { burst, by: by.unwrap_or(By::Address), mode, across })
    }
}

fn parse_by<'t>(words: &mut impl Iterator<Item = &'t str>) -> Result<By, String> {
    match words.next() {
        Some("ip" | "address") => Ok(By::Address),
        Some("route") => Ok(By::Route),
        Some("header") => {
            let name = words.next().ok_or("`per header` needs a name")?;
            let name = HeaderName::from_bytes(name.as_bytes());
            Ok(By::Header(name.map_err(|_| "`per header` needs the name of a header")?))
        }
        Some("user") => Ok(By::User),
        Some("group") => Ok(By::Group),
        Some("claim") => Ok(By::Claim(words.next().ok_or("`per claim` needs a name")?.into())),
        Some(word) => {
            Err(format!("`per {word}` is none of ip, user, group, route, header NAME and claim NAME"))
        }
        None => Err("`per` needs a word".into()),
    }
}

fn rules(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim).filter(|rule| !rule.is_empty())
}

fn bounded<T>(rules: Vec<T>) -> Result<Vec<T>, String> {
    match rules.len() {
        0 => Err("it holds no rule".into()),
        1..=RULES_MAX => Ok(rules),
        count => Err(format!("it holds {count} rules, at most {RULES_MAX} are taken")),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let number = text.parse::<u32>().ok().filter(|number| (1..=COUNT_MAX).contains(number));
    number.ok_or_else(|| format!("`{text}` is no number from 1 to {COUNT_MAX}"))
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.period.as_str())?;
        if self.burst == self.count { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

impl fmt::Display for WrittenRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let across = match self.across {
            Across::Replica => "",
            Across::Cluster => " cluster",
        };
        write!(f, "{} per {}{across}{}", self.rate, self.by, suffix(self.mode))
    }
}

impl fmt::Display for WrittenAtOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at once per {}{}", self.max, self.by, suffix(self.mode))
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::Address => f.write_str("ip"),
            By::Route => f.write_str("route"),
            By::Header(name) => write!(f, "header {}", HeaderName::as_str(name)),
            By::User => f.write_str("user"),
            By::Group => f.write_str("group"),
            By::Claim(name) => write!(f, "claim {name}"),
        }
    }
}

fn suffix(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforced => "",
        Mode::DryRun => " dry-run",
    }
}

/// Rules of one object, of each sort.
pub const RULES_MAX: usize = 8;
/// The largest number in a rule: a million in a second is a microsecond for each.
pub const COUNT_MAX: u32 = 1_000_000;
/// A year, so that sums of times stay far from the end of 64 bits.
const REFILL_NS_MAX: u64 = 366 * 86_400 * 1_000_000_000;

#[cfg(test)]
mod tests;
