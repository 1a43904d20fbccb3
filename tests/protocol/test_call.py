import pytest

from penstock.protocol.call import Ending, Head, Outcome


@pytest.mark.parametrize(
    ("content_type", "has_prelude"),
    [
        ("application/vnd.awslambda.http-integration-response", True),
        ("Application/Vnd.AwsLambda.Http-Integration-Response ; charset=utf-8", True),
        ("application/octet-stream", False),
        ("", False),
    ],
)
def test_the_content_type_says_whether_there_is_a_prelude(content_type: str, has_prelude: bool) -> None:
    assert Head(content_type, streamed=True).has_prelude is has_prelude


def test_only_done_is_ok() -> None:
    assert [ending for ending in Ending if Outcome(ending).ok] == [Ending.DONE]


def test_endings_are_told_apart() -> None:
    # An Enum makes members with equal values one and the same.
    assert len({ending.word for ending in Ending}) == len(Ending) == 11
