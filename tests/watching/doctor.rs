//! What `carillon doctor` says of the sender's domain, asked of a name server whose records the test writes.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::{Folder, Said, Server};
use crate::shop::{Beside, beside};

struct Post {
    folder: Folder,
    _names: Beside,
    _mail: Beside,
    _server: Server,
}

impl Post {
    /// A service that mails through a real SMTP server, and a name server with these records.
    fn open(records: &str, settings: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let file = folder.write("records.txt", records);
        let (names, port) = beside("tests/watching/names.py", &[&file]);
        let kept = folder.path("mail");
        std::fs::create_dir(&kept).unwrap();
        let (mail, smtp) = beside("tests/smtp/server.py", &[Path::new("tls"), &kept]);
        let (url, resolver) = (format!("smtps://shop:pass%20w%C3%B6rd@localhost:{smtp}"), format!("127.0.0.1:{port}"));
        let authority = kept.join("ca.pem").display().to_string();
        let mut all = vec![
            ("CARILLON_SMTP__URL", url.as_str()),
            ("CARILLON_SMTP__CA_FILE", authority.as_str()),
            ("CARILLON_SENDER__ADDRESS", "hello@Mail.Shop-Of-Tests.org"),
            ("CARILLON_SENDER__RESOLVER", resolver.as_str()),
            ("CARILLON_SENDER__PUBLIC_URL", "https://mail.shop-of-tests.org"),
        ];
        all.extend(settings);
        let server = Server::start_with(&folder, &["serve"], &all);
        Self { folder, _names: names, _mail: mail, _server: server }
    }

    fn records(&self, records: &str) {
        self.folder.write("records.txt", records);
    }

    fn ask(&self) -> (Said, Value) {
        let said = self.folder.run(&["doctor", "--json"]);
        let answer = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        (said, answer)
    }

    /// How a check ended, what was seen, and what to do.
    fn check(&self, name: &str) -> (String, String, String) {
        let (_, answer) = self.ask();
        let check = answer["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
        let check = check.unwrap_or_else(|| panic!("no check {name} in {answer}"));
        let text = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("detail"), text("advice"))
    }
}

const DOMAIN: &str = "mail.shop-of-tests.org";

