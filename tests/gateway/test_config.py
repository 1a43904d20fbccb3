import dataclasses

import pytest

from penstock.gateway.config import Config


def test_every_setting_says_what_it_is() -> None:
    for field in dataclasses.fields(Config):
        assert field.metadata["help"], field.name


def test_defaults() -> None:
    config = Config()
    assert (config.event_format, config.on_disconnect) == ("1.0", "cancel")


def test_it_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().event_format = "2.0"  # type: ignore[misc]
