//! Where the parts of a text stand that was put together of several files: what is wrong with it is told to its author
//! at the file, line and column it was written in.

use crate::render::places::Place;
use crate::render::syntax::at_place;

/// Where each piece of the text begins, and where its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::render) struct Origins {
    /// The part itself, then the files it includes.
    names: Vec<String>,
    /// In the order of the text; none where all of it is the part's own.
    spans: Vec<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    here: Place,
    file: usize,
    there: Place,
}

/// A piece of the text: its first byte, and the file and byte it was copied from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copied {
    pub here: usize,
    pub file: usize,
    pub there: usize,
}

impl Origins {
    /// Of a text that includes nothing.
    #[cfg(test)]
    pub(in crate::render) fn own(name: &str) -> Self {
        Self { names: vec![name.to_owned()], spans: Vec::new() }
    }

    /// `files` are names and texts; the first is the part itself.
    pub(super) fn of(text: &str, files: &[(&str, &str)], copied: &[Copied]) -> Self {
        let place = |text: &str, at: usize| {
            let (line, column, _) = at_place(text, at, String::new());
            (line, column)
        };
        let spans = copied.iter().map(|it| {
            let source = files.get(it.file).map_or("", |(_, source)| source);
            Span { here: place(text, it.here), file: it.file, there: place(source, it.there) }
        });
        Self { names: files.iter().map(|(name, _)| (*name).to_owned()).collect(), spans: spans.collect() }
    }

    /// The file, line and column that the author of a place of the text knows.
    pub(in crate::render) fn written(&self, (line, column): Place) -> (&str, usize, usize) {
        let before = self.spans.iter().take_while(|span| span.here <= (line, column));
        let (file, line, column) = match before.last() {
            None => (0, line, column),
            Some(Span { here, file, there }) if here.0 == line => (*file, there.0, there.1 + (column - here.1)),
            Some(Span { here, file, there }) => (*file, there.0 + (line - here.0), column),
        };
        (self.names.get(file).map_or("", String::as_str), line, column)
    }
}
