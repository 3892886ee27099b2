"""The serving systems by name, each with the engines that it runs and the settings that a search tries.

FAIRNESS.md gives the source of each setting in the system's own documentation.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
OURS = "dynamic_batching"
Settings = dict[str, Any]

# The first is what a user of the system would take, the second is ours in the same server.
SENTIMENT = ("onnxruntime", "ours")
ENGINE_TITLES = {
    "onnxruntime": "ONNX Runtime INT8",
    "ours": "our engine",
    "ctranslate2": "CTranslate2 INT8",
    "optimum": "Optimum INT8",
}


def batching(sizes: tuple[int, ...], waits_ms: tuple[float, ...]) -> tuple[Settings, ...]:
    """Every maximum batch size with every maximum wait."""
    return tuple({"max_batch_size": size, "max_wait_ms": wait} for size, wait in product(sizes, waits_ms))


@dataclass(frozen=True)
class System:
    """A serving system in a folder of its own.

    `command` follows the Python of its environment, or replaces it where it begins with a script of that
    environment (`bin/...`). `candidates` are the settings to search per task; `paths` those of its requests
    where it has its own.
    """

    title: str
    folder: str
    command: tuple[str, ...]
    engines: dict[str, tuple[str, ...]]
    candidates: dict[str, tuple[Settings, ...]]
    uses_redis: bool = False
    paths: dict[str, str] = field(default_factory=dict)

    @property
    def server(self) -> Path:
        return FOLDER / self.folder / "server.py"

    @property
    def requirements(self) -> Path:
        return FOLDER / self.folder / "requirements.txt"

    def versions(self, engine: str) -> dict[str, str]:
        """Of each package that its requirements pin, other engines than the one in use aside."""
        lines = self.requirements.read_text().splitlines()
        pins = dict(line.split("==") for line in lines if "==" in line)
        return {
            name: version for name, version in pins.items() if name == engine or name not in ENGINE_TITLES
        }

    def lines_of_code(self) -> int:
        """Lines of server.py that are neither blank nor comments."""
        lines = map(str.strip, self.server.read_text().splitlines())
        return sum(bool(line) and not line.startswith("#") for line in lines)


SYSTEMS = {
    "mosec": System(
        "Mosec",
        "mosec",
        (
            *("server.py", "--address", "127.0.0.1", "--port", "{port}"),
            *("--timeout", "600000", "--log-level", "warning"),
        ),
        {"sentiment": SENTIMENT, "translation": ("ctranslate2",)},
        {"sentiment": batching((16, 64), (1, 10)), "translation": batching((32, 64), (10, 50))},
    ),
    "litserve": System(
        "LitServe",
        "litserve",
        ("server.py",),
        {"sentiment": SENTIMENT, "translation": ("ctranslate2",)},
        {"sentiment": batching((16, 64), (5, 20)), "translation": batching((32, 64), (5, 50))},
    ),
    "bentoml": System(
        "BentoML",
        "bentoml",
        ("bin/bentoml", "serve", "server:Inference", "--host", "127.0.0.1", "--port", "{port}"),
        {"sentiment": SENTIMENT, "translation": ("ctranslate2",)},
        # Its dispatcher chooses the wait itself, from the latency that it has measured.
        {
            "sentiment": ({"max_batch_size": 16}, {"max_batch_size": 64}),
            "translation": ({"max_batch_size": 32}, {"max_batch_size": 64}),
        },
    ),
    "ray_serve": System(
        "Ray Serve",
        "ray_serve",
        ("server.py",),
        {"sentiment": SENTIMENT, "translation": ("ctranslate2",)},
        {"sentiment": batching((32,), (2, 10)), "translation": batching((64,), (10, 50))},
    ),
    "triton": System(
        "Triton",
        "triton",
        ("server.py",),
        {"sentiment": SENTIMENT, "translation": ("ctranslate2",)},
        {"sentiment": batching((16, 64), (0, 2)), "translation": batching((32, 64), (10, 50))},
        paths={task: f"/v2/models/{task}/generate" for task in ("sentiment", "translation")},
    ),
    "libretranslate": System(
        "LibreTranslate",
        "libretranslate",
        ("server.py",),
        {"translation": ("ctranslate2",)},
        {"translation": ({"threads": 4}, {"threads": 32})},
    ),
    "fastapi_optimum": System(
        "FastAPI, Redis cache",
        "fastapi_optimum",
        ("-m", "uvicorn", "server:app", "--port", "{port}", "--log-level", "warning", "--no-access-log"),
        {"translation": ("optimum",)},
        {"translation": ({},)},
        uses_redis=True,
    ),
}


@dataclass(frozen=True)
class Peer:
    """A system with one of the engines of a task."""

    system: str
    engine: str

    @property
    def name(self) -> str:
        return f"{self.system}-{self.engine}"

    @property
    def title(self) -> str:
        return f"{SYSTEMS[self.system].title}, {ENGINE_TITLES[self.engine]}"


def peers_of(task: str, systems: tuple[str, ...] = tuple(SYSTEMS)) -> Iterator[Peer]:
    for name in systems:
        for engine in SYSTEMS[name].engines.get(task, ()):
            yield Peer(name, engine)
