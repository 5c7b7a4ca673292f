//! Windows of time: `Mon-Fri 08:00-18:00 Europe/Berlin; Sat 10:00-14:00 Europe/Berlin`.
//!
//! A window that ends at or before the time it begins runs overnight and belongs to the day on which it begins. Times are
//! those of the clock on the wall in its zone: where the clock is put forward a window may be an hour shorter.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::workload::shorten;

/// Windows, any of which counts. Empty: never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    windows: Vec<Window>,
}

/// One window, on some days of each week.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    /// From Monday on.
    days: [bool; 7],
    start: Time,
    /// At or before the start: on the next day.
    end: Time,
    zone: TimeZone,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error(
        "`{0}` is no window: write it as `Mon-Fri 08:00-18:00 Europe/Berlin`, days and zone as you need them"
    )]
    Form(Box<str>),
    #[error("`{0}` is neither a day (Mon, Tue, Wed, Thu, Fri, Sat, Sun) nor a span of days (Mon-Fri)")]
    Day(Box<str>),
    #[error("`{0}` is no span of time: write it as `08:00-18:00`")]
    Time(Box<str>),
    #[error("there is no time zone `{0}`: write a name of the time zone database, such as Europe/Berlin")]
    Zone(Box<str>),
    #[error("it has {0} windows, at most {WINDOWS_MAX} are taken")]
    TooMany(usize),
}

impl Schedule {
    /// Reads windows that stand between semicolons. Without days every day counts; without a zone it is UTC.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let windows: Vec<Window> = text
            .split(';')
            .map(str::trim)
            .filter(|window| !window.is_empty())
            .map(Window::parse)
            .collect::<Result<_, _>>()?;
        match windows.len() {
            0 => Err(ScheduleError::Form(shorten(text))),
            1..=WINDOWS_MAX => Ok(Schedule { windows }),
            count => Err(ScheduleError::TooMany(count)),
        }
    }

    /// Both together.
    #[must_use]
    pub fn joined(mut self, other: &Schedule) -> Self {
        self.windows.extend(other.windows.iter().cloned());
        self
    }

    /// True when there is no window at all.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// When the window ends that `now` is in; the last one where several overlap. `None`: `now` is in none.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = |at: Timestamp| {
            let around = self.windows.iter().flat_map(move |window| window.around(at));
            around.filter(|(start, end)| *start <= at && at < *end).map(|(_, end)| end).max()
        };
        let mut until = ends(now)?;
        // Windows that follow on each other are one.
        for _ in 0..WINDOWS_MAX {
            match ends(until) {
                Some(later) => until = later,
                None => break,
            }
        }
        Some(until)
    }

    /// The next moment after `now` at which a window begins or ends. `None`: never.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let around = self.windows.iter().flat_map(|window| window.around(now));
        around.flat_map(|(start, end)| [start, end]).filter(|moment| *moment > now).min()
    }
}

impl Window {
    fn parse(text: &str) -> Result<Self, ScheduleError> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let at = words.iter().position(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let at = at.ok_or_else(|| ScheduleError::Form(shorten(text)))?;
        let after = words.split_off(at + 1);
        let span = words.remove(at);
        let zone = match after[..] {
            [] => TimeZone::UTC,
            [name] => TimeZone::get(name).map_err(|_| ScheduleError::Zone(shorten(name)))?,
            _ => return Err(ScheduleError::Form(shorten(text))),
        };
        let days = parse_days(&words.join(","))?;
        let (start, end) = parse_span(span)?;
        Ok(Window { days, start, end, zone })
    }

    /// Its occurrences from yesterday to eight days ahead, as far as the calendar goes.
    fn around(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(now).date();
        (-1..=8_i64).filter_map(move |offset| {
            let day = today.checked_add(offset.days()).ok()?;
            let is_on = self.days[usize::from(day.weekday().to_monday_zero_offset().unsigned_abs())];
            if !is_on {
                return None;
            }
            let last = if self.end <= self.start { day.tomorrow().ok()? } else { day };
            Some((self.moment(day, self.start)?, self.moment(last, self.end)?))
        })
    }

    /// The moment of a time on the wall; one that is left out by a change of clocks is that of the change.
    fn moment(&self, day: Date, time: Time) -> Option<Timestamp> {
        self.zone.to_ambiguous_timestamp(day.to_datetime(time)).compatible().ok()
    }
}

/// `Mon-Fri`, `Mon,Wed`, `Sat`; nothing at all is every day.
pub(crate) fn parse_days(text: &str) -> Result<[bool; 7], ScheduleError> {
    let mut days = [false; 7];
    let mut any = false;
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let fault = || ScheduleError::Day(shorten(item));
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (day(first).ok_or_else(fault)?, day(last).ok_or_else(fault)?);
        let length = (last + 7 - first) % 7;
        for offset in 0..=length {
            days[(first + offset) % 7] = true;
        }
        any = true;
    }
    Ok(if any { days } else { [true; 7] })
}

/// From Monday, 0.
fn day(text: &str) -> Option<usize> {
    const DAYS: [(Weekday, &str); 7] = [
        (Weekday::Monday, "monday"),
        (Weekday::Tuesday, "tuesday"),
        (Weekday::Wednesday, "wednesday"),
        (Weekday::Thursday, "thursday"),
        (Weekday::Friday, "friday"),
        (Weekday::Saturday, "saturday"),
        (Weekday::Sunday, "sunday"),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let is = |name: &str| lower.len() >= 3 && name.starts_with(&lower);
    DAYS.iter()
        .find(|(_, name)| is(name))
        .map(|(day, _)| usize::from(day.to_monday_zero_offset().unsigned_abs()))
}

/// `08:00-18:00`; `24:00` is the end of the day.
fn parse_span(text: &str) -> Result<(Time, Time), ScheduleError> {
    let fault = || ScheduleError::Time(shorten(text));
    let (start, end) = text.split_once('-').ok_or_else(fault)?;
    let end = if end == "24:00" { Some(Time::midnight()) } else { parse_time(end) };
    Ok((parse_time(start).ok_or_else(fault)?, end.ok_or_else(fault)?))
}

fn parse_time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let is_plain = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| text.parse::<i8>().ok())?
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

/// Windows of one schedule.
pub const WINDOWS_MAX: usize = 32;

#[cfg(test)]
mod tests;
