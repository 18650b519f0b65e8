//! Rows with aligned columns, for people; programs ask for `--json`.

use serde_json::Value;

/// A table as text: a line of heads and a line for each row, columns two spaces apart. Cells are measured as they are
/// printed: instants to the second, and nothing in them that breaks a row.
pub fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heads.map(|head| head.chars().count());
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| on_one_line(&to_the_second(cell)))).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect::<String>();
        format!("{}\n", padded.trim_end())
    };
    let body = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(heads)).chain(body).collect()
}

/// A value in a cell: text without quotes and on one line, nothing for null.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => on_one_line(text),
        other => other.to_string(),
    }
}

/// A text whose line ends, and whatever else a terminal would obey, are shown as escapes.
pub fn on_one_line(text: &str) -> String {
    escaped(text, |_| false)
}

/// The same for a text of several lines.
pub fn on_its_lines(text: &str) -> String {
    escaped(text, |letter| letter == '\n')
}

fn escaped(text: &str, is_free: impl Fn(char) -> bool) -> String {
    // Letters that turn the direction of writing make a text read as another.
    let turns =
        |letter: char| matches!(letter, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if (letter.is_control() || turns(letter)) && !is_free(letter) {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out
}

/// A text in which no instant such as `2026-03-01T10:00:00.123Z` has parts of a second.
pub fn to_the_second(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dot) = rest.find('.') {
        out.push_str(&rest[..dot]);
        let digits = rest[dot + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let end = dot + 1 + digits;
        if digits == 0 || !rest[end..].starts_with('Z') || !ends_with_time(&out) {
            out.push('.');
            rest = &rest[dot + 1..];
        } else {
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    out
}

fn ends_with_time(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let Some(end) = text.len().checked_sub(FORM.len()).and_then(|from| text.as_bytes().get(from..)) else {
        return false;
    };
    end.iter().zip(FORM).all(|(found, wanted)| if *wanted == b'0' { found.is_ascii_digit() } else { found == wanted })
}

/// The list under a name; empty where there is none.
pub fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_instants_to_the_second_and_prices_as_they_are() {
        let text = "at 2026-03-01T10:00:00.123Z, 2026-03-01T10:00:00Z: 49.00Z, v1.2 ü.5Z.";
        assert_eq!(to_the_second(text), text.replace(".123", ""));
    }

    #[test]
    fn columns_are_as_wide_as_their_cells_are_printed() {
        let row = |at: &str| [at.to_owned(), "x".to_owned()];
        let text = table(["AT", "WHO"], &[row("2026-03-01T10:00:00Z"), row("2026-03-01T10:00:00.123Z")]);
        assert_eq!(to_the_second(&text), text);
        assert_eq!(text.lines().map(|line| line.find(['W', 'x'])).collect::<Vec<_>>(), [Some(22); 3]);
    }

    #[test]
    fn nothing_in_a_cell_breaks_its_row_or_moves_the_cursor() {
        let text = table(["a", "b"], &[["by\nletter".to_owned(), "\u{1b}[2J\u{202e}x\ty".to_owned()]]);
        assert_eq!(text, "a           b\nby\\nletter  \\u{1b}[2J\\u{202e}x\\ty\n");
        assert_eq!(cell(&Value::from("a\r\nb")), "a\\r\\nb");
        assert_eq!(on_its_lines("a\nb\u{7f}"), "a\nb\\u{7f}");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "x".to_owned()], ["über".to_owned(), String::new()]];
        assert_eq!(table(["id", "name"], &rows), "id    name\na     x\nüber\n");
    }
}
