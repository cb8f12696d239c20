
"use strict";

const METHODS = ["get", "post", "patch", "put", "delete"];
const STREAM = "text/event-stream";
let api = {};
// The ids that were seen last, so that the next request can be about the same thing.
const seen = {};

/** An element with attributes, listeners (`onclick`) and children. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== ""));
  return element;
}

/** What a reference points at. */
function found(node) {
  while (node && node.$ref) node = node.$ref.slice(2).split("/").reduce((at, name) => at?.[name.replaceAll("~1", "/")], api);
  return node ?? {};
}

/** `code` within a line. */
function inline(text) {
  return text.split("`").map((piece, index) => (index % 2 ? make("code", {}, piece) : piece));
}

/** Paragraphs and lists, as descriptions have them. */
function text(words) {
  const box = make("div", { class: "text" });
  for (const block of (words ?? "").split("\n\n")) {
    let list = null;
    for (const line of block.split(/\n(?=- )/)) {
      if (line.startsWith("- ")) {
        if (!list) box.append((list = make("ul")));
        list.append(make("li", {}, inline(line.slice(2))));
      } else if (line) {
        list = null;
        box.append(make("p", {}, inline(line)));
      }
    }
  }
  return box;
}

/** A type in a few words. */
function kind(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  const choices = schema.oneOf ?? schema.anyOf;
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum && !schema.type) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (choices && !schema.type) return choices.map(kind).join(" | ");
  const types = [schema.type ?? "any"].flat().map((type) => (type === "array" ? `array of ${kind(schema.items ?? {})}` : type));
  const bounds = [];
  if (schema.format && !schema.format.includes("int")) bounds.push(schema.format);
  // A bound that is only the number's sort says nothing to a reader.
  const most = schema.maximum < 2 ** 32 - 1 ? schema.maximum : null;
  if (most != null) bounds.push(`${schema.minimum ?? ""}…${most}`);
  else if (schema.minimum) bounds.push(`at least ${schema.minimum}`);
  if (schema.maxLength != null) bounds.push(`at most ${schema.maxLength}`);
  if (schema.default !== undefined) bounds.push(`default ${JSON.stringify(schema.default)}`);
  if (schema.enum) bounds.push(schema.enum.join(", "));
  return types.join(" | ") + (bounds.length ? ` (${bounds.join("; ")})` : "");
}

/** The schemas behind a schema that have fields or are choices: what there is to unfold. */
function inner(schema) {
  const own = [schema, ...(schema.items ? [schema.items] : []), ...(schema.oneOf ?? []), ...(schema.anyOf ?? []), ...(schema.allOf ?? [])];
  return own.filter((one) => one.$ref || one.properties);
}

function fields(schema) {
  const list = make("ul", { class: "schema" });
  const shape = found(schema);
  for (const [name, field] of Object.entries(shape.properties ?? {})) {
    const needed = (shape.required ?? []).includes(name);
    const words = field.description ?? found(field).description?.split("\n\n")[0];
    const head = [make("code", {}, name), " ", make("span", { class: "kind" }, kind(field)), needed ? "" : make("span", { class: "note" }, " · can be left out")];
    const more = inner(field).filter((one) => Object.keys(found(one).properties ?? {}).length || found(one).oneOf || found(one).enum || found(one).items);
    list.append(make("li", {}, more.length ? folded(head, () => more.map(unfolded)) : head, words ? text(words) : ""));
  }
  return list;
}

/** Details whose content is made when it is asked for: schemas refer to each other. */
function folded(head, content) {
  const details = make("details", { ontoggle: () => details.open && details.childElementCount === 1 && details.append(...[content()].flat()) }, make("summary", {}, head));
  return details;
}

function unfolded(schema) {
  const shape = found(schema);
  if (shape.properties) return fields(shape);
  if (shape.enum) return text(shape.description);
  if (shape.oneOf || shape.anyOf || shape.items) {
    const parts = [...(shape.oneOf ?? shape.anyOf ?? []), ...(shape.items ? [shape.items] : [])];
    return make("ul", { class: "schema" }, parts.map((part) =>
      make("li", {}, found(part).properties ? folded([make("span", { class: "kind" }, part.title ?? kind(part))], () => [text(found(part).description), fields(part)])
        : make("span", { class: "kind" }, part.title ? `${part.title}: ${kind(part)}` : kind(part)))));
  }
  return text(shape.description);
}

function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

