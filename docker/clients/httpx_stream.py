"""A streamed turn with httpx, which survives a broken connection: pip install httpx.

Needs SWITCHBOARD_URL and SWITCHBOARD_KEY. The turn goes on without its reader; whoever comes back says what was read last.
"""

import json
import os
import sys
import time
import uuid

import httpx

ENDS = {"turn.completed", "turn.incomplete", "turn.failed", "turn.cancelled"}
client = httpx.Client(
    base_url=os.environ["SWITCHBOARD_URL"],
    headers={"authorization": f"Bearer {os.environ['SWITCHBOARD_KEY']}"},
    # An idle stream has a heartbeat every 15 s: longer silence is a dead connection.
    timeout=httpx.Timeout(10, read=40),
)


def events(response):
    """The events of a stream with their ids. Lines that begin with a colon are heartbeats."""
    for line in response.iter_lines():
        if line.startswith("id: "):
            number = line.removeprefix("id: ")
        elif line.startswith("data: "):
            yield number, json.loads(line.removeprefix("data: "))


def turn(**body):
    """The events of a turn, each once, over as many connections as it takes."""
    turn_id, last = None, "0"
    key = str(uuid.uuid4())
    for _ in range(10):
        try:
            if turn_id is None:
                # With the same key the same request is the same turn, also if its answer was lost.
                headers = {"idempotency-key": key}
                stream = client.stream("POST", "/v1/chat", json={**body, "stream": True}, headers=headers)
            else:
                stream = client.stream("GET", f"/v1/chat/{turn_id}/events", headers={"last-event-id": last})
            with stream as response:
                if response.is_error:
                    sys.exit(response.read().decode())
                turn_id = response.headers["x-turn-id"]
                for last, event in events(response):
                    yield event
                    if event["type"] in ENDS:
                        return
        except httpx.TransportError as error:
            print(f"[reading on after event {last}: {error}]", file=sys.stderr)
        time.sleep(1)
    sys.exit("the connection breaks again and again")


text = ""
for event in turn(assistant="support", message="Hello! My name is Ada."):
    if event["type"] == "message.delta":
        text += event["text"]
        print(event["text"], end="", flush=True)
    elif event["type"] == "message.replaced":
        # Rare: the provider, or a fallback, begins anew.
        text = event["text"]
        print("\n\n" + text, end="", flush=True)
print()
if event["type"] != "turn.completed":
    sys.exit(f"{event['type']}: {event['turn']['error']}")
