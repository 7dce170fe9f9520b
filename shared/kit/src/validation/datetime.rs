//! Dates with a time, as pydantic v1 reads them and Python writes them.

use jiff::{
    SignedDuration, Timestamp, Unit,
    civil::{Date, DateTime, Time},
    tz::Offset,
};

/// A greater number is not a time; the reference takes it for the end of time.
const MAX_NUMBER: f64 = 3e20;
/// A number beyond this (the year 2603) is taken for milliseconds, microseconds or nanoseconds.
const MAX_SECONDS: f64 = 2e10;

/// Whether a text is a date and time that needs no rewriting: RFC 3339, but the offset may be missing.
pub(super) fn is_date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    separators.iter().all(|(position, separator)| bytes.get(*position) == Some(separator))
        && parse(text).is_some_and(|(_, zone)| zone.is_none_or(|zone| zone == "Z" || zone.contains(':')))
}

/// A text that is a date and time in any form pydantic reads, rewritten.
pub(super) fn of_text(text: &str) -> Option<String> {
    let (time, zone) = parse(text)?;
    let zone = match zone {
        None => String::new(),
        Some("Z") => "+00:00".to_owned(),
        Some(zone) => {
            let (hours, minutes) = hours_and_minutes(zone);
            format!("{}{hours}:{minutes}", zone.get(..1)?)
        }
    };
    Some(format!("{}{zone}", iso_format(time)))
}

/// The time that is this many seconds (or a smaller unit, if there are very many) after 1970.
pub(super) fn of_seconds(mut seconds: f64) -> Option<String> {
    if seconds > MAX_NUMBER {
        return Some("9999-12-31T23:59:59.999999".to_owned());
    }
    if seconds < -MAX_NUMBER {
        return Some("0001-01-01T00:00:00".to_owned());
    }
    while seconds.abs() > MAX_SECONDS {
        seconds /= 1000.0;
    }
    let since_epoch = SignedDuration::try_from_secs_f64(seconds).ok()?;
    let timestamp = Timestamp::from_duration(since_epoch).ok()?.round(Unit::Microsecond).ok()?;
    Some(format!("{}+00:00", iso_format(Offset::UTC.to_datetime(timestamp))))
}

fn iso_format(time: DateTime) -> String {
    let fraction = match time.subsec_nanosecond() / 1000 {
        0 => String::new(),
        micros => format!(".{micros:06}"),
    };
    format!("{}{fraction}", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// Reads `YYYY-M-D[T ]H:M[:S[.ffffff]][Z or ±HH[[:]MM]]`, leaving the zone as it is written.
fn parse(text: &str) -> Option<(DateTime, Option<&str>)> {
    let mut cursor = Cursor { rest: text };
    let year: i16 = cursor.number(4, 4)?;
    cursor.skip(&['-'])?;
    let month = cursor.number(1, 2)?;
    cursor.skip(&['-'])?;
    let day = cursor.number(1, 2)?;
    cursor.skip(&['T', ' '])?;
    let hour = cursor.number(1, 2)?;
    cursor.skip(&[':'])?;
    let minute = cursor.number(1, 2)?;
    let second = if cursor.skip(&[':']).is_some() { cursor.number(1, 2)? } else { 0 };
    let has_fraction = cursor.rest.starts_with('.');
    let nanosecond = if has_fraction { cursor.fraction()? } else { 0 };
    let zone = Some(cursor.rest).filter(|rest| !rest.is_empty());

    let date = Date::new(year, month, day).ok().filter(|_| year > 0)?;
    let time = Time::new(hour, minute, second, nanosecond).ok()?;
    zone.is_none_or(is_zone).then(|| (date.to_datetime(time), zone))
}

fn is_zone(zone: &str) -> bool {
    let digits = |text: &str, below: u8| {
        text.len() == 2
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse().is_ok_and(|n: u8| n < below)
    };
    zone == "Z"
        || zone.starts_with(['+', '-']) && zone.is_ascii() && {
            let (hours, minutes) = hours_and_minutes(zone);
            digits(hours, 24) && digits(minutes, 60)
        }
}

/// The parts of an offset such as `+08:00`, `+0800` or `+08`, its sign left off.
fn hours_and_minutes(zone: &str) -> (&str, &str) {
    let (hours, minutes) = zone.get(1..).and_then(|digits| digits.split_at_checked(2)).unwrap_or_default();
    match minutes.strip_prefix(':').unwrap_or(minutes) {
        "" if minutes.is_empty() => (hours, "00"),
        minutes => (hours, minutes),
    }
}

struct Cursor<'t> {
    rest: &'t str,
}

impl<'t> Cursor<'t> {
    fn digits(&mut self, at_least: usize, at_most: usize) -> Option<&'t str> {
        let count = self.rest.bytes().take(at_most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at_checked(count).filter(|_| count >= at_least)?;
        self.rest = rest;
        Some(digits)
    }

    fn number<N: std::str::FromStr>(&mut self, at_least: usize, at_most: usize) -> Option<N> {
        self.digits(at_least, at_most)?.parse().ok()
    }

    fn skip(&mut self, one_of: &[char]) -> Option<()> {
        self.rest = self.rest.strip_prefix(one_of)?;
        Some(())
    }

    /// The nanoseconds of a fraction, of which Python keeps six digits.
    fn fraction(&mut self) -> Option<i32> {
        self.skip(&['.'])?;
        let digits = self.digits(1, 12)?;
        let micros: i32 = format!("{:0<6}", digits.get(..6).unwrap_or(digits)).parse().ok()?;
        Some(micros * 1000)
    }
}
