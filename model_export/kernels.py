"""The native kernels: whether this machine prepares models for them, and the library they are built into.

They are C++ in kernels/, compiled for the best instruction set that the CPU has, and loaded by ONNX Runtime
as a library of operators. Where there is no such CPU or no compiler, models are prepared for ONNX Runtime's.
"""

import atexit
import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dynamic_batching.runtime.onnx_files import cpu_flags
from dynamic_batching.web.model_files import KERNELS_FILE
from model_export.errors import PreparationError
from model_export.instruction_sets import AMX, INSTRUCTION_SETS, InstructionSet
from model_export.precision import is_float32

KernelChoice = Literal["auto", "native", "onnxruntime"]
SOURCES = Path(__file__).resolve().parent.parent / "kernels"
BUILT = SOURCES.parent / ".cache" / "kernels"
# Neither -march=native nor -ffast-math: what is computed does not depend on where it was compiled.
FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-s")
COMPILER_TIMEOUT_S = 300
Say = Callable[[str], None]


class Unavailable(Exception):
    """The native kernels cannot be used or had here; the text is the reason, as a clause."""


class BuildFailed(Unavailable):
    """There is a compiler, and it makes no library of them that loads."""


@dataclass(frozen=True)
class Native:
    """The library that was made from kernels/ for an instruction set."""

    library: Path
    instructions: InstructionSet
    sources_sha256: str


@dataclass(frozen=True)
class Kernels:
    """What the layers and attention of graphs run on: the native ones, else ONNX Runtime's own."""

    native: Native | None

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of an artefact that is made for these kernels."""
        if self.native is None:
            return {"kernels": "onnxruntime"}
        return {
            "kernels": "native",
            "kernels_sha256": self.native.sources_sha256,
            "cpu_flags": list(self.native.instructions.flags),
        }

    @property
    def instructions(self) -> InstructionSet | None:
        """What the native kernels are compiled for."""
        return None if self.native is None else self.native.instructions

    def match(self, artefact: dict[str, Any]) -> bool:
        """Whether an artefact of the manifest was made for these kernels, or is in float32 and needs none."""
        return self.facts.items() <= artefact.items() or is_float32(artefact)

    def copy_to(self, folder: Path) -> None:
        """Puts the library beside an artefact's graphs, which makes it one of the artefact's files."""
        if self.native is not None:
            shutil.copy(self.native.library, folder / KERNELS_FILE)


def choose_kernels(choice: KernelChoice, folder: Path, say: Say) -> Kernels:
    """The kernels to prepare models in `folder` for, built if need be; one line says which and why.

    Raises:
        PreparationError: `choice` is native, which cannot be had here.
    """
    if choice == "onnxruntime":
        say("kernels: ONNX Runtime's own")
        return Kernels(None)
    try:
        instructions = best_instructions()
        if is_noexec(folder):
            raise Unavailable(f"{folder.resolve()} is mounted noexec, so no library loads from there")
        native = Native(build(instructions, say), instructions, sources_sha256())
    except Unavailable as reason:
        if choice == "native":
            raise PreparationError(
                f"--kernels native: {reason}; --kernels onnxruntime needs neither"
            ) from None
        say(f"kernels: ONNX Runtime's own, since {reason}")
        return Kernels(None)
    say(f"kernels: native ({instructions.title})")
    return Kernels(native)


def best_instructions() -> InstructionSet:
    """The fastest instruction set that this CPU has.

    Raises:
        Unavailable: it has none that the kernels can be compiled for.
    """
    for instructions in INSTRUCTION_SETS:
        if {*instructions.flags} <= cpu_flags() and (instructions is not AMX or tiles_allowed()):
            return instructions
    missing = [flag for flag in INSTRUCTION_SETS[-1].flags if flag not in cpu_flags()]
    raise Unavailable(f"this CPU has no {', '.join(missing)}")


def tiles_allowed() -> bool:
    """Whether Linux lets this process use AMX's tiles: systems in a sandbox may have them and not.

    Source: Documentation/arch/x86/xstate.rst of the kernel.
    """
    arch_prctl, request_feature, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request_feature, tile_data) == 0


def build(instructions: InstructionSet, say: Say) -> Path:
    """The library of SOURCES for `instructions`, from BUILT where the same compiler has made it before.

    Raises:
        Unavailable: there is no compiler, it fails, or ONNX Runtime does not load what it made.
    """
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    name = shutil.which(compiler[0])
    if name is None:
        raise Unavailable(f"there is no C++ compiler ({compiler[0]}; CXX names another)")
    origin = f"{sources_sha256()} {name} {compiler[1:]} {instructions.options}"
    digest = hashlib.sha256(origin.encode()).hexdigest()[:16]
    library = BUILT / f"{digest}.so"
    if os.access(library, os.R_OK) and not is_noexec(BUILT):
        return library
    say(f"kernels: compiling for {instructions.title} with {compiler[0]} (some seconds, once)")
    folder = build_folder(say)
    library = folder / library.name
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / KERNELS_FILE
        command = [
            *compiler,
            *FLAGS,
            *instructions.options,
            *sorted(map(str, SOURCES.glob("*.cpp"))),
            "-o",
            str(made),
        ]
        run_compiler(command)
        require_loadable(made)
        made.replace(library)
    return library


def build_folder(say: Say) -> Path:
    """BUILT, or a folder for this process alone, with a line that says why, where no library can be in BUILT.

    Raises:
        Unavailable: there can be none anywhere.
    """
    try:
        BUILT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=BUILT):
            pass
        problem = "is mounted noexec" if is_noexec(BUILT) else ""
    except OSError as error:
        problem = f"cannot be written to ({error.strerror})"
    if not problem:
        return BUILT
    try:
        folder = Path(tempfile.mkdtemp(prefix="inference-gap-kernels-"))
    except OSError as error:
        raise Unavailable(f"{BUILT} {problem}, nor can a temporary folder be ({error.strerror})") from None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    say(f"kernels: {BUILT} {problem}, so the next run compiles them again")
    return folder


def is_noexec(folder: Path) -> bool:
    """Whether the file system that `folder` is or would be on maps no code, and so no library."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    return bool(os.statvfs(place).f_flag & getattr(os, "ST_NOEXEC", 0))


def run_compiler(command: list[str]) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=COMPILER_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]} could not be run ({type(error).__name__})") from None
    if ended.returncode:
        lines = [line.strip() for line in ended.stderr.splitlines() if "error" in line] or ["no message"]
        raise BuildFailed(f"{command[0]} could not compile them ({lines[0]})")


def require_loadable(library: Path) -> None:
    # Asked only once a library was made: what is whole already needs no ONNX Runtime.
    import onnxruntime

    try:
        onnxruntime.SessionOptions().register_custom_ops_library(str(library))
    except Exception as error:  # ONNX Runtime raises classes of its own, which share no base but this
        reason = str(error).splitlines()[0]
        raise BuildFailed(f"ONNX Runtime does not load what the compiler made ({reason})") from None


def sources_sha256() -> str:
    """A digest of all that the library is made from but the compiler."""
    digest = hashlib.sha256(repr(FLAGS).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
