"""The programs that made the embedded models run whole on tiny data, and say what is wrong with bad data."""

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner, Result

from embedded_models import evaluate, train_sentiment, train_translation
from model_export.embedded import encoder_folder

PROJECT = Path(__file__).parents[2]
EMBEDDED = PROJECT / "embedded_models"

ENGLISH = [
    "The grey cat sleeps under the old table.",
    "My brother paints a blue boat.",
    "We drink warm tea in the kitchen.",
    "A small bird sings in the garden.",
    "The teacher reads a long letter.",
    "Her dog runs across the wet bridge.",
]
GERMAN = [
    "Die graue Katze schläft unter dem alten Tisch.",
    "Mein Bruder malt ein blaues Boot.",
    "Wir trinken warmen Tee in der Küche.",
    "Ein kleiner Vogel singt im Garten.",
    "Der Lehrer liest einen langen Brief.",
    "Ihr Hund läuft über die nasse Brücke.",
]
LABELLED = [
    "label\ttext",
    "1\ta warm and funny story",
    "0\ttwo dull hours with no plot",
    "1\tthe cast is a delight",
    "0\tloud , empty and far too long",
]


def write(path: Path, lines: list[str]) -> Path:
    text = "".join(f"{line}\n" for line in lines)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def threads_restored():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def parallel(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "text.en.gz", ENGLISH * 5), write(tmp_path / "text.de", GERMAN * 5)


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "train.tsv.gz", LABELLED), write(tmp_path / "dev.tsv", LABELLED)


def run(app, *arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def train_small_translation(english: Path, german: Path, output: Path) -> Result:
    files = ("--english", english, "--german", german, "--output", output)
    return run(
        train_translation.app, *files, "--epochs", 3, "--max-steps", 2, "--vocab-size", 90, "--threads", 1
    )


def train_small_sentiment(train: Path, dev: Path, output: Path) -> Result:
    return run(
        train_sentiment.app, "--train", train, "--dev", dev, "--output", output, "--epochs", 2, "--threads", 1
    )


def assert_refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in result.output
    assert all(part in errors[0] for part in parts), errors[0]


def test_translation_training_writes_a_folder_that_loads_and_can_be_measured(tmp_path, parallel):
    output = tmp_path / "out" / "tiny"
    result = train_small_translation(*parallel, output)
    assert result.exit_code == 0, result.output
    assert [path.name for path in output.parent.iterdir()] == ["tiny"]

    tokenizer = AutoTokenizer.from_pretrained(output)
    model = AutoModelForSeq2SeqLM.from_pretrained(output, dtype="auto")
    assert {path.name for path in output.iterdir()} == {
        path.name for path in (EMBEDDED / "translation-en-de").iterdir()
    }
    assert model.dtype == torch.float16
    assert model.config.decoder_start_token_id == tokenizer.pad_token_id == 90
    assert tokenizer.decode(tokenizer(ENGLISH[0]).input_ids, skip_special_tokens=True) == ENGLISH[0]

    english, german = (
        write(tmp_path / f"test.{side}", lines[:2]) for side, lines in (("en", ENGLISH), ("de", GERMAN))
    )
    figures = tmp_path / "figures.json"
    files = ("--model", output, "--source", english, "--reference", german)
    measured = run(evaluate.app, "translation", *files, "--name", "own", "--threads", 1, "--json", figures)
    assert measured.exit_code == 0, measured.output
    assert json.loads(figures.read_text())["tiny"]["sets"]["own"]["texts"] == 2


def test_translation_training_repeats_itself(tmp_path, parallel):
    for name in ("first", "second"):
        assert train_small_translation(*parallel, tmp_path / name).exit_code == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]


def test_torch_gets_its_dropout_back_when_training_fails():
    dropout = torch.nn.functional.dropout
    with pytest.raises(ZeroDivisionError), train_translation.replaced_dropout(torch.clone):
        assert torch.nn.functional.dropout is torch.clone
        raise ZeroDivisionError
    assert torch.nn.functional.dropout is dropout


def test_sentiment_training_writes_an_adapter_that_merges_and_can_be_measured(tmp_path, labelled):
    output = tmp_path / "tiny"
    result = train_small_sentiment(*labelled, output)
    assert result.exit_code == 0, result.output
    assert "dev accuracy" in result.output

    base = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=2)
    assert not hasattr(PeftModel.from_pretrained(base, output).merge_and_unload(), "peft_config")
    assert {path.name for path in output.iterdir()} == {
        path.name for path in (EMBEDDED / "sentiment-en").iterdir()
    }
    shipped, made = (
        json.loads((folder / "adapter_config.json").read_text())
        for folder in (EMBEDDED / "sentiment-en", output)
    )
    assert set(made.pop("target_modules")) == set(shipped.pop("target_modules"))
    assert set(made.pop("modules_to_save")) >= set(shipped.pop("modules_to_save"))
    assert made == shipped

    measured = run(
        evaluate.app, "sentiment", "--model", output, "--data", labelled[1], "--name", "own", "--threads", 1
    )
    assert measured.exit_code == 0, measured.output


