"""Two real OPUS-MT models with seeded weights: every server gives Hugging Face's tokens, greedy and by beams.

They run with one layer and few texts, or with GAP_FULL_MODELS set as they are, on 200 texts (half an hour).
"""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SERVERS, native_kernels
from seeded_models import REAL_NAMES, real_vocabulary, write_seeded_model
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

import baseline.config
import baseline.models
import dynamic_batching.config
import dynamic_batching.models
import optimized.models
from dynamic_batching.decoder import SlotDecoder
from dynamic_batching.models import decode_batch
from dynamic_batching.sequence import Sequence
from dynamic_batching.web.model_files import find_model_files
from locustfiles.inputs import unique
from model_export import verify
from model_export.float32 import write_float32
from model_export.greedy_quantize import quantize_for_kernels
from model_export.kernels import best_instructions
from model_export.manifest import Manifest
from model_export.onnx_export import build
from model_export.pretrained import Pretrained, load_folder
from model_export.pytorch import write_pytorch
from model_export.row_quantize import quantize_rows, save_graphs
from optimized.decoder import Decoder
from optimized.runtime.graphs import Graphs

FULL = bool(os.environ.get("GAP_FULL_MODELS"))
LAYERS, COUNT, WORDS = (None, 200, None) if FULL else (1, 4, 4)
BATCH = 32
# Pieces that one vocabulary or both lack, and what SentencePiece normalizes.
ODD = ["", " \u2014 Is", " \u2013 \uff41\ufb01 | \U0001f642 \ub2e4", " 50 % of 1,000 \u20ac"]
Tokens = list[list[int]]


def texts() -> list[str]:
    samples = islice(unique("translation", 21), COUNT)
    begun = [" ".join(sample.text.split()[:WORDS]) for sample in samples]
    return [text + ODD[index % len(ODD)] for index, text in enumerate(begun)]


@pytest.fixture(scope="module", params=REAL_NAMES)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model as the hub has it."""
    folder = tmp_path_factory.mktemp("hub") / request.param
    yield write_seeded_model(real_vocabulary(request.param), folder, LAYERS)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def pretrained(hub: Path) -> Pretrained:
    return load_folder("translation", hub, hub.name)


@pytest.fixture(scope="module")
def graphs(pretrained: Pretrained) -> Any:
    """Its float32 graphs."""
    return build("translation", pretrained)


@pytest.fixture(scope="module")
def models(hub: Path, pretrained: Pretrained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same prepared for the servers, without quantization."""
    manifest = Manifest(tmp_path_factory.mktemp("models"))
    write_pytorch(manifest, "translation", pretrained, None)
    original = manifest.artefacts["translation/pytorch"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "TEXTS", 2)
        write_float32(manifest, "translation", manifest.folder / "translation/pytorch", original)
    yield manifest.folder
    shutil.rmtree(manifest.folder)


