"""Sealed blobs of a store: in their row, or where they are large, an artifact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row
from torch import Tensor

from kshot.serving import packing
from kshot.serving.artifacts import Artifacts
from kshot.serving.database import Database
from kshot.serving.faults import Corrupt
from kshot.serving.packing import Block
from kshot.serving.sealing import seal, unseal

INLINE = 2**20
"""Bytes up to which a blob lies in its row."""


class Blobs:
    """What a store does with the bytes of examples and features."""

    database: Database
    artifacts: Artifacts | None

    def block_rows(
        self, key: bytes, tenant: str, model: str, number: int, block: Block, fingerprint: str
    ) -> dict[str, Any]:
        """The rows of a block's examples and features; the slot is not in them yet."""
        inputs = seal(key, packing.pack_inputs(block.inputs), "inputs", model, number, tenant)
        data, artifact = self.placed(inputs)
        labels = seal(key, packing.pack_labels(block), "labels", model, number, tenant)
        rows = {"examples": {"model": model, "block": number, "tenant": tenant, "labels": labels, "inputs": data, "artifact": artifact}}  # fmt: skip
        if block.features is not None:
            rows["features"] = self.features_row(
                key, tenant, model, number, fingerprint, block.numbers, block.features
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
    ) -> dict[str, Any]:
        """The row of a block's features on one base, without a sheet. The slot is not in it yet."""
        packed = packing.pack_features(numbers, features)
        data, artifact = self.placed(seal(key, packed, "features", model, number, fingerprint, squeeze=False))
        return {
            "model": model, "block": number, "fingerprint": fingerprint, "tenant": tenant, "sheet": None,
            "data": data, "artifact": artifact,
        }  # fmt: skip

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

    def features_of(self, model: str, row: Any, fingerprint: str) -> tuple[tuple[int, ...], Tensor] | None:
        """Numbers and features of a row of one block; None: not kept."""
        if row.data is None and row.features_artifact is None:
            return None
        sealed = self.fetched(row.data, row.features_artifact)
        plain = unseal(row.block_secret, sealed, "features", model, row.block, fingerprint)
        return packing.unpack_features(plain)

    def cached(self, owner: Row[Any], row: Row[Any]) -> tuple[tuple[int, ...], Tensor]:
        """Numbers and features of a row of features; `owner` is its row of examples."""
        sealed = self.fetched(row.data, row.artifact)
        place = ("features", row.model, row.block, row.fingerprint)
        return packing.unpack_features(unseal(owner.secret, sealed, *place))

    def block_of(self, row: Row[Any]) -> Block:
        """A row of examples, unsealed."""
        place = (row.model, row.block, row.tenant)
        numbers, labels = packing.unpack_labels(unseal(row.secret, row.labels, "labels", *place))
        sealed = self.fetched(row.inputs, row.artifact)
        items = packing.unpack_inputs(unseal(row.secret, sealed, "inputs", *place))
        return Block(numbers, labels, items)
