"""The service without HTTP: teach, predict, add, remove, forget, explain, check, rebase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kshot import storage
from kshot.exporting import onnx_bytes
from kshot.learners import Adapted
from kshot.learners.records import task_record
from kshot.serving.answering import Answering, Asked
from kshot.serving.changing import Changing
from kshot.serving.faults import Conflict, NotFound
from kshot.serving.inputs import name_of
from kshot.serving.solving import space_left
from kshot.serving.states import worth_keeping

__all__ = ["Asked", "Service", "space_left"]


class Service(Answering, Changing):
    """Models of tenants over bases by name.

    Args:
        store: where models stay. bases: what a request may name as `base`.
        limits: how much a request may hold; from the environment if not given.
    """

    def forget(
        self, tenant: str, model: str, ids: Sequence[str], *, match: int | None = None
    ) -> dict[str, Any]:
        """Leave nothing of examples, in no version and no file."""
        self._match(tenant, model, match)
        self.store.forget(tenant, model, [_number(model, name) for name in ids], space_left)
        self.tasks.drop(tenant, model)
        return self.show(tenant, model)

    def _match(self, tenant: str, model: str, match: int | None) -> None:
        """Raise NotFound where there is no such model, Conflict where it is at another version."""
        version = self.store.head(tenant, model)[0]
        if match is not None and match != version:
            raise Conflict(f"model {model} is at version {version}, not {match}; read it again")

    def delete(self, tenant: str, model: str, *, match: int | None = None) -> None:
        """Delete a model and all that was stored of it."""
        self._match(tenant, model, match)
        self.store.drop(tenant, model)
        self.tasks.drop(tenant, model)

    def rename(self, tenant: str, model: str, name: str, *, match: int | None = None) -> dict[str, Any]:
        """Give a model another name. Raises NotFound, Conflict."""
        self._match(tenant, model, match)
        self.store.rename(tenant, model, name_of(name, self.limits))
        return self.show(tenant, model)

    def bundle(self, tenant: str, model: str) -> bytes:
        """The newest version as a .kshot file with its base inside, for `kshot.load`."""
        task, number = self.task(tenant, model, None)
        whole = self.guarded(tenant, self.store.version(tenant, model, number), task)
        return storage.pack(*task_record(whole, include_base=True))

    def onnx(self, tenant: str, model: str) -> bytes:
        """The newest version as an ONNX file. Raises UnsupportedError where no graph of it can be written."""
        task = self.task(tenant, model, None)[0]
        if not worth_keeping(task.learner):  # what was kept of a state answers quickly, but not as a graph
            task = Adapted.of_embedded(
                task.learner, task.space, task.inputs, task.targets, task.ids, task.embedded
            )
        return onnx_bytes(task)

    def example(self, tenant: str, model: str, example: str) -> dict[str, Any]:
        """An example of the newest version, with its input as it would be posted. Raises NotFound."""
        stored = self.store.version(tenant, model)
        version, number = stored.version, _number(model, example)
        guards = {n: label for n, label, _ in self._golden(tenant, stored)}
        if number not in version.numbers and number not in guards:
            raise NotFound(f"example {example!r} is not in version {version.version} of model {model}")
        value = self.tasks.base(version.base).encoder.to_json(self.store.inputs(tenant, model, [number])[0])
        if number in guards:
            return {"id": example, "label": guards[number], "input": value, "golden": True}
        return {"id": example, "label": stored.labels[version.numbers.index(number)], "input": value}

    def models(self, tenant: str, after: str = "", limit: int = 50) -> dict[str, Any]:
        """A page of models; `cursor` leads to the next, None: there is none."""
        found = self.store.models(tenant, after, limit + 1)
        return {"models": found[:limit], "cursor": found[limit - 1]["id"] if len(found) > limit else None}


def _number(model: str, name: str) -> int:
    if not (name[:1] == "e" and name[1:].isdecimal() and len(name) < 12):
        raise NotFound(f"example {name[:40]!r} is not in model {model}")
    return int(name[1:])
