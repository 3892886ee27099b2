"""Clients that people have, unchanged, against every server on the embedded models."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from libretranslatepy import LibreTranslateAPI
from tritonclient.utils import InferenceServerException

from benchmark.measure.processes import Server

TEXTS = {
    "I love you.": "Ich liebe dich.",
    "Where is my book?": "Wo ist mein Buch?",
    "Tom is my brother.": "Tom ist mein Bruder.",
}
REQUESTS = 40
TIMEOUT_S = 120


@pytest.fixture(scope="session")
def inference(server: Server) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(server.url.removeprefix("http://"), concurrency=8)
    yield client
    client.close()


def tensor(*texts: str, rows: bool = False, binary: bool = True) -> triton.InferInput:
    values = np.array([text.encode() for text in texts], dtype=object)
    if rows:
        values = values.reshape(-1, 1)
    made = triton.InferInput("text", values.shape, "BYTES")
    return made.set_data_from_numpy(values, binary_data=binary)


def decoded(result: triton.InferResult, output: str) -> list[str]:
    return [
        value.decode() if isinstance(value, bytes) else value for value in result.as_numpy(output).ravel()
    ]


def test_libretranslatepy_translates(server: Server) -> None:
    client = LibreTranslateAPI(server.url, api_key="anything")
    assert [client.translate(text, "en", "de") for text in TEXTS] == [*TEXTS.values()]
    assert client.translate("I love you.", "auto", "de") == "Ich liebe dich."
    assert client.translate("Tom \u0026 \U0001f642 = 100 %?", "en", "de").count("\U0001f642") == 1
    assert [language["code"] for language in client.languages()] == ["en", "de"]


def test_libretranslatepy_is_told_what_is_not_supported(server: Server) -> None:
    client = LibreTranslateAPI(server.url)
    with pytest.raises(HTTPError) as raised:
        client.translate("I love you.", "en", "fr")
    assert raised.value.code == 400 and "target" in json.loads(raised.value.read())["error"]
    with pytest.raises(HTTPError, match="404"):
        client.detect("I love you.")


def test_the_hugging_face_client_classifies(server: Server, client: httpx.Client) -> None:
    predict = InferenceClient(model=f"{server.url}/predict", timeout=TIMEOUT_S)
    for text in ("a gorgeous, witty film", "a dull and pointless mess"):
        own = client.post("/sentiment", json={"text": text}).json()
        first = predict.text_classification(text)
        assert isinstance(first, dict) and first["label"] == own["label"]
        assert first["score"] == pytest.approx(own["score"], abs=1e-3)
    with pytest.raises(HfHubHTTPError) as raised:
        predict.text_classification(" ")
    assert raised.value.response is not None and raised.value.response.status_code == 413


def test_tritons_client_finds_the_models(inference: triton.InferenceServerClient) -> None:
    assert inference.is_server_live() and inference.is_server_ready()
    for task, outputs in (("translation", ["translation"]), ("sentiment", ["label", "score"])):
        assert inference.is_model_ready(task) and inference.is_model_ready(task, "1")
        assert not inference.is_model_ready(task, "2")
        assert [one["name"] for one in inference.get_model_metadata(task)["outputs"]] == outputs
        assert inference.get_model_config(task)["max_batch_size"] == 64
    assert "binary_tensor_data" in inference.get_server_metadata()["extensions"]


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_infers_with_tensors_of_texts(
    inference: triton.InferenceServerClient, rows: bool, binary: bool
) -> None:
    result = inference.infer("translation", [tensor(*TEXTS, rows=rows, binary=binary)], request_id="one")
    assert decoded(result, "translation") == [*TEXTS.values()]
    assert result.as_numpy("translation").shape == ((3, 1) if rows else (3,))
    assert result.get_response()["id"] == "one"
    wanted = [
        triton.InferRequestedOutput("score"),
        triton.InferRequestedOutput("label", binary_data=not binary),
    ]
    result = inference.infer("sentiment", [tensor("a great film", binary=binary)], "1", wanted)
    scores = result.as_numpy("score")
    assert decoded(result, "label") == ["POSITIVE"]
    assert scores.dtype == np.float32 and scores.shape == (1,) and 0.5 < scores[0] <= 1


def test_tritons_client_infers_asynchronously(inference: triton.InferenceServerClient) -> None:
    asked = [(str(index), text) for index, text in enumerate([*TEXTS] * 4)]
    waiting = [inference.async_infer("translation", [tensor(text)], request_id=name) for name, text in asked]
    results = [one.get_result(timeout=TIMEOUT_S) for one in waiting]
    assert [result.get_response()["id"] for result in results] == [name for name, _ in asked]
    assert [decoded(result, "translation") for result in results] == [[TEXTS[text]] for _, text in asked]


def test_tritons_client_is_told_what_is_wrong(inference: triton.InferenceServerClient) -> None:
    def failure(model: str, *texts: str, **options: object) -> tuple[str, str]:
        with pytest.raises(InferenceServerException) as raised:
            inference.infer(model, [tensor(*texts)], **options)
        return raised.value.status(), raised.value.message()

    assert failure("other", "a") == ("404", "Not Found")
    assert failure("sentiment", "a film", " ") == (
        "400",
        "inputs.0.data.1: Text should hold more than white space",
    )
    assert failure("sentiment", *["a"] * 65)[0] == "400"
    assert failure("translation", "a", parameters={"num_beams": 9})[1].startswith("parameters.num_beams")
    classes = [triton.InferRequestedOutput("label", class_count=1)]
    assert failure("sentiment", "a", outputs=classes)[1].startswith("outputs.0.parameters.classification")
    assert failure("sentiment", "a", request_compression_algorithm="gzip")[0] == "400"
    assert failure("sentiment", "a", headers={"X-Timeout-Ms": "soon"})[0] == "400"
    long = ", ".join(["Several men in orange vests ride on a bike"] * 16)
    assert failure("translation", *[long] * 8, headers={"X-Timeout-Ms": "1"})[0] in ("503", "504")


@pytest.mark.skipif(shutil.which("perf_analyzer") is None, reason="there is no perf_analyzer")
@pytest.mark.parametrize("form", ["binary", "json"])
@pytest.mark.parametrize("task", ["translation", "sentiment"])
def test_perf_analyzer_measures(server: Server, tmp_path: Path, task: str, form: str) -> None:
    data = tmp_path / "texts.json"
    data.write_text(json.dumps({"data": [{"text": [text]} for text in TEXTS]}))
    command = [
        "perf_analyzer",
        "-m",
        task,
        "-u",
        server.url.removeprefix("http://"),
        "--input-data",
        str(data),
    ]
    command += ["-b", "2", "--concurrency-range", "4", "--request-count", str(REQUESTS)]
    command += ["--input-tensor-format", form, "--output-tensor-format", form]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"Request count: {REQUESTS}" in ended.stdout and "error" not in ended.stdout.lower()
