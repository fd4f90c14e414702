"""Reading everything of a store, to name what is damaged before somebody asks for it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, Select, select

from kshot.errors import KshotError
from kshot.serving.blobs import Blobs
from kshot.serving.faults import Corrupt
from kshot.serving.rows import INPUTS_QUERY, MODELS_QUERY, about_of, sheet_place, unseal_body, versions_query
from kshot.serving.schema import FEATURES, MODELS, STATES
from kshot.serving.sealing import unseal

_PAGE = 256


class Checking(Blobs):
    """What a store does to find damage."""

    def check(self) -> tuple[int, list[str]]:
        """Read every model whole; how many there are, and a sentence for each fault."""
        faults = [f"the database itself: {said}" for said in self._pages() if said != "ok"]
        count, after = 0, ""
        while page := self._models(after):
            for tenant, model in page:
                faults += self._model(tenant, model)
            count, after = count + len(page), page[-1][1]
        return count, faults

    def _pages(self) -> list[str]:
        """SQLite's own check of pages and indexes; PostgreSQL has checksums of its own."""
        if not self.database.sqlite:
            return []
        return self.database.read(lambda c: [str(r[0]) for r in c.exec_driver_sql("PRAGMA integrity_check")])

    def _models(self, after: str) -> list[tuple[str, str]]:
        query = (
            select(MODELS.c.tenant, MODELS.c.id).where(MODELS.c.id > after).order_by(MODELS.c.id).limit(_PAGE)
        )
        return [(row.tenant, row.id) for row in self.database.read(lambda c: c.execute(query).all())]

    def _model(self, tenant: str, model: str) -> list[str]:
        try:
            [top] = self._rows(MODELS_QUERY.where(MODELS.c.tenant == tenant, MODELS.c.id == model))
            about_of(top)
            versions = self._rows(versions_query(tenant, model))
            bodies = [unseal_body(row) for row in versions]
            named = {n for body in bodies for n in (*body.numbers, *body.golden)}
            if int(top.version) not in {int(row.number) for row in versions}:
                return [f"model {model} lacks its newest version {top.version}"]
            blocks = {row.block: row for row in self._rows(INPUTS_QUERY, tenant=tenant, model=model)}
            held = {n for row in blocks.values() for n in self.block_of(row).numbers}
            for row in self._rows(select(FEATURES).where(FEATURES.c.model == model)):
                self._cached(top, blocks[row.block], row)
            prints = {int(row.number): row.fingerprint for row in versions}
            for row in self._rows(select(STATES).where(STATES.c.model == model)):
                place = ("state", model, int(row.version), prints[int(row.version)])
                unseal(top.secret, self.fetched(row.data, row.artifact), *place)
        except (KshotError, ValueError, LookupError) as cause:
            return [f"model {model} of tenant {tenant}: {cause}"]
        lost = sorted(named - held)
        return [f"model {model} of tenant {tenant} lacks its examples {lost[:3]}"] if lost else []

    def _cached(self, top: Row[Any], owner: Row[Any], row: Row[Any]) -> None:
        """Everything in a row of features."""
        self.cached(owner, row)
        held = row.sheet
        if row.sheet_place is not None:
            held = None if self.shelf is None else self.shelf.get(row.sheet_place, row.sheet_length)
            if held is None:
                raise Corrupt("its sheet is not on the shelf; it is made again when the model is asked")
        if held is not None:
            unseal(top.secret, held, *sheet_place(row.tenant, row.model, row.block, row.fingerprint))
        if row.slot not in (None, owner.slot):
            raise Corrupt(f"features of block {row.block} name another key than its examples; drop features")

    def _rows(self, query: Select[Any], **asked: Any) -> list[Row[Any]]:
        return self.database.read(lambda connection: list(connection.execute(query, asked).all()))
