//! The columns of a table, from the statement that made it. Migrations of a client leave the same columns in different
//! orders, so they are found by their names.

use super::SqliteError;
use super::btree::Rows;

pub(super) struct Schema {
    pub columns: Vec<String>,
    /// Which column is the row id.
    pub rowid: Option<usize>,
}

/// The first page and the columns of a table, by the rows of `sqlite_schema`: type, name, table, first page, statement.
pub(super) fn find(rows: &Rows, name: &str) -> Result<Option<(u32, Schema)>, SqliteError> {
    for (_, row) in rows {
        let [kind, own, _, root, statement, ..] = row.as_slice() else { continue };
        let own = own.text().unwrap_or_default();
        if kind.text() != Some("table") || !own.eq_ignore_ascii_case(name) {
            continue;
        }
        let bad = |reason| SqliteError::Table { name: name.to_string(), reason };
        let root = u32::try_from(root.integer()).ok().filter(|root| *root > 0);
        let root = root.ok_or(bad("it is virtual, or its first page is none"))?;
        let statement = statement.text().ok_or(bad("its statement is no text"))?;
        return Ok(Some((root, columns(statement).map_err(bad)?)));
    }
    Ok(None)
}

fn columns(statement: &str) -> Result<Schema, &'static str> {
    let (inner, after) = split(statement).ok_or("its statement has no list of columns")?;
    if words(after).iter().any(|word| word.eq_ignore_ascii_case("WITHOUT")) {
        return Err("it has no row ids");
    }
    let mut schema = Schema { columns: Vec::new(), rowid: None };
    for definition in inner {
        let words = words(definition);
        let Some(first) = words.first() else { continue };
        let is = |index: usize, word: &str| words.get(index).is_some_and(|w| w.eq_ignore_ascii_case(word));
        // Names in quotes keep them here, so they are none of these.
        if ["UNIQUE", "PRIMARY", "CHECK", "FOREIGN", "CONSTRAINT"].iter().any(|word| is(0, word)) {
            continue;
        }
        if words.iter().any(|w| w.eq_ignore_ascii_case("GENERATED") || w.eq_ignore_ascii_case("AS")) {
            return Err("it has a generated column");
        }
        if is(1, "INTEGER") && is(2, "PRIMARY") && is(3, "KEY") && !is(4, "DESC") {
            schema.rowid = Some(schema.columns.len());
        }
        schema.columns.push(first.trim_matches(['"', '`', '\'', '[', ']']).to_string());
    }
    if schema.columns.is_empty() { Err("it has no columns") } else { Ok(schema) }
}

/// What stands in the outermost parentheses, at its outermost commas, and what follows them.
fn split(statement: &str) -> Option<(Vec<&str>, &str)> {
    let mut parts = Vec::new();
    let (mut depth, mut start, mut quote) = (0u32, 0, None);
    for (at, c) in statement.char_indices() {
        match (quote, c) {
            (Some(end), _) if c == end => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '[') => quote = Some(']'),
            (None, '(') => {
                depth += 1;
                if depth == 1 {
                    start = at + 1;
                }
            }
            (None, ',') if depth == 1 => {
                parts.push(&statement[start..at]);
                start = at + 1;
            }
            (None, ')') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    parts.push(&statement[start..at]);
                    return Some((parts, &statement[at + 1..]));
                }
            }
            _ => {}
        }
    }
    None
}

/// The words of a definition. Quotes stay on them, and blanks inside of quotes do not matter: no client has such names.
fn words(definition: &str) -> Vec<&str> {
    definition.split(|c: char| c.is_whitespace() || c == '(' || c == ')').filter(|w| !w.is_empty()).collect()
}
