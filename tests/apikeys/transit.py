"""A small server that speaks HashiCorp Vault's transit API on loopback, with a real AES key inside."""

import base64
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.test-0123456789"


class Transit:
    """The server; `answer` replaces its next answers by (status, body), `asked` tells what was asked for."""

    def __init__(self, name: str = "digitalme") -> None:
        self.name = name
        self.answer: tuple[int, bytes] | None = None
        self.asked: list[str] = []
        self._cipher = AESGCM(os.urandom(32))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "Transit":
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def wrap(self, key: bytes) -> str:
        """Return what `vault write transit/encrypt/NAME` prints for a key."""
        iv = os.urandom(12)
        return "vault:v1:" + base64.b64encode(iv + self._cipher.encrypt(iv, base64.b64encode(key), None)).decode()

    def reply(self, path: str, token: str | None, body: bytes) -> tuple[int, bytes]:
        """Answer as Vault does."""
        self.asked.append(path)
        if self.answer:
            return self.answer
        if token != TOKEN:
            return 403, _errors("permission denied")
        try:
            asked: dict[str, Any] = json.loads(body)
            if path == f"/v1/transit/datakey/wrapped/{self.name}":
                return 200, _data(ciphertext=self.wrap(os.urandom(asked["bits"] // 8)))
            if path != f"/v1/transit/decrypt/{self.name}":
                return 400, _errors("encryption key not found")
            blob = base64.b64decode(asked["ciphertext"].removeprefix("vault:v1:"))
            return 200, _data(plaintext=self._cipher.decrypt(blob[:12], blob[12:], None).decode())
        except (InvalidTag, ValueError, KeyError):
            return 400, _errors("invalid ciphertext: unable to decrypt")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        transit = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, answer = transit.reply(self.path, self.headers.get("X-Vault-Token"), body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler


def _data(**facts: str) -> bytes:
    return json.dumps({"request_id": "1", "data": facts}).encode()


def _errors(*sentences: str) -> bytes:
    return json.dumps({"errors": sentences}).encode()
