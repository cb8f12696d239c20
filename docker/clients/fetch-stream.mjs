// A streamed turn with `fetch`, which survives a broken connection: npm install eventsource-parser.
// Needs SWITCHBOARD_URL and SWITCHBOARD_KEY. In a browser the key is a token from POST /v1/tokens, and `server.cors_origins` has
// the page's origin. The turn goes on without its reader; whoever comes back says what was read last.

import { EventSourceParserStream } from "eventsource-parser/stream";

const { SWITCHBOARD_URL, SWITCHBOARD_KEY } = process.env;
const authorization = `Bearer ${SWITCHBOARD_KEY}`;
const ENDS = ["turn.completed", "turn.incomplete", "turn.failed", "turn.cancelled"];

/** The events of a turn, each once, over as many connections as it takes. */
async function* turn(body) {
  let turnId;
  let last = "0";
  // With the same key the same request is the same turn, also if its answer was lost. Anything unique will do.
  const key = `${Date.now()}-${Math.random()}`;
  const first = {
    method: "POST",
    headers: { authorization, "content-type": "application/json", "idempotency-key": key },
    body: JSON.stringify({ ...body, stream: true }),
  };
  for (let attempt = 0; attempt < 10; attempt++) {
    let refused;
    try {
      const response = turnId
        ? await fetch(`${SWITCHBOARD_URL}/v1/chat/${turnId}/events`, { headers: { authorization, "last-event-id": last } })
        : await fetch(`${SWITCHBOARD_URL}/v1/chat`, first);
      refused = response.ok ? undefined : await response.text();
      if (!refused) {
        turnId = response.headers.get("x-turn-id");
        const events = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
        for await (const { id, data } of events) {
          last = id;
          const event = JSON.parse(data);
          yield event;
          if (ENDS.includes(event.type)) return;
        }
      }
    } catch (error) {
      console.error(`[reading on after event ${last}: ${error.message}]`);
    }
    if (refused) throw new Error(refused);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  throw new Error("the connection breaks again and again");
}

let end;
for await (const event of turn({ assistant: "support", message: "Hello! My name is Ada." })) {
  if (event.type === "message.delta") process.stdout.write(event.text);
  // Rare: the provider, or a fallback, begins anew.
  if (event.type === "message.replaced") process.stdout.write(`\n\n${event.text}`);
  end = event;
}
console.log();
if (end.type !== "turn.completed") throw new Error(`${end.type}: ${JSON.stringify(end.turn.error)}`);
