//! The published files of shops, as their descriptions give them.

use super::bad_files::written;
use super::*;

fn read(format: Format, content: &str) -> (Vec<String>, BTreeMap<&'static str, u64>) {
    let (_folder, path) = written("file.csv", content.as_bytes());
    let mut kept = Kept::default();
    let summary = run(&path, format, &options(), &mut kept).unwrap();
    assert_eq!(summary.figures.rows, summary.figures.rows_in_events + summary.figures.rows_left());
    let told = kept.events.iter().map(|event| {
        let who = event.user_id.clone().or(event.anonymous_id.clone()).unwrap();
        format!("{} {who} {} {}", event.at, event.name, event.lookup("properties").unwrap())
    });
    (told.collect(), summary.figures.rows_without_event)
}

#[test]
fn clicks_of_sessions_are_views_of_somebody_unknown_with_a_header_or_without() {
    let published = "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,S\n";
    let cut = "SessionId\tItemId\tTime\n1\t214536502\t1396867869.277\n";
    let expected = r#"2014-04-07T10:51:09.277Z 1 Product Viewed {"product_id":"214536502"}"#;
    let (told, _) = read(Format::Yoochoose, published);
    let second = r#"2014-04-07T10:54:09.868Z 1 Product Viewed {"product_id":"214536500","category":"S"}"#;
    assert_eq!(told, [expected, second]);
    assert_eq!(read(Format::Yoochoose, cut).0, [expected]);
}

#[test]
fn what_a_session_buys_at_once_is_one_order_and_an_unknown_price_is_not_nothing() {
    let bought = "420374,2014-04-06T18:44:58.314Z,214537888,12462,1\n\
                  420374,2014-04-06T18:44:58.314Z,214537850,10471,2\n\
                  420375,2014-04-06T18:44:58.314Z,214537850,0,0\n\
                  420375,2014-04-06T19:00:00.000Z,214537850,500,1\n\
                  420375,2014-04-06T19:00:00.000Z,214537850,five,1\n";
    let (told, left) = read(Format::Yoochoose, bought);
    let expected = [
        r#"2014-04-06T18:44:58.314Z 420374 Order Completed {"session_id":"420374","products":[{"product_id":"214537888","price":12462,"quantity":1},{"product_id":"214537850","price":10471,"quantity":2}],"revenue":33404}"#,
        r#"2014-04-06T18:44:58.314Z 420375 Order Completed {"session_id":"420375","products":[{"product_id":"214537850"}]}"#,
        r#"2014-04-06T19:00:00Z 420375 Order Completed {"session_id":"420375","products":[{"product_id":"214537850","price":500,"quantity":1}],"revenue":500}"#,
    ];
    assert_eq!(told, expected);
    assert_eq!(left, BTreeMap::from([("not_a_number", 1)]));
}

#[test]
fn the_purchases_of_a_session_are_one_order_and_the_rest_is_told_item_by_item() {
    let acts = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n\
                2019-10-01 00:00:00 UTC,view,1,20,electronics.smartphone,acme,130.76,7,s1\n\
                2019-10-01 00:01:00 UTC,cart,1,20,electronics.smartphone,acme,130.76,7,s1\n\
                2019-10-01 00:02:00 UTC,remove_from_cart,1,20,,,130.76,7,s1\n\
                2019-10-01 00:03:00 UTC,purchase,1,20,,acme,130.76,7,s1\n\
                2019-10-01 00:03:05 UTC,purchase,2,20,,,9.24,7,s1\n\
                2019-10-01 00:04:00 UTC,purchase,2,20,,,9.24,8,s2\n\
                2019-10-01 00:05:00 UTC,stare,2,20,,,9.24,8,s2\n\
                2019-10-01 00:05:00,view,2,20,,,9.24,8,s2\n";
    let (told, left) = read(Format::Rees46, acts);
    let expected = [
        r#"2019-10-01T00:00:00Z 7 Product Viewed {"product_id":"1","category_id":"20","category":"electronics.smartphone","brand":"acme","price":130.76,"session_id":"s1"}"#,
        r#"2019-10-01T00:01:00Z 7 Product Added {"product_id":"1","category_id":"20","category":"electronics.smartphone","brand":"acme","price":130.76,"session_id":"s1"}"#,
        r#"2019-10-01T00:02:00Z 7 Product Removed {"product_id":"1","category_id":"20","price":130.76,"session_id":"s1"}"#,
        r#"2019-10-01T00:03:00Z 7 Order Completed {"session_id":"s1","products":[{"product_id":"1","category_id":"20","brand":"acme","price":130.76},{"product_id":"2","category_id":"20","price":9.24}],"revenue":140.00}"#,
        r#"2019-10-01T00:04:00Z 8 Order Completed {"session_id":"s2","products":[{"product_id":"2","category_id":"20","price":9.24}],"revenue":9.24}"#,
    ];
    assert_eq!(told, expected);
    assert_eq!(left, BTreeMap::from([("unknown_event", 1), ("not_a_time", 1)]));
}