def test_the_figures_kept_are_those_of_the_weights_that_come_with_the_project():
    kept = json.loads((EMBEDDED / "quality.json").read_text())
    for model, weights in (("translation-en-de", "model"), ("sentiment-en", "adapter_model")):
        file = EMBEDDED / model / f"{weights}.safetensors"
        assert kept[model]["weights_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert kept[model]["sets"]


def test_figures_of_other_sets_are_kept_and_those_of_other_weights_dropped(tmp_path):
    path, weights = tmp_path / "figures.json", tmp_path / "model.safetensors"
    weights.write_bytes(b"old")
    for name in ("one", "two"):
        evaluate.keep_figures(path, "tiny", weights, name, {"texts": 1})
    assert set(json.loads(path.read_text())["tiny"]["sets"]) == {"one", "two"}
    weights.write_bytes(b"new")
    evaluate.keep_figures(path, "tiny", weights, "three", {"texts": 1})
    assert set(json.loads(path.read_text())["tiny"]["sets"]) == {"three"}


def test_missing_file_is_named(tmp_path, parallel, labelled):
    missing = tmp_path / "nowhere.gz"
    assert_refused(
        train_small_translation(parallel[0], missing, tmp_path / "out"), str(missing), "no such file"
    )
    assert_refused(
        train_small_sentiment(missing, labelled[1], tmp_path / "out"), str(missing), "no such file"
    )
    files = ("--source", missing, "--reference", parallel[1])
    assert_refused(run(evaluate.app, "translation", *files, "--name", "own"), str(missing), "no such file")
    assert not (tmp_path / "out").exists()


def test_unequal_line_counts_are_named(tmp_path, parallel):
    shorter = write(tmp_path / "shorter.de", GERMAN)
    result = train_small_translation(parallel[0], shorter, tmp_path / "out")
    assert_refused(result, f"{parallel[0]} has 30 lines", f"{shorter} has 6")


def test_empty_sentence_is_named_by_line(tmp_path, parallel):
    gap = write(tmp_path / "gap.de", [*GERMAN[:2], "", *GERMAN[3:]])
    english = write(tmp_path / "six.en", ENGLISH)
    assert_refused(train_small_translation(english, gap, tmp_path / "out"), f"{gap}, line 3")


@pytest.mark.parametrize("row", ["2\tneither", "1 no tab", "0\ttwo\ttabs", "1\t", ""])
def test_malformed_tsv_row_is_named_by_line(tmp_path, labelled, row):
    bad = write(tmp_path / "bad.tsv", [*LABELLED[:3], row, LABELLED[4]])
    assert_refused(train_small_sentiment(labelled[0], bad, tmp_path / "out"), f"{bad}, line 4")


def test_tsv_without_header_is_refused(tmp_path, labelled):
    headless = write(tmp_path / "headless.tsv", LABELLED[1:])
    assert_refused(
        train_small_sentiment(headless, labelled[1], tmp_path / "out"), f"{headless}, line 1", "header"
    )


def test_damaged_files_are_refused(tmp_path, parallel):
    cut, latin = tmp_path / "cut.gz", tmp_path / "latin.de"
    cut.write_bytes(parallel[0].read_bytes()[:-20])
    latin.write_bytes("\n".join(GERMAN).encode("latin-1"))
    for file in (cut, latin, tmp_path):
        assert_refused(train_small_translation(parallel[0], file, tmp_path / "out"), str(file))


def test_files_that_do_not_pair_are_refused(tmp_path, parallel):
    english, german = parallel
    files = ("--english", english, "--english", english, "--german", german)
    assert_refused(
        run(train_translation.app, *files, "--output", tmp_path / "out"), "2 --english files but 1 --german"
    )


def test_vocabulary_too_large_for_the_text_is_refused_and_leaves_nothing(tmp_path, parallel):
    output = tmp_path / "out" / "tiny"
    files = ("--english", parallel[0], "--german", parallel[1], "--output", output)
    assert_refused(run(train_translation.app, *files, "--vocab-size", 9000), "--vocab-size 9000")
    assert list(output.parent.iterdir()) == []


def test_output_that_exists_is_left_alone(tmp_path, parallel, labelled):
    output = tmp_path / "mine"
    output.mkdir()
    keepsake = write(output / "keepsake", ["kept"])
    assert_refused(train_small_translation(*parallel, output), str(output), "exists")
    assert_refused(train_small_sentiment(*labelled, output), str(output), "exists")
    assert keepsake.read_text() == "kept\n"


def test_folder_without_a_model_is_refused(tmp_path, labelled):
    command = ("sentiment", "--model", tmp_path, "--data", labelled[1], "--name", "own")
    assert_refused(run(evaluate.app, *command), str(tmp_path), "adapter_model.safetensors")


def test_command_line_ends_with_one_line_and_no_traceback(tmp_path):
    command = [
        sys.executable,
        "-m",
        "embedded_models.train_sentiment",
        "--train",
        str(tmp_path / "nowhere.tsv"),
    ]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path / 'nowhere.tsv'}: no such file\n"
