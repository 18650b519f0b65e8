//! DKIM signatures (RFC 6376, RFC 8463), relaxed/relaxed, over the bytes that go over the wire: what a mail is signed
//! with is what its readers verify, folded lines and encodings included.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::sign::SigningKey;
use sha2::{Digest, Sha256};

use crate::channel::sender::records::DkimRecord;
use crate::ids::Timestamp;

/// Signed where they are there; both headers of RFC 8058 are among them. Not `Content-Type`, which relays rewrite.
const SIGNED: [&str; 9] = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "MIME-Version",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];
/// Signed once more than they are there, so that nobody can add another that a reader would show.
const ONLY_ONCE: [&str; 4] = ["From", "To", "Subject", "Date"];
const LINE: usize = 72;

/// The key a domain's mail is signed with; its public half stands in the DNS at `SELECTOR._domainkey.DOMAIN`.
#[derive(Clone)]
pub struct Dkim {
    domain: String,
    selector: String,
    key: Arc<dyn SigningKey>,
    scheme: SignatureScheme,
}

/// Why mail cannot be signed. Never repeats what is in the key's file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("the DKIM key {0} cannot be read: {1}")]
    Unreadable(String, String),
    #[error(
        "the DKIM key {0} is locked with a passphrase, which nobody could give at a start; unlock it (`openssl pkey -in \
         LOCKED.pem -out KEY.pem`) and keep the file for its owner alone"
    )]
    Locked(String),
    #[error(
        "the DKIM key {0} holds no private key as PEM, which begins with -----BEGIN PRIVATE KEY-----; what is published \
         in the DNS is its other half"
    )]
    NoKey(String),
    #[error("the DKIM key {0} is neither an RSA key of at least 2048 bits nor an Ed25519 key")]
    Unknown(String),
    #[error("`{0}` is not a DKIM selector such as mail2026")]
    Selector(String),
}

impl Dkim {
    /// A private key as PEM, of PKCS#8 or PKCS#1.
    ///
    /// # Errors
    /// The file is not there or is no such key, or the selector is not one.
    pub fn from_file(domain: &str, selector: &str, file: &Path) -> Result<Self, BadKey> {
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if selector.len() > 63 || !selector.split('.').all(is_label) {
            return Err(BadKey::Selector(selector.to_owned()));
        }
        let name = file.display().to_string();
        let text = std::fs::read(file).map_err(|cause| BadKey::Unreadable(name.clone(), cause.to_string()))?;
        let is_locked = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"]
            .iter()
            .any(|mark| memchr::memmem::find(&text, mark.as_bytes()).is_some());
        if is_locked {
            return Err(BadKey::Locked(name));
        }
        let der = PrivateKeyDer::from_pem_slice(&text).map_err(|cause| match cause {
            pem::Error::NoItemsFound => BadKey::NoKey(name.clone()),
            cause => BadKey::Unreadable(name.clone(), cause.to_string()),
        })?;
        let key = any_supported_type(&der).map_err(|_| BadKey::Unknown(name.clone()))?;
        let known = [SignatureScheme::RSA_PKCS1_SHA256, SignatureScheme::ED25519];
        let scheme = key.choose_scheme(&known).map(|signer| signer.scheme()).ok_or(BadKey::Unknown(name))?;
        Ok(Self { domain: domain.to_owned(), selector: selector.to_owned(), key, scheme })
    }

    /// Where the public half stands in the DNS.
    pub fn place(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// The TXT record that belongs there.
    pub fn record(&self) -> String {
        let public = self.public();
        match self.scheme {
            // RFC 8463: the key itself, which is the end of its SubjectPublicKeyInfo.
            SignatureScheme::ED25519 => {
                let key = public.get(public.len().saturating_sub(32)..).unwrap_or_default();
                format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(key))
            }
            _ => format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(public)),
        }
    }

    /// Whether this is the public half of the key.
    pub fn is_published_as(&self, record: &DkimRecord) -> bool {
        let kind = if self.scheme == SignatureScheme::ED25519 { "ed25519" } else { "rsa" };
        record.kind == kind && record.is(&self.public())
    }

    /// SubjectPublicKeyInfo.
    fn public(&self) -> Vec<u8> {
        self.key.public_key().map(|key| key.as_ref().to_vec()).unwrap_or_default()
    }

    /// The message with its signature before it. `message` has CRLF line ends and a blank line behind its head.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn sign(&self, message: &[u8], at: Timestamp) -> Result<Vec<u8>, String> {
        let end = memchr::memmem::find(message, b"\r\n\r\n").ok_or("the message has no body")?;
        let (head, body) = (&message[..end + 2], &message[end + 4..]);
        let fields = fields(head);
        let mut names = Vec::new();
        let mut signed = Vec::new();
        for name in SIGNED {
            let found = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
            if let Some(field) = found {
                names.push(name);
                signed.extend(relaxed_field(field.name, field.value));
                signed.extend(b"\r\n");
            }
        }
        names.extend(ONLY_ONCE);
        let algorithm = if self.scheme == SignatureScheme::ED25519 { "ed25519-sha256" } else { "rsa-sha256" };
        let mut header = format!(
            "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; d={};\r\n s={}; t={};\r\n h={};\r\n bh={};\r\n b=",
            self.domain,
            self.selector,
            at.millis() / 1_000,
            folded(&names.join(":"), ':'),
            STANDARD.encode(Sha256::digest(relaxed_body(body))),
        );
        let (name, value) = header.split_once(':').unwrap_or_default();
        signed.extend(relaxed_field(name.as_bytes(), value.as_bytes()));
        let signature = self.signature(&signed)?;
        for chunk in STANDARD.encode(signature).as_bytes().chunks(LINE) {
            header.push_str(&String::from_utf8_lossy(chunk));
            header.push_str("\r\n ");
        }
        let mut out = header.trim_end().as_bytes().to_vec();
        out.extend(b"\r\n");
        out.extend(message);
        Ok(out)
    }

    fn signature(&self, signed: &[u8]) -> Result<Vec<u8>, String> {
        let signer = self.key.choose_scheme(&[self.scheme]).ok_or("the DKIM key does not sign")?;
        // Ed25519 signs the hash as its message; RSA hashes by itself.
        let done = match self.scheme {
            SignatureScheme::ED25519 => signer.sign(&Sha256::digest(signed)),
            _ => signer.sign(signed),
        };
        done.map_err(|cause| format!("the DKIM key does not sign: {cause}"))
    }
}

