"""The database behind Prefect's server: SQLite below .trainyard/prefect, or the Postgres of
PREFECT_API_DATABASE_CONNECTION_URL, which several servers may share.

Prefect and MLflow want a database each: both keep the state of their tables in one of the same name.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import anyio
import anyio.to_thread

from tasks.yard.sources.uri import redacted
from tasks.yard.step import BadInput
from tasks.yard.tracking import database as mlflow_database
from tasks.yard.tracking import store

NAMES = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
DRIVER = "postgresql+asyncpg"


def told() -> tuple[str, str] | None:
    """The variable that names the database, and its address; None: a file of SQLite here."""
    return next(((name, os.environ[name]) for name in NAMES if os.environ.get(name)), None)


def shown() -> str | None:
    found = told()
    return found and f"{found[0]}={redacted(found[1])}"


def _misspelt() -> str | None:
    """What is wrong with the address itself."""
    name, address = told() or ("", "")
    scheme = address.partition(":")[0]
    if name and scheme.startswith("postgres") and scheme != DRIVER:
        return f"{shown()} has to begin with {DRIVER}://: with {scheme}:// Prefect does not start"
    if name and mlflow_database.kind(store.uri()) == "postgresql" and _place(address) == _place(store.uri()):
        return f"{shown()} is MLflow's database too, and each would break the other's tables; make a second: createdb"
    return None


def _place(address: str) -> tuple:
    import sqlalchemy

    url = sqlalchemy.make_url(address)
    return url.host or url.query.get("host"), url.port or 5432, url.database


def refuse_misspelt() -> None:
    if said := _misspelt():
        raise BadInput(said)


def fault() -> str | None:
    """Why the database cannot be used now, with the fix."""
    if said := _misspelt():
        return said
    try:
        anyio.run(_connected, None)
    except Exception as error:  # of asyncpg, SQLAlchemy or the network
        said = " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__
        return f"{shown()} does not answer ({said}); start that database, or mend the address"
    return None


def migrate() -> None:
    """Bring the tables of a Postgres up to date, one server at a time: two that make them at once break them."""
    found = told()
    if not found or not found[1].startswith(DRIVER):
        return
    os.environ["PREFECT_API_DATABASE_MIGRATE_ON_START"] = "false"  # before Prefect reads its settings
    from prefect.server.database.alembic_commands import alembic_upgrade

    anyio.run(_connected, alembic_upgrade)


async def _connected(work: Callable[[], None] | None) -> None:
    """Connect; then do the work while it is this connection's turn, which ends with it."""
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    found = told()
    assert found is not None
    limits = {"timeout": mlflow_database.LIMIT_S} if found[1].startswith(DRIVER) else {}
    async with create_async_engine(found[1], poolclass=NullPool, connect_args=limits).connect() as connection:
        if work:
            # Asked for again and again, outside of any transaction: Prefect makes indexes CONCURRENTLY, which waits for
            # the end of all others, of one that waits for its turn too.
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            ask = text(mlflow_database.ASK)
            while not (await connection.execute(ask)).scalar():
                await anyio.sleep(mlflow_database.PAUSE_S)
            await anyio.to_thread.run_sync(work)  # Prefect's migration asks for a thread of anyio's
