"""What a schema cannot say of a request, and a gateway is right to refuse: made good, so that it counts as a fault of neither.

Only what is well-formed is changed: a request that was made to be wrong stays wrong."""

from datetime import datetime, timezone

import schemathesis


def is_user(name):
    return isinstance(name, str) and name.strip() and len(name.encode("utf-8", "replace")) <= 256 and name.isprintable()


def turn(body):
    messages = body.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if isinstance(last, dict) and last.get("role") in ("system", "assistant"):
        # The last message of a transcript is the user's.
        last["role"] = "user"
    if isinstance(body.get("conversation_id"), str) and is_user(body.get("user")):
        # A conversation goes on belonging to whom it belongs.
        del body["user"]


def key(body):
    try:
        ends = datetime.fromisoformat(body["expires_at"].upper().replace("Z", "+00:00"))
    except (AttributeError, KeyError, ValueError):
        return
    if ends.tzinfo is not None and ends < datetime.now(timezone.utc):
        # A key that is made has not ended yet.
        body["expires_at"] = "2099-01-01T00:00:00Z"


CHANGES = {"createTurn": turn, "createKey": key}


@schemathesis.hook
def before_call(context, case, kwargs):
    change = CHANGES.get(case.operation.definition.raw.get("operationId"))
    if change and isinstance(case.body, dict):
        change(case.body)
