//! Definitions as people write them, rightly and wrongly.
#![allow(clippy::unwrap_used)]

mod arbitrary;
mod campaigns;
mod certain;
mod conditions;
mod known;
mod others;
mod templates;

use crate::decision::Campaign;
use crate::definition::{Definition, Document, Problem, SourceFile, read};

pub fn file(name: &str, text: &str) -> SourceFile {
    SourceFile { name: name.to_owned(), text: text.to_owned() }
}

/// The documents of one good file.
pub fn good(text: &str) -> Vec<Document> {
    match read(&[file("test.yaml", text)]) {
        Ok(documents) => documents,
        Err(problems) => panic!("{}", lines(&problems)),
    }
}

/// What a bad file is told, a line each.
pub fn bad(text: &str) -> String {
    lines(&read(&[file("test.yaml", text)]).unwrap_err())
}

pub fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{} {problem}\n", problem.code.as_str())).collect()
}

pub const CART: &str = "\
kind: campaign
key: cart_reminder
name: Cart reminder
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Added, key: properties.cart_id }
delay: 1h
exit: [ { event: Order Completed } ]
send: { channel: email, template: cart_reminder }
";

/// The one campaign of a text.
pub fn campaign(text: &str) -> Campaign {
    match good(text).remove(0).definition {
        Definition::Campaign(campaign) => campaign,
        other => panic!("{other:?}"),
    }
}
