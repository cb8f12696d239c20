"""LiteLLM's SDK, with the gateway as an OpenAI-compatible server."""

import litellm
import openai
from stage import IMAGE, KEY, LIMITED_KEY, URL, raises, run, step

litellm.suppress_debug_info = True


def ask(model="blind", content="Hello there.", **more):
    messages = more.pop("messages", [{"role": "user", "content": content}])
    settings = {"api_base": URL, "api_key": KEY, "max_retries": 0, **more}
    return litellm.completion(model=f"openai/{model}", messages=messages, **settings)


def picture():
    return [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": IMAGE}}]


@step
def plain():
    reply = ask("seeing")
    assert "Hello there." in reply.choices[0].message.content and reply.usage.total_tokens > 0, reply
    assert reply.choices[0].finish_reason == "stop", reply


@step
def streamed():
    for model in ["seeing", "blind", "model"]:
        pieces = list(ask(model, stream=True))
        whole = litellm.stream_chunk_builder(pieces)
        assert len(pieces) > 3 and "Hello there." in whole.choices[0].message.content, pieces
        assert pieces[-1].choices[0].finish_reason == "stop", pieces[-1]


@step
def continued():
    history = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Nice to meet you."},
        {"role": "user", "content": "What is my name?"},
    ]
    for model in ["blind", "model"]:
        assert "Ada" in ask(model, messages=history).choices[0].message.content


@step
def image_refused():
    # Its own name for a 422.
    error = raises(litellm.BadRequestError, lambda: ask("blind", picture()))
    assert "takes no images" in str(error), error


@step
def image_taken():
    assert ask("seeing", picture()).choices[0].message.content


@step
def unknown_model():
    raises(litellm.NotFoundError, lambda: ask("nobody"))


@step
def bad_key():
    raises(litellm.AuthenticationError, lambda: ask(api_key="not-a-key-of-this-gateway"))


@step
def rate_limited():
    # Spends what the key has; one retry comes too early unless the client waits as long as it is told.
    assert ask(api_key=LIMITED_KEY).choices[0].message.content
    raises(litellm.RateLimitError, lambda: ask(api_key=LIMITED_KEY))
    assert ask(api_key=LIMITED_KEY, max_retries=1).choices[0].message.content


@step
def broken_stream():
    for model in ["cut", "cut-model"]:
        # Its errors are kinds of OpenAI's.
        raises(openai.APIError, lambda: list(ask(model, stream=True)))
        error = raises(openai.APIError, lambda: ask(model))
        assert error.status_code == 502, error


run()
