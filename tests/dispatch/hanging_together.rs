//! Several recipients' domains that begin to hang together, in whatever order their mail comes, delay nobody else: the same
//! hundred domains as in `hanging.rs`.
//!
//! To see it fail, let `Pace::share` give a domain that has not answered a quarter of the connections, `Load::is_free`
//! keep nothing, or `Line::stuck` know of nobody.

use super::hanging::{Beside, CONNECTIONS, Provider, run_beside};
use crate::database::Backend;

/// Messages to the domains that hang, and to others beside them; PostgreSQL takes longer for each.
const HANGING: usize = if matches!(super::BACKEND, Backend::Sqlite) { 120 } else { 32 };
const OTHERS: usize = if matches!(super::BACKEND, Backend::Sqlite) { 198 } else { 24 };

/// So many domains that hang, and the same shop without them: others' mails end in the same order, each when it ended
/// without.
async fn nobody_else_is_delayed(domains: usize, known: bool, in_blocks: bool) -> Provider {
    let beside = Beside { others: OTHERS, hanging: HANGING, domains, known, in_blocks };
    let (_, alone) = run_beside(Beside { hanging: 0, domains: 1, ..beside }).await;
    let (_, provider) = run_beside(beside).await;
    assert_eq!(provider.others(), alone.others(), "the same order, and each ends when it ended without");
    provider
}

#[tokio::test]
async fn four_domains_that_hang_from_their_first_mail_on_delay_no_other() {
    let provider = nobody_else_is_delayed(4, false, false).await;
    assert_eq!(provider.most_hanging(), 4, "each of them holds one connection");
}

#[tokio::test]
async fn four_domains_that_were_quick_and_begin_to_hang_together_delay_no_other() {
    let provider = nobody_else_is_delayed(4, true, false).await;
    let most = provider.most_hanging();
    assert!((4..=CONNECTIONS * 3 / 4).contains(&most), "{most} connections hung");
}

#[tokio::test]
async fn three_domains_that_hang_from_their_first_mail_on_delay_no_other_though_each_comes_with_all_its_mail_at_once() {
    let provider = nobody_else_is_delayed(3, false, true).await;
    assert_eq!(provider.most_hanging(), 3, "each of them holds one connection");
}

#[tokio::test]
async fn three_domains_that_were_quick_and_begin_to_hang_together_delay_no_other() {
    let provider = nobody_else_is_delayed(3, true, false).await;
    let most = provider.most_hanging();
    assert!((3..=CONNECTIONS * 3 / 4).contains(&most), "{most} connections hung");
}

#[tokio::test]
async fn three_domains_that_were_quick_delay_no_other_though_the_first_comes_with_all_its_mail_at_once() {
    let provider = nobody_else_is_delayed(3, true, true).await;
    let most = provider.most_hanging();
    assert!((3..=CONNECTIONS * 3 / 4).contains(&most), "{most} connections hung");
}
