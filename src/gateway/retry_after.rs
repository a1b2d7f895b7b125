//! `Retry-After` (RFC 9110, 10.2.3): seconds, or the moment as an HTTP date in any of its three forms (5.6.7).

use crate::tuf::Time;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The seconds to wait; nothing where the header holds neither. A moment is counted from the reply's own `Date`, since
/// both are the server's clock, and from `now` where it has none.
pub fn seconds(value: &str, date: Option<&str>, now: i64) -> Option<u64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than 64 bits of seconds are for ever.
        return Some(value.parse().unwrap_or(u64::MAX));
    }
    let sent = date.and_then(|date| http_date(date.trim(), now)).unwrap_or(now);
    // A moment that is over asks for nothing.
    let left = http_date(value, sent)?.saturating_sub(sent);
    Some(u64::try_from(left).unwrap_or(0))
}

/// Seconds since 1970. `now` tells the century of a year with two digits.
fn http_date(text: &str, now: i64) -> Option<i64> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (day, month, year, time) = match words.as_slice() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        [weekday, day, month, year, time, "GMT"] if weekday.ends_with(',') => {
            (*day, *month, number(year, 4)?, *time)
        }
        // Sunday, 06-Nov-94 08:49:37 GMT
        [weekday, date, time, "GMT"] if weekday.ends_with(',') => {
            let mut parts = date.splitn(3, '-');
            let (day, month) = (parts.next()?, parts.next()?);
            (day, month, century(number(parts.next()?, 2)?, now), *time)
        }
        // Sun Nov  6 08:49:37 1994
        [_, month, day, time, year] => (*day, *month, number(year, 4)?, *time),
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let day = number(day, 1).or_else(|| number(day, 2))?;
    let whole = Some(time).filter(|time| time.len() == 8)?;
    Some(Time::parse(&format!("{year:04}-{month:02}-{day:02}T{whole}Z"))?.0)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// A year that would be more than 50 years ahead is the last one that ended so.
fn century(year: i64, now: i64) -> i64 {
    let this: i64 = Time(now).to_string().get(..4).and_then(|text| text.parse().ok()).unwrap_or(1970);
    let year = this / 100 * 100 + year;
    if year > this + 50 { year - 100 } else { year }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z, a Thursday.
    const NOW: i64 = 1_767_225_600;

    #[test]
    fn seconds_or_a_moment_or_nothing() {
        for (value, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Thu, 01 Jan 2026 00:02:00 GMT", Some(120)),
            ("  Thu, 01 Jan 2026 00:02:00 GMT  ", Some(120)),
            ("Thursday, 01-Jan-26 00:00:07 GMT", Some(7)),
            ("Thu Jan  1 00:00:07 2026", Some(7)),
            ("Sat Jan 31 00:00:00 2026", Some(30 * 86_400)),
            ("Thu, 29 Feb 2028 00:00:00 GMT", Some(789 * 86_400)),
            // The weekday is the sender's business.
            ("Mon, 01 Jan 2026 00:02:00 GMT", Some(120)),
            // It is over.
            ("Thu, 01 Jan 2026 00:00:00 GMT", Some(0)),
            ("Wed, 31 Dec 2025 23:59:59 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(0)),
            ("Sun Nov  6 08:49:37 1994", Some(0)),
            // Up to 50 years ahead it is this century.
            ("Wednesday, 01-Jan-76 00:00:00 GMT", Some(18_262 * 86_400)),
            ("Saturday, 01-Jan-77 00:00:00 GMT", Some(0)),
            // Nonsense.
            ("", None),
            ("soon", None),
            ("-5", None),
            ("+5", None),
            ("1.5", None),
            ("120 s", None),
            ("0x10", None),
            ("٣", None),
            ("Thu, 01 Jan 2026 00:02:00", None),
            ("Thu, 01 Jan 2026 00:02:00 UTC", None),
            ("Thu, 01 Jan 2026 00:02:00 +0000", None),
            ("Thu, 32 Jan 2026 00:02:00 GMT", None),
            ("Sun, 29 Feb 2026 00:02:00 GMT", None),
            ("Thu, 01 jan 2026 00:02:00 GMT", None),
            ("Thu, 01 Jan 26 00:02:00 GMT", None),
            ("Thu, 01 Jan 2026 0:02:00 GMT", None),
            ("Thu, 01 Jan 2026 25:02:00 GMT", None),
            ("Thu, 01 Jan 2026 00:02:00.5 GMT", None),
            ("Thursday, 01-Jan-2026 00:00:07 GMT", None),
            ("Thursday, 01-26 00:00:07 GMT", None),
            ("2026-01-01T00:02:00Z", None),
            ("Thu, 01 Jan 2026 00:02:00Z+01:00 GMT", None),
            ("Thu Jan 1 2026 00:00:07", None),
        ] {
            assert_eq!(seconds(value, None, NOW), expected, "{value:?}");
        }
    }

    #[test]
    fn a_moment_is_counted_by_the_clock_of_the_server() {
        let moment = "Thu, 01 Jan 2026 00:02:00 GMT";
        for (date, now, expected) in [
            (Some("Thu, 01 Jan 2026 00:01:00 GMT"), 0, 60),
            (Some("Thu, 01 Jan 2026 00:01:00 GMT"), NOW * 2, 60),
            (Some("Thu, 01 Jan 2026 00:03:00 GMT"), NOW, 0),
            (Some("no date"), NOW, 120),
            (None, NOW + 20, 100),
        ] {
            assert_eq!(seconds(moment, date, now), Some(expected), "{date:?} {now}");
            assert_eq!(seconds("5", date, now), Some(5));
        }
    }
}
