"""`import kshot` imports nothing until a name is asked for; then every name and module is there, whatever came first."""

from __future__ import annotations

import subprocess
import sys

import pytest

import kshot


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_name_is_imported_when_it_is_asked_for() -> None:
    program = "import sys, kshot\nprint('torch' in sys.modules)\nkshot.fit, kshot.trust.calibrate, kshot.errors\nprint('torch' in sys.modules)"
    assert run(program).split() == ["False", "True"]
    assert set(kshot.__all__) <= set(dir(kshot))
    with pytest.raises(AttributeError, match="'kshot' has no attribute 'nothing'"):
        kshot.nothing  # noqa: B018
    with pytest.raises(ImportError):
        from kshot import nothing  # noqa: F401


@pytest.mark.parametrize(
    "first", ["kshot.bundles", "kshot.text", "kshot.control", "kshot.vision", "kshot.serving.service"]
)
def test_domains_are_known_to_whoever_opens_a_file(first: str) -> None:
    program = f"import {first}\nfrom kshot.bundles import known\nprint('hash_ngram' in known._ENCODERS, *sorted(known._OPENERS))"
    assert run(program) == "True answers router"
