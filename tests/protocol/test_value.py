import pytest

from penstock.protocol.value import Value


class Point(Value):
    __slots__ = ("x", "y")

    def __init__(self, x: int, y: int) -> None:
        self.x = x
        self.y = y


class Place(Point):
    __slots__ = ("name",)


def test_equal_by_class_and_attributes() -> None:
    assert Point(1, 2) == Point(1, 2)
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2) != (1, 2)
    assert Point(1, 2) != Place(1, 2)


def test_what_it_says() -> None:
    assert repr(Point(1, 2)) == "Point(x=1, y=2)"


def test_it_is_no_key() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point(1, 2))
