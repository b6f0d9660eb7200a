//! What kind of statement a text is, as far as the HTTP interface has to know: whether it is an INSERT with data, where
//! its data begins, and which format it asks for.

/// A statement as it came over HTTP: its text, perhaps followed by data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement<'a> {
    /// An INSERT whose data is in `format` and begins after the clause.
    Insert {
        /// The statement without its FORMAT or VALUES clause.
        sql: &'a str,
        format: &'a str,
        /// What follows the clause in this text.
        data: &'a str,
    },
    /// Anything else, with the format that its FORMAT clause names.
    Query { format: Option<&'a str> },
}

/// Looks at a statement. The text is not checked: the engine does that.
pub(crate) fn parse(sql: &str) -> Statement<'_> {
    let mut words = Words::new(sql);
    let Some(first) = words.next() else {
        return Statement::Query { format: None };
    };
    let is_insert = first.is("INSERT");
    let mut format = None;
    while let Some(word) = words.next() {
        if word.is("FORMAT") {
            let Some(name) = words.next() else { break };
            if is_insert {
                return Statement::Insert {
                    sql: sql.get(..word.begin).unwrap_or(sql),
                    format: name.text,
                    data: after_clause(sql.get(name.end()..).unwrap_or_default()),
                };
            }
            format = Some(name.text);
        } else if is_insert && word.is("VALUES") {
            return Statement::Insert {
                sql: sql.get(..word.begin).unwrap_or(sql),
                format: "Values",
                data: after_clause(sql.get(word.end()..).unwrap_or_default()),
            };
        } else if is_insert && (word.is("SELECT") || word.is("WITH")) {
            // INSERT .. SELECT has no data, and its FORMAT, if any, is the engine's business.
            return Statement::Query { format: None };
        }
    }
    Statement::Query { format }
}

/// Whether a statement changes its session: then the connection cannot be used for others.
pub(crate) fn changes_session(sql: &str) -> bool {
    let words: Vec<_> = Words::new(sql).take(4).collect();
    let first = |name| words.first().is_some_and(|word| word.is(name));
    first("SET") || first("USE") || (first("CREATE") && words.iter().any(|word| word.is("TEMPORARY")))
}

/// The data after a clause: the rest of its line if there is something, else what follows. A lone semicolon is none.
fn after_clause(rest: &str) -> &str {
    let rest = rest.trim_start_matches([' ', '\t', '\r']);
    let rest = rest.strip_prefix('\n').unwrap_or(rest);
    if rest.trim() == ";" { "" } else { rest }
}

/// A word outside of quotes, comments and parentheses.
#[derive(Debug, Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    begin: usize,
}

impl Word<'_> {
    fn is(&self, name: &str) -> bool {
        self.text.eq_ignore_ascii_case(name)
    }

    fn end(&self) -> usize {
        self.begin + self.text.len()
    }
}

/// The words of a text at the top level.
struct Words<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips to after the next `end`, or to the end of the text.
    fn skip_past(&mut self, end: &str) {
        self.at = self.rest().find(end).map_or(self.text.len(), |found| self.at + found + end.len());
    }

    /// Skips a quoted text; `at` is after its opening quote. A backslash escapes, and a doubled quote is two texts.
    fn skip_quoted(&mut self, quote: char) {
        let mut escaped = false;
        for (offset, c) in self.rest().char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == quote => {
                    self.at += offset + c.len_utf8();
                    return;
                }
                _ => {}
            }
        }
        self.at = self.text.len();
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        loop {
            let rest = self.rest();
            let c = rest.chars().next()?;
            if rest.starts_with("--") || rest.starts_with('#') {
                self.skip_past("\n");
            } else if rest.starts_with("/*") {
                self.skip_past("*/");
            } else if matches!(c, '\'' | '"' | '`') {
                self.at += 1;
                self.skip_quoted(c);
            } else if c.is_alphanumeric() || c == '_' {
                let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                let word = Word { text: rest.get(..length).unwrap_or(rest), begin: self.at };
                self.at += length;
                if self.depth == 0 {
                    return Some(word);
                }
            } else {
                match c {
                    '(' | '[' | '{' => self.depth += 1,
                    ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                self.at += c.len_utf8();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert<'a>(sql: &'a str, format: &'a str, data: &'a str) -> Statement<'a> {
        Statement::Insert { sql, format, data }
    }

    #[test]
    fn an_insert_is_split_from_its_format_and_data() {
        assert_eq!(
            parse("INSERT INTO t(`format`, b) FORMAT RowBinary"),
            insert("INSERT INTO t(`format`, b) ", "RowBinary", "")
        );
        assert_eq!(
            parse("insert into t settings a = 'format x' format CSV\n1,2\n"),
            insert("insert into t settings a = 'format x' ", "CSV", "1,2\n")
        );
        assert_eq!(
            parse("/* VALUES */ INSERT INTO t -- FORMAT x\n VALUES (1);"),
            insert("/* VALUES */ INSERT INTO t -- FORMAT x\n ", "Values", "(1);")
        );
        assert_eq!(parse("INSERT INTO t FORMAT TSV;"), insert("INSERT INTO t ", "TSV", ""));
    }

    #[test]
    fn anything_else_is_a_query_with_the_format_that_it_names() {
        let query = |format| Statement::Query { format };
        assert_eq!(parse("SELECT 'FORMAT x' FORMAT JSON"), query(Some("JSON")));
        assert_eq!(parse("SELECT (SELECT 1 FORMAT TSV)"), query(None));
        assert_eq!(parse("INSERT INTO t SELECT 1 FORMAT TSV"), query(None));
        assert_eq!(parse("SELECT 'it''s \\' FORMAT x'"), query(None));
        assert_eq!(parse("  "), query(None));
        assert_eq!(parse("SELECT 'never closed"), query(None));
        assert_eq!(parse("SELECT ä FORMAT"), query(None));
    }

    #[test]
    fn statements_that_change_the_session_are_known() {
        assert!(changes_session(" set max_threads = 1"));
        assert!(changes_session("USE x"));
        assert!(changes_session("CREATE OR REPLACE TEMPORARY TABLE x (a Int8)"));
        assert!(!changes_session("CREATE TABLE x (temporary Int8) ENGINE = Memory"));
        assert!(!changes_session("SELECT 1"));
    }
}
