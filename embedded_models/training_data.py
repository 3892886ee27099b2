"""The files of training and measuring: parallel or labelled text in, a new folder out, whole or not."""

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHOWN_CHARACTERS = 60


class InputError(Exception):
    """A file or an option that the user gave cannot be used; the text is one line that says which and why."""


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, stripped; a name that ends in .gz is unpacked on the way."""
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8") as file
        ):
            lines = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason})") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not lines:
        raise InputError(f"{path}: the file is empty")
    return lines


def read_parallel(source: Path, target: Path) -> list[tuple[str, str]]:
    """Sentence pairs from two files with one sentence a line, the same number of lines in both."""
    sources, targets = read_lines(source), read_lines(target)
    if len(sources) != len(targets):
        raise InputError(
            f"{source} has {len(sources)} lines but {target} has {len(targets)}: "
            "line n of one must be the translation of line n of the other"
        )
    for path, lines in ((source, sources), (target, targets)):
        if "" in lines:
            raise InputError(f"{path}, line {lines.index('') + 1}: empty, expected a sentence")
    return list(zip(sources, targets, strict=True))


def read_labelled(path: Path) -> list[tuple[str, int]]:
    """Labelled texts from a .tsv: a header line, then a 0 (negative) or 1 (positive), a tab, a text."""
    header, *lines = read_lines(path)
    if not header.startswith("label\t"):
        raise InputError(
            f"{path}, line 1: expected a header that starts with 'label' and a tab, found {shown(header)}"
        )
    if not lines:
        raise InputError(f"{path}: no rows after the header line")
    rows = []
    for number, line in enumerate(lines, start=2):
        label, *texts = line.split("\t")
        if label not in ("0", "1") or len(texts) != 1:
            raise InputError(
                f"{path}, line {number}: expected 0 or 1, one tab and a text, found {shown(line)}"
            )
        rows.append((texts[0].strip(), int(label)))
    return rows


def shown(line: str) -> str:
    """A line as an error message can carry it: quoted, and short enough to read."""
    return repr(line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + "...")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A temporary folder beside `output` that takes its name if the block ends well, and else goes away."""
    if output.exists():
        raise InputError(
            f"{output}: exists already; name another folder with --output, or move this one away"
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror})") from error
    try:
        yield temporary
        # mkdtemp makes it private to its owner, which a model folder need not be.
        temporary.chmod(0o755)
        temporary.rename(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
