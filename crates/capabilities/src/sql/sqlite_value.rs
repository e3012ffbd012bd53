//! SQLite's five kinds of values, and the types that columns were declared with.

use rusqlite::types::{ToSqlOutput, Value as Stored, ValueRef};

use super::{
    database::{Error, Value},
    text,
};

/// The type that a column was declared with, as far as it says more than what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declared {
    Boolean,
    Decimal,
    Date,
    Time,
    Timestamp,
    Instant,
    Uuid,
    Json,
    Other,
}

impl Declared {
    /// Of the words in the table's definition, as other databases use them.
    pub(super) fn of(type_name: &str) -> Self {
        let name = type_name.to_ascii_uppercase();
        let first = name.split(['(', ' ']).next().unwrap_or_default();
        match first {
            "BOOLEAN" | "BOOL" => Self::Boolean,
            "DECIMAL" | "NUMERIC" => Self::Decimal,
            "DATE" => Self::Date,
            "TIMESTAMPTZ" => Self::Instant,
            "TIMESTAMP" if name.contains("WITH TIME ZONE") => Self::Instant,
            "TIMESTAMP" | "DATETIME" => Self::Timestamp,
            "TIME" => Self::Time,
            "UUID" => Self::Uuid,
            "JSON" | "JSONB" => Self::Json,
            _ => Self::Other,
        }
    }
}

/// A column declared as a number keeps a decimal as a float (SQLite, "Type Affinity"), which has so
/// many digits.
const MAX_DIGITS: usize = 15;

/// What is stored for `value`.
pub(super) fn to_sql(value: &Value) -> Result<ToSqlOutput<'_>, Error> {
    let stored = match value {
        Value::Null => Stored::Null,
        Value::Boolean(boolean) => Stored::Integer(i64::from(*boolean)),
        Value::Integer(integer) => Stored::Integer(*integer),
        Value::Unsigned(integer) => match i64::try_from(*integer) {
            Ok(integer) => Stored::Integer(integer),
            Err(_) => return Err(Error::ParameterType("SQLite's integers have a sign".into())),
        },
        Value::Float(float) => Stored::Real(*float),
        Value::Decimal(text) if text.bytes().filter(u8::is_ascii_digit).count() > MAX_DIGITS => {
            return Err(Error::ParameterType("SQLite keeps 15 digits of a decimal".into()));
        }
        Value::Decimal(text) | Value::Text(text) | Value::Json(text) | Value::Uuid(text) => {
            return Ok(ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())));
        }
        Value::Bytes(bytes) => return Ok(ToSqlOutput::Borrowed(ValueRef::Blob(bytes))),
        Value::Date(date) => Stored::Text(text::of_date(date)),
        Value::Time(time) => Stored::Text(text::of_time(time)),
        Value::Timestamp(timestamp) => Stored::Text(text::of_timestamp(timestamp)),
        Value::Instant(instant) => Stored::Text(text::of_instant(instant)),
        Value::BooleanArray(_)
        | Value::IntegerArray(_)
        | Value::FloatArray(_)
        | Value::TextArray(_) => {
            return Err(Error::ParameterType("SQLite has no arrays".into()));
        }
    };
    Ok(ToSqlOutput::Owned(stored))
}

/// What a guest gets of what is stored. What does not fit its column's type is given as it is.
///
/// # Errors
/// When a text is none: SQLite keeps whatever bytes somebody says are one.
pub(super) fn from_sql(stored: ValueRef<'_>, declared: Declared) -> Result<Value, Error> {
    Ok(match (stored, declared) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(integer @ (0 | 1)), Declared::Boolean) => Value::Boolean(integer == 1),
        (ValueRef::Integer(integer), Declared::Decimal) => Value::Decimal(integer.to_string()),
        (ValueRef::Integer(integer), Declared::Json) => Value::Json(integer.to_string()),
        (ValueRef::Integer(integer), _) => Value::Integer(integer),
        (ValueRef::Real(float), Declared::Decimal) => Value::Decimal(float.to_string()),
        (ValueRef::Real(float), Declared::Json) => Value::Json(float.to_string()),
        (ValueRef::Real(float), _) => Value::Float(float),
        (ValueRef::Blob(bytes), _) => Value::Bytes(bytes.to_vec()),
        (ValueRef::Text(bytes), declared) => {
            let text = String::from_utf8(bytes.to_vec()).map_err(|_| {
                Error::ColumnType("a text is not UTF-8: CAST it to BLOB for its bytes".to_owned())
            })?;
            let found = match declared {
                Declared::Decimal => return Ok(Value::Decimal(text)),
                Declared::Uuid => return Ok(Value::Uuid(text)),
                Declared::Json => return Ok(Value::Json(text)),
                Declared::Date => text::to_date(&text).map(Value::Date),
                Declared::Time => text::to_time(&text).map(Value::Time),
                Declared::Timestamp => text::to_timestamp(&text).map(Value::Timestamp),
                Declared::Instant => text::to_instant(&text).map(Value::Instant),
                Declared::Boolean | Declared::Other => None,
            };
            found.unwrap_or(Value::Text(text))
        }
    })
}
