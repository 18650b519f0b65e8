//! The scalars of one event at the paths that patterns name, and whether some choice of array elements meets a clause.
//!
//! An element of an array that is an object or an array of its own is a place: what is asked of one array must be met
//! within one of its elements. Scalars that stand directly in an array bind nothing, as in EventBridge.

use serde_json::Value;

use crate::event::pattern::matcher::Scalar;
use crate::event::pattern::paths::{FieldId, NodeId, Paths, ROOT};
use crate::event::pattern::{Clause, Wanted};

/// An element of an array, by number; 0 is the event itself.
pub type ElementId = u32;

#[derive(Debug, Clone, PartialEq)]
pub struct Leaf<'a> {
    pub field: FieldId,
    /// The innermost element it stands in.
    pub element: ElementId,
    /// Its place among the leaves as the event has them.
    pub order: u32,
    pub value: Scalar<'a>,
}

#[derive(Debug, Clone, Copy)]
struct Element {
    array: u32,
    parent: ElementId,
    depth: u32,
}

/// Sorted by field, those of one field in the order of the event.
#[derive(Debug)]
pub struct Leaves<'a> {
    leaves: Vec<Leaf<'a>>,
    elements: Vec<Element>,
}

/// Leaves as they are found.
#[derive(Debug)]
pub struct Found<'a> {
    pub leaves: Vec<Leaf<'a>>,
    elements: Vec<Element>,
    arrays: u32,
}

impl<'a> Found<'a> {
    pub fn new() -> Self {
        let event = Element { array: 0, parent: 0, depth: 0 };
        Self { leaves: Vec::with_capacity(8), elements: vec![event], arrays: 0 }
    }

    pub fn leaf(&mut self, field: FieldId, element: ElementId, value: Scalar<'a>) {
        self.leaves.push(Leaf { field, element, order: 0, value });
    }

    /// A number for an array that begins here.
    pub fn array(&mut self) -> u32 {
        self.arrays += 1;
        self.arrays
    }

    pub fn element(&mut self, array: u32, parent: ElementId) -> ElementId {
        let depth = self.elements[parent as usize].depth + 1;
        self.elements.push(Element { array, parent, depth });
        (self.elements.len() - 1) as ElementId
    }

    pub fn finish(mut self) -> Leaves<'a> {
        for (order, leaf) in self.leaves.iter_mut().enumerate() {
            leaf.order = order as u32;
        }
        self.leaves.sort_by_key(|leaf| leaf.field);
        Leaves { leaves: self.leaves, elements: self.elements }
    }

    fn value(&mut self, value: &'a Value, paths: &Paths, at: NodeId, element: ElementId) {
        match value {
            Value::Object(object) => {
                for (key, below) in object {
                    if let Some(at) = paths.walk(at, key) {
                        self.value(below, paths, at, element);
                    }
                }
            }
            Value::Array(items) => {
                let array = self.array();
                for item in items {
                    let inside = match item {
                        Value::Object(_) | Value::Array(_) => self.element(array, element),
                        _ => element,
                    };
                    self.value(item, paths, at, inside);
                }
            }
            scalar => {
                if let (Some(field), Some(scalar)) = (paths.field(at), Scalar::of(scalar)) {
                    self.leaf(field, element, scalar);
                }
            }
        }
    }
}

impl<'a> Leaves<'a> {
    pub fn of(document: &'a Value, paths: &Paths) -> Self {
        let mut found = Found::new();
        found.value(document, paths, ROOT, 0);
        found.finish()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Leaf<'a>> {
        self.leaves.iter()
    }

    /// Those of one field, in the order of the event.
    pub fn at(&self, field: FieldId) -> &[Leaf<'a>] {
        let start = self.leaves.partition_point(|leaf| leaf.field < field);
        let rest = &self.leaves[start..];
        &rest[..rest.iter().take_while(|leaf| leaf.field == field).count()]
    }

