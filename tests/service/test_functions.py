from penstock.service.functions import LATEST, Function, function_arn

APP = Function("app", "app.handler", "/tmp", "python")


def test_defaults_are_those_of_a_bare_handler() -> None:
    assert (APP.timeout, APP.memory_mb, APP.idle_timeout, APP.version) == (900, 1024, None, LATEST)


def test_arns() -> None:
    assert function_arn("eu-west-1", "000000000000", "app") == (
        "arn:aws:lambda:eu-west-1:000000000000:function:app"
    )
    assert function_arn("us-east-1", "123456789012", "x", "prod") == (
        "arn:aws:lambda:us-east-1:123456789012:function:x:prod"
    )


def test_versions_and_generations_have_keys_of_their_own() -> None:
    others = (
        Function("app", "app.handler", "/tmp", "python", version="1"),
        Function("app", "app.handler", "/tmp", "python", generation="2"),
        Function("other", "app.handler", "/tmp", "python"),
    )
    assert len({APP.key, *(other.key for other in others)}) == 4
    assert Function("app", "x.y", "/", "python").key == APP.key
