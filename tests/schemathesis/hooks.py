"""What a schema cannot say of a request, and a gateway is right to refuse: made good, so that it counts as a fault of neither. And names
that are made up become names of what is there, or nearly every case would end at a 404.

Only what is well-formed is changed: a request that was made to be wrong stays wrong."""

import json
import re
import zlib
from collections import defaultdict, deque
from datetime import datetime, timezone

import schemathesis
from schemathesis import GenerationMode

# Those of the demo.
ASSISTANTS = ("support", "sales", "docs", "concierge")
# Behind it stands OpenAI's own protocol: what it takes is not ours to say, so that it takes more than is described.
OPEN = "model"
ID = re.compile(r"^(conv|turn|msg|key|resp)_[0-9a-f]{32}$")
IN_ANSWERS = re.compile(r"\b(conv|turn|msg|key|resp)_[0-9a-f]{32}\b")

# The ids that were last seen, by their prefix.
seen = defaultdict(lambda: deque(maxlen=30))
# Conversations with a message of theirs.
kept = deque(maxlen=30)


def chance(thing):
    """A number that is the same for the same thing."""
    return zlib.crc32(json.dumps(thing, sort_keys=True, default=str).encode())


def real_id(prefix, number):
    known = seen[prefix]
    return known[number % len(known)] if known else None


def is_words(text):
    return isinstance(text, str) and text.strip() and text.isprintable()


def name_assistant(body, field, positive):
    """Three of four names become one of the demo's."""
    if not is_words(body.get(field)):
        return
    number = chance(body)
    names = ASSISTANTS + (OPEN,) if positive else ASSISTANTS
    if number % 4:
        body[field] = names[number // 4 % len(names)]


def name_id(body, field, prefix):
    """The same for an id."""
    number = chance(body)
    if is_words(body.get(field)) and number % 4 and (found := real_id(prefix, number)):
        body[field] = found


def end_with_user(messages):
    """The last message of a transcript is the user's."""
    last = messages[-1] if isinstance(messages, list) and messages else None
    if isinstance(last, dict) and last.get("role") in ("system", "developer", "assistant"):
        last["role"] = "user"
        # The user says something, where the assistant may have said nothing.
        if not says_something(last.get("content")):
            last["content"] = "Hello"


def says_something(content):
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    return any(isinstance(part, dict) and (part.get("text") or part.get("refusal") or part.get("image_url")) for part in parts)


def of_its_user(body):
    """A conversation goes on belonging to whom it belongs."""
    if isinstance(body.get("user"), str) and body["user"].strip() and len(body["user"].encode("utf-8", "replace")) <= 256:
        if body["user"].isprintable():
            del body["user"]


def turn(body, positive):
    name_assistant(body, "assistant", positive)
    name_id(body, "conversation_id", "conv")
    end_with_user(body.get("messages"))
    if isinstance(body.get("conversation_id"), str):
        of_its_user(body)


def conversation(body, positive):
    name_assistant(body, "assistant", positive)


def fork(body, positive):
    name_id(body, "message_id", "msg")


def completion(body, positive):
    name_assistant(body, "model", positive)
    end_with_user(body.get("messages"))


def response(body, positive):
    name_assistant(body, "model", positive)
    name_id(body, "conversation", "conv")
    name_id(body, "previous_response_id", "resp")
    goes_on = any(isinstance(body.get(name), (str, dict)) for name in ("conversation", "previous_response_id"))
    if goes_on:
        of_its_user(body)
    items = body.get("input")
    end_with_user(items)
    if positive and isinstance(items, list):
        # Thoughts alone say nothing; what the assistant said stands in a conversation already; and its items end with the user's.
        kinds = [item.get("role") if item.get("type") in (None, "message") else item.get("type") for item in items]
        told = [kind for kind in kinds if kind != "reasoning"]
        if not told or told[-1] in ("assistant", "system", "developer", "function_call") or goes_on and "assistant" in told:
            body["input"] = "Hello"


def key(body, positive):
    if positive and (body.get("budgets") or body.get("assistants")):
        # A key names assistants that are there, and a budget those whose providers report usage.
        body["assistants"] = ["support"]
    try:
        ends = datetime.fromisoformat(body["expires_at"].upper().replace("Z", "+00:00"))
    except (AttributeError, KeyError, ValueError):
        return
    if ends.tzinfo is not None and ends < datetime.now(timezone.utc):
        # A key that is made has not ended yet.
        body["expires_at"] = "2099-01-01T00:00:00Z"


CHANGES = {
    "createTurn": turn,
    "createConversation": conversation,
    "forkConversation": fork,
    "createChatCompletion": completion,
    "openaiCreateChatCompletion": completion,
    "createResponse": response,
    "openaiCreateResponse": response,
    "createKey": key,
}


@schemathesis.hook
def filter_case(context, case):
    """HTTP lets headers pass that nobody knows. schemathesis means to let them off too, but takes the number in a `Last-Event-ID` beside
    one for a word, and so for a fault."""
    data = case.meta.phase.data if case.meta else None
    place = getattr(getattr(data, "parameter_location", None), "name", None)
    scenario = getattr(getattr(data, "scenario", None), "name", None)
    return not (scenario == "OBJECT_UNEXPECTED_PROPERTIES" and place == "HEADER")


@schemathesis.hook
def before_call(context, case, kwargs):
    change = CHANGES.get(case.operation.definition.raw.get("operationId"))
    if change and isinstance(case.body, dict):
        change(case.body, case.meta is None or case.meta.generation.mode == GenerationMode.POSITIVE)
    if "item" in (case.path_parameters or {}) and kept and ID.match(str(case.path_parameters["id"])):
        number = chance([case.body, case.query, case.path_parameters])
        if number % 4:
            case.path_parameters["id"], case.path_parameters["item"] = kept[number // 4 % len(kept)]
        return
    for name, value in (case.path_parameters or {}).items():
        number = chance([case.body, case.query, value])
        # What is erased cannot be asked for again.
        wanted = number % 8 == 0 if case.method == "DELETE" else number % 4
        kind = (ID.match(value) or [None, None])[1] if isinstance(value, str) else None
        if kind and wanted and (found := real_id(kind, number // 8)):
            case.path_parameters[name] = found
        elif name == "name" and is_words(value) and wanted:
            case.path_parameters[name] = ASSISTANTS[number // 8 % len(ASSISTANTS)]


@schemathesis.hook
def after_call(context, case, response):
    for found in IN_ANSWERS.finditer(response.text or ""):
        if found[0] not in seen[found[1]]:
            seen[found[1]].append(found[0])
            about = str((case.path_parameters or {}).get("id"))
            if found[1] == "msg" and about.startswith("conv_"):
                kept.append((about, found[0]))
