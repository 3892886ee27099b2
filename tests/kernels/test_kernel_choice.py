"""Models are prepared for the native kernels where they can be had; else one line says why they are not."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import EMBEDDED, native_kernels
from fake_compiler import compiler
from start_and_fail import start_and_fail

import dynamic_batching.runtime.onnx_files
import optimized.runtime.onnx_files
from model_export import kernels
from model_export.errors import PreparationError
from model_export.instruction_sets import AMX, AVX2, AVX512_VNNI
from model_export.kernels import Kernels, Native, best_instructions, choose_kernels, sources_sha256
from model_export.manifest import Manifest
from optimized.runtime.graphs import load_session

SERVERS = {
    "optimized": optimized.runtime.onnx_files,
    "dynamic_batching": dynamic_batching.runtime.onnx_files,
}
VNNI = {*AVX512_VNNI.flags, *AVX2.flags, "sse2"}


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The flags that preparation finds, to be changed."""
    flags = {*VNNI}
    monkeypatch.setattr(kernels, "cpu_flags", lambda: flags)
    return flags


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources, with nothing built yet."""
    folder = tmp_path / "kernels"
    shutil.copytree(kernels.SOURCES, folder)
    monkeypatch.setattr(kernels, "SOURCES", folder)
    monkeypatch.setattr(kernels, "BUILT", tmp_path / "built")
    return folder


def chosen(choice: kernels.KernelChoice) -> tuple[Kernels, list[str]]:
    lines: list[str] = []
    return choose_kernels(choice, Path(), lines.append), lines


def refused(reason: str) -> None:
    """Asserts that `auto` falls back, and `native` is an error, each in one line that gives the reason."""
    found, lines = chosen("auto")
    assert found.native is None and found.facts == {"kernels": "onnxruntime"}
    assert lines[-1].startswith("kernels: ONNX Runtime's own, since ") and reason in lines[-1]
    assert "\n" not in lines[-1]
    with pytest.raises(PreparationError, match="--kernels native: ") as caught:
        chosen("native")
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_a_machine_with_a_compiler_gets_native_kernels_for_its_best_instructions() -> None:
    native_kernels()
    found, lines = chosen("native")
    best = best_instructions()
    assert lines[-1] == f"kernels: native ({best.title})"
    assert found.native is not None and found.native.instructions is best
    assert found.facts["kernels_sha256"] == sources_sha256()
    assert found.facts["cpu_flags"] == list(best.flags)


def test_instructions_are_the_best_that_the_cpu_has(cpu: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_instructions() is AVX512_VNNI
    cpu |= {*AMX.flags}
    for allowed, best in ((True, AMX), (False, AVX512_VNNI)):
        monkeypatch.setattr(kernels, "tiles_allowed", lambda allowed=allowed: allowed)
        assert best_instructions() is best
    cpu -= {"amx_tile", "amx_int8"}
    cpu.remove("avx512_vnni")
    assert best_instructions() is AVX2


def test_a_cpu_without_avx2_gets_onnx_runtimes(cpu: set[str]) -> None:
    cpu -= {"avx512_vnni", "avx2", "f16c"}
    refused("this CPU has no avx2, f16c")


def test_the_compiler_has_its_own_names_for_flags() -> None:
    assert AVX2.options == ["-mavx2", "-mfma", "-mf16c"]
    assert {"-mavx512vnni", "-mamx-tile", "-mamx-int8"} <= {*AMX.options}


def test_models_for_other_instructions_do_not_match() -> None:
    library = native_kernels()
    for_vnni, for_avx2 = (Kernels(Native(library, it, "digest")) for it in (AVX512_VNNI, AVX2))
    assert for_avx2.match(for_avx2.facts) and not for_avx2.match(for_vnni.facts)


def test_onnx_runtimes_need_no_compiler(cpu: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    found, lines = chosen("onnxruntime")
    assert found.native is None and lines == ["kernels: ONNX Runtime's own"]


@pytest.mark.usefixtures("cpu", "sources")
def test_a_missing_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -v")
    refused("there is no C++ compiler (no-such-compiler; CXX names another)")


@pytest.mark.usefixtures("cpu", "sources")
def test_a_failing_compiler_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = "echo 'x.cpp:1: fatal error: immintrin.h: no such file' >&2; echo more >&2; exit 1"
    monkeypatch.setenv("CXX", compiler(tmp_path / "failing", script))
    refused("failing could not compile kernels/ (x.cpp:1: fatal error: immintrin.h: no such file)")
    assert not [*kernels.BUILT.glob("*.so")]


@pytest.mark.usefixtures("cpu", "sources")
def test_a_library_that_does_not_load_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = 'while [ "$1" != -o ]; do shift; done; echo no library > "$2"'
    monkeypatch.setenv("CXX", compiler(tmp_path / "strange", script))
    refused("ONNX Runtime cannot load the compiled library")
    assert not [*kernels.BUILT.glob("*.so")]


@pytest.mark.usefixtures("cpu")
def test_a_library_is_built_once_and_again_when_its_sources_change(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'while [ "$1" != -o ]; do shift; done; cp "{native_kernels()}" "$2"'
    monkeypatch.setenv("CXX", compiler(tmp_path / "quick", script))
    first, lines = chosen("native")
    assert any("compiling" in line for line in lines)
    again, lines = chosen("native")
    assert again == first and not any("compiling" in line for line in lines)
    with (sources / "operators.cpp").open("a") as file:
        file.write("// changed\n")
    changed, _ = chosen("native")
    assert changed.native and first.native and changed.native.library != first.native.library
    assert not changed.match(first.facts) and not changed.match(Kernels(None).facts)
    assert changed.match({**changed.facts, "bytes": 1})


def native_models(tmp_path: Path) -> Path:
    """A manifest over the embedded models that says they are for the native kernels."""
    content = json.loads((EMBEDDED / "manifest.json").read_text())
    for name, artefact in content["artefacts"].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(EMBEDDED / name)
        if name.endswith("/onnx"):
            artefact |= {"kernels": "native", "cpu_flags": [*AVX512_VNNI.flags]}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize("name", SERVERS)
def test_native_models_are_refused_by_a_cpu_that_cannot_run_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, models = SERVERS[name], native_models(tmp_path)
    monkeypatch.setattr(server, "cpu_flags", lambda: VNNI)
    files = server.find_onnx_files(models, "sentiment")
    assert server.kernel_library(files) == models / "sentiment/onnx/kernels.so"
    monkeypatch.setattr(server, "cpu_flags", lambda: VNNI - {"avx512_vnni"})
    with pytest.raises(server.ModelFilesError, match="CPU with avx512_vnni") as caught:
        server.find_onnx_files(models, "sentiment")
    assert "--kernels onnxruntime" in str(caught.value) and "\n" not in str(caught.value)
    assert server.kernel_library(server.find_model_files(models, "sentiment/pytorch")) is None


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_ends_with_one_line_where_its_cpu_cannot_run_the_models(name: str, tmp_path: Path) -> None:
    models = native_models(tmp_path)
    content = json.loads((models / "manifest.json").read_text())
    for artefact in content["artefacts"].values():
        if "cpu_flags" in artefact:
            artefact["cpu_flags"] = ["avx9000"]
    (models / "manifest.json").write_text(json.dumps(content))
    code, output = start_and_fail(name, GAP_MODELS_DIR=str(models))
    assert code != 0
    assert "CPU with avx9000" in output and "Traceback" not in output


@pytest.mark.parametrize("name", SERVERS)
def test_a_changed_library_is_not_loaded(name: str, tmp_path: Path) -> None:
    if Manifest(EMBEDDED).artefacts["sentiment/onnx"]["kernels"] != "native":
        pytest.skip("the embedded models are prepared for ONNX Runtime's own kernels")
    models = tmp_path / "models"
    shutil.copytree(EMBEDDED, models)
    library = models / "sentiment/onnx/kernels.so"
    content = bytearray(library.read_bytes())
    content[-1] ^= 1
    library.write_bytes(content)
    server = SERVERS[name]
    with pytest.raises(server.ModelFilesError, match=r"sentiment/onnx/kernels\.so is damaged"):
        server.find_onnx_files(models, "sentiment").verify()
    server.find_onnx_files(models, "translation").verify()
    library.unlink()
    with pytest.raises(server.ModelFilesError, match=r"kernels\.so cannot be read"):
        server.find_onnx_files(models, "sentiment").verify()


def test_graphs_of_native_kernels_do_not_load_without_them() -> None:
    if Manifest(EMBEDDED).artefacts["sentiment/onnx"]["kernels"] != "native":
        pytest.skip("the embedded models are prepared for ONNX Runtime's own kernels")
    with pytest.raises(Exception, match="gap"):
        load_session(EMBEDDED / "sentiment/onnx/model.onnx")


def test_flags_are_those_of_this_machine() -> None:
    flags = [server.cpu_flags() for server in SERVERS.values()]
    assert flags[0] == flags[1]
    line = next(
        (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), ""
    )
    assert ("sse2" in line.split()) == ("sse2" in flags[0])
