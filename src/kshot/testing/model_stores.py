"""The contract of a store of models, for any database: run it over your own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from kshot.errors import KshotError
from kshot.testing.claims import claim

if TYPE_CHECKING:
    from kshot.serving.packing import Block
    from kshot.serving.store import Store, Stored, Version

_PRINT, _OTHER = "f" * 64, "0" * 64
_SPACE = '{"kind": "classes", "labels": ["x", "y"]}'


def check_model_store(make: Callable[[], Store]) -> None:
    """All of MODEL_STORE_CHECKS, each on a fresh store.

    Args:
        make: a new, empty store at each call.

    Raises:
        AssertionError: a rule is broken; the sentence says which.
    """
    for check in MODEL_STORE_CHECKS:
        store = make()
        try:
            check(store)
        finally:
            store.close()


def comes_back(store: Store) -> None:
    """What was put comes back: order, labels, inputs, features, name."""
    first = _teach(store, name="näme")
    found = store.version("a", "m_1")
    claim(found.version == first, f"version {first} came back as {found.version}")
    claim(found.labels == ["x", "y", "x"], f"labels came back as {found.labels}")
    claim(
        found.features is not None and torch.equal(found.features, _features(0, 3)),
        "features came back changed",
    )
    claim(store.inputs("a", "m_1", [2, 0]) == ["text 2", "text 0"], "inputs came back changed")
    claim(store.model("a", "m_1")["name"] == "näme", "the name came back changed")
    store.rename("a", "m_1", "other")
    claim(store.model("a", "m_1")["name"] == "other", "the new name is not told")
    claim(store.version("a", "m_1", 1).version == found.version, "renaming changed a version")


def tensors_come_back(store: Store) -> None:
    """Inputs may be tensors, alike or not; a block without features has none."""
    from kshot.serving.store import Block, Version

    alike, other = [torch.rand(1, 4, 4) for _ in range(2)], [torch.ones(3), torch.zeros(0, 2)]
    for name, items in (("m_1", alike), ("m_2", other)):
        version = Version(name, 1, "base", _PRINT, _SPACE, (0, 1))
        store.put_version("a", version, Block((0, 1), ["x", "y"], items))
        back = store.inputs("a", name, [0, 1])
        claim(all(torch.equal(p, q) for p, q in zip(items, back, strict=True)), "tensors came back changed")
        claim(store.version("a", name).features is None, "features came from nowhere")


def tenants_are_apart(store: Store) -> None:
    """Another tenant finds nothing, by no method."""
    _teach(store)
    mine = store.version("a", "m_1")
    asks: list[Callable[[], Any]] = [
        lambda: store.version("b", "m_1"), lambda: store.version("b", "m_1", 1), lambda: store.model("b", "m_1"),
        lambda: store.head("b", "m_1"), lambda: store.inputs("b", "m_1", [0]), lambda: store.drop("b", "m_1"),
        lambda: store.forget("b", "m_1", [0], _same), lambda: store.rename("b", "m_1", "mine"),
        lambda: store.put_version("b", mine.version._replace(version=2), None, before=mine),
    ]  # fmt: skip
    for ask in asks:
        _refused(ask, "NotFound")
    claim(
        store.models("b", "", 9) == [] and store.versions("b", "m_1") == [],
        "another tenant is told of a model",
    )
    claim(store.version("a", "m_1").version == mine.version, "another tenant changed a model")


def versions_stand(store: Store) -> None:
    """A version stays as it is; of two who change the same version one is refused."""
    _teach(store)
    before = store.version("a", "m_1")
    _add(store, before)
    _refused(lambda: _add(store, before), "Conflict")
    newest = store.version("a", "m_1")
    claim(newest.version.numbers == (0, 1, 2, 3), f"the new version has {newest.version.numbers}")
    claim(
        newest.features is not None and torch.equal(newest.features, _features(0, 4)), "features do not fit"
    )
    claim(store.version("a", "m_1", 1).version == before.version, "an old version changed")
    claim(store.versions("a", "m_1") == [1, 2] and newest.next == 4, "versions or numbers are wrong")
    some = newest.version._replace(version=3, numbers=(3, 0))
    store.put_version("a", some, None, before=newest)
    found = store.version("a", "m_1")
    claim(found.labels == ["y", "x"], f"a version of some examples has labels {found.labels}")
    claim(
        found.features is not None and torch.equal(found.features, _features(0, 4)[[3, 0]]),
        "not their features",
    )
    _refused(lambda: store.version("a", "m_1", 9), "NotFound")


def once_for_a_key(store: Store) -> None:
    """Fifty equal requests at once with one key make one model; another request with it is refused."""
    told: list[str] = []

    def ask(n: int) -> None:
        told.append(_teach_as(store, f"m_{n}", key=("key", "request"), answer=f"answer {n}"))

    _at_once(ask, 50)
    claim(len(told) == 50 and len(set(told)) == 1, f"{len(told)} requests got {len(set(told))} answers")
    claim(store.count() == 1 and store.count("a") == 1, f"{store.count()} models were made")
    _refused(lambda: store.answered("a", "key", "another"), "KeyReused")
    claim(store.answered("b", "key", "request") is None, "another tenant is told an answer")


def all_who_add_are_kept(store: Store) -> None:
    """Eight who add at once, each until it is done: none is lost."""
    _teach(store)

    def ask(_: int) -> None:
        while True:
            try:
                _add(store, store.version("a", "m_1"))
                return
            except KshotError as cause:
                claim(type(cause).__name__ == "Conflict", f"adding raised {cause!r}")

    _at_once(ask, 8)
    claim(store.versions("a", "m_1") == list(range(1, 10)), f"versions are {store.versions('a', 'm_1')}")
    claim(store.version("a", "m_1").version.numbers == tuple(range(11)), "an example was lost")


def forgets(store: Store) -> None:
    """A forgotten example is in no version, no answer; its keys are destroyed; the rest stays."""
    from kshot.serving.schema import EXAMPLES, MODELS, SLOTS

    _teach_as(store, "m_1", key=("key", "request"), answer="says x")
    before = store.version("a", "m_1")
    _add(store, before)
    store.put_state("a", store.version("a", "m_1"), b"of all")
    store.put_features("a", "m_1", _OTHER, {n: torch.full((2,), n).half() for n in range(4)})

    def slots(connection: Any) -> dict[int, bytes]:
        return {row.slot: bytes(row.secret) for row in connection.execute(SLOTS.select())}

    old = store.database.read(slots)
    store.forget("a", "m_1", [1], _same)
    new = store.database.read(slots)
    first, second = store.version("a", "m_1", 1), store.version("a", "m_1")
    claim(
        (first.version.numbers, second.version.numbers) == ((0, 2), (0, 2, 3)),
        "a version names what is forgotten",
    )
    claim(first.labels == ["x", "x"] and second.labels == ["x", "x", "y"], "labels do not fit")
    claim(
        second.features is not None and torch.equal(second.features, _features(0, 4)[[0, 2, 3]]),
        "not the features",
    )
    claim(second.state is None, "a state that saw the example is kept")
    claim(store.inputs("a", "m_1", [0, 2, 3]) == ["text 0", "text 2", "text 3"], "other inputs were lost")
    _refused(lambda: store.inputs("a", "m_1", [1]), "NotFound")
    claim(store.answered("a", "key", "request") is None, "an idempotency answer is kept")
    used = store.database.read(
        lambda c: [*c.execute(EXAMPLES.select().with_only_columns(EXAMPLES.c.slot)).scalars(),
                   *c.execute(MODELS.select().with_only_columns(MODELS.c.slot)).scalars()]
    )  # fmt: skip
    for slot, secret in old.items():
        claim(slot in used or not any(new[slot]), f"the key in slot {slot} was not destroyed")
        claim(slot not in used or new[slot] == secret, f"the key in slot {slot} changed")
    _refused(lambda: store.forget("a", "m_1", [1], _same), "NotFound")
    _refused(lambda: store.forget("a", "m_1", [0], lambda labels, space: None), "DataError")
    claim(store.version("a", "m_1").version.numbers == (0, 2, 3), "a refused forget changed something")
    _refused(lambda: _add(store, before), "Conflict")


def drops(store: Store) -> None:
    """A deleted model leaves no row but dead keys."""
    from kshot.serving.schema import metadata

    _teach(store)
    _add(store, store.version("a", "m_1"))
    _teach_as(store, "m_2")
    store.drop("a", "m_1")
    _refused(lambda: store.version("a", "m_1"), "NotFound")
    claim(store.version("a", "m_2").labels == ["x", "y", "x"], "another model was harmed")
    for table in metadata.sorted_tables:
        if "model" in table.c:
            left = _all(store, table.select().where(table.c.model == "m_1"))
            claim(not left, f"{table.name} still holds {len(left)} rows of a deleted model")


def caches_are_caches(store: Store) -> None:
    """Features and states can be dropped and put again; half of the features are none."""
    _teach(store)
    store.put_state("a", store.version("a", "m_1"), b"state")
    claim(store.version("a", "m_1").state == b"state", "a state came back changed")
    claim(store.drop_features() == 1, "one block has features")
    claim(store.version("a", "m_1").features is None, "dropped features came back")
    store.put_features("a", "m_1", _PRINT, {0: torch.ones(4).half()})
    claim(store.version("a", "m_1").features is None, "features of one example stand for all")
    store.put_features("a", "m_1", _PRINT, {n: torch.full((4,), n).half() for n in range(3)})
    found = store.version("a", "m_1").features
    claim(
        found is not None and found[:, 0].tolist() == [0, 1, 2], "features that were put again are not told"
    )


def keeps_so_much(store: Store) -> None:
    """Sweeping keeps the newest versions and the examples they name, and answers for a while."""
    _teach_as(store, "m_1", key=("key", "request"), answer="told")
    before = store.version("a", "m_1")
    store.put_version("a", before.version._replace(version=2, numbers=(0, 1)), None, before=before)
    claim(
        store.sweep(_same) == {"answers": 0, "versions": 0, "artifacts": 0},
        "something went although all is kept",
    )
    store.keep_versions, store.keep_answers = 1, 0.0
    gone = store.sweep(_same)
    claim(gone["answers"] == 1 and gone["versions"] == 1, f"sweeping told {gone}")
    claim(store.versions("a", "m_1") == [2], "not just the newest version is left")
    claim(store.inputs("a", "m_1", [0, 1]) == ["text 0", "text 1"], "an example in use was lost")
    _refused(lambda: store.inputs("a", "m_1", [2]), "NotFound")
    claim(store.version("a", "m_1").next == 3, "a number may come twice")


def damage_is_found(store: Store) -> None:
    """A byte that changes in any sealed column is found, with the model's name, and harms no other."""
    from sqlalchemy import select, update

    from kshot.serving.schema import EXAMPLES, FEATURES, MODELS, SLOTS, STATES, VERSIONS

    _teach_as(store, "m_bad")
    _teach_as(store, "m_good")
    for name in ("m_bad", "m_good"):
        store.put_state("a", store.version("a", name), b"state")
    slot = store.head("a", "m_bad")[1]
    places = [(MODELS.c.about, MODELS.c.id == "m_bad"), (SLOTS.c.secret, SLOTS.c.slot == slot)]
    places += [(column, column.table.c.model == "m_bad") for column in (
        VERSIONS.c.body, EXAMPLES.c.labels, EXAMPLES.c.inputs, FEATURES.c.data, STATES.c.data)]  # fmt: skip
    for column, where in places:
        whole = bytes(_all(store, select(column).where(where))[0][0])
        for place in (0, len(whole) // 2, len(whole) - 1):
            bad = bytearray(whole)
            bad[place] ^= 1 << (place % 8)
            _set(store, update(column.table).where(where).values({column.name: bytes(bad)}))
            _refused(
                lambda: (store.version("a", "m_bad"), store.inputs("a", "m_bad", [0])), "Corrupt", "m_bad"
            )
            claim(store.version("a", "m_good").labels == ["x", "y", "x"], "another model was harmed")
        _set(store, update(column.table).where(where).values({column.name: whole}))
    claim(store.version("a", "m_bad").labels == ["x", "y", "x"], "the mended model does not answer")


def large_blobs_lie_outside(store: Store) -> None:
    """Large inputs are an artifact, forgotten with their example; artifacts without a row are swept when old."""
    from kshot.serving.store import Block, Version

    if store.artifacts is None:
        return
    picture = torch.randint(0, 255, (2, 3, 600, 600), dtype=torch.uint8)
    version = Version("m_1", 1, "base", _PRINT, _SPACE, (0, 1))
    store.put_version("a", version, Block((0, 1), ["x", "y"], list(picture)))
    names = list(store.artifacts.names())
    claim(len(names) == 1, f"{len(names)} artifacts lie there")
    claim(torch.equal(store.inputs("a", "m_1", [1])[0], picture[1]), "an artifact came back changed")
    store.forget("a", "m_1", [0], _same)
    left = list(store.artifacts.names())
    claim(names[0] not in left, "the artifact of a forgotten example is still there")
    claim(torch.equal(store.inputs("a", "m_1", [1])[0], picture[1]), "the other example was lost")
    store.drop("a", "m_1")
    claim(not list(store.artifacts.names()), "the artifact of a deleted model is still there")
    store.artifacts.put(b"of a process that died")
    claim(store.sweep(_same)["artifacts"] == 0, "a young artifact may be of somebody who is writing")


def lists_in_pages(store: Store) -> None:
    """Models come in the order of their ids, page by page; many can be put at once."""
    from kshot.serving.store import Version

    made = [
        (Version(f"m_{n:02d}", 1, "base", _PRINT, _SPACE, (0, 1, 2)), _block(0, 3), None) for n in range(12)
    ]
    store.put_many("a", made)
    pages = [[row["id"] for row in store.models("a", after, 5)] for after in ("", "m_04", "m_09", "m_11")]
    claim(
        pages == [[f"m_{n:02d}" for n in range(k, min(k + 5, 12))] for k in (0, 5, 10, 15)],
        f"pages are {pages}",
    )
    claim(store.version("a", "m_07").labels == ["x", "y", "x"], "what was put with others came back changed")
    _refused(lambda: store.put_many("a", made[:1]), "Conflict")


def keys_are_kept(store: Store) -> None:
    """Keys of clients: told by their hash, revoked by their beginning."""
    claim(not store.has_keys() and store.key("00") is None, "there is a key that nobody made")
    store.put_key("00", "ks_00", "a", "read")
    claim(store.has_keys() and store.key("00") == ("a", "read"), "a key came back changed")
    claim(store.revoke("ks_00") == 1 and store.key("00") is None, "a revoked key is still known")


MODEL_STORE_CHECKS: tuple[Callable[[Store], None], ...] = (
    comes_back, tensors_come_back, tenants_are_apart, versions_stand, once_for_a_key, all_who_add_are_kept, forgets, drops,
    caches_are_caches, keeps_so_much, damage_is_found, large_blobs_lie_outside, lists_in_pages, keys_are_kept,
)  # fmt: skip


def _features(first: int, end: int) -> torch.Tensor:
    return torch.arange(4.0 * first, 4.0 * end).reshape(-1, 4).half()


def _block(first: int, end: int) -> Block:
    from kshot.serving.packing import Block

    numbers = tuple(range(first, end))
    return Block(
        numbers, ["xy"[n % 2] for n in numbers], [f"text {n}" for n in numbers], _features(first, end)
    )


def _teach(store: Store, name: str = "") -> Version:
    from kshot.serving.store import Version

    version = Version("m_1", 1, "base", _PRINT, _SPACE, (0, 1, 2))
    store.put_version("a", version, _block(0, 3), name=name)
    return version


def _teach_as(store: Store, model: str, key: tuple[str, str] | None = None, answer: str = "") -> str:
    from kshot.serving.store import Version

    version = Version(model, 1, "base", _PRINT, _SPACE, (0, 1, 2))
    return store.put_version("a", version, _block(0, 3), key=key, answer=lambda: answer)


def _add(store: Store, before: Stored) -> None:
    old = before.version
    new = old._replace(version=old.version + 1, numbers=(*old.numbers, before.next))
    store.put_version("a", new, _block(before.next, before.next + 1), before=before)


def _same(labels: list[Any], space: str) -> str:
    return space


def _set(store: Store, statement: Any) -> None:
    store.database.change(lambda connection: connection.execute(statement).rowcount)


def _all(store: Store, query: Any) -> list[Any]:
    return store.database.read(lambda connection: list(connection.execute(query)))


def _at_once(ask: Callable[[int], None], count: int) -> None:
    faults: list[BaseException] = []

    def guarded(n: int) -> None:
        try:
            ask(n)
        except BaseException as cause:
            faults.append(cause)

    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claim(not faults, f"{len(faults)} of {count} at once raised, the first {faults[:1]}")


def _refused(ask: Callable[[], Any], kind: str, *words: str) -> None:
    try:
        found = ask()
    except KshotError as cause:
        claim(type(cause).__name__ == kind, f"{cause!r} was raised; {kind} was due")
        claim(all(word in str(cause) for word in words), f"{cause!r} does not name {words}")
    else:
        claim(False, f"{found!r} was returned; {kind} was due")
