//! MySQL's types, as the binary protocol of prepared statements has them.

use mysql_async::{
    Value as Stored,
    consts::{ColumnFlags, ColumnType},
};
use time::{Month, PrimitiveDateTime};

use super::{
    database::{Column, Date, Error, Row, Time, Timestamp, Value},
    text,
};

/// What is sent for a parameter. MySQL has microseconds; of what is shorter nothing is kept.
pub(super) fn to_sql(value: &Value) -> Result<Stored, Error> {
    Ok(match value {
        Value::Null => Stored::NULL,
        Value::Boolean(boolean) => Stored::Int((*boolean).into()),
        Value::Integer(integer) => Stored::Int(*integer),
        Value::Unsigned(integer) => Stored::UInt(*integer),
        Value::Float(float) if float.is_finite() => Stored::Double(*float),
        Value::Float(_) => return Err(no_parameter("MySQL's numbers are finite")),
        Value::Decimal(text) | Value::Text(text) | Value::Uuid(text) | Value::Json(text) => {
            Stored::Bytes(text.clone().into_bytes())
        }
        Value::Bytes(bytes) => Stored::Bytes(bytes.clone()),
        Value::Date(date) => Stored::Date(to_year(date.year)?, date.month, date.day, 0, 0, 0, 0),
        Value::Time(Time { hour, minute, second, nanosecond }) => {
            Stored::Time(false, 0, *hour, *minute, *second, nanosecond / 1000)
        }
        Value::Timestamp(timestamp) => to_datetime(timestamp)?,
        Value::Instant(instant) => {
            let moment = text::to_moment(instant).ok_or_else(|| no_parameter(YEARS))?;
            to_datetime(&text::from_timestamp(PrimitiveDateTime::new(
                moment.date(),
                moment.time(),
            )))?
        }
        Value::BooleanArray(_)
        | Value::IntegerArray(_)
        | Value::FloatArray(_)
        | Value::TextArray(_) => return Err(no_parameter("MySQL has no arrays")),
    })
}

const YEARS: &str = "MySQL's years are 0 to 9999";

fn no_parameter(why: &str) -> Error {
    Error::ParameterType(why.to_owned())
}

fn to_year(year: i32) -> Result<u16, Error> {
    let year = u16::try_from(year).ok().filter(|year| *year <= 9999);
    year.ok_or_else(|| no_parameter(YEARS))
}

fn to_datetime(Timestamp { date, time }: &Timestamp) -> Result<Stored, Error> {
    let Date { year, month, day } = *date;
    let Time { hour, minute, second, nanosecond } = *time;
    Ok(Stored::Date(to_year(year)?, month, day, hour, minute, second, nanosecond / 1000))
}

/// What a column's type says beyond how its values are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Bits,
    Decimal,
    Date,
    Instant,
    Bytes,
    Uuid,
    Json,
    Other,
}

/// The collation of what is no text (MySQL, "The binary Character Set").
const BINARY: u16 = 63;
/// A UUID's 36 characters, each of up to four bytes.
const UUID_LENGTH: u32 = 36 * 4;

impl Kind {
    fn of(column: &mysql_async::Column) -> Self {
        let is_unsigned = column.flags().contains(ColumnFlags::UNSIGNED_FLAG);
        let is_binary = column.character_set() == BINARY;
        match column.column_type() {
            // As which `boolean` is kept: the 1 has no other use.
            ColumnType::MYSQL_TYPE_TINY if column.column_length() == 1 && !is_unsigned => {
                Self::Boolean
            }
            ColumnType::MYSQL_TYPE_BIT => Self::Bits,
            ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => Self::Decimal,
            ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => Self::Date,
            ColumnType::MYSQL_TYPE_TIMESTAMP => Self::Instant,
            ColumnType::MYSQL_TYPE_JSON => Self::Json,
            // MariaDB's `uuid`: no other text is without a sign.
            ColumnType::MYSQL_TYPE_STRING
                if is_unsigned && !is_binary && column.column_length() == UUID_LENGTH =>
            {
                Self::Uuid
            }
            ColumnType::MYSQL_TYPE_STRING
            | ColumnType::MYSQL_TYPE_VAR_STRING
            | ColumnType::MYSQL_TYPE_VARCHAR
            | ColumnType::MYSQL_TYPE_TINY_BLOB
            | ColumnType::MYSQL_TYPE_BLOB
            | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
            | ColumnType::MYSQL_TYPE_LONG_BLOB
            | ColumnType::MYSQL_TYPE_GEOMETRY
            | ColumnType::MYSQL_TYPE_VECTOR
                if is_binary =>
            {
                Self::Bytes
            }
            _ => Self::Other,
        }
    }
}

