"""A real SMTP server for the tests: aiosmtpd with logins, TLS and answers per recipient.

server.py MODE FOLDER, where MODE is plain, starttls or tls. It makes a certificate authority in FOLDER (ca.pem), keeps
each accepted message as FOLDER/N.eml with the envelope as its first two lines, prints "ready PORT" and runs until its
standard input closes. Signed ones are kept for the end of the run, too, where CARILLON_TEST_SIGNED names a folder. What stands in FOLDER/password, if that is there, is the password of its account "shop".
"""

import asyncio
import itertools
import os
import pathlib
import ssl
import sys

import trustme
from aiosmtpd.smtp import SMTP, AuthResult

MODE, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
SIGNED = os.environ.get("CARILLON_TEST_SIGNED")
ANSWERS = {
    "gone@example.com": "550 5.1.1 <gone@example.com> no such user",
    "full@example.com": "452 4.2.2 mailbox full",
    "slow@example.com": "421 4.7.0 too many messages",
    "policy@example.com": "550 5.7.1 refused by policy",
}


class Keeper:
    numbers = itertools.count(1)

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in ANSWERS:
            return ANSWERS[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        head = f"{envelope.mail_from}\r\n{','.join(envelope.rcpt_tos)}\r\n".encode()
        number = next(self.numbers)
        (FOLDER / f"{number}.eml").write_bytes(head + envelope.original_content)
        if SIGNED and b"DKIM-Signature:" in envelope.original_content:
            # Another name until it is whole.
            part = pathlib.Path(SIGNED) / "mails" / f"{os.getpid()}-{number}.part"
            part.write_bytes(envelope.original_content)
            part.rename(part.with_suffix(".eml"))
        return "250 2.0.0 kept"


def login(server, session, envelope, mechanism, given):
    changed = FOLDER / "password"
    password = changed.read_bytes() if changed.exists() else "pass wörd".encode()
    right = given.login == b"shop" and given.password == password
    return AuthResult(success=right, handled=right)


async def main():
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(FOLDER / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    def protocol():
        secure = {"tls_context": context, "require_starttls": True} if MODE == "starttls" else {}
        # Over TLS from the first byte the server does not know that it is encrypted.
        trusted = {} if MODE == "starttls" else {"auth_require_tls": False}
        return SMTP(
            Keeper(), enable_SMTPUTF8=True, authenticator=login, auth_required=MODE != "plain", **secure, **trusted
        )

    tls = context if MODE == "tls" else None
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=tls)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
