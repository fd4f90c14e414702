"""What a service can tell and learn beside teaching itself: versions, examples, feedback, what to label next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kshot.errors import DataError
from kshot.serving.faults import TooLarge
from kshot.serving.inputs import decoded
from kshot.serving.service import Service
from kshot.trust import next_to_label


def versions(service: Service, tenant: str, model: str, cursor: str = "", limit: int = 50) -> dict[str, Any]:
    """A page of versions, the newest first; `cursor` is the last number of the page before."""
    service.store.head(tenant, model)
    before = _number(cursor, "v") if cursor else 2**31
    found = service.store.outline(tenant, model, before, limit + 1)
    page = [{"version": v.version, "base": v.base, "n_examples": len(v.numbers)} for v in found[:limit]]
    return {"versions": page, "cursor": f"v{page[-1]['version']}" if len(found) > limit else None}


def examples(service: Service, tenant: str, model: str, cursor: str = "", limit: int = 50) -> dict[str, Any]:
    """A page of the newest version's examples, in their order; `cursor` is the place to go on at."""
    task, number = service.tasks.get(tenant, model, None)
    start = _number(cursor, "p") if cursor else 0
    rows = list(zip(task.ids, task.targets, strict=True))
    page = [{"id": name, "label": label} for name, label in rows[start : start + limit]]
    more = start + limit < len(rows)
    return {"examples": page, "version": number, "cursor": f"p{start + limit}" if more else None}


def _number(cursor: str, letter: str) -> int:
    if not cursor.startswith(letter) or not cursor[1:].isdecimal():
        raise DataError(f"cursor is {cursor!r}; send the one that came with the page before")
    return int(cursor[1:])


def feedback(
    service: Service,
    tenant: str,
    model: str,
    said: Mapping[str, Any],
    *,
    match: int | None = None,
    key: str | None = None,
) -> dict[str, Any]:
    """Learn from what was said of an answer.

    A right label (`label`), or that the answer was right (`answer` with `good` true), is an example, and is added
    as one. That it was wrong without the right one teaches nothing: the best other guesses are told, to ask with.

    Raises:
        DataError: neither of the two was said.
    """
    label, answer, good = said.get("label"), said.get("answer"), said.get("good")
    right = label if label is not None else answer if good else None
    if right is not None:
        service.observed.feedback.labels("label" if label is not None else "good").inc()
        told = service.add(tenant, model, [{"input": said["input"], "label": right}], match=match, key=key)
        return {**told, "learned": True}
    if good is not False:
        raise DataError(
            f"feedback has label {label!r}, answer {answer!r}, good {good!r}; send the right label, or the answer "
            "that was given with good true or false"
        )
    service.observed.feedback.labels("bad").inc()
    found = service.predict(tenant, model, [said["input"]])
    chances = found["predictions"][0].get("probabilities", {})
    others = sorted((c for c in chances if c != str(answer)), key=lambda c: -chances[c])
    return {"learned": False, "version": found["version"], "perhaps": others[:5]}


def label_next(service: Service, tenant: str, model: str, inputs: list[Any], count: int) -> dict[str, Any]:
    """Which of these inputs to label first, see `kshot.trust.next_to_label`.

    Raises:
        TooLarge: too many inputs. UnsupportedError: answers are no classes.
    """
    if len(inputs) > service.limits.pool:
        raise TooLarge(f"{len(inputs)} inputs; a pool holds at most {service.limits.pool}")
    task, number = service.tasks.get(tenant, model, None)
    pool = decoded(task.learner.encoder, inputs, service.limits)
    found = next_to_label(task, pool, count=min(count, len(inputs)))
    told = [
        {
            "place": s.place, "guess": s.guess, "probability": s.probability, "rival": s.rival,
            "rival_probability": s.rival_probability, "unknown": s.unknown, "stands_for": s.stands_for,
            "reason": s.reason,
        }
        for s in found
    ]  # fmt: skip
    return {
        "suggestions": told, "skipped": list(found.skipped), "expected_error": found.expected_error, "version": number,
    }  # fmt: skip
