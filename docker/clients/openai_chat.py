"""Switchboard with OpenAI's package: pip install openai. Needs SWITCHBOARD_URL and SWITCHBOARD_KEY."""

import os

from openai import APIError, OpenAI

client = OpenAI(base_url=os.environ["SWITCHBOARD_URL"] + "/openai/v1", api_key=os.environ["SWITCHBOARD_KEY"])

# Chat Completions: the client keeps the history. With store=True the gateway keeps the turn as well.
messages = [{"role": "user", "content": "Hello! My name is Ada."}]
reply = client.chat.completions.create(model="support", messages=messages)
print(reply.choices[0].message.content)

# Piece by piece. A stream that breaks off raises an error: what was printed is then not the whole reply.
messages += [reply.choices[0].message, {"role": "user", "content": "What can you do?"}]
try:
    for chunk in client.chat.completions.create(model="support", messages=messages, stream=True):
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()
except APIError as error:
    print("\nThe reply broke off:", error)

# Responses: the gateway keeps the history.
first = client.responses.create(model="support", input="Hello! My name is Ada.")
second = client.responses.create(model="support", input="What is my name?", previous_response_id=first.id)
print(second.output_text)
