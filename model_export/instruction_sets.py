"""The instruction sets that kernels/ can be compiled for, and the weight layout that each needs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class InstructionSet:
    """One set: `flags` as Linux names them, and `macros` for the compiler.

    A weight is stored in panels of `panel` outputs (kPanel of kernels/products.h). Where `fours` is not 0,
    products of two times `fours` codes are added in 16 bits (kFours), which bounds the weights' codes.
    """

    title: str
    flags: tuple[str, ...]
    panel: int
    fours: int
    macros: tuple[str, ...] = ()

    @property
    def options(self) -> list[str]:
        """Compiler options: the flag avx512_vnni is -mavx512vnni, amx_int8 is -mamx-int8."""
        names = (flag.replace("_", "-" if flag.startswith("amx") else "") for flag in self.flags)
        return [*(f"-m{name}" for name in names), *(f"-D{macro}" for macro in self.macros)]


AVX512_VNNI = InstructionSet(
    "AVX-512 VNNI", ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "fma"), 64, 0
)
AMX = InstructionSet("AMX", (*AVX512_VNNI.flags, "amx_tile", "amx_int8"), 32, 0)
AVX2 = InstructionSet("AVX2", ("avx2", "fma", "f16c"), 16, 4)
# The fastest first.
INSTRUCTION_SETS = (AMX, AVX512_VNNI, AVX2)
