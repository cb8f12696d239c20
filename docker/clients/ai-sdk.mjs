// Switchboard with Vercel's AI SDK: npm install ai @ai-sdk/openai-compatible. Needs SWITCHBOARD_URL and SWITCHBOARD_KEY.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

const { SWITCHBOARD_URL, SWITCHBOARD_KEY } = process.env;
const switchboard = createOpenAICompatible({
  name: "switchboard",
  baseURL: `${SWITCHBOARD_URL}/openai/v1`,
  apiKey: SWITCHBOARD_KEY,
  includeUsage: true,
});
const model = switchboard("support");

const { text } = await generateText({ model, prompt: "Hello! My name is Ada." });
console.log(text);

// `textStream` just ends when the reply breaks off; the error is a part of `fullStream`.
const messages = [
  { role: "user", content: "Hello! My name is Ada." },
  { role: "assistant", content: text },
  { role: "user", content: "What can you do?" },
];
for await (const part of streamText({ model, messages, onError() {} }).fullStream) {
  if (part.type === "text-delta") process.stdout.write(part.text);
  if (part.type === "error") throw new Error("the reply broke off", { cause: part.error });
}
console.log();
