//! Records of real domains and of mistaken ones.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

#[test]
fn an_spf_record_is_read_rule_by_rule() {
    let text = "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 a mx/28//64 a:mail.shop.example include:_spf.relay.example \
                exists:%{i}.ok.example ?ptr ~all";
    let spf = Spf::parse(text).unwrap();
    let net = |ip: &str, bits| Mechanism::Ip(Net { ip: ip.parse().unwrap(), bits });
    let host = |name: &str| Some(name.to_owned());
    assert_eq!(
        spf.rules,
        [
            (Says::Pass, net("192.0.2.0", 24)),
            (Says::Pass, net("2001:db8::", 32)),
            (Says::Pass, Mechanism::A(None, 32, 128)),
            (Says::Pass, Mechanism::Mx(None, 28, 64)),
            (Says::Pass, Mechanism::A(host("mail.shop.example"), 32, 128)),
            (Says::Pass, Mechanism::Include("_spf.relay.example".to_owned())),
            (Says::Pass, Mechanism::Exists("%{i}.ok.example".to_owned())),
            (Says::Neutral, Mechanism::Ptr),
            (Says::SoftFail, Mechanism::All),
        ]
    );
    assert_eq!(spf.otherwise(), Some(Says::SoftFail));
    let redirected = Spf::parse("V=SPF1 redirect=_spf.shop.example. exp=why.example x-y=1").unwrap();
    assert_eq!(redirected.redirect.as_deref(), Some("_spf.shop.example"));
}

#[test]
fn what_receivers_cannot_read_is_named() {
    for (text, said) in [
        ("v=spf2 all", "v=spf1"),
        ("v=spf1 includes:x.example", "no mechanism"),
        ("v=spf1 include", "names no domain"),
        ("v=spf1 include:", "names no domain"),
        ("v=spf1 ip4:192.0.2.300", "no network"),
        ("v=spf1 ip4:192.0.2.0/33", "no network"),
        ("v=spf1 ip6:192.0.2.1", "no network"),
        ("v=spf1 a/99", "size of a network"),
        ("v=spf1 redirect=a.example redirect=b.example", "two redirects"),
        ("v=spf1 all:x", "no mechanism"),
    ] {
        let error = Spf::parse(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    assert!(!is_spf("v=spf10 all") && is_spf("v=spf1") && !is_spf("spf"));
}

#[test]
fn a_network_holds_its_addresses_and_no_others() {
    let holds = |net: &str, ip: &str| {
        let (base, bits) = net.split_once('/').unwrap();
        Net { ip: base.parse().unwrap(), bits: bits.parse().unwrap() }.contains(ip.parse().unwrap())
    };
    assert!(holds("192.0.2.0/24", "192.0.2.255") && !holds("192.0.2.0/24", "192.0.3.0"));
    assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "2001:db8::1"));
    assert!(holds("2001:db8::/32", "2001:db8:ffff::1") && !holds("2001:db8::/32", "2001:db9::1"));
    assert!(holds("192.0.2.7/32", "::ffff:192.0.2.7"));
}

#[test]
fn a_dkim_record_is_compared_with_the_key_it_stands_for() {
    let key = vec![7; 44];
    let record = |text: String| DkimRecord::parse(&text).unwrap();
    let whole = record(format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(&key)));
    assert!(whole.is(&key) && !whole.testing && !whole.is(&[8; 44]));
    let bare = record(format!("v=DKIM1; k=Ed25519; t=s:y; p={}", STANDARD.encode(&key[12..])));
    assert!(bare.is(&key) && bare.testing);
    assert_eq!(bare.kind, "ed25519");
    let revoked = record("v=DKIM1; p=".to_owned());
    assert!(revoked.key.is_empty() && !revoked.is(&key));
    for (text, said) in
        [("v=DKIM2; p=", "DKIM1"), ("k=rsa", "no key"), ("p=%%", "base64"), ("p=; p=", "twice"), ("p", "name=value")]
    {
        let error = DkimRecord::parse(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn a_dmarc_record_says_its_policy() {
    let dmarc = Dmarc::parse("v=DMARC1; p=Quarantine; sp=none; adkim=s; rua=mailto:d@shop.example;").unwrap();
    assert_eq!(dmarc.policy, "quarantine");
    assert_eq!(dmarc.subdomains.as_deref(), Some("none"));
    assert!(dmarc.strict_dkim && !dmarc.strict_spf && dmarc.reports.is_some());
    for (text, said) in
        [("v=DMARC2; p=none", "DMARC1"), ("v=DMARC1; rua=x", "no policy"), ("v=DMARC1; p=no", "none of")]
    {
        let error = Dmarc::parse(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn no_record_makes_the_readers_fail(text in ".{0,300}", head in prop::sample::select(vec!["v=spf1 ", "v=DMARC1;", "v=DKIM1;", ""])) {
        let text = format!("{head}{text}");
        let _ = (Spf::parse(&text), DkimRecord::parse(&text), Dmarc::parse(&text));
    }

    #[test]
    fn a_network_written_down_is_read_again(a in any::<u32>(), bits in 0_u8..=32) {
        let ip = std::net::Ipv4Addr::from_bits(a);
        let spf = Spf::parse(&format!("v=spf1 ip4:{ip}/{bits} -all")).unwrap();
        prop_assert_eq!(&spf.rules[0].1, &Mechanism::Ip(Net { ip: ip.into(), bits }));
        prop_assert_eq!(spf.otherwise(), Some(Says::Fail));
    }
}
