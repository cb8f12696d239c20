"""What the Python clients' tests have in common: the gateway that a test has started, and steps that are run one by one."""

import os
import urllib.request

URL = os.environ["SWITCHBOARD_URL"] + "/openai/v1"
KEY = os.environ["SWITCHBOARD_KEY"]
# A key that may ask once every five seconds.
LIMITED_KEY = os.environ["SWITCHBOARD_LIMITED_KEY"]
SIMULATOR = os.environ["SIMULATOR_URL"]

IMAGE = "https://example.com/cat.png"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a place",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}

_steps = []


def step(function):
    """Makes a function a step of the script."""
    _steps.append(function)
    return function


def run():
    """Runs all steps. The first that fails ends the script; who started it reads which were done."""
    for one in _steps:
        one()
        print("done:", one.__name__.replace("_", " "), flush=True)


def raises(kind, call):
    """The error of this kind that a call ends with; anything else is a failure."""
    try:
        given = call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind} but {given!r}")


def release(upstream_id="fault-hold-after-1"):
    """Lets the simulated provider go on with what it holds back."""
    request = urllib.request.Request(f"{SIMULATOR}/_simulator/release?upstream_id={upstream_id}", method="POST")
    urllib.request.urlopen(request).close()
