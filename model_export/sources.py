"""Where models come from: the hub, a local folder, the embedded weights, or seeded random weights."""

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from model_export.embedded import load_embedded
from model_export.errors import PreparationError
from model_export.pretrained import Pretrained, load_folder
from model_export.random_weights import make_random

HUB_REPOSITORIES = {
    "translation": "Helsinki-NLP/opus-mt-en-de",
    "sentiment": "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
}
HUB_FILES = ("*.json", "*.safetensors", "pytorch_model.bin", "*.spm", "vocab.txt")
HUB_ANSWER_TIMEOUT_S = 3.0

Loader = Callable[[str], Pretrained]


def resolve(source: str) -> tuple[str, str]:
    """The source that `source` stands for, and a line that says why.

    `auto` is the hub where it answers within HUB_ANSWER_TIMEOUT_S, else the embedded models.
    """
    if source != "auto":
        return source, f"source: {source}"
    try:
        HfApi().model_info(HUB_REPOSITORIES["translation"], timeout=HUB_ANSWER_TIMEOUT_S)
    except Exception as error:  # whatever the network does, the embedded models need none of it
        reason = type(error).__name__
        return "embedded", f"source: embedded, since the model hub does not answer here ({reason})"
    return "hub", "source: hub"


def loader(source: str) -> Loader:
    """What loads a task's model from `source`: hub, embedded, random, or the path of a folder.

    Raises:
        PreparationError: `source` is none of these.
    """
    named: dict[str, Loader] = {"hub": load_from_hub, "embedded": load_embedded, "random": make_random}
    if source in named:
        return named[source]
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise PreparationError(f"source {source!r} is neither a folder nor one of {', '.join(named)}, auto")
    return lambda task: load_from_path(task, folder)


def load_from_hub(task: str) -> Pretrained:
    """Downloads the task's repository (or takes it from the hub's own cache) and reads it."""
    repository = HUB_REPOSITORIES[task]
    try:
        folder = Path(snapshot_download(repository, allow_patterns=list(HUB_FILES)))
    except Exception as error:  # the hub client raises many unrelated types for one cause: no answer
        raise PreparationError(
            f"the model hub did not give {repository} ({type(error).__name__}); "
            "--source embedded needs no network"
        ) from error
    return load_folder(task, folder, f"{repository}@{folder.name[:12]}")


def load_from_path(task: str, root: Path) -> Pretrained:
    """Reads the task's model from below `root`, under any of the names it may carry there."""
    repository = HUB_REPOSITORIES[task]
    cache = root / f"models--{repository.replace('/', '--')}" / "snapshots"
    candidates = [root / repository, root / Path(repository).name, root / task, *sorted(cache.glob("*"))]
    for folder in candidates:
        if (folder / "config.json").is_file():
            return load_folder(task, folder, f"local folder {folder.relative_to(root)}")
    names = ", ".join(str(folder.relative_to(root)) for folder in candidates[:3])
    raise PreparationError(f"{root} holds no {task} model: none of {names} has a config.json")
