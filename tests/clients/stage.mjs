// What the JavaScript clients' tests have in common: the gateway that a test has started, and steps that are run one by one.

import assert from "node:assert/strict";

const { SWITCHBOARD_URL, SWITCHBOARD_KEY, SWITCHBOARD_LIMITED_KEY, SIMULATOR_URL } = process.env;

export const URL = `${SWITCHBOARD_URL}/openai/v1`;
export const KEY = SWITCHBOARD_KEY;
/** A key that may ask once every five seconds. */
export const LIMITED_KEY = SWITCHBOARD_LIMITED_KEY;
export const IMAGE = "https://example.com/cat.png";
export const HISTORY = [
  { role: "system", content: "Be kind." },
  { role: "user", content: "My name is Ada." },
  { role: "assistant", content: "Nice to meet you." },
  { role: "user", content: "What is my name?" },
];

/** Runs all steps. The first that fails ends the script; who started it reads which were done. */
export async function run(steps) {
  for (const [name, step] of Object.entries(steps)) {
    await step();
    console.log(`done: ${name}`);
  }
}

/** The error that this ends with; anything else is a failure. */
export async function raises(call) {
  let given;
  try {
    given = await call();
  } catch (error) {
    return error;
  }
  assert.fail(`no error but ${JSON.stringify(given)}`);
}

export async function all(pieces) {
  const list = [];
  for await (const piece of pieces) list.push(piece);
  return list;
}

/** A `fetch` that writes down the statuses it saw, with what they said of coming back. */
export function watched(seen) {
  return async (...request) => {
    const answer = await fetch(...request);
    seen.push([answer.status, answer.headers.get("retry-after")]);
    return answer;
  };
}

/** Lets the simulated provider go on with what it holds back. */
export async function release(upstreamId = "fault-hold-after-1") {
  await fetch(`${SIMULATOR_URL}/_simulator/release?upstream_id=${upstreamId}`, { method: "POST" });
}
