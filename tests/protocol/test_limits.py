from botocore.eventstream import _MAX_HEADERS_LENGTH, _MAX_PAYLOAD_LENGTH

from penstock.protocol import eventstream, limits


def test_the_numbers_that_aws_publishes() -> None:
    # https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, and AWS's own error messages
    assert limits.REQUEST_PAYLOAD == 6_291_456
    assert limits.RESPONSE_PAYLOAD == 6_291_556
    assert limits.GATEWAY_BODY == 10_485_760


def test_a_client_of_aws_takes_our_largest_event() -> None:
    assert eventstream.MAX_PAYLOAD <= _MAX_PAYLOAD_LENGTH
    assert (eventstream._MAX_HEADERS, eventstream._MAX_MESSAGE_PAYLOAD) == (
        _MAX_HEADERS_LENGTH,
        _MAX_PAYLOAD_LENGTH,
    )
