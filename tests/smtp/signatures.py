"""Keys for DKIM, and its verification by dkimpy: `keys FOLDER`, or `verify FOLDER NAME`, which prints a line a mail."""

import base64
import pathlib
import sys

import dkim
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa


def keys(folder):
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    made = {
        "rsa": (rsa_key, form.PrivateFormat.PKCS8),
        "rsa1": (rsa_key, form.PrivateFormat.TraditionalOpenSSL),
        "ed": (ed25519.Ed25519PrivateKey.generate(), form.PrivateFormat.PKCS8),
    }
    for name, (key, shape) in made.items():
        text = key.private_bytes(form.Encoding.PEM, shape, form.NoEncryption())
        (folder / f"{name}.pem").write_bytes(text)
        if name == "ed":
            public = key.public_key().public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)
            record = "v=DKIM1; k=ed25519; p="
        else:
            public = key.public_key().public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
            record = "v=DKIM1; k=rsa; p="
        (folder / f"{name}.txt").write_text(record + base64.b64encode(public).decode())


def verify(folder, name):
    record = (folder / f"{name}.txt").read_bytes()
    asked = []

    def dns(query, timeout=5):
        asked.append(query)
        return record

    for path in sorted(folder.glob("*.eml"), key=lambda path: int(path.stem)):
        # The server wrote the envelope's two lines first.
        mail = path.read_bytes().split(b"\r\n", 2)[2]
        good = dkim.verify(mail, dnsfunc=dns)
        # What stands beside its one-click headers, or its text, changed.
        spoiled = [
            mail.replace(b"List-Unsubscribe: <https", b"List-Unsubscribe: <httpx"),
            mail.replace(b"List-Unsubscribe-Post: List", b"List-Unsubscribe-Post: Lost"),
            b"Subject: another\r\n" + mail,
            mail[:-10] + b"changed\r\n" + mail[-10:],
        ]
        marketing = b"\r\nList-Unsubscribe: " in mail
        refused = [not dkim.verify(other, dnsfunc=dns) for other in (spoiled if marketing else spoiled[2:])]
        print(path.stem, "good" if good else "BAD", "marketing" if marketing else "other", all(refused), asked[-1].decode())


folder = pathlib.Path(sys.argv[2])
keys(folder) if sys.argv[1] == "keys" else verify(folder, sys.argv[3])
