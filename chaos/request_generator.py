"""A seeded sequence of requests: valid, malformed, interrupted, and with texts that make the model fail."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from chaos.faults import POISON_TEXTS
from chaos.golden_answers import NUM_BEAMS, ROUTES, GoldenAnswers, response_body
from chaos.plan import FREQUENT_TEXTS, MAX_BODY_BYTES, Mix
from chaos.requests import CHUNKED, COMPLETED, DISCONNECTS, JSON, OVERLOADED, Delivery, Request

FREQUENT_SHARE = 0.3
BATCH_SHARE = 0.15
CHUNK_BYTES = 8_192
INVALID_ITEMS: tuple[object, ...] = ("", "  ", 7, None, ["x"], "x\0", "word " * 2_000)
INVALID_TIMEOUTS_MS = ("0", "-1", "soon", "1e3", "9" * 99)
UNKNOWN_ROUTES = (("GET", "/translate"), ("POST", "/nowhere"), ("PUT", "/health"))
MALFORMED_HTTP = (
    b"\r\n\x00\x01\x02\r\n\r\n",
    b"POST /translate\r\n\r\n",
    b"POST /translate HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    b"POST /translate HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n{}",
    b"POST /sentiment HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"A" * 100_000,
)


class RequestGenerator:
    """Draws requests by the shares of a mix; the same seed gives the same sequence."""

    def __init__(self, golden: GoldenAnswers, mix: Mix, seed: int) -> None:
        self._golden = golden
        self._mix = mix
        self._random = rng = random.Random(f"chaos/{seed}")
        # By kind, its share relative to the others.
        self.kinds: dict[str, tuple[float, Callable[[], Request]]] = {
            "valid": (mix.valid, self.valid),
            "beam search": (mix.beam_search, self._beam_search),
            "short deadline": (
                8.0,
                lambda: self.valid(headers=(JSON, f"X-Timeout-Ms: {10 ** rng.uniform(0, 3.5):.0f}")),
            ),
            # Most disconnect at once or while the text is processed, some long after.
            "client disconnect": (
                12.0,
                lambda: self.valid(
                    delivery=rng.choice(DISCONNECTS), cut=rng.random(), delay_s=10 ** rng.uniform(-4, 0)
                ),
            ),
            "half-closed": (2.0, lambda: self.valid(delivery=Delivery.HALF_CLOSE, response_optional=True)),
            "slow": (0.6, lambda: self.slow(0.9 * rng.random(), rng.randint(2, 8), COMPLETED | {408})),
            "poison text": (1.5, self._poison_text),
            "malformed body": (10.0, self._malformed_body),
            "malformed HTTP": (3.0, self._malformed_http),
            "body too large": (3.0, self._body_too_large),
            "invalid batch item": (5.0, self._invalid_batch_item),
            "unknown route": (2.0, self._unknown_route),
        }

    def draw(self) -> Iterator[Request]:
        """Requests without end."""
        shares = [share for share, _ in self.kinds.values()]
        while True:
            ((kind, (_, build)),) = self._random.choices([*self.kinds.items()], shares)
            yield replace(build(), kind=kind)

    def valid(self, batch: bool | None = None, **fields: Any) -> Request:
        """A text, or a batch of texts, of either task."""
        task = self._task()
        if batch is None:
            batch = self._random.random() < BATCH_SHARE
        count = self._random.randint(2, self._mix.max_batch_size) if batch else 1
        return self._request(task, self._texts(task, count), batch, **fields)

    def slow(self, cut: float, slow_bytes: int, statuses: frozenset[int]) -> Request:
        return self.valid(
            batch=False, delivery=Delivery.SLOW, cut=cut, slow_bytes=slow_bytes, statuses=statuses
        )

    def large_batch(self, size: int) -> Request:
        """A batch of translations, the longest-running kind of request."""
        return self._request("translation", self._texts("translation", size), True)

    def _task(self) -> str:
        return "translation" if self._random.random() < self._mix.translation_share else "sentiment"

    def _texts(self, task: str, count: int) -> list[str]:
        rng, texts = self._random, [*self._golden[task, 1]]
        return [
            rng.choice(texts[:FREQUENT_TEXTS] if rng.random() < FREQUENT_SHARE else texts)
            for _ in range(count)
        ]

    def _request(
        self, task: str, texts: list[str], batch: bool, num_beams: int = 1, **fields: Any
    ) -> Request:
        content: dict[str, object] = {"texts": texts} if batch else {"text": texts[0]}
        if num_beams != 1:
            content["num_beams"] = num_beams
        route = ROUTES[task] + ("/batch" if batch else "")
        answers = [self._golden[task, num_beams].get(text) for text in texts]
        golden = response_body(task, answers, batch)
        return Request(route, json.dumps(content).encode(), task=task, golden=golden, **fields)

    def _beam_search(self) -> Request:
        text = self._random.choice([*self._golden["translation", NUM_BEAMS]])
        return self._request("translation", [text], batch=False, num_beams=NUM_BEAMS)

    def _poison_text(self) -> Request:
        task, batch = self._task(), self._random.random() < 0.5
        texts = self._texts(task, 2) if batch else []
        texts.insert(self._random.randrange(3), POISON_TEXTS[task])
        return self._request(task, texts, batch, statuses=OVERLOADED | {500})

    def _invalid_batch_item(self) -> Request:
        valid = self.valid(batch=True)
        content = json.loads(valid.body)
        texts = content["texts"]
        texts[self._random.randrange(len(texts))] = self._random.choice(INVALID_ITEMS)
        return Request(valid.route, json.dumps(content).encode(), statuses=OVERLOADED | {422})

    def _malformed_body(self) -> Request:
        rng = self._random
        batch = rng.random() < 0.5
        route = rng.choice([*ROUTES.values()]) + ("/batch" if batch else "")
        field = "texts" if batch else "text"
        valid = json.dumps({field: ["A film."] if batch else "A film."}).encode()
        too_large = ["a film"] * 65 if batch else "x" * 9_000
        values: list[object] = [1e300, {"a": [None]}, [] if batch else "", too_large]
        bodies = [b"", b"null", b"{}", b"[" * 500, b'{"%b": "\xff\xfe"}' % field.encode()]
        bodies += [json.dumps({field: value}).encode() for value in values]
        bodies += [valid[: rng.randrange(1, len(valid))], rng.randbytes(rng.randrange(1, 400))]
        cases: list[tuple[bytes, tuple[str, ...]]] = [(body, (JSON,)) for body in bodies]
        cases.append((valid, (JSON, f"X-Timeout-Ms: {rng.choice(INVALID_TIMEOUTS_MS)}")))
        cases.append((valid, ("Content-Type: text/plain",)))
        body, headers = rng.choice(cases)
        return Request(route, body, headers=headers, statuses=OVERLOADED | {400, 415, 422})

    def _malformed_http(self) -> Request:
        raw = self._random.choice([*MALFORMED_HTTP, self._random.randbytes(200) + b"\r\n\r\n"])
        statuses = frozenset({400, 422, 431})
        return Request("/translate", raw=raw, statuses=statuses, response_optional=True)

    def _body_too_large(self) -> Request:
        rng = self._random
        route, text = rng.choice([*ROUTES.values()]), "x" * rng.randint(MAX_BODY_BYTES, 4 * MAX_BODY_BYTES)
        body, headers = json.dumps({"text": text}).encode(), [JSON]
        if rng.random() < 0.5:
            parts = [body[start : start + CHUNK_BYTES] for start in range(0, len(body), CHUNK_BYTES)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
            headers.append(CHUNKED)
        statuses = frozenset({413, 503})
        # The server refuses before it has read the whole body: its close can overtake the response.
        return Request(route, body, headers=(*headers,), statuses=statuses, response_optional=True)

    def _unknown_route(self) -> Request:
        method, route = self._random.choice(UNKNOWN_ROUTES)
        return Request(route, b"{}", method=method, statuses=frozenset({404, 405}))
