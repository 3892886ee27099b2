"""The processes of one engine: they load the model once, then run one pass at a time on request."""

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.measure.processes import Child, ProcessFailed
from benchmark.runs.environment import ROOT
from dynamic_batching.runtime.onnx_files import cpu_flags
from peers.engines.dataset import Dataset
from peers.engines.registry import REQUIREMENTS, Settings, engine_spec
from peers.halving import Pass


@dataclass(frozen=True)
class Paths:
    """Of one task: the folders of models, of weights converted from those with `weights_sha256`, and of logs;
    and the Python of the engines' processes."""

    task: str
    models: Path
    cache: Path
    weights_sha256: str
    logs: Path
    python: Path

    def converted(self, name: str) -> Path:
        """An engine's copy of the weights: a new one for other weights, packages, code or CPU."""
        flags = sorted({"avx512bw", "avx512_vnni"} & {*cpu_flags()})
        digest = hashlib.sha256(" ".join([self.weights_sha256, *flags]).encode())
        code = [*sorted(Path(__file__).parent.glob(f"{name}_*.py")), ROOT / "model_export" / "compare.py"]
        for path in (ROOT / "constraints.txt", REQUIREMENTS, *code):
            digest.update(path.read_bytes())
        return self.cache / f"{name}-{self.task}-{digest.hexdigest()[:16]}"

    def command(self, name: str, *arguments: str) -> list[str]:
        command = [str(self.python), "-m", "peers.engines.worker_main", name, self.task]
        return [*command, "--models", str(self.models), "--converted", str(self.converted(name)), *arguments]


class Workers:
    """One engine: a process per core, each with a share of the texts, or one process on all cores."""

    def __init__(self, name: str, settings: Settings, cores: tuple[int, ...], paths: Paths) -> None:
        self.name = name
        self.version = ""
        self._children: list[Child] = []
        spec = engine_spec(paths.task, name)
        command = paths.command(name, "--settings", json.dumps(settings))
        log_name = "-".join(["peers", paths.task, name, *map(str, settings.values())])
        for index, group in enumerate([(core,) for core in cores] if spec.process_per_core else [cores]):
            log = paths.logs / f"{log_name}-{index}.log"
            self._children.append(Child(command, group, log, spec.environment(settings), piped=True))

    def close(self) -> None:
        for child in self._children:
            child.stop()

    def measure(self, dataset: Dataset, settings: Settings) -> Pass:
        """One pass over the dataset by all processes at once, until the last one ends.

        Raises:
            ProcessFailed: a process ended.
        """
        results = self._run(dataset.split(len(self._children)), settings)
        tokens = sum(one["tokens"] for one in results)
        seconds = max(one["seconds"] for one in results)
        return {
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_s": tokens / seconds,
            "wrong_lengths": sum(one["wrong_lengths"] for one in results),
        }

    def answers(self, dataset: Dataset, settings: Settings) -> list[list[int]]:
        """The answers of one process, after all have answered the whole dataset: a warm-up as well."""
        return self._run([dataset] * len(self._children), settings)[0]["answers"]

    def _run(self, parts: list[Dataset], settings: Settings) -> list[dict[str, Any]]:
        for child, part in zip(self._children, parts, strict=True):
            request = {"settings": settings, "dataset": asdict(part)}
            # One that has ended is reported when its answer is read.
            with contextlib.suppress(BrokenPipeError):
                assert child.process.stdin is not None
                child.process.stdin.write(json.dumps(request).encode() + b"\n")
                child.process.stdin.flush()
        results = [self._read(child, settings) for child in self._children]
        self.version = results[0]["version"]
        return results

    def _read(self, child: Child, settings: Settings) -> dict[str, Any]:
        """The next answer of a process; other lines are its libraries' output."""
        assert child.process.stdout is not None
        for line in child.process.stdout:
            with contextlib.suppress(ValueError):
                answer = json.loads(line)
                if isinstance(answer, dict):
                    return answer
        child.process.wait()
        raise ProcessFailed(f"{self.name} ended early ({settings}): {child.last_line()}")
