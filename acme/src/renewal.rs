//! When a certificate is ordered, renewed, or asked about. Pure: the time and the chance are arguments.

use jiff::{SignedDuration, Timestamp};

use crate::chain::Facts;
use crate::name::Name;
use crate::state::{Renewal, State};

/// What is next for one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Order, or go on with the order under way.
    Order(Why),
    /// Ask the CA when to renew (RFC 9773).
    AskCa,
    /// Nothing before this moment.
    Wait(Timestamp),
}

/// Why a certificate is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Missing,
    /// The stored chain or key cannot be used.
    Unusable,
    /// A name came to it.
    Names,
    /// The CA's window, or the share of life without one.
    Due,
}

/// What is stored of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    Nothing,
    /// Something is there, but no chain with its key.
    Unusable,
    Chain(Facts),
}

/// Decides for one certificate at `now`. `names` are those that it must carry.
pub fn next(now: Timestamp, names: &[Name], held: &Held, state: &State) -> Next {
    let Some(why) = why_order(now, names, held, state) else {
        let Held::Chain(facts) = held else { return Next::Wait(now) };
        return match known_renewal(facts, state) {
            None if facts.renewal_id.is_some() => Next::AskCa,
            Some(renewal) if renewal.next_check <= now => Next::AskCa,
            Some(renewal) => Next::Wait(renew_at(facts, state).min(renewal.next_check)),
            None => Next::Wait(renew_at(facts, state)),
        };
    };
    match state.next_try {
        Some(moment) if moment > now => Next::Wait(moment),
        _ => Next::Order(why),
    }
}

/// True when an order that was begun may be gone on with: for these names, at this CA, and young enough.
pub(crate) fn is_usable_order(
    now: Timestamp,
    order: &crate::state::Order,
    names: &[Name],
    directory: &str,
) -> bool {
    order.directory == directory && order.names == names && now.duration_since(order.created) < ORDER_AGE_MAX
}

/// When a certificate is renewed if nothing changes: the moment drawn from the CA's window, else by share of life; and
/// whatever the CA said, before a twentieth of the life is left.
pub fn renew_at(facts: &Facts, state: &State) -> Timestamp {
    let chosen = known_renewal(facts, state).and_then(|renewal| renewal.chosen);
    chosen.unwrap_or_else(|| by_share_of_life(facts)).min(latest(facts))
}

/// Draws a moment from the CA's window; `chance` is from 0 to 1. A window that is over means now.
pub(crate) fn choose(window: (Timestamp, Timestamp), chance: f64) -> Timestamp {
    let (start, end) = window;
    let span = end.duration_since(start).as_secs_f64().max(0.0);
    start + SignedDuration::from_secs_f64(span * chance.clamp(0.0, 1.0))
}

/// When to ask the CA again: as it said, between a minute and half a day.
///
/// RFC 9773 §4.3.2 wants a bound of our own on both sides; twice a day is what an early change of a window asks for.
pub(crate) fn next_check(now: Timestamp, retry_after: Option<Timestamp>) -> Timestamp {
    let asked = retry_after.unwrap_or(now + CHECK_INTERVAL);
    asked.clamp(now + CHECK_INTERVAL_MIN, now + CHECK_INTERVAL_MAX)
}

/// When to ask again after no answer: doubling from a minute, and six hours when the CA said that it will not answer
/// (RFC 9773 §4.3.3).
pub(crate) fn next_check_after_failure(now: Timestamp, failures: u32, is_temporary: bool) -> Timestamp {
    let wait = if is_temporary {
        (CHECK_INTERVAL_MIN * (1 << failures.min(9))).min(CHECK_AGAIN_MAX)
    } else {
        CHECK_AGAIN_MAX
    };
    now + wait
}

/// Where on the scale of alarms a certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    Fine,
    /// It should have been renewed some time ago.
    Warning,
    /// Little of its life is left.
    Critical,
    Expired,
}

/// A renewal that is late shows first as a warning, at two thirds of the share at which it was due.
pub fn alarm(facts: &Facts, now: Timestamp) -> Alarm {
    let due = share_at_renewal(facts);
    match facts.share_left(now) {
        _ if now >= facts.not_after => Alarm::Expired,
        left if left < due * 0.25 => Alarm::Critical,
        left if left < due * (2.0 / 3.0) => Alarm::Warning,
        _ => Alarm::Fine,
    }
}

fn why_order(now: Timestamp, names: &[Name], held: &Held, state: &State) -> Option<Why> {
    let facts = match held {
        Held::Nothing => return Some(Why::Missing),
        Held::Unusable => return Some(Why::Unusable),
        Held::Chain(facts) => facts,
    };
    if facts.first_uncovered(names).is_some() {
        return Some(Why::Names);
    }
    (now >= renew_at(facts, state)).then_some(Why::Due)
}

/// What the CA said of this very certificate.
pub(crate) fn known_renewal<'s>(facts: &Facts, state: &'s State) -> Option<&'s Renewal> {
    state.renewal.as_ref().filter(|renewal| Some(&renewal.certificate) == facts.renewal_id.as_ref())
}

/// A third of the life before its end, half where it lives less than ten days; a twentieth earlier or later, so that
/// certificates that were made together are not renewed together.
fn by_share_of_life(facts: &Facts) -> Timestamp {
    let lifetime = facts.lifetime().as_secs_f64();
    let share = share_at_renewal(facts) + 0.05 * spread(facts);
    facts.not_after - SignedDuration::from_secs_f64(lifetime * share)
}

fn share_at_renewal(facts: &Facts) -> f64 {
    if facts.lifetime() < SHORT_LIFETIME { 0.5 } else { 1.0 / 3.0 }
}

/// The last moment to renew, whatever the CA suggests.
fn latest(facts: &Facts) -> Timestamp {
    facts.not_after - SignedDuration::from_secs_f64(facts.lifetime().as_secs_f64() / 20.0)
}

/// From -1 to 1, and the same for one certificate on every replica and after each restart.
fn spread(facts: &Facts) -> f64 {
    let seed = facts.names.iter().map(Name::as_str).chain(facts.renewal_id.as_deref());
    // FNV-1a: it need be no more than even.
    let hash = seed.flat_map(str::bytes).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// CAs keep an order for a day to a week; `tlsserver` of Let's Encrypt for eight hours. What is older than this is made anew.
pub const ORDER_AGE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);
const SHORT_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 24);
const CHECK_INTERVAL: SignedDuration = SignedDuration::from_hours(6);
const CHECK_INTERVAL_MIN: SignedDuration = SignedDuration::from_mins(1);
const CHECK_INTERVAL_MAX: SignedDuration = SignedDuration::from_hours(12);
const CHECK_AGAIN_MAX: SignedDuration = SignedDuration::from_hours(6);

#[cfg(test)]
mod tests;
