"""A 2 GiB export, in 64 KiB chunks: no process grows, and a slow reader pauses the generator.

    penstock dev examples/export_2gib.py
    curl -s http://127.0.0.1:3000/ | wc -c

prints

    2147483648

`?bytes=1000000` asks for another size; `curl --limit-rate 1M` shows the pause.
"""

CHUNK = bytes(range(256)) * 256  # 64 KiB
TOTAL = 2 * 1024**3


def export(total):
    for _ in range(total // len(CHUNK)):
        yield CHUNK
    if rest := total % len(CHUNK):
        yield CHUNK[:rest]


def lambda_handler(event, context):
    asked = (event.get("queryStringParameters") or {}).get("bytes", "")
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/octet-stream"},
        "body": export(int(asked) if asked.isdecimal() else TOTAL),
    }
