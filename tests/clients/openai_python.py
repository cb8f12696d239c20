"""OpenAI's own package for Python."""

import json

import openai
from openai import OpenAI
from stage import IMAGE, KEY, LIMITED_KEY, URL, WEATHER, raises, release, run, step

client = OpenAI(base_url=URL, api_key=KEY, max_retries=0)


def ask(model="blind", text="Hello there.", **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


def said(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def picture():
    return [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": IMAGE}}]


@step
def models():
    names = [model.id for model in client.models.list()]
    assert {"seeing", "blind", "model"} <= set(names), names
    assert client.models.retrieve("blind").id == "blind"
    raises(openai.NotFoundError, lambda: client.models.retrieve("nobody"))


@step
def plain():
    reply = ask("seeing")
    assert reply.object == "chat.completion" and reply.id.startswith("chatcmpl-"), reply
    assert reply.model == "seeing" and "Hello there." in reply.choices[0].message.content, reply
    assert reply.choices[0].finish_reason == "stop" and reply.choices[0].message.role == "assistant"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0


@step
def streamed():
    for model in ["seeing", "blind", "model"]:
        chunks = list(ask(model, stream=True))
        assert "Hello there." in said(chunks), chunks
        assert len({chunk.id for chunk in chunks}) == 1 and len(chunks) > 3, chunks
        assert chunks[-1].choices[0].finish_reason == "stop", chunks[-1]
        assert all(chunk.usage is None for chunk in chunks)


@step
def streamed_with_usage():
    for model in ["seeing", "model"]:
        chunks = list(ask(model, stream=True, stream_options={"include_usage": True}))
        assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 0, chunks[-1]
        assert all(chunk.usage is None for chunk in chunks[:-1])


@step
def streamed_by_the_helper():
    with client.chat.completions.stream(model="blind", messages=[{"role": "user", "content": "Hi"}]) as stream:
        kinds = {event.type for event in stream}
        whole = stream.get_final_completion()
    assert "content.delta" in kinds and "content.done" in kinds, kinds
    assert "Hi" in whole.choices[0].message.content


@step
def continued():
    for model in ["blind", "model"]:
        history = [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "My name is Ada."},
            {"role": "assistant", "content": "Nice to meet you."},
            {"role": "user", "content": "What is my name?"},
        ]
        reply = client.chat.completions.create(model=model, messages=history)
        assert "Ada" in reply.choices[0].message.content, reply


@step
def image_refused():
    error = raises(openai.UnprocessableEntityError, lambda: ask("blind", picture()))
    assert error.code == "unsupported" and error.type == "unsupported" and "messages" in error.param, error.body


@step
def image_taken():
    for model in ["seeing", "model"]:
        assert ask(model, picture()).choices[0].message.content


@step
def unknown_model():
    error = raises(openai.NotFoundError, lambda: ask("nobody"))
    assert error.code == "assistant_not_found" and error.param == "model", error.body
    raises(openai.NotFoundError, lambda: ask("nobody", stream=True))


@step
def bad_key():
    stranger = client.with_options(api_key="not-a-key-of-this-gateway")
    error = raises(openai.AuthenticationError, lambda: stranger.models.list())
    assert error.code == "invalid_key", error.body
    message = [{"role": "user", "content": "Hi"}]
    raises(
        openai.AuthenticationError,
        lambda: stranger.chat.completions.create(model="blind", messages=message, stream=True),
    )


@step
def rate_limited():
    seen = []
    watching = openai.DefaultHttpxClient(
        event_hooks={"response": [lambda r: seen.append((r.status_code, r.headers.get("retry-after")))]}
    )
    # One retry: it comes too early unless the client waits as long as it is told.
    limited = OpenAI(base_url=URL, api_key=LIMITED_KEY, max_retries=1, http_client=watching)
    limited.models.list()
    message = [{"role": "user", "content": "Hi"}]
    reply = limited.chat.completions.create(model="blind", messages=message)
    assert reply.choices[0].message.content
    assert [status for status, _ in seen] == [200, 429, 200] and int(seen[1][1]) > 1, seen


@step
def broken_stream():
    for model in ["cut", "cut-model"]:
        chunks = []
        stream = ask(model, stream=True)
        error = raises(openai.APIError, lambda: chunks.extend(stream))
        assert error.code == "provider_error", error.body
        # What came before is the client's to keep or to throw away; it was told that there should have been more.
        broken = raises(openai.APIStatusError, lambda: ask(model))
        assert broken.status_code == 502, broken


@step
def tools():
    message = {"role": "user", "content": "Use the tool."}
    reply = client.chat.completions.create(model="model", messages=[message], tools=[WEATHER])
    call = reply.choices[0].message.tool_calls[0]
    assert reply.choices[0].finish_reason == "tool_calls" and call.function.name == "weather", reply
    assert json.loads(call.function.arguments) == {"query": "Use the tool."}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    history = [message, reply.choices[0].message, result]
    reply = client.chat.completions.create(model="model", messages=history, tools=[WEATHER])
    assert "sunny" in reply.choices[0].message.content

    chunks = list(client.chat.completions.create(model="model", messages=[message], tools=[WEATHER], stream=True))
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    arguments = "".join(call.function.arguments or "" for call in calls)
    assert calls[0].function.name == "weather" and json.loads(arguments) == {"query": "Use the tool."}, calls
    assert chunks[-1].choices[0].finish_reason == "tool_calls"

    error = raises(openai.UnprocessableEntityError, lambda: ask("blind", tools=[WEATHER]))
    assert error.param == "tools", error.body


@step
def parameters():
    raw = client.chat.completions.with_raw_response.create(
        model="blind", messages=[{"role": "user", "content": "Hi"}], temperature=0.1, max_tokens=5
    )
    assert raw.headers["x-ignored-parameters"] == "max_tokens, temperature", raw.headers
    reply = ask("model", temperature=0.25, extra_body={"x_new": {"deep": [1]}})
    assert reply.to_dict()["x_echo"] == {"temperature": 0.25, "x_new": {"deep": [1]}}, reply


@step
def cancelled_elsewhere():
    # A turn that somebody stopped is not asked for again by the client itself: it would run after all.
    seen = []
    watching = openai.DefaultHttpxClient(event_hooks={"response": [lambda r: seen.append(r.status_code)]})
    patient = OpenAI(base_url=URL, api_key=KEY, max_retries=2, http_client=watching)
    stream = patient.chat.completions.create(
        model="held", messages=[{"role": "user", "content": "Hi"}], stream=True, store=True
    )
    next(stream)
    turn = stream.response.headers["x-turn-id"]
    client.responses.cancel(turn.replace("turn_", "resp_"))
    error = raises(openai.APIError, lambda: list(stream))
    assert error.code == "conversation_busy" and seen == [200], (error.body, seen)


@step
def response():
    reply = client.responses.create(model="seeing", input="Hello there.", metadata={"of": "the test"})
    assert reply.status == "completed" and reply.id.startswith("resp_") and reply.error is None, reply
    assert "Hello there." in reply.output_text and reply.usage.total_tokens > 0, reply
    again = client.responses.retrieve(reply.id)
    assert again.output_text == reply.output_text and again.metadata == {"of": "the test"}, again
    items = client.responses.input_items.list(reply.id).data
    assert items[0].content[0].text == "Hello there.", items


@step
def response_streamed():
    for model in ["seeing", "blind", "model"]:
        events = list(client.responses.create(model=model, input="Hello there.", stream=True))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[0].type == "response.created" and events[-1].type == "response.completed", events[-1]
        deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert deltas == events[-1].response.output_text and "Hello there." in deltas
    with client.responses.stream(model="blind", input="Hello there.") as stream:
        for _ in stream:
            pass
        assert "Hello there." in stream.get_final_response().output_text


@step
def response_in_the_background():
    running = client.responses.create(model="held", input="Hello there.", background=True)
    assert running.status in ("queued", "in_progress"), running
    assert client.responses.retrieve(running.id).status == "in_progress"
    seen = []
    for event in client.responses.retrieve(running.id, stream=True):
        seen.append(event)
        if event.type == "response.output_text.delta":
            break
    release()
    rest = list(client.responses.retrieve(running.id, stream=True, starting_after=seen[-1].sequence_number))
    numbers = [event.sequence_number for event in seen + rest]
    assert numbers == list(range(len(numbers))), numbers
    deltas = [event.delta for event in seen + rest if event.type == "response.output_text.delta"]
    whole = client.responses.retrieve(running.id)
    assert whole.status == "completed" and "".join(deltas) == whole.output_text, whole


@step
def response_cancelled():
    running = client.responses.create(model="held", input="Hello there.", background=True, stream=True)
    begun = next(running)
    first = next(event.delta for event in running if event.type == "response.output_text.delta")
    running.close()
    stopped = client.responses.cancel(begun.response.id)
    assert stopped.status == "cancelled" and stopped.output_text == first, stopped
    assert client.responses.cancel(stopped.id).status == "cancelled"


@step
def response_continued():
    first = client.responses.create(model="blind", input="My name is Ada.", instructions="Be kind.")
    second = client.responses.create(model="blind", input="What is my name?", previous_response_id=first.id)
    assert "Ada" in second.output_text and second.previous_response_id == first.id, second
    # A second answer to the first goes its own way.
    other = client.responses.create(model="blind", input="What is my name?", previous_response_id=first.id)
    assert "Ada" in other.output_text and other.conversation.id != second.conversation.id
    history = [
        {"role": "user", "content": "My name is Eve."},
        {"role": "assistant", "content": "Nice to meet you."},
        {"role": "user", "content": "What is my name?"},
    ]
    assert "Eve" in client.responses.create(model="blind", input=history).output_text


@step
def response_deleted():
    reply = client.responses.create(model="blind", input="Forget this.")
    client.responses.delete(reply.id)
    raises(openai.NotFoundError, lambda: client.responses.retrieve(reply.id))
    unkept = client.responses.create(model="blind", input="Keep nothing.", store=False)
    assert unkept.conversation is None
    raises(openai.NotFoundError, lambda: client.responses.retrieve(unkept.id))


@step
def response_broken():
    for model in ["cut", "cut-model"]:
        raises(openai.APIError, lambda: list(client.responses.create(model=model, input="Hi", stream=True)))
        error = raises(openai.APIStatusError, lambda: client.responses.create(model=model, input="Hi"))
        assert error.status_code == 502, error


@step
def response_images_and_tools():
    parts = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": IMAGE}]
    message = [{"role": "user", "content": parts}]
    raises(openai.UnprocessableEntityError, lambda: client.responses.create(model="blind", input=message))
    assert client.responses.create(model="seeing", input=message).output_text

    weather = {"type": "function", **WEATHER["function"], "strict": False}
    first = client.responses.create(model="model", input="Use the tool.", tools=[weather])
    call = next(item for item in first.output if item.type == "function_call")
    assert call.name == "weather" and json.loads(call.arguments) == {"query": "Use the tool."}, call
    result = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    second = client.responses.create(model="model", input=result, tools=[weather], previous_response_id=first.id)
    assert "sunny" in second.output_text, second


@step
def conversations():
    item = {"type": "message", "role": "user", "content": "My name is Ada."}
    made = client.conversations.create(items=[item], metadata={"of": "the test"})
    assert client.conversations.retrieve(made.id).metadata == {"of": "the test"}
    assert client.conversations.update(made.id, metadata={"of": "another"}).metadata == {"of": "another"}
    reply = client.responses.create(model="blind", input="What is my name?", conversation=made.id)
    assert "Ada" in reply.output_text and reply.conversation.id == made.id, reply
    client.conversations.items.create(made.id, items=[{"type": "message", "role": "user", "content": "Bye."}])
    items = list(client.conversations.items.list(made.id, order="asc", limit=2))
    assert [item.role for item in items] == ["user", "user", "assistant", "user"], items
    assert items[-1].content[0].text == "Bye."
    assert client.conversations.items.retrieve(items[0].id, conversation_id=made.id).id == items[0].id
    assert client.conversations.delete(made.id).deleted
    raises(openai.NotFoundError, lambda: client.conversations.retrieve(made.id))


run()
