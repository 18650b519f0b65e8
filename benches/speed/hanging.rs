//! A recipient's domain that takes letters and never says so: how much longer the other domains' letters take beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use carillon::clock::Clock;
use carillon::ids::Span;
use tokio::net::{TcpListener, TcpStream};

use crate::Plan;
use crate::child::{On, Server, ask};
use crate::report::{Figures, Row, Target};
use crate::shop;
use crate::whole::{Arrived, order_of, post, receive, waited};

/// Its mail server is silent after the last dot.
pub const DOMAIN: &str = "hangs.example";
const OTHERS: u64 = 99;
/// Letters to each of the others, and before them to the one that hangs.
const LETTERS: u64 = 4;
const HANGING: u64 = 100;
const PER_SECOND: f64 = 50.0;

/// The row: milliseconds from POST to DATA, p99, of 99 domains.
///
/// # Errors
/// A letter to one of them did not arrive.
pub fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let (mut beside, mut alone) = (Figures::default(), Figures::default());
    for _ in 0..plan.repetitions {
        for (hanging, figures) in [(0, &mut alone), (HANGING, &mut beside)] {
            let folder = plan.folder()?;
            let p99: f64 = ask(On::Load, "hanging", &(folder.path(), hanging))?;
            eprintln!("POST to DATA, 99 domains beside {hanging} letters to one that hangs: p99 {p99:.2} ms");
            figures.0.push(p99);
        }
    }
    Ok(vec![Row {
        what: "POST to DATA accepted, 99 domains beside one that hangs, p99".to_owned(),
        unit: "ms",
        ours: beside,
        yardstick: Some(("the same without it".to_owned(), alone)),
        target: Target::RatioAtMost(1.5),
    }])
}

/// The 99th percentile in milliseconds, beside so many letters to the domain that hangs.
///
/// # Errors
/// As for `measure`.
pub fn timed(folder: &Path, hanging: u64) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (clock, arrived) = (Clock::system(Span::ZERO), Arrived::default());
        let sink = TcpListener::bind("127.0.0.1:0").await?;
        let order = (folder.to_owned(), sink.local_addr()?);
        tokio::spawn(receive(sink, arrived.clone(), clock.clone()));
        let server = tokio::task::spawn_blocking(move || Server::role("whole", &order)).await??;
        let mut stream = TcpStream::connect(server.address).await?;
        stream.set_nodelay(true)?;
        let others = OTHERS * LETTERS;
        for person in 0..others + hanging {
            let domain = if person < others { format!("d{}.example", person % OTHERS) } else { DOMAIN.to_owned() };
            let user = shop::user_id(person);
            let body = format!(
                r#"{{"messageId":"identify-{user}","userId":"{user}","traits":{{"email":"{user}@{domain}"}}}}"#
            );
            post(&mut stream, "identify", &body).await?;
        }
        // Those that hang come first, and the first of the others meet every domain for the first time.
        for person in (others..others + hanging).chain(0..OTHERS) {
            order_of(&mut stream, person, &clock).await?;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut posted = BTreeMap::new();
        for person in OTHERS..others {
            posted.insert(shop::user_id(person), order_of(&mut stream, person, &clock).await?);
            tokio::time::sleep(Duration::from_secs_f64(1.0 / PER_SECOND)).await;
        }
        Ok(waited(&posted, &arrived).await?.1)
    })
}
