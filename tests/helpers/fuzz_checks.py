"""What schemathesis loads beside its own checks: two more, and a count of the answers by status."""

import atexit
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import schemathesis

# What each refusal of a text that its schema allows must be true of.
REFUSALS = {
    "Text should hold more than white space": lambda text: not text.strip(),
    "Text should not hold NUL characters": lambda text: "\0" in text,
    "Text should hold a word that the model can read": lambda text: True,
    "Text should have at most 256 tokens": lambda text: len(text) >= 100,
}
PRIVATE = ("Traceback", 'File "', "site-packages", ".py", "/root", "/home", "/tmp", "/work", "/usr")
STATUSES: Counter[int] = Counter()


BAD_INPUT = (400, 413, 422)


def problems_of(answer: dict[str, Any]) -> Iterator[tuple[list[str | int], str]]:
    """The places in the body, and the messages, of a refusal in the form of any protocol."""
    if isinstance(answer.get("detail"), list):
        yield from ((problem["loc"][1:], problem["msg"]) for problem in answer["detail"])
        return
    for problem in answer["error"].split("; "):
        place, _, message = problem.partition(": ")
        yield [int(part) if part.isdecimal() else part for part in place.split(".")], message


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Has the shape of a tensor in a valid body fit its data, which no schema can say."""
    if case.path.endswith("/infer") and case.meta is not None and case.meta.generation.mode.is_positive:
        for tensor in case.body["inputs"]:
            tensor["shape"] = [len(tensor["data"]), 1][: len(tensor["shape"])]


@schemathesis.check
def a_valid_text_is_refused_for_what_it_holds(ctx: Any, response: Any, case: Any) -> None:
    """A request that its schema allows is refused only where the model cannot read a text of it."""
    if (
        case.meta is None
        or not case.meta.generation.mode.is_positive
        or response.status_code not in BAD_INPUT
    ):
        return
    for place, message in problems_of(response.json()):
        text = case.body
        for part in place:
            text = text[part]
        text = text[0] if isinstance(text, list) else text
        reasons = [holds for start, holds in REFUSALS.items() if message.startswith(start)]
        assert reasons and reasons[0](text), f"refused with {message}: {text!r}"


@schemathesis.check
def nothing_private_is_said(ctx: Any, response: Any, case: Any) -> None:
    """An answer that is no 200 holds no traceback and no path of this machine."""
    if response.status_code != 200:
        assert not any(word in response.text for word in PRIVATE), response.text


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    STATUSES[response.status_code] += 1


if "GAP_FUZZ_STATUSES" in os.environ:
    atexit.register(
        lambda: Path(os.environ["GAP_FUZZ_STATUSES"]).write_text(json.dumps(dict(sorted(STATUSES.items()))))
    )
