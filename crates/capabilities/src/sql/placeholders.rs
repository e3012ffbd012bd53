//! Parameters as `dhow:sql` has them, `$1` and `$2`, for a server that takes only `?`, in order.
//!
//! What is no SQL is left as it is: strings, with `\` escapes (`mysql.rs` sees to it that the server
//! has them too); quoted identifiers; comments. A `$` within an identifier is part of it. What
//! `/*! */` and `/*+ */` hold is SQL, which the server may run.
//!
//! Spaces are added where they mean nothing to the server: the driver looks for parameters with
//! names (`:name`) in all that it prepares, and loses track of strings behind some operators and
//! comments (`mysql_common`'s `named_params.rs`). It finds none in what comes from here.

use super::database::{Error, wrong};

/// A statement whose parameters are `?`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rewritten {
    pub(super) text: String,
    /// Which parameter each `?` stands for, from 0.
    pub(super) order: Vec<usize>,
}

impl Rewritten {
    /// How many parameters the statement takes: up to the highest number.
    pub(super) fn expected(&self) -> usize {
        self.order.iter().max().map_or(0, |highest| highest + 1)
    }
}

/// Has `?` for each `$1` in `statement`.
///
/// # Errors
/// When it has parameters that are written otherwise, or `/*M! */`, which only some servers run.
pub(super) fn rewrite(statement: &str) -> Result<Rewritten, Error> {
    let mut reader = Reader {
        rest: statement,
        text: String::with_capacity(statement.len()),
        order: Vec::new(),
        is_in_comment: false,
    };
    while let Some(next) = reader.rest.chars().next() {
        reader.step(next)?;
    }
    Ok(Rewritten { text: reader.text, order: reader.order })
}

struct Reader<'a> {
    rest: &'a str,
    text: String,
    order: Vec<usize>,
    /// One whose content is SQL.
    is_in_comment: bool,
}

impl Reader<'_> {
    fn step(&mut self, next: char) -> Result<(), Error> {
        match next {
            '\'' | '"' | '`' => self.take(quoted(self.rest, next, next != '`')),
            '#' => self.take(line(self.rest)),
            '-' if is_line_comment(self.rest) => {
                self.take(2);
                if !self.rest.starts_with(' ') {
                    self.text.push(' ');
                }
                self.take(line(self.rest));
            }
            '/' if self.rest.starts_with("/*") => self.comment()?,
            '*' if self.is_in_comment && self.rest.starts_with("*/") => {
                self.is_in_comment = false;
                self.take(2);
                self.text.push(' ');
            }
            '-' | '/' => {
                self.take(1);
                if self.rest.starts_with(['\'', '"', '`', '#', '-', '/', ':']) {
                    self.text.push(' ');
                }
            }
            ':' => {
                self.take(1);
                if self.rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') {
                    self.text.push(' ');
                }
            }
            '?' => return Err(wrong(WRITTEN)),
            '$' => self.parameter()?,
            _ => self.take(next.len_utf8()),
        }
        Ok(())
    }

    /// Takes so many bytes over as they are.
    fn take(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.text.push_str(taken);
        self.rest = rest;
    }

    fn comment(&mut self) -> Result<(), Error> {
        if self.rest.starts_with("/*M!") {
            return Err(wrong("/*M! */ is SQL for some servers only: write it without"));
        }
        if self.rest.starts_with("/*!") || self.rest.starts_with("/*+") {
            self.is_in_comment = true;
            self.take(3);
            return Ok(());
        }
        let inner = self.rest.strip_prefix("/*").unwrap_or_default();
        match inner.split_once("*/") {
            Some((comment, rest)) => {
                self.text.extend(["/* ", comment, " */"]);
                self.rest = rest;
            }
            None => self.take(self.rest.len()),
        }
        Ok(())
    }

    fn parameter(&mut self) -> Result<(), Error> {
        let after = self.rest.strip_prefix('$').unwrap_or_default();
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = after.strip_suffix(rest).unwrap_or_default();
        let is_name = self.text.ends_with(is_identifier) || rest.starts_with(is_identifier);
        if is_name || digits.is_empty() {
            self.take(1);
            return Ok(());
        }
        let number = digits.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        self.order.push(number.ok_or_else(|| wrong(WRITTEN))?);
        self.text.push('?');
        self.rest = rest;
        Ok(())
    }
}

const WRITTEN: &str = "parameters are written $1, $2 and so on";

/// How long what `text` begins with is, up to the next `quote`; one that is doubled ends one and begins
/// the next.
pub(super) fn quoted(text: &str, quote: char, has_escapes: bool) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let is_end = *c == quote && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped && has_escapes;
        is_end
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// `--` begins a comment only before a space or a control character (MySQL, "Comments").
pub(super) fn is_line_comment(text: &str) -> bool {
    let Some(after) = text.strip_prefix("--") else { return false };
    after.chars().next().is_none_or(|c| c.is_ascii_whitespace() || c.is_ascii_control())
}

