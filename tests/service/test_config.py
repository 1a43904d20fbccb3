import dataclasses

import pytest

from penstock.service.config import Config


def test_every_setting_says_what_it_is() -> None:
    for field in dataclasses.fields(Config):
        assert field.metadata["help"], field.name


def test_defaults() -> None:
    config = Config()
    assert (config.max_environments, config.init_timeout, config.cancel_grace) == (1000, 10, 3)


def test_it_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().init_timeout = 1  # type: ignore[misc]
