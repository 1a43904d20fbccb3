"""Every call in every state: where it leads, or what AWS answers."""

import pytest

from penstock.service.runtime_states import Call, State, after, objection

ALLOWED = {
    (State.STARTED, Call.NEXT): State.READY,
    (State.STARTED, Call.INIT_ERROR): State.INIT_ERROR,
    (State.STARTED, Call.RESTORE_NEXT): State.RESTORING,
    (State.RESTORING, Call.NEXT): State.READY,
    (State.RESTORING, Call.INIT_ERROR): State.RESTORE_ERROR,
    (State.RESTORING, Call.RESTORE_ERROR): State.RESTORE_ERROR,
    (State.READY, Call.NEXT): State.READY,
    (State.RUNNING, Call.NEXT): State.RUNNING,
    (State.RUNNING, Call.RESPONSE): State.RESPONSE,
    (State.RUNNING, Call.ERROR): State.ERROR,
    (State.RESPONSE_SENT, Call.NEXT): State.READY,
}


@pytest.mark.parametrize("call", Call)
@pytest.mark.parametrize("state", State)
def test_where_a_call_leads(state: State, call: Call) -> None:
    assert after(state, call) is ALLOWED.get((state, call))


@pytest.mark.parametrize(
    ("state", "call", "names"),
    [
        (State.READY, Call.INIT_ERROR, "Ready to InitError"),
        (State.RUNNING, Call.INIT_ERROR, "Running to InitError"),
        (State.INIT_ERROR, Call.INIT_ERROR, "InitError to InitError"),
        (State.INIT_ERROR, Call.NEXT, "InitError to Ready"),
        (State.RESPONSE, Call.NEXT, "InvocationResponse to Ready"),
        (State.RESPONSE_SENT, Call.RESTORE_NEXT, "RuntimeResponseSentState to Ready"),
        (State.STARTED, Call.RESTORE_ERROR, "Started to RuntimeRestoreErrorState"),
    ],
)
def test_the_message_is_the_emulators(state: State, call: Call, names: str) -> None:
    text = f"State transition from {names} failed for runtime. Error: State transition is not allowed"
    assert objection(state, call) == text