/// A column, its type in MySQL's words.
pub(super) fn described(column: &mysql_async::Column) -> Column {
    let flags = column.flags();
    let is_binary = column.character_set() == BINARY;
    let (name, is_integer) = match column.column_type() {
        ColumnType::MYSQL_TYPE_TINY if Kind::of(column) == Kind::Boolean => ("tinyint(1)", true),
        ColumnType::MYSQL_TYPE_TINY => ("tinyint", true),
        ColumnType::MYSQL_TYPE_SHORT => ("smallint", true),
        ColumnType::MYSQL_TYPE_INT24 => ("mediumint", true),
        ColumnType::MYSQL_TYPE_LONG => ("int", true),
        ColumnType::MYSQL_TYPE_LONGLONG => ("bigint", true),
        ColumnType::MYSQL_TYPE_YEAR => ("year", false),
        ColumnType::MYSQL_TYPE_BIT => ("bit", false),
        ColumnType::MYSQL_TYPE_FLOAT => ("float", false),
        ColumnType::MYSQL_TYPE_DOUBLE => ("double", false),
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => ("decimal", false),
        ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => ("date", false),
        ColumnType::MYSQL_TYPE_TIME => ("time", false),
        ColumnType::MYSQL_TYPE_DATETIME => ("datetime", false),
        ColumnType::MYSQL_TYPE_TIMESTAMP => ("timestamp", false),
        ColumnType::MYSQL_TYPE_JSON => ("json", false),
        ColumnType::MYSQL_TYPE_GEOMETRY => ("geometry", false),
        ColumnType::MYSQL_TYPE_VECTOR => ("vector", false),
        ColumnType::MYSQL_TYPE_NULL => ("null", false),
        // Both are sent as texts.
        _ if flags.contains(ColumnFlags::ENUM_FLAG) => ("enum", false),
        _ if flags.contains(ColumnFlags::SET_FLAG) => ("set", false),
        _ if Kind::of(column) == Kind::Uuid => ("uuid", false),
        ColumnType::MYSQL_TYPE_STRING if is_binary => ("binary", false),
        ColumnType::MYSQL_TYPE_STRING => ("char", false),
        ColumnType::MYSQL_TYPE_VAR_STRING | ColumnType::MYSQL_TYPE_VARCHAR if is_binary => {
            ("varbinary", false)
        }
        ColumnType::MYSQL_TYPE_VAR_STRING | ColumnType::MYSQL_TYPE_VARCHAR => ("varchar", false),
        _ if is_binary => ("blob", false),
        _ => ("text", false),
    };
    let is_unsigned = is_integer && flags.contains(ColumnFlags::UNSIGNED_FLAG);
    let type_name = if is_unsigned { format!("{name} unsigned") } else { name.to_owned() };
    Column { name: column.name_str().into_owned(), type_name }
}

/// What a guest gets of a row.
pub(super) fn from_row(row: mysql_async::Row) -> Result<Row, Error> {
    let columns = row.columns();
    let values = row.unwrap_raw().into_iter().map(|value| value.unwrap_or(Stored::NULL));
    columns.iter().zip(values).map(|(column, value)| from_sql(value, Kind::of(column))).collect()
}

/// What does not fit its column's type is given as it is.
fn from_sql(stored: Stored, kind: Kind) -> Result<Value, Error> {
    Ok(match stored {
        Stored::NULL => Value::Null,
        Stored::Int(integer @ (0 | 1)) if kind == Kind::Boolean => Value::Boolean(integer == 1),
        Stored::Int(integer) => Value::Integer(integer),
        Stored::UInt(integer) => from_unsigned(integer),
        Stored::Float(float) => Value::Float(float.into()),
        Stored::Double(float) => Value::Float(float),
        Stored::Bytes(bytes) => match kind {
            Kind::Bytes => Value::Bytes(bytes),
            Kind::Bits => {
                from_unsigned(bytes.iter().fold(0, |bits, byte| (bits << 8) | u64::from(*byte)))
            }
            kind => match String::from_utf8(bytes) {
                Ok(text) if kind == Kind::Decimal => Value::Decimal(text),
                Ok(text) if kind == Kind::Uuid => Value::Uuid(text),
                Ok(text) if kind == Kind::Json => Value::Json(text),
                Ok(text) => Value::Text(text),
                Err(error) => Value::Bytes(error.into_bytes()),
            },
        },
        Stored::Date(year, month, day, hour, minute, second, micro) => {
            let moment = moment((year, month, day), (hour, minute, second, micro));
            let moment = moment.ok_or_else(|| {
                Error::ColumnType("a date that no calendar has: CAST it to char".to_owned())
            })?;
            match kind {
                Kind::Date => Value::Date(text::from_date(moment.date())),
                Kind::Instant => Value::Instant(text::from_moment(moment.assume_utc())),
                _ => Value::Timestamp(text::from_timestamp(moment)),
            }
        }
        Stored::Time(false, 0, hour, minute, second, micro) => {
            Value::Time(Time { hour, minute, second, nanosecond: micro.saturating_mul(1000) })
        }
        Stored::Time(..) => {
            return Err(Error::ColumnType("a time beyond the day: CAST it to char".to_owned()));
        }
    })
}

fn from_unsigned(integer: u64) -> Value {
    i64::try_from(integer).map_or(Value::Unsigned(integer), Value::Integer)
}

