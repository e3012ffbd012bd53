//! Values as text, for databases that keep them so and interfaces that have no more: dates and times by
//! ISO 8601 and RFC 3339, arrays as Postgres writes them.

use time::{
    OffsetDateTime, PrimitiveDateTime,
    format_description::{BorrowedFormatItem as Format, well_known::Rfc3339},
    macros::format_description,
};

use super::{
    database::{Date, Instant, Time, Timestamp, Value},
    postgres_value::{array, hex, quoted},
};

const DATE: &[Format<'_>] = format_description!("[year]-[month]-[day]");
const TIME: &[Format<'_>] =
    format_description!("[hour]:[minute]:[second][optional [.[subsecond]]]");
const TIMESTAMP: &[Format<'_>] = format_description!(
    "[year]-[month]-[day][first [ ] [T]][hour]:[minute]:[second][optional [.[subsecond]]]"
);

pub(super) fn of(value: Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Integer(integer) => integer.to_string(),
        Value::Unsigned(integer) => integer.to_string(),
        Value::Float(float) => float.to_string(),
        Value::Decimal(text) | Value::Text(text) | Value::Uuid(text) | Value::Json(text) => text,
        Value::Bytes(bytes) => hex(&bytes),
        Value::Date(date) => of_date(&date),
        Value::Time(time) => of_time(&time),
        Value::Timestamp(timestamp) => of_timestamp(&timestamp),
        Value::Instant(instant) => of_instant(&instant),
        Value::BooleanArray(values) => array(&values, ToString::to_string),
        Value::IntegerArray(values) => array(&values, ToString::to_string),
        Value::FloatArray(values) => array(&values, ToString::to_string),
        Value::TextArray(values) => array(&values, |value| quoted(value)),
    }
}

pub(super) fn of_date(Date { year, month, day }: &Date) -> String {
    format!("{year:04}-{month:02}-{day:02}")
}

pub(super) fn of_time(Time { hour, minute, second, nanosecond }: &Time) -> String {
    let whole = format!("{hour:02}:{minute:02}:{second:02}");
    match nanosecond {
        0 => whole,
        nanosecond => format!("{whole}.{}", format!("{nanosecond:09}").trim_end_matches('0')),
    }
}

pub(super) fn of_timestamp(Timestamp { date, time }: &Timestamp) -> String {
    format!("{} {}", of_date(date), of_time(time))
}

/// In UTC. What is beyond the years that have four digits stays a number.
pub(super) fn of_instant(instant: &Instant) -> String {
    let moment = to_moment(instant).and_then(|moment| moment.format(&Rfc3339).ok());
    moment.unwrap_or_else(|| instant.seconds.to_string())
}

pub(super) fn to_date(text: &str) -> Option<Date> {
    time::Date::parse(text, DATE).ok().map(from_date)
}

pub(super) fn to_time(text: &str) -> Option<Time> {
    time::Time::parse(text, TIME).ok().map(from_time)
}

pub(super) fn to_timestamp(text: &str) -> Option<Timestamp> {
    PrimitiveDateTime::parse(text, TIMESTAMP).ok().map(from_timestamp)
}

pub(super) fn to_instant(text: &str) -> Option<Instant> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok();
    // SQLite's own `CURRENT_TIMESTAMP` is in UTC and does not say so.
    let moment = moment.or_else(|| {
        PrimitiveDateTime::parse(text, TIMESTAMP).ok().map(PrimitiveDateTime::assume_utc)
    });
    moment.map(from_moment)
}

pub(super) fn from_date(date: time::Date) -> Date {
    Date { year: date.year(), month: date.month().into(), day: date.day() }
}

pub(super) fn from_time(time: time::Time) -> Time {
    let (hour, minute, second, nanosecond) = time.as_hms_nano();
    Time { hour, minute, second, nanosecond }
}

pub(super) fn from_timestamp(timestamp: PrimitiveDateTime) -> Timestamp {
    Timestamp { date: from_date(timestamp.date()), time: from_time(timestamp.time()) }
}

pub(super) fn from_moment(moment: OffsetDateTime) -> Instant {
    Instant { seconds: moment.unix_timestamp(), nanoseconds: moment.nanosecond() }
}

pub(super) fn to_moment(Instant { seconds, nanoseconds }: &Instant) -> Option<OffsetDateTime> {
    let moment = OffsetDateTime::from_unix_timestamp(*seconds).ok()?;
    moment.replace_nanosecond(*nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        for text in ["2026-11-22", "0001-01-01"] {
            assert_eq!(of_date(&to_date(text).unwrap()), text);
        }
        for text in ["23:59:59", "00:00:00.000000001", "12:00:00.5"] {
            assert_eq!(of_time(&to_time(text).unwrap()), text);
        }
        assert_eq!(
            of_timestamp(&to_timestamp("2026-11-22T12:00:00").unwrap()),
            "2026-11-22 12:00:00"
        );
        assert_eq!(
            of_instant(&to_instant("2026-11-22T12:00:00.25+01:00").unwrap()),
            "2026-11-22T11:00:00.25Z"
        );
        assert_eq!(to_instant("2026-11-22 12:00:00").unwrap().seconds, 1_795_348_800);
        for text in ["", "2026-13-01", "yesterday", "2026-11-22 12:00"] {
            assert!(to_timestamp(text).is_none(), "{text}");
        }
    }
}
