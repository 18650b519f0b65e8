//! The paths that patterns name, as one tree: a reader goes only where some path leads.

use std::sync::Arc;

/// Where a path ends; numbered from 0 in the order first named.
pub type FieldId = u32;
/// A place in the tree; the root is 0.
pub type NodeId = u32;

pub const ROOT: NodeId = 0;

/// A copy costs a pointer for every step known.
#[derive(Debug, Clone, PartialEq)]
pub struct Paths {
    nodes: Vec<Node>,
    fields: u32,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Node {
    /// Sorted by name.
    children: Vec<(Arc<str>, NodeId)>,
    /// One bit for each child's length and outer letters: most other keys are told from it.
    marks: u64,
    field: Option<FieldId>,
}

impl Default for Paths {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], fields: 0 }
    }
}

impl Paths {
    /// The field at the end of `path`, made where it is new.
    pub fn add(&mut self, path: &[String]) -> FieldId {
        let mut at = ROOT;
        for step in path {
            at = self.child(at, step).unwrap_or_else(|| self.grow(at, step));
        }
        let fields = self.fields;
        let field = *self.nodes[at as usize].field.get_or_insert(fields);
        self.fields = fields.max(field + 1);
        field
    }

    fn grow(&mut self, at: NodeId, step: &str) -> NodeId {
        let new = self.nodes.len() as NodeId;
        self.nodes.push(Node::default());
        let node = &mut self.nodes[at as usize];
        let place = node.children.partition_point(|(name, _)| name.as_ref() < step);
        node.children.insert(place, (Arc::from(step), new));
        node.marks |= mark(step.as_bytes());
        new
    }

    /// The field of a path that some pattern names.
    pub fn find(&self, path: &[String]) -> Option<FieldId> {
        let at = path.iter().try_fold(ROOT, |at, step| self.child(at, step))?;
        self.field(at)
    }

    pub fn field(&self, at: NodeId) -> Option<FieldId> {
        self.nodes[at as usize].field
    }

    pub fn is_leaf(&self, at: NodeId) -> bool {
        self.nodes[at as usize].children.is_empty()
    }

    fn child(&self, at: NodeId, step: &str) -> Option<NodeId> {
        let node = &self.nodes[at as usize];
        if node.marks & mark(step.as_bytes()) == 0 {
            return None;
        }
        let children = &node.children;
        if children.len() <= 8 {
            return children.iter().find(|(name, _)| name.as_ref() == step).map(|(_, child)| *child);
        }
        let place = children.binary_search_by(|(name, _)| name.as_ref().cmp(step)).ok()?;
        Some(children[place].1)
    }

    /// Where a key of an event leads: a step, or several joined by dots.
    pub fn walk(&self, at: NodeId, key: &str) -> Option<NodeId> {
        match self.child(at, key) {
            None if key.contains('.') => key.split('.').try_fold(at, |at, step| self.child(at, step)),
            found => found,
        }
    }
}

fn mark(step: &[u8]) -> u64 {
    let (Some(first), Some(last)) = (step.first(), step.last()) else { return 0 };
    1 << ((step.len() * 5 + usize::from(*first) * 3 + usize::from(*last)) & 63)
}
