"""LangChain's chat model for OpenAI."""

import openai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from stage import IMAGE, KEY, LIMITED_KEY, URL, raises, run, step


def chat(model="blind", **more):
    return ChatOpenAI(**{"base_url": URL, "api_key": KEY, "max_retries": 0, "model": model, **more})


def picture():
    return [
        HumanMessage(
            content=[{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
        )
    ]


@step
def plain():
    reply = chat("seeing").invoke("Hello there.")
    assert "Hello there." in reply.content and reply.usage_metadata["total_tokens"] > 0, reply
    assert reply.response_metadata["finish_reason"] == "stop", reply


@step
def streamed():
    for model in ["seeing", "blind", "model"]:
        pieces = list(chat(model).stream("Hello there."))
        whole = sum(pieces[1:], pieces[0])
        assert len(pieces) > 3 and "Hello there." in whole.content, pieces
        assert whole.response_metadata["finish_reason"] == "stop", whole
    with_usage = list(chat("seeing", stream_usage=True).stream("Hello there."))
    assert sum(with_usage[1:], with_usage[0]).usage_metadata["total_tokens"] > 0


@step
def continued():
    history = [
        SystemMessage("Be kind."),
        HumanMessage("My name is Ada."),
        AIMessage("Nice to meet you."),
        HumanMessage("What is my name?"),
    ]
    for model in ["blind", "model"]:
        assert "Ada" in chat(model).invoke(history).content


@step
def image_refused():
    error = raises(openai.UnprocessableEntityError, lambda: chat("blind").invoke(picture()))
    assert error.code == "unsupported", error.body


@step
def image_taken():
    assert chat("seeing").invoke(picture()).content


@step
def unknown_model():
    error = raises(openai.NotFoundError, lambda: chat("nobody").invoke("Hi"))
    assert error.code == "assistant_not_found", error.body


@step
def bad_key():
    raises(openai.AuthenticationError, lambda: chat(api_key="not-a-key-of-this-gateway").invoke("Hi"))


@step
def rate_limited():
    # Spends what the key has; one retry comes too early unless the client waits as long as it is told.
    assert chat(api_key=LIMITED_KEY).invoke("Hi").content
    raises(openai.RateLimitError, lambda: chat(api_key=LIMITED_KEY).invoke("Hi"))
    assert chat(api_key=LIMITED_KEY, max_retries=1).invoke("Hi").content


@step
def broken_stream():
    for model in ["cut", "cut-model"]:
        error = raises(openai.APIError, lambda: list(chat(model).stream("Hi")))
        assert error.code == "provider_error", error.body
        assert raises(openai.APIStatusError, lambda: chat(model).invoke("Hi")).status_code == 502


@step
def tools():
    @tool
    def weather(query: str) -> str:
        """The weather in a place."""
        return f"sunny in {query}"

    bound = chat("model").bind_tools([weather])
    question = HumanMessage("Use the tool.")
    reply = bound.invoke([question])
    call = reply.tool_calls[0]
    assert call["name"] == "weather" and call["args"] == {"query": "Use the tool."}, reply
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert "sunny" in bound.invoke([question, reply, result]).content

    pieces = list(bound.stream([question]))
    assert sum(pieces[1:], pieces[0]).tool_calls[0]["args"] == {"query": "Use the tool."}, pieces


@step
def responses():
    model = chat("blind", use_responses_api=True, use_previous_response_id=True)
    first = model.invoke("My name is Ada.")
    second = model.invoke([HumanMessage("My name is Ada."), first, HumanMessage("What is my name?")])
    assert "Ada" in second.text, second
    pieces = list(chat("blind", use_responses_api=True).stream("Hello there."))
    assert "Hello there." in sum(pieces[1:], pieces[0]).text, pieces


run()