/// How long the line is.
pub(super) fn line(text: &str) -> usize {
    text.find('\n').map_or(text.len(), |at| at + 1)
}

/// MySQL, "Schema Object Names"; after `@` a variable's name.
pub(super) fn is_identifier(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '@') || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> (String, Vec<usize>) {
        let Rewritten { text, order } = rewrite(text).unwrap();
        (text, order)
    }

    #[test]
    fn in_any_order_and_more_than_once() {
        let found = rewrite("SELECT $2,$1, ($2)").unwrap();
        assert_eq!((&*found.text, &*found.order), ("SELECT ?,?, (?)", &[1, 0, 1][..]));
        assert_eq!(found.expected(), 2);
        // As for SQLite: one that is not used is given all the same.
        assert_eq!(rewrite("SELECT $3").unwrap().expected(), 3);
        assert_eq!(rewrite("SELECT 1").unwrap().expected(), 0);
        assert_eq!(rewritten("$10"), ("?".to_owned(), vec![9]));
    }

    #[test]
    fn what_is_no_parameter_stays() {
        for text in [
            "'$1'",
            "'it''s $1'",
            r"'\'$1'",
            r"'\\''$1'",
            r#""say \"$1\" ""$1""#,
            "`a``$1`",
            r"`a\`",
            "# $1 it's",
            "-- $1 it's",
            "a$1",
            "ä$1",
            "@$1",
            "$a",
            "$1a",
            "$",
            "a->'$.b'",
            "a->>'$[1]'",
            "@a:=1",
            "'unfinished $1",
            "/* unfinished $1",
            "\u{1F600}'$1'\u{1F600}",
        ] {
            assert_eq!(rewritten(text), (text.to_owned(), vec![]), "{text}");
        }
        assert_eq!(rewritten("/*$1?*/$1"), ("/* $1? */?".to_owned(), vec![0]));
        assert_eq!(rewritten("--\t'\n$1"), ("-- \t'\n?".to_owned(), vec![0]));
        assert_eq!(rewritten("#'\n$1"), ("#'\n?".to_owned(), vec![0]));
        assert_eq!(rewritten("1--$1"), ("1- -?".to_owned(), vec![0]));
    }

    #[test]
    fn what_is_run_in_comments_is_sql() {
        let text = "SELECT /*!50000 $1, */ '$2', /*+ NO_BKA(t) */ $2*/**/3";
        let expected = "SELECT /*!50000 ?, */  '$2', /*+ NO_BKA(t) */  ?*/*  */3";
        assert_eq!(rewritten(text), (expected.to_owned(), vec![0, 1]));
        for text in ["?", "SELECT ?", "$0", "SELECT '' ?", "/*! ? */", "/*M!100000 $1 */"] {
            assert!(matches!(rewrite(text), Err(Error::Statement(_))), "{text}");
        }
        assert!(rewrite("$99999999999999999999").is_err());
    }

    #[test]
    fn the_driver_finds_no_names() {
        for (text, expected) in [
            ("8/'2:a'", "8/ '2:a'"),
            ("8-':a'", "8- ':a'"),
            ("a: LOOP", "a: LOOP"),
            ("a:begin", "a: begin"),
            ("/**/':a'", "/*  */':a'"),
            ("/***/':a'", "/* * */':a'"),
            ("/*!1*/':a'", "/*!1*/ ':a'"),
        ] {
            assert_eq!(rewritten(text), (expected.to_owned(), vec![]), "{text}");
        }
    }

    /// Any pieces one after the other are rewritten piece by piece.
    #[test]
    fn piece_by_piece() {
        const PIECES: [(&str, &str, Option<usize>); 14] = [
            ("$1", "?", Some(0)),
            ("$12", "?", Some(11)),
            ("'$1 \\' '' `'", "'$1 \\' '' `'", None),
            ("\"$1 \\\" ' -- \"", "\"$1 \\\" ' -- \"", None),
            ("`$1 ' \\`", "`$1 ' \\`", None),
            ("/* ' $1 */", "/*  ' $1  */", None),
            ("-- ' $1\n", "-- ' $1\n", None),
            ("# ' $1\n", "# ' $1\n", None),
            ("a$1", "a$1", None),
            ("- 1", "- 1", None),
            ("/ 2", "/ 2", None),
            ("-'$1'", "- '$1'", None),
            ("größe", "größe", None),
            (":name", ": name", None),
        ];
        let mut random = 1_u32;
        for _ in 0..2000 {
            let (mut text, mut expected, mut order) = (String::new(), String::new(), Vec::new());
            for _ in 0..8 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (piece, becomes, parameter) = PIECES[random as usize / 7 % PIECES.len()];
                text.extend([piece, " "]);
                expected.extend([becomes, " "]);
                order.extend(parameter);
            }
            assert_eq!(rewritten(&text), (expected, order), "{text}");
        }
    }
}
