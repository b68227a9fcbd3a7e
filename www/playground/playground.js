// The playground: a redis-cli for the server inside this page.
import { Decoder, encodeCommand, open } from "haversack";
import { formatReply, nodes, repliesWithText, splitArguments } from "haversack/terminal";

// ?db=name opens another database, ?memory one that a reload forgets, ?fsync=always another promise of storing.
const query = new URLSearchParams(location.search);
const address = query.has("memory") ? "memory://" : `idb://${query.get("db") ?? "playground"}`;
const MAX_LINES = 2000;
const SLOW_MS = 500;

const element = (id) => document.getElementById(id);
const output = element("output");
const line = element("line");

// ---- What is shown ----

function print(text, kind = "reply") {
  const entry = document.createElement("div");
  entry.className = kind;
  entry.textContent = text;
  output.append(entry);
  while (output.childElementCount > MAX_LINES) output.firstElementChild.remove();
  if (kind === "command") following = true;
  follow();
}

// The end stays in sight, unless the reader has scrolled up: while text comes, and when the window changes its size.
let following = true;

function follow() {
  if (following) output.scrollTop = output.scrollHeight;
}

output.addEventListener("scroll", () => {
  following = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
});
new ResizeObserver(follow).observe(output);

// ---- One connection, as redis-cli has one ----

class Session {
  #db;
  #connection;
  #waiting = []; // { raw, sent_ms } of each command whose reply is due
  constructor(db) {
    this.#db = db;
    this.#connect();
  }

  #connect() {
    const connection = this.#db.connection();
    const decoder = new Decoder(nodes);
    connection.ondata = (bytes) => {
      if (connection === this.#connection) decoder.feed(bytes, (node) => this.#show(node));
    };
    connection.onclose = (error) => {
      if (connection !== this.#connection) return;
      this.#connection = undefined;
      this.#waiting = [];
      if (error) print(error.message, "error");
    };
    this.#connection = connection;
  }

  run(args) {
    if (this.#connection === undefined) this.#connect();
    this.#waiting.push({ raw: repliesWithText(args), sent_ms: performance.now() });
    this.#connection.write(encodeCommand(args));
  }

  /** Leaves what the connection waits for or listens to: MONITOR, SUBSCRIBE, BLPOP. */
  interrupt() {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#waiting = [];
    connection?.close();
    print("(interrupted: the next command gets a new connection)", "note");
  }

  #show(node) {
    const waiting = node.type === ">" ? undefined : this.#waiting.shift();
    print(formatReply(node, waiting?.raw), node.type === "-" || node.type === "!" ? "error" : "reply");
    const took_ms = waiting ? performance.now() - waiting.sent_ms : 0;
    if (took_ms >= SLOW_MS) print(`(${(took_ms / 1000).toFixed(2)}s)`, "note");
    showStatus();
  }
}

// ---- The history of commands, kept for the next visit ----

class History {
  #lines = [];
  #at = 0;
  #draft = "";
  static KEY = "haversack-playground-history";
  static LIMIT = 200;

  constructor() {
    try {
      this.#lines = JSON.parse(localStorage.getItem(History.KEY) ?? "[]").filter((text) => typeof text === "string");
    } catch {
      this.#lines = [];
    }
    this.#at = this.#lines.length;
  }

