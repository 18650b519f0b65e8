//! Every mail that goes out signed is verified by dkimpy, which we did not write: over a real server, as it arrived.

use std::path::Path;
use std::process::Command;

use carillon::channel::Channel;
use carillon::channel::dkim::Dkim;
use carillon::channel::smtp::{Settings, Smtp};

use crate::letter::{Wording, mail_of};
use crate::{Real, verdict};

fn python(arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/test-services/python/bin/python");
    let done = Command::new(python).arg(root.join("tests/smtp/signatures.py")).args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Mails of every shape that our own encoding makes.
fn wordings() -> Vec<Wording> {
    let subjects = ["Your cart", "Ваша корзина, 40 €", "x  y", "🛒 שלום", &"long word ".repeat(40)];
    let bodies = [
        "<p>Hi</p>",
        "<p>Hi   there\t</p>   \n\n\n",
        "<pre>\n.\n..\n  indented  \n</pre>\n",
        "<p>ä ö ü = 100 % €</p>",
        &format!("<p>{}</p>", "日本語のテキスト".repeat(300)),
        &format!("<p>{}</p>", "an unbroken line ".repeat(400)),
    ];
    let mut all = Vec::new();
    for subject in subjects {
        for body in bodies {
            for marketing in [true, false] {
                all.push(Wording { subject: subject.trim().to_owned(), html: body.to_owned(), marketing });
            }
        }
    }
    all
}

#[tokio::test]
async fn every_signed_mail_is_verified_by_another_program_with_both_unsubscribe_headers() {
    for key in ["rsa", "rsa1", "ed"] {
        let server = Real::start("plain");
        let folder = server.folder();
        python(&["keys", folder.to_str().unwrap()]);
        let mut settings = Settings::from_url(&format!("smtp://localhost:{}?tls=none", server.port())).unwrap();
        settings.dkim = Some(Dkim::from_file("shop.example", "mail", &folder.join(format!("{key}.pem"))).unwrap());
        let smtp = Smtp::new(settings).unwrap();
        let wordings = wordings();
        for (n, wording) in wordings.iter().enumerate() {
            let mail = mail_of(&format!("n{n}@example.com"), wording);
            assert_eq!(verdict(&smtp.send(&mail).await), "sent");
        }
        let told = python(&["verify", folder.to_str().unwrap(), key]);
        assert_eq!(told.lines().count(), wordings.len());
        for (line, wording) in told.lines().zip(&wordings) {
            let kind = if wording.marketing { "marketing" } else { "other" };
            assert!(line.ends_with(&format!("good {kind} True mail._domainkey.shop.example.")), "{line}: {wording:?}");
        }
        let first = server.message(1).unwrap();
        let signature = first.split("DKIM-Signature: ").nth(1).unwrap().split("\r\nFrom").next().unwrap();
        assert!(signature.contains("c=relaxed/relaxed") && !signature.contains("Content-Type"), "{signature}");
        let unfolded: String = signature.split_whitespace().collect();
        assert!(unfolded.contains("List-Unsubscribe:List-Unsubscribe-Post"), "{signature}");
        assert!(first.lines().all(|line| line.len() <= 200), "{first}");
    }
}
