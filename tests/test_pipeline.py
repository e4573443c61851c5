"""Steps of a transaction over PostgreSQL's pipeline, against a real server."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import environ
import pytest
from django.db import DatabaseError, IntegrityError
from django.db.utils import ConnectionHandler

from digitalme.pipeline import Pipeline
from digitalme.statements import Last, Statement, Steps

pytestmark = pytest.mark.django_db  # which lets databases be spoken to at all


@pytest.fixture(params=[0, None], ids=["plans kept", "plans not kept"])
def server(postgres_url: str, request: pytest.FixtureRequest) -> Iterator[ConnectionHandler]:
    """A database with one table of named numbers."""
    chosen = {**environ.Env.db_url_config(postgres_url), "OPTIONS": {"prepare_threshold": request.param}}
    handler = ConnectionHandler({"default": chosen})
    with handler["default"].cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS numbers")
        cursor.execute("CREATE TABLE numbers (name text PRIMARY KEY, value bigint CHECK (value >= 0), note jsonb)")
    yield handler
    handler["default"].close()


@asynccontextmanager
async def opened(server: ConnectionHandler) -> AsyncIterator[Pipeline]:
    pipeline = Pipeline(server)
    yield pipeline
    pipeline.close()


def put(name: str, value: int) -> Statement[None]:
    return Statement("INSERT INTO numbers (name, value) VALUES (%s, %s)", [name, value])


def get() -> Statement[dict[str, int]]:
    return Statement("SELECT name, value FROM numbers ORDER BY name", (), lambda rows: dict(rows))


def only(*statements: Statement[Any]) -> Steps[list[Any]]:
    return (yield list(statements))


def finally_(*statements: Statement[Any]) -> Steps[None]:
    yield Last(statements)


def kept(server: ConnectionHandler) -> dict[str, int]:
    with server["default"].cursor() as cursor:
        cursor.execute("SELECT name, value FROM numbers")
        return dict(cursor.fetchall())


def others(server: ConnectionHandler, last: str) -> int:
    """Count the connections of others than this thread whose last statement is like this."""
    with server["default"].cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE %s",
            [last],
        )
        found: int = cursor.fetchone()[0]
    server["default"].close()
    return found


def test_each_statement_of_a_step_gets_its_own_answer(server: ConnectionHandler) -> None:
    def steps() -> Steps[Any]:
        _, first = yield [put("one", 1), get()]
        second = yield [get(), put("two", 2), get(), Statement("SELECT %s::int", [7], lambda rows: rows[0][0])]
        yield Last([put("three", 3)])
        return first, second

    async def work() -> Any:
        async with opened(server) as pipeline:
            return await pipeline.run(steps())

    both = {"one": 1, "two": 2}
    assert asyncio.run(work()) == ({"one": 1}, [{"one": 1}, None, both, 7])
    assert kept(server) == both | {"three": 3}


def test_steps_without_a_last_one_are_committed_too(server: ConnectionHandler) -> None:
    async def work() -> None:
        async with opened(server) as pipeline:
            await pipeline.run(only(put("one", 1)))

    asyncio.run(work())
    assert kept(server) == {"one": 1}


@pytest.mark.parametrize("bad", [put("odd", -1), put("twice", 2), Statement("SELECT nonsense")])
def test_a_failed_statement_undoes_its_transaction_and_no_other(
    server: ConnectionHandler, bad: Statement[None]
) -> None:
    async def work() -> type[BaseException]:
        async with opened(server) as pipeline:
            await pipeline.run(finally_(put("twice", 2)))
            with pytest.raises(DatabaseError) as caught:
                await pipeline.run(finally_(put("one", 1), bad, put("two", 2)))
            await pipeline.run(finally_(put("after", 3)))
            return caught.type

    raised = asyncio.run(work())
    assert kept(server) == {"twice": 2, "after": 3}
    assert issubclass(raised, IntegrityError) == (bad.text != "SELECT nonsense")


def test_what_the_steps_raise_undoes_their_transaction(server: ConnectionHandler) -> None:
    def steps() -> Steps[None]:
        yield [put("one", 1)]
        raise ArithmeticError

    async def work() -> None:
        async with opened(server) as pipeline:
            with pytest.raises(ArithmeticError):
                await pipeline.run(steps())
            await pipeline.run(finally_(put("after", 3)))

    asyncio.run(work())
    assert kept(server) == {"after": 3}


def test_a_connection_that_the_server_ends_is_replaced(server: ConnectionHandler) -> None:
    def own_end() -> Steps[None]:
        yield [put("one", 1)]
        yield [Statement("SELECT pg_terminate_backend(pg_backend_pid())")]

    def end_all() -> None:
        with server["default"].cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        server["default"].close()

    async def work() -> None:
        async with opened(server) as pipeline:
            with pytest.raises(DatabaseError):
                await pipeline.run(own_end())
            await pipeline.run(finally_(put("two", 2)))
            await asyncio.to_thread(end_all)
            for _ in range(100):  # the end is noticed when the loop comes round to it
                await asyncio.sleep(0.01)
            await pipeline.run(finally_(put("three", 3)))

    asyncio.run(work())
    server["default"].close()  # which was ended with all others
    assert kept(server) == {"two": 2, "three": 3}


def test_a_caller_who_leaves_undoes_the_transaction(server: ConnectionHandler) -> None:
    def slow() -> Steps[None]:
        yield [put("one", 1), Statement("SELECT pg_sleep(2)")]

    async def work() -> None:
        async with opened(server) as pipeline:
            running = asyncio.ensure_future(pipeline.run(slow()))
            while not await asyncio.to_thread(others, server, "%pg_sleep%"):
                await asyncio.sleep(0.01)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await pipeline.run(finally_(put("two", 2)))

    asyncio.run(work())
    assert kept(server) == {"two": 2}


def test_a_caller_who_leaves_while_it_connects_leaves_no_connection_behind(server: ConnectionHandler) -> None:
    begun, go_on = threading.Event(), threading.Event()
    open_one = server.create_connection

    def held(alias: str) -> Any:
        begun.set()
        go_on.wait()
        return open_one(alias)

    async def work() -> None:
        async with opened(server) as pipeline:
            with patch.object(server, "create_connection", held):
                running = asyncio.ensure_future(pipeline.run(finally_(put("one", 1))))
                await asyncio.to_thread(begun.wait)
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
            go_on.set()
            await pipeline.run(finally_(put("two", 2)))
            while await asyncio.to_thread(others, server, "%") != 1:  # the one that came too late goes away
                await asyncio.sleep(0.01)

    server["default"].close()
    asyncio.run(work())
    assert kept(server) == {"two": 2}


def test_what_is_larger_than_any_buffer_travels_whole(server: ConnectionHandler) -> None:
    size = 4_000_000
    long = Statement(
        "SELECT length(%s), repeat('x', %s)", ["y" * size, size], lambda rows: (rows[0][0], len(rows[0][1]))
    )

    async def work() -> list[Any]:
        async with opened(server) as pipeline:
            return await pipeline.run(only(long, get(), long))

    assert asyncio.run(work()) == [(size, size), {}, (size, size)]


def test_only_what_need_not_be_durable_leaves_the_disk_alone(server: ConnectionHandler) -> None:
    query = "SELECT setting, source FROM pg_settings WHERE name = 'synchronous_commit'"

    async def work() -> list[Any]:
        async with opened(server) as pipeline:
            relaxed = await pipeline.run(only(Statement(query, (), list)), durable=False)
            return [*relaxed, *(await pipeline.run(only(Statement(query, (), list))))]

    [relaxed], [safe] = asyncio.run(work())
    assert relaxed == ("off", "session")
    assert safe[1] != "session"


def test_ids_times_and_json_come_back_as_django_reads_them(server: ConnectionHandler) -> None:
    query = "SELECT 'f3b1c2d4-0000-7000-8000-000000000001'::uuid, '2026-03-01 12:00+05'::timestamptz, '[1]'::jsonb"
    with server["default"].cursor() as cursor:
        cursor.execute(query)
        plain = cursor.fetchall()

    async def work() -> list[Any]:
        async with opened(server) as pipeline:
            return await pipeline.run(only(Statement(query, (), list)))

    assert asyncio.run(work()) == [plain]
