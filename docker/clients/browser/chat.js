// Streams a turn from a gateway on another origin, and goes on with it after the page was loaded again or the line was lost.
//
// The page's own server answers `POST session` with {gateway, assistant, token}: see README.md.

// What is known of the last turn, for this tab alone: its id, the number of its last event, the text and the events so far.
const KEPT = "turn";
const ENDS = ["turn.completed", "turn.incomplete", "turn.failed", "turn.cancelled"];
const WAIT_MS = 1000;

const form = document.getElementById("ask");
const state = document.getElementById("state");
const reply = document.getElementById("reply");

const load = () => JSON.parse(sessionStorage.getItem(KEPT));

function keep(turn) {
  sessionStorage.setItem(KEPT, JSON.stringify(turn));
  reply.textContent = turn.text;
  state.textContent = turn.state;
}

/** A short-lived bearer: made by the page's own server, which knows who its visitor is. */
async function session() {
  const answer = await fetch("session", { method: "POST" });
  if (!answer.ok) throw new Error(`no session: ${answer.status}`);
  return answer.json();
}

/** Asks the gateway; an answer that is no success is thrown as its error. */
async function call({ gateway, token }, path, { headers, ...rest } = {}) {
  const answer = await fetch(gateway + path, { ...rest, headers: { ...headers, authorization: `Bearer ${token}` }, cache: "no-store" });
  if (answer.ok) return answer;
  const { error } = await answer.json();
  throw Object.assign(new Error(error.message), { code: error.code, refused: !error.retryable });
}

/** The events of an answer, as they come. */
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      // Lines that begin with `:` are heartbeats.
      const data = frame.split("\n").find((line) => line.startsWith("data: "));
      if (data) yield JSON.parse(data.slice(6));
    }
  }
}

/** Takes in an event: one setItem, so that number and text never come apart. */
function take(turn, event) {
  turn.last = event.seq;
  turn.seen.push(event.seq);
  if (event.turn) turn.id = event.turn.id;
  if (event.type === "message.delta") turn.text += event.text;
  if (event.type === "message.replaced") turn.text = event.text;
  if (ENDS.includes(event.type)) turn.state = event.turn.status;
  keep(turn);
}

async function read(turn, answer) {
  for await (const event of events(answer)) take(turn, event);
}

const runs = (turn) => turn.state === "reading" || turn.state === "reading on";

/** Reads what is left of a turn, as often as the line is lost. */
async function goOn(turn) {
  while (runs(turn)) {
    try {
      const answer = await call(await session(), `/v1/chat/${turn.id}/events`, { headers: { "last-event-id": String(turn.last) } });
      // 204: it has ended, and all of it was read.
      turn.state = "reading on";
      keep(turn);
      await read(turn, answer);
    } catch (error) {
      if (error.refused) throw error;
      await new Promise((later) => setTimeout(later, WAIT_MS));
    }
  }
}

async function ask(message) {
  const opened = await session();
  const turn = { id: null, last: 0, text: "", seen: [], state: "reading" };
  keep(turn);
  const body = JSON.stringify({ assistant: opened.assistant, message, stream: true });
  const answer = await call(opened, "/v1/chat", { method: "POST", headers: { "content-type": "application/json" }, body });
  // From here on the turn exists, whoever reads it.
  turn.id = answer.headers.get("x-turn-id");
  keep(turn);
  await read(turn, answer).catch(() => {});
  await goOn(turn);
}

const tell = (error) => (state.textContent = `failed: ${error.code ?? error.message}`);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask(document.getElementById("message").value).catch(tell);
});

const before = load();
if (before?.id) {
  keep(before);
  goOn(before).catch(tell);
}
