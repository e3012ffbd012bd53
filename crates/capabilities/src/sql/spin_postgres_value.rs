//! The values of `spin:postgres`, which are Postgres' own types. Of another database they are what
//! comes nearest.

use time::{Month, OffsetDateTime, PrimitiveDateTime};

use super::{
    database::{self, Date, Instant, Time, Timestamp, Value},
    spin_postgres::interface::{
        Column, DbDataType, DbValue, Interval, ParameterValue, RangeBoundKind, Row,
    },
    text,
};

/// The columns, each with the type that the interface has for it.
pub(super) fn columns(columns: Vec<database::Column>) -> Vec<Column> {
    let column = |database::Column { name, type_name }| {
        let data_type = data_type(&type_name).unwrap_or(DbDataType::Other(type_name));
        Column { name, data_type }
    };
    columns.into_iter().map(column).collect()
}

/// In the words of Postgres and of others.
fn data_type(type_name: &str) -> Option<DbDataType> {
    Some(match type_name {
        "bool" | "tinyint(1)" => DbDataType::Boolean,
        "int2" | "smallint" | "tinyint" => DbDataType::Int16,
        "int4" | "int" | "mediumint" => DbDataType::Int32,
        "int8" | "bigint" => DbDataType::Int64,
        "float4" => DbDataType::Floating32,
        "float8" | "double" => DbDataType::Floating64,
        "text" | "varchar" | "bpchar" | "char" | "name" => DbDataType::Str,
        "bytea" | "blob" | "binary" | "varbinary" => DbDataType::Binary,
        "date" => DbDataType::Date,
        "time" => DbDataType::Time,
        "timestamp" | "timestamptz" | "datetime" => DbDataType::Datetime,
        "uuid" => DbDataType::Uuid,
        "json" | "jsonb" => DbDataType::Jsonb,
        "numeric" | "decimal" => DbDataType::Decimal,
        "int4range" => DbDataType::RangeInt32,
        "int8range" => DbDataType::RangeInt64,
        "numrange" => DbDataType::RangeDecimal,
        "_int4" => DbDataType::ArrayInt32,
        "_int8" => DbDataType::ArrayInt64,
        "_numeric" => DbDataType::ArrayDecimal,
        "_text" | "_varchar" => DbDataType::ArrayStr,
        "interval" => DbDataType::Interval,
        _ => return None,
    })
}

pub(super) fn from_row(columns: &[Column], row: database::Row) -> Row {
    let values = columns.iter().zip(row);
    values.map(|(column, value)| from_value(value, &column.data_type)).collect()
}

fn from_value(value: Value, kind: &DbDataType) -> DbValue {
    match value {
        Value::Null => DbValue::DbNull,
        Value::Boolean(boolean) => DbValue::Boolean(boolean),
        Value::Integer(integer) => from_integer(integer, kind),
        Value::Unsigned(integer) => DbValue::Decimal(integer.to_string()),
        Value::Float(float) if matches!(kind, DbDataType::Floating32) => {
            DbValue::Floating32(float as f32)
        }
        Value::Float(float) => DbValue::Floating64(float),
        Value::Decimal(text) => DbValue::Decimal(text),
        Value::Text(text) => from_text(text, kind),
        Value::Bytes(bytes) => match kind {
            DbDataType::Binary => DbValue::Binary(bytes),
            // A value that was computed, and not a column.
            DbDataType::Other(name) if name.is_empty() => DbValue::Binary(bytes),
            _ => DbValue::Unsupported(bytes),
        },
        Value::Date(Date { year, month, day }) => DbValue::Date((year, month, day)),
        Value::Time(Time { hour, minute, second, nanosecond }) => {
            DbValue::Time((hour, minute, second, nanosecond))
        }
        Value::Timestamp(timestamp) => from_timestamp(timestamp),
        Value::Instant(instant) => match text::to_moment(&instant) {
            Some(moment) => {
                let moment = PrimitiveDateTime::new(moment.date(), moment.time());
                from_timestamp(text::from_timestamp(moment))
            }
            None => DbValue::Timestamp(instant.seconds),
        },
        Value::Uuid(text) => DbValue::Uuid(text),
        Value::Json(text) => DbValue::Jsonb(text.into_bytes()),
        Value::IntegerArray(integers) => from_integers(integers, kind),
        Value::TextArray(texts) if matches!(kind, DbDataType::ArrayDecimal) => {
            DbValue::ArrayDecimal(texts)
        }
        Value::TextArray(texts) => DbValue::ArrayStr(texts),
        other @ (Value::BooleanArray(_) | Value::FloatArray(_)) => {
            DbValue::Unsupported(text::of(other).into_bytes())
        }
    }
}

