// The inspector: what a store has, over the REST interface of the server that this page comes from.
// Names and values become text nodes, never markup.

const PAGE = 100;
const PREVIEW = 64 * 1024;
const LAST = "\u{10FFFF}";
const root = new URL(".", location.href);
const find = (selector) => document.querySelector(selector);

const state = {
  about: null,
  token: sessionStorage.getItem("satchel-token") ?? "",
  collection: null,
  prefix: "",
  starts: [""],
  next: null,
  key: null,
  entry: null,
  editing: false,
  watching: null,
  drawing: 0,
};

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Requests.

function encode(name) {
  return name === "." || name === ".." ? name.replaceAll(".", "%2E") : encodeURIComponent(name);
}

async function ask(path, { accept = [200, 204, 206], ...options } = {}) {
  const headers = new Headers(options.headers);
  if (state.token) headers.set("Authorization", `Bearer ${state.token}`);
  let answer;
  try {
    answer = await fetch(new URL(path, root), { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server cannot be reached.");
  }
  if (accept.includes(answer.status)) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, said.message ?? `The server answered with status ${answer.status}.`);
}

function pathOf(collection, key) {
  return `v1/c/${encode(collection)}${key === undefined ? "" : `/${encode(key)}`}`;
}

async function listing(path, kind, after, limit, prefix = "") {
  const query = new URLSearchParams({ limit });
  if (prefix) query.set("prefix", prefix);
  if (after) query.set("after", after);
  const page = await (await ask(`${path}?${query}`)).json();
  return { names: page[kind], next: page.next };
}

const can = (capability) => state.about.capabilities.includes(capability);

// One page of a folder: its keys, and the folders in it, each of which is skipped as a whole.
async function folderPage(after) {
  const delimiter = find("#delimiter").value;
  const items = [];
  let next = after;
  for (;;) {
    const page = await listing(pathOf(state.collection), "keys", next, PAGE, state.prefix);
    let skipped = false;
    for (const key of page.names) {
      if (items.length === PAGE) return { items, next };
      const at = delimiter ? key.indexOf(delimiter, state.prefix.length) : -1;
      const folder = at < 0 ? null : key.slice(0, at + delimiter.length);
      next = folder === null ? key : folder + LAST;
      if (folder === null) items.push({ name: key, folder: false });
      else if (items.at(-1)?.name !== folder) items.push({ name: folder, folder: true });
      skipped = folder !== null;
      if (skipped) break;
    }
    if (!skipped && page.next === null) return { items, next: null };
  }
}

// Drawing.

function show(message) {
  find("#message").textContent = message;
  find("#message").hidden = !message;
}

function item(text, { current = false, folder = false, data = {} } = {}) {
  const line = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  Object.assign(button.dataset, data);
  if (folder) button.classList.add("folder");
  if (current) button.setAttribute("aria-current", "true");
  line.append(button);
  return line;
}

// A list keeps its focus when it is drawn anew.
function fill(list, lines) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset : null;
  list.replaceChildren(...lines);
  if (!focused) return;
  const buttons = [...list.querySelectorAll("button")];
  const same = buttons.find((button) => button.dataset.name === focused.name);
  (same ?? buttons[0] ?? find("#prefix")).focus();
}

async function drawCollections(after = "") {
  const list = find("#collections ul");
  if (!can("enumerate_collections")) {
    list.replaceChildren();
    return;
  }
  const page = await listing("v1/c", "collections", after, PAGE);
  const lines = page.names.map((name) =>
    item(name, { current: name === state.collection, data: { name } }));
  if (after) list.append(...lines);
  else fill(list, lines);
  const more = find("#collections .more");
  more.hidden = page.next === null;
  more.dataset.after = page.next ?? "";
}

function drawPath() {
  const delimiter = find("#delimiter").value;
  const steps = [item(state.collection, { data: { name: "" } })];
  let at = delimiter ? state.prefix.indexOf(delimiter) : -1;
  let start = 0;
  while (at >= 0) {
    const end = at + delimiter.length;
    steps.push(item(state.prefix.slice(start, end), { data: { name: state.prefix.slice(0, end) } }));
    start = end;
    at = state.prefix.indexOf(delimiter, end);
  }
  fill(find("#path"), steps);
}

