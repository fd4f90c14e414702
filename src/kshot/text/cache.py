"""Features on disk, found by what they are features of: no text is encoded twice, by whichever process.

One SQLite file. A key is the encoder's fingerprint with the SHA-256 of the text; the text itself is not stored.
Transactions keep it whole when a process is killed; processes wait for one another. It only ever saves time: where it
cannot be read or written, features are computed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kshot.errors import SettingError

_TABLE = (
    "create table if not exists features (key blob primary key, value blob not null, used integer not null)"
)
_WAIT = 10.0  # seconds for another process's transaction
_ASK = 500  # keys in one query
_FULL = 0.9  # of the limit is left after old rows went


class FeatureCache:
    """A file of features of bounded size; safe with many processes.

    Args:
        path: the file. megabytes: of features at most; the longest unused go first.

    >>> import tempfile, torch
    >>> cache = FeatureCache(Path(tempfile.mkdtemp()) / "features.sqlite")
    >>> asked = []
    >>> def lengths(texts):
    ...     asked.extend(texts)
    ...     return torch.tensor([[float(len(t))] for t in texts])
    >>> _ = cache.features("lengths", ["a", "bb"], 1, lengths)
    >>> cache.features("lengths", ["bb", "ccc"], 1, lengths).tolist(), asked
    ([[2.0], [3.0]], ['a', 'bb', 'ccc'])
    """

    def __init__(self, path: str | os.PathLike[str], megabytes: float = 1024) -> None:
        if not megabytes > 0:
            raise SettingError(
                f"megabytes is {megabytes}; the cache needs some, or leave it out with cache=None"
            )
        self.path, self.limit = Path(path), int(megabytes * 2**20)

    def features(
        self, owner: str, texts: Sequence[str], width: int, compute: Callable[[list[str]], Tensor]
    ) -> Tensor:
        """Features [n, width] of texts, in float32: from the file, or computed and kept.

        Args:
            owner: fingerprint of the encoder. compute: features [m, width] of texts that are not there.
        """
        keys = [_key(owner, text) for text in texts]
        found = self._find(set(keys), width)
        missing = dict((key, text) for key, text in zip(keys, texts, strict=True) if key not in found)
        if missing:
            new = compute(list(missing.values())).to(torch.float32).cpu().numpy()
            found |= dict(zip(missing, new, strict=True))
            self._keep({key: found[key] for key in missing})
        return torch.from_numpy(np.stack([found[key] for key in keys]))

    def __len__(self) -> int:
        with self._open() as db:
            return int(db.execute("select count(*) from features").fetchone()[0]) if db else 0

    def size(self) -> int:
        """Bytes of the kept features."""
        with self._open() as db:
            return _size(db) if db else 0

    def clear(self) -> None:
        """Forget all features."""
        with self._open() as db:
            if db:
                db.execute("delete from features")

    def _find(self, keys: set[bytes], width: int) -> dict[bytes, np.ndarray]:
        found: dict[bytes, np.ndarray] = {}
        asked = list(keys)
        with self._open() as db:
            for start in range(0, len(asked) if db else 0, _ASK):
                part = asked[start : start + _ASK]
                marks = ",".join("?" * len(part))
                query = f"select key, value from features where key in ({marks})"
                for key, value in db.execute(query, part):  # type: ignore[union-attr]
                    if len(value) == 4 * width:
                        found[key] = np.frombuffer(value, np.float32)
        return found

    def _keep(self, rows: dict[bytes, np.ndarray]) -> None:
        with self._open() as db:
            if db is None:
                return
            newest = int(db.execute("select coalesce(max(used), 0) from features").fetchone()[0]) + 1
            db.executemany(
                "insert or replace into features values (?, ?, ?)",
                [(key, np.ascontiguousarray(value).tobytes(), newest) for key, value in rows.items()],
            )
            self._shrink(db)

    def _shrink(self, db: sqlite3.Connection) -> None:
        """Let the oldest rows go once the limit is passed."""
        over = _size(db) - self.limit
        if over <= 0:
            return
        goal, gone = over + (1 - _FULL) * self.limit, 0
        for key, size in db.execute("select key, length(value) from features order by used").fetchall():
            if gone >= goal:
                break
            db.execute("delete from features where key = ?", (key,))
            gone += size

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection | None]:
        """A connection for one transaction; None where the file cannot be used. A damaged file is made anew."""
        db = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self.path, timeout=_WAIT)
            db.execute("pragma journal_mode=wal")
            db.execute("pragma synchronous=normal")
            db.execute(_TABLE)
        except sqlite3.OperationalError:
            db = None
        except sqlite3.DatabaseError:  # no database, or a damaged one
            db = None
            with contextlib.suppress(OSError):
                self.path.unlink()
        except OSError:
            db = None
        if db is None:
            yield None
            return
        try:
            with contextlib.suppress(sqlite3.Error), db:
                yield db
        finally:
            db.close()


def _size(db: sqlite3.Connection) -> int:
    return int(db.execute("select coalesce(sum(length(value)), 0) from features").fetchone()[0])


def _key(owner: str, text: str) -> bytes:
    return hashlib.sha256(f"{owner}\n{text}".encode()).digest()


def default_cache() -> FeatureCache | None:
    """The user's cache: `features.sqlite` in KSHOT_HOME, or in ~/.cache/kshot; 1 GB.

    KSHOT_FEATURE_CACHE names another file, or is "off"; KSHOT_FEATURE_CACHE_MB sets its size.
    """
    chosen = os.environ.get("KSHOT_FEATURE_CACHE", "")
    if chosen.lower() == "off":
        return None
    home = os.environ.get("KSHOT_HOME")
    folder = Path(home) if home else Path.home() / ".cache" / "kshot"
    megabytes = os.environ.get("KSHOT_FEATURE_CACHE_MB", "1024")
    try:
        size = float(megabytes)
    except ValueError:
        raise SettingError(f"KSHOT_FEATURE_CACHE_MB is {megabytes!r}; give a number of megabytes") from None
    return FeatureCache(chosen or folder / "features.sqlite", size)
