//! Postgres' types. Parameters go out as text, which the server reads as the type that it expects;
//! rows come in as the server keeps them.

use std::{error::Error as StdError, fmt::Write as _};

use bytes::BytesMut;
use thiserror::Error as ThisError;
use time::{OffsetDateTime, PrimitiveDateTime};
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

use super::{
    database::{Error, Row, Value},
    text,
};

/// A parameter of a statement.
#[derive(Debug)]
pub(super) struct Parameter<'a>(pub(super) &'a Value);

/// A parameter of a type that can't be what the statement needs.
#[derive(Debug, ThisError)]
#[error("a parameter of this type can't be {0}")]
pub(super) struct WrongType(String);

impl ToSql for Parameter<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let text = match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Boolean(boolean) => boolean.to_string(),
            Value::Integer(integer) => integer.to_string(),
            Value::Unsigned(integer) => integer.to_string(),
            Value::Float(float) => float.to_string(),
            Value::Decimal(text) | Value::Text(text) | Value::Uuid(text) | Value::Json(text) => {
                text.clone()
            }
            Value::Bytes(bytes) if *kind == Type::BYTEA => hex(bytes),
            Value::Bytes(_) => return Err(Box::new(WrongType(kind.name().to_owned()))),
            Value::Date(date) => text::of_date(date),
            Value::Time(time) => text::of_time(time),
            Value::Timestamp(timestamp) => text::of_timestamp(timestamp),
            Value::Instant(instant) => text::of_instant(instant),
            Value::BooleanArray(values) => array(values, |value| value.to_string()),
            Value::IntegerArray(values) => array(values, |value| value.to_string()),
            Value::FloatArray(values) => array(values, |value| value.to_string()),
            Value::TextArray(values) => array(values, |value| quoted(value)),
        };
        if text.contains('\0') {
            return Err(Box::new(WrongType("text with a NUL".to_owned())));
        }
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// PostgreSQL, section 8.4.1.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = "\\x".to_owned();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// PostgreSQL, section 8.15.2.
pub(super) fn array<T>(values: &[Option<T>], show: impl Fn(&T) -> String) -> String {
    let values: Vec<_> =
        values.iter().map(|value| value.as_ref().map_or("NULL".to_owned(), &show)).collect();
    format!("{{{}}}", values.join(","))
}

pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What a guest gets of a row: `dhow:sql`'s values, or Postgres' own.
pub(super) fn from_row(row: &tokio_postgres::Row, is_native: bool) -> Result<Row, Error> {
    let value = |index: usize| match is_native {
        true => row.try_get(index).map(|NativeColumn(value)| value),
        false => row.try_get(index).map(|Column(value)| value),
    };
    let wrong = |error: tokio_postgres::Error| {
        let source = error.source().map(ToString::to_string);
        Error::ColumnType(source.unwrap_or_else(|| error.to_string()))
    };
    (0..row.len()).map(|index| value(index).map_err(wrong)).collect()
}

struct Column(Value);

type FromSqlResult = Result<Column, Box<dyn StdError + Sync + Send>>;

