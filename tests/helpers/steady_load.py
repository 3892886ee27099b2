"""Users of a server whose parts are stopped: what each of their requests came to."""

import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx

from benchmark.measure import loopback

USERS = 50
WAIT_S = 120.0
GERMAN = {
    "I love you.": "Ich liebe dich.",
    "Two dogs are playing in the snow.": "Zwei Hunde spielen im Schnee.",
    "Tom is my brother.": "Tom ist mein Bruder.",
    "The boy is sleeping.": "Der Junge schläft.",
}


class SteadyLoad:
    """Sends texts to a server as long as the block runs; counts the outcomes.

    An outcome is a status, "wrong" for another translation than the right one, or "connection error".
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.outcomes: Counter[str | int] = Counter()
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(USERS)]

    def __enter__(self) -> "SteadyLoad":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, answers: int) -> None:
        until(lambda: self.outcomes.total() >= answers, f"{answers} answers")

    def _send(self, number: int) -> None:
        texts = [*GERMAN]
        with loopback.Client(base_url=self.url, timeout=60.0) as client:
            while not self.stop.is_set():
                number += 1
                text = texts[number % len(texts)]
                try:
                    answer = client.post("/translate", json={"text": text})
                except httpx.TransportError:
                    self.outcomes["connection error"] += 1
                    continue
                right = answer.status_code != 200 or answer.json() == {"translation": GERMAN[text]}
                self.outcomes[answer.status_code if right else "wrong"] += 1


def until(holds: Callable[[], bool], what: str) -> None:
    ends_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < ends_s, what
        time.sleep(0.05)
