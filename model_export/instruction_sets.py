"""The instructions that kernels/ can be compiled for, and the form in which each needs the weights."""

from dataclasses import dataclass


@dataclass(frozen=True)
class InstructionSet:
    """One set: `flags` as Linux and, without underscores, the compiler's -m options name them.

    `panel` outputs of a weight lie together (kPanel of kernels/products.h), and products of two times `fours`
    codes are added in 16 bits (kFours), for which weights must leave room; 0: none are.
    """

    title: str
    flags: tuple[str, ...]
    panel: int
    fours: int

    @property
    def options(self) -> list[str]:
        return [f"-m{flag.replace('_', '')}" for flag in self.flags]


AVX512_VNNI = InstructionSet(
    "AVX-512 VNNI", ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "fma"), 64, 0
)
AVX2 = InstructionSet("AVX2", ("avx2", "fma", "f16c"), 16, 4)
# The fastest first.
INSTRUCTION_SETS = (AVX512_VNNI, AVX2)
