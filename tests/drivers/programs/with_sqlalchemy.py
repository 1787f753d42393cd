"""SQLAlchemy by psycopg or asyncpg (the fourth argument): its pool, ORM, savepoints, reflection, streams."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from sqlalchemy import ForeignKey, MetaData, Table, create_engine, event, func, inspect, select, text
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from tests.drivers.programs.telling import MY_PID, TARGET, N, chapter, end, seen, tell

DRIVER = sys.argv[4]
PREFIX = f"alchemy_{DRIVER}_{N}"


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = f"{PREFIX}_author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    books: Mapped[list[Book]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = f"{PREFIX}_book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey(Author.id))
    author: Mapped[Author] = relationship(back_populates="books")


def tell_cause(error: DBAPIError) -> None:
    """The driver's error without the place in the documentation that SQLAlchemy adds."""
    print(type(error).__name__, " / ".join(str(error.orig).splitlines()))


def write(connection: Connection) -> None:
    """Three authors, the last of whom is refused."""
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        for number in range(2):
            books = [Book(title=f"{N}.{number}.{n}") for n in range(12)]
            session.add(Author(name=f"{number} of {N}", books=books))
            session.commit()
        try:
            with session.begin_nested():
                session.add(Author(name=f"0 of {N}"))
        except IntegrityError as error:
            tell_cause(error)
        session.commit()


def read(connection: Connection) -> None:
    for number in range(3):
        query = select(Author.name, func.count(Book.id)).join(Book).where(Book.id > number)
        tell(connection.execute(query.group_by(Author.name).order_by(Author.name)).all())


def reflect(connection: Connection) -> None:
    metadata = MetaData()
    table = Table(Book.__tablename__, metadata, autoload_with=connection)
    tell([(column.name, str(column.type), column.nullable) for column in table.columns])
    inspector = inspect(connection)
    tell([key["referred_table"] for key in inspector.get_foreign_keys(Book.__tablename__)])
    tell(inspector.get_unique_constraints(Author.__tablename__))
    tell(inspector.has_table("nowhere"), inspector.default_schema_name)


def fail(connection: Connection) -> None:
    for sql in ("SELECT 1/0", "SELECT nothing"):
        try:
            connection.execute(text(sql))
        except DBAPIError as error:
            tell_cause(error)
        connection.rollback()


def isolate(connection: Connection) -> None:
    connection.execution_options(isolation_level="SERIALIZABLE")
    for _ in range(2):
        tell(connection.execute(text("SHOW transaction_isolation")).scalar())
        connection.commit()


def commit_by_itself(connection: Connection) -> None:
    connection.execution_options(isolation_level="AUTOCOMMIT")
    for number in range(7):
        tell(connection.execute(text(f"SELECT {N} * 100 + :n"), {"n": number}).scalar())
        seen(connection.execute(text(MY_PID)).scalar_one())
        seen(connection.execute(text(MY_PID)).scalar_one())


STEPS: list[tuple[str, Callable[[Connection], None]]] = [
    ("tables are made", Base.metadata.create_all),
    ("the ORM writes", write),
    ("and reads", read),
    ("reflection", reflect),
    ("errors", fail),
    ("an isolation level", isolate),
    ("autocommit", commit_by_itself),
    ("and reads again", read),
    ("tables are dropped", Base.metadata.drop_all),
]


def as_applications_do(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET TimeZone TO 'Etc/GMT+{N}'")
        cursor.close()
        connection.commit()


def with_psycopg(url: URL) -> None:
    engine = create_engine(url, pool_size=2, max_overflow=0, pool_pre_ping=True)
    as_applications_do(engine)
    for title, step in STEPS:
        with chapter(title), engine.connect() as one, engine.connect() as other:
            tell(one.execute(text("SHOW TimeZone")).scalar())
            step(other)
            other.commit()
    with chapter("a stream"), engine.connect() as connection:
        rows = connection.execution_options(yield_per=50).execute(
            text("SELECT generate_series(1, :n)"), {"n": 500 * N}
        )
        tell(sum(row[0] for row in rows))
    engine.dispose()


async def with_asyncpg(url: URL) -> None:
    engine = create_async_engine(url, pool_size=2, max_overflow=0, pool_pre_ping=True)
    as_applications_do(engine.sync_engine)
    for title, step in STEPS:
        with chapter(title):
            async with engine.connect() as one, engine.connect() as other:
                tell((await one.execute(text("SHOW TimeZone"))).scalar())
                await other.run_sync(step)
                await other.commit()
    with chapter("a stream"):
        async with engine.connect() as connection:
            rows = await connection.stream(text("SELECT generate_series(1, CAST(:n AS int))"), {"n": 500 * N})
            tell(sum([row[0] async for row in rows]))
    await engine.dispose()


url = URL.create(
    f"postgresql+{DRIVER}",
    TARGET["user"],
    host=TARGET["host"],
    port=TARGET["port"],
    database=TARGET["database"],
)
if DRIVER == "asyncpg":
    asyncio.run(with_asyncpg(url))
else:
    with_psycopg(url)
end()
