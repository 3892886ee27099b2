"""Makes .venv and installs the pinned requirements into it, once. Run by make; needs nothing but Python.

TORCH in the environment chooses PyTorch's build: cpu, the default, or cuda. `bootstrap.py peers` makes
.venv-peers instead. Written for old Pythons as well, so that one that is too old gets a clear line and no
syntax error.
"""

from __future__ import print_function

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import threading

OLDEST = (3, 11)
FILES = ("requirements.txt", "requirements-models.txt", "constraints.txt")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
INDEX_TIMEOUT_S = 3.0
# With either build of PyTorch: GB to download, and GB of disk while they are unpacked.
SIZES_GB = {"cpu": (0.6, 5), "cuda": (3.1, 13)}
# What a user may tell pip: where packages are and how to reach them. Most else that its files and PIP_* can
# say (user, target, no-binary, constraint, ...) breaks an installation into .venv.
PIP_SETTINGS = {
    "cache-dir",
    "cert",
    "client-cert",
    "default-timeout",
    "extra-index-url",
    "find-links",
    "index-url",
    "keyring-provider",
    "no-cache-dir",
    "no-index",
    "proxy",
    "retries",
    "timeout",
    "trusted-host",
    "use-feature",
}


class Failed(Exception):
    """The text is one line for the user."""


def main(arguments=()):
    # type: (list[str] | tuple[()]) -> int
    try:
        if sys.version_info < OLDEST:
            raise Failed(
                "Python %d.%d or newer is needed, this is %s; `make PYTHON=python3.12 ...` names another"
                % (OLDEST + (sys.version.split()[0],))
            )
        root = os.path.dirname(os.path.abspath(__file__))
        if list(arguments) == ["peers"]:
            make_peers(root)
        else:
            make_venv(root, os.environ.get("TORCH", ""))
    except Failed as error:
        sys.stderr.write("error: %s\n" % error)
        return 1
    return 0


def make_venv(root, build):
    # type: (str, str) -> None
    """Leaves .venv with the requirements of `root` and this build of PyTorch ("": the one it has, or cpu)."""
    if build not in ("", "cpu", "cuda"):
        raise Failed("TORCH is %r; it may be cpu or cuda" % build)
    if build == "cuda" and sys.platform != "linux":
        raise Failed("PyTorch has a CUDA build for Linux alone; leave TORCH out")
    venv = os.path.join(root, ".venv")
    # The build that .venv is made for and, once that is done, the digest of what is in it.
    marker = os.path.join(venv, "installed")
    recorded = read(marker).split()
    build = build or (recorded[0] if recorded and recorded[0] in SIZES_GB else "cpu")
    wanted = [build, digest([os.path.join(root, name) for name in FILES])]
    if recorded == wanted:
        return
    try:
        import ensurepip  # noqa: F401
        import venv as _  # noqa: F401
    except ImportError:
        raise Failed("this Python lacks venv; on Debian and Ubuntu: apt-get install python3-venv")
    if recorded and recorded[0] != build:
        print("removing .venv, which has another build of PyTorch ...", flush=True)
        shutil.rmtree(venv)
    if not os.path.exists(os.path.join(venv, "bin", "pip")):
        free_gb, needed_gb = shutil.disk_usage(root).free / 1e9, SIZES_GB[build][1]
        if free_gb < needed_gb:
            raise Failed("%.1f GB are free here and about %d GB are needed" % (free_gb, needed_gb))
        print("making .venv ...", flush=True)
        if subprocess.call([sys.executable, "-m", "venv", venv], env=clean_environment()):
            shutil.rmtree(venv, ignore_errors=True)
            raise Failed(".venv cannot be made; see above")
    write(marker, build)
    install(root, build)
    # pip would compile on one core, for half of the time that all of this takes. What does not compile is
    # never imported: some packages carry templates that are no Python yet.
    compileall = [venv_python(root), "-m", "compileall", "-q", "-j", "0", os.path.join(venv, "lib")]
    subprocess.call(compileall, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_environment())
    write(marker, " ".join(wanted))


