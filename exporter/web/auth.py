"""Compares passwords with bcrypt, one after another, in a queue in which client addresses take turns."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from exporter.runtime.throttle import ThrottledLog
from exporter.web.fair_queue import FairQueue
from exporter.web.messages import GiveUp, Request, Respond, Response, text_response

logger = logging.getLogger(__name__)

Users = Mapping[str, bytes]
"""bcrypt hashes by user name."""
REMEMBERED = 256
"""So many right passwords need no bcrypt again."""
_LONGEST_PASSWORD_BYTES = 72
"""bcrypt reads no more. The one of Go ignores the rest, so this one has to as well."""


@dataclass(frozen=True, eq=False, repr=False)  # a log line of asyncio would show the password
class _Login:
    """A password that waits for bcrypt."""

    password: bytes
    stored: bytes
    known: bool
    proof: bytes
    refuse: Respond
    admit: Callable[[], None]


class Authenticator:
    """Requires user and password (HTTP Basic). Used on the event loop only. bcrypt runs in one thread of its own."""

    def __init__(self) -> None:
        self._waiting: FairQueue[_Login] = FairQueue()
        self._comparing = False
        self._salt = secrets.token_bytes(32)
        self.remembered: OrderedDict[bytes, None] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, "password")
        self._logger = ThrottledLog(logger)

    def close(self) -> None:
        """Cancel the comparisons that have not begun. Call this when the event loop has ended."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def check(self, users: Users, request: Request, refuse: Respond, admit: Callable[[], None]) -> GiveUp | None:
        """Call ``admit``, or ``refuse`` with the response for the client, at once or when bcrypt is done.

        Return what takes the login out of the queue if the client hangs up, or None if it is decided.
        """
        given = _credentials(request.headers.get("authorization", ""))
        if given is None:
            refuse(_unauthorized())
            return None
        user, password = given
        stored = self.hash_to_compare(users, user)
        proof = self._digest(user.encode(), stored, password)
        login = _Login(password, stored, user in users, proof, refuse, admit)
        if self._is_remembered(login):
            admit()
            return None
        # Nothing bounds the queue but the limit of connections, because each of them has one request at a time.
        self._waiting.put(request.client, login)
        self._compare_next()
        return partial(self._waiting.remove, login)

    def _compare_next(self) -> None:
        while not self._comparing:
            login = self._waiting.get()
            if login is None:
                return
            loop = asyncio.get_running_loop()
            if self._is_remembered(login):
                loop.call_soon(login.admit)
                continue
            self._comparing = True
            comparison = loop.run_in_executor(self._pool, _is_password, login.password, login.stored)
            comparison.add_done_callback(partial(self._compared, login))

    def _compared(self, login: _Login, comparison: asyncio.Future[bool]) -> None:
        self._comparing = False
        if comparison.cancelled():
            return
        error = comparison.exception()
        if error is not None:
            self._logger.error("a password could not be compared: %s", error)
        right = error is None and comparison.result() and login.known
        if right:
            self.remember(login.proof)
        # Begin the next comparison first, because a failure of this response must not stop the queue.
        self._compare_next()
        if right:
            login.admit()
        else:
            login.refuse(_unauthorized())

    def _is_remembered(self, login: _Login) -> bool:
        if not login.known or login.proof not in self.remembered:
            return False
        self.remembered.move_to_end(login.proof)
        return True

    def hash_to_compare(self, users: Users, user: str) -> bytes:
        """Return the user's hash. An unknown name gets the hash of a known user, always the same one.

        So the time of a refusal does not tell whether a name is known, even if the hashes differ in cost.
        """
        hashes = tuple(users.values())
        return users.get(user) or hashes[self._digest(user.encode())[0] % len(hashes)]

    def remember(self, proof: bytes) -> None:
        """Remember a right user and password, so that the next request needs no bcrypt."""
        # Only right passwords are kept, so guessing cannot push them out.
        self.remembered[proof] = None
        while len(self.remembered) > REMEMBERED:
            self.remembered.popitem(last=False)

    def _digest(self, *parts: bytes) -> bytes:
        """Return a hash of the parts with this process's salt. It does not reveal them."""
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
        return (user.decode(), password[:_LONGEST_PASSWORD_BYTES]) if colon else None
    except (binascii.Error, ValueError):
        return None


def _is_password(password: bytes, stored: bytes) -> bool:
    import bcrypt  # few web configurations have users

    return bcrypt.checkpw(password, stored)
