"""The options that measuring commands have in common, and the session that follows from them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, get_type_hints

from benchmark.commands import options
from benchmark.commands.output import fail, one_line_errors
from benchmark.measure.target import Target
from benchmark.runs.plan import Cores
from dynamic_batching.web.cpus import cpu_quota


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command` for typer: a parameter that is a dataclass becomes one option per field, listed last."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters = [one for name, one in signature(command).parameters.items() if name not in groups]
    for group in groups.values():
        types = get_type_hints(group, include_extras=True)
        parameters += [
            Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name])
            for field in fields(group)
        ]

    @wraps(command)
    def call(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    call.__signature__ = Signature(  # type: ignore[attr-defined]
        [one.replace(kind=Parameter.KEYWORD_ONLY) for one in parameters]
    )
    return call


@dataclass(frozen=True)
class Session:
    """One run of a command: its folder, and the models and cores that it measures."""

    folder: Path
    models: Path
    manifest: dict[str, Any]
    server_cores: int | None

    @property
    def cores(self) -> Cores:
        """The cores of a server and its load; ends the command where the CPU quota is below them."""
        cores = Cores.split(self.server_cores)
        check_quota(len({*cores.server, *cores.load}))
        return cores

    def target(self, server: str, task: str, subfolder: str) -> Target:
        return Target(server, task, self.folder / subfolder, self.models, self.manifest, self.cores)


@dataclass(frozen=True)
class RunOptions:
    """Which models a command measures, and where it keeps what it measures."""

    models: options.Models = Path("models")
    name: options.Name = ""
    results: options.Results = options.RESULTS

    @contextmanager
    def session(
        self, kind: str, server_cores: int | None = None, *, resumable: bool = False
    ) -> Iterator[Session]:
        """Errors inside end the command with one line. A run without a name is called after its `kind`."""
        manifest = read_manifest(self.models)
        name = self.name or f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-{kind}-{manifest['source']}"
        resume = f"; to resume: --name {name} (make: RUN={name})" if resumable else ""
        with one_line_errors(self.results, resume):
            yield Session(self.results / name, self.models, manifest, server_cores)


@dataclass(frozen=True)
class ServerOptions(RunOptions):
    """With the cores of the servers, and the seed of the load."""

    server_cores: options.ServerCores = None
    seed: options.Seed = 0


def read_manifest(models: Path) -> dict[str, Any]:
    try:
        return json.loads((models / "manifest.json").read_text())
    except PermissionError as error:
        raise fail(f"{error.filename} cannot be read by this user ({error.strerror})") from None
    except (OSError, ValueError):
        raise fail(f"{models} holds no models; `python optimize_model.py` prepares them") from None


def check_quota(cores: int) -> None:
    """Ends the command where the CPU quota is below `cores`: they would be throttled while they measure."""
    quota = cpu_quota()
    if quota is not None and quota < cores:
        raise fail(
            f"the CPU quota of this container is {quota:g} and this run pins {cores}, so that it would"
            " be throttled; give it fewer cores (--server-cores) or more quota (docker run --cpus)"
        )
