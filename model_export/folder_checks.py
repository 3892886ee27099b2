"""Checks of a folder in the layout of a hub snapshot, before libraries read it.

Most library errors name neither the file nor the cause. Here every error is a PreparationError of one line
that starts with the path.
"""

import json
from pathlib import Path
from typing import Any

import sentencepiece

from model_export.errors import PreparationError

MODEL_TYPES = {"translation": ("marian",), "sentiment": ("distilbert", "bert")}
LABELS = ["NEGATIVE", "POSITIVE"]
ACTIVATIONS = {"translation": ("swish", "silu", "relu", "gelu"), "sentiment": ("gelu",)}
NEEDED = {"translation": ("source.spm", "target.spm", "vocab.json"), "sentiment": ()}
SIZES = {
    "translation": (
        *("vocab_size", "max_position_embeddings", "d_model", "encoder_layers", "decoder_layers"),
        *("encoder_attention_heads", "decoder_attention_heads", "encoder_ffn_dim", "decoder_ffn_dim"),
    ),
    "sentiment": (
        *("vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers"),
        "num_attention_heads",
    ),
}
TOKENS = ("</s>", "<unk>", "<pad>")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
HEAD_SIZE_UNIT = 8


def model_type(folder: Path) -> str:
    """The model_type in config.json."""
    return str(read_object(folder / "config.json").get("model_type"))


def check_folder(task: str, folder: Path, weights: list[str]) -> None:
    """Raises PreparationError for missing or malformed files of a `task` model with these `weights`."""
    config = folder / "config.json"
    if (kind := model_type(folder)) not in MODEL_TYPES[task]:
        served = " or ".join(MODEL_TYPES[task])
        raise PreparationError(f"{config}: model_type is {kind!r}, {task} is served with {served}")
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith(("tokenizer", "generation_config", "special_tokens", "added_tokens")):
            read_object(path)
    check_tokenizer_config(folder / "tokenizer_config.json")
    for name in NEEDED[task]:
        require_file(folder / name)
    if task == "translation":
        for name in ("source.spm", "target.spm"):
            check_pieces(folder / name)
        check_vocabulary(folder / "vocab.json")
    elif not (folder / "tokenizer.json").exists():
        require_file(folder / "vocab.txt")
    if not weights:
        others = sorted(
            path.name for kind in ("*.h5", "*.msgpack", "*.ot", "*.onnx") for path in folder.glob(kind)
        )
        unread = f", and {', '.join(others)} is not read" if others else ""
        raise PreparationError(
            f"{folder} has no weights: neither model.safetensors nor pytorch_model.bin{unread}"
        )
    for name in weights:
        require_file(folder / name)


def require_file(path: Path) -> None:
    """Raises PreparationError unless `path` is a file with contents, not a Git LFS pointer."""
    if path.is_dir():
        raise PreparationError(f"{path} is a folder, expected a file")
    try:
        with path.open("rb") as file:
            start = file.read(len(LFS_POINTER))
    except FileNotFoundError:
        raise PreparationError(f"{path} is missing") from None
    if not start:
        raise PreparationError(f"{path} is empty")
    if start == LFS_POINTER:
        raise PreparationError(f"{path} is a Git LFS pointer, not the file itself: `git lfs pull` fetches it")


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in the file at `path`."""
    require_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError too
        raise PreparationError(f"{path} is not JSON ({str(error).splitlines()[0]})") from None
    if not isinstance(content, dict):
        raise PreparationError(f"{path} holds a JSON {type(content).__name__}, expected an object")
    return content


def check_tokenizer_config(path: Path) -> None:
    if not path.exists():
        return
    content = read_object(path)
    extra = content.get("extra_special_tokens")
    if extra is not None and not isinstance(extra, dict):
        raise PreparationError(
            f"{path}: extra_special_tokens is a {type(extra).__name__}, expected an object, "
            "as in transformers 4; remove the entry"
        )
    if content.get("separate_vocabs"):
        raise PreparationError(f"{path}: separate_vocabs is true; translation is served with one vocabulary")


def check_pieces(path: Path) -> None:
    try:
        sentencepiece.SentencePieceProcessor(model_file=str(path))
    except Exception:  # the library raises whatever its parser does
        raise PreparationError(f"{path} is damaged or no SentencePiece model") from None


def check_vocabulary(path: Path) -> None:
    """Raises PreparationError unless every piece has an id, and all TOKENS are present."""
    ids = read_object(path)
    for piece, token in ids.items():
        if type(token) is not int or token < 0:
            raise PreparationError(f"{path}: the id of {piece!r} is {token!r}, expected a number from 0")
    if missing := [token for token in TOKENS if token not in ids]:
        raise PreparationError(f"{path} lacks {', '.join(missing)}")


def check_supported(task: str, config: Any, path: Path) -> None:
    """Raises PreparationError for a `config`, read from `path`, that the servers cannot run."""

    def refuse(what: str, served: str) -> None:
        raise PreparationError(f"{path}: {what} is not supported; {task} is served with {served}")

    for key in SIZES[task]:
        if type(size := getattr(config, key)) is not int or size < 1:
            raise PreparationError(f"{path}: {key} is {size!r}, expected a number from 1")
    name = next(key for key in ("activation_function", "activation", "hidden_act") if hasattr(config, key))
    if (activation := getattr(config, name)) not in ACTIVATIONS[task]:
        refuse(f"{name} {activation!r}", " or ".join(ACTIVATIONS[task]))
    if task == "translation":
        shared = "one vocabulary, and one matrix for its input and output"
        for key in ("share_encoder_decoder_embeddings", "tie_word_embeddings"):
            if not getattr(config, key):
                refuse(f"{key} {getattr(config, key)!r}", shared)
        if (size := getattr(config, "decoder_vocab_size", None)) not in (None, config.vocab_size):
            refuse(f"decoder_vocab_size {size!r} with vocab_size {config.vocab_size}", shared)
        for key in ("eos_token_id", "pad_token_id", "decoder_start_token_id"):
            token = getattr(config, key, None)
            if type(token) is not int or not 0 <= token < config.vocab_size:
                wanted = f"expected a number below vocab_size, {config.vocab_size}"
                raise PreparationError(f"{path}: {key} is {token!r}, {wanted}")
        width, heads = config.d_model, {config.encoder_attention_heads, config.decoder_attention_heads}
    else:
        if (labels := sorted(map(str, config.id2label.values()))) != LABELS:
            refuse(f"id2label {labels}", str(LABELS))
        if (kind := getattr(config, "position_embedding_type", "absolute")) != "absolute":
            refuse(f"position_embedding_type {kind!r}", "absolute")
        width, heads = config.hidden_size, {config.num_attention_heads}
    for count in heads:
        if width % count or width // count % HEAD_SIZE_UNIT:
            refuse(f"a width of {width} over {count} heads", f"head sizes of a multiple of {HEAD_SIZE_UNIT}")
