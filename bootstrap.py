"""Makes .venv and installs the pinned requirements into it, once. Run by make; needs nothing but Python.

Written for old Pythons as well, so that one that is too old gets a clear line and no syntax error.
"""

import hashlib
import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)
NEEDED_GB = 5
FILES = ("requirements.txt", "requirements-models.txt", "constraints.txt")


def main():
    # type: () -> int
    if sys.version_info < OLDEST:
        return fail(
            "Python %d.%d or newer is needed, this is %s; `make PYTHON=python3.12 ...` names another"
            % (OLDEST + (sys.version.split()[0],))
        )
    root = os.path.dirname(os.path.abspath(__file__))
    venv = os.path.join(root, ".venv")
    marker = os.path.join(venv, "installed")
    wanted = digest([os.path.join(root, name) for name in FILES])
    if os.path.exists(marker):
        with open(marker) as file:
            if file.read() == wanted:
                return 0
    try:
        import ensurepip  # noqa: F401
        import venv as _  # noqa: F401
    except ImportError:
        return fail("this Python lacks venv; on Debian and Ubuntu: apt-get install python3-venv")
    free_gb = shutil.disk_usage(root).free / 1e9
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python):
        if free_gb < NEEDED_GB:
            return fail("%.1f GB are free here and about %d GB are needed" % (free_gb, NEEDED_GB))
        print("making .venv ...", flush=True)
        if subprocess.call([sys.executable, "-m", "venv", venv]):
            shutil.rmtree(venv, ignore_errors=True)
            return fail(".venv cannot be made; see above")
    print("installing the pinned requirements into .venv (some minutes, once) ...", flush=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install"]
    for arguments in (
        ["-r", FILES[0], "-c", FILES[2]],
        ["--no-deps", "-r", FILES[1]],
    ):
        if subprocess.call(pip + ["--no-compile"] + arguments, cwd=root):
            reason = "the disk is full" if shutil.disk_usage(root).free < 1e8 else "see above"
            return fail("the requirements cannot be installed: %s" % reason)
    # pip would compile on one core, for half of the time that all of this takes. What does not compile is
    # never imported: some packages carry templates that are no Python yet.
    compileall = [python, "-m", "compileall", "-q", "-j", "0", os.path.join(venv, "lib")]
    subprocess.call(compileall, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(marker, "w") as file:
        file.write(wanted)
    return 0


def digest(paths):
    # type: (list[str]) -> str
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            total.update(file.read())
    return total.hexdigest()


def fail(message):
    # type: (str) -> int
    sys.stderr.write("error: %s\n" % message)
    return 1


if __name__ == "__main__":
    sys.exit(main())
