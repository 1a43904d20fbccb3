"""What a runtime may ask for when: the states of AWS's Runtime API, as a table. Pure.

    Started ──next──▶ Ready ──event──▶ Running ──response──▶ InvocationResponse ──read──▶ ResponseSent
       │                ▲                 └──error──▶ InvocationErrorResponse ──read──▶ ResponseSent
       │                └── next, from ResponseSent or from Restoring
       ├──init/error──▶ InitError
       └──restore/next──▶ Restoring ──restore/error──▶ RestoreError

Source: the Runtime Interface Emulator, core/states.go and core/runtime_state_names.go. Its RestoreReady,
where a runtime waits between its snapshot and its restore, is left out: here snapshots are forks, which begin
as Restoring, and whoever calls restore/next is restored at once. (AWS has restore/* with SnapStart only.)
"""

from enum import Enum


class State(Enum):
    """Where a runtime stands. The values are AWS's names, which its messages use."""

    STARTED = "Started"
    INIT_ERROR = "InitError"
    RESTORING = "Restoring"
    RESTORE_ERROR = "RuntimeRestoreErrorState"
    READY = "Ready"  # it waits for an event
    RUNNING = "Running"
    RESPONSE = "InvocationResponse"  # its response is being read
    ERROR = "InvocationErrorResponse"  # its error report is being read
    RESPONSE_SENT = "RuntimeResponseSentState"


class Call(Enum):
    """What it may ask for: the path, and the state that AWS's messages say it wanted to reach."""

    NEXT = ("invocation/next", "Ready")
    RESPONSE = ("invocation/response", "InvocationResponse")
    ERROR = ("invocation/error", "InvocationErrorResponse")
    INIT_ERROR = ("init/error", "InitError")
    RESTORE_NEXT = ("restore/next", "Ready")
    RESTORE_ERROR = ("restore/error", "RuntimeRestoreErrorState")


_TABLE = {
    (State.STARTED, Call.NEXT): State.READY,
    (State.STARTED, Call.INIT_ERROR): State.INIT_ERROR,
    (State.STARTED, Call.RESTORE_NEXT): State.RESTORING,
    (State.RESTORING, Call.NEXT): State.READY,
    (State.RESTORING, Call.RESTORE_ERROR): State.RESTORE_ERROR,
    (State.RESTORING, Call.INIT_ERROR): State.RESTORE_ERROR,
    (State.READY, Call.NEXT): State.READY,  # over a second connection
    (State.RUNNING, Call.NEXT): State.RUNNING,  # the same event again
    (State.RUNNING, Call.RESPONSE): State.RESPONSE,
    (State.RUNNING, Call.ERROR): State.ERROR,
    (State.RESPONSE_SENT, Call.NEXT): State.READY,
}


def after(state: State, call: Call) -> State | None:
    """The state `call` leads to; None where it is not allowed."""
    return _TABLE.get((state, call))


def objection(state: State, call: Call) -> str:
    """AWS's message to a runtime that calls out of turn."""
    return (
        f"State transition from {state.value} to {call.value[1]} failed for runtime."
        " Error: State transition is not allowed"
    )
