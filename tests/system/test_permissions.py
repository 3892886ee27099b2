"""Another user, a read-only checkout, a file system mounted noexec: files follow the umask, and a refusal of
the system is named with its true path."""

import ctypes
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import EMBEDDED, SERVERS, native_kernels
from fake_compiler import compiler
from progress_lines import quiet
from start_and_fail import start_and_fail
from tiny_models import write_tiny

from benchmark.runs.environment import ROOT
from model_export import kernels
from model_export.instruction_sets import AVX2
from model_export.kernels import Kernels, Native, Unavailable, build, choose_kernels
from model_export.manifest import TASKS, Manifest
from model_export.pretrained import load_folder
from model_export.pytorch import write_pytorch

UNREADABLE, UNWRITABLE = 0o000, 0o555
DROP_CAPABILITY, DAC_OVERRIDE, DAC_READ_SEARCH = 24, 1, 2


def obey_modes() -> None:
    """Makes what this process executes next subject to the modes of files, as root is not."""
    if os.getuid() == 0:
        for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
            if ctypes.CDLL(None, use_errno=True).prctl(DROP_CAPABILITY, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    """What Python says to `arguments` as a user who may not do everything."""
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        preexec_fn=obey_modes,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in ended.stdout + ended.stderr
    return ended.returncode, ended.stdout + ended.stderr


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Path]:
    folder = shutil.copytree(EMBEDDED, tmp_path / "models")
    Manifest(folder).set_fallback(None)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)


@pytest.fixture(params=[0o022, 0o027, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


# The umask


def test_files_follow_the_umask(tmp_path: Path, umask: int) -> None:
    manifest = Manifest(tmp_path / "models")
    for task in TASKS:
        folder = write_tiny(task, tmp_path / task)
        for path in folder.iterdir():
            path.chmod(0o600)
        write_pytorch(manifest, task, load_folder(task, folder, ""), None)
    library = tmp_path / "library.so"
    library.touch(0o700)
    with manifest.publish("translation/onnx", {}) as folder:
        Kernels(Native(library, AVX2, "")).copy_to(folder)
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in manifest.folder.rglob("*")}
    assert {path.name for path in found} >= {"model.safetensors", "kernels.so", "manifest.json", "vocab.json"}
    expected = {path: (0o777 if path.is_dir() else 0o666) & ~umask for path in found}
    assert found == expected


# Servers


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("name", ["a file", "the folder", "the manifest", "all"])
def test_a_model_of_another_user_is_called_one_of_permission(models: Path, server: str, name: str) -> None:
    kind = "pytorch" if server == "baseline" else "onnx"
    file = "source.spm"
    path = {
        "a file": models / f"translation/{kind}" / file,
        "the folder": models / f"translation/{kind}",
        "the manifest": models / "manifest.json",
        "all": models,
    }[name]
    path.chmod(UNREADABLE)
    script = (
        f"from {server}.web.model_files import ModelFilesError, find_model_files\n"
        f"from pathlib import Path\n"
        f"try: find_model_files(Path({str(models)!r}), 'translation/{kind}').verify()\n"
        f"except ModelFilesError as error: print(error)\n"
    )
    _, output = run("-c", script)
    assert "cannot be read by this user (Permission denied); its owner lets others read it with" in output
    assert "optimize_model.py" not in output and output.count("\n") == 1
    remedy = output.rpartition("with `")[2].rpartition("`")[0]
    assert remedy.startswith("chmod -R a+rX ") and str(models) in remedy
    subprocess.run(remedy, shell=True, check=True)
    if name in ("a file", "the manifest"):
        assert run("-c", script) == (0, "")


def test_a_server_still_says_that_there_are_no_models(tmp_path: Path) -> None:
    code, output = start_and_fail("optimized", GAP_MODELS_DIR=str(tmp_path))
    assert (
        code != 0
        and f"holds no models; `python optimize_model.py --output {tmp_path}` prepares them" in output
    )


# Preparation


def test_whole_models_that_cannot_be_written_to_are_found_whole(models: Path) -> None:
    for path in (models, *(path for path in models.rglob("*") if path.is_dir())):
        path.chmod(UNWRITABLE)
    (models / ".lock").unlink(missing_ok=True)
    code, output = run("optimize_model.py", "--source", "embedded", "--output", str(models))
    assert code == 0 and "nothing to do" in output


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("translation/pytorch/vocab.json", UNREADABLE),
        ("sentiment/onnx", UNREADABLE),
        (".lock", UNREADABLE),
    ],
)
def test_a_refusal_while_preparing_names_its_path(models: Path, path: str, mode: int) -> None:
    (models / path).touch()
    (models / path).chmod(mode)
    code, output = run("optimize_model.py", "--source", "embedded", "--output", str(models))
    assert code == 1
    line = output.splitlines()[-1]
    assert line.startswith(f"error: {models / path}") and "Permission denied for user" in line
    assert "chmod -R a+rX" in line and "--output FOLDER" in line


