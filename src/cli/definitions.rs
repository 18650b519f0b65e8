//! Definitions between folders and the service.

use crate::definition::SourceFile;

/// The body of a request that applies files.
pub fn body(files: &[SourceFile]) -> serde_json::Value {
    serde_json::json!({ "files": files })
}
