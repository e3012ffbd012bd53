//! Parameters as other interfaces' guests write them, for a database that takes `$1` and `$2`.

use std::fmt::Write as _;

use super::placeholders::{is_identifier, is_line_comment, line, quoted};

/// In whose words a statement is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `?`, in order.
    Mysql,
    /// Also `?1`, and `:name`, `@name` and `$name`, which count where they stand first (SQLite,
    /// "Parameters").
    Sqlite,
    /// `?`, in order, in whatever SQL it is.
    Any,
}

/// Has `$1`, `$2` for the parameters of `statement`.
pub(super) fn numbered(statement: &str, dialect: Dialect) -> String {
    let mut reader = Reader {
        rest: statement,
        text: String::with_capacity(statement.len() + 8),
        dialect,
        names: Vec::new(),
        highest: 0,
    };
    while let Some(next) = reader.rest.chars().next() {
        reader.step(next);
    }
    reader.text
}

struct Reader<'a> {
    rest: &'a str,
    text: String,
    dialect: Dialect,
    names: Vec<(&'a str, usize)>,
    /// The highest number that a parameter has.
    highest: usize,
}

impl Reader<'_> {
    fn step(&mut self, next: char) {
        let is_mysql = self.dialect == Dialect::Mysql;
        let length = match next {
            '\'' | '"' | '`' => quoted(self.rest, next, is_mysql && next != '`'),
            '[' if self.dialect == Dialect::Sqlite => {
                self.rest.find(']').map_or(self.rest.len(), |at| at + 1)
            }
            '#' if is_mysql => line(self.rest),
            '-' if is_mysql && is_line_comment(self.rest) => line(self.rest),
            '-' if !is_mysql && self.rest.starts_with("--") => line(self.rest),
            '/' if self.rest.starts_with("/*") => self.comment(),
            '?' => return self.question(),
            ':' | '@' | '$' if self.dialect == Dialect::Sqlite => return self.name(),
            _ => next.len_utf8(),
        };
        self.take(length);
    }

    /// Takes so many bytes over as they are.
    fn take(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.text.push_str(taken);
        self.rest = rest;
    }

    /// How long the comment is. In some of MySQL's is SQL: of those, only their beginning.
    fn comment(&self) -> usize {
        let is_sql = self.rest.starts_with("/*!") || self.rest.starts_with("/*+");
        if is_sql && self.dialect == Dialect::Mysql {
            return 3;
        }
        let inner = self.rest.strip_prefix("/*").unwrap_or_default();
        inner.find("*/").map_or(self.rest.len(), |at| at + 4)
    }

    fn question(&mut self) {
        let after = self.rest.strip_prefix('?').unwrap_or_default();
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = after.strip_suffix(rest).unwrap_or_default();
        match digits.parse() {
            Ok(number) if self.dialect == Dialect::Sqlite => {
                self.parameter(number, 1 + digits.len());
            }
            _ => self.parameter(self.highest.saturating_add(1), 1),
        }
    }

    /// `:name`, unless it is another database's: `a::text`, `a @> b`, a `$` within an identifier.
    fn name(&mut self) {
        let after = self.rest.get(1..).unwrap_or_default();
        let length = self.rest.len() - after.trim_start_matches(is_identifier).len();
        let name = self.rest.get(..length).unwrap_or_default();
        if self.rest.starts_with("::") {
            self.take(2);
        } else if length == 1 || self.text.ends_with(is_identifier) {
            self.take(1);
        } else if let Some((_, number)) = self.names.iter().find(|(known, _)| *known == name) {
            self.parameter(*number, length);
        } else {
            let number = self.highest.saturating_add(1);
            self.names.push((name, number));
            self.parameter(number, length);
        }
    }

    /// Has a number for the parameter of that length. It stands apart from words, which could be
    /// taken for parts of it.
    fn parameter(&mut self, number: usize, length: usize) {
        self.highest = self.highest.max(number);
        if self.text.ends_with(is_identifier) {
            self.text.push(' ');
        }
        let _ = write!(self.text, "${number}");
        self.rest = self.rest.get(length..).unwrap_or_default();
        if self.rest.starts_with(is_identifier) {
            self.text.push(' ');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order() {
        for dialect in [Dialect::Mysql, Dialect::Sqlite, Dialect::Any] {
            for (text, expected) in [
                ("SELECT ?, ?", "SELECT $1, $2"),
                ("SELECT 1", "SELECT 1"),
                ("a=?AND b LIKE?", "a=$1 AND b LIKE $2"),
                ("'?' \"?\" `?` 'it''s ?' ?", "'?' \"?\" `?` 'it''s ?' $1"),
                ("-- ?'\n?", "-- ?'\n$1"),
                ("/* ?' */?", "/* ?' */$1"),
                ("'unfinished ?", "'unfinished ?"),
                ("größe = ?", "größe = $1"),
            ] {
                assert_eq!(numbered(text, dialect), expected, "{dialect:?}");
            }
        }
    }

    #[test]
    fn as_sqlite_counts_them() {
        for (text, expected) in [
            ("?2, ?, ?1", "$2, $3, $1"),
            (":a, @b, $c, :a", "$1, $2, $3, $1"),
            ("$2, $1", "$1, $2"),
            ("?, :a, ?", "$1, $2, $3"),
            ("a::text, b @> c, d$1, [?]", "a::text, b @> c, d$1, [?]"),
            ("'\\', ?", "'\\', $1"),
            ("#?", "#$1"),
        ] {
            assert_eq!(numbered(text, Dialect::Sqlite), expected);
        }
    }

    #[test]
    fn as_mysql_writes_them() {
        for (text, expected) in [
            (r"'\'?', ?", r"'\'?', $1"),
            ("# ?\n?", "# ?\n$1"),
            ("1--?", "1--$1"),
            ("/*!50000 ?, */ /*+ a(?) */ ?", "/*!50000 $1, */ /*+ a($2) */ $3"),
            (":a, @b, [?]", ":a, @b, [$1]"),
        ] {
            assert_eq!(numbered(text, Dialect::Mysql), expected);
        }
        assert_eq!(numbered("a ? $1 :b", Dialect::Any), "a $1 $1 :b");
    }
}
