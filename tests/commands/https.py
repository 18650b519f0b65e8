"""Three hosts that speak TLS for 127.0.0.1: one that an authority vouches for, one that another does, and one whose
certificate is for somebody else.

https.py FOLDER writes the first authority's certificate to FOLDER/ca.pem, prints "ready PORT PORT PORT" and runs until its
standard input closes.
"""

import http.server
import pathlib
import ssl
import sys
import threading

import trustme

FOLDER = pathlib.Path(sys.argv[1])


class Host(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<html>Here"
        self.send_response(404 if self.path == "/gone" else 200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(authority, name):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


trusted, other = trustme.CA(), trustme.CA()
trusted.cert_pem.write_to_path(str(FOLDER / "ca.pem"))
ports = [serve(trusted, "127.0.0.1"), serve(other, "127.0.0.1"), serve(trusted, "elsewhere.example")]
print("ready", *ports, flush=True)
sys.stdin.read()
