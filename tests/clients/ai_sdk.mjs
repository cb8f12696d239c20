// Vercel's AI SDK with its provider for OpenAI-compatible servers.

import assert from "node:assert/strict";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

import { HISTORY, KEY, LIMITED_KEY, URL, all, raises, run, watched } from "./stage.mjs";

// By a link the SDK would fetch the image itself. A PNG of one pixel.
const PIXEL =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const gateway = (more = {}) =>
  createOpenAICompatible({ name: "switchboard", baseURL: URL, apiKey: KEY, includeUsage: true, ...more });
const one = gateway();
const ask = (model, more = { prompt: "Hello there." }) =>
  generateText({ model: one(model), maxRetries: 0, ...more });
const stream = (model, more = {}) =>
  // Without a listener of its own it writes errors to the console, which here are wanted.
  streamText({ model: one(model), maxRetries: 0, prompt: "Hello there.", onError() {}, ...more });
const picture = [
  {
    role: "user",
    content: [
      { type: "text", text: "What is this?" },
      { type: "image", image: PIXEL },
    ],
  },
];

await run({
  async plain() {
    const reply = await ask("seeing");
    assert.match(reply.text, /Hello there\./);
    assert.equal(reply.finishReason, "stop");
    assert(reply.usage.totalTokens > 0);
  },

  async streamed() {
    for (const model of ["seeing", "blind", "model"]) {
      const streamed = stream(model);
      const pieces = await all(streamed.textStream);
      assert(pieces.length > 3);
      assert.match(pieces.join(""), /Hello there\./);
      assert.equal(await streamed.finishReason, "stop");
      assert.equal(await streamed.text, pieces.join(""));
    }
    assert((await stream("seeing").usage).totalTokens > 0);
  },

  async continued() {
    const [system, ...messages] = HISTORY;
    for (const model of ["blind", "model"]) {
      assert.match((await ask(model, { system: system.content, messages })).text, /Ada/);
    }
  },

  async "image refused"() {
    const error = await raises(() => ask("blind", { messages: picture }));
    assert(APICallError.isInstance(error), error);
    assert.deepEqual([error.statusCode, error.isRetryable], [422, false]);
    assert.match(error.message, /takes no images/);
  },

  async "image taken"() {
    assert((await ask("model", { messages: picture })).text);
  },

  async "unknown model"() {
    const error = await raises(() => ask("nobody"));
    assert.equal(error.statusCode, 404);
    assert.equal(JSON.parse(error.responseBody).error.code, "assistant_not_found");
  },

  async "bad key"() {
    const stranger = gateway({ apiKey: "not-a-key-of-this-gateway" });
    const error = await raises(() => generateText({ model: stranger("blind"), prompt: "Hi", maxRetries: 0 }));
    assert.equal(error.statusCode, 401);
  },

  async "rate limited"() {
    const seen = [];
    const limited = gateway({ apiKey: LIMITED_KEY, fetch: watched(seen) });
    // One retry: it comes too early unless the client waits as long as it is told.
    const request = { model: limited("blind"), prompt: "Hi", maxRetries: 1 };
    assert((await generateText(request)).text);
    assert((await generateText(request)).text);
    assert.deepEqual(seen.map(([status]) => status), [200, 429, 200]);
    assert(Number(seen[1][1]) > 2, seen);
  },

  async "broken stream"() {
    for (const model of ["cut", "cut-model"]) {
      const parts = await all(stream(model).fullStream);
      assert(parts.some((part) => part.type === "error"), JSON.stringify(parts));
      assert(!parts.some((part) => part.type === "finish" && part.finishReason === "stop"), JSON.stringify(parts));
      assert.equal((await raises(() => ask(model))).statusCode, 502);
    }
  },

  async tools() {
    const inputSchema = jsonSchema({ type: "object", properties: { query: { type: "string" } } });
    const weather = tool({ description: "The weather", inputSchema, execute: async ({ query }) => `sunny in ${query}` });
    const more = { prompt: "Use the tool.", tools: { weather }, stopWhen: stepCountIs(3) };
    const reply = await ask("model", more);
    assert.match(reply.text, /sunny in/);
    assert.equal(reply.steps.length, 2);
    assert.match(await stream("model", more).text, /sunny in/);
  },
});
