import uuid

from penstock.protocol.ids import new_id


def test_a_new_id_is_a_random_uuid() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    for each in ids:
        parsed = uuid.UUID(each)
        assert (str(parsed), parsed.version, parsed.variant) == (each, 4, uuid.RFC_4122)
