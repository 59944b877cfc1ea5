"""An MLflow store in a database that several machines share: does it let us in, and whose turn is it to make tables?"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

DRIVERS = {"postgresql": "psycopg2", "mysql": "pymysql", "mssql": "pyodbc"}
LIMIT_S = 5
# An advisory lock of Postgres: who makes or alters tables. Asked for again and again: one that waits for it inside a
# statement holds up migrations that wait for all others.
ASK, PAUSE_S = "select pg_try_advisory_lock(72727001)", 0.2


def kind(uri: str) -> str:
    """postgresql, mysql, mssql; empty for any other store."""
    found = urlsplit(uri).scheme.partition("+")[0]
    found = "postgresql" if found == "postgres" else found
    return found if found in DRIVERS else ""


def fault(uri: str) -> str | None:
    """Why the database cannot be used now, with the fix; None if it can."""
    name, driver = kind(uri), urlsplit(uri).scheme.partition("+")[2]
    if not driver:  # which driver that means depends on the version of SQLAlchemy
        return f"names no driver; write {name}+{DRIVERS[name]}://"
    if driver == "asyncpg":
        return f"names Prefect's driver; MLflow's is {name}+{DRIVERS[name]}://"
    if importlib.util.find_spec(driver) is None:
        return f"wants {driver}, which is not installed; `make setup`, or `pip install -e '.[cloud]'`"
    import sqlalchemy

    try:
        with _engine(uri).connect():
            return None
    except sqlalchemy.exc.SQLAlchemyError as error:
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        return f"does not answer ({said}); start that database, or mend the address"


def _engine(uri: str):
    import sqlalchemy

    limit = {"connect_timeout": LIMIT_S} if kind(uri) in ("postgresql", "mysql") else {}
    return sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool, connect_args=limit)


@contextmanager
def turn(uri: str) -> Iterator[None]:
    """Only one process of all machines is in this block: several that make MLflow's tables at once break them."""
    if kind(uri) != "postgresql":
        yield
        return
    import sqlalchemy

    with _engine(uri).connect() as connection:  # its end gives the turn back, even that of a killed process
        connection.execution_options(isolation_level="AUTOCOMMIT")
        while not connection.execute(sqlalchemy.text(ASK)).scalar():
            time.sleep(PAUSE_S)
        yield