/// Who signs; never the key.
impl fmt::Debug for Dkim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dkim({}._domainkey.{})", self.selector, self.domain)
    }
}

struct Field<'m> {
    name: &'m [u8],
    /// Folded as it stands, without the last line end.
    value: &'m [u8],
}

fn fields(head: &[u8]) -> Vec<Field<'_>> {
    let mut found = Vec::new();
    let mut rest = head;
    while !rest.is_empty() {
        // A line that begins with a blank goes on with the one before.
        let ends = memchr::memmem::find_iter(rest, b"\r\n");
        let end = ends.into_iter().find(|end| !matches!(rest.get(end + 2), Some(b' ' | b'\t'))).unwrap_or(rest.len());
        let field = &rest[..end];
        rest = rest.get(end + 2..).unwrap_or_default();
        if let Some(colon) = memchr::memchr(b':', field) {
            found.push(Field { name: &field[..colon], value: &field[colon + 1..] });
        }
    }
    found
}

/// Small letters, one line, runs of blanks as one, none at the ends; without a line end.
fn relaxed_field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = name.trim_ascii().to_ascii_lowercase();
    out.push(b':');
    let unfolded: Vec<u8> = value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    out.extend(single_blanks(unfolded.trim_ascii()));
    out
}

fn single_blanks(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b' ' | b'\t' if out.last() == Some(&b' ') => {}
            b' ' | b'\t' => out.push(b' '),
            byte => out.push(*byte),
        }
    }
    out
}

/// Blanks at the ends of lines and empty lines at the end do not count.
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut empty = 0;
    for line in body.split(|b| *b == b'\n') {
        let line = single_blanks(line.strip_suffix(b"\r").unwrap_or(line));
        let line = line.strip_suffix(b" ").unwrap_or(&line);
        if line.is_empty() {
            empty += 1;
            continue;
        }
        out.extend(b"\r\n".repeat(std::mem::take(&mut empty)));
        out.extend(line);
        out.extend(b"\r\n");
    }
    out
}

/// Broken behind `at` so that no line is long.
fn folded(text: &str, at: char) -> String {
    let (mut out, mut length) = (String::new(), 0);
    for piece in text.split_inclusive(at) {
        if length + piece.len() > LINE {
            out.push_str("\r\n  ");
            length = 0;
        }
        out.push_str(piece);
        length += piece.len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_6376_are_canonical() {
        let head = b"A: X\r\nB : Y\t\r\n\tZ  \r\n";
        let relaxed: Vec<Vec<u8>> = fields(head).iter().map(|field| relaxed_field(field.name, field.value)).collect();
        assert_eq!(relaxed, [b"a:X".to_vec(), b"b:Y Z".to_vec()]);
        assert_eq!(relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n"), b" C\r\nD E\r\n");
        assert_eq!(relaxed_body(b""), b"");
        assert_eq!(relaxed_body(b"\r\n \r\n"), b"");
        assert_eq!(relaxed_body(b"a\r\n\r\nb"), b"a\r\n\r\nb\r\n");
    }

    #[test]
    fn a_key_that_is_none_is_told_without_its_text() {
        let folder = tempfile::tempdir().map(tempfile::TempDir::keep).unwrap_or_default();
        let file = folder.join("key.pem");
        assert!(matches!(Dkim::from_file("a.example", "s", &file), Err(BadKey::Unreadable(..))));
        assert!(std::fs::write(&file, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n").is_ok());
        let told = Dkim::from_file("a.example", "s", &file).map_or_else(|error| error.to_string(), |_| String::new());
        assert!(told.contains("neither an RSA key") && !told.contains("c2Vj"), "{told}");
        for (text, says) in [
            ("", "holds no private key as PEM"),
            ("v=DKIM1; k=rsa; p=MIIB", "holds no private key as PEM"),
            ("-----BEGIN PUBLIC KEY-----\nc2VjcmV0\n-----END PUBLIC KEY-----\n", "holds no private key as PEM"),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n", "passphrase"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n",
                "passphrase",
            ),
            ("-----BEGIN PRIVATE KEY-----\nc2Vj", "cannot be read"),
        ] {
            assert!(std::fs::write(&file, text).is_ok());
            let told =
                Dkim::from_file("a.example", "s", &file).map_or_else(|error| error.to_string(), |_| String::new());
            assert!(told.contains(says) && !told.contains("c2Vj"), "{text}: {told}");
        }
        for wrong in ["", "a b", "a..b", "ü"] {
            assert!(matches!(Dkim::from_file("a.example", wrong, &file), Err(BadKey::Selector(_))), "{wrong}");
        }
        assert!(std::fs::remove_dir_all(&folder).is_ok());
    }
}
