"""Sealed blobs of a store: in their row, or where they are large, an artifact; features on the shelf."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Row
from torch import Tensor

from kshot.serving import packing
from kshot.serving.artifacts import Artifacts
from kshot.serving.database import Database
from kshot.serving.faults import Corrupt
from kshot.serving.packing import Block
from kshot.serving.sealing import seal, unseal, unseal_large
from kshot.serving.shelf import Shelf

Plain = TypeVar("Plain", bytes, memoryview)

INLINE = 2**20
"""Bytes up to which a blob lies in its row, or on the shelf."""
SHORT = 1024
"""Bytes of features up to which they lie in their row where there is a shelf."""
_LOG = logging.getLogger("kshot.serving")


class Beside(NamedTuple):
    """What a row of features holds or names, still sealed; None: it is not kept, or not there any more."""

    data: Any
    sheet: Any


class Blobs:
    """What a store does with the bytes of examples and features."""

    database: Database
    artifacts: Artifacts | None
    shelf: Shelf | None = None

    def block_rows(
        self,
        key: bytes,
        tenant: str,
        model: str,
        number: int,
        block: Block,
        fingerprint: str,
        sheet: bytes | None = None,
    ) -> dict[str, Any]:
        """The rows of a block's examples and features, with a sealed sheet; the slot is not in them yet."""
        inputs = seal(key, packing.pack_inputs(block.inputs), "inputs", model, number, tenant)
        data, artifact = self.placed(inputs)
        labels = seal(key, packing.pack_labels(block), "labels", model, number, tenant)
        rows = {"examples": {"model": model, "block": number, "tenant": tenant, "labels": labels, "inputs": data, "artifact": artifact}}  # fmt: skip
        if block.features is not None:
            rows["features"] = self.features_row(
                key, tenant, model, number, fingerprint, block.numbers, block.features, sheet
            )
        return rows

    def features_row(
        self,
        key: bytes,
        tenant: str,
        model: str,
        number: int,
        fingerprint: str,
        numbers: Sequence[int],
        features: Tensor,
        sheet: bytes | None = None,
    ) -> dict[str, Any]:
        """The row of a block's features on one base, with a sealed sheet. The slot is not in it yet."""
        packed = packing.pack_features(numbers, features)
        data = seal(key, packed, "features", model, number, fingerprint, squeeze=False)
        row = {
            "model": model, "block": number, "fingerprint": fingerprint, "tenant": tenant, "sheet": None, "data": None,
            "artifact": None, "place": None, "length": None, "sheet_place": None, "sheet_length": None,
        }  # fmt: skip
        if self.shelf is None or not SHORT < len(data) <= INLINE:
            row["data"], row["artifact"] = self.placed(data)
            return row | self.sheet_columns(sheet)
        place = self.shelf.put(data if sheet is None else data + sheet)
        row |= {"place": place, "length": len(data)}
        if sheet is not None:  # behind the features: one read gets both
            row |= {"sheet_place": place + len(data), "sheet_length": len(sheet)}
        return row

    def sheet_columns(self, sheet: bytes | None) -> dict[str, Any]:
        """Columns of a row of features that hold a sealed sheet, or say where it lies."""
        if sheet is None or self.shelf is None or len(sheet) <= SHORT:
            return {"sheet": sheet, "sheet_place": None, "sheet_length": None}
        return {"sheet": None, "sheet_place": self.shelf.put(sheet), "sheet_length": len(sheet)}

    def placed(self, sealed: bytes) -> tuple[bytes | None, str | None]:
        """Bytes for the row, or the name of the artifact that holds them."""
        if self.artifacts is None or len(sealed) <= INLINE:
            return sealed, None
        return None, self.artifacts.put(sealed)

    def fetched(self, data: Any, artifact: str | None) -> bytes:
        """The inverse of `placed`. Raises Corrupt."""
        if artifact is None:
            return bytes(data)
        if self.artifacts is None:
            raise Corrupt(
                f"artifact {artifact[:12]} is needed and no place of artifacts is given; give --artifacts"
            )
        return self.artifacts.get(artifact)

    def ahead(self, rows: Sequence[Any]) -> None:
        """Have the system fetch what these rows of features name on the shelf."""
        if self.shelf is None:
            return
        for row in rows:
            length = row.length or 0
            if row.place is not None:
                together = row.sheet_place == row.place + length
                self.shelf.ahead(row.place, length + (row.sheet_length if together else 0))
            if row.sheet_place is not None and row.sheet_place != (row.place or 0) + length:
                self.shelf.ahead(row.sheet_place, row.sheet_length)

    def beside(self, row: Any) -> Beside:
        """What a row of features holds, or names."""
        if row.place is not None and row.sheet_place == row.place + row.length:
            found = self._shelved(row.place, row.length + row.sheet_length)
            if found is None:
                return Beside(None, None)
            whole = memoryview(found)
            return Beside(whole[: row.length], whole[row.length :])
        sheet = row.sheet if row.sheet_place is None else self._shelved(row.sheet_place, row.sheet_length)
        return Beside(self._data(row), sheet)

    def _data(self, row: Any) -> Any:
        if row.place is not None:
            return self._shelved(row.place, row.length)
        artifact = row.features_artifact
        return row.data if artifact is None else self.fetched(None, artifact)

    def _shelved(self, place: int, length: int) -> bytes | None:
        return None if self.shelf is None else self.shelf.get(place, length)

    def features_of(
        self, model: str, row: Any, fingerprint: str, data: Any = None
    ) -> tuple[tuple[int, ...], Tensor] | None:
        """Numbers and features of a row of one block; None: not kept.

        Args:
            data: what `beside` told of it; None: it is read.
        """
        plain = self.plain_features(model, row, fingerprint, data)
        return None if plain is None else packing.unpack_features(plain)

    def plain_features(self, model: str, row: Any, fingerprint: str, data: Any = None) -> memoryview | None:
        """As `features_of`, still packed."""
        data = self._data(row) if data is None else data
        if data is None:
            return None
        place = ("features", model, row.block, fingerprint)
        return self.unsealed(unseal_large, row.place, row.block_secret, data, *place)

    @staticmethod
    def unsealed(
        how: Callable[..., Plain], shelved: int | None, key: bytes, sealed: Any, *place: object
    ) -> Plain | None:
        """What was sealed, by `unseal` or `unseal_large`. On the shelf, where nothing is awaited by the disk, damage
        counts as not being kept.

        Raises:
            Corrupt: it lies in the database, and has changed.
        """
        try:
            return how(key, sealed, *place)
        except Corrupt:
            if shelved is None:
                raise
            _LOG.warning(
                "%s: bytes on the shelf do not fit their checksum; they are made again",
                " ".join(map(str, place[:3])),
            )
            return None

    def cached(self, owner: Row[Any], row: Row[Any]) -> tuple[tuple[int, ...], Tensor]:
        """Numbers and features of a row of features; `owner` is its row of examples. Raises Corrupt."""
        if row.place is None:
            sealed: Any = self.fetched(row.data, row.artifact)
        elif (sealed := self._shelved(row.place, row.length)) is None:
            raise Corrupt(
                f"features of {row.model} are not on the shelf; they are made again when it is asked"
            )
        place = ("features", row.model, row.block, row.fingerprint)
        return packing.unpack_features(unseal(owner.secret, sealed, *place))

    def block_of(self, row: Row[Any]) -> Block:
        """A row of examples, unsealed."""
        place = (row.model, row.block, row.tenant)
        numbers, labels = packing.unpack_labels(unseal(row.secret, row.labels, "labels", *place))
        sealed = self.fetched(row.inputs, row.artifact)
        items = packing.unpack_inputs(unseal(row.secret, sealed, "inputs", *place))
        return Block(numbers, labels, items)
