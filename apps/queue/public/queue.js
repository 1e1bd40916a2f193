/**
 * Makes the page answer without a reload. Everything here also works without it: the forms post, the server redirects.
 *
 * Requests leave one after the other, so the view that arrives last is the newest, and what is shown is always what the
 * server answered, never a guess: an item that is being added is marked as such until it is in.
 */
const find = (selector) => document.querySelector(selector);
const list = find("[data-list]");
const addForm = find('[data-form="add"]');
const removeForm = find('[data-form="remove"]');
const removeButton = removeForm.querySelector("button");
const input = find("#text");
const errorLine = find("[data-error]");
const noticeLine = find("[data-notice]");
const count = new Intl.NumberFormat("en");

/** Items that have been sent and not yet answered, in order. */
const waiting = [];
let removing = false;
let lastRequest = Promise.resolve();

/** Runs `task` after everything that was asked before it. */
function inTurn(task) {
  const turn = lastRequest.then(task);
  lastRequest = turn.catch(() => undefined);
  return turn;
}

/** What the server said, or what to say when it cannot be reached. A token that has expired is renewed once. */
async function ask(path, fields, again = true) {
  const token = addForm.elements.csrf.value;
  let answer;
  let body;
  try {
    answer = await fetch(path, {
      method: fields === undefined ? "GET" : "POST",
      headers: { accept: "application/json", ...(fields !== undefined && { "x-csrf-token": token }) },
      ...(fields !== undefined && { body: new URLSearchParams(fields) }),
      cache: "no-store",
    });
    body = await answer.json();
  } catch {
    // A write may have arrived although its answer did not.
    const next = fields === undefined ? "Please try again." : "Look whether that was saved before you try again.";
    return { ok: false, body: { error: { code: "offline", message: `The server cannot be reached. ${next}` } } };
  }
  if (body.csrf !== undefined) for (const form of [addForm, removeForm]) form.elements.csrf.value = body.csrf;
  if (body.error?.code === "csrf" && again && (await ask("/", undefined, false)).ok)
    return await ask(path, fields, false);
  return { ok: answer.ok, body };
}

function show(body, addedId) {
  const { view, panel, write } = body;
  showList(view, addedId);
  const words = `${count.format(view.total)} ${view.total === 1 ? "item" : "items"}`;
  find("[data-total]").textContent = words;
  document.title = `The queue (${words})`;
  find("#panel").dataset.source = panel.source;
  const fields = { source: panel.source, ...panel.words, write: write?.sentence ?? "" };
  for (const [name, text] of Object.entries(fields))
    for (const place of document.querySelectorAll(`[data-panel="${name}"]`)) place.textContent = text;
  find('[data-panel="write"]').hidden = write === undefined;
  for (const [name, width] of Object.entries(panel.bar)) find(`[data-bar="${name}"]`).setAttribute("width", width);
  if (view.total === 0 && removeForm.contains(document.activeElement)) input.focus();
  removeForm.hidden = view.total === 0;
}

function showList(view, addedId) {
  const parts = [];
  if (view.front.length > 0) parts.push(rows(view.front, 1, addedId));
  const between = view.total - view.front.length - view.back.length;
  if (between > 0) {
    const gap = element("p", "gap");
    gap.append(element("span", "", `${count.format(between)} more in between`));
    parts.push(gap, rows(view.back, view.total - view.back.length + 1, addedId));
  }
  if (parts.length === 0) parts.push(element("p", "empty", "The queue is empty. Add the first item below."));
  list.replaceChildren(...parts);
  for (const each of waiting) showWaiting(each);
  list.querySelector(".added")?.scrollIntoView({ block: "nearest" });
}

function rows(items, start, addedId) {
  const ordered = element("ol", "items");
  ordered.start = start;
  ordered.append(
    ...items.map((item, index) => row(item.text, String(start + index), item.id === addedId ? "added" : "")),
  );
  return ordered;
}

function row(text, place, name) {
  const item = element("li", name);
  const number = element("span", "place", place);
  number.setAttribute("aria-hidden", "true");
  item.append(number, element("bdi", "", text));
  return item;
}

function showWaiting(each) {
  list.querySelector(".empty")?.remove();
  let ordered = [...list.querySelectorAll("ol")].at(-1);
  if (ordered === undefined) {
    ordered = element("ol", "items");
    list.append(ordered);
  }
  each.row = row(each.text, "", "waiting");
  each.row.append(element("span", "sr", " (being added)"));
  ordered.append(each.row);
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className !== "") made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function tell(notice) {
  noticeLine.dataset.kind = notice?.kind ?? "";
  noticeLine.textContent = notice?.text ?? "";
}

function showError(message) {
  errorLine.textContent = message;
  if (message === "") input.removeAttribute("aria-invalid");
  else input.setAttribute("aria-invalid", "true");
}

/** Marks the page as busy while `task` runs. */
async function busily(task) {
  document.body.dataset.busy = "";
  try {
    return await task();
  } finally {
    delete document.body.dataset.busy;
  }
}

async function look() {
  const { ok, body } = await busily(() => ask("/"));
  if (ok) show(body);
  else tell({ kind: "problem", text: body.error.message });
}

async function add(each) {
  const { ok, body } = await ask("/add", { text: each.text });
  waiting.splice(waiting.indexOf(each), 1);
  each.row.remove();
  if (ok) {
    show(body, body.added.id);
    const place = body.position === undefined ? "" : ` It is number ${count.format(body.position)}.`;
    tell({ kind: "done", text: body.notice.text + place });
    return;
  }
  if (list.querySelector("li") === null) await look();
  // What was typed is never lost; what is being typed now is not overwritten.
  const isFree = input.value === "";
  if (isFree) input.value = each.text;
  showError(isFree ? body.error.message : `${body.error.message} What you sent was: “${each.text}”.`);
  input.focus();
}

async function remove() {
  const { ok, body } = await ask("/remove", {});
  if (ok) {
    show(body);
    tell(body.notice);
  } else {
    list.querySelector(".leaving")?.classList.remove("leaving");
    await look();
    tell({ kind: body.error.code === "empty" ? "empty" : "problem", text: body.error.message });
  }
}

// The server's messages are kinder than the browser's, and there is one place for them.
addForm.noValidate = true;

addForm.addEventListener("submit", (event) => {
  event.preventDefault();
  showError("");
  tell();
  const text = input.value;
  if (text.trim() === "") {
    showError("Write something first.");
    input.focus();
    return;
  }
  // Emptied at once: a second Enter has nothing to send.
  input.value = "";
  const each = { text, row: undefined };
  waiting.push(each);
  showWaiting(each);
  each.row.scrollIntoView({ block: "nearest" });
  void inTurn(() => add(each));
});

removeForm.addEventListener("submit", (event) => {
  event.preventDefault();
  if (removing) return;
  removing = true;
  tell();
  removeButton.setAttribute("aria-disabled", "true");
  list.querySelector("li")?.classList.add("leaving");
  void inTurn(remove).finally(() => {
    removing = false;
    removeButton.removeAttribute("aria-disabled");
  });
});

input.addEventListener("input", () => showError(""));

find(".again").addEventListener("click", (event) => {
  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  void inTurn(look);
});

// A page that comes back from the browser's own memory, or to the front after a while, may be old: ask.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) void inTurn(look);
});
let hiddenAt = 0;
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenAt = Date.now();
  else if (Date.now() - hiddenAt > 2_000) void inTurn(look);
});