async function drawKeys() {
  const drawing = ++state.drawing;
  find("#keys").hidden = false;
  find("#keys h2").textContent = state.collection;
  if (!can("enumerate_keys")) {
    show("This store cannot list its keys. Write a whole key as prefix to open it.");
    return;
  }
  const page = await folderPage(state.starts.at(-1));
  if (drawing !== state.drawing) return; // a later one has begun
  state.next = page.next;
  drawPath();
  fill(find("#keys > ul"), page.items.map(({ name, folder }) => item(
    name.slice(state.prefix.length) || name,
    { folder, current: !folder && name === state.key, data: { name, folder: folder ? "yes" : "" } },
  )));
  const first = (state.starts.length - 1) * PAGE;
  find("#page").textContent = page.items.length ? `${first + 1} to ${first + page.items.length}` : "nothing here";
  find("#previous").disabled = state.starts.length === 1;
  find("#next").disabled = page.next === null;
}

// Text of JSON with line breaks. The numbers are left as they are: a parser would round long ones.
function indented(text) {
  let depth = 0;
  let made = "";
  const line = () => `\n${"  ".repeat(depth)}`;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s"\[\]{},:]+/g)) {
    if (token === "{" || token === "[") {
      depth += 1;
      made += token + line();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      made = /[{[]\s*$/.test(made) ? made.trimEnd() + token : made + line() + token;
    } else if (token === ",") made += token + line();
    else made += token === ":" ? ": " : token;
  }
  return made;
}

function hex(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const numbers = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(47);
    const text = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(8, "0")}  ${numbers}  ${text}`);
  }
  return lines.join("\n");
}

async function openEntry(key) {
  state.key = key;
  const drawing = ++state.drawing;
  const answer = await ask(pathOf(state.collection, key), {
    headers: { Range: `bytes=0-${PREVIEW - 1}` },
    accept: [200, 206, 404, 416],
  });
  const body = new Uint8Array(answer.status === 404 || answer.status === 416 ? 0 : await answer.arrayBuffer());
  if (drawing !== state.drawing || key !== state.key) return;
  const get = (name) => answer.headers.get(name);
  const ttl = get("Satchel-TTL");
  state.entry = answer.status === 404 ? null : {
    tag: get("ETag"),
    isJson: (get("Content-Type") ?? "").startsWith("application/json"),
    body,
    size: Number(get("Satchel-Size") ?? 0),
    isWhole: answer.status !== 206 || Number(get("Content-Range").split("/")[1]) <= PREVIEW,
    updated: get("Satchel-Updated-At"),
    expires: get("Satchel-Expires-At"),
    end: ttl === null ? null : performance.now() + Number(ttl) * 1000,
  };
  state.editing = false;
  drawEntry();
  for (const button of document.querySelectorAll("#keys > ul button")) {
    if (button.dataset.name === key && !button.dataset.folder) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

function drawEntry() {
  const { entry } = state;
  const preview = find("#entry pre");
  find("#entry").hidden = false;
  find("#entry h2").textContent = state.key;
  find("#editor").hidden = true;
  preview.hidden = entry === null;
  find("#writes").hidden = entry === null || !state.about.inspector_writes || state.about.read_only;
  find("#note").textContent = entry === null ? "There is no such entry, or it has expired." : "";
  find("#entry dl").replaceChildren();
  if (entry === null) return;
  find("#edit").hidden = !(entry.isJson && entry.isWhole);
  if (!entry.isWhole) find("#note").textContent = "The first 64 KiB of the value:";
  preview.classList.toggle("bytes", !entry.isJson);
  const text = entry.isJson ? new TextDecoder().decode(entry.body) : "";
  preview.textContent = !entry.isJson ? hex(entry.body) : entry.isWhole ? indented(text) : text;
  const facts = [
    ["kind", entry.isJson ? "JSON" : "bytes"],
    ["size", `${entry.size.toLocaleString("en")} bytes`],
    ["updated", entry.updated],
    ["expires", entry.expires ?? "never"],
    ...(entry.end === null ? [] : [["time left", ""]]),
    ["version", decodeURIComponent(entry.tag.slice(1, -1))],
  ];
  for (const [name, value] of facts) {
    const term = document.createElement("dt");
    const fact = document.createElement("dd");
    term.textContent = name;
    fact.textContent = value;
    if (name === "time left") fact.id = "left";
    find("#entry dl").append(term, fact);
  }
  tick();
}

function tick() {
  const left = find("#left");
  if (!left || !state.entry?.end) return;
  const seconds = Math.max(0, Math.ceil((state.entry.end - performance.now()) / 1000));
  const parts = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  const units = ["d", "h", "min", "s"];
  const first = parts.findIndex((part) => part > 0);
  left.textContent = first < 0 ? "expired" : parts.slice(first).map((part, n) => `${part} ${units[first + n]}`).join(" ");
}

function closeEntry() {
  state.key = state.entry = null;
  state.editing = false;
  find("#entry").hidden = true;
  remember();
  const current = find("#keys > ul [aria-current]");
  current?.removeAttribute("aria-current");
  (current ?? find("#keys > ul button") ?? find("#prefix")).focus();
}

// Where the page is, in its address, so that it survives a reload.

function remember() {
  const parts = [state.collection, state.prefix, state.key].filter((part) => part !== null);
  history.replaceState(null, "", `#${parts.map(encodeURIComponent).join("|")}`);
}

