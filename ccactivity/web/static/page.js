// The live page: takes rows from the stream `events`, and shows at most 200 of them. All text goes through textContent.

const MAX_ROWS = 200;
const MAX_MESSAGES = 3; // of a row, the others are folded
const NEWS_INTERVAL_MS = 10_000; // so that a screen reader is not talked to all the time
const RETRY_MS = 5_000; // after an answer that is no stream, on which a browser gives up
const WORDS = { failed: "failed", running: "running", waiting: "waiting", ended: "completed" };
const SECTIONS = Object.keys(WORDS);

const $ = (id) => document.getElementById(id);
const title = document.title;
const rows = new Map(); // what is known, by key
const shown = new Map(); // the element of each row that is on the page, by key
const sections = new Map(SECTIONS.map((name) => [name, makeSection(name)]));
let open = false; // the section of what has ended
let rendering = false;
let source = null;
let retry = 0;
let lastEventId = "";
let over = false;
let news = "";
let newsTimer = 0;

// --- helpers -----------------------------------------------------------------------------------------------------

const count = (number) => number.toLocaleString();

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function copy(template) {
  return $(template).content.firstElementChild.cloneNode(true);
}

function time(iso) {
  const when = new Date(iso);
  const today = when.toDateString() === new Date().toDateString();
  return today ? when.toLocaleTimeString() : when.toLocaleDateString();
}

// --- rows --------------------------------------------------------------------------------------------------------

function makeSection(name) {
  const body = copy("section");
  body.dataset.section = name;
  body.hidden = true; // until something is in it
  const button = body.querySelector("button");
  button.addEventListener("click", () => {
    open = !open;
    render();
  });
  document.querySelector("table").append(body);
  return { name, body, button, title: body.querySelector(".title") };
}

function matches(row, wanted) {
  return [row.name ?? "", row.state, ...row.ids, ...row.errors].some((text) => text.toLowerCase().includes(wanted));
}

const byTime = (one, other) => (other.at ?? "").localeCompare(one.at ?? "");
const byProgress = (one, other) => (other.progress ?? 0) - (one.progress ?? 0);
const ORDERS = { failed: byTime, running: byProgress, waiting: () => 0, ended: byTime };

function fillRow(element, row) {
  const find = (name) => element.querySelector(name);
  const partial = row.section === "ended" && row.refused > 0;
  element.dataset.section = partial ? "partial" : row.section;
  setText(find(".word"), row.state);
  setText(find(".name"), row.name ?? "");
  setText(find(".id"), row.parts ? `${row.parts.over} of ${row.parts.of} parts have ended` : row.ids[0]);
  const progress = find("progress");
  progress.hidden = row.progress === null;
  progress.value = row.progress ?? 0;
  progress.setAttribute("aria-label", `Progress of ${row.name ?? row.ids[0]}`);
  setText(find(".percent"), row.progress === null ? "" : `${Math.floor(row.progress * 100)} %`);
  setText(find(".rows"), row.rows === null ? "" : count(row.rows));
  setText(find(".refused"), row.refused ? `${count(row.refused)} refused` : "");
  const at = find("time");
  at.dateTime = row.at ?? "";
  setText(at, row.at === null ? "" : time(row.at));
  fillErrors(find(".errors"), row);
}

function fillErrors(list, row) {
  const key = JSON.stringify([row.errors, row.more_errors]);
  if (list.dataset.key === key || (!list.dataset.key && !row.errors.length)) return;
  list.dataset.key = key;
  list.hidden = !row.errors.length;
  const unsent = row.more_errors ? [`${count(row.more_errors)} that are not sent to this page`] : [];
  const items = [...row.errors, ...unsent].map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  });
  list.replaceChildren(...items.slice(0, MAX_MESSAGES));
  const rest = items.slice(MAX_MESSAGES);
  if (!rest.length) return;
  const folded = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = `${count(row.errors.length - MAX_MESSAGES + row.more_errors)} more`;
  const others = document.createElement("ul");
  others.append(...rest);
  folded.append(summary, others);
  const holder = document.createElement("li");
  holder.append(folded);
  list.append(holder);
}

