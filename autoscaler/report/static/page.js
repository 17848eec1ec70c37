// Puts the page together: the stream of ticks, the window of the history, and who shows what.
import { Charts } from "./charts.js";
import { Window } from "./history.js";
import { Tables } from "./tables.js";
import { clock, element, moment, name, number, percent, seconds, setText, span } from "./words.js";

const REFETCH_MS = 60000;
const ASK_AGAIN_MS = 10000;
const MODES = { act: "acts", dry_run: "dry run: resizes nothing", disabled: "disabled: resizes nothing" };
const NUMBERS = ["waiting", "fetched", "running", "scheduled", "processes", "target", "lower", "upper", "age"];
const MAX_NUMBERS = 60;
const at = (id) => document.getElementById(id);

const tables = new Tables();
const charts = new Charts({ tasks: at("plot-tasks"), processes: at("plot-processes"), wait: at("plot-wait") }, at("tip"));
const shown = { span: "1h", group: "", window: null, tick: null, heardAt: 0, drawnAt: 0, asked: 0 };

function link(text, kind) {
  setText(at("link"), text);
  at("link").className = `badge ${kind}`;
}

function showHead(tick) {
  document.title = `${tick.name}: ${tick.groups.reduce((sum, group) => sum + group.counts[3], 0)} processes`;
  setText(at("name"), tick.name);
  setText(at("sentence"), tick.sentence);
  const unknown = "backlog" in tick.faults || "lease" in tick.faults;
  setText(at("role"), tick.leader ? "leader" : unknown ? "who leads is not known" : "standing by");
  at("role").className = `badge ${tick.leader ? "good" : ""}`;
  setText(at("mode"), tick.paused ? "paused" : MODES[tick.mode] ?? tick.mode);
  at("mode").className = `badge ${tick.mode === "act" && !tick.paused ? "good" : "bad"}`;
  const text = JSON.stringify(tick.conditions);
  if (text === shown.conditions) return;
  shown.conditions = text;
  at("conditions-section").hidden = tick.conditions.length === 0;
  at("conditions").replaceChildren(...tick.conditions.map((one) => {
    const item = element("li", "", `${one.kind} `);
    item.append(name(one.name), ": ", name(one.state), `, since ${moment(one.since)}`);
    return item;
  }), ...(tick.more_conditions ? [element("li", "", `and ${tick.more_conditions} more: see the status`)] : []));
}

function showFigures(window) {
  const found = window.view.summary;
  const rows = [
    ["Time at the maximum", span(found.seconds_at_max)],
    ["Share of time within the target wait", percent(found.share_in_time)],
    ["Oldest wait, p95", seconds(found.age_p95_seconds)],
    ["Ahead of their ETA now", `${number(window.columns.scheduled[window.columns.scheduled.length - 1])} tasks`],
    ["Process-hours used", number(found.process_hours, 2)],
    [`A fixed pool of the peak (${number(found.peak_processes)})`, `${number(found.fixed_pool_process_hours, 2)} process-hours`],
    ["Saved against that pool", percent(found.saved_share)],
    ["Known time", `${span(found.known_seconds)} of ${span(found.known_seconds + found.unknown_seconds)}`],
  ];
  at("figures").replaceChildren(...rows.map(([term, value]) => {
    const pair = element("div");
    pair.append(element("dt", "", term), element("dd", "", value));
    return pair;
  }));
}

function showNumbers() {
  if (!at("numbers-details").open || !shown.window) return;
  const { times, columns } = shown.window;
  const stride = Math.max(1, Math.ceil(times.length / MAX_NUMBERS));
  const rows = [];
  for (let place = times.length - 1; place >= 0; place -= stride) {
    const row = element("tr");
    row.append(element("td", "", clock(times[place])), ...NUMBERS.map((column) => element("td", "num", number(columns[column][place]))));
    rows.push(row);
  }
  at("numbers").replaceChildren(...rows);
}