async function restore() {
  const parts = location.hash.slice(1).split("|").map(decodeURIComponent);
  if (!parts[0]) return;
  await openCollection(parts[0], parts[1] ?? "");
  if (parts[2] !== undefined) await openEntry(parts[2]);
  remember();
}

// What a person does.

async function openCollection(name, prefix = "") {
  state.collection = name;
  state.key = state.entry = null;
  find("#entry").hidden = true;
  for (const button of document.querySelectorAll("#collections li button")) {
    if (button.dataset.name === name) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  watch();
  await openFolder(prefix);
}

async function openFolder(prefix) {
  state.prefix = prefix;
  state.starts = [""];
  find("#prefix").value = prefix;
  remember();
  await drawKeys();
}

async function turn(forward) {
  if (forward && state.next !== null) state.starts.push(state.next);
  else if (!forward && state.starts.length > 1) state.starts.pop();
  else return;
  await drawKeys();
}

function goUp() {
  const delimiter = find("#delimiter").value;
  if (!state.prefix) return undefined;
  const inner = state.prefix.endsWith(delimiter) ? state.prefix.slice(0, -delimiter.length || undefined) : state.prefix;
  const at = delimiter ? inner.lastIndexOf(delimiter) : -1;
  return openFolder(at < 0 ? "" : inner.slice(0, at + delimiter.length));
}

function edit() {
  if (find("#writes").hidden || find("#edit").hidden) return;
  state.editing = true;
  find("#text").value = find("#entry pre").textContent;
  find("#entry pre").hidden = find("#writes").hidden = true;
  find("#editor").hidden = false;
  find("#text").focus();
}

async function save() {
  const headers = { "Content-Type": "application/json" };
  if (can("conditional")) headers["If-Match"] = state.entry.tag;
  if (state.entry.expires !== null) headers["Satchel-Expires-At"] = state.entry.expires;
  const path = pathOf(state.collection, state.key);
  await change(path, { method: "PUT", headers, body: find("#text").value });
  await openEntry(state.key);
  find("#note").textContent = "Saved.";
  find("#edit").focus();
}

async function remove() {
  find("#question").textContent = `Delete ${state.key} from ${state.collection}?`;
  const dialog = find("#confirm");
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  if (dialog.returnValue !== "yes") return;
  const headers = can("conditional") ? { "If-Match": state.entry.tag } : {};
  await change(pathOf(state.collection, state.key), { method: "DELETE", headers });
  closeEntry();
  await Promise.all([drawKeys(), drawCollections()]);
}

async function change(path, options) {
  try {
    await ask(path, { ...options, accept: [200, 201, 204] });
  } catch (error) {
    if (error.status !== 412) throw error;
    throw new Refused(412, "Another client has changed this entry. Open it again to see it, and then decide.");
  }
}

// Live updates.

function watch() {
  state.watching?.abort();
  state.watching = null;
  find("#live").textContent = can("watch") ? "connecting" : "not live: this store cannot be watched";
  if (!can("watch")) return;
  state.watching = new AbortController();
  follow(state.collection, state.watching.signal);
}

async function follow(collection, signal) {
  let pause = 500;
  let isFirst = true;
  while (!signal.aborted) {
    try {
      const answer = await ask(`v1/watch/${encode(collection)}`, { signal });
      for await (const { kind, key } of events(answer.body)) {
        if (signal.aborted) return;
        pause = 500;
        find("#live").textContent = "live";
        if (kind === "ready" && isFirst) isFirst = false;
        else refresh(kind === "changed" ? key : null);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401 || error.status === 403) break;
    }
    find("#live").textContent = "not live: connecting again";
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(2 * pause, 15000);
  }
}

async function* events(stream) {
  let left = "";
  let kind = "";
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (left + decoder.decode(value, { stream: true })).split("\n");
    left = lines.pop();
    for (const line of lines) {
      if (line.startsWith("event: ")) kind = line.slice(7);
      else if (line.startsWith("data: ") && kind !== "failed") yield { kind, key: JSON.parse(line.slice(6)).key };
    }
  }
}

