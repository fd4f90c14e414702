"""Sets up the libraries that benchmarks compare kshot with, in an environment of their own: `make bench-setup`.

python -m benchmarks.setup_peers           makes .venv-bench, which borrows torch and all else from the running environment
python -m benchmarks.setup_peers --check   only says which peers are there; exit status 1 where one is missing

Installed are the lines of benchmarks/requirements-*.txt, and two that do not install as they are:
learn2learn, whose published C sources are too old for Python 3.11 and are made again from its Cython sources, and
torchmeta, which asks for a torch of 2021 and is installed without what it asks for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".venv-bench"
PYTHON = PLACE / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
PEERS = ("learn2learn", "higher", "torchopt", "easyfsl", "torchmeta", "jax", "optax")
"""What benchmarks/engine.py compares with, by module name."""

LEARN2LEARN = "learn2learn==0.2.0"
ALONE = ("torchmeta==1.8.0", "ordered-set", "h5py", "gym==0.26.2", "gym-notices", "qpth==0.0.18")
"""Installed without what they ask for; scipy, requests and tqdm come with the rest."""

_TRY = f"""
import importlib, torchvision.datasets.utils as u
u._get_confirm_token = u._save_response_content = None  # torchmeta's downloads need them; torchvision dropped them
found = []
for name in {PEERS}:
    try:
        importlib.import_module(name)
    except Exception:
        continue
    found.append(name)
print("there:", *found)
"""
"""Prints the peers that can be imported."""


def pip(*words: str) -> None:
    """pip of the environment of peers; its output is shown, and a failure ends the program."""
    done = subprocess.run([str(PYTHON), "-m", "pip", "--disable-pip-version-check", *words])
    if done.returncode:
        sys.exit(f"pip {' '.join(words)} failed with status {done.returncode}; the peers are not complete")


def make_environment() -> None:
    """An empty environment that sees the packages of the running one, so that torch is the very same."""
    if not PYTHON.exists():
        venv.EnvBuilder(with_pip=True).create(PLACE)
    inside = PLACE / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (inside / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")


def install_learn2learn() -> None:
    """From its source distribution, with C made anew from Cython."""
    if "learn2learn" not in missing():
        return
    pip("install", "--quiet", "cython<3", "setuptools", "wheel")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pip("download", "--quiet", "--no-deps", "--no-binary", "learn2learn", "--no-build-isolation",
            "--dest", name, LEARN2LEARN)  # fmt: skip
        with tarfile.open(next(folder.glob("learn2learn-*.tar.gz"))) as file:
            file.extractall(folder, filter="data")
        source = next(path for path in folder.glob("learn2learn-*") if path.is_dir())
        for made in source.glob("learn2learn/data/*.c"):
            made.unlink()
        sources = [str(path) for path in source.glob("learn2learn/data/*.pyx")]
        subprocess.run([str(PYTHON), "-m", "cython", "-3", *sources], check=True)
        pip("install", "--quiet", "--no-deps", "--no-build-isolation", str(source))


def missing() -> list[str]:
    """Peers that the peers' environment cannot import. Asked of the interpreter itself, for a folder is no proof."""
    if not PYTHON.exists():
        return list(PEERS)
    done = subprocess.run([str(PYTHON), "-W", "ignore", "-c", _TRY], capture_output=True, text=True)
    there = done.stdout.split("there:")[-1].split()
    return [name for name in PEERS if name not in there]


def main() -> int:
    """Install or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="install nothing")
    if not parser.parse_args().check:
        make_environment()
        for file in sorted((ROOT / "benchmarks").glob("requirements-*.txt")):
            pip("install", "--quiet", "-r", str(file))
        pip("install", "--quiet", "--no-deps", *ALONE)
        install_learn2learn()
    lacking = missing()
    print(f"peers in {PLACE.name}: {', '.join(p for p in PEERS if p not in lacking) or 'none'}")
    if lacking:
        print(f"missing: {', '.join(lacking)}; run make bench-setup with a network")
    return int(bool(lacking))


if __name__ == "__main__":
    sys.exit(main())
