"""Counts that several processes share in Redis, and the handling of its outages."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock
from typing import Final

from limits.storage import RedisStorage

from penstock.errors import PluginError
from penstock.hooks import log_event

PAUSE_SECONDS: Final = 1.0
"""After a failure Redis is left alone for this long, and then one request tries it: else each would wait for the
timeout."""
SAME_FAILURE_SECONDS: Final = 60.0


def open_redis(url: str, timeout: float, prefix: str) -> RedisStorage:
    """Return a storage that connects on first use.

    A connection that Redis has closed in the meantime is retried once; a timeout is not, so that no request waits much
    longer than ``timeout``.

    Raises
    ------
    PluginError
        If the redis library is missing or the URL is invalid. The message omits the URL, which may contain a password.
    """
    try:
        from redis.backoff import NoBackoff  # noqa: PLC0415 - redis is an optional dependency
        from redis.exceptions import ConnectionError as LostConnection  # noqa: PLC0415 - redis is optional
        from redis.retry import Retry  # noqa: PLC0415 - redis is optional
    except ImportError:
        raise PluginError(
            "plug-in 'ratelimit' has a redis_url, but the redis library is missing; pip install 'penstock[redis]'"
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
    """Tracks whether Redis has failed and is being left alone.

    Parameters
    ----------
    consequence:
        The effect of an outage on requests, for the log.
    clock:
        Returns the seconds of a monotonic clock.

    Attributes
    ----------
    failures:
        Number of requests that Redis did not answer.
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
        """Return whether to ask Redis now: always while it works, once per pause while it is out."""
        if not self._is_out:
            return True
        with self._lock:
            now = self._clock()
            if now < self._ask_again:
                return False
            self._ask_again = now + PAUSE_SECONDS  # this request tries, and no other one until then
            return True

    def failed(self, error: Exception) -> None:
        """Record that Redis did not answer."""
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
        """Record that Redis answered."""
        if not self._is_out:
            return
        with self._lock:
            was_out, self._is_out = self._is_out, False
        if was_out:
            log_event(logging.INFO, "ratelimit-available", "Redis answers again, so the rate limits are enforced")
