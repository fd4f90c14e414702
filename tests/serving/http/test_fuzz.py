"""F9: ten minutes of requests that the description allows, and of some that it does not: no 5xx, no hang."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from serving_here import served

import kshot
from kshot.serving.http import create_app
from kshot.serving.limits import Limits
from kshot.serving.service import Service
from kshot.serving.store import Store

SECONDS = int(os.environ.get("KSHOT_FUZZ_SECONDS", "600"))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_no_request_breaks_the_server(tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="pip install schemathesis")
    bases = {
        "rows": kshot.learners.ProtoNet(kshot.encoders.identity(2)),
        "words": kshot.text.classifier("hash:ngram?dim=64"),
        "pixels": kshot.learners.ProtoNet(kshot.encoders.Pixels()),
    }
    service = Service(Store.at(tmp_path), bases, limits=Limits())
    # a model that generated requests find: the description names it as an example
    examples = [{"input": [0.0, 0.0], "label": "x"}, {"input": [1.0, 1.0], "label": "y"}]
    model = service.teach("local", "rows", examples)["id"]
    app = create_app(service, keys=False)
    for about in app.openapi()["paths"].values():  # type: ignore[attr-defined]
        for verb in about.values():
            for parameter in verb.get("parameters", ()):
                if parameter["name"] == "model":
                    parameter["schema"] = {"type": "string", "enum": [model, "m_" + "a" * 26]}
    with served(app) as (port, _):
        words = [
            "run", f"http://127.0.0.1:{port}/openapi.json", "--max-time", str(SECONDS), "--continue-on-failure",
            "--checks", "not_a_server_error,content_type_conformance", "--request-timeout", "30", "--max-examples", "2000",
            "--seed", "1", "--generation-database", "none", "--no-color", "--exclude-operation-id", "drop_v1_models__model__delete",
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from schemathesis.cli import schemathesis; schemathesis()", *words],
            capture_output=True, text=True, timeout=SECONDS + 240, cwd=tmp_path, check=False,
        )  # fmt: skip
    asked = {s.labels["code"]: 0.0 for m in service.observed.requests.collect() for s in m.samples}
    for metric in service.observed.requests.collect():
        for sample in metric.samples:
            asked[sample.labels["code"]] += sample.value if sample.name.endswith("_total") else 0
    service.close()
    (tmp_path / "report.txt").write_text(done.stdout + done.stderr)
    sys.stdout.write(f"requests by status: {asked}\n{done.stdout[-3000:]}")
    assert sum(asked.values()) > SECONDS, asked
    assert not [code for code in asked if code.startswith("5")], asked
    assert asked.get("200", 0) > 10, asked
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
