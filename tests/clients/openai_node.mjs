// OpenAI's own package for JavaScript.

import assert from "node:assert/strict";

import OpenAI from "openai";

import { HISTORY, IMAGE, KEY, LIMITED_KEY, URL, all, raises, release, run, watched } from "./stage.mjs";

const client = new OpenAI({ baseURL: URL, apiKey: KEY, maxRetries: 0 });

const ask = (model, content = "Hello there.", more = {}) =>
  client.chat.completions.create({ model, messages: [{ role: "user", content }], ...more });
const said = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");
const picture = [
  { type: "text", text: "What is this?" },
  { type: "image_url", image_url: { url: IMAGE } },
];
const weather = { name: "weather", parameters: { type: "object", properties: { query: { type: "string" } } } };
const tools = [{ type: "function", function: weather }];

await run({
  async models() {
    const names = (await all(client.models.list())).map((model) => model.id);
    assert(names.includes("seeing") && names.includes("blind"), names);
    assert.equal((await client.models.retrieve("blind")).id, "blind");
    assert((await raises(() => client.models.retrieve("nobody"))) instanceof OpenAI.NotFoundError);
  },

  async plain() {
    const reply = await ask("seeing");
    assert.match(reply.choices[0].message.content, /Hello there\./);
    assert.deepEqual([reply.model, reply.choices[0].finish_reason], ["seeing", "stop"]);
    assert(reply.usage.total_tokens > 0);
  },

  async streamed() {
    for (const model of ["seeing", "blind", "model"]) {
      const chunks = await all(await ask(model, undefined, { stream: true }));
      assert.match(said(chunks), /Hello there\./);
      assert(chunks.length > 3);
      assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
    }
  },

  async "streamed with usage"() {
    const more = { stream: true, stream_options: { include_usage: true } };
    for (const model of ["seeing", "model"]) {
      const last = (await all(await ask(model, undefined, more))).at(-1);
      assert.deepEqual(last.choices, []);
      assert(last.usage.total_tokens > 0);
    }
  },

  async "streamed by the helper"() {
    const stream = client.chat.completions.stream({ model: "blind", messages: [{ role: "user", content: "Hi" }] });
    assert.match(await stream.finalContent(), /Hi/);
  },

  async continued() {
    for (const model of ["blind", "model"]) {
      const reply = await client.chat.completions.create({ model, messages: HISTORY });
      assert.match(reply.choices[0].message.content, /Ada/);
    }
  },

  async "image refused"() {
    const error = await raises(() => ask("blind", picture));
    assert(error instanceof OpenAI.UnprocessableEntityError);
    assert.equal(error.code, "unsupported");
  },

  async "image taken"() {
    for (const model of ["seeing", "model"]) assert((await ask(model, picture)).choices[0].message.content);
  },

  async "unknown model"() {
    for (const stream of [false, true]) {
      const error = await raises(() => ask("nobody", undefined, { stream }));
      assert(error instanceof OpenAI.NotFoundError);
      assert.deepEqual([error.code, error.param], ["assistant_not_found", "model"]);
    }
  },

  async "bad key"() {
    const stranger = new OpenAI({ baseURL: URL, apiKey: "not-a-key-of-this-gateway" });
    const error = await raises(() => stranger.models.list());
    assert(error instanceof OpenAI.AuthenticationError);
    assert.equal(error.code, "invalid_key");
  },

  async "rate limited"() {
    const seen = [];
    // One retry: it comes too early unless the client waits as long as it is told.
    const limited = new OpenAI({ baseURL: URL, apiKey: LIMITED_KEY, maxRetries: 1, fetch: watched(seen) });
    await limited.models.list();
    await limited.chat.completions.create({ model: "blind", messages: [{ role: "user", content: "Hi" }] });
    assert.deepEqual(seen.map(([status]) => status), [200, 429, 200]);
    assert(Number(seen[1][1]) > 1, seen);
  },

  async "broken stream"() {
    for (const model of ["cut", "cut-model"]) {
      const stream = await ask(model, undefined, { stream: true });
      const error = await raises(() => all(stream));
      assert(error instanceof OpenAI.APIError);
      assert.equal(error.code, "provider_error");
      assert.equal((await raises(() => ask(model))).status, 502);
    }
  },

  async tools() {
    const question = { role: "user", content: "Use the tool." };
    const reply = await client.chat.completions.create({ model: "model", messages: [question], tools });
    const [call] = reply.choices[0].message.tool_calls;
    assert.deepEqual(JSON.parse(call.function.arguments), { query: "Use the tool." });
    const result = { role: "tool", tool_call_id: call.id, content: "sunny" };
    const messages = [question, reply.choices[0].message, result];
    const second = await client.chat.completions.create({ model: "model", messages, tools });
    assert.match(second.choices[0].message.content, /sunny/);

    const stream = client.chat.completions.stream({ model: "model", messages: [question], tools });
    const [streamed] = (await stream.finalMessage()).tool_calls;
    assert.deepEqual(JSON.parse(streamed.function.arguments), { query: "Use the tool." });
    assert.equal((await raises(() => ask("blind", undefined, { tools }))).param, "tools");
  },

  async response() {
    const reply = await client.responses.create({ model: "seeing", input: "Hello there." });
    assert.match(reply.output_text, /Hello there\./);
    assert.equal(reply.status, "completed");
    assert(reply.usage.total_tokens > 0);
    assert.equal((await client.responses.retrieve(reply.id)).output_text, reply.output_text);
  },

  async "response streamed"() {
    for (const model of ["seeing", "blind", "model"]) {
      const events = await all(await client.responses.create({ model, input: "Hello there.", stream: true }));
      assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
      assert.equal(events.at(-1).type, "response.completed");
      const deltas = events.filter((event) => event.type === "response.output_text.delta");
      const text = events.at(-1).response.output[0].content[0].text;
      assert.equal(deltas.map((event) => event.delta).join(""), text);
    }
    const stream = client.responses.stream({ model: "blind", input: "Hello there." });
    assert.match((await stream.finalResponse()).output_text, /Hello there\./);
  },

  async "response in the background"() {
    const running = await client.responses.create({ model: "held", input: "Hello there.", background: true });
    assert.equal((await client.responses.retrieve(running.id)).status, "in_progress");
    const seen = [];
    for await (const event of await client.responses.retrieve(running.id, { stream: true })) {
      seen.push(event);
      if (event.type === "response.output_text.delta") break;
    }
    await release();
    const after = { stream: true, starting_after: seen.at(-1).sequence_number };
    const events = [...seen, ...(await all(await client.responses.retrieve(running.id, after)))];
    assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
    const deltas = events.filter((event) => event.type === "response.output_text.delta");
    const whole = await client.responses.retrieve(running.id);
    assert.equal(whole.status, "completed");
    assert.equal(deltas.map((event) => event.delta).join(""), whole.output_text);
  },

  async "response cancelled"() {
    const running = await client.responses.create({ model: "held", input: "Hi", background: true });
    assert.equal((await client.responses.cancel(running.id)).status, "cancelled");
    assert.equal((await client.responses.retrieve(running.id)).status, "cancelled");
  },

  async "response continued"() {
    const first = await client.responses.create({ model: "blind", input: "My name is Ada." });
    const next = { model: "blind", input: "What is my name?", previous_response_id: first.id };
    assert.match((await client.responses.create(next)).output_text, /Ada/);
  },

  async "response deleted"() {
    const reply = await client.responses.create({ model: "blind", input: "Forget this." });
    await client.responses.delete(reply.id);
    assert((await raises(() => client.responses.retrieve(reply.id))) instanceof OpenAI.NotFoundError);
  },

  async "response broken"() {
    for (const model of ["cut", "cut-model"]) {
      const stream = await client.responses.create({ model, input: "Hi", stream: true });
      assert((await raises(() => all(stream))) instanceof OpenAI.APIError);
    }
  },

  async conversations() {
    const item = { type: "message", role: "user", content: "My name is Ada." };
    const made = await client.conversations.create({ items: [item], metadata: { of: "the test" } });
    assert.deepEqual((await client.conversations.retrieve(made.id)).metadata, { of: "the test" });
    await client.conversations.update(made.id, { metadata: { of: "another" } });
    const request = { model: "blind", input: "What is my name?", conversation: made.id };
    assert.match((await client.responses.create(request)).output_text, /Ada/);
    const items = await all(client.conversations.items.list(made.id, { order: "asc", limit: 2 }));
    assert.deepEqual(items.map((item) => item.role), ["user", "user", "assistant"]);
    await client.conversations.delete(made.id);
    assert((await raises(() => client.conversations.retrieve(made.id))) instanceof OpenAI.NotFoundError);
  },
});
