"""A model with its tokenizer, loaded from a folder in the layout of a hub snapshot."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from model_export.errors import PreparationError
from model_export.folder_checks import check_folder, check_supported
from model_export.model_folders import weights_of


@dataclass
class Pretrained:
    """One task's model in float32, its tokenizer, and their origin."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    origin: str
    trained: bool = True

    @property
    def architecture(self) -> str:
        config = self.model.config
        if config.model_type == "marian":
            shape = (
                f"{config.encoder_layers}+{config.decoder_layers} layers, d_model {config.d_model}, "
                f"FFN {config.encoder_ffn_dim}"
            )
        else:
            feed_forward = getattr(config, "hidden_dim", None) or config.intermediate_size
            shape = f"{config.num_hidden_layers} layers, d_model {config.hidden_size}, FFN {feed_forward}"
        return f"{type(self.model).__name__}, {shape}, vocabulary {config.vocab_size:,}"

    def save(self, folder: Path) -> None:
        """Writes the hub layout: config, float32 safetensors, tokenizer files."""
        self.model.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)


def load_folder(task: str, folder: Path, origin: str) -> Pretrained:
    """The model and tokenizer in `folder`, which has the layout of a hub snapshot.

    Raises:
        PreparationError: the folder cannot be read as a model of this task, or the model cannot be served.
    """
    weights = weights_of(folder)
    check_folder(task, folder, weights)
    what = f"a {task} model"
    config = load(AutoConfig, folder, folder / "config.json", what)
    check_supported(task, config, folder / "config.json")
    tokenizer = load(AutoTokenizer, folder, folder, "a tokenizer")
    highest = max(tokenizer.get_vocab().values())
    if highest >= config.vocab_size:
        raise PreparationError(
            f"{folder}/config.json: vocab_size is {config.vocab_size:,}, the tokenizer has the id {highest:,}"
        )
    model = load_model(task, folder, config, folder / weights[0])
    return Pretrained(model.eval(), tokenizer, origin)


def load_model(task: str, folder: Path, config: Any, weights: Path) -> PreTrainedModel:
    """The model in `folder`; PreparationError where `weights` are unreadable or incomplete."""
    kind = AutoModelForSeq2SeqLM if task == "translation" else AutoModelForSequenceClassification
    if weights.suffix == ".safetensors":
        try:
            with safe_open(weights, framework="pt"):
                pass
        except SafetensorError as error:
            raise PreparationError(f"{weights} is damaged or incomplete ({error})") from None
    options = {"config": config, "dtype": torch.float32, "output_loading_info": True}
    # weights_only: a pickle is read as tensors alone and runs no code.
    model, info = load(kind, folder, weights, f"a {task} model", weights_only=True, **options)
    if missing := sorted(info["missing_keys"]):
        raise PreparationError(
            f"{weights} lacks {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
        )
    return model


def load(kind: Any, folder: Path, path: Path, what: str, **options: Any) -> Any:
    """`kind.from_pretrained(folder)`; its errors become one line that names `path`."""
    try:
        return kind.from_pretrained(folder, local_files_only=True, **options)
    except Exception as error:  # transformers raises whatever its parsers do
        text = str(error).strip()
        reason = text.splitlines()[0] if text else ""
        raise PreparationError(
            f"{path} cannot be loaded as {what}: {type(error).__name__}{f': {reason}' if reason else ''}"
        ) from error
