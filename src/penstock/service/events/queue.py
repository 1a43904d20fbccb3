"""The rows of the events that wait: every one that was acknowledged is here until it is done with.

Whoever writes is told after the commit. Nothing is kept in memory but the number the next event gets.
"""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from penstock.protocol.call import Call
from penstock.service.store import Grouped, Store, Told

_COLUMNS = (
    "number, request_id, function, qualifier, payload, client_context, trace_id, tenant_id,"
    " depth, accepted, due, attempts, refusals, error"
)
_WIDTH = _COLUMNS.count(",") + 1
# How many rows one statement takes. Few different ones, so that each stays prepared.
_SIZES = (256, 64, 16, 4, 1)

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One event, and what became of it so far. Times are Unix seconds."""

    number: int
    call: Call
    depth: int  # how many destinations led to it
    accepted: float
    attempts: int  # that the function answered
    refusals: int  # in a row, that it did not
    error: str  # of the last attempt


class Queue:
    """The table of events."""

    def __init__(self, store: Store) -> None:
        self._store = store
        ((last,),) = store.read("SELECT max(number) FROM events")
        self._next = (last or 0) + 1
        self._added: Grouped[Row] = Grouped(store, _insert)
        self._settled: Grouped[tuple[int, Row | None]] = Grouped(store, _settle)
        self._postponed: Grouped[Row] = Grouped(store, _postpone)

    def add(self, call: Call, now: float, told: Told) -> int:
        """Keep a new event, due at once; its number. Raises StoreError if the store is closed."""
        row = self._row(call, 0, now)
        self._added.add(row, told)
        return int(row[0])

    def settle(self, event: Event, told: Told) -> None:
        """Forget an event that is done with."""
        self._settled.add((event.number, None), told)

    def replace(self, event: Event, call: Call, now: float, told: Told) -> int:
        """Forget an event and keep the one it led to, both or neither; the new one's number."""
        row = self._row(call, event.depth + 1, now)
        self._settled.add((event.number, row), told)
        return int(row[0])

    def postpone(
        self, event: Event, due: float, attempts: int, refusals: int, error: str, told: Told
    ) -> None:
        """Have an event tried again at `due`."""
        self._postponed.add((due, attempts, refusals, error, event.number), told)

    def functions(self) -> list[str]:
        """The functions that have events."""
        return [name for (name,) in self._store.read("SELECT DISTINCT function FROM events")]

    def due(self, function: str, now: float, limit: int, held: Collection[int]) -> tuple[list[int], bool]:
        """The events of a function that are due, the longest first, but not those in `held`.

        At most `limit`, and whether there may be more.
        """
        wanted = limit + len(held)
        rows = self._store.read(
            "SELECT number FROM events WHERE function = ? AND due <= ? ORDER BY due, number LIMIT ?",
            (function, now, wanted),
        )
        numbers = [number for (number,) in rows if number not in held]
        return numbers[:limit], len(rows) == wanted

    def next_due(self, function: str, now: float) -> float | None:
        """When the first event of a function that is not yet due will be."""
        rows = self._store.read(
            "SELECT due FROM events WHERE function = ? AND due > ? ORDER BY due LIMIT 1", (function, now)
        )
        return rows[0][0] if rows else None

    def get(self, number: int) -> Event | None:
        rows = self._store.read(f"SELECT {_COLUMNS} FROM events WHERE number = ?", (number,))
        return _event(rows[0]) if rows else None

    def count(self) -> int:
        """How many there are; counts them."""
        ((count,),) = self._store.read("SELECT count(*) FROM events")
        return int(count)

    def _row(self, call: Call, depth: int, now: float) -> Row:
        number = self._next
        self._next += 1
        return (
            number,
            call.request_id,
            call.function,
            call.qualifier,
            call.payload,
            call.client_context,
            call.trace_id,
            call.tenant_id,
            depth,
            now,
            now,
            0,
            0,
            "",
        )


def _event(row: Row) -> Event:
    (number, request_id, function, qualifier, payload, context, trace_id, tenant_id, *rest) = row
    depth, accepted, _, attempts, refusals, error = rest
    call = Call(function, payload, trace_id, context, qualifier, tenant_id, request_id, background=True)
    return Event(number, call, depth, accepted, attempts, refusals, error)


# On the writer's thread.


@lru_cache
def _inserting(count: int) -> str:
    row = f"({', '.join('?' * _WIDTH)})"
    return f"INSERT INTO events ({_COLUMNS}) VALUES {', '.join([row] * count)}"


@lru_cache
def _deleting(count: int) -> str:
    return f"DELETE FROM events WHERE number IN ({', '.join('?' * count)})"


def _insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    begin = 0
    while left := len(rows) - begin:
        count = next(size for size in _SIZES if size <= left)
        values = [value for row in rows[begin : begin + count] for value in row]
        connection.execute(_inserting(count), values)
        begin += count


def _settle(connection: sqlite3.Connection, items: Sequence[tuple[int, Row | None]]) -> None:
    begin = 0
    while left := len(items) - begin:
        count = next(size for size in _SIZES if size <= left)
        connection.execute(_deleting(count), [number for number, _ in items[begin : begin + count]])
        begin += count
    _insert(connection, [row for _, row in items if row is not None])


def _postpone(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    connection.executemany(
        "UPDATE events SET due = ?, attempts = ?, refusals = ?, error = ? WHERE number = ?", rows
    )
