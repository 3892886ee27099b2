"""Where models come from: the hub, a local folder, the embedded weights, or seeded random weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_export.embedded import embedded_folders
from model_export.errors import PreparationError
from model_export.hub import Say, ask, cached_model, download
from model_export.manifest import TASKS
from model_export.model_folders import HUB_REPOSITORIES, digest, find_model, single_model, task_of

if TYPE_CHECKING:
    from model_export.pretrained import Pretrained

NAMED_SOURCES = ("hub", "embedded", "random")


@dataclass(frozen=True)
class Resolved:
    """The source that `auto` stands for, a line that says why, and what kept the hub from being it, if so."""

    source: str
    line: str
    fallback: str | None = None


def resolve(source: str) -> Resolved:
    """`auto` is the hub where it answers or its cache holds both models, else the embedded models."""
    if source != "auto":
        return Resolved(source, f"source: {source}")
    problem = ask()
    if problem is None:
        return Resolved("hub", "source: hub")
    if all(cached_model(task) for task in TASKS):
        return Resolved("hub", f"source: hub, from its cache on this machine, since {problem}")
    return Resolved("embedded", f"source: embedded, since {problem}", problem.reason)


def model_folder(source: str, task: str) -> Path | None:
    """The task's folder where `source` is a folder; None where it is that of a model of the other task.

    Raises:
        PreparationError: `source` is no folder, or the folder holds no such model.
    """
    # Resolved, since "." has no name to tell it by.
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
    """A digest of the files that the task's model is read from; None of the hub's and of random weights.

    Raises:
        PreparationError: `source` is none that is known, or holds no such model.
    """
    if source in ("hub", "random"):
        return None
    folder = None if source == "embedded" else model_folder(source, task)
    return digest(embedded_folders(task) if folder is None else [folder])


def load(source: str, task: str, say: Say) -> "Pretrained":
    """The task's model from `source`: hub, embedded, random, or the path of a folder.

    Raises:
        PreparationError: `source` is none of these, or gives no model that can be served.
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
        folder = download(task, say)
        return load_folder(task, folder, f"{HUB_REPOSITORIES[task]}@{folder.name[:12]}")
    found = model_folder(source, task)
    if found is None:
        other = next(one for one in TASKS if one != task)
        say(f"{source} is one model, for {other}; {task} is served with the embedded model")
        return load_embedded(task)
    root = Path(source).expanduser().resolve()
    return load_folder(task, found, f"local folder {root.name if found == root else found.relative_to(root)}")