/// None for what MySQL knows besides: days and months that are zero.
fn moment(
    (year, month, day): (u16, u8, u8),
    (hour, minute, second, micro): (u8, u8, u8, u32),
) -> Option<PrimitiveDateTime> {
    let month = Month::try_from(month).ok()?;
    let date = time::Date::from_calendar_date(year.into(), month, day).ok()?;
    let time = time::Time::from_hms_micro(hour, minute, second, micro).ok()?;
    Some(PrimitiveDateTime::new(date, time))
}

#[cfg(test)]
mod tests {
    use super::{super::database::Instant, *};

    #[test]
    fn what_is_sent_comes_back() {
        let date = Date { year: 2026, month: 11, day: 22 };
        let time = Time { hour: 23, minute: 59, second: 58, nanosecond: 123_456_000 };
        for (value, kind) in [
            (Value::Null, Kind::Boolean),
            (Value::Boolean(true), Kind::Boolean),
            (Value::Integer(2), Kind::Boolean),
            (Value::Integer(i64::MIN), Kind::Other),
            (Value::Unsigned(u64::MAX), Kind::Other),
            (Value::Float(0.1), Kind::Other),
            (Value::Decimal("-1.50".to_owned()), Kind::Decimal),
            (Value::Text("grüße".to_owned()), Kind::Other),
            (Value::Bytes(vec![0, 255]), Kind::Bytes),
            (Value::Bytes(vec![0, 255]), Kind::Other),
            (Value::Date(date), Kind::Date),
            (Value::Time(time), Kind::Other),
            (Value::Timestamp(Timestamp { date, time }), Kind::Other),
            (Value::Instant(Instant { seconds: -1, nanoseconds: 5000 }), Kind::Instant),
            (Value::Uuid("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".to_owned()), Kind::Uuid),
            (Value::Json("{}".to_owned()), Kind::Json),
        ] {
            let found = from_sql(to_sql(&value).unwrap(), kind).unwrap();
            assert_eq!(format!("{found:?}"), format!("{value:?}"));
        }
        let bits = from_sql(Stored::Bytes(vec![1, 2]), Kind::Bits).unwrap();
        assert!(matches!(bits, Value::Integer(258)));
    }

    #[test]
    fn what_mysql_has_not_and_what_only_mysql_has() {
        for value in [
            Value::Float(f64::NAN),
            Value::Date(Date { year: 10_000, month: 1, day: 1 }),
            Value::Instant(Instant { seconds: i64::MAX, nanoseconds: 0 }),
            Value::TextArray(vec![]),
        ] {
            assert!(matches!(to_sql(&value), Err(Error::ParameterType(_))), "{value:?}");
        }
        for stored in [
            Stored::Date(0, 0, 0, 0, 0, 0, 0),
            Stored::Date(2026, 2, 30, 0, 0, 0, 0),
            Stored::Time(true, 0, 1, 0, 0, 0),
            Stored::Time(false, 1, 0, 0, 0, 0),
        ] {
            let found = from_sql(stored.clone(), Kind::Other);
            assert!(matches!(found, Err(Error::ColumnType(_))), "{stored:?}");
        }
    }

    #[test]
    fn columns_as_mariadb_describes_them() {
        let unsigned = ColumnFlags::UNSIGNED_FLAG;
        for (kind, charset, length, flags, name, expected) in [
            (ColumnType::MYSQL_TYPE_TINY, 63, 1, ColumnFlags::empty(), "tinyint(1)", Kind::Boolean),
            (ColumnType::MYSQL_TYPE_TINY, 63, 4, ColumnFlags::empty(), "tinyint", Kind::Other),
            (ColumnType::MYSQL_TYPE_TINY, 63, 1, unsigned, "tinyint unsigned", Kind::Other),
            (ColumnType::MYSQL_TYPE_LONGLONG, 63, 20, unsigned, "bigint unsigned", Kind::Other),
            (ColumnType::MYSQL_TYPE_STRING, 45, 144, unsigned, "uuid", Kind::Uuid),
            (ColumnType::MYSQL_TYPE_STRING, 45, 144, ColumnFlags::empty(), "char", Kind::Other),
            (ColumnType::MYSQL_TYPE_STRING, 63, 3, ColumnFlags::empty(), "binary", Kind::Bytes),
            (ColumnType::MYSQL_TYPE_STRING, 45, 4, ColumnFlags::ENUM_FLAG, "enum", Kind::Other),
            (ColumnType::MYSQL_TYPE_BLOB, 63, 65_535, ColumnFlags::empty(), "blob", Kind::Bytes),
            (ColumnType::MYSQL_TYPE_BLOB, 45, 65_535, ColumnFlags::empty(), "text", Kind::Other),
            (ColumnType::MYSQL_TYPE_BIT, 63, 9, unsigned, "bit", Kind::Bits),
        ] {
            let column = mysql_async::Column::new(kind)
                .with_character_set(charset)
                .with_column_length(length)
                .with_flags(flags);
            assert_eq!(described(&column).type_name, name);
            assert_eq!(Kind::of(&column), expected, "{name}");
        }
    }
}
