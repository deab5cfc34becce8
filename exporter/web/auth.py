"""Who may come in: the rate limit and the passwords of the web configuration."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import bcrypt

from exporter.web.config import RateLimit, WebConfig
from exporter.web.connection import Request, Response, text_response

logger = logging.getLogger(__name__)

REMEMBERED = 256
"""Right passwords that need no bcrypt again."""
_LONGEST_PASSWORD = 72
"""Bytes that bcrypt looks at; Go's ignores the rest, so this one has to as well."""


class Gate:
    """Admits requests or refuses them. Used on the event loop alone; bcrypt runs in one thread of its own."""

    def __init__(self, most_waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_waiting = most_waiting
        self._waiting = 0
        self._salt = secrets.token_bytes(32)
        self.remembered: OrderedDict[bytes, None] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, "password")
        self._bucket = _Bucket(clock)

    def close(self) -> None:
        """Give up the comparisons that have not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def ask(
        self,
        config: WebConfig,
        request: Request,
        refuse: Callable[[Response], None],
        admit: Callable[[], None],
    ) -> None:
        """Call ``admit``, or ``refuse`` with the answer for the client: now, or when bcrypt is done."""
        if config.rate_limit is not None and not self._bucket.take(config.rate_limit):
            refuse(text_response(429, "429 Too Many Requests: rate_limit of the web configuration"))
            return
        if not config.users:
            admit()
            return
        given = _credentials(request.headers.get("authorization", ""))
        if given is None:
            refuse(_unauthorized())
            return
        user, password = given
        known = user in config.users
        stored = self.hash_to_compare(config, user)
        proof = self._digest(user.encode(), stored, password)
        if known and proof in self.remembered:
            self.remembered.move_to_end(proof)
            admit()
            return
        if self._waiting >= self._most_waiting:
            refuse(text_response(503, "503 Service Unavailable: too many logins", ("retry-after", "1")))
            return
        self._waiting += 1

        def finished(done: asyncio.Future[bool]) -> None:
            self._waiting -= 1
            if done.cancelled():
                return
            if done.exception() is not None:
                logger.error("a password could not be compared: %s", done.exception())
            if done.exception() is None and done.result() and known:
                self.remember(proof)
                admit()
            else:
                refuse(_unauthorized())

        comparison = asyncio.get_running_loop().run_in_executor(self._pool, bcrypt.checkpw, password, stored)
        comparison.add_done_callback(finished)

    def hash_to_compare(self, config: WebConfig, user: str) -> bytes:
        """Return the user's hash; for somebody unknown that of a known user, always the same one.

        So the time of a refusal tells nothing of who is known, whatever each hash costs.
        """
        hashes = tuple(config.users.values())
        return config.users.get(user) or hashes[self._digest(user.encode())[0] % len(hashes)]

    def remember(self, proof: bytes) -> None:
        """Admit who gives the same user and password again without bcrypt."""
        # Right passwords alone are kept, so guessing cannot push them out.
        self.remembered[proof] = None
        while len(self.remembered) > REMEMBERED:
            self.remembered.popitem(last=False)

    def _digest(self, *parts: bytes) -> bytes:
        """Return a hash that stands for the parts while the process runs, and tells nothing of them."""
        digest = hashlib.blake2b(key=self._salt, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()


def _unauthorized() -> Response:
    challenge = ("www-authenticate", 'Basic realm="video-api-exporter", charset="UTF-8"')
    return text_response(401, "401 Unauthorized", challenge)


def _credentials(header: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode(), password[:_LONGEST_PASSWORD]) if colon else None
    except (binascii.Error, ValueError):
        return None


class _Bucket:
    """A token bucket that starts full."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._limit: RateLimit | None = None
        self._tokens = 0.0
        self._looked = 0.0

    def take(self, limit: RateLimit) -> bool:
        now = self._clock()
        if limit != self._limit:
            self._limit, self._tokens = limit, float(limit.burst)
        else:
            self._tokens = min(limit.burst, self._tokens + (now - self._looked) / limit.interval)
        self._looked = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
