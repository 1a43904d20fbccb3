"""Every quota, with its source. Sizes are in bytes, times in seconds."""

KIB = 1024
MIB = 1024 * KIB

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html and the texts AWS answers with:
# a synchronous request is 6 MiB; its buffered response is 6 MiB and 100 bytes.
REQUEST_PAYLOAD = 6 * MIB
RESPONSE_PAYLOAD = 6 * MIB + 100
# The log tail of Invoke (LogType=Tail) is the last 4 KB: .../lambda/latest/api/API_Invoke.html
LOG_TAIL = 4 * KIB
# Client context, decoded: "Up to 3,583 bytes of base64-encoded data", API_Invoke.html
CLIENT_CONTEXT = 3583
# Function settings: gettingstarted-limits.html
INIT_TIMEOUT = 10.0
OPEN_FILES = 1024

# API Gateway, REST: .../apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
GATEWAY_BODY = 10 * MIB

# Ours. AWS publishes 16 KB for the prelude on API Gateway and nothing for Function URLs.
PRELUDE = 64 * KIB
TRAILERS = 64 * KIB
ERROR_DOCUMENT = 256 * KIB
# API Gateway takes 10,240 bytes of headers; servers commonly take 16 KiB for the request line and headers.
REQUEST_HEAD = 16 * KIB
