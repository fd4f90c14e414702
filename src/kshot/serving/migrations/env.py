"""Alembic's entry: runs the steps on the connection and in the transaction that `upgrading` opened."""

from alembic import context

from kshot.serving.schema import metadata


def run() -> None:
    """All steps that are missing."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


if getattr(context, "config", None) is not None:  # nobody but alembic sets it
    run()