function response(status, node) {
  const answer = found(node);
  const lines = (answer.description ?? "").split("\n");
  const brief = lines[0].startsWith("- ") ? lines.map((line) => line.match(/`([^`]+)`/)?.[1]).join(", ") : lines[0];
  const good = status < 400;
  return make("details", { class: "response" },
    make("summary", {}, make("span", { class: `status ${good ? "good" : "bad"}` }, status), " ", make("span", { class: "note" }, inline(brief))),
    make("div", {},
      lines[0].startsWith("- ") ? text(answer.description) : "",
      Object.entries(answer.content ?? {}).map(([media, content]) => [
        make("p", {}, make("code", {}, media)),
        media === STREAM ? [make("p", {}, "Each event's data is one of these:"), unfolded(found(content.schema).properties.data.contentSchema)] : "",
        good && content.schema && media !== STREAM && (found(content.schema).properties || content.schema.anyOf) ? unfolded(content.schema) : "",
        Object.values(content.examples ?? {}).map((example) => folded([example.summary], () => make("pre", {}, pretty(example.value)))),
      ]),
      answer.headers ? make("p", { class: "note" }, "Headers: ", Object.keys(answer.headers).map((name, index) => [index ? ", " : "", make("code", {}, name)]).flat()) : ""));
}

/** The text that an event adds to the reply, in either dialect. */
function added(event) {
  if (event.type === "message.delta") return event.text;
  if (event.type === "response.output_text.delta") return event.delta;
  return event.choices?.[0]?.delta?.content ?? "";
}

/** Remembers the ids in an answer, and gives them to fields that wait for such. */
function remember(body) {
  for (const [id, prefix] of body.matchAll(/\b(turn|conv|msg|key|resp)_[0-9a-f]{32}\b/g)) seen[prefix] = id;
  for (const field of document.querySelectorAll("input[data-prefix]")) {
    if (!field.dataset.typed) field.value = seen[field.dataset.prefix] ?? "";
  }
}

class Operation {
  constructor(path, method, item, operation) {
    Object.assign(this, { path, method: method.toUpperCase(), operation });
    this.server = item.servers?.[0];
    this.open = operation.security?.length === 0;
    this.parameters = [...(operation.parameters ?? []), ...(item.parameters ?? [])].map(found);
    this.inputs = new Map();
  }

  view() {
    const { operation, method, path } = this;
    const box = make("details", { class: "operation", id: operation.operationId, ontoggle: () => box.open && box.childElementCount === 1 && box.append(this.inside()) },
      make("summary", {}, make("span", { class: `method ${method}` }, method), make("span", { class: "path" }, path), make("span", { class: "summary" }, operation.summary)));
    return box;
  }

  inside() {
    const { operation } = this;
    return make("div", {}, text(operation.description),
      this.parameters.length ? [make("h3", {}, "Parameters"), this.table()] : "",
      operation.requestBody ? [make("h3", {}, "Body"), this.bodyView()] : "",
      make("h3", {}, "Try it"), this.trial(),
      make("h3", {}, "Answers"), Object.entries(operation.responses).map(([status, node]) => response(status, node)));
  }

  table() {
    return make("table", {}, this.parameters.map((parameter) => {
      const schema = found(parameter.schema);
      const prefix = schema.pattern?.match(/^\^(turn|conv|msg|key|resp)_/)?.[1];
      const input = make("input", { "data-prefix": prefix, "aria-label": parameter.name, autocomplete: "off", spellcheck: "false",
        placeholder: schema.default ?? "", oninput: () => (input.dataset.typed = input.value) });
      input.value = (prefix && seen[prefix]) ?? "";
      this.inputs.set(parameter, input);
      return make("tr", {},
        make("th", {}, make("code", {}, parameter.name), parameter.required ? make("span", { class: "need" }, " *") : "", make("br"), make("span", { class: "note" }, parameter.in)),
        make("td", {}, text(parameter.description ?? schema.description), make("span", { class: "kind" }, kind(schema))),
        make("td", {}, input));
    }));
  }

  bodyView() {
    const content = this.operation.requestBody.content["application/json"];
    const examples = Object.values(content.examples ?? {});
    this.body = make("textarea", { "aria-label": "Body", spellcheck: "false" });
    const put = (example) => {
      this.body.value = example ? pretty(example.value) : this.operation.requestBody.required ? "{}" : "";
      this.body.rows = Math.min(this.body.value.split("\n").length + 1, 24);
    };
    put(examples[0]);
    const choice = examples.length > 1 && make("select", { "aria-label": "Example", onchange: () => put(examples[choice.selectedIndex]) },
      examples.map((example) => make("option", {}, example.summary)));
    return make("div", {}, choice ? make("div", { class: "row" }, choice) : "", this.body,
      Object.keys(found(content.schema).properties ?? {}).length ? folded(["Fields"], () => fields(content.schema)) : "");
  }

  /** URL, headers and body as they stand in the fields. */
  request() {
    let path = this.path;
    const query = new URLSearchParams();
    const headers = {};
    for (const [parameter, input] of this.inputs) {
      const value = input.value.trim();
      if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value || `{${parameter.name}}`));
      else if (value && parameter.in === "query") query.set(parameter.name, value);
      else if (value) headers[parameter.name] = value;
    }
    const key = document.getElementById("key").value.trim();
    if (key && !this.open) headers.authorization = `Bearer ${key}`;
    const body = this.body?.value.trim() || undefined;
    if (body) headers["content-type"] = "application/json";
    return { url: path + (query.size ? `?${query}` : ""), headers, body };
  }

  curl() {
    const { url, headers, body } = this.request();
    const quoted = (words) => `'${words.replaceAll("'", `'\\''`)}'`;
    const base = this.server?.url ?? location.origin;
    const lines = [`curl -sN${this.method === "GET" ? "" : ` -X ${this.method}`} ${quoted(base + url)}`];
    for (const [name, value] of Object.entries(headers)) lines.push(name === "authorization" ? '-H "authorization: Bearer $KEY"' : `-H ${quoted(`${name}: ${value}`)}`);
    if (body) lines.push(`-d ${quoted(body)}`);
    return lines.join(" \\\n  ");
  }

  trial() {
    const out = make("div", { "aria-live": "polite" });
    const line = make("pre", { hidden: true });
    const show = make("button", { type: "button", onclick: () => { line.hidden = !line.hidden; line.textContent = this.curl(); } }, "curl");
    if (this.server) return make("div", {}, make("p", { class: "note" }, `At the admin listener, which pages of this one cannot reach (${this.server.url} unless configured otherwise).`), make("div", { class: "row" }, show), line);
    const stop = make("button", { type: "button", disabled: true, onclick: () => this.abort?.abort() }, "Stop");
    const send = make("button", { type: "button", class: "send", onclick: async () => {
      send.disabled = true;
      stop.disabled = false;
      this.abort = new AbortController();
      try {
        await this.send(out);
      } catch (error) {
        out.append(make("p", { class: "bad" }, error.name === "AbortError" ? "Stopped reading. A turn goes on: read it again with its id." : String(error)));
      }
      send.disabled = false;
      stop.disabled = true;
    } }, "Send");
    return make("div", {}, make("div", { class: "row" }, send, stop, show), line, out);
  }

  async send(out) {
    const { url, headers, body } = this.request();
    out.replaceChildren();
    const began = performance.now();
    const answer = await fetch(url, { method: this.method, headers, body, signal: this.abort.signal, cache: "no-store", credentials: "omit" });
    const took = Math.round(performance.now() - began);
    out.append(make("p", {}, make("span", { class: `status ${answer.ok ? "good" : "bad"}` }, `${answer.status} ${answer.statusText}`), make("span", { class: "note" }, ` · ${took} ms to the head`)));
    out.append(folded(["Headers"], () => make("pre", {}, [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n"))));
    const media = answer.headers.get("content-type") ?? "";
    if (media.startsWith(STREAM)) return this.stream(out, answer);
    const words = await answer.text();
    remember(words);
    if (words) out.append(make("pre", {}, media.startsWith("application/json") ? pretty(JSON.parse(words)) : words));
  }

  /** Shows events as they come, and the reply that they make. */
  async stream(out, answer) {
    const reply = make("div", { class: "reply" });
    const log = make("pre", {});
    out.append(reply, log);
    let rest = "";
    const decoder = new TextDecoder();
    const reader = answer.body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const frames = rest.split("\n\n");
      rest = frames.pop();
      for (const frame of frames) {
        log.append(`${frame}\n\n`);
        const data = frame.split("\n").find((line) => line.startsWith("data: "));
        if (!data || data === "data: [DONE]") continue;
        const event = JSON.parse(data.slice(6));
        if (event.type === "message.replaced") reply.textContent = event.text;
        else reply.append(added(event));
        if (event.turn || event.response) remember(data);
      }
      log.scrollTop = log.scrollHeight;
    }
  }
}

function show(document_) {
  api = document_;
  document.getElementById("version").textContent = api.info.version;
  const main = document.getElementById("main");
  const nav = document.getElementById("nav");
  main.replaceChildren(text(api.info.description));
  const all = Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => new Operation(path, method, item, item[method])));
  for (const tag of api.tags) {
    const own = all.filter((one) => one.operation.tags.includes(tag.name));
    if (!own.length) continue;
    nav.append(make("strong", {}, tag.name), ...own.map((one) =>
      make("a", { href: `#${one.operation.operationId}`, title: `${one.method} ${one.path}`, onclick: () => reveal(one.operation.operationId) },
        make("span", { class: `method ${one.method}` }, one.method === "DELETE" ? "DEL" : one.method), one.operation.summary)));
    main.append(make("h2", {}, tag.name), make("p", { class: "note" }, inline(tag.description)), ...own.map((one) => one.view()));
  }
  reveal(location.hash.slice(1) || "createTurn");
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

function reveal(id) {
  const box = document.getElementById(id);
  if (box?.matches("details")) box.open = true;
}

const key = document.getElementById("key");
// For this tab alone: a key that is left in a browser is a key that is lost.
key.value = sessionStorage.getItem("key") ?? "";
key.addEventListener("input", () => sessionStorage.setItem("key", key.value));

fetch("openapi.json").then((answer) => answer.json()).then(show).catch((error) => {
  document.getElementById("main").replaceChildren(make("p", { class: "bad" }, `The description cannot be read: ${error}`));
});
