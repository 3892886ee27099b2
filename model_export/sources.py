"""The sources of models: the hub, a local folder, the embedded weights, or seeded random weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_export.embedded import embedded_folders
from model_export.errors import PreparationError
from model_export.hub import cached_model, download, hub_problem
from model_export.manifest import TASKS
from model_export.model_folders import HUB_REPOSITORIES, digest, find_model, single_model, task_of
from model_export.progress import PrintLine

if TYPE_CHECKING:
    from model_export.pretrained import Pretrained

NAMED_SOURCES = ("hub", "embedded", "random")


@dataclass(frozen=True)
class Resolved:
    """The source that is used, a line with the reason, and why it is not the hub where `auto` fell back."""

    source: str
    line: str
    fallback: str | None = None


def resolve(source: str) -> Resolved:
    """`auto` is the hub where it answers or its cache holds both models, else the embedded models."""
    if source != "auto":
        return Resolved(source, f"source: {source}")
    problem = hub_problem()
    if problem is None:
        return Resolved("hub", "source: hub")
    if all(cached_model(task) for task in TASKS):
        return Resolved("hub", f"source: hub, from its cache on this machine, since {problem}")
    return Resolved("embedded", f"source: embedded, since {problem}", problem.reason)


def model_folder(source: str, task: str) -> Path | None:
    """The folder of the task's model below `source`; None where `source` is a model of the other task.

    Raises:
        PreparationError: `source` is not a folder, or has no such model.
    """
    # Resolved, since "." has no name.
    root = Path(source).expanduser().resolve()
    if not root.is_dir():
        raise PreparationError(
            f"source {source!r} is neither a folder nor one of {', '.join(NAMED_SOURCES)}, auto"
        )
    own = single_model(root)
    if own is None:
        return find_model(task, root)
    return own if task_of(own) == task else None


def source_sha256(source: str, task: str) -> str | None:
    """A digest of the files that the task's model is read from; None for the hub and for random weights.

    Raises:
        PreparationError: `source` is unknown, or has no such model.
    """
    if source in ("hub", "random"):
        return None
    folder = None if source == "embedded" else model_folder(source, task)
    return digest(embedded_folders(task) if folder is None else [folder])


def load(source: str, task: str, print_line: PrintLine) -> "Pretrained":
    """The task's model from `source`: hub, embedded, random, or the path of a folder.

    Raises:
        PreparationError: `source` is none of these, or has no model that can be served.
    """
    # torch and transformers take seconds to import.
    from model_export.embedded import load_embedded
    from model_export.pretrained import load_folder
    from model_export.random_weights import make_random

    if source == "embedded":
        return load_embedded(task)
    if source == "random":
        return make_random(task)
    if source == "hub":
        folder = download(task, print_line)
        return load_folder(task, folder, f"{HUB_REPOSITORIES[task]}@{folder.name[:12]}")
    folder_of_task = model_folder(source, task)
    if folder_of_task is None:
        other = next(one for one in TASKS if one != task)
        print_line(f"{source} has a model for {other} only; {task} is served with the embedded model")
        return load_embedded(task)
    root = Path(source).expanduser().resolve()
    name = root.name if folder_of_task == root else folder_of_task.relative_to(root)
    return load_folder(task, folder_of_task, f"local folder {name}")
