"""Measures the embedded models: BLEU and chrF of a translation folder, accuracy of a sentiment adapter.

Greedy, float32, texts of like length in one batch. Data, plain or .gz: for translation two parallel files
with one sentence a line; for sentiment a .tsv with a header line, then a 0 or 1, a tab and the text.
Prints a table; --json keeps the figures in a file, beside those of other sets and models. Methods: BLEU
(Papineni et al. 2002) and chrF (Popović 2015), by sacreBLEU (Post 2018).
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import transformers
import typer
from peft import PeftModel
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sacrebleu.metrics import BLEU, CHRF
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BatchEncoding,
    PreTrainedTokenizerBase,
)

from embedded_models.training_data import InputError, read_labelled, read_parallel
from model_export.embedded import encoder_folder
from model_export.errors import PreparationError

HERE = Path(__file__).parent
TRANSLATION_WEIGHTS, SENTIMENT_WEIGHTS = "model.safetensors", "adapter_model.safetensors"

Figures = dict[str, Any]
BatchSize = Annotated[int, typer.Option(min=1, help="Texts a batch.")]
Threads = Annotated[int, typer.Option(min=1, help="Torch's threads.")]
SetName = Annotated[str, typer.Option(help="What to call the set.")]
JsonPath = Annotated[Path | None, typer.Option("--json", help="Keep the figures in this file.")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help=__doc__)
console = Console()


def batches_by_length(
    texts: list[str], tokenizer: PreTrainedTokenizerBase, batch_size: int
) -> Iterator[tuple[list[int], BatchEncoding]]:
    """The texts in batches of like token count: where each stood, and the padded batch."""
    lengths = [len(ids) for ids in tokenizer(texts).input_ids]
    order = sorted(range(len(texts)), key=lambda index: lengths[index])
    starts = range(0, len(order), batch_size)
    for start in track(starts, description="measuring", console=Console(stderr=True), transient=True):
        indices = order[start : start + batch_size]
        batch = [texts[index] for index in indices]
        yield indices, tokenizer(batch, padding=True, truncation=True, return_tensors="pt")


def check_folder(folder: Path, weights: str) -> None:
    if not (folder / weights).is_file():
        raise InputError(f"{folder}: no model here, {weights} is missing")


def measure_translation(folder: Path, source: Path, reference: Path, batch_size: int) -> Figures:
    """Corpus BLEU and chrF of the greedy translations of `source` against `reference`."""
    check_folder(folder, TRANSLATION_WEIGHTS)
    pairs = read_parallel(source, reference)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    translations = [""] * len(pairs)
    with torch.inference_mode():
        for indices, batch in batches_by_length([pair[0] for pair in pairs], tokenizer, batch_size):
            tokens = model.generate(**batch, num_beams=1, do_sample=False)
            for index, text in zip(
                indices, tokenizer.batch_decode(tokens, skip_special_tokens=True), strict=True
            ):
                translations[index] = text
    bleu, chrf = BLEU(), CHRF()
    references = [[pair[1] for pair in pairs]]
    return {
        "texts": len(pairs),
        "bleu": round(bleu.corpus_score(translations, references).score, 2),
        "chrf": round(chrf.corpus_score(translations, references).score, 2),
        "bleu_signature": str(bleu.get_signature()),
        "chrf_signature": str(chrf.get_signature()),
    }


def measure_sentiment(folder: Path, base: Path, data: Path, batch_size: int) -> Figures:
    """The share of texts whose likelier label is the right one, with the adapter merged into the encoder."""
    check_folder(folder, SENTIMENT_WEIGHTS)
    check_folder(base, TRANSLATION_WEIGHTS)
    rows = read_labelled(data)
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoder = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, dtype=torch.float32)
    model = PeftModel.from_pretrained(encoder, folder).merge_and_unload().eval()
    labels = torch.tensor([label for _, label in rows])
    right = 0
    with torch.inference_mode():
        for indices, batch in batches_by_length([text for text, _ in rows], tokenizer, batch_size):
            right += int((model(**batch).logits.argmax(dim=-1) == labels[indices]).sum())
    return {"texts": len(rows), "right": right, "accuracy": round(right / len(rows), 4)}


def keep_figures(path: Path, model: str, weights: Path, set_name: str, figures: Figures) -> None:
    """Writes a set's figures into the JSON file, and drops the model's others if its weights changed."""
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    try:
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        sets = kept[model]["sets"] if model in kept and kept[model]["weights_sha256"] == sha256 else {}
        kept[model] = {"weights_sha256": sha256, "sets": {**sets, set_name: figures}}
        path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: exists, and holds something else than figures of this program") from error


def report(measure: Callable[[], Figures], weights: Path, set_name: str, json_path: Path | None) -> None:
    """Measures, prints the table and keeps the figures; a user's mistake is one line and exit code 1."""
    transformers.logging.set_verbosity_error()
    model = weights.resolve().parent.name
    try:
        figures = measure()
        if json_path:
            keep_figures(json_path, model, weights, set_name, figures)
    except (InputError, PreparationError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    columns = {key: value for key, value in figures.items() if not isinstance(value, str)}
    table = Table("model", "set", *columns)
    table.add_row(model, set_name, *map(str, columns.values()))
    console.print(table)


@app.command()
def translation(
    source: Annotated[Path, typer.Option(help="English sentences.")],
    reference: Annotated[Path, typer.Option(help="Their German translations.")],
    name: SetName,
    model: Annotated[Path, typer.Option(help="The model's folder.", show_default="the one here")] = (
        HERE / "translation-en-de"
    ),
    batch_size: BatchSize = 32,
    threads: Threads = 2,
    json_path: JsonPath = None,
) -> None:
    """BLEU and chrF of a translation folder on two parallel files."""
    torch.set_num_threads(threads)
    report(
        lambda: measure_translation(model, source, reference, batch_size),
        model / TRANSLATION_WEIGHTS,
        name,
        json_path,
    )


@app.command()
def sentiment(
    data: Annotated[Path, typer.Option(help="Labelled texts.")],
    name: SetName,
    model: Annotated[Path, typer.Option(help="The adapter's folder.", show_default="the one here")] = (
        HERE / "sentiment-en"
    ),
    base: Annotated[
        Path | None, typer.Option(help="The encoder's folder.", show_default="in its wheel")
    ] = None,
    batch_size: BatchSize = 32,
    threads: Threads = 2,
    json_path: JsonPath = None,
) -> None:
    """Accuracy of a sentiment adapter on a labelled .tsv."""
    torch.set_num_threads(threads)
    report(
        lambda: measure_sentiment(model, base or encoder_folder(), data, batch_size),
        model / SENTIMENT_WEIGHTS,
        name,
        json_path,
    )


if __name__ == "__main__":
    app()
