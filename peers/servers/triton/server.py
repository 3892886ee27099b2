"""Triton Inference Server, as PyTriton brings it: its HTTP server and dynamic batcher, the engine in Python.

Start: python server.py, with the environment of peers/servers/settings.py. A request goes to Triton's own
path, /v2/models/<task>/generate, whose body and answer are the contract's.
"""

import os
import socket
import sysconfig
from typing import Any

# Triton's Python backend must find the library of this Python, not of the system's.
os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from peers.servers.inference import load_engine
from peers.servers.settings import PeerSettings

settings = PeerSettings()  # type: ignore[call-arg]
OUTPUTS = {
    "sentiment": [
        Tensor(name="label", dtype=bytes, shape=(1,)),
        Tensor(name="score", dtype=np.float32, shape=(1,)),
    ],
    "translation": [Tensor(name="translation", dtype=bytes, shape=(1,))],
}
engine = load_engine(settings)


@batch
def infer(text: np.ndarray) -> dict[str, np.ndarray]:
    """bytes [texts, 1] to one array [texts, 1] per field of an answer."""
    answers = engine([row[0].decode() for row in text])
    return {name: column([answer[name] for answer in answers]) for name in answers[0]}


def column(values: list[Any]) -> np.ndarray:
    if isinstance(values[0], str):
        return np.array([[value.encode()] for value in values], dtype=bytes)
    return np.array(values, dtype=np.float32)[:, None]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=settings.port,
        grpc_address="127.0.0.1",
        grpc_port=free_port(),
        allow_metrics=False,
    )
    delay_us = int(settings.max_wait_ms * 1000)
    model = ModelConfig(
        max_batch_size=settings.max_batch_size,
        batcher=DynamicBatcher(max_queue_delay_microseconds=delay_us),
    )
    text = Tensor(name="text", dtype=bytes, shape=(1,))
    with Triton(config=config) as triton:
        triton.bind(settings.task, infer, inputs=[text], outputs=OUTPUTS[settings.task], config=model)
        triton.serve()
