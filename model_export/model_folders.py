"""Where a task's model lies below a folder, which of its files are read, and a digest of those.

Kept free of torch and transformers, whose import takes seconds.
"""

import hashlib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from model_export.errors import PreparationError
from model_export.folder_checks import MODEL_TYPES, model_type
from model_export.manifest import sha256_of

HUB_REPOSITORIES = {
    "translation": "Helsinki-NLP/opus-mt-en-de",
    "sentiment": "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
}
# The first kind that is there is read, and no other.
WEIGHTS = ("model.safetensors", "model-*.safetensors", "pytorch_model.bin", "pytorch_model-*.bin")
OTHER_FILES = ("*.json", "*.spm", "vocab.txt", "adapter_model.safetensors")


def files_to_read(names: Iterable[str]) -> list[str]:
    """Of a repository's file names, those that its model is read from: weights of one kind, and the rest."""
    names = sorted(name for name in names if "/" not in name)
    kinds = ([name for name in names if fnmatch(name, kind)] for kind in WEIGHTS)
    weights = next((kind for kind in kinds if kind), [])
    return [*weights, *(name for name in names if any(fnmatch(name, kind) for kind in OTHER_FILES))]


def weights_of(folder: Path) -> list[str]:
    """The names of the files with weights that are read from `folder`."""
    names = files_to_read(path.name for path in folder.glob("*"))
    return [name for name in names if any(fnmatch(name, kind) for kind in WEIGHTS)]


def is_model(folder: Path) -> bool:
    """Whether `folder` has a configuration and weights: an interrupted download may have the first alone."""
    weights = weights_of(folder)
    return bool(weights) and all((folder / name).exists() for name in ("config.json", *weights))


def digest(folders: Iterable[Path]) -> str:
    """One digest of the names and contents of all files that are read from `folders`."""
    whole = hashlib.sha256()
    for folder in folders:
        for name in files_to_read(path.name for path in folder.iterdir() if path.is_file()):
            whole.update(f"{name} {sha256_of(folder / name)}\n".encode())
    return whole.hexdigest()


def snapshots(model: Path) -> list[Path]:
    """A model's snapshots in a hub cache: the one that refs/main names first, then the newest."""
    main = model / "refs" / "main"
    named = main.read_text().strip() if main.is_file() else ""
    found = [path for path in (model / "snapshots").glob("*") if path.is_dir()]
    return sorted(found, key=lambda path: (path.name == named, path.stat().st_mtime), reverse=True)


def cached(task: str, cache: Path) -> Path | None:
    """The snapshot of the task's repository to use of a hub cache; None where none is complete."""
    return next((folder for folder in cache_candidates(task, cache) if is_model(folder)), None)


def cache_candidates(task: str, cache: Path) -> Iterator[Path]:
    repository = HUB_REPOSITORIES[task]
    # Caches of before repositories had owners leave those out.
    for name in (repository.replace("/", "--"), Path(repository).name):
        yield from snapshots(cache / f"models--{name}")


def single_model(root: Path) -> Path | None:
    """The folder of the model that `root` is, by itself or as one of a hub cache; None if it is none."""
    candidates = snapshots(root) if (root / "snapshots").is_dir() else [root]
    with_config = [folder for folder in candidates if (folder / "config.json").exists()]
    return next(filter(is_model, with_config), next(iter(with_config), None))


def task_of(folder: Path) -> str:
    """The task that the model in `folder` is for; PreparationError where it is for neither."""
    found = model_type(folder)
    for task, types in MODEL_TYPES.items():
        if found in types:
            return task
    served = "; ".join(f"{' or '.join(types)} for {task}" for task, types in MODEL_TYPES.items())
    raise PreparationError(f"{folder}/config.json: model_type is {found!r}, served are {served}")


def find_model(task: str, root: Path) -> Path:
    """The folder of the task's model below `root`, a folder of models or of a hub cache.

    Raises:
        PreparationError: there is none.
    """
    repository = HUB_REPOSITORIES[task]
    plain = [root / repository, root / Path(repository).name, root / task]
    # HF_HOME has the cache in hub/, HF_HUB_CACHE is that folder.
    caches = [folder for cache in (root, root / "hub") for folder in cache_candidates(task, cache)]
    with_config = [folder for folder in (*plain, *caches) if (folder / "config.json").exists()]
    if not with_config:
        names = ", ".join(str(folder.relative_to(root)) for folder in plain)
        cache = f"models--{repository.replace('/', '--')}"
        raise PreparationError(
            f"{root} holds no {task} model: none of {names} has a config.json, nor has a snapshot in "
            f"{cache} or hub/{cache}"
        )
    return next(filter(is_model, with_config), with_config[0])
