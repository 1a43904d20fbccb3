"""Every quota, with its source. Sizes are in bytes, times in seconds."""

KIB = 1024
MIB = 1024 * KIB

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html and the texts AWS answers with:
# a synchronous request is 6 MiB; its buffered response is 6 MiB and 100 bytes.
REQUEST_PAYLOAD = 6 * MIB
RESPONSE_PAYLOAD = 6 * MIB + 100
# An asynchronous event: 1 MB since October 2025, gettingstarted-limits.html
EVENT_PAYLOAD = MIB
# A request of the Lambda API as a whole, as AWS's own error says it: a 50 MB zip in Base64.
MANAGEMENT_REQUEST = 70_167_211
# The same without code; ours. JSON is read in one go, and streams wait: 128 KiB of it take some 30 ms.
SETTINGS_REQUEST = 128 * KIB
# The log tail of Invoke (LogType=Tail) is the last 4 KB: .../lambda/latest/api/API_Invoke.html
LOG_TAIL = 4 * KIB
# Client context, decoded: "Up to 3,583 bytes of base64-encoded data", API_Invoke.html
CLIENT_CONTEXT = 3583
# Function settings: gettingstarted-limits.html
INIT_TIMEOUT = 10.0
RESTORE_TIMEOUT = 10.0  # seconds: snapstart-runtime-hooks.html
OPEN_FILES = 1024

FUNCTION_TIMEOUT = 900.0  # the longest that can be set
# Streams: .../lambda/latest/dg/configuration-response-streaming.html. AWS writes 200 MB, 6 MB and 2 MBps, and
# means MiB, as its emulator has it (aws-lambda-runtime-interface-emulator, core/bandwidthlimiter).
STREAMED_RESPONSE = 200 * MIB
STREAM_BURST = 6 * MIB
STREAM_BANDWIDTH = 2 * MIB  # bytes per second, after the burst
# How fast a function grows: .../lambda/latest/dg/scaling-behavior.html, and lambda-concurrency.html for the
# requests per second that each unit of concurrency allows.
SCALING_BURST = 1000  # new environments
SCALING_RATE = 100.0  # new environments per second
REQUESTS_PER_CONCURRENCY = 10.0  # per second

# API Gateway, REST: .../apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
GATEWAY_BODY = 10 * MIB
# How long an integration may take: the same page, and .../developerguide/http-api-quotas.html
REST_TIMEOUT = 29.0
HTTP_API_TIMEOUT = 30.0
# A streamed one, REST: .../apigateway/latest/developerguide/response-transfer-mode.html
STREAM_TIMEOUT = 900.0
STREAM_IDLE_TIMEOUT = 300.0

# Ours. AWS publishes 16 KB for the prelude on API Gateway and nothing for Function URLs.
PRELUDE = 64 * KIB
TRAILERS = 64 * KIB
ERROR_DOCUMENT = 256 * KIB
# The same in a stream's trailers, before Base64. AWS's Runtime API is Go's net/http, which reads 4 KiB of
# trailers and takes more for a broken body: body.readTrailer in https://go.dev/src/net/http/transfer.go
TRAILER_DOCUMENT = 2750
# API Gateway takes 10,240 bytes of headers; servers commonly take 16 KiB for the request line and headers.
REQUEST_HEAD = 16 * KIB
