#!/usr/bin/env python3
"""A registry that means ill: hostile_registry.py CERT KEY MODE_FILE HONEST. Prints its port.

MODE_FILE says how each request is answered (see `MODES`); `honest` sends the client on to the registry HONEST.
"""
import http.server
import pathlib
import ssl
import sys
import time

CERT, KEY, MODE, HONEST = sys.argv[1:5]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def head(self, status, *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.close_connection = True
        self.end_headers()

    def here(self, path):
        return f"https://{self.headers['Host']}{path}"

    def do_GET(self):
        try:
            MODES[pathlib.Path(MODE).read_text().strip()](self)
        except OSError:
            pass


def endless(h):
    h.head(200)
    while True:
        h.wfile.write(b"x" * 65536)


def endless_chunks(h):
    h.head(200, ("Transfer-Encoding", "chunked"))
    while True:
        h.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")


def endless_chunk_size(h):
    h.head(200, ("Transfer-Encoding", "chunked"))
    while True:
        h.wfile.write(b"0" * 65536)


def huge_header(h):
    h.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: ")
    while True:
        h.wfile.write(b"a" * 65536)


def many_headers(h):
    h.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        h.wfile.write(b"X-A: b\r\n" * 1000)


def body(*headers, status=200, text=b"<html>Log in to our hotel</html>"):
    def answer(h):
        h.head(status, *headers)
        h.wfile.write(text)
    return answer


def token(h):
    if h.path.startswith("/token"):
        return endless(h)
    h.head(401, ("WWW-Authenticate", f'Bearer realm="{h.here("/token")}",service="x",scope="y"'), ("Content-Length", "0"))


def challenge(h):
    h.head(401, ("WWW-Authenticate", "Bearer " + ",".join(f'k{n}="' + "v" * 100 + '"' for n in range(80))), ("Content-Length", "0"))


MODES = {
    "endless": endless,
    "endless chunks": endless_chunks,
    "endless chunk size": endless_chunk_size,
    "huge header": huge_header,
    "many headers": many_headers,
    "no length": body(),
    "longer than its length": body(("Content-Length", "3"), text=b"x" * 100_000),
    "shorter than its length": body(("Content-Length", "100000")),
    "no number as its length": body(("Content-Length", "-5")),
    "a page": body(("Content-Type", "text/html"), ("Content-Length", "32")),
    "gzip": body(("Content-Encoding", "gzip"), ("Content-Length", "20"), text=b"\x1f\x8b" + b"\0" * 18),
    "another part": body(("Content-Range", "bytes 5-9/10"), ("Content-Length", "5"), status=206, text=b"abcde"),
    "a part of nothing": body(("Content-Range", "bytes */0"), ("Content-Length", "0"), status=416, text=b""),
    "nothing": body(("Content-Length", "0"), status=204, text=b""),
    "in a circle": lambda h: h.head(302, ("Location", h.here(h.path)), ("Content-Length", "0")),
    "to plain http": lambda h: h.head(302, ("Location", "http://127.0.0.1:9/x"), ("Content-Length", "0")),
    "nowhere": lambda h: h.head(302, ("Location", "::::"), ("Content-Length", "0")),
    "busy": body(("Retry-After", "99999999"), ("Content-Length", "0"), status=503, text=b""),
    "token": token,
    "challenge": challenge,
    "hangs up": lambda h: setattr(h, "close_connection", True),
    "silent": lambda h: time.sleep(3600),
    "honest": lambda h: h.head(307, ("Location", f"https://{HONEST}{h.path}"), ("Content-Length", "0")),
}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


server = Server(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERT, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], *MODES, sep="\n", flush=True)
print("", flush=True)
server.serve_forever()
