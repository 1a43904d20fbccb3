from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol import limits
from penstock.service.logs import Tail


def test_a_short_tail_is_everything() -> None:
    tail = Tail()
    assert tail.bytes() == b""
    tail.add("one")
    tail.add("")
    tail.add("zwölf")
    assert tail.bytes() == "one\n\nzwölf\n".encode()


@given(st.lists(st.tuples(st.sampled_from("abc\xe9"), st.integers(0, 6000)), max_size=40))
def test_it_is_the_last_4_kb_of_the_log(lines: list[tuple[str, int]]) -> None:
    tail = Tail()
    whole = b""
    for letter, count in lines:
        tail.add(letter * count)
        whole += (letter * count).encode() + b"\n"
        assert tail.bytes() == whole[-limits.LOG_TAIL :]


def test_it_keeps_little_of_a_long_log() -> None:
    tail = Tail()
    for _ in range(10_000):
        tail.add("x" * 100)
    assert sum(map(len, tail._kept)) <= 5 * limits.LOG_TAIL


def test_half_a_surrogate_pair_does_no_harm() -> None:
    tail = Tail()
    tail.add("a\ud83db")
    assert tail.bytes() == b"a?b\n"