fn from_integer(integer: i64, kind: &DbDataType) -> DbValue {
    let narrow = match kind {
        DbDataType::Int16 => integer.try_into().ok().map(DbValue::Int16),
        DbDataType::Int32 => integer.try_into().ok().map(DbValue::Int32),
        _ => None,
    };
    narrow.unwrap_or(DbValue::Int64(integer))
}

fn from_integers(integers: Vec<Option<i64>>, kind: &DbDataType) -> DbValue {
    let narrow = |integer: &Option<i64>| integer.map(i32::try_from).transpose().ok();
    let narrow: Option<Vec<_>> = integers.iter().map(narrow).collect();
    match (kind, narrow) {
        (DbDataType::ArrayInt32, Some(narrow)) => DbValue::ArrayInt32(narrow),
        _ => DbValue::ArrayInt64(integers),
    }
}

fn from_timestamp(Timestamp { date, time }: Timestamp) -> DbValue {
    let Date { year, month, day } = date;
    let Time { hour, minute, second, nanosecond } = time;
    DbValue::Datetime((year, month, day, hour, minute, second, nanosecond))
}

/// Of some types, [`Native::Postgres`](super::database::Native) is text.
fn from_text(text: String, kind: &DbDataType) -> DbValue {
    let found = match kind {
        DbDataType::RangeInt32 => range(&text).map(DbValue::RangeInt32),
        DbDataType::RangeInt64 => range(&text).map(DbValue::RangeInt64),
        DbDataType::RangeDecimal => range(&text).map(DbValue::RangeDecimal),
        DbDataType::Interval => interval(&text).map(DbValue::Interval),
        _ => None,
    };
    found.unwrap_or(DbValue::Str(text))
}

type Bound<T> = Option<(T, RangeBoundKind)>;

/// A range as Postgres writes it. An empty one is one without bounds: the interface has no other.
fn range<T: std::str::FromStr>(text: &str) -> Option<(Bound<T>, Bound<T>)> {
    let kind = |is_inclusive| match is_inclusive {
        true => RangeBoundKind::Inclusive,
        false => RangeBoundKind::Exclusive,
    };
    let bound = |text: &str, kind| match text {
        "" => Some(None),
        text => Some(Some((text.parse().ok()?, kind))),
    };
    if text == "empty" {
        return Some((None, None));
    }
    let (lower, upper) = text.split_once(',')?;
    let lower = bound(lower.get(1..)?, kind(lower.starts_with('[')))?;
    let end = upper.len().checked_sub(1)?;
    Some((lower, bound(upper.get(..end)?, kind(upper.ends_with(']')))?))
}

/// An interval as `postgres_value.rs` writes it.
fn interval(text: &str) -> Option<Interval> {
    let mut numbers = text.split(' ').step_by(2);
    let months = numbers.next()?.parse().ok()?;
    let days = numbers.next()?.parse().ok()?;
    Some(Interval { months, days, micros: numbers.next()?.parse().ok()? })
}

/// What the database takes for a parameter, or what is wrong with it.
pub(super) fn to_value(parameter: ParameterValue) -> Result<Value, String> {
    Ok(match parameter {
        ParameterValue::DbNull => Value::Null,
        ParameterValue::Boolean(boolean) => Value::Boolean(boolean),
        ParameterValue::Int8(integer) => Value::Integer(integer.into()),
        ParameterValue::Int16(integer) => Value::Integer(integer.into()),
        ParameterValue::Int32(integer) => Value::Integer(integer.into()),
        ParameterValue::Int64(integer) => Value::Integer(integer),
        ParameterValue::Floating32(float) => Value::Float(float.into()),
        ParameterValue::Floating64(float) => Value::Float(float),
        ParameterValue::Str(text) => Value::Text(text),
        ParameterValue::Binary(bytes) => Value::Bytes(bytes),
        ParameterValue::Date((year, month, day)) => Value::Date(Date { year, month, day }),
        ParameterValue::Time((hour, minute, second, nanosecond)) => {
            Value::Time(Time { hour, minute, second, nanosecond })
        }
        // In UTC, which Postgres leaves out where it keeps no zone.
        ParameterValue::Datetime(datetime) => {
            let moment = to_moment(datetime).ok_or("no such date and time")?;
            Value::Instant(text::from_moment(moment))
        }
        ParameterValue::Timestamp(seconds) => Value::Instant(Instant { seconds, nanoseconds: 0 }),
        ParameterValue::Uuid(text) => Value::Uuid(text),
        ParameterValue::Jsonb(bytes) => {
            Value::Json(String::from_utf8(bytes).map_err(|_| "JSON is UTF-8")?)
        }
        ParameterValue::Decimal(text) => Value::Decimal(text),
        ParameterValue::RangeInt32((lower, upper)) => range_text(lower, upper),
        ParameterValue::RangeInt64((lower, upper)) => range_text(lower, upper),
        ParameterValue::RangeDecimal((lower, upper)) => range_text(lower, upper),
        ParameterValue::ArrayInt32(integers) => {
            Value::IntegerArray(integers.into_iter().map(|it| it.map(i64::from)).collect())
        }
        ParameterValue::ArrayInt64(integers) => Value::IntegerArray(integers),
        ParameterValue::ArrayDecimal(texts) | ParameterValue::ArrayStr(texts) => {
            Value::TextArray(texts)
        }
        ParameterValue::Interval(Interval { micros, days, months }) => {
            Value::Text(format!("{months} months {days} days {micros} microseconds"))
        }
    })
}