def test_a_source_that_cannot_be_read_is_named_and_not_the_output(tmp_path: Path) -> None:
    weights = write_tiny("translation", tmp_path / "source/translation") / "model.safetensors"
    write_tiny("sentiment", tmp_path / "source/sentiment")
    weights.chmod(UNREADABLE)
    output = tmp_path / "output"
    code, text = run("optimize_model.py", "--source", str(tmp_path / "source"), "--output", str(output))
    assert code == 1 and f"error: {weights}: Permission denied" in text.splitlines()[-1]
    weights.parent.chmod(UNREADABLE)
    code, text = run("optimize_model.py", "--source", str(tmp_path / "source"), "--output", str(output))
    weights.parent.chmod(0o755)
    assert code == 1 and f"error: {weights.parent}" in text.splitlines()[-1]


def test_an_output_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    code, output = run("optimize_model.py", "--source", "embedded", "--output", str(tmp_path / "models"))
    assert code == 1 and output.startswith(f"error: {tmp_path / 'models'}: File exists")


# Kernels


@pytest.fixture
def quick_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that copies what was compiled before, and nothing built yet."""
    script = f'while [ "$1" != -o ]; do shift; done; cp "{native_kernels()}" "$2"'
    path = tmp_path / "quick"
    monkeypatch.setenv("CXX", compiler(path, script))
    monkeypatch.setattr(kernels, "BUILT", tmp_path / "checkout/.cache/kernels")
    return path


BUILD = """
import sys
from pathlib import Path
from model_export import kernels
kernels.BUILT = Path(sys.argv[1])
chosen = kernels.choose_kernels("auto", Path(sys.argv[2]), print)
print(chosen.native and chosen.native.library)
"""


@pytest.mark.usefixtures("quick_compiler")
def test_kernels_are_built_elsewhere_where_the_checkout_is_read_only(tmp_path: Path) -> None:
    checkout, output = tmp_path / "checkout", tmp_path / "output"
    checkout.mkdir()
    output.mkdir()
    checkout.chmod(UNWRITABLE)
    code, text = run("-c", BUILD, str(checkout / ".cache/kernels"), str(output), TMPDIR=str(output))
    assert code == 0
    reason = f"kernels: {checkout}/.cache/kernels cannot be written to (Permission denied)"
    assert reason in text and "so the next run compiles them again" in text and "kernels: native" in text
    assert Path(text.splitlines()[-1]).is_relative_to(output), "what was built is in a temporary folder"
    assert not [*output.glob("inference-gap-*")], "and gone with the process"


@pytest.mark.usefixtures("quick_compiler")
def test_kernels_that_can_be_built_nowhere_are_onnx_runtimes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkout").write_text("no folder")
    monkeypatch.setattr(kernels.tempfile, "mkdtemp", refuse)
    lines: list[str] = []
    assert choose_kernels("auto", tmp_path, lines.append).native is None
    assert lines[-1].startswith("kernels: ONNX Runtime's own, since ")
    assert f"{kernels.BUILT} cannot be written to" in lines[-1] and "No usable" in lines[-1]
    with pytest.raises(Unavailable):
        build(AVX2, quiet)


def refuse(**options: object) -> None:
    raise FileNotFoundError(2, "No usable temporary directory")


@pytest.fixture
def noexec(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Says of a folder and all below it that it is mounted noexec."""

    def make(folder: Path) -> None:
        def flags(path: Path) -> os.statvfs_result:
            flag = os.ST_NOEXEC if Path(path).is_relative_to(folder) else 0
            return os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, flag, 255))

        monkeypatch.setattr(kernels.os, "statvfs", flags)

    return make


@pytest.mark.usefixtures("quick_compiler")
def test_models_on_a_noexec_mount_get_onnx_runtimes_kernels(
    tmp_path: Path, noexec: Callable[[Path], None]
) -> None:
    (tmp_path / "output").mkdir()
    noexec(tmp_path / "output")
    lines: list[str] = []
    assert choose_kernels("auto", tmp_path / "output/models", lines.append).native is None
    reason = f"{tmp_path}/output/models is mounted noexec, so no library can be loaded from it"
    assert lines == [f"kernels: ONNX Runtime's own, since {reason}"]


@pytest.mark.usefixtures("quick_compiler")
def test_a_noexec_checkout_has_its_kernels_built_elsewhere(
    tmp_path: Path, noexec: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    noexec(tmp_path / "checkout")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(kernels.tempfile, "tempdir", None)
    lines: list[str] = []
    chosen = choose_kernels("auto", tmp_path / "output", lines.append)
    assert chosen.native and not chosen.native.library.is_relative_to(kernels.BUILT)
    assert f"kernels: {kernels.BUILT} is mounted noexec, so the next run compiles them again" in lines


@pytest.mark.usefixtures("quick_compiler")
def test_a_real_noexec_mount_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    mount = f"mount -t tmpfs -o noexec tmpfs {folder}"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root alone")
    script = f'{mount} && exec "$0" "$@"'
    for built, output in ((folder, tmp_path), (tmp_path / "built", folder)):
        command = ["unshare", "-m", "sh", "-c", script, sys.executable, "-c", BUILD, str(built), str(output)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert f"{folder} is mounted noexec" in ended.stdout
        assert ended.stdout.endswith("None\n") == (output == folder)