const changed = { list: false, entry: false, timer: 0 };

function refresh(key) {
  changed.list ||= key === null || key.startsWith(state.prefix);
  changed.entry ||= key === null || key === state.key;
  changed.timer ||= setTimeout(attempt(async () => {
    const { list, entry } = changed;
    Object.assign(changed, { list: false, entry: false, timer: 0 });
    if (list) await Promise.all([drawKeys(), drawCollections()]);
    if (entry && state.key !== null && state.editing) find("#note").textContent = "This entry has changed meanwhile.";
    else if (entry && state.key !== null) await openEntry(state.key);
  }), 200);
}

// Events of the page.

// Do something, and show what went wrong.
function attempt(action) {
  return async (event) => {
    event?.preventDefault?.();
    try {
      show("");
      await action(event);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 401) {
        find("main").hidden = true;
        find("#login").hidden = false;
        find("#token").focus();
      }
      show(error.message);
    }
  };
}

function onItem(list, action) {
  list.addEventListener("click", (event) => {
    const button = event.target.closest("li > button");
    if (button) attempt(() => action(button.dataset))();
  });
}

function moveFocus(step) {
  const list = document.activeElement?.closest("ul");
  const buttons = [...(list ?? find("#keys > ul")).querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  buttons[Math.min(Math.max(at + step, 0), buttons.length - 1)]?.focus();
}

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || find("#confirm").open) return;
  if (event.key === "Escape" && state.key !== null) {
    if (state.editing) {
      state.editing = false;
      drawEntry();
    } else closeEntry();
    return;
  }
  if (event.target.closest("input, textarea") || find("main").hidden) return;
  const actions = {
    "/": () => find("#prefix").focus(),
    n: () => turn(true),
    p: () => turn(false),
    e: edit,
    Backspace: goUp,
    ArrowDown: event.target.closest("pre") ? null : () => moveFocus(1),
    ArrowUp: event.target.closest("pre") ? null : () => moveFocus(-1),
  };
  if (actions[event.key]) {
    event.preventDefault();
    attempt(actions[event.key])();
  }
}

async function start() {
  state.about = await (await ask("v1")).json();
  find("#about").textContent = `${state.about.version}${state.about.read_only || !state.about.inspector_writes ? ", for reading" : ""}`;
  find("#login").hidden = true;
  find("main").hidden = false;
  await drawCollections();
  await restore();
}

onItem(find("#collections ul"), ({ name }) => openCollection(name));
onItem(find("#path"), ({ name }) => openFolder(name));
onItem(find("#keys > ul"), async ({ name, folder }) => {
  if (folder) return openFolder(name);
  await openEntry(name);
  remember();
  find("#entry").focus();
  return undefined;
});
find("#collections .more").addEventListener("click", attempt((event) => drawCollections(event.target.dataset.after)));
find("#keys form").addEventListener("submit", attempt(async () => {
  const prefix = find("#prefix").value;
  if (can("enumerate_keys")) await openFolder(prefix);
  else await openEntry(prefix);
}));
find("#previous").addEventListener("click", attempt(() => turn(false)));
find("#next").addEventListener("click", attempt(() => turn(true)));
find("#edit").addEventListener("click", attempt(edit));
find("#editor").addEventListener("submit", attempt(save));
find("#cancel").addEventListener("click", attempt(() => {
  state.editing = false;
  drawEntry();
}));
find("#delete").addEventListener("click", attempt(remove));
find("#close").addEventListener("click", attempt(closeEntry));
find("#login").addEventListener("submit", attempt(async () => {
  state.token = find("#token").value.trim();
  sessionStorage.setItem("satchel-token", state.token);
  find("#token").value = "";
  await start();
}));
document.addEventListener("keydown", onKey);
setInterval(tick, 250);
attempt(start)();
