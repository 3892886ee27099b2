"""The processes of one engine on the cores: they load once, then take their turns on a signal."""

import hashlib
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.measure.processes import Child, ProcessFailed
from benchmark.runs.environment import ROOT
from dynamic_batching.runtime.onnx_files import cpu_flags
from peers.engines.engines import Settings, engine_of
from peers.engines.work import Work


@dataclass(frozen=True)
class Place:
    """Where engines find their models and leave their files: `scratch` for work, `logs` for what they say.

    `cache` keeps the copies that engines make of the weights, which have the digest `weights_sha256`.
    """

    models: Path
    cache: Path
    weights_sha256: str
    scratch: Path
    logs: Path

    def converted(self, name: str) -> Path:
        """An engine's copy of the weights: another one for other weights, packages, code or CPU."""
        vnni = "avx512_vnni" in cpu_flags()
        digest = hashlib.sha256(f"{self.weights_sha256} {vnni}".encode())
        code = [*sorted(Path(__file__).parent.glob(f"{name}_*.py")), ROOT / "model_export" / "compare.py"]
        for path in (ROOT / "constraints.txt", *code):
            digest.update(path.read_bytes())
        return self.cache / f"{name}-{digest.hexdigest()[:16]}"

    def command(self, name: str, *arguments: str) -> list[str]:
        command = [sys.executable, "-m", "peers.engines.child", name, "--models", str(self.models)]
        return [*command, "--converted", str(self.converted(name)), *arguments]


class Team:
    """One engine with its settings: a process a core, each with a share of the work, or one on all cores."""

    def __init__(
        self, name: str, settings: Settings, cores: tuple[int, ...], work: Work, sample: Work, place: Place
    ) -> None:
        self.name = name
        self.settings = settings
        self.version = ""
        self.sample_answers: list[list[int]] = []
        self._children: list[Child] = []
        engine = engine_of(name)
        groups = [(core,) for core in cores] if engine.process_a_core else [cores]
        sample_path = sample.save(place.scratch / "sample.json")
        try:
            for turn, (group, share) in enumerate(zip(groups, work.deal(len(groups)), strict=True)):
                path = share.save(place.scratch / f"{name}-{turn}.json")
                command = place.command(name, "--settings", json.dumps(settings))
                command += ["--work", str(path), "--sample", str(sample_path)]
                log = place.logs / f"peers-{name}-{turn}.log"
                self._children.append(Child(command, group, log, engine.environment(settings), piped=True))
            ready = [self._read(child) for child in self._children]
        except BaseException:
            self.stop()
            raise
        self.version = ready[0]["ready"]
        self.sample_answers = ready[0]["answers"]
        self.sample_wrong_lengths: int = ready[0]["wrong_lengths"]

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def turn(self) -> dict[str, Any]:
        """One pass over the work by every process at once: its tokens, to the end of the last one.

        Raises:
            ProcessFailed: a process ended.
        """
        for child in self._children:
            child.process.send_signal(signal.SIGUSR1)
        passes = [self._read(child) for child in self._children]
        tokens = sum(one["tokens"] for one in passes)
        seconds = max(one["seconds"] for one in passes)
        return {
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_s": tokens / seconds,
            "wrong_lengths": sum(one["wrong_lengths"] for one in passes),
        }

    def stop(self) -> None:
        for child in self._children:
            child.stop()

    def _read(self, child: Child) -> dict[str, Any]:
        """The next event of a process, past whatever its libraries print."""
        assert child.process.stdout is not None
        for line in child.process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                return event
        child.process.wait()
        raise ProcessFailed(f"{self.name} ended early ({self.settings}): {child.last_line()}")