def install(root, build):
    # type: (str, str) -> None
    environment = pip_environment(venv_python(root))
    alone = build == "cpu" and sys.platform == "linux" and answers(CPU_INDEX + "/torch/")
    if build == "cpu" and sys.platform == "linux" and not alone:
        print("%s does not answer, so pip's usual index is asked for PyTorch. PyPI has" % CPU_INDEX)
        print(
            "the CUDA build: %.1f GB to download instead of %.1f." % (SIZES_GB["cuda"][0], SIZES_GB["cpu"][0])
        )
        what = "the pinned requirements"
    else:
        what = "PyTorch's %s build and the pinned requirements: %.1f GB to download"
        what %= (build.upper(), SIZES_GB[build][0])
    print("installing %s (some minutes, once) ..." % what, flush=True)
    if alone:
        # Everything else has its own index, so nothing but torch is taken from this one. The version is the
        # constraints'; 2.0+cpu counts as newer than 2.0, which an interrupted installation may have left.
        only = dict(environment, PIP_EXTRA_INDEX_URL="", PIP_FIND_LINKS="", PIP_NO_INDEX="")
        torch = ["--no-deps", "--upgrade", "--index-url", CPU_INDEX, "-c", FILES[2], "torch"]
        if pip_install(root, only, torch):
            raise Failed(
                "torch cannot be installed from %s: %s; `make setup TORCH=cuda` asks pip's usual index"
                % (CPU_INDEX, reason(root))
            )
    for arguments in (["-r", FILES[0], "-c", FILES[2]], ["--no-deps", "-r", FILES[1]]):
        if pip_install(root, environment, arguments):
            raise Failed("the requirements cannot be installed: %s" % reason(root))


def make_peers(root):
    # type: (str) -> None
    """Leaves .venv-peers with what `make peers` measures beside; .venv must be there."""
    folder = os.path.join(root, ".venv-peers")
    shutil.rmtree(folder, ignore_errors=True)
    arguments = ["--no-deps", "--target", folder, "-r", "requirements-peers.txt"]
    if pip_install(root, pip_environment(venv_python(root)), arguments):
        raise Failed("the peers cannot be installed: %s" % reason(root))


def pip_install(root, environment, arguments):
    # type: (str, dict[str, str], list[str]) -> int
    pip = [venv_python(root), "-m", "pip", "--disable-pip-version-check", "install", "--no-compile"]
    return subprocess.call(pip + arguments, cwd=root, env=environment)


def pip_environment(python):
    # type: (str) -> dict[str, str]
    """An environment in which pip heeds PIP_SETTINGS alone, of what its files and PIP_* say."""
    environment = clean_environment()
    files = dict(environment)
    if "PIP_CONFIG_FILE" in os.environ:
        files["PIP_CONFIG_FILE"] = os.environ["PIP_CONFIG_FILE"]
    listed = subprocess.Popen(
        [python, "-m", "pip", "config", "list"], env=files, stdout=subprocess.PIPE, universal_newlines=True
    )
    settings = {}
    for line in listed.communicate()[0].splitlines():  # sorted: global.x comes before install.x
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section in ("global", "install"):
            settings[key] = ast.literal_eval(value)
    if listed.returncode:
        raise Failed("pip cannot read its configuration; see above")
    for name, value in os.environ.items():
        if name.startswith("PIP_") and value:
            settings[name[len("PIP_") :].lower().replace("_", "-")] = value
    environment["PIP_CONFIG_FILE"] = os.devnull
    for key in PIP_SETTINGS.intersection(settings):
        environment["PIP_" + key.upper().replace("-", "_")] = settings[key]
    return environment


def clean_environment():
    # type: () -> dict[str, str]
    """This process's environment without the settings of Python and of pip."""
    return {name: os.environ[name] for name in os.environ if not name.startswith(("PIP_", "PYTHON"))}


def answers(url):
    # type: (str) -> bool
    """Whether `url` can be read within INDEX_TIMEOUT_S, the look-up of its name included."""
    from urllib.request import Request, urlopen

    answered = []

    def ask():
        # type: () -> None
        try:
            urlopen(Request(url, method="HEAD"), timeout=INDEX_TIMEOUT_S).close()
            answered.append(True)
        except Exception:  # no network, a proxy that refuses, a certificate nobody knows, ...
            pass

    # Looking up a name has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(INDEX_TIMEOUT_S)
    return bool(answered)


def reason(root):
    # type: (str) -> str
    return "the disk is full" if shutil.disk_usage(root).free < 1e8 else "see above"


def venv_python(root):
    # type: (str) -> str
    return os.path.join(root, ".venv", "bin", "python")


def read(path):
    # type: (str) -> str
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        return file.read()


def write(path, text):
    # type: (str, str) -> None
    with open(path, "w") as file:
        file.write(text)


def digest(paths):
    # type: (list[str]) -> str
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            total.update(file.read())
    return total.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
