"""A CSV download straight from a database cursor: a million rows cost no more memory than one.

    penstock dev examples/csv_from_sqlite.py
    curl -N http://127.0.0.1:3000/measurements.csv

prints a heading and 100,000 rows:

    id,station,celsius
    1,Oslo,-3.0
    2,Lima,-20.9
    …

The database is made in the temporary folder at the first call.
"""

import csv
import io
import os
import sqlite3
import tempfile

ROWS = 100_000
DATABASE = os.path.join(tempfile.gettempdir(), f"penstock-example-{os.getuid()}.sqlite")

STATIONS = ("Oslo", "Lima", "Accra", "Hanoi", "Quito")


def make_database():
    """Written beside its place and then moved there: several environments may start at once."""
    if os.path.exists(DATABASE):
        return
    unfinished = f"{DATABASE}.{os.getpid()}"
    connection = sqlite3.connect(unfinished)
    connection.execute("CREATE TABLE measurements (id INTEGER PRIMARY KEY, station TEXT, celsius REAL)")
    connection.executemany(
        "INSERT INTO measurements VALUES (?, ?, ?)",
        ((n, STATIONS[(n - 1) % 5], (n * 221 % 400 - 251) / 10) for n in range(1, ROWS + 1)),
    )
    connection.commit()
    connection.close()
    os.replace(unfinished, DATABASE)


def rows():
    """CSV text, a few hundred rows at a time; the cursor is read only as fast as the caller reads."""
    connection = sqlite3.connect(DATABASE)
    try:
        cursor = connection.execute("SELECT id, station, celsius FROM measurements ORDER BY id")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column[0] for column in cursor.description])
        while batch := cursor.fetchmany(500):
            writer.writerows(batch)
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    finally:
        connection.close()  # also when the caller leaves half-way


def lambda_handler(event, context):
    make_database()
    return {
        "statusCode": 200,
        "headers": {
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": 'attachment; filename="measurements.csv"',
        },
        "body": rows(),
    }
