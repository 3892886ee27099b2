"""Chooses and builds the native kernels: C++ in kernels/, compiled for the CPU's best instruction set.

ONNX Runtime loads them as a library of operators. Without such a CPU or a compiler, models are prepared for
ONNX Runtime's own kernels.
"""

import atexit
import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dynamic_batching.runtime.onnx_files import cpu_flags
from dynamic_batching.web.model_files import KERNELS_FILE
from model_export.errors import PreparationError
from model_export.instruction_sets import AMX, INSTRUCTION_SETS, InstructionSet
from model_export.precision import is_float32
from model_export.progress import PrintLine

KernelChoice = Literal["auto", "native", "onnxruntime"]
SOURCES = Path(__file__).resolve().parent.parent / "kernels"
BUILT = SOURCES.parent / ".cache" / "kernels"
# Neither -march=native nor -ffast-math: results do not depend on the machine that compiled.
FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-s")
COMPILER_TIMEOUT_S = 300


class Unavailable(Exception):
    """The native kernels cannot be built or used here; the text is the reason, as a clause."""


class BuildFailed(Unavailable):
    """The compiler fails, or ONNX Runtime cannot load the library."""


@dataclass(frozen=True)
class Native:
    """The library built from kernels/ for one instruction set."""

    library: Path
    instructions: InstructionSet
    sources_sha256: str


@dataclass(frozen=True)
class Kernels:
    """The kernels that graphs run on: the native ones, else ONNX Runtime's own."""

    native: Native | None

    @property
    def facts(self) -> dict[str, Any]:
        """The manifest's entries for an artefact that needs these kernels."""
        if self.native is None:
            return {"kernels": "onnxruntime"}
        return {
            "kernels": "native",
            "kernels_sha256": self.native.sources_sha256,
            "cpu_flags": list(self.native.instructions.flags),
        }

    @property
    def instructions(self) -> InstructionSet | None:
        """The instruction set of the native kernels; None without them."""
        return None if self.native is None else self.native.instructions

    def match(self, artefact: dict[str, Any]) -> bool:
        """Whether an artefact was prepared for these kernels, or is in float32 and needs none."""
        return self.facts.items() <= artefact.items() or is_float32(artefact)

    def copy_to(self, folder: Path) -> None:
        """Copies the library into an artefact's folder."""
        if self.native is not None:
            shutil.copy(self.native.library, folder / KERNELS_FILE)


def choose_kernels(choice: KernelChoice, folder: Path, print_line: PrintLine) -> Kernels:
    """The kernels to prepare models in `folder` for, built if needed; prints which and why.

    Raises:
        PreparationError: `choice` is native, which is not available here.
    """
    if choice == "onnxruntime":
        print_line("kernels: ONNX Runtime's own")
        return Kernels(None)
    try:
        instructions = best_instructions()
        if is_noexec(folder):
            raise Unavailable(f"{folder.resolve()} is mounted noexec, so no library can be loaded from it")
        native = Native(build(instructions, print_line), instructions, sources_sha256())
    except Unavailable as reason:
        if choice == "native":
            raise PreparationError(
                f"--kernels native: {reason}; --kernels onnxruntime runs on any CPU without a compiler"
            ) from None
        print_line(f"kernels: ONNX Runtime's own, since {reason}")
        return Kernels(None)
    print_line(f"kernels: native ({instructions.title})")
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
    """Whether Linux lets this process use AMX's tiles, which a sandbox may forbid.

    Source: Documentation/arch/x86/xstate.rst of the kernel.
    """
    arch_prctl, request_feature, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request_feature, tile_data) == 0


def build(instructions: InstructionSet, print_line: PrintLine) -> Path:
    """The library of SOURCES for `instructions`, from BUILT where this compiler has built it before.

    Raises:
        Unavailable: there is no compiler, it fails, or ONNX Runtime cannot load the library.
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
    print_line(f"kernels: compiling for {instructions.title} with {compiler[0]} (some seconds, once)")
    folder = build_folder(print_line)
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


def build_folder(print_line: PrintLine) -> Path:
    """BUILT, or with a line on the reason a temporary folder of this process.

    Raises:
        Unavailable: no folder can be written to.
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
        raise Unavailable(f"{BUILT} {problem}, nor can a temporary folder ({error.strerror})") from None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    print_line(f"kernels: {BUILT} {problem}, so the next run compiles them again")
    return folder


def is_noexec(folder: Path) -> bool:
    """Whether the file system of `folder`, or of its nearest existing parent, is mounted noexec."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    return bool(os.statvfs(place).f_flag & getattr(os, "ST_NOEXEC", 0))


def run_compiler(command: list[str]) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=COMPILER_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]} could not be run ({type(error).__name__})") from None
    if ended.returncode:
        lines = [line.strip() for line in ended.stderr.splitlines() if "error" in line] or ["no message"]
        raise BuildFailed(f"{command[0]} could not compile kernels/ ({lines[0]})")


def require_loadable(library: Path) -> None:
    # Imported only after a build: models that are up to date need no ONNX Runtime.
    import onnxruntime

    try:
        onnxruntime.SessionOptions().register_custom_ops_library(str(library))
    except Exception as error:  # ONNX Runtime's own classes share no other base
        reason = str(error).splitlines()[0]
        raise BuildFailed(f"ONNX Runtime cannot load the compiled library ({reason})") from None


def sources_sha256() -> str:
    """A digest of the sources and compiler flags."""
    digest = hashlib.sha256(repr(FLAGS).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
