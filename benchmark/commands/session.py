"""What measuring commands have in common: models, the folder of the run, cores, and how errors end them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Protocol

from benchmark.commands import options
from benchmark.commands.output import fail, one_line_errors
from benchmark.measure.configurations import PREPARE, default_configuration
from benchmark.measure.target import Target
from benchmark.runs.plan import Cores
from dynamic_batching.web.cpus import cpu_quota


class Command(Protocol):
    def run(self) -> None: ...


def as_command(kind: Callable[..., Command]) -> Callable[..., None]:
    """A dataclass for typer: its fields are the options, its docstring is the help, its `run` the command."""

    @wraps(kind, updated=())
    def call(**values: Any) -> None:
        kind(**values).run()

    return call


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Which models a command measures, and where it keeps what it measures."""

    models: options.Models = Path("models")
    name: options.Name = ""
    results: options.Results = options.RESULTS

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return read_manifest(self.models)

    @contextmanager
    def run_folder(self, kind: str, *, resumable: bool = False) -> Iterator[Path]:
        """The folder of the run, by default named after its `kind`; errors inside end the command."""
        default = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-{kind}-{self.manifest['source']}"
        name = self.name or default
        resume = f"; to resume: --name {name} (make: RUN={name})" if resumable else ""
        with one_line_errors(self.results, resume):
            yield self.results / name


@dataclass(frozen=True, kw_only=True)
class ServerOptions(RunOptions):
    """With the cores of the servers, and the seed of the load."""

    server_cores: options.ServerCores = None
    seed: options.Seed = 0

    @cached_property
    def cores(self) -> Cores:
        return cores_within_quota(self.server_cores)

    def target(self, server: str, task: str, folder: Path) -> Target:
        configuration = default_configuration(server, self.models, self.manifest)
        return Target(configuration, task, folder, self.cores)


def read_manifest(models: Path) -> dict[str, Any]:
    try:
        return json.loads((models / "manifest.json").read_text())
    except PermissionError as error:
        raise fail(f"{error.filename} cannot be read by this user ({error.strerror})") from None
    except (OSError, ValueError):
        raise fail(f"{models} holds no models; {PREPARE.format(models)}`") from None


def cores_within_quota(server_cores: int | None) -> Cores:
    """The cores of a server and its load; ends the command where the CPU quota is below them."""
    cores = Cores.split(server_cores)
    check_quota(len({*cores.server, *cores.load}))
    return cores


def check_quota(cores: int) -> None:
    """Ends the command where the CPU quota is below `cores`: they would be throttled while they measure."""
    quota = cpu_quota()
    if quota is not None and quota < cores:
        raise fail(
            f"the CPU quota of this container is {quota:g} and this run pins {cores}, so that it would"
            " be throttled; give it fewer cores (--server-cores) or more quota (docker run --cpus)"
        )
