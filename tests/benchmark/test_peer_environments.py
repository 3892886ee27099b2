"""The environments of peers/ and deploy/ see the packages of .venv, whoever makes them."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from checkout import ROOT

from peers.environments import SHARED, shared_packages


def test_the_packages_of_venv_are_shared() -> None:
    assert (Path(shared_packages().strip()) / "pydantic_settings").is_dir()


def test_a_wrong_path_is_a_usage_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.txt", Path("/etc/hosts")):
        command = [sys.executable, "-m", "peers.environments", str(path)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr


def test_an_environment_made_from_another_shares_the_same(tmp_path: Path) -> None:
    venv.create(tmp_path, symlinks=True)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path)}))
    (own / SHARED).write_text(shared_packages())
    program = "from peers.environments import shared_packages; print(shared_packages(), end='')"
    command = [tmp_path / "bin" / "python", "-c", program]
    printed = subprocess.check_output(command, cwd=ROOT, text=True)
    assert printed == shared_packages()
