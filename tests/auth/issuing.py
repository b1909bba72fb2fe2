"""A real issuer of tokens on this machine: discovery and keys over HTTP, and what goes wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.auth import forging

CONFIGURATION = "/realm/.well-known/openid-configuration"
KEYS = "/realm/keys"
Answer = Callable[[BaseHTTPRequestHandler], None]


def algorithm_of(key: forging.PrivateKey) -> str:
    """Return how a key signs."""
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    return "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "EdDSA"


def public_jwk(key: forging.PrivateKey, **members: object) -> dict[str, Any]:
    """Return the public half of a key as an entry of a set of keys; None leaves a member out."""
    name = algorithm_of(key)
    text = jwt.get_algorithm_by_name(name).to_jwk(key.public_key())
    found = {**json.loads(text), "use": "sig", "alg": name, **members}
    found.pop("key_ops", None) if "key_ops" not in members else None
    return {each: value for each, value in found.items() if value is not None}


def json_answer(value: object) -> Answer:
    """Return an answer that says something in JSON."""
    return plain_answer(json.dumps(value).encode())


def plain_answer(body: bytes, status: int = 200, **headers: str) -> Answer:
    """Return an answer with this body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@dataclass
class Issuer:
    """The issuer; ``keys`` are those that it signs with and publishes, by id."""

    keys: dict[str, forging.PrivateKey]
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None
    _port: int = 0

    @property
    def url(self) -> str:
        """What it calls itself."""
        return f"http://127.0.0.1:{self._port}/realm"

    def start(self) -> None:
        """Answer, on the port of the last time."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                answer = issuer.answers.get(self.path) or issuer._usual().get(self.path)
                with suppress(OSError):  # the client may have had enough
                    (answer or plain_answer(b"", 404))(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        """Go away; nobody answers on the port then."""
        self.released.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
        self._server = None
        self.released = threading.Event()

    def token(self, kid: str | None = None, /, **changes: object) -> str:
        """Sign a token with a key of ours, the first one unless another is named.

        A claim that is None is left out; ``header`` changes the header.
        """
        chosen = next(iter(self.keys)) if kid is None else kid
        key = self.keys[chosen]
        more: Any = changes.pop("header", {})
        header = {"alg": algorithm_of(key), "typ": "JWT", "kid": chosen, **more}
        return forging.sign(header, self.payload(**changes), key)

    def payload(self, **changes: object) -> dict[str, Any]:
        """Return the claims of a good token, with changes; None leaves one out."""
        claims = {"iss": self.url, "aud": "lakehouse", "sub": "ada-0001", **changes}
        return {name: value for name, value in claims.items() if value is not None}

    def trickle(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one byte at a time, and never to the end."""
        handler.send_response(200)
        handler.end_headers()
        while not self.released.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer nothing until it is released, then as usual."""
        self.released.wait(30)
        self._usual()[handler.path](handler)

    def _usual(self) -> dict[str, Answer]:
        about = {"issuer": self.url, "jwks_uri": self.url + "/keys"}
        published = [public_jwk(key, kid=kid) for kid, key in self.keys.items()]
        return {CONFIGURATION: json_answer(about), KEYS: json_answer({"keys": published})}


@contextmanager
def issuing(**keys: forging.PrivateKey) -> Iterator[Issuer]:
    """Run an issuer with these keys, or with an RSA one, until the block ends."""
    issuer = Issuer(keys or {"first": forging.rsa_key()})
    issuer.start()
    try:
        yield issuer
    finally:
        issuer.stop()
