//! Every problem has a code of the table, and the documents say what the table says.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use sea_orm::{ConnAcquireErr, DbErr};

use super::codes::Code;
use super::{Problem, Refusal};
use crate::store;

#[test]
fn no_two_problems_share_a_code_and_each_says_what_to_do() {
    let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(names.len(), Code::ALL.len());
    for code in Code::ALL {
        assert_eq!(Code::parse(code.as_str()), Some(*code));
        assert!(code.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit()));
        assert!(code.means().ends_with('.') && code.help().ends_with('.'), "{code:?}");
        assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
    }
}

/// They are texts there, for the half that reads calls knows nothing of HTTP.
#[test]
fn every_fault_of_a_call_has_its_code() {
    let source = include_str!("../../event/track_api.rs");
    let mut named = 0;
    for (at, _) in source.match_indices("Complaint::new(\"").chain(source.match_indices("code: \"")) {
        let code = source[at..].split('"').nth(1).unwrap();
        assert!(Code::parse(code).is_some(), "{code}");
        named += 1;
    }
    for (at, _) in source.match_indices("require(&") {
        let code = source[at..].split('"').nth(1).unwrap();
        if code.starts_with("missing_") {
            assert!(Code::parse(code).is_some(), "{code}");
            named += 1;
        }
    }
    assert!(named >= 10, "{named}");
}

#[test]
fn a_database_out_of_reach_is_told_from_what_fails_for_another_reason() {
    let unreachable = DbErr::ConnectionAcquire(ConnAcquireErr::Timeout);
    let asked = anyhow::Error::from(store::Error::from(unreachable)).context("the messages could not be read");
    assert_eq!(Problem::from(asked), Refusal::DatabaseUnreachable.into());
    let refused = anyhow::Error::from(store::Error::from(DbErr::Custom("no such table".to_owned())));
    assert_eq!(Problem::from(refused), Refusal::Unavailable.into());
}
