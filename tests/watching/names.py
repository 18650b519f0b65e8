"""A name server for the tests, over UDP and TCP, that knows one file of records and nothing else.

names.py FILE, of lines `NAME TYPE VALUE`; a text may be split into parts of 255 bytes as real ones are. A name without a
line does not exist; a value of `silent` is never answered. It reads the file anew for each question, prints "ready PORT"
and runs until its standard input closes.
"""

import pathlib
import socket
import socketserver
import struct
import sys
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

FILE = pathlib.Path(sys.argv[1])


def records():
    for line in FILE.read_text().splitlines():
        if line.strip():
            name, kind, value = line.split(None, 2)
            yield name.lower().rstrip("."), kind, value


def answer(wire):
    question = dns.message.from_wire(wire)
    asked = question.question[0]
    name = asked.name.to_text().lower().rstrip(".")
    kind = dns.rdatatype.to_text(asked.rdtype)
    known = [(k, v) for n, k, v in records() if n == name]
    if any(v == "silent" for _, v in known):
        return None
    reply = dns.message.make_response(question)
    reply.flags |= dns.flags.RA
    if not known:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    values = []
    for k, v in known:
        if k == kind:
            if k == "TXT":
                v = " ".join(f'"{v[n : n + 255]}"' for n in range(0, len(v), 255))
            values.append(v)
    if values:
        reply.answer.append(dns.rrset.from_text(asked.name, 0, "IN", kind, *values))
    return reply


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        wire, sock = self.request
        if reply := answer(wire):
            try:
                sock.sendto(reply.to_wire(max_size=1232), self.client_address)
            except dns.exception.TooBig:
                reply.answer.clear()
                reply.flags |= dns.flags.TC
                sock.sendto(reply.to_wire(), self.client_address)


class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        while head := self.rfile.read(2):
            wire = self.rfile.read(struct.unpack("!H", head)[0])
            if reply := answer(wire):
                out = reply.to_wire()
                self.wfile.write(struct.pack("!H", len(out)) + out)


socketserver.ThreadingTCPServer.allow_reuse_address = True
tcp = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tcp)
port = tcp.server_address[1]
udp = socketserver.ThreadingUDPServer(("127.0.0.1", port), Udp)
for server in (tcp, udp):
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", port, flush=True)
sys.stdin.read()
