"""Keys for DKIM, and its verification by dkimpy.

keys FOLDER            makes them, each NAME.pem with its DNS record NAME.txt
verify FOLDER NAME     prints a line for each mail that server.py kept in FOLDER
run FOLDER             a folder for the signed mails of a whole run of tests, with a key for whoever has none
verify-run FOLDER      verifies all of them, and fails where one is not good or none came
"""

import base64
import multiprocessing
import os
import pathlib
import sys

import dkim
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

UNSUBSCRIBE = {b"list-unsubscribe", b"list-unsubscribe-post"}


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
        record += base64.b64encode(public).decode()
        (folder / f"{name}.txt").write_text(record)
        # Whoever verifies the mails of the whole run needs the keys of all of them.
        if run := os.environ.get("CARILLON_TEST_SIGNED"):
            (pathlib.Path(run) / "records" / f"{os.getpid()}-{folder.name}-{name}.txt").write_text(record)


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


def run(folder):
    for part in ("mails", "records"):
        (folder / part).mkdir(parents=True)
    os.environ["CARILLON_TEST_SIGNED"] = str(folder)
    keys(folder)


RECORDS = []


def remember(records):
    RECORDS.extend(records)


def verified(mail, kind):
    """Whether one of the run's keys signed it: tests make their own, and call them alike."""
    for n, record in enumerate(RECORDS):
        if kind in record and dkim.verify(mail, dnsfunc=lambda query, timeout=5: record):
            # The next one is of the same test.
            RECORDS.insert(0, RECORDS.pop(n))
            return True
    return False


def judged(path):
    """None where all is well, and whether it is marketing."""
    mail = path.read_bytes()
    head = mail.split(b"\r\n\r\n", 1)[0].replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    headers = {line.split(b":", 1)[0].strip().lower(): line.split(b":", 1)[1] for line in head.split(b"\r\n") if b":" in line}
    marketing = bool(UNSUBSCRIBE & headers.keys())
    tags = dict(part.strip().split(b"=", 1) for part in headers[b"dkim-signature"].split(b";") if b"=" in part)
    signed = {name.strip().lower() for name in b"".join(tags[b"h"].split()).split(b":")}
    kind = b"k=ed25519" if tags[b"a"].strip().startswith(b"ed25519") else b"k=rsa"
    if not verified(mail, kind):
        return f"{path}: dkimpy does not verify it", marketing
    if marketing and not (UNSUBSCRIBE <= headers.keys() and UNSUBSCRIBE <= signed):
        return f"{path}: its one-click headers are not both there and signed", marketing
    return None, marketing


def verify_run(folder):
    records = [path.read_bytes() for path in sorted((folder / "records").glob("*.txt"))]
    mails = sorted((folder / "mails").glob("*.eml"))
    with multiprocessing.Pool(initializer=remember, initargs=(records,)) as pool:
        told = pool.map(judged, mails, chunksize=64)
    bad = [problem for problem, _ in told if problem]
    marketing = sum(one for _, one in told)
    for problem in bad[:20]:
        print(problem)
    if bad or not mails or not marketing:
        print(f"signed mails: {len(bad)} of {len(mails)} are not good, {marketing} are marketing")
        sys.exit(1)
    print(f"signed mails verified by dkimpy: {len(mails)}, {marketing} of them with both one-click headers signed")


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[2])
    match sys.argv[1]:
        case "keys":
            keys(folder)
        case "verify":
            verify(folder, sys.argv[3])
        case "run":
            run(folder)
        case "verify-run":
            verify_run(folder)
