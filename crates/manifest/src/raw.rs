//! The manifest's TOML, read key by key. Every key that is asked for becomes known; what is left
//! when a table is finished is a fault.

use std::{fmt, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::Fault;

pub(crate) type Value<'a> = &'a Spanned<DeValue<'a>>;

/// Keys that the design knows and this version does not serve yet.
const NOT_YET: [(&str, &str); 1] = [("schedule", "schedules")];

/// Keys that people bring along from other tools, and what they are called here.
const OTHER_NAMES: [(&str, &str); 13] = [
    ("wasm", "source"),
    ("path", "source"),
    ("module", "source"),
    ("components", "component"),
    ("route", "path"),
    ("routes", "http"),
    ("trigger", "http"),
    ("allowed_outbound_hosts", "grants.http"),
    ("blob", "blobstore"),
    ("environment", "grants.env"),
    ("variables", "grants.env"),
    ("timeout", "time"),
    ("max_memory", "memory"),
];

/// One table, with the faults that reading it found.
pub(crate) struct Table<'a> {
    entries: &'a DeTable<'a>,
    pub(crate) span: Range<usize>,
    known: Vec<&'static str>,
    what: &'static str,
}

impl<'a> Table<'a> {
    pub(crate) fn new(entries: &'a DeTable<'a>, span: Range<usize>, what: &'static str) -> Self {
        Self { entries, span, known: Vec::new(), what }
    }

    /// The value of `key`, which is known from here on.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        self.entries.get(key)
    }

    /// Every key that was not asked for is a fault.
    pub(crate) fn finish(self, faults: &mut Vec<Fault>) {
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                faults.push(self.unknown(name, key.span()));
            }
        }
    }

    fn unknown(&self, name: &str, span: Range<usize>) -> Fault {
        if let Some((_, feature)) = NOT_YET.iter().find(|(key, _)| *key == name) {
            return Fault::new(
                span,
                format!("`{name}`: this version of Dhow does not serve {feature} yet"),
            )
            .help("remove it");
        }
        let fault = Fault::new(span, format!("unknown key `{name}` in {}", self.what));
        let renamed = OTHER_NAMES.iter().find(|(other, ours)| {
            *other == name && self.known.iter().any(|known| ours.starts_with(known))
        });
        let nearest = || strsim_nearest(name, &self.known);
        match renamed.map(|(_, ours)| *ours).or_else(nearest) {
            Some(suggestion) => fault.help(format!("did you mean `{suggestion}`?")),
            None => fault.help(format!("known here: {}", self.known.join(", "))),
        }
    }
}

/// The known key that `name` is most likely a misspelling of.
fn strsim_nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let (distance, nearest) = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&name.to_lowercase(), known), *known))
        .min()?;
    (distance * 3 <= name.len().max(3)).then_some(nearest)
}

/// `value` as a string, or a fault that shows how it would be written.
pub(crate) fn string<'a>(
    value: Value<'a>,
    example: &str,
    faults: &mut Vec<Fault>,
) -> Option<&'a str> {
    let text = value.get_ref().as_str();
    if text.is_none() {
        faults.push(wrong_type(value, "a string", example));
    }
    text
}

/// `value` as an integer. One with more digits than an `i64` has is `i64::MAX`: out of every range.
pub(crate) fn integer(value: Value<'_>, example: &str, faults: &mut Vec<Fault>) -> Option<i64> {
    let Some(number) = value.get_ref().as_integer() else {
        faults.push(wrong_type(value, "an integer", example));
        return None;
    };
    Some(i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(i64::MAX))
}

/// `value`, an integer or a float, in thousandths, rounded. What is below 0 or no number is -1, and
/// what is above an `i64` is `i64::MAX`: out of every range.
pub(crate) fn thousandths(value: Value<'_>, example: &str, faults: &mut Vec<Fault>) -> Option<i64> {
    if value.get_ref().as_integer().is_some() {
        return integer(value, example, faults).map(|whole| whole.saturating_mul(1_000));
    }
    let Some(float) = value.get_ref().as_float() else {
        faults.push(wrong_type(value, "a number", example));
        return None;
    };
    let number: f64 = float.as_str().parse().unwrap_or(f64::NAN);
    // A conversion from a float ends at the bounds of the integer.
    Some(if number >= 0.0 { (number * 1_000.0).round() as i64 } else { -1 })
}

/// Writes thousandths as they are read: `1.5` for 1500.
pub(crate) fn fmt_thousandths(thousandths: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (whole, rest) = (thousandths / 1_000, thousandths % 1_000);
    if rest == 0 {
        return write!(f, "{whole}");
    }
    write!(f, "{whole}.{}", format!("{rest:03}").trim_end_matches('0'))
}

/// What `parse` makes of the string `value`.
pub(crate) fn parsed<T, E: fmt::Display>(
    value: Value<'_>,
    example: &str,
    faults: &mut Vec<Fault>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<T> {
    let text = string(value, example, faults)?;
    parse(text)
        .map_err(|error| {
            faults.push(
                Fault::new(value.span(), format!("`{}`: {error}", text.escape_debug()))
                    .help(format!("write: {example}")),
            );
        })
        .ok()
}

/// `value` as a table.
pub(crate) fn table<'a>(
    value: Value<'a>,
    what: &'static str,
    example: &str,
    faults: &mut Vec<Fault>,
) -> Option<Table<'a>> {
    let Some(entries) = value.get_ref().as_table() else {
        faults.push(wrong_type(value, "a table", example));
        return None;
    };
    Some(Table::new(entries, value.span(), what))
}

/// `value` as strings, each with its place.
pub(crate) fn strings<'a>(
    value: Value<'a>,
    example: &str,
    faults: &mut Vec<Fault>,
) -> Vec<(&'a str, Range<usize>)> {
    let Some(array) = value.get_ref().as_array() else {
        faults.push(wrong_type(value, "an array of strings", example));
        return Vec::new();
    };
    array
        .iter()
        .filter_map(|element| Some((string(element, example, faults)?, element.span())))
        .collect()
}

pub(crate) fn wrong_type(value: Value<'_>, wanted: &str, example: &str) -> Fault {
    let article = match value.get_ref().type_str() {
        kind @ ("array" | "integer") => format!("an {kind}"),
        kind => format!("a {kind}"),
    };
    Fault::new(value.span(), format!("expected {wanted}, found {article}"))
        .help(format!("write: {example}"))
}
