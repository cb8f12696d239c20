"""Switchboard with LangChain: pip install langchain-openai. Needs SWITCHBOARD_URL and SWITCHBOARD_KEY."""

import os

from langchain_openai import ChatOpenAI

support = ChatOpenAI(
    model="support",
    base_url=os.environ["SWITCHBOARD_URL"] + "/openai/v1",
    api_key=os.environ["SWITCHBOARD_KEY"],
)

reply = support.invoke("Hello! My name is Ada.")
print(reply.content)

history = [("human", "Hello! My name is Ada."), reply, ("human", "What can you do?")]
for piece in support.stream(history):
    print(piece.content, end="", flush=True)
print()
