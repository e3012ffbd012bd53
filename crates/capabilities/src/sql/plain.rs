//! Which statements leave nothing behind on a connection.

/// Whether `statement` reads or changes rows and nothing else: no setting, no lock, no temporary
/// table, no transaction of its own. Whatever can't be told at a glance is not: the connection is
/// cleaned after it, which costs as much as a query.
///
/// Functions may do anything, so that only those are passed over that are known. What a table's
/// triggers and views do is their owner's, as the table is.
pub(super) fn is_plain(statement: &str) -> bool {
    // Comments may hide what a parenthesis belongs to, `@` is a variable or a function, and a query
    // goes into a table, a variable or a file.
    let hidden = ["--", "/*", "#", "@", "\""];
    if hidden.iter().any(|hidden| statement.contains(hidden)) {
        return false;
    }
    let mut words = statement.split(|c: char| !is_word(c)).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let is_query = ["select", "values", "table"].iter().any(|it| first.eq_ignore_ascii_case(it));
    let is_change = ["insert", "update", "delete"].iter().any(|it| first.eq_ignore_ascii_case(it));
    let begins = statement.trim_start().starts_with(first);
    let goes_into = words.any(|word| word.eq_ignore_ascii_case("into"));
    begins && (is_change || (is_query && !goes_into)) && calls_are_known(statement)
}

/// Whether each parenthesis belongs to something that is known.
fn calls_are_known(statement: &str) -> bool {
    let mut rest = statement;
    let mut before = String::new();
    while let Some((head, tail)) = rest.split_once('(') {
        before.push_str(head);
        let named = before.trim_end();
        let word = named.rsplit(|c: char| !is_word(c)).next().unwrap_or_default();
        let is_known = match word {
            "" => !named.ends_with(['\'', '`', '.', ']']),
            word => {
                let schema = named.strip_suffix(word).unwrap_or_default();
                !schema.trim_end().ends_with('.')
                    && KNOWN.iter().any(|known| word.eq_ignore_ascii_case(known))
            }
        };
        if !is_known {
            return false;
        }
        before.clear();
        before.push('(');
        rest = tail;
    }
    true
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

/// What stands before a parenthesis: of the language itself, and functions that compute.
const KNOWN: [&str; 44] = [
    "abs",
    "all",
    "and",
    "any",
    "as",
    "avg",
    "between",
    "by",
    "cast",
    "coalesce",
    "count",
    "distinct",
    "else",
    "exists",
    "from",
    "having",
    "in",
    "insensitive",
    "join",
    "length",
    "like",
    "lower",
    "max",
    "min",
    "not",
    "now",
    "nullif",
    "numeric",
    "on",
    "or",
    "over",
    "round",
    "select",
    "set",
    "some",
    "substr",
    "substring",
    "sum",
    "then",
    "trim",
    "upper",
    "using",
    "values",
    "where",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_or_changes_rows() {
        for statement in [
            "SELECT name FROM points WHERE id = $1",
            "  select count(*), max(id) from t where a in (1, 2) and (b or c)",
            "INSERT INTO t VALUES ($1, $2)",
            "update t set a = coalesce($1, a) where id = $2",
            "DELETE FROM t WHERE id = 2",
            "SELECT (1 + 2) * (3)",
            "VALUES (1), (2)",
        ] {
            assert!(is_plain(statement), "{statement}");
        }
    }

    #[test]
    fn what_may_leave_something_behind() {
        for statement in [
            "",
            "BEGIN",
            ";BEGIN",
            "SET search_path = nowhere",
            "CREATE TEMP TABLE t (id int)",
            "LISTEN x",
            "LOCK TABLES t WRITE",
            "WITH x AS (SELECT 1) SELECT * FROM x",
            "SELECT * INTO TEMP t FROM u",
            "SELECT 1 INTO OUTFILE '/tmp/x'",
            "SELECT set_config('search_path', 'x', false)",
            "SELECT set_config ('search_path', 'x', false)",
            "SELECT pg_catalog.lower('x')",
            "SELECT pg_catalog . set_config('a', 'b', false)",
            "SELECT set_config -- in\n('a', 'b', false)",
            "SELECT set_config/**/('a', 'b', false)",
            "SELECT \"set_config\"('a', 'b', false)",
            "SELECT `get_lock`('a', 1)",
            "SELECT GET_LOCK('a', 1)",
            "SELECT @a := 1",
            "SELECT 'text' (1)",
            "INSERT INTO t VALUES (nextval('s'))",
            "(SELECT 1)",
        ] {
            assert!(!is_plain(statement), "{statement}");
        }
    }
}