fn to_moment(
    (year, month, day, hour, minute, second, nanosecond): (i32, u8, u8, u8, u8, u8, u32),
) -> Option<OffsetDateTime> {
    let date = time::Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    let time = time::Time::from_hms_nano(hour, minute, second, nanosecond).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc())
}

fn range_text<T: std::fmt::Display>(lower: Bound<T>, upper: Bound<T>) -> Value {
    let open = match &lower {
        Some((value, RangeBoundKind::Inclusive)) => format!("[{value}"),
        Some((value, RangeBoundKind::Exclusive)) => format!("({value}"),
        None => "(".to_owned(),
    };
    let close = match &upper {
        Some((value, RangeBoundKind::Inclusive)) => format!("{value}]"),
        Some((value, RangeBoundKind::Exclusive)) => format!("{value})"),
        None => ")".to_owned(),
    };
    Value::Text(format!("{open},{close}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_intervals_come_back() {
        let inclusive = |value| Some((value, RangeBoundKind::Inclusive));
        let exclusive = |value| Some((value, RangeBoundKind::Exclusive));
        for (lower, upper, text) in [
            (inclusive(1), exclusive(5), "[1,5)"),
            (exclusive(-1), inclusive(5), "(-1,5]"),
            (inclusive(1), None, "[1,)"),
            (None, None, "(,)"),
        ] {
            let parameter = ParameterValue::RangeInt32((lower, upper));
            let Ok(Value::Text(found)) = to_value(parameter) else { panic!("{text}") };
            assert_eq!(found, text);
            let DbValue::RangeInt32(back) = from_text(found, &DbDataType::RangeInt32) else {
                panic!("{text}")
            };
            assert_eq!(format!("{back:?}"), format!("{:?}", (lower, upper)));
        }
        let given = Interval { micros: -5, days: 2, months: 14 };
        let Ok(Value::Text(text)) = to_value(ParameterValue::Interval(given)) else { panic!() };
        let DbValue::Interval(back) = from_text(text, &DbDataType::Interval) else { panic!() };
        assert_eq!(format!("{back:?}"), format!("{given:?}"));
    }

    #[test]
    fn moments_are_in_utc() {
        let parameter = ParameterValue::Datetime((2026, 11, 22, 12, 0, 0, 5000));
        let Ok(Value::Instant(instant)) = to_value(parameter) else { panic!() };
        assert_eq!((instant.seconds, instant.nanoseconds), (1_795_348_800, 5000));
        let back = from_value(Value::Instant(instant), &DbDataType::Datetime);
        assert!(matches!(back, DbValue::Datetime((2026, 11, 22, 12, 0, 0, 5000))));
        assert!(to_value(ParameterValue::Datetime((2026, 2, 30, 0, 0, 0, 0))).is_err());
    }

    #[test]
    fn integers_are_as_wide_as_their_columns() {
        assert!(matches!(from_value(Value::Integer(1), &DbDataType::Int16), DbValue::Int16(1)));
        let large = from_value(Value::Integer(1 << 40), &DbDataType::Int32);
        assert!(matches!(large, DbValue::Int64(_)));
        let array = vec![Some(1), None];
        let found = from_value(Value::IntegerArray(array), &DbDataType::ArrayInt32);
        assert!(matches!(found, DbValue::ArrayInt32(found) if found == [Some(1), None]));
    }
}
