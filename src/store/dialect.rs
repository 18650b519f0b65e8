//! What PostgreSQL spells otherwise than SQLite: every query is written once, with `?` marks, and translated here.

use std::borrow::Cow;

use sea_orm::sea_query::ArrayType;
use sea_orm::{DbBackend, Value};

/// What stands for NULL among the numbers of an array, which is none of ours.
const NO_NUMBER: i64 = i64::MIN;

/// Rows as PostgreSQL takes them best: an array for each column. However many they are, the statement is the same text,
/// which is prepared once. Called `rows`, with the columns `c1`, `c2`, …
pub struct Unnested {
    arrays: Vec<Value>,
    /// How each column is read: an array holds no NULL here.
    terms: Vec<Cow<'static, str>>,
}

impl Unnested {
    /// None for another database, and where a column has values that are no numbers, texts or bytes, or of several kinds.
    pub fn of(backend: DbBackend, rows: &mut Vec<Vec<Value>>) -> Option<Self> {
        let columns = rows.first().map(Vec::len).filter(|_| backend == DbBackend::Postgres)?;
        let kinds: Vec<ArrayType> = (0..columns).map(|n| kind_of(rows, n)).collect::<Option<_>>()?;
        let mut by_column: Vec<Vec<Value>> = (0..columns).map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows.drain(..) {
            by_column.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
        let (mut arrays, mut terms) = (Vec::with_capacity(columns), Vec::with_capacity(columns));
        for (n, (kind, mut column)) in kinds.into_iter().zip(by_column).enumerate() {
            let mut term = Cow::Owned(format!("rows.c{}", n + 1));
            if is_numeric(&kind) {
                let mut has_null = false;
                for value in &mut column {
                    let number = number_of(value);
                    has_null |= number.is_none();
                    *value = Value::BigInt(Some(number.unwrap_or(NO_NUMBER)));
                }
                if has_null {
                    term = Cow::Owned(format!("nullif({term}, CAST('{NO_NUMBER}' AS BIGINT))"));
                }
            } else if column.iter().any(is_null) {
                column.iter_mut().for_each(mark);
                term = Cow::Owned(format!("CASE WHEN {term} <> '' THEN substr({term}, 2) END"));
            }
            let kind = if is_numeric(&kind) { ArrayType::BigInt } else { kind };
            arrays.push(Value::Array(kind, Some(Box::new(column))));
            terms.push(term);
        }
        Some(Self { arrays, terms })
    }

    /// A query of these rows whose columns are written as in `row`, a question mark for each.
    pub fn select(&self, row: &str) -> String {
        let mut terms = self.terms.iter();
        let mut text = String::from("SELECT ");
        for (n, part) in row.split('?').enumerate() {
            if n > 0 {
                text.push_str(terms.next().map_or("NULL", |term| term));
            }
            text.push_str(part);
        }
        let columns = 1..=self.arrays.len();
        let names: Vec<String> = columns.map(|n| format!("c{n}")).collect();
        let marks = vec!["?"; names.len()].join(", ");
        text.push_str(&format!(" FROM UNNEST({marks}) AS rows ({})", names.join(", ")));
        text
    }

    pub fn into_values(self) -> Vec<Value> {
        self.arrays
    }
}

/// Keys as one array; none where that is not how the database takes them.
pub fn array(backend: DbBackend, keys: &mut Vec<Value>) -> Option<Value> {
    let first = keys.first().filter(|_| backend == DbBackend::Postgres)?;
    let kind = array_type(first)?;
    if keys.iter().any(|key| is_null(key) || array_type(key).as_ref() != Some(&kind)) {
        return None;
    }
    Some(Value::Array(kind, Some(Box::new(std::mem::take(keys)))))
}

fn kind_of(rows: &[Vec<Value>], column: usize) -> Option<ArrayType> {
    let kind = array_type(rows.first()?.get(column)?)?;
    let fits = |row: &Vec<Value>| {
        let other = row.get(column).and_then(array_type);
        other.is_some_and(|other| other == kind || (is_numeric(&other) && is_numeric(&kind)))
    };
    rows.iter().all(fits).then_some(kind)
}

fn array_type(value: &Value) -> Option<ArrayType> {
    match value {
        Value::BigInt(_) => Some(ArrayType::BigInt),
        Value::Int(_) => Some(ArrayType::Int),
        Value::Unsigned(_) => Some(ArrayType::Unsigned),
        Value::String(_) => Some(ArrayType::String),
        Value::Bytes(_) => Some(ArrayType::Bytes),
        _ => None,
    }
}

fn is_numeric(kind: &ArrayType) -> bool {
    matches!(kind, ArrayType::BigInt | ArrayType::Int | ArrayType::Unsigned)
}

fn number_of(value: &Value) -> Option<i64> {
    match value {
        Value::BigInt(number) => *number,
        Value::Int(number) => number.map(i64::from),
        Value::Unsigned(number) => number.map(i64::from),
        _ => None,
    }
}

fn is_null(value: &Value) -> bool {
    matches!(value, Value::String(None) | Value::Bytes(None) | Value::BigInt(None))
}

/// In a column with a NULL, which is the empty one, every other value has a sign before it.
fn mark(value: &mut Value) {
    *value = match std::mem::replace(value, Value::BigInt(None)) {
        Value::String(text) => Value::String(Some(text.map_or_else(String::new, |text| format!("={text}")))),
        Value::Bytes(bytes) => Value::Bytes(Some(bytes.map_or_else(Vec::new, |mut bytes| {
            bytes.insert(0, b'=');
            bytes
        }))),
        other => other,
    };
}

/// The statement as the backend reads it: for PostgreSQL `?` becomes `$1`, `$2`, …, and `?3` becomes `$3`. A statement
/// uses one kind of mark or the other. Marks in quoted text stay.
pub fn translated(backend: DbBackend, sql: &str) -> Cow<'_, str> {
    if backend != DbBackend::Postgres || !sql.contains('?') {
        return Cow::Borrowed(sql);
    }
    let mut text = String::with_capacity(sql.len() + sql.len() / 4);
    let (mut quoted, mut mark) = (false, 0_u32);
    let mut rest = sql;
    while let Some(at) = rest.find(['?', '\'']) {
        let (before, found) = rest.split_at(at);
        text.push_str(before);
        rest = &found[1..];
        if found.starts_with('\'') {
            quoted = !quoted;
            text.push('\'');
        } else if quoted {
            text.push('?');
        } else if rest.starts_with(|next: char| next.is_ascii_digit()) {
            text.push('$');
        } else {
            mark += 1;
            text.push('$');
            text.push_str(&mark.to_string());
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(sql: &str) -> Cow<'_, str> {
        translated(DbBackend::Postgres, sql)
    }

    #[test]
    fn marks_are_numbered_outside_of_quoted_text() {
        assert_eq!(
            postgres("SELECT '?', 'it''s ?', a FROM b WHERE c = ? AND d = ?"),
            "SELECT '?', 'it''s ?', a FROM b WHERE c = $1 AND d = $2"
        );
        assert_eq!(postgres("WHERE a = ?2 AND b = ?1 OR c = ?2"), "WHERE a = $2 AND b = $1 OR c = $2");
        assert_eq!(postgres("é?ü?"), "é$1ü$2");
    }

    #[test]
    fn rows_are_an_array_a_column_whatever_their_number() {
        let row = |n: i64, name: Option<&str>, at: Option<i64>| -> Vec<Value> {
            vec![n.into(), name.map(str::to_owned).into(), vec![1_u8].into(), at.into()]
        };
        let of = |mut rows: Vec<Vec<Value>>| Unnested::of(DbBackend::Postgres, &mut rows);
        let whole = of(vec![row(1, Some("a"), Some(5)), row(2, Some("b"), Some(6))]).map(|it| it.select("?, ?, ?, ?"));
        let one = of(vec![row(1, Some("a"), Some(5))]).map(|it| it.select("?, ?, ?, ?"));
        assert_eq!(
            whole.as_deref(),
            Some("SELECT rows.c1, rows.c2, rows.c3, rows.c4 FROM UNNEST(?, ?, ?, ?) AS rows (c1, c2, c3, c4)")
        );
        assert_eq!(one, whole);
        let nulls = of(vec![row(1, None, None), row(2, Some(""), Some(6))]);
        let text = nulls.as_ref().map(|it| it.select("?, (SELECT ?), ?, ?")).unwrap_or_default();
        assert!(text.contains("(SELECT CASE WHEN rows.c2 <> '' THEN substr(rows.c2, 2) END)"), "{text}");
        assert!(text.contains("nullif(rows.c4, CAST('-9223372036854775808' AS BIGINT))"), "{text}");
        let values = nulls.map(Unnested::into_values).unwrap_or_default();
        let texts = vec![Value::from(String::new()), Value::from("=".to_owned())];
        assert_eq!(values[1], Value::Array(ArrayType::String, Some(Box::new(texts))));
    }

    #[test]
    fn rows_of_several_kinds_and_those_of_sqlite_are_left_as_they_are() {
        let mixed: Vec<Vec<Value>> = vec![vec![1_i64.into()], vec!["a".into()]];
        let mut rows = mixed.clone();
        assert!(Unnested::of(DbBackend::Postgres, &mut rows).is_none());
        assert_eq!(rows, mixed);
        let mut rows: Vec<Vec<Value>> = vec![vec![1_i64.into()]];
        assert!(Unnested::of(DbBackend::Sqlite, &mut rows).is_none() && rows.len() == 1);
    }

    #[test]
    fn sqlite_reads_what_was_written() {
        assert_eq!(translated(DbBackend::Sqlite, "a = ? AND b = ?1"), "a = ? AND b = ?1");
    }
}