@pytest.fixture(scope="module")
def original(hub: Path) -> MarianMTModel:
    """The model as Hugging Face loads it."""
    return MarianMTModel.from_pretrained(hub, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def hugging_face(hub: Path, original: MarianMTModel) -> Callable[[int], tuple[Tokens, list[str]]]:
    """What `generate` makes of each text by a number of beams."""
    return cache(partial(answers_of_hugging_face, original, MarianTokenizer.from_pretrained(hub)))


def answers_of_hugging_face(
    model: MarianMTModel, tokenizer: MarianTokenizer, num_beams: int
) -> tuple[Tokens, list[str]]:
    sources = [tokenizer(text).input_ids for text in texts()]
    answers: Tokens = [[] for _ in sources]
    # Those of one length have one limit and need no padding.
    order = sorted(range(COUNT), key=lambda index: len(sources[index]))
    for length, group in groupby(order, key=lambda index: len(sources[index])):
        indices = [*group]
        output = model.generate(
            torch.tensor([sources[index] for index in indices]),
            attention_mask=torch.ones(len(indices), length, dtype=torch.int64),
            num_beams=num_beams,
            do_sample=False,
            early_stopping=False,
            length_penalty=1.0,
            forced_eos_token_id=None,
            suppress_tokens=[model.config.pad_token_id],
            max_new_tokens=2 * length + 16,
        )
        for index, row in zip(indices, output[:, 1:].tolist(), strict=True):
            answers[index] = [token for token in row if token != model.config.pad_token_id]
    assert sum(tokens[-1] == model.config.eos_token_id for tokens in answers) > COUNT / 2
    assert len({*map(len, answers)}) > COUNT**0.5 and len({*chain(*answers)}) > 2 * COUNT
    return answers, tokenizer.batch_decode(answers, skip_special_tokens=True)


@cache
def baseline_translator(folder: Path) -> baseline.models.Translator:
    files = find_model_files(folder, "translation/pytorch")
    return baseline.models.Translator(files, baseline.config.Settings())


def answers_of_baseline(folder: Path, num_beams: int) -> tuple[Tokens, list[str]]:
    translator = baseline_translator(folder)
    decode, tokens = translator.tokenizer.decode, []

    def recorded(token_ids: Any, **options: Any) -> str:
        tokens.append(token_ids[1:].tolist())
        return decode(token_ids, **options)

    translator.tokenizer.decode = recorded
    spelled = [translator.translate(translator.tokenize(text), num_beams, 600.0).text for text in texts()]
    translator.tokenizer.decode = decode
    return tokens, spelled


def answers_of_optimized(folder: Path, num_beams: int) -> tuple[Tokens, list[str]]:
    translator = optimized.models.Translator(find_model_files(folder, "translation/onnx"), 256)
    sources = [translator.tokenize(text) for text in texts()]
    tokens: Tokens = []
    for start in range(0, COUNT, BATCH):
        batch = sources[start : start + BATCH]
        most, least = zip(*(translator.new_tokens(len(source)) for source in batch), strict=True)
        tokens += Decoder(translator.graphs).generate(batch, [*most], [*least], num_beams)
    return tokens, [*map(translator.tokenizer.decode, tokens)]


def answers_of_dynamic_batching(folder: Path, num_beams: int) -> tuple[Tokens, list[str]]:
    settings = dynamic_batching.config.Settings()
    translator = dynamic_batching.models.Translator(find_model_files(folder, "translation/onnx"), settings)
    sequences = [translator.sequence(translator.tokenize(text), num_beams) for text in texts()]
    tokens = decode_batch(translator.new_decoder(), sequences)
    return tokens, [*map(translator.tokenizer.decode, tokens)]


ANSWERS: dict[str, Callable[[Path, int], tuple[Tokens, list[str]]]] = {
    "baseline": answers_of_baseline,
    "optimized": answers_of_optimized,
    "dynamic_batching": answers_of_dynamic_batching,
}


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("server", SERVERS)
def test_every_server_gives_hugging_faces_tokens(
    server: str,
    num_beams: int,
    models: Path,
    hugging_face: Callable[[int], tuple[Tokens, list[str]]],
) -> None:
    expected, expected_text = hugging_face(num_beams)
    tokens, spelled = ANSWERS[server](models, num_beams)
    different = [index for index in range(COUNT) if tokens[index] != expected[index]]
    assert not different, f"{len(different)} of {COUNT} texts differ, the first is text {different[0]}"
    assert spelled == expected_text


def longest_source(config: MarianConfig) -> list[int]:
    """As many tokens as the model has positions."""
    words = np.random.default_rng(0).integers(2, 40_000, config.max_position_embeddings - 1)
    return [*words.tolist(), config.eos_token_id]


@pytest.mark.parametrize("kernels", ["native", "onnxruntime"])
def test_int8_gives_the_same_tokens_alone_and_in_company(
    kernels: str, hub: Path, graphs: Any, tmp_path: Path
) -> None:
    library = native_kernels() if kernels == "native" else None
    quantized = quantize_for_kernels(graphs, best_instructions()) if library else quantize_rows(graphs)
    save_graphs(quantized, tmp_path)
    loaded = Graphs.load(tmp_path, library)
    tokenizer = MarianTokenizer.from_pretrained(hub)
    sources = [tokenizer(text).input_ids for text in texts()[:4]]
    sources.append(longest_source(MarianConfig.from_pretrained(hub)))
    limits = [16] * len(sources), [0] * len(sources)
    for num_beams in (1, 4):
        together = Decoder(loaded).generate(sources, *limits, num_beams)
        alone = [Decoder(loaded).generate([source], [16], [0], num_beams)[0] for source in sources]
        slots = SlotDecoder(loaded, 16)
        in_slots = decode_batch(slots, [Sequence(source, 16, 0, num_beams) for source in sources])
        assert together == alone == in_slots
        assert len({*map(tuple, together)}) > 2


def test_a_source_of_as_many_tokens_as_the_model_has_positions(original: MarianMTModel, models: Path) -> None:
    source, positions = longest_source(original.config), original.config.max_position_embeddings
    with torch.inference_mode():
        (expected,) = original.generate(
            torch.tensor([source]),
            attention_mask=torch.ones(1, positions),
            num_beams=1,
            forced_eos_token_id=None,
            suppress_tokens=[original.config.pad_token_id],
            max_new_tokens=12,
        )
    graphs = Graphs.load(models / "translation/onnx")
    assert Decoder(graphs).generate([source], [12], [0]) == [expected[1:].tolist()]
    assert decode_batch(SlotDecoder(graphs, 4), [Sequence(source, 12)]) == [expected[1:].tolist()]
    with pytest.raises(ValueError, match=f"at most {positions} tokens"):
        Decoder(graphs).generate([[*source, 0]], [12], [0])
