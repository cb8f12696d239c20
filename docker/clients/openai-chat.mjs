// Switchboard with OpenAI's package: npm install openai. Needs SWITCHBOARD_URL and SWITCHBOARD_KEY.

import OpenAI from "openai";

const { SWITCHBOARD_URL, SWITCHBOARD_KEY } = process.env;
const client = new OpenAI({ baseURL: `${SWITCHBOARD_URL}/openai/v1`, apiKey: SWITCHBOARD_KEY });

// Chat Completions: the client keeps the history. With `store: true` the gateway keeps the turn as well.
const messages = [{ role: "user", content: "Hello! My name is Ada." }];
const reply = await client.chat.completions.create({ model: "support", messages });
console.log(reply.choices[0].message.content);

// Piece by piece. A stream that breaks off throws: what was written is then not the whole reply.
messages.push(reply.choices[0].message, { role: "user", content: "What can you do?" });
try {
  for await (const chunk of await client.chat.completions.create({ model: "support", messages, stream: true })) {
    process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
  }
  console.log();
} catch (error) {
  console.log("\nThe reply broke off:", error.message);
}

// Responses: the gateway keeps the history.
const first = await client.responses.create({ model: "support", input: "Hello! My name is Ada." });
const request = { model: "support", input: "What is my name?", previous_response_id: first.id };
console.log((await client.responses.create(request)).output_text);