impl<'a> FromSql<'a> for Column {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> FromSqlResult {
        fn get<'a, T: FromSql<'a>>(
            kind: &Type,
            raw: &'a [u8],
        ) -> Result<T, Box<dyn StdError + Sync + Send>> {
            T::from_sql(kind, raw)
        }
        let widened = |values: Vec<Option<i32>>| {
            values.into_iter().map(|value| value.map(i64::from)).collect()
        };
        Ok(Self(match *kind {
            Type::BOOL => Value::Boolean(get(kind, raw)?),
            Type::INT2 => Value::Integer(get::<i16>(kind, raw)?.into()),
            Type::INT4 => Value::Integer(get::<i32>(kind, raw)?.into()),
            Type::INT8 => Value::Integer(get(kind, raw)?),
            Type::OID => Value::Integer(get::<u32>(kind, raw)?.into()),
            Type::FLOAT4 => Value::Float(get::<f32>(kind, raw)?.into()),
            Type::FLOAT8 => Value::Float(get(kind, raw)?),
            Type::NUMERIC => Value::Decimal(numeric(raw).ok_or("not a number as Postgres has it")?),
            Type::BYTEA => Value::Bytes(get(kind, raw)?),
            Type::DATE => Value::Date(text::from_date(get(kind, raw)?)),
            Type::TIME => Value::Time(text::from_time(get(kind, raw)?)),
            Type::TIMESTAMP => {
                Value::Timestamp(text::from_timestamp(get::<PrimitiveDateTime>(kind, raw)?))
            }
            Type::TIMESTAMPTZ => {
                Value::Instant(text::from_moment(get::<OffsetDateTime>(kind, raw)?))
            }
            Type::UUID => Value::Uuid(uuid(raw).ok_or("a UUID has 16 bytes")?),
            Type::JSON => Value::Json(String::from_utf8(raw.to_vec())?),
            // After a byte that says in which version.
            Type::JSONB => {
                Value::Json(String::from_utf8(raw.get(1..).unwrap_or_default().to_vec())?)
            }
            Type::BOOL_ARRAY => Value::BooleanArray(get(kind, raw)?),
            Type::INT4_ARRAY => Value::IntegerArray(widened(get(kind, raw)?)),
            Type::INT8_ARRAY => Value::IntegerArray(get(kind, raw)?),
            Type::FLOAT8_ARRAY => Value::FloatArray(get(kind, raw)?),
            Type::TEXT_ARRAY | Type::VARCHAR_ARRAY => Value::TextArray(get(kind, raw)?),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
                Value::Text(get(kind, raw)?)
            }
            _ => match kind.kind() {
                Kind::Enum(_) => Value::Text(String::from_utf8(raw.to_vec())?),
                Kind::Domain(inner) => return Self::from_sql(inner, raw),
                _ => return Err(format!("{0} can't be given: CAST it to text", kind.name()).into()),
            },
        }))
    }

    fn from_sql_null(_: &Type) -> FromSqlResult {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// As [`Native::Postgres`](super::database::Native) says.
struct NativeColumn(Value);

impl<'a> FromSql<'a> for NativeColumn {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let found = match *kind {
            Type::INTERVAL => interval(raw).map(Value::Text),
            Type::INT4_RANGE => range(raw, whole32).map(Value::Text),
            Type::INT8_RANGE => range(raw, whole64).map(Value::Text),
            Type::NUM_RANGE => range(raw, numeric).map(Value::Text),
            Type::NUMERIC_ARRAY => {
                let numbers = Vec::<Option<Numeric>>::from_sql(kind, raw)?;
                let texts = numbers.into_iter().map(|number| number.map(|Numeric(text)| text));
                Some(Value::TextArray(texts.collect()))
            }
            _ => Column::from_sql(kind, raw).ok().map(|Column(value)| value),
        };
        Ok(Self(found.unwrap_or_else(|| Value::Bytes(raw.to_vec()))))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

struct Numeric(String);

impl<'a> FromSql<'a> for Numeric {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(numeric(raw).ok_or("not a number as Postgres has it")?))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::NUMERIC
    }
}

/// Microseconds, days and months (PostgreSQL's `interval_send`), in words that the server reads.
fn interval(raw: &[u8]) -> Option<String> {
    let (micros, rest) = raw.split_first_chunk()?;
    let (days, rest) = rest.split_first_chunk()?;
    let months = i32::from_be_bytes(rest.try_into().ok()?);
    let (micros, days) = (i64::from_be_bytes(*micros), i32::from_be_bytes(*days));
    Some(format!("{months} months {days} days {micros} microseconds"))
}

/// Flags, and the bounds that there are, each with its length (PostgreSQL's `range_send`).
fn range(raw: &[u8], bound: fn(&[u8]) -> Option<String>) -> Option<String> {
    const EMPTY: u8 = 0x01;
    const LOWER_INCLUSIVE: u8 = 0x02;
    const UPPER_INCLUSIVE: u8 = 0x04;
    const LOWER_INFINITE: u8 = 0x08;
    const UPPER_INFINITE: u8 = 0x10;
    let (flags, mut rest) = raw.split_first()?;
    let has = |flag: u8| flags & flag != 0;
    if has(EMPTY) {
        return Some("empty".to_owned());
    }
    let mut next = |is_infinite: bool| {
        if is_infinite {
            return Some(String::new());
        }
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
        let (value, after) = after.split_at_checked(length)?;
        rest = after;
        bound(value)
    };
    let (lower, upper) = (next(has(LOWER_INFINITE))?, next(has(UPPER_INFINITE))?);
    let open = if has(LOWER_INCLUSIVE) { '[' } else { '(' };
    let close = if has(UPPER_INCLUSIVE) { ']' } else { ')' };
    Some(format!("{open}{lower},{upper}{close}"))
}

