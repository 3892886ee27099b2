"""What each operator of the served graphs takes: ONNX Runtime's profile, on the load's texts."""

import itertools
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from dynamic_batching.config import Settings
from dynamic_batching.models import Translator, decode_batch
from dynamic_batching.runtime.graphs import Graphs, load_session
from dynamic_batching.runtime.models import SentimentClassifier
from dynamic_batching.runtime.onnx_files import find_onnx_files, kernel_library
from dynamic_batching.runtime.weights import Weights
from locustfiles.inputs import unique

BATCHES = 20


@dataclass(frozen=True)
class Operator:
    """Nodes of a graph that do the same with as many rows: what one run needs, and the seconds of the runs.

    `graph_bytes` are the INT8 weights of the whole graph, which a run of it reads.
    """

    graph: str
    name: str
    rows: int
    products: float
    weight_bytes: int
    graph_bytes: int
    seconds: list[float]


def profile_tasks(tasks: Sequence[str], models_dir: Path, slots: int) -> dict[str, list[Operator]]:
    """The operators of each task's graphs, on BATCHES batches of the load's texts."""
    found = {}
    for task in tasks:
        texts = [sample.text for sample in itertools.islice(unique(task), BATCHES * slots)]
        with tempfile.TemporaryDirectory() as scratch:
            run = profile_translation if task == "translation" else profile_sentiment
            found[task] = [*run(models_dir, texts, slots, Path(scratch))]
    return found


def profiled_session(
    path: Path, kernels: Path | None, weights: Weights, scratch: Path
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(scratch / path.stem)
    return load_session(path, kernels, weights, options)


def profile_translation(models_dir: Path, texts: list[str], slots: int, scratch: Path) -> Iterator[Operator]:
    files = find_onnx_files(models_dir, "translation")
    kernels = kernel_library(files)
    settings = Settings(threads=1, max_batch_size=slots)
    translator = Translator(files, settings)
    weights = Weights(files.folder)
    names = ("encoder", "screened" if (files.folder / "screened.onnx").exists() else "greedy")
    encoder, greedy = (
        profiled_session(files.folder / f"{name}.onnx", kernels, weights, scratch) for name in names
    )
    translator.graphs = Graphs(encoder, translator.graphs.decoder, greedy)
    decoder = translator.new_decoder()
    for start in range(0, BATCHES * slots, slots):
        batch = [translator.sequence(translator.tokenize(text)) for text in texts[start : start + slots]]
        decode_batch(decoder, batch)
    yield from operators("encoder", encoder)
    yield from (one for one in operators("decoding step", greedy) if one.rows == slots)


def profile_sentiment(models_dir: Path, texts: list[str], slots: int, scratch: Path) -> Iterator[Operator]:
    files = find_onnx_files(models_dir, "sentiment")
    kernels = kernel_library(files)
    classifier = SentimentClassifier(files, Settings().max_input_tokens)
    path = files.folder / "model.onnx"
    classifier.session = profiled_session(path, kernels, Weights(files.folder), scratch)
    for start in range(0, BATCHES * slots, slots):
        classifier.classify([classifier.tokenize(text) for text in texts[start : start + slots]])
    yield from operators("classifier", classifier.session)


def operators(graph: str, session: onnxruntime.InferenceSession) -> Iterator[Operator]:
    """Each node of the profile by the number of its rows; products of those that have INT8 weights."""
    runs: dict[tuple[str, int, float, int], list[float]] = defaultdict(list)
    bytes_of_node: dict[str, int] = {}
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        shapes = [next(iter(shape.values())) for shape in event["args"].get("input_type_shape", [])]
        rows = int(np.prod(shapes[0][:-1])) if shapes and shapes[0] else 1
        needs = products_and_bytes(event["args"]["op_name"], shapes, rows)
        bytes_of_node[event["name"]] = needs[1]
        runs[event["args"]["op_name"] + shape_of(shapes, needs), rows, *needs].append(event["dur"] / 1e6)
    graph_bytes = sum(bytes_of_node.values())
    for (name, rows, products, weight_bytes), seconds in runs.items():
        yield Operator(graph, name, rows, products, weight_bytes, graph_bytes, seconds)


def products_and_bytes(kind: str, shapes: list[list[int]], rows: int) -> tuple[float, int]:
    """INT8 products of an operator, and the bytes of its weights; 0 of those that have none."""
    if kind not in ("RowLinear", "RowArgMax", "ScreenedArgMax"):
        return 0.0, 0
    codes, (outputs,) = shapes[1], shapes[2]
    inputs = 4 * codes[1]
    return float(rows) * inputs * outputs, inputs * outputs


def shape_of(shapes: list[list[int]], needs: tuple[float, int]) -> str:
    return f" {4 * shapes[1][1]} x {shapes[2][0]:,}" if needs[1] else ""
