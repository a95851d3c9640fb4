"""Counts that several processes share, in Redis; and what happens while there is none."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Final

from penstock.errors import PluginError
from penstock.hooks import log_event

if TYPE_CHECKING:
    from limits.storage import RedisStorage

PAUSE_SECONDS: Final = 1.0
"""After a failure nobody asks for so long, and then one does: or each request would wait for the time-out."""
SAME_FAILURE_SECONDS: Final = 60.0


def open_redis(url: str, timeout: float, prefix: str) -> RedisStorage:
    """A storage that connects when it is first asked.

    A connection that Redis has closed meanwhile is tried once more; what times out is not, so that no request waits for
    much longer than ``timeout``.

    Raises
    ------
    PluginError
        If the library is not there, or the URL cannot be read. It does not show the URL, which may hold a password.
    """
    try:
        from limits.storage import RedisStorage  # noqa: PLC0415 - only who has set a URL needs them
        from redis.backoff import NoBackoff  # noqa: PLC0415 - likewise
        from redis.exceptions import ConnectionError as LostConnection  # noqa: PLC0415 - likewise
        from redis.retry import Retry  # noqa: PLC0415 - likewise
    except ImportError:
        raise PluginError(
            "plug-in 'ratelimit' has a redis_url, and the redis library is missing; pip install 'penstock[redis]'"
        ) from None
    options = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 1, supported_errors=(LostConnection,)),
    }
    try:
        return RedisStorage(url, key_prefix=prefix, wrap_exceptions=True, **options)  # type: ignore[arg-type] # they go to redis-py
    except Exception as error:
        raise PluginError(
            f"the redis_url of plug-in 'ratelimit' cannot be used ({type(error).__name__}); "
            "write redis://host:6379/0, rediss://... or redis+unix:///path"
        ) from None


class Outage:
    """Whether Redis is being left alone, because it has failed.

    Parameters
    ----------
    consequence:
        What it means for requests, for the log.
    clock:
        Tells the time in seconds.
    """

    def __init__(self, consequence: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._consequence = consequence
        self._clock = clock
        self._lock = Lock()
        self._is_out = False
        self._ask_again = 0.0
        self._logged = -SAME_FAILURE_SECONDS + clock()
        self.failures = 0

    def __repr__(self) -> str:
        return f"<Outage: {'out' if self._is_out else 'none'}, {self.failures} failures>"

    def may_ask(self) -> bool:
        """Whether to ask Redis now: always while it works; once in a while when it does not."""
        if not self._is_out:
            return True
        with self._lock:
            now = self._clock()
            if now < self._ask_again:
                return False
            self._ask_again = now + PAUSE_SECONDS  # this one tries, and nobody else for now
            return True

    def failed(self, error: Exception) -> None:
        """Note that it did not answer."""
        with self._lock:
            now = self._clock()
            self.failures += 1
            self._is_out = True
            self._ask_again = now + PAUSE_SECONDS
            if now - self._logged < SAME_FAILURE_SECONDS:
                return
            self._logged = now
        log_event(
            logging.WARNING,
            "ratelimit-unavailable",
            f"Redis does not answer, so {self._consequence}: {error}",
            failures=self.failures,
        )

    def answered(self) -> None:
        """Note that it did."""
        if not self._is_out:
            return
        with self._lock:
            was_out, self._is_out = self._is_out, False
        if was_out:
            log_event(logging.INFO, "ratelimit-available", "Redis answers again, and requests are counted")
