"""Measures what share of the vocabulary exact screening must finish, by the size of its first block.

`python -m model_export.screening_shares --models models-embedded --texts FILE` reads hidden states of greedy
decoding in float32. The directions are those of generated texts; the shares are of other generated texts and
of each FILE's lines.
"""

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from locustfiles.inputs import unique
from model_export.errors import PreparationError
from model_export.pretrained import Pretrained, load_folder
from model_export.screening import Screening, directions, finished_share, sample
from model_export.torch_reference import decoder_states, torch_translate

FIRST_SHARES = (1 / 4, 3 / 8, 1 / 2, 5 / 8)
TEXTS = 300
MAX_TOKENS = 128


def states_of(pretrained: Pretrained, texts: list[str]) -> np.ndarray:
    """The decoder's last hidden states [n,d] for each token of its own translations of `texts`."""
    token_ids = [pretrained.tokenizer(text, split_special_tokens=True).input_ids for text in texts]
    answers = torch_translate(pretrained, token_ids, [MAX_TOKENS] * len(texts), fixed_length=False)
    return sample(decoder_states(pretrained, token_ids, answers).numpy())


def shares(pretrained: Pretrained, texts: dict[str, list[str]]) -> pd.DataFrame:
    """One row a kind of text, one column a number of first dimensions: mean shares of the vocabulary."""
    model: Any = pretrained.model
    table, bias = model.lm_head.weight.detach().numpy(), model.final_logits_bias[0].numpy()
    generated = [one.text for one in islice(unique("translation", part="warmup"), 2 * TEXTS)]
    axes = directions(states_of(pretrained, generated[::2]))
    width = table.shape[1]
    firsts = [round(part * width) for part in FIRST_SHARES]
    rows = {}
    for kind, lines in {"generated, held out": generated[1::2], **texts}.items():
        states = states_of(pretrained, lines)
        rows[kind] = {
            f"{first} of {width}": finished_share(Screening(axes, first), states, table, bias)
            for first in firsts
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def read_texts(path: Path) -> list[str]:
    """The first TEXTS lines of a file that are not empty; PreparationError where there are none."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise PreparationError(f"--texts {path} cannot be read as text ({error})") from None
    if not lines:
        raise PreparationError(f"--texts {path} has no text")
    return lines[:TEXTS]


def main(
    models: Annotated[Path, typer.Option(help="Folder that optimize_model.py prepared.")] = Path("models"),
    texts: Annotated[list[Path] | None, typer.Option(help="File of one text a line. Repeatable.")] = None,
) -> None:
    """Prints, for each kind of text, the share of the vocabulary that greedy decoding must finish."""
    try:
        files = {str(path): read_texts(path) for path in texts or []}
        pretrained = load_folder("translation", models / "translation/pytorch", str(models))
    except PreparationError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None
    print(shares(pretrained, files).map("{:.2%}".format).to_string())


if __name__ == "__main__":
    typer.run(main)