fn whole32(raw: &[u8]) -> Option<String> {
    Some(i32::from_be_bytes(raw.try_into().ok()?).to_string())
}

fn whole64(raw: &[u8]) -> Option<String> {
    Some(i64::from_be_bytes(raw.try_into().ok()?).to_string())
}

/// `numeric` as it is sent: the number of groups of four digits, how many of them are before the
/// point less one, the sign, the digits after the point, and the groups (PostgreSQL's
/// `numeric_send`).
fn numeric(raw: &[u8]) -> Option<String> {
    let mut words =
        raw.chunks_exact(2).map(|pair| <[u8; 2]>::try_from(pair).map(u16::from_be_bytes));
    let mut word = || words.next()?.ok();
    let (count, weight, sign, scale) = (word()?, word()?.cast_signed(), word()?, word()?);
    let sign = match sign {
        0x0000 => "",
        0x4000 => "-",
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    let groups: Vec<u16> = (0..count).map_while(|_| word()).collect();
    let group = |place: i32| {
        let index = usize::try_from(i32::from(weight) - place).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let mut whole: String =
        (0..=i32::from(weight)).rev().map(|place| format!("{:04}", group(place))).collect();
    whole = whole.trim_start_matches('0').to_owned();
    if whole.is_empty() {
        whole.push('0');
    }
    let places = i32::from(scale.div_ceil(4));
    let mut fraction: String = (1..=places).map(|place| format!("{:04}", group(-place))).collect();
    fraction.truncate(scale.into());
    Some(if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    })
}

/// RFC 9562, section 4.
fn uuid(raw: &[u8]) -> Option<String> {
    let number = u128::from_be_bytes(raw.try_into().ok()?);
    let digits = format!("{number:032x}");
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    Some([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric_of(words: &[u16]) -> Option<String> {
        numeric(&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn numbers_digit_by_digit() {
        for (words, expected) in [
            (&[0, 0, 0, 0][..], "0"),
            (&[0, 0, 0, 2], "0.00"),
            (&[3, 1, 0x4000, 3, 1, 2345, 6780], "-12345.678"),
            (&[1, -1_i16 as u16, 0, 4, 5], "0.0005"),
            (&[1, -2_i16 as u16, 0, 6, 1200], "0.000012"),
            (&[1, 2, 0, 0, 7], "700000000"),
            (&[0, 0, 0xc000, 0], "NaN"),
        ] {
            assert_eq!(numeric_of(words).as_deref(), Some(expected));
        }
        assert_eq!(numeric_of(&[1, 0]), None);
        assert_eq!(numeric_of(&[0, 0, 0x1234, 0]), None);
    }

    #[test]
    fn intervals_and_ranges() {
        let raw = [&5_i64.to_be_bytes()[..], &(-2_i32).to_be_bytes(), &3_i32.to_be_bytes()];
        let expected = "3 months -2 days 5 microseconds";
        assert_eq!(interval(&raw.concat()).as_deref(), Some(expected));
        assert_eq!(interval(&[0; 15]), None);
        let bound = |value: i32| [4_i32.to_be_bytes(), value.to_be_bytes()].concat();
        let both = [vec![0x02], bound(1), bound(-5)].concat();
        assert_eq!(range(&both, whole32).as_deref(), Some("[1,-5)"));
        let upper = [vec![0x0c], bound(7)].concat();
        assert_eq!(range(&upper, whole32).as_deref(), Some("(,7]"));
        assert_eq!(range(&[0x01], whole32).as_deref(), Some("empty"));
        assert_eq!(range(&[0x02, 0, 0], whole32), None);
    }

    #[test]
    fn texts_that_the_server_reads() {
        assert_eq!(hex(&[0, 255]), "\\x00ff");
        let values = [Some("a\"b\\".to_owned()), None];
        assert_eq!(array(&values, |value| quoted(value)), r#"{"a\"b\\",NULL}"#);
        assert_eq!(uuid(&[0x12; 16]).as_deref(), Some("12121212-1212-1212-1212-121212121212"));
    }
}
