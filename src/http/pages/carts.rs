//! What is in somebody's carts now, as campaigns and mails would find it.

use serde_json::Value;

use crate::audience::Profile;
use crate::audience::cart::View;
use crate::money::Exchange;

use super::frame::table;
use super::html::{Html, html};

/// The newest first; empty ones are left out.
pub fn card(profile: &Profile, exchange: &Exchange) -> Html {
    let empty = |says: &str| html!("<h2>Cart</h2><div class=\"panel\"><p class=\"empty\">{}</p></div>", says);
    let Some(carts) = &profile.carts else {
        return empty("Not counted yet: what is in it is worked out with the next event.");
    };
    let full: Vec<_> = carts.views().into_iter().rev().filter(|(_, view)| !view.is_empty()).collect();
    match full.as_slice() {
        [] => empty("Nothing is in it."),
        [(name, view)] => html!("<h2>Cart{}</h2>{}", called(name.as_deref()), contents(view, exchange)),
        several => {
            let each: Html = several
                .iter()
                .map(|(name, view)| html!("<h3>Cart{}</h3>{}", called(name.as_deref()), contents(view, exchange)))
                .collect();
            html!("<h2>Carts</h2>{}", each)
        }
    }
}

fn called(name: Option<&str>) -> Html {
    name.map(|name| html!(" <span class=\"muted\">{}</span>", name)).unwrap_or_default()
}

fn contents(view: &View, exchange: &Exchange) -> Html {
    let shown = view.shown(exchange);
    let rows: Html = shown["lines"].as_array().into_iter().flatten().map(row).collect();
    let items = plain(&shown["items"]);
    let things = if items == "1" { "thing" } else { "things" };
    let worth = money(&shown["value"], &shown["currency"]).map(|worth| format!(", worth {worth}"));
    let changed = view.changed_at.map(|at| html!(", changed {}", at));
    html!(
        "{}<p class=\"muted\">{} {}{}{}</p>",
        table("Cart", &["What", "Together"], rows),
        items,
        things,
        worth,
        changed
    )
}

fn row(line: &Value) -> Html {
    let name = ["name", "product_id", "sku"].into_iter().find_map(|field| line[field].as_str());
    html!(
        "<tr><td class=\"wide\">{} × {}</td><td class=\"n\">{}</td></tr>",
        plain(&line["quantity"]),
        name.unwrap_or("something without a name"),
        money(&line["total"], &line["currency"])
    )
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// With two places at least, as prices are written.
fn money(amount: &Value, currency: &Value) -> Option<String> {
    let amount = amount.is_number().then(|| amount.to_string())?;
    let padded = match amount.split_once('.') {
        None => format!("{amount}.00"),
        Some((_, cents)) if cents.len() == 1 => format!("{amount}0"),
        Some(_) => amount,
    };
    Some(format!("{padded} {}", currency.as_str().unwrap_or_default()).trim_end().to_owned())
}