    /// One text in place of what a field has.
    pub fn replace(&mut self, field: FieldId, value: Scalar<'a>) {
        let order = self.leaves.len() as u32;
        self.leaves.retain(|leaf| leaf.field != field);
        let place = self.leaves.partition_point(|leaf| leaf.field < field);
        self.leaves.insert(place, Leaf { field, element: 0, order, value });
    }

    /// Whether every field of the clause is met, each array giving one element to all the fields that cross it.
    pub fn meet(&self, clause: &Clause) -> bool {
        let mut inside_arrays: u64 = 0;
        for (bit, wanted) in clause.wanted.iter().enumerate() {
            match self.meets_alone(wanted) {
                Some(true) => {}
                Some(false) => inside_arrays |= 1 << bit,
                None => return false,
            }
        }
        inside_arrays.count_ones() < 2 || self.meet_together(clause, inside_arrays)
    }

    /// `Some(true)`: met by something outside any array, or by nothing being there. `Some(false)`: within arrays only.
    fn meets_alone(&self, wanted: &Wanted) -> Option<bool> {
        let leaves = self.at(wanted.id);
        if leaves.is_empty() {
            return wanted.field.allows_absence().then_some(true);
        }
        let mut inside_arrays = None;
        for leaf in leaves.iter().filter(|leaf| wanted.field.accepts(&leaf.value)) {
            if leaf.element == 0 {
                return Some(true);
            }
            inside_arrays = Some(false);
        }
        inside_arrays
    }

    /// The fields in `mask` have all that they need somewhere within arrays; here it is seen whether together.
    fn meet_together(&self, clause: &Clause, mask: u64) -> bool {
        let mut hits = Vec::new();
        for (bit, wanted) in clause.wanted.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0) {
            let accepted = self.at(wanted.id).iter().filter(|leaf| wanted.field.accepts(&leaf.value));
            hits.extend(accepted.map(|leaf| (leaf.order, 1_u64 << bit, leaf.element)));
        }
        hits.sort_unstable();
        let hits: Vec<Hit> = hits.into_iter().map(|(_, field, element)| Hit { field, element }).collect();
        self.within(&hits, 0, mask)
    }

    /// Whether all fields of `mask` are met by hits within one place `depth` arrays deep. In the order of the event,
    /// what stands in one element or array stands together, so that each hit is looked at once per level.
    fn within(&self, hits: &[Hit], depth: u32, mask: u64) -> bool {
        let (direct, deeper): (Vec<Hit>, Vec<Hit>) =
            hits.iter().partition(|hit| self.elements[hit.element as usize].depth == depth);
        let mut left = direct.iter().fold(mask, |left, hit| left & !hit.field);
        let array_of = |hit: &Hit| self.above(hit.element, depth + 1).map(|(_, array)| array);
        let element_of = |hit: &Hit| self.above(hit.element, depth + 1).map(|(element, _)| element);
        for in_array in deeper.chunk_by(|one, other| array_of(one) == array_of(other)) {
            // A path that leads into two arrays, which only keys with dots can do, is asked of the first that meets it.
            let asked = in_array.iter().fold(0, |asked, hit| asked | hit.field) & left;
            if asked == 0 {
                continue;
            }
            let mut elements = in_array.chunk_by(|one, other| element_of(one) == element_of(other));
            if !elements.any(|in_element| self.within(in_element, depth + 1, asked)) {
                return false;
            }
            left &= !asked;
        }
        left == 0
    }

    /// The element `depth` arrays deep that this one stands in or is, with its array.
    fn above(&self, mut id: ElementId, depth: u32) -> Option<(ElementId, u32)> {
        let mut element = self.elements[id as usize];
        while element.depth > depth {
            id = element.parent;
            element = self.elements[id as usize];
        }
        (element.depth == depth).then_some((id, element.array))
    }
}

/// A leaf that meets a field, which is one bit.
#[derive(Clone, Copy)]
struct Hit {
    field: u64,
    element: ElementId,
}