  add(text) {
    if (this.#lines.at(-1) !== text) this.#lines.push(text);
    this.#lines = this.#lines.slice(-History.LIMIT);
    this.#at = this.#lines.length;
    this.#draft = "";
    try {
      localStorage.setItem(History.KEY, JSON.stringify(this.#lines));
    } catch {
      // No room or no permission: the history lasts as long as the page.
    }
  }

  /** The line `step` away from the one shown, `current` being what stands in the prompt now. */
  move(step, current) {
    if (this.#at === this.#lines.length) this.#draft = current;
    this.#at = Math.min(Math.max(this.#at + step, 0), this.#lines.length);
    return this.#lines[this.#at] ?? this.#draft;
  }
}

// ---- The line below: where the data are, how much, how safe ----

function bytesText(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  const kilobytes = bytes / 1024;
  return kilobytes < 1024 ? `${kilobytes.toFixed(1)} KB` : `${(kilobytes / 1024).toFixed(1)} MB`;
}

function safety(status, persisted) {
  if (status.state !== "open") return [`no: ${status.lastError}`, "bad"];
  if (status.storage === "memory") {
    return [`no: it is gone when this page closes${status.lastError ? ` (${status.lastError})` : ""}`, "bad"];
  }
  if (status.lastError) return [`not stored: ${status.lastError}`, "bad"];
  if (!status.durable) return [`storing ${bytesText(status.pendingBytes)} …`, ""];
  return [persisted ? "all stored, and kept until you delete it" : "all stored; a browser short of space may drop it", "good"];
}

let statusTimer;
let persisted = false;

function showStatus() {
  // Once now, and again while something is on its way to storage.
  clearTimeout(statusTimer);
  const status = db.status();
  const [text, kind] = safety(status, persisted);
  if (status.state === "open") {
    element("where").textContent =
      status.storage === "memory" ? "this page's memory" : `this browser (IndexedDB, “haversack:${status.name}”)`;
  }
  element("size").textContent = bytesText(status.baseBytes + status.incrBytes + status.pendingBytes);
  element("safe").textContent = text;
  element("safe").className = kind;
  document.body.dataset.durable = String(status.durable);
  element("persist").hidden = persisted || status.storage === "memory" || navigator.storage?.persist === undefined;
  if (!status.durable && status.state === "open" && status.storage !== "memory") statusTimer = setTimeout(showStatus, 250);
}

async function download() {
  const url = URL.createObjectURL(new Blob([await db.exportRdb()], { type: "application/octet-stream" }));
  const link = Object.assign(document.createElement("a"), { href: url, download: "dump.rdb" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// Replaces everything by a Redis server's snapshot. What is shown meanwhile is one line that changes.
async function load(file) {
  if (file === undefined) return;
  const keys = (await db.call(["INFO", "keyspace"])).trim() !== "# Keyspace";
  if (keys && !confirm(`All keys here are replaced by those of ${file.name}.`)) return;
  print(`Reading ${file.name} …`, "note");
  const entry = output.lastElementChild;
  element("import").disabled = true;
  try {
    const count = await db.importRdb(file, {
      onprogress: ({ bytes, totalBytes, keys }) => {
        entry.textContent = `Reading ${file.name}: ${Math.floor((bytes / totalBytes) * 100)} %, ${keys} keys …`;
      },
    });
    entry.textContent = `Loaded ${file.name}: ${count} keys.`;
  } catch (error) {
    entry.textContent = error.message;
    entry.className = "error";
  }
  element("import").disabled = false;
  element("dump").value = ""; // the same file may be chosen again
  showStatus();
}

async function startAgain() {
  element("reopen").hidden = true;
  try {
    await db.reopen();
    session = new Session(db);
    print("Started again from what is stored.", "note");
  } catch (error) {
    print(error.message, "error");
    element("reopen").hidden = false;
  }
  showStatus();
}

async function askPersistence(ask) {
  persisted = (await (ask ? navigator.storage?.persist?.() : navigator.storage?.persisted?.())) ?? false;
  if (ask && !persisted) print("The browser did not agree; it usually does for pages you visit often or install.", "note");
  showStatus();
}

// ---- The prompt ----

const EXAMPLES = ['SET greeting "hello, world"', "GET greeting", "HSET user:1 name Ada born 1815", "HGETALL user:1", "INFO server"];

// Commands to begin with: a click runs them.
function showExamples() {
  const row = document.createElement("div");
  row.className = "examples";
  for (const text of EXAMPLES) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
    button.addEventListener("click", () => enter(text));
    row.append(button);
  }
  output.append(row);
}

const HELP = `Any Redis command: SET, HGETALL, XADD, EVAL, SUBSCRIBE … Quote as in redis-cli: "a\\nb" or 'a b'.
clear   empties the screen (Ctrl-L)          Ctrl-C  leaves MONITOR, SUBSCRIBE, a blocked BLPOP
↑ ↓     earlier and later commands           help    this text`;

function enter(text) {
  if (text.trim() === "") return;
  history.add(text);
  print(text, "command");
  const args = splitArguments(text);
  if (args === undefined) {
    print("Invalid argument(s)", "error");
    return;
  }
  const word = args.length === 1 ? new TextDecoder().decode(args[0]).toLowerCase() : "";
  if (word === "clear") output.replaceChildren();
  else if (word === "help") print(HELP, "note");
  else {
    try {
      session.run(args);
    } catch (error) {
      print(error.message, "error");
    }
  }
}

function recall(step) {
  line.value = history.move(step, line.value);
  line.setSelectionRange(line.value.length, line.value.length);
}

const KEYS = {
  ArrowUp: () => recall(-1),
  ArrowDown: () => recall(1),
};
const CONTROL_KEYS = {
  l: () => output.replaceChildren(),
  c: () => session.interrupt(),
};

function onKey(event) {
  if (event.key === "c" && event.ctrlKey && String(getSelection()) !== "") return; // copying
  if (event.key === "c" && line.selectionStart !== line.selectionEnd) return;
  const action = event.ctrlKey && !event.altKey && !event.metaKey ? CONTROL_KEYS[event.key] : KEYS[event.key];
  if (action === undefined) return;
  event.preventDefault();
  action();
}

element("prompt").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = line.value;
  line.value = "";
  enter(text);
});
line.addEventListener("keydown", onKey);
element("older").addEventListener("click", () => (recall(-1), line.focus()));
element("newer").addEventListener("click", () => (recall(1), line.focus()));
element("export").addEventListener("click", download);
element("import").addEventListener("click", () => element("dump").click());
element("dump").addEventListener("change", () => load(element("dump").files[0]));
element("reopen").addEventListener("click", startAgain);
element("persist").addEventListener("click", () => askPersistence(true));
output.addEventListener("click", () => String(getSelection()) === "" && line.focus());

const history = new History();
let db;
let session;
try {
  db = await open(address, { appendfsync: query.get("fsync") ?? "everysec" });
  session = new Session(db);
  print(`Any Redis command, or one of these; "help" tells more.`, "note");
  showExamples();
  const { recovered } = db.status();
  if (recovered) print(`Not everything could be loaded: ${recovered}.`, "error");
  element("export").hidden = element("import").hidden = false;
  db.onstop = () => {
    element("reopen").hidden = false;
    showStatus();
  };
  line.disabled = false;
  line.focus();
  await askPersistence(false);
  document.body.dataset.ready = "true";
} catch (error) {
  print(error.message, "error");
  element("where").textContent = "not open";
  document.body.dataset.ready = "failed";
}
// For the console of the browser's own tools, and for tests.
globalThis.haversack = db;
