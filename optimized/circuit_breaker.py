"""A circuit breaker: what fails is left alone, and retried in the background, ever more rarely."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

MIN_DELAY_S = 0.5
MAX_DELAY_S = 10.0
# Closed for less than this many of its last delays, it does not start over with the shortest.
PROVEN_DELAYS = 4


class CircuitBreaker:
    """Closed while something works; open, it retries the very call that failed. For the event loop."""

    def __init__(self, name: str, describe: Callable[[Exception], str]) -> None:
        """`name` is what the log calls off and on; `describe` is an error's text there."""
        self._name = name
        self._describe = describe
        self._delay_s = MIN_DELAY_S
        self._closed_s = -math.inf
        self._retrying: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def is_open(self) -> bool:
        return self._retrying is not None

    def open(self, error: Exception, retry: Callable[[], Awaitable[object]]) -> None:
        """Opens over `error` until `retry` raises nothing; of errors meanwhile, each is logged once."""
        if self._retrying is None:
            closed_for_s = asyncio.get_running_loop().time() - self._closed_s
            if closed_for_s >= PROVEN_DELAYS * self._delay_s:
                self._delay_s = MIN_DELAY_S
            else:
                self._delay_s = min(2 * self._delay_s, MAX_DELAY_S)
            self._retrying = asyncio.create_task(self._retry(self._log(error), retry))

    async def stop(self) -> None:
        """Ends the retries; it stays as it is."""
        self._stopped = True
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.wait([self._retrying])

    async def _retry(self, reason: str, retry: Callable[[], Awaitable[object]]) -> None:
        logged = {reason}
        while True:
            await asyncio.sleep(self._delay_s)
            try:
                await retry()
                break
            except Exception as error:
                if self._stopped:  # asyncio.wait_for may lose a cancellation
                    return
                if self._describe(error) not in logged:
                    logged.add(self._log(error))
                self._delay_s = min(2 * self._delay_s, MAX_DELAY_S)
        self._retrying = None
        self._closed_s = asyncio.get_running_loop().time()
        log.info("%s on again", self._name)

    def _log(self, error: Exception) -> str:
        reason = self._describe(error)
        log.warning("%s off: %s", self._name, reason)
        return reason