/// A private key, made by OpenSSL, and the record that belongs to it by OpenSSL's word.
fn key(folder: &Path) -> (String, String) {
    let file = folder.join("dkim.pem");
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("openssl is missing");
        assert!(output.status.success(), "openssl {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &file.display().to_string()]);
    let public = run(&["pkey", "-in", &file.display().to_string(), "-pubout"]);
    let key: String = public.lines().filter(|line| !line.starts_with("-----")).collect();
    (file.display().to_string(), format!("v=DKIM1; k=rsa; p={key}"))
}

#[test]
fn a_domain_that_is_set_up_as_it_should_be_is_all_well() {
    let folder = tempfile::tempdir().unwrap();
    let (file, record) = key(folder.path());
    let right = format!(
        "{DOMAIN} TXT v=spf1 include:_spf.relay-of-tests.net ip4:192.0.2.0/24 ip4:10.0.0.0/8 ip4:172.16.0.0/12 ip4:192.168.0.0/16 ~all\n\
         {DOMAIN} TXT some-other-service=1\n\
         _spf.relay-of-tests.net TXT v=spf1 ip4:198.51.100.0/24 a:out.relay-of-tests.net -all\n\
         out.relay-of-tests.net A 203.0.113.7\n\
         carillon._domainkey.{DOMAIN} TXT {record}\n\
         _dmarc.shop-of-tests.org TXT v=DMARC1; p=reject; sp=quarantine; rua=mailto:dmarc@shop-of-tests.org\n\
         {DOMAIN} MX 10 in.shop-of-tests.org.\n"
    );
    let post = Post::open(&right, &[("CARILLON_SENDER__DKIM_KEY_FILE", &file)]);
    let (said, answer) = post.ask();
    assert_eq!((said.code, &answer["ok"]), (0, &Value::Bool(true)), "{answer}");
    let (status, seen, _) = post.check("SPF");
    assert_eq!(status, "ok", "{seen}");
    assert!(seen.contains("permits 6 networks in 2 of 10 questions, and ends with ~all"), "{seen}");
    assert_eq!(post.check("DKIM").0, "ok");
    let (status, seen, _) = post.check("DMARC");
    assert_eq!(status, "ok");
    assert!(seen.starts_with("_dmarc.shop-of-tests.org asks for quarantine; SPF and DKIM"), "{seen}");
    let (status, seen, _) = post.check("MX");
    assert!(status == "ok" && seen.contains("in.shop-of-tests.org takes answers"), "{seen}");
    // The relay logs us in; nothing was sent by asking.
    let (status, seen, _) = post.check("channel");
    assert!(status == "ok" && seen.ends_with("logged in"), "{seen}");
    assert!(!post.folder.path("mail/1.eml").exists());
    for name in
        ["database", "database file", "durability", "disk", "disk space", "permissions", "books", "clock", "PTR"]
    {
        assert_ne!(post.check(name).0, "failed", "{name}");
    }
    let people = post.folder.ok(&["doctor"]);
    assert!(people.contains("\u{2713} SPF: ") && people.contains("all is well"), "{people}");
}

#[test]
fn links_that_lead_to_this_machine_alone_are_told_at_the_start_and_by_the_doctor() {
    let home = Post::open("", &[("CARILLON_SENDER__PUBLIC_URL", "")]);
    let (status, seen, advice) = home.check("links in mails");
    assert!(status == "failed" && seen.contains("http://127.0.0.1:"), "{seen}");
    assert!(advice.contains("CARILLON_SENDER__PUBLIC_URL"), "{advice}");
    let log = || std::fs::read_to_string(home.folder.path("stderr.txt")).unwrap();
    assert!(log().contains("WARN") && log().contains("set sender.public_url"), "{}", log());
    drop(home);
    let away = Post::open("", &[]);
    assert_eq!(away.check("links in mails").0, "ok");
    let log = std::fs::read_to_string(away.folder.path("stderr.txt")).unwrap();
    assert!(!log.contains("sender.public_url"), "{log}");
}

#[test]
fn each_mistake_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (file, record) = key(folder.path());
    let post = Post::open("", &[("CARILLON_SENDER__DKIM_KEY_FILE", &file)]);
    let (said, _) = post.ask();
    assert_eq!(said.code, 1, "{said:?}");
    let place = format!("carillon._domainkey.{DOMAIN}");
    // Nothing is published: the advice is what to publish, by OpenSSL's word.
    let (status, seen, advice) = post.check("DKIM");
    assert!(status == "failed" && seen.contains("no record at"), "{seen}");
    assert!(advice.contains(&format!("{place}: `{record}`")), "{advice}\n{record}");
    let includes = |count: usize| {
        let all: Vec<String> = (0..count).map(|n| format!("include:s{n}.x-of-tests.org")).collect();
        let each: Vec<String> =
            (0..count).map(|n| format!("s{n}.x-of-tests.org TXT v=spf1 ip4:192.0.2.{n} ~all\n")).collect();
        format!("{DOMAIN} TXT v=spf1 {} ~all\n{}", all.join(" "), each.concat())
    };
    let spf = |text: &str| format!("{DOMAIN} TXT {text}\n");
    for (records, name, status, said) in [
        (String::new(), "SPF", "failed", "has no SPF record"),
        (spf("v=spf1 +all"), "SPF", "failed", "+all"),
        (spf("v=spf1 ip4:nonsense ~all"), "SPF", "failed", "`ip4:nonsense` is no network"),
        (spf("v=spf1 ip4:192.0.2.1"), "SPF", "warning", "neither ~all nor -all"),
        (spf("v=spf1 ~all") + &spf("v=spf1 -all"), "SPF", "failed", "has 2 SPF records"),
        (spf("v=spf1 include:nowhere-of-tests.org ~all"), "SPF", "failed", "nowhere-of-tests.org has no SPF record"),
        (spf(&format!("v=spf1 include:{DOMAIN} ~all")), "SPF", "failed", "is asked for twice"),
        (includes(11), "SPF", "failed", "takes 11 questions, and receivers stop at 10"),
        (format!("{place} TXT v=DKIM1; p=\n"), "DKIM", "failed", "revoked"),
        (format!("{place} TXT {}\n", record.replace("p=MIIB", "p=MIIC")), "DKIM", "failed", "another key"),
        (format!("{place} TXT {record}; t=y\n"), "DKIM", "warning", "marked as a test"),
        (format!("{place} TXT {record}\n"), "DKIM", "ok", "has the key that mail is signed with"),
        (String::new(), "DMARC", "failed", "has no DMARC policy"),
        (format!("_dmarc.{DOMAIN} TXT v=DMARC1; p=maybe\n"), "DMARC", "failed", "`p=maybe` is none of"),
        (format!("_dmarc.{DOMAIN} TXT v=DMARC1; p=none\n"), "DMARC", "ok", "asks for none"),
        (String::new(), "MX", "failed", "neither MX nor address"),
        (format!("{DOMAIN} MX 0 .\n"), "MX", "failed", "null MX"),
        (format!("{DOMAIN} A 192.0.2.9\n"), "MX", "warning", "has no MX"),
        (format!("{DOMAIN} MX silent\n"), "MX", "warning", "the DNS does not answer"),
    ] {
        post.records(&records);
        let (found, seen, advice) = post.check(name);
        assert_eq!(found, status, "{name} of {records}: {seen}");
        assert!(seen.contains(said), "{name} of {records}: {seen}");
        assert!(status == "ok" || !advice.is_empty(), "{name} of {records}: {seen}");
    }
}
