"""A whole store moved to a better base: one model after the other, resumable, with what it gained and lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kshot.errors import KshotError, UserError
from kshot.learners import Adapted
from kshot.serving.faults import Conflict, NotFound, ServingError
from kshot.serving.service import Service
from kshot.tasks.spaces import Classes

_PAGE = 256
_READAPTS = 60
"""Examples up to which a learner without a formula is asked without each of them."""


@dataclass(frozen=True)
class RebaseReport:
    """What moving a store did, over all runs that wrote the same report.

    Attributes:
        moved, failed: models. judged: examples that could be left out and asked on both bases.
        before, after: of these, answered right without themselves.
        golden, golden_before, golden_after: golden examples of all models, and how many are right on the two bases.
        better, worse: models that answer more, or fewer, of their own examples right.
        worst: up to 20 of the worse, (tenant, model, judged, right before, right after).
        faults: up to 20 of the failed, (tenant, model, why).
    """

    moved: int
    failed: int
    judged: int
    before: int
    after: int
    golden: int
    golden_before: int
    golden_after: int
    better: int
    worse: int
    worst: list[tuple[str, str, int, int, int]]
    faults: list[tuple[str, str, str]]

    def __str__(self) -> str:
        if not self.judged:
            return f"{self.moved} models moved, {self.failed} failed; none could be judged on both bases"
        share = [100 * right / self.judged for right in (self.before, self.after)]
        return (
            f"{self.moved} models moved, {self.failed} failed; of {self.judged} examples, each asked without itself, "
            f"{share[0]:.1f} % were right before and {share[1]:.1f} % are right now; {self.better} models are better, "
            f"{self.worse} worse{self._golden()}"
        )

    def _golden(self) -> str:
        if not self.golden:
            return ""
        return (
            f"; of {self.golden} golden examples {self.golden_before} were right and {self.golden_after} are"
        )


def rebase_all(
    service: Service,
    old: str,
    new: str,
    report: Path,
    *,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> RebaseReport:
    """Give every model whose newest version is on `old` a new version on `new`.

    Stopped at any moment, it goes on where it was when it is called again: what was moved is on `new` already. Older
    versions stay as they are. A model that cannot move stays on `old` and is told.

    Args:
        old, new: names of bases; `old` is also judged where it is served with the weights it was taught on.
        report: a file that gets a line per model, before it is moved; further runs add to it.
        told: gets the number of models done and of all.

    Raises:
        NotFound: `new` is not served.
    """
    service.tasks.base(new)
    mark = service.fingerprints[new]
    total, done = service.store.count_on(old, mark), 0
    told(0, total)
    report.parent.mkdir(parents=True, exist_ok=True)
    with report.open("a", encoding="utf-8") as out:
        for tenant, model in _pending(service, old, mark):
            while not _moved(service, tenant, model, old, new, out):
                pass
            done += 1
            told(done, total)
    return read_report(report)


def _pending(service: Service, old: str, mark: str) -> Iterator[tuple[str, str]]:
    after = ""
    while page := service.store.on_base(old, mark, after, _PAGE):
        yield from page
        after = page[-1][1]


def _moved(service: Service, tenant: str, model: str, old: str, new: str, out: Any) -> bool:
    """One model; False: somebody changed it meanwhile, so again."""
    row: dict[str, Any] = {"tenant": tenant, "model": model}
    try:
        before = service.store.version(tenant, model)
        if before.version.base != old:
            return True
        task = service.moved(tenant, before, new)
        row |= _judged(service, tenant, before, task)
        _write(out, row)
        service.put_moved(tenant, before, new, task)
    except Conflict:
        return False
    except NotFound:  # deleted meanwhile
        return True
    except ServingError:
        raise
    except (KshotError, UserError) as cause:
        _write(out, {**row, "error": str(cause)})
    return True


def _judged(service: Service, tenant: str, before: Any, task: Adapted) -> dict[str, Any]:
    try:
        old = service.tasks.of(tenant, before)
    except KshotError:  # its base is not served any more
        return {}
    told: dict[str, Any] = {}
    was, now = right_without(old), right_without(task)
    if was is not None and now is not None:
        told = {"judged": was[1], "before": was[0], "after": now[0]}
    guarded = [service.guarded(tenant, before, one) for one in (old, task)]
    if all(one.golden is not None for one in guarded):
        first, then = (one.check() for one in guarded)
        told |= {"golden": first.total, "golden_before": first.right, "golden_after": then.right}
    return told


def right_without(task: Adapted) -> tuple[int, int] | None:
    """How many examples are answered right by the task without them, of how many; None: nobody can say.

    An example that is alone in its class is not asked.
    """
    if not isinstance(task.space, Classes) or (task.left_out is None and len(task) > _READAPTS):
        return None
    asked = [place for place, label in enumerate(task.targets) if list(task.targets).count(label) > 1]
    if not asked:
        return None
    given = task.leave_one_out().labels
    return sum(given[place] == task.targets[place] for place in asked), len(asked)


def _write(out: Any, row: dict[str, Any]) -> None:
    out.write(json.dumps(row) + "\n")
    out.flush()


def read_report(path: Path) -> RebaseReport:
    """The report of all runs that wrote to a file; of a model that was begun twice the last line counts."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # the last line of a process that was killed
            continue
        rows[row["tenant"], row["model"]] = row
    good = [row for row in rows.values() if "error" not in row]
    judged = [row for row in good if "judged" in row]
    worse = sorted(
        (row for row in judged if row["after"] < row["before"]), key=lambda r: r["after"] - r["before"]
    )
    bad = [row for row in rows.values() if "error" in row]
    sums = {name: sum(row[name] for row in judged) for name in ("judged", "before", "after")}
    for name in ("golden", "golden_before", "golden_after"):
        sums[name] = sum(row.get(name, 0) for row in good)
    return RebaseReport(
        moved=len(good),
        failed=len(bad),
        **sums,
        better=sum(row["after"] > row["before"] for row in judged),
        worse=len(worse),
        worst=[(r["tenant"], r["model"], r["judged"], r["before"], r["after"]) for r in worse[:20]],
        faults=[(r["tenant"], r["model"], r["error"]) for r in bad[:20]],
    )
