//! The documents that are made from the code are those of the code.

use std::path::Path;

/// Compared, or written where `UPDATE_DOCS` is set.
fn is_as_made(path: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == made, "{} is stale: UPDATE_DOCS=1 cargo nextest run --test api -E 'test(docs)'", path.display());
}

#[test]
fn the_openapi_document_is_that_of_the_code() {
    is_as_made("docs/openapi.json", carillon::http::openapi::as_json());
}

#[test]
fn the_page_of_problems_is_that_of_the_code() {
    is_as_made("docs/problems.md", &carillon::http::problem::codes::as_markdown());
}
