"""One engine in a process of its own: `python -m peers.engines.child`, started by peers.engines.team.

Standard output has a JSON object a line: `ready` with the sample's answers, then one for each SIGUSR1, which
asks for one pass over the work. An engine that waits for its turn sleeps, so that it takes nothing of others.
"""

import argparse
import importlib
import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from peers.engines.work import Work


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--converted", type=Path, required=True)
    parser.add_argument("--convert", action="store_true", help="write --converted, and end")
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--work", type=Path)
    parser.add_argument("--sample", type=Path)
    options = parser.parse_args()
    # Before any thread starts: each inherits the mask, and the signal waits until it is asked for.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    peer: Any = importlib.import_module(f"peers.engines.{options.engine}_peer")
    if options.convert:
        convert(peer, options.models, options.converted)
        return 0
    engine = peer.Engine(options.models, options.converted, options.settings)
    work, sample = Work.load(options.work), Work.load(options.sample)
    warm = engine.prepare(sample)()()
    run = engine.prepare(work)
    say({"ready": engine.version, "answers": warm, "wrong_lengths": sample.wrong_lengths(warm)})
    while True:
        signal.sigwait({signal.SIGUSR1})
        say(measure(run, work))


def measure(run: Any, work: Work) -> dict[str, Any]:
    """One pass: the tokens of all answers, and the seconds until the last one was there."""
    started_s = time.perf_counter()
    finish = run()
    seconds = time.perf_counter() - started_s
    answers = finish()
    return {
        "tokens": sum(map(len, answers)),
        "seconds": seconds,
        "wrong_lengths": work.wrong_lengths(answers),
    }


def convert(peer: Any, models: Path, converted: Path) -> None:
    """Makes an engine's own copy of the weights, whole or not at all."""
    converted.parent.mkdir(parents=True, exist_ok=True)
    unfinished = converted.with_name(f".{converted.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    peer.convert(models, unfinished)
    shutil.rmtree(converted, ignore_errors=True)
    unfinished.replace(converted)


def say(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main())
