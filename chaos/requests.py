"""One HTTP request of a chaos run: its bytes, how the client sends them, and which responses are correct."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
# Any request can be refused by an overloaded server or miss its deadline.
OVERLOADED = frozenset({503, 504})
COMPLETED = OVERLOADED | {200}


class Delivery(StrEnum):
    """How the client sends a request: whole, slowly, or with a disconnect at some point."""

    COMPLETE = "complete"
    SLOW = "slow"
    HALF_CLOSE = "half-close"
    CLOSE_SENDING = "close while sending"
    CLOSE_WAITING = "close while waiting"
    RESET_WAITING = "reset while waiting"
    RESET_READING = "reset while reading"


DISCONNECTS = tuple(one for one in Delivery if one.startswith(("close", "reset")))


@dataclass(frozen=True)
class Request:
    """A request and what it expects; `kind` names what is unusual about it.

    One of `statuses` must come back, and with 200 the JSON body `golden`. With `response_optional` the server
    may close the connection instead. `raw` is sent in place of a well-formed request. A client that closes
    while sending does so after the share `cut` of the bytes, and one that sends slowly starts after that
    share of the body, for `slow_bytes` bytes; `delay_s` is the time until a client disconnects.
    """

    route: str
    body: bytes = b""
    kind: str = "valid"
    method: str = "POST"
    headers: tuple[str, ...] = (JSON,)
    raw: bytes = b""
    delivery: Delivery = Delivery.COMPLETE
    cut: float = 0.5
    slow_bytes: int = 0
    delay_s: float = 0.0
    task: str = ""
    golden: Any = None
    statuses: frozenset[int] = COMPLETED
    response_optional: bool = False

    def __str__(self) -> str:
        return f"{self.kind}, {self.delivery}, {self.method} {self.route}"

    def chunks(self) -> list[bytes]:
        """What is sent, with a pause before each chunk but the first."""
        message = self.encode()
        if self.delivery == Delivery.CLOSE_SENDING:
            return [message[: int(len(message) * self.cut)]]
        if self.delivery != Delivery.SLOW:
            return [message]
        slow = len(message) - round(len(self.body) * (1 - self.cut))
        rest = slow + self.slow_bytes
        return [message[:slow], *(bytes([byte]) for byte in message[slow:rest]), message[rest:]]

    def encode(self) -> bytes:
        if self.raw:
            return self.raw
        lines = [f"{self.method} {self.route} HTTP/1.1", "Host: chaos", *self.headers]
        if CHUNKED not in self.headers:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body