// Put the elements in this order behind the heading of their section, and move only those that are out of place, so
// that focus and selection stay where they are.
function arrange(body, elements) {
  const focused = document.activeElement;
  let place = body.firstElementChild.nextElementSibling;
  for (const element of elements) {
    if (element === place) place = place.nextElementSibling;
    else if (element.isConnected && body.moveBefore) body.moveBefore(element, place);
    else body.insertBefore(element, place);
  }
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

// --- the page ----------------------------------------------------------------------------------------------------

function render() {
  rendering = false;
  const wanted = $("search").value.trim().toLowerCase();
  const counts = { failed: 0, running: 0, waiting: 0, ended: 0 };
  const found = { failed: [], running: [], waiting: [], ended: [] };
  let done = 0;
  for (const row of rows.values()) {
    counts[row.section] += 1;
    done += row.over ? 1 : (row.progress ?? 0);
    if (!wanted || matches(row, wanted)) found[row.section].push(row);
  }
  const keep = new Set();
  const arranged = [];
  let room = MAX_ROWS;
  for (const name of SECTIONS) {
    const visible = name !== "ended" || open || wanted;
    const chosen = visible && room > 0 ? found[name].sort(ORDERS[name]).slice(0, room) : [];
    room -= chosen.length;
    for (const row of chosen) keep.add(row.key);
    arranged.push([sections.get(name), chosen, found[name].length, visible]);
  }
  for (const [key, element] of shown) {
    if (!keep.has(key)) {
      element.remove();
      shown.delete(key);
    }
  }
  for (const [section, chosen, all, visible] of arranged) {
    section.body.hidden = all === 0;
    const cut = visible && chosen.length < all ? `, of which ${count(chosen.length)} are shown` : "";
    setText(section.title, `${count(all)} ${WORDS[section.name]}${cut}`);
    section.button.hidden = section.name !== "ended" || Boolean(wanted);
    section.button.setAttribute("aria-expanded", String(open));
    setText(section.button, open ? "Hide" : "Show");
    const elements = chosen.map((row) => {
      if (!shown.has(row.key)) shown.set(row.key, copy("row"));
      const element = shown.get(row.key);
      if (element.row !== row) fillRow(element, row);
      element.row = row;
      return element;
    });
    arrange(section.body, elements);
  }
  for (const item of $("counts").children) setText(item.firstElementChild, count(counts[item.dataset.section]));
  $("overall").value = rows.size ? done / rows.size : 0;
  const matching = wanted ? ` that match “${wanted}”` : "";
  setText($("caption"), `${count(keep.size)} of ${count(rows.size)} activities are shown${matching}.`);
  const summary = SECTIONS.filter((name) => counts[name]).map((name) => `${count(counts[name])} ${WORDS[name]}`);
  tell(`${summary.join(", ") || "nothing to show yet"}.`);
  document.title = rows.size ? `${count(counts.ended + counts.failed)}/${count(rows.size)} ${title}` : title;
}

function renderSoon() {
  if (!rendering) requestAnimationFrame(render);
  rendering = true;
}

function tell(text) {
  if (text === news) return;
  news = text;
  newsTimer ||= setTimeout(() => {
    newsTimer = 0;
    setText($("news"), news);
  }, NEWS_INTERVAL_MS * ($("news").textContent ? 1 : 0));
}

function showConnection(state, word) {
  $("connection").dataset.state = state;
  setText($("connection").querySelector(".word"), word);
  if (state === "failed") setText($("news"), `${word}.`);
}

function showQuota(quota) {
  const parts = [`${count(quota.spent)} requests spent today`];
  if (quota.left !== null) {
    const resetsAt = new Date(quota.resets_at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    parts.push(`${count(quota.left)} left${quota.resets_at ? ` until ${resetsAt}` : ""}`);
  }
  if (quota.per_finished !== null) parts.push(`${count(quota.per_finished)} per finished activity`);
  setText($("quota"), parts.join(" · "));
  $("problem").hidden = quota.problem === null;
  setText($("problem"), quota.problem ?? "");
}

// --- the stream --------------------------------------------------------------------------------------------------

function take(event) {
  lastEventId = event.lastEventId;
  if (event.type === "snapshot") rows.clear();
  for (const row of JSON.parse(event.data).rows) {
    if (row.gone) rows.delete(row.key);
    else rows.set(row.key, row);
  }
  renderSoon();
}

function connect() {
  clearTimeout(retry);
  if (document.hidden || over) return;
  source?.close();
  source = new EventSource(`events${lastEventId && `?after=${encodeURIComponent(lastEventId)}`}`);
  source.addEventListener("open", () => showConnection("running", "live"));
  source.addEventListener("snapshot", take);
  source.addEventListener("change", take);
  source.addEventListener("quota", (event) => showQuota(JSON.parse(event.data)));
  source.addEventListener("end", () => {
    over = true;
    source.close();
    showConnection("ended", "over: nothing more will change");
  });
  source.addEventListener("error", () => {
    showConnection("failed", "disconnected, trying again");
    if (source.readyState === EventSource.CLOSED) retry = setTimeout(connect, RETRY_MS);
  });
}

$("search").addEventListener("input", renderSoon);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) connect();
  else if (!over) source?.close(); // nobody sees it, so nothing is asked for it
});
connect();
