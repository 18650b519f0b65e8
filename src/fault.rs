//! Named points at which a test or the simulator may make the world fail; in service they cost one branch.

use std::fmt;
use std::sync::Arc;

/// Decides at a named point whether to fail there.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<dyn Fn(&'static str) -> bool + Send + Sync>>);

/// The failure a fault point injects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("injected failure at {0}")]
pub struct Injected(pub &'static str);

impl Faults {
    pub fn none() -> Self {
        Self(None)
    }

    /// `decide` is asked at every point with its name; true makes it fail.
    pub fn new(decide: impl Fn(&'static str) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(decide)))
    }

    pub fn hit(&self, point: &'static str) -> Result<(), Injected> {
        match &self.0 {
            Some(decide) if decide(point) => Err(Injected(point)),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "faults injected" } else { "no faults" })
    }
}
