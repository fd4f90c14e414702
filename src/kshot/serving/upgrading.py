"""Which schema a database has, and how it comes to the present one: alembic, forward only."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

from kshot.errors import SettingError, need
from kshot.serving.database import Database
from kshot.serving.schema import metadata

REVISION = "0007"
"""The newest step of `migrations`."""

_LOCK = 7_305_801_346_208_471_220  # any number that nobody else locks in PostgreSQL


def revision(connection: Connection) -> str | None:
    """The schema's revision; None: there are no tables."""
    names = set(inspect(connection).get_table_names())
    if "alembic_version" in names:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)
    return "0001" if {"models", "examples", "answers"} <= names else None


def ready(database: Database) -> None:
    """Make the tables of a new database; an old one is left alone.

    Raises:
        SettingError: the schema is older or newer than this kshot's.
    """
    found = database.read(revision)
    if found is None:
        upgrade(database)
    elif found < REVISION:
        raise SettingError(
            f"the database has schema {found}, this kshot needs {REVISION}; make a backup and run: kshot db upgrade"
        )
    elif found > REVISION:
        raise SettingError(
            f"the database has schema {found}, this kshot knows up to {REVISION}; upgrade kshot"
        )


def upgrade(database: Database) -> tuple[str | None, str]:
    """Bring a database to the present schema in one transaction; revisions before and after.

    Raises:
        SettingError: it is newer than this kshot.
    """
    with database.engine.execution_options(kshot_writes=True).begin() as connection:
        if not database.sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        before = revision(connection)
        if before is not None and before > REVISION:
            raise SettingError(
                f"the database has schema {before}, this kshot knows up to {REVISION}; upgrade kshot"
            )
        if before is None:
            _make(connection)
        elif before != REVISION:
            _run(connection, before)
    if database.sqlite and before == "0001":
        database.alone("VACUUM")  # nothing of what is sealed now stays in free pages
        database.purge_log()
    return before, REVISION


def _make(connection: Connection) -> None:
    """The tables of a new database; a test holds that the migrations lead to the same."""
    metadata.create_all(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": REVISION})


def _run(connection: Connection, before: str | None, to: str = "head") -> None:
    config = need("alembic.config", "serve").Config()
    command = need("alembic.command", "serve")
    config.set_main_option("script_location", "kshot.serving:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    if before == "0001":
        names = set(inspect(connection).get_table_names())
        if "alembic_version" not in names:
            command.stamp(config, "0001")
    command.upgrade(config, to)
