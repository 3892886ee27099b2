"""What is sent: a seeded sequence of requests, most of them odd in one way, each with what may answer it."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from chaos.texts import NUM_BEAMS, POISON, ROUTES, Known

MAX_BODY_BYTES = 65_536
OFTEN_ASKED, OFTEN_SHARE = 8, 0.3
REFUSED = frozenset({422, 503, 504})
WORKED = frozenset({200, 503, 504})
JSON = ("Content-Type", "application/json")

# How a request leaves: all at once, some of it a byte a second, or only in part.
WHOLE, SLOW, HALF_CLOSED = "whole", "slow", "half closed"
GONE_IN_HEAD, GONE_IN_BODY, GONE_WAITING, RESET_WAITING, GONE_READING = (
    "gone in head",
    "gone in body",
    "gone waiting",
    "reset waiting",
    "gone reading",
)
LEFT_EARLY = frozenset({GONE_IN_HEAD, GONE_IN_BODY, GONE_WAITING, RESET_WAITING, GONE_READING})


@dataclass(frozen=True)
class Ask:
    """One request; `kind` names what is odd about it.

    `statuses` are those that may answer it; with `texts`, a 200 must be the right answer to them. `cut` is
    where in its bytes (0 to 1) a request that leaves in part is cut off, `delay_s` how long a client waits
    before it hangs up, or how many bytes go out slowly. `mute` may go without an answer: the server may
    close instead.
    """

    kind: str
    route: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = (JSON,)
    method: str = "POST"
    manner: str = WHOLE
    task: str = ""
    texts: tuple[str, ...] = ()
    num_beams: int = 1
    batch: bool = False
    statuses: frozenset[int] = WORKED
    poisoned: bool = False
    mute: bool = False
    raw: bytes = b""
    cut: float = 0.5
    delay_s: float = 0.0

    def head(self) -> bytes:
        lines = [f"{self.method} {self.route} HTTP/1.1", "Host: chaos"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if not any(name.lower() == "transfer-encoding" for name, _ in self.headers):
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass(frozen=True)
class Mix:
    """The share of each kind of request, relative to the others, and how often a text is to be translated."""

    shares: dict[str, float]
    translated: float
    largest_batch: int


class Asks:
    """Draws requests: the same sequence from the same seed."""

    def __init__(self, known: Known, mix: Mix, seed: int) -> None:
        self._known = known
        self._mix = mix
        self._random = random.Random(f"chaos/{seed}")

    def draw(self) -> Iterator[Ask]:
        kinds, shares = [*self._mix.shares], [*self._mix.shares.values()]
        while True:
            (kind,) = self._random.choices(kinds, shares)
            yield self._make(kind)

    def valid(self, kind: str, batch: bool | None = None, **more: object) -> Ask:
        """A request that is right in itself: a text or a batch of either task."""
        rng = self._random
        task = "translation" if rng.random() < self._mix.translated else "sentiment"
        batch = rng.random() < 0.15 if batch is None else batch
        count = rng.randint(2, self._mix.largest_batch) if batch else 1
        return self._of(kind, task, self._texts(task, count), batch, **more)

    def slow(self, kind: str) -> Ask:
        """A request of which some bytes come a second apart; 408 may answer it."""
        cut, count = 0.9 * self._random.random(), self._random.randint(2, 8)
        statuses = WORKED | {408}
        return self.valid(kind, batch=False, manner=SLOW, cut=cut, delay_s=count, statuses=statuses)

    def endless(self, kind: str) -> Ask:
        """A request whose bytes come a second apart for so long that it is never whole."""
        return self.valid(kind, batch=False, manner=SLOW, cut=0.1, delay_s=1_000, statuses=frozenset({503}))

    def large_batch(self, kind: str, texts: int) -> Ask:
        """A batch of translations, the longest work that a request can ask for."""
        return self._of(kind, "translation", self._texts("translation", texts), True)

    def _texts(self, task: str, count: int) -> tuple[str, ...]:
        """Texts with a known answer; some are asked often, so that requests for the same text meet."""
        rng, texts = self._random, self._known.texts(task)
        return tuple(
            rng.choice(texts[:OFTEN_ASKED] if rng.random() < OFTEN_SHARE else texts) for _ in range(count)
        )

    def _of(self, kind: str, task: str, texts: tuple[str, ...], batch: bool, **more: object) -> Ask:
        sent: dict[str, object] = {"texts": texts} if batch else {"text": texts[0]}
        if num_beams := more.get("num_beams"):
            sent["num_beams"] = num_beams
        route = ROUTES[task] + ("/batch" if batch else "")
        fields = {"body": json.dumps(sent).encode(), "task": task, "texts": texts, "batch": batch, **more}
        return Ask(kind, route, **fields)  # type: ignore[arg-type]

    def _make(self, kind: str) -> Ask:
        rng = self._random
        match kind:
            case "valid":
                return self.valid(kind)
            case "beams":
                text = rng.choice(self._known.texts("translation", NUM_BEAMS))
                return self._of(kind, "translation", (text,), False, num_beams=NUM_BEAMS)
            case "short deadline":
                headers = (JSON, ("X-Timeout-Ms", str(round(10 ** rng.uniform(0, 3.5)))))
                return self.valid(kind, headers=headers)
            case "poisoned":
                task = "translation" if rng.random() < self._mix.translated else "sentiment"
                batch = rng.random() < 0.5
                mates = self._texts(task, 2) if batch else ()
                at = rng.randrange(3)
                texts = (*mates[:at], POISON[task], *mates[at:])
                statuses = frozenset({500, 503, 504})
                return self._of(kind, task, texts, batch, statuses=statuses, poisoned=True)
            case "hangs up":
                manner = rng.choice(sorted(LEFT_EARLY))
                # Most at once or while the text is worked on, some long after.
                return self.valid(kind, manner=manner, cut=rng.random(), delay_s=10 ** rng.uniform(-4, 0))
            case "half closed":
                return self.valid(kind, manner=HALF_CLOSED, mute=True)
            case "slow":
                return self.slow(kind)
            case "bad item":
                return self._bad_item(kind)
            case "malformed":
                return self._malformed(kind)
            case "broken HTTP":
                return self._broken(kind)
            case "too large":
                return self._too_large(kind)
            case "no such route":
                method, route = rng.choice([("GET", "/translate"), ("POST", "/nowhere"), ("PUT", "/health")])
                return Ask(kind, route, b"{}", method=method, statuses=frozenset({404, 405}))
        raise ValueError(f"no such kind of request: {kind}")

    def _bad_item(self, kind: str) -> Ask:
        rng = self._random
        right = self.valid(kind, batch=True)
        texts: list[object] = [*right.texts]
        texts[rng.randrange(len(texts))] = rng.choice(["", "  ", 7, None, ["x"], "x\0", "word " * 2_000])
        body = json.dumps({"texts": texts}).encode()
        return Ask(kind, right.route, body, task=right.task, statuses=REFUSED)

    def _malformed(self, kind: str) -> Ask:
        rng = self._random
        route = rng.choice(["/translate", "/sentiment", "/translate/batch", "/sentiment/batch"])
        field = "texts" if route.endswith("batch") else "text"
        plain = json.dumps({field: ["A film."] if field == "texts" else "A film."}).encode()
        body, headers = rng.choice(
            [
                (b"", (JSON,)),
                (b"null", (JSON,)),
                (b"{}", (JSON,)),
                (b"[" * 500, (JSON,)),
                (plain[: rng.randrange(1, len(plain))], (JSON,)),
                (b'{"' + field.encode() + b'": "\xff\xfe"}', (JSON,)),
                (json.dumps({field: 1e300}).encode(), (JSON,)),
                (json.dumps({field: {"a": [None]}}).encode(), (JSON,)),
                (json.dumps({field: [] if field == "texts" else ""}).encode(), (JSON,)),
                (json.dumps({field: ["a film"] * 65 if field == "texts" else "x" * 9_000}).encode(), (JSON,)),
                (plain, (JSON, ("X-Timeout-Ms", rng.choice(["0", "-1", "soon", "1e3", "9" * 99])))),
                (plain, (("Content-Type", "text/plain"),)),
                (rng.randbytes(rng.randrange(1, 400)), (JSON,)),
            ]
        )
        statuses = REFUSED | {415, 400}
        return Ask(kind, route, body, headers=headers, statuses=statuses)

    def _broken(self, kind: str) -> Ask:
        rng = self._random
        raw = rng.choice(
            [
                b"\r\n\x00\x01\x02\r\n\r\n",
                b"POST /translate\r\n\r\n",
                b"POST /translate HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                b"POST /translate HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n{}",
                b"POST /sentiment HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n",
                b"GET / HTTP/9.9\r\n\r\n",
                b"A" * 100_000,
                rng.randbytes(200) + b"\r\n\r\n",
            ]
        )
        return Ask(kind, "/translate", b"", raw=raw, statuses=frozenset({400, 422, 431}), mute=True)

    def _too_large(self, kind: str) -> Ask:
        rng = self._random
        route = rng.choice(["/translate", "/sentiment"])
        body = json.dumps({"text": "x" * rng.randint(MAX_BODY_BYTES, 4 * MAX_BODY_BYTES)}).encode()
        headers: tuple[tuple[str, str], ...] = (JSON,)
        if rng.random() < 0.5:
            headers = (JSON, ("Transfer-Encoding", "chunked"))
            parts = [body[at : at + 8_192] for at in range(0, len(body), 8_192)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
        # Refused before it is read to its end, it may find the connection closed while it still sends.
        return Ask(kind, route, body, headers=headers, statuses=frozenset({413, 503}), mute=True)
