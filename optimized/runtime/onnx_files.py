"""The files of a model in ONNX, and whether this CPU can run the kernels that it was made for."""

from pathlib import Path

from ..web.model_files import KERNELS_FILE, ModelFiles, ModelFilesError, find_model_files


def find_onnx_files(models_dir: Path, task: str) -> ModelFiles:
    """The model of `task`; ModelFilesError where there is none, or this CPU cannot run its kernels."""
    files = find_model_files(models_dir, f"{task}/onnx")
    missing = sorted({*files.facts["cpu_flags"]} - cpu_flags()) if kernel_library(files) else []
    if missing:
        raise ModelFilesError(
            f"{models_dir} was prepared for a CPU with {', '.join(missing)}, which this one lacks; "
            f"`python optimize_model.py --kernels onnxruntime --output {models_dir}` prepares models for any"
        )
    return files


def kernel_library(files: ModelFiles) -> Path | None:
    """The library of operators that the graphs need besides ONNX Runtime's own, if they do."""
    return files.folder / KERNELS_FILE if files.facts.get("kernels") == "native" else None


def cpu_flags() -> set[str]:
    """The instruction sets of this CPU as Linux names them; none on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
