"""An engine's copy of the weights is complete or not there, also where two processes make it at once."""

from pathlib import Path
from threading import Barrier, BrokenBarrierError, Thread

import pytest

from peers.engines.worker_main import convert


class Conversion:
    """Writes a file before and one after `barrier`, which so many conversions reach together."""

    def __init__(self, parties: int) -> None:
        self.barrier = Barrier(parties, timeout=10)

    def convert(self, models: Path, output: Path) -> None:
        output.mkdir()
        (output / "config.json").write_text("{}")
        self.barrier.wait()
        (output / "model.bin").write_text(models.name)


def test_two_conversions_at_once_leave_one_copy(tmp_path: Path) -> None:
    converted, conversion, ended = tmp_path / "cache" / "engine", Conversion(2), []

    def run() -> None:
        convert(conversion, Path("models"), converted)
        ended.append(True)

    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [True, True]
    assert {path.name for path in converted.iterdir()} == {"config.json", "model.bin"}
    assert [*converted.parent.iterdir()] == [converted]


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    conversion = Conversion(1)
    conversion.barrier.abort()
    with pytest.raises(BrokenBarrierError):
        convert(conversion, Path("models"), tmp_path / "cache" / "engine")
    assert not [*(tmp_path / "cache").iterdir()]
