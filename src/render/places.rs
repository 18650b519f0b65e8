//! Where things stood before a text was made into another: a template's tags keep the line and column at which their
//! author wrote them, whatever the compiler made of what stands around them.

use std::collections::BTreeMap;

use handlebars::template::{Template as Tree, TemplateElement};

use crate::render::syntax;

/// Line and column, both from 1.
pub(super) type Place = (usize, usize);

/// A text made of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    pub text: String,
    /// Byte of a tag in the text, and of the same tag in what it was made of; in the order of the text.
    pub tags: Vec<(usize, usize)>,
}

impl Made {
    /// The places of the tags, from those in this text to those in `source`; through `before` where `source` was itself
    /// made of another.
    pub fn places(&self, source: &str, before: &BTreeMap<Place, Place>) -> BTreeMap<Place, Place> {
        let place = |text: &str, at: usize| {
            let (line, column, _) = syntax::at_place(text, at, String::new());
            (line, column)
        };
        let pairs = self.tags.iter().map(|(here, there)| {
            let written = place(source, *there);
            (place(&self.text, *here), before.get(&written).copied().unwrap_or(written))
        });
        pairs.collect()
    }
}

/// Puts the author's places into a parsed template.
pub(super) fn move_back(tree: &mut Tree, places: &BTreeMap<Place, Place>) {
    for mapping in &mut tree.mapping {
        if let Some(there) = places.get(&(mapping.0, mapping.1)) {
            (mapping.0, mapping.1) = *there;
        }
    }
    for element in &mut tree.elements {
        if let TemplateElement::HelperBlock(call) = element {
            for inner in [&mut call.template, &mut call.inverse].into_iter().flatten() {
                move_back(inner, places);
            }
        }
    }
}
