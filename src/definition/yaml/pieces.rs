//! Where the documents of a text stand, by their lines of `---` and `...` alone: what is not YAML in one of them says
//! nothing about the others, which are read by themselves then.

/// A part of a text that begins with a document, and what stands above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    pub text: &'a str,
    /// Bytes before it.
    pub start: usize,
    /// Lines before it.
    pub lines: usize,
}

impl<'a> Piece<'a> {
    pub fn whole(text: &'a str) -> Self {
        Self { text, start: 0, lines: 0 }
    }
}

/// The pieces of a text, in their order; together they are all of it. No document goes on behind such a line: YAML allows
/// none within text, be it quoted or in a block.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut piece = Piece { text: "", start: 0, lines: 0 };
    // Comments and directives stand above the line of the document they belong to.
    let (mut has_begun, mut has_ended) = (false, false);
    for (number, (at, line)) in lines(text).enumerate() {
        let line = line.trim_start_matches('\u{feff}');
        if (has_begun && is_mark(line, "---")) || has_ended {
            pieces.push(Piece { text: &text[piece.start..at], ..piece });
            piece = Piece { text: "", start: at, lines: number };
            has_begun = false;
        }
        has_ended = is_mark(line, "...");
        has_begun |= !(line.trim().is_empty() || line.starts_with(['#', '%']));
    }
    pieces.push(Piece { text: &text[piece.start..], ..piece });
    pieces
}

fn is_mark(line: &str, mark: &str) -> bool {
    line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

/// Each line without its end, and the byte it begins at.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let at = next?;
        let rest = &text[at..];
        let end = rest.find(['\n', '\r']);
        next = end.map(|end| at + end + if rest[end..].starts_with("\r\n") { 2 } else { 1 });
        Some((at, end.map_or(rest, |end| &rest[..end])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_begins_with_each_line_of_dashes_and_behind_each_of_dots() {
        let text = "# a\n%YAML 1.2\n---\nkey: a # ---\ntext: |\n  ---\n---key: no\n--- # two\n{}\r\n...\rbare: true\n---\n---\n";
        let found = pieces(text);
        let told: Vec<_> = found.iter().map(|one| (one.lines, one.text.lines().next().unwrap_or_default())).collect();
        assert_eq!(told, [(0, "# a"), (7, "--- # two"), (10, "bare: true"), (11, "---"), (12, "---")]);
        assert_eq!(found.iter().map(|one| one.text).collect::<String>(), text);
        assert!(found.iter().all(|one| text[one.start..].starts_with(one.text)));
        assert_eq!(pieces(""), [Piece::whole("")]);
    }
}
