# SPDX-License-Identifier: MIT
"""A server on loopback that answers over https as Hugging Face's hub does: https_hub.py FOLDER CERTIFICATE KEY. Serves FOLDER/ORG/NAME/FILES, without
folders below, at one commit, and prints its port. Ranges, GET and HEAD; files are sent from the hub itself, so there is no redirect."""

import hashlib
import http.server
import json
import os
import re
import ssl
import sys

COMMIT = "0123456789abcdef0123456789abcdef01234567"
folder, certificate, key = sys.argv[1:]


def content(*path):
    with open(os.path.join(folder, *path), "rb") as file:
        return file.read()


def entry(model, name):
    data = content(model, name)
    digest = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return {"type": "file", "path": name, "rfilename": name, "size": len(data), "oid": digest, "blobId": digest}


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, data, headers=()):
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(data)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self):
        listed = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/[^/]+", self.path.split("?")[0])
        wanted = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/([^/]+)", self.path.split("?")[0])
        if listed:
            model, kind = listed.groups()
            files = [entry(model, name) for name in sorted(os.listdir(os.path.join(folder, model)))]
            self.answer(200, json.dumps(files if kind == "tree" else {"id": model, "sha": COMMIT, "siblings": files}).encode())
        elif wanted and os.path.isfile(os.path.join(folder, *wanted.groups())):
            data = content(*wanted.groups())
            headers = [("X-Repo-Commit", COMMIT), ("ETag", f'"{entry(*wanted.groups())["oid"]}"'), ("Accept-Ranges", "bytes")]
            span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if not span:
                return self.answer(200, data, headers)
            first, last = int(span[1]), min(int(span[2] or len(data)), len(data) - 1)
            self.answer(206, data[first:last + 1], headers + [("Content-Range", f"bytes {first}-{last}/{len(data)}")])
        else:
            self.answer(404, b"Not found", [("X-Error-Code", "EntryNotFound")])

    do_HEAD = do_GET

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, address):
        """A client that does not trust the certificate ends the handshake."""


server = Server(("127.0.0.1", 0), Hub)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()
