"""The configurations and vocabularies of two real OPUS-MT models, which are no part of a checkout."""

from pathlib import Path

import pytest

REAL = Path(__file__).resolve().parents[2] / "shared" / "real_tokenizers"
REAL_NAMES = ("opus-mt-en-mg", "opus-mt-tc-big-fr-en")


def real_vocabulary(name: str) -> Path:
    """The folder of one of them; a test is skipped where it is not there."""
    folder = REAL / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder
