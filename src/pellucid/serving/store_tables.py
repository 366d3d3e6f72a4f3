"""The store's tables, and a connection to the database that holds them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql

from ..errors import InputError, ResourceError

CONNECT_SECONDS, STATEMENT_SECONDS = 5, 10

TABLES = sql.MetaData()
PREDICTIONS = sql.Table(
    "predictions",
    TABLES,
    sql.Column("id", sql.String(32), primary_key=True),
    sql.Column("time", sql.Float, nullable=False, index=True),
    sql.Column("model", sql.String(64), nullable=False),
    sql.Column("checksum", sql.String(64), nullable=False),
    sql.Column("latency_ms", sql.Float, nullable=False),
    sql.Column("label", sql.String(255), nullable=False),
    sql.Column("confidence", sql.Float),
    sql.Column("output", sql.Float),
    sql.Column("outside_score", sql.Float),
    sql.Column("outside", sql.Boolean),
    sql.Column("features", sql.LargeBinary),
    sql.Column("image", sql.String(64)),
    sql.Column("predicted", sql.String(255)),
    sql.Column("candidates", sql.Text),
)
LATER_COLUMNS = ("predicted", "candidates")
"""Columns of answers that the tables of older stores lack: the class at the operating point, and the set as JSON."""

FEEDBACK = sql.Table(
    "feedback",
    TABLES,
    sql.Column("prediction", sql.String(32), primary_key=True),
    sql.Column("time", sql.Float, nullable=False),
    sql.Column("correct", sql.Boolean, nullable=False),
    sql.Column("label", sql.String(255)),
    sql.Column("comment", sql.String(500)),
)
REFUSALS = sql.Table(
    "refusals",
    TABLES,
    sql.Column("day", sql.Integer, primary_key=True),
    sql.Column("code", sql.String(64), primary_key=True),
    sql.Column("count", sql.Integer, nullable=False),
)


def connect(url: str) -> sql.Engine:
    """A checked engine with its tables. Raises InputError or ResourceError that quotes no password."""
    try:
        parsed = sql.make_url(url)
        engine = sql.create_engine(parsed, pool_pre_ping=True, connect_args=_limits(parsed))
    except (sql.exc.ArgumentError, sql.exc.NoSuchModuleError):
        raise InputError(
            "`store=` is neither a file nor a database URL such as postgresql+psycopg://user@host/name."
        ) from None
    except ModuleNotFoundError as error:
        remedy = " Install it: pip install 'pellucid[postgresql]'." if error.name == "psycopg" else ""
        raise InputError(f"`store=` needs the Python package {error.name}, which is not installed.{remedy}") from None
    if parsed.get_backend_name() == "sqlite":
        sql.event.listen(engine, "connect", _tune_sqlite)
    try:
        TABLES.create_all(engine)
        _add_columns(engine)
    except sql.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", "") or type(error).__name__).splitlines()[0]
        engine.dispose()
        shown = parsed.render_as_string(hide_password=True)
        raise ResourceError(
            f"The store {shown} cannot be used ({reason}). Choose another with `store=`, or none with `store=none`."
        ) from None
    return engine


def _add_columns(engine: sql.Engine) -> None:
    """Give the table of an older store the columns that it lacks."""
    present = {column["name"] for column in sql.inspect(engine).get_columns(PREDICTIONS.name)}
    for name in LATER_COLUMNS:
        if name not in present:
            kind = PREDICTIONS.c[name].type.compile(engine.dialect)
            with engine.begin() as connection:
                connection.execute(sql.text(f"ALTER TABLE {PREDICTIONS.name} ADD COLUMN {name} {kind}"))


def _limits(url: sql.URL) -> dict[str, Any]:
    """How long the database may take, as its driver is told; what the URL says itself stays."""
    if url.get_backend_name() != "postgresql" or url.get_driver_name() not in ("psycopg", "psycopg2"):
        return {}
    milliseconds = 1000 * STATEMENT_SECONDS
    limits = {
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": STATEMENT_SECONDS,
        "tcp_user_timeout": milliseconds,
        "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}",
    }
    return {name: value for name, value in limits.items() if name not in url.query}


def _tune_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for line in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", "PRAGMA busy_timeout=5000"):
        cursor.execute(line)
    cursor.close()
