#!/usr/bin/env python3
"""A device gateway that gives logins for a registry, the token server of that registry, and the place where its blobs really are.

    registry_login.py --cert CRT --key KEY --ca CA --site DIR --user NAME:SECRET --log FILE [--token-key KEY --token-cert CRT] [--blobs DIR]

GET /repo/...      files of DIR/repo, to devices with a certificate of the CA
GET /hub-creds/    the login, to the same
GET /token         who shows the login gets a token that docker-registry (auth: token) takes
GET /docker/...    files of the registry's folder, to everybody: where a registry's middleware `redirect` leads to
POST /app-proxy-url   to devices with a certificate: an address of all blobs, with a token; the first one is good for three requests
GET /registry/...  blobs of the registry's folder, named as a registry names them, to who has the token

Prints its address. Each request is a line of JSON in the log: path, the scheme of Authorization, whether there was a certificate.
Only the standard library and openssl are needed.
"""

import argparse
import base64
import http.server
import json
import pathlib
import ssl
import subprocess
import time
import urllib.parse

ISSUER, SERVICE = "tests", "registry of the tests"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url, certificate = self._look()
        if url.path != "/app-proxy-url" or not certificate:
            return self._answer(403)
        uses = self.server.uses
        uses.append(3 if not uses else 1000)
        return self._answer(201, f"https://{self.headers['Host']}/registry?token=secret{len(uses)}".encode())

    def do_GET(self):
        url, certificate = self._look()
        first, _, rest = url.path.lstrip("/").partition("/")
        if first in ("repo", "hub-creds") and not certificate:
            return self._answer(403)
        if first == "hub-creds":
            user, secret = self.server.args.user.split(":")
            return self._answer(200, json.dumps({"Username": user, "Secret": secret}).encode())
        if first == "token":
            login = base64.b64encode(self.server.args.user.encode()).decode()
            if self.headers.get("Authorization") != f"Basic {login}":
                return self._answer(401)
            return self._answer(200, json.dumps({"token": token(self.server.args, urllib.parse.parse_qs(url.query))}).encode())
        if first == "registry":
            return self._blob(url)
        folder = {"repo": f"{self.server.args.site}/repo", "docker": f"{self.server.args.blobs}/docker"}.get(first, "/nonexistent")
        path = pathlib.Path(folder) / rest
        return self._answer(200, path.read_bytes()) if path.is_file() else self._answer(404)

    def _look(self):
        url = urllib.parse.urlsplit(self.path)
        certificate = bool(self.connection.getpeercert())
        scheme = self.headers.get("Authorization", "").split(" ")[0]
        with open(self.server.args.log, "a") as log:
            log.write(json.dumps({"path": url.path, "authorization": scheme, "certificate": certificate}) + "\n")
        return url, certificate

    def _blob(self, url):
        uses, token = self.server.uses, urllib.parse.parse_qs(url.query).get("token", [""])[0]
        if not uses or token != f"secret{len(uses)}" or uses[-1] == 0:
            return self._answer(401)
        uses[-1] -= 1
        digest = url.path.rpartition("/sha256:")[2]
        path = pathlib.Path(self.server.args.blobs) / f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
        return self._answer(200, path.read_bytes()) if path.is_file() else self._answer(404)

    def _answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def token(args, query):
    """A JSON web token, as the registry's specification of token authentication has it."""
    certificate = pathlib.Path(args.token_cert).read_text()
    chain = "".join(line for line in certificate.splitlines() if not line.startswith("-"))
    access = []
    for scope in query.get("scope", []):
        kind, name, actions = scope.split(":")
        access.append({"type": kind, "name": name, "actions": actions.split(",")})
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "robot", "aud": SERVICE, "jti": "1", "iat": now, "nbf": now - 10, "exp": now + 300, "access": access}
    text = ".".join(packed(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "RS256", "x5c": [chain]}, claims))
    signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", args.token_key], input=text.encode(), stdout=subprocess.PIPE, check=True)
    return f"{text}.{packed(signed.stdout)}"


def packed(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def main():
    parser = argparse.ArgumentParser()
    for name in ("cert", "key", "ca", "site", "user", "log"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("token-key", "token-cert", "blobs"):
        parser.add_argument(f"--{name}")
    args = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.args, server.uses = args, []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(args.cert, args.key)
    context.load_verify_locations(args.ca)
    context.verify_mode = ssl.CERT_OPTIONAL
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(f"https://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
