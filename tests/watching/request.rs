//! One id through request, log entry, decision, message and the provider's reply.

use crate::shop::Shop;

#[test]
fn one_id_leads_from_the_request_to_the_provider_s_reply() {
    let shop = Shop::open(&[]);
    let answered = shop.order("o7", "ann@example.com", &[("x-request-id", "checkout-7")]);
    assert_eq!(answered["x-request-id"], "checkout-7");
    shop.order("o8", "bob@example.com", &[]);
    let sent = shop.until("sent", 2);
    let message = sent.iter().find(|message| message["correlation_id"] == "checkout-7").expect("the message says it");
    // The store: the log's entry, what was decided on it, the try with the provider's words.
    let id = message["id"].as_str().unwrap();
    let path = shop.folder.json(&["messages", id, "--json"]);
    assert_eq!(path["newest_event"]["correlation_id"], "checkout-7");
    assert_eq!(path["newest_event"]["name"], "Order Completed");
    assert_eq!(path["findings"][0]["position"], path["newest_event"]["position"]);
    assert_eq!(path["tries"].as_array().unwrap().len(), 1);
    assert_eq!(path["tries"][0]["correlation_id"], "checkout-7");
    assert_eq!(path["tries"][0]["outcome"]["reply"], "250 2.0.0 kept");
    // The log of the service: decided, then handed over with what the provider said.
    let lines = shop.log_with("checkout-7");
    let decided = lines.iter().find(|line| line["message"] == "decided" && line["verdict"] == "entered");
    assert_eq!(decided.expect("the decision is logged")["campaign"], "thanks");
    let over = lines
        .iter()
        .find(|line| line["message"].as_str().unwrap_or_default().contains(id) || line["reply"].is_string());
    assert_eq!(over.expect("the reply is logged")["reply"], "250 2.0.0 kept", "{lines:?}");
    // What a person asks.
    let told = shop.folder.ok(&["explain", "--request", "checkout-7"]);
    assert!(told.contains("Order Completed") && told.contains("request checkout-7") && told.contains("sent"), "{told}");
    let listed = shop.folder.json(&["explain", "--request", "checkout-7", "--json"]);
    assert_eq!(listed["events"].as_array().unwrap().len(), 2, "{listed}");
    let unknown = shop.folder.run(&["explain", "--request", "checkout-9"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.err.contains("checkout-9"), "{}", unknown.err);
}

#[test]
fn a_reply_that_names_the_address_is_logged_without_it() {
    let shop = Shop::open(&[]);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let answered = shop.order("o9", "gone@example.com", &[("traceparent", &parent)]);
    assert_eq!(answered["x-request-id"], trace);
    let failed = shop.until("failed", 1);
    assert_eq!(failed[0]["correlation_id"], trace);
    let lines = shop.log_with("550 5.1.1");
    assert_eq!(lines[0]["correlation"], trace);
    assert_eq!(lines[0]["reply"], "550 5.1.1 <address> no such user");
    assert!(shop.log_with("gone@example.com").is_empty());
}
