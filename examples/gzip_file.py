"""A compressed file, made while it is sent: neither the log nor its gzip form is ever whole in memory.

    penstock dev examples/gzip_file.py
    curl -s http://127.0.0.1:3000/ | gunzip | tail -n 1

prints the last of 200,000 lines:

    2026-01-03T07:33:19Z INFO request 199999 took 73 ms
"""

import datetime
import zlib

LINES = 200_000
START = datetime.datetime(2026, 1, 1)


def log_lines():
    for number in range(LINES):
        moment = START + datetime.timedelta(seconds=number)
        yield f"{moment:%Y-%m-%dT%H:%M:%SZ} INFO request {number} took {number * 37 % 90} ms\n"


def compressed(lines):
    gzip = zlib.compressobj(wbits=31)  # 31: with gzip's header and trailer
    for line in lines:
        # Most calls give nothing: the compressor gathers some 16 KiB before it writes.
        if data := gzip.compress(line.encode()):
            yield data
    yield gzip.flush()


def lambda_handler(event, context):
    return {
        "statusCode": 200,
        "headers": {
            "Content-Type": "application/gzip",
            "Content-Disposition": 'attachment; filename="requests.log.gz"',
        },
        "body": compressed(log_lines()),
    }
