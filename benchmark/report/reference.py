"""The reference runs, which README.md and docs/ cite, and how a figure's circumstances are told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.charts import caption
from benchmark.charts.data import RunData
from benchmark.runs.errors import BenchmarkError
from benchmark.runs.records import RunFiles, read_json


@dataclass(frozen=True)
class Reference:
    """The reference runs as a page sees them: `folder`, and `address` from the page to it."""

    folder: Path
    address: str

    def run(self, name: str) -> RunData | None:
        """A run of cells; None where there is none of this name."""
        if not (self.folder / name / "run.json").is_file():
            return None
        data = RunData(RunFiles(self.folder / name))
        refuse_uncommitted(data.run["environment"], name)
        return data

    def records(self, name: str, pattern: str) -> dict[Path, dict[str, Any]]:
        """The records of a run that belong to no cell."""
        found = {path: read_json(path) for path in sorted((self.folder / name).glob(pattern))}
        for record in found.values():
            refuse_uncommitted(record["environment"], name)
        return found

    def link(self, path: Path) -> str:
        """A link with the run's name as its text."""
        place = path.relative_to(self.folder)
        return f"[{place.parts[0]}]({self.address}/{place})"


def refuse_uncommitted(environment: dict[str, Any], name: str) -> None:
    if environment.get("dirty"):
        raise BenchmarkError(f"run {name} was measured with uncommitted changes; measure it at a commit")


def circumstances(environment: dict[str, Any], artefacts: list[dict[str, Any]], *more: str) -> str:
    """Machine, kernels, models, `more` (durations, repeats) and commit of a measurement."""
    origins = ["random weights" if one.get("trained") is False else caption.origin(one) for one in artefacts]
    models = [*map(caption.kernels, artefacts), *origins, *caption.precision_notes(artefacts)]
    parts = [caption.machine(environment), *models, *more, caption.commit(environment)]
    return ", ".join(dict.fromkeys(filter(None, parts)))
