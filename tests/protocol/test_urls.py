import pytest

from penstock.protocol.urls import Cors, FunctionUrl


def test_a_configuration_as_aws_writes_it() -> None:
    document = {
        "AuthType": "NONE",
        "Cors": {
            "AllowCredentials": True,
            "AllowHeaders": ["Date"],
            "AllowMethods": ["GET", "POST"],
            "AllowOrigins": ["https://a.example"],
            "ExposeHeaders": ["X-A"],
            "MaxAge": 60,
        },
        "FunctionArn": "…",
    }
    cors = Cors(("https://a.example",), ("GET", "POST"), ("Date",), ("X-A",), True, 60)
    assert FunctionUrl.of("app", "live", document) == FunctionUrl("app", "live", "NONE", cors)


@pytest.mark.parametrize("cors", [{}, {"Cors": None}, {"Cors": {}}])
def test_without_cors(cors: dict[str, object]) -> None:
    assert FunctionUrl.of("app", "", {"AuthType": "AWS_IAM", **cors}) == FunctionUrl("app", "", "AWS_IAM")


def test_what_is_absent_is_none() -> None:
    assert Cors.of({"AllowOrigins": None, "MaxAge": 0}) == Cors(max_age=0)


@pytest.mark.parametrize("auth", [None, "", "none", "SOMETHING"])
def test_an_auth_type_that_is_not_known_is_the_strict_one(auth: object) -> None:
    assert FunctionUrl.of("app", "", {"AuthType": auth}).auth == "AWS_IAM"
    assert FunctionUrl.of("app", "", {}).auth == "AWS_IAM"
