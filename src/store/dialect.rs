//! What PostgreSQL spells otherwise than SQLite: every query is written once, with `?` marks, and translated here.

use std::borrow::Cow;

use sea_orm::DbBackend;

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
    fn sqlite_reads_what_was_written() {
        assert_eq!(translated(DbBackend::Sqlite, "a = ? AND b = ?1"), "a = ? AND b = ?1");
    }
}
