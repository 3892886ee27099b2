"""Locates a task's model below a folder, and lists and digests the files that are read.

Without torch and transformers, whose import takes seconds.
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
# Only the first kind that is present is read.
WEIGHTS = ("model.safetensors", "model-*.safetensors", "pytorch_model.bin", "pytorch_model-*.bin")
OTHER_FILES = ("*.json", "*.spm", "vocab.txt", "adapter_model.safetensors")


def files_to_read(names: Iterable[str]) -> list[str]:
    """The files of a repository that its model is read from: weights of one kind, and all others."""
    names = sorted(name for name in names if "/" not in name)
    kinds = ([name for name in names if fnmatch(name, kind)] for kind in WEIGHTS)
    weights = next((kind for kind in kinds if kind), [])
    return [*weights, *(name for name in names if any(fnmatch(name, kind) for kind in OTHER_FILES))]


def weights_of(folder: Path) -> list[str]:
    """The names of the files with weights that are read from `folder`."""
    names = files_to_read(path.name for path in folder.glob("*"))
    return [name for name in names if any(fnmatch(name, kind) for kind in WEIGHTS)]


def is_model(folder: Path) -> bool:
    """Whether `folder` has a configuration and weights; an interrupted download may lack the weights."""
    weights = weights_of(folder)
    return bool(weights) and all((folder / name).exists() for name in ("config.json", *weights))


def digest(folders: Iterable[Path]) -> str:
    """One digest of the names and contents of all files that are read from `folders`."""
    digest_of_all = hashlib.sha256()
    for folder in folders:
        for name in files_to_read(path.name for path in folder.iterdir() if path.is_file()):
            digest_of_all.update(f"{name} {sha256_of(folder / name)}\n".encode())
    return digest_of_all.hexdigest()


def snapshots(model: Path) -> list[Path]:
    """A model's snapshots in a hub cache: that of refs/main, then the others, newest first."""
    main = model / "refs" / "main"
    named = main.read_text().strip() if main.is_file() else ""
    folders = [path for path in (model / "snapshots").glob("*") if path.is_dir()]
    return sorted(folders, key=lambda path: (path.name == named, path.stat().st_mtime), reverse=True)


def cached(task: str, cache: Path) -> Path | None:
    """The first complete snapshot of the task's repository in a hub cache; None where there is none."""
    return next((folder for folder in cache_candidates(task, cache) if is_model(folder)), None)


def cache_candidates(task: str, cache: Path) -> Iterator[Path]:
    repository = HUB_REPOSITORIES[task]
    # Caches from before repositories had owners omit the owner.
    for name in (repository.replace("/", "--"), Path(repository).name):
        yield from snapshots(cache / f"models--{name}")


def single_model(root: Path) -> Path | None:
    """The model folder that `root` is, or that it contains as one model of a hub cache; None if neither."""
    candidates = snapshots(root) if (root / "snapshots").is_dir() else [root]
    with_config = [folder for folder in candidates if (folder / "config.json").exists()]
    return next(filter(is_model, with_config), next(iter(with_config), None))


def task_of(folder: Path) -> str:
    """The task of the model in `folder`; PreparationError where it is neither."""
    kind = model_type(folder)
    for task, types in MODEL_TYPES.items():
        if kind in types:
            return task
    served = "; ".join(f"{' or '.join(types)} for {task}" for task, types in MODEL_TYPES.items())
    raise PreparationError(f"{folder}/config.json: model_type is {kind!r}, served are {served}")


def find_model(task: str, root: Path) -> Path:
    """The folder of the task's model below `root`, a folder of models or a hub cache.

    Raises:
        PreparationError: `root` has none.
    """
    repository = HUB_REPOSITORIES[task]
    plain = [root / repository, root / Path(repository).name, root / task]
    # HF_HOME has the cache in hub/, HF_HUB_CACHE is the cache itself.
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