function showGroups(view) {
  at("group-label").hidden = view.groups.length === 0;
  const text = JSON.stringify(view.groups.map((one) => [one.id, one.queues]));
  if (text === shown.groups) return;
  shown.groups = text;
  at("group").replaceChildren(...[{ id: "", queues: ["all"] }, ...view.groups].map((one) => {
    const option = element("option", "", one.queues.join(", ").slice(0, 120) || "no queue");
    option.value = one.id;
    return option;
  }));
  at("group").value = shown.group;
}

async function fetchHistory() {
  const asked = (shown.asked += 1);
  try {
    const answer = await fetch(`history?since=${shown.span}${shown.group ? `&group=${shown.group}` : ""}`);
    if (asked !== shown.asked) return;
    if (answer.status === 404 && shown.group) {
      shown.group = "";
      await fetchHistory();
      return;
    }
    if (!answer.ok) throw new Error(`${answer.status}`);
    const view = await answer.json();
    if (asked !== shown.asked) return;
    shown.window = new Window(view);
    tables.note(view.actions);
    showGroups(view);
    showFigures(shown.window);
    draw();
  } catch {
    // The stream says that the daemon is gone; the next fetch shows more.
  }
}

function draw() {
  shown.drawnAt = performance.now();
  charts.show(shown.window, shown.window.view.target_wait_seconds);
  tables.showActions(shown.window.actions);
  showNumbers();
}

function takeTick(tick) {
  const before = shown.tick;
  shown.tick = tick;
  shown.heardAt = performance.now();
  link("live", "good");
  if (before === null || tick.at - before.at > 5 * tick.interval_seconds + 10) fetchHistory();
  const window = shown.window;
  tables.note(tick.actions);
  if (window) {
    const sample = tick.samples[shown.group];
    const began = sample ? window.take(tick.at, tick.sample_columns, sample, 3 * Math.max(tick.interval_seconds, tick.tick_seconds)) : false;
    const actions = tick.actions.filter((one) => !window.actions.some((other) => other.at === one.at && other.worker === one.worker));
    if (actions.length) window.act(actions);
    if (document.hidden) return;
    if (began || actions.length) draw();
  }
  if (!document.hidden) showTick();
}

function showTick() {
  if (shown.tick === null) return;
  showHead(shown.tick);
  tables.show(shown.tick);
}

function follow() {
  const source = new EventSource("events");
  source.addEventListener("tick", (event) => takeTick(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    link("connection lost: asking again", "bad");
    if (source.readyState !== EventSource.CLOSED) return;
    // The daemon refused, for instance since too many pages follow it: a browser does not ask again by itself.
    setTimeout(follow, ASK_AGAIN_MS);
  });
}

function press(button) {
  for (const other of at("spans").children) other.setAttribute("aria-pressed", String(other === button));
  shown.span = button.dataset.span;
  fetchHistory();
}

for (const button of at("spans").children) button.addEventListener("click", () => press(button));
at("group").addEventListener("change", () => { shown.group = at("group").value; fetchHistory(); });
at("actions-details").addEventListener("toggle", () => { if (shown.window) tables.showActions(shown.window.actions); });
at("numbers-details").addEventListener("toggle", showNumbers);
at("numbers-head").append(element("th", "", "Time"), ...NUMBERS.map((column) => element("th", "num", column)));
document.addEventListener("visibilitychange", () => { if (!document.hidden) { showTick(); if (shown.window) draw(); } });
setInterval(() => {
  const quiet = (performance.now() - shown.heardAt) / 1000;
  if (shown.tick !== null && quiet > 3 * shown.tick.interval_seconds + 5) link(`no tick for ${span(quiet)}`, "bad");
}, 2000);
setInterval(() => { if (!document.hidden) fetchHistory(); }, REFETCH_MS);
fetch("reasons").then((answer) => answer.json()).then((words) => tables.explain(words)).catch(() => {});
fetchHistory();
follow();
