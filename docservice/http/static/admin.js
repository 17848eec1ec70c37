// The administrator's console: a client of the public API. Each command is asked for once, carries an
// Idempotency-Key, and shows the outcome of each worker. Silence is never success.

import {Failure, Session, askForToken, attempt, byId, confirm, element, name, newKey, say} from "./ask.js";

const POLL_MS = 1000;
const ROLES = ["viewer", "operator", "system_admin"];
const MAY = {
  viewer: "read documents and columns. To change columns takes the role operator; workers, the autoscaler and the audit are for system administrators.",
  operator: "read and change documents and columns. Workers, the autoscaler and the audit are for system administrators.",
};
const session = new Session();
let role = "viewer";
let override = null;

const covers = (needed) => ROLES.indexOf(role) >= ROLES.indexOf(needed);

askForToken(session, async (caller) => {
  role = caller.role;
  for (const part of document.querySelectorAll("[data-role]")) part.hidden = !covers(part.dataset.role);
  if (MAY[role]) {
    byId("role-notice").hidden = false;
    byId("role-text").replaceChildren("The token ", name(caller.name), ` has the role ${role}: it may ${MAY[role]}`);
  }
  byId("add-column").disabled = !covers("operator");
  wire();
  await Promise.all([listColumns(), ...(covers("system_admin") ? [readWorkers(), readAudit()] : [])].map((one) => one.catch(said)));
});

function said(fault) {
  if (!(fault instanceof Failure)) throw fault;
  say(fault.message, {bad: true});
}

function wire() {
  const on = (id, work) => byId(id).addEventListener("click", (event) => attempt(event.currentTarget, work));
  on("pause", pause);
  on("resume", resume);
  on("limits", setLimits);
  on("unlimit", () => change("Remove the limits", ["The autoscaler sizes workers within its own --min and --max again."], {min: null, max: null}));
  on("inspect", readWorkers);
  on("add-column", addColumn);
  on("older", () => readAudit(byId("audit").dataset.before));
  byId("audit-form").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(byId("audit-go"), () => readAudit());
  });
}

// The autoscaler and its override

async function readAutoscaler() {
  const found = await session.data("GET", "admin/celery/autoscale");
  showOverride(found.override, found.override_fault);
  const state = byId("autoscaler-state");
  if (found.status === null) {
    state.textContent = "No autoscaler of this name has reported lately: nothing resizes the workers.";
    return;
  }
  const {mode, name: named} = found.status;
  state.replaceChildren("The autoscaler ", name(named ?? ""), ` reports${mode ? `: ${mode}` : ""}.`);
}

function when(moment) {
  return moment === null ? "until it is lifted" : `until ${new Date(moment).toLocaleString()}`;
}

function showOverride(found, fault = null) {
  override = found;
  const lines = [];
  const said = [found.by ? element("span", {}, " by ", name(found.by)) : "", found.why ? element("span", {}, ": ", name(found.why)) : ""];
  if (fault) lines.push(element("li", {class: "bad"}, fault));
  if (found.paused) lines.push(element("li", {}, element("strong", {}, "Paused"), ` ${when(found.expires_at)}`, ...said));
  if (found.min !== null || found.max !== null) {
    lines.push(element("li", {}, `Each worker has ${found.min ?? "--min"} to ${found.max ?? "--max"} processes, ${when(found.limits_expires_at)}`, ...(found.paused ? [] : said)));
  }
  for (const [worker, until] of Object.entries(found.hold_until)) lines.push(element("li", {}, name(worker), ` is left as it is, ${when(until)}`));
  byId("override").replaceChildren(...(lines.length ? lines : [element("li", {}, "Nothing is overridden.")]));
  byId("resume").disabled = !found.paused;
  byId("unlimit").disabled = found.min === null && found.max === null;
}

const MINUTES = {label: "Minutes", name: "minutes", type: "number", min: 1, max: 10080, step: 1, value: 60, required: true};
const WHY = {label: "Why", name: "why", maxlength: 500};

// Change the override as `fixed` and the inputs say. Resolves to whether it was changed.
async function change(title, lines, fixed, inputs = []) {
  const changed = await confirm(title, lines, {action: title, inputs, work: async ({minutes, why, ...bounds}) => {
    const body = {...fixed};
    for (const [key, value] of Object.entries(bounds)) body[key] = value === "" ? null : Number(value);
    if (minutes) body.expires_in_seconds = Number(minutes) * 60;
    if (why) body.why = why;
    if (Object.values(bounds).length && Object.values(bounds).every((value) => value === "")) {
      throw new Failure(422, "Give a minimum, a maximum or both. Remove limits removes both.");
    }
    try {
      return await session.data("POST", "admin/celery/autoscale", {body, key: newKey()});
    } finally {
      await readAudit().catch(said);
    }
  }});
  if (changed === null) return false;
  showOverride(changed);
  say(`${title}: done. The autoscaler follows from its next tick.`);
  return true;
}

function pause() {
  return change("Pause", ["No worker is resized until the pause ends. Tasks go on with the processes that there are."], {paused: true}, [MINUTES, WHY]);
}

function resume() {
  return change("Resume", ["The autoscaler resizes workers again from its next tick. Limits and holds remain."], {paused: false});
}

// The dialog shows both bounds as they are, and sends both as they are left.
async function setLimits() {
  await readAutoscaler();
  const bound = (label, key) => ({label, name: key, type: "number", min: 1, max: 10000, step: 1, value: override[key] ?? ""});
  await change("Set limits", ["Each worker is kept within these processes until the limits end. An empty field is no limit: the autoscaler's own setting holds."],
    {}, [bound("Minimum", "min"), bound("Maximum", "max"), MINUTES, WHY]);
}

// Workers

// The holds first: a worker's row offers Hold or Release by them.
async function readWorkers() {
  await readAutoscaler().catch(said);
  await inspect();
}

async function inspect() {
  try {
    const workers = await session.data("GET", "admin/celery/inspect");
    byId("workers").replaceChildren(...workers.map(workerRow));
    byId("inspected").textContent = `at ${new Date().toLocaleTimeString()}`;
  } catch (fault) {
    if (!(fault instanceof Failure)) throw fault;
    byId("workers").replaceChildren(element("tr", {}, element("td", {colspan: 8, class: "bad"}, fault.message)));
  }
}

function uptime(seconds) {
  if (seconds === null || seconds === undefined) return "";
  return seconds < 120 ? `${Math.round(seconds)} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function processes(size) {
  return size === null || size === undefined ? "an unknown number of processes" : `${size} ${size === 1 ? "process" : "processes"}`;
}

function workerRow(worker) {
  if (!worker.answered) {
    return element("tr", {}, element("td", {}, name(worker.worker)), element("td", {colspan: 6, class: "bad"}, "does not answer"), element("td", {}));
  }
  const act = (label, work, refusal = null) => element("button", {
    type: "button", "aria-label": `${label} ${worker.worker}`, disabled: refusal !== null, title: refusal,
    onclick: (event) => attempt(event.currentTarget, () => work(worker)),
  }, label);
  const held = override?.hold_until[worker.worker];
  return element("tr", {},
    element("td", {}, name(worker.worker), ...(worker.refusal ? [element("div", {class: "bad"}, worker.refusal)] : [])),
    element("td", {}, worker.size ?? "unknown"), element("td", {}, worker.busy ?? "unknown"), element("td", {}, worker.reserved ?? "unknown"),
    element("td", {}, `${worker.kind ?? ""}${worker.companion ? "" : ", no companion"}`),
    element("td", {}, name((worker.queues ?? []).join(", "))), element("td", {}, uptime(worker.uptime_seconds)),
    element("td", {}, element("span", {class: "buttons"}, act("Grow", (one) => resize(one, "grow")),
      act("Shrink", (one) => resize(one, "shrink"), worker.size === 1 ? "A worker keeps at least one process." : null),
      held ? act("Release", release) : act("Hold", hold), act("Drain", drain))));
}

async function resize(worker, action) {
  const grows = action === "grow";
  const title = grows ? "Grow" : "Shrink";
  await command(title, `${title} a worker`, [
    [name(worker.worker), ` has ${processes(worker.size)}, ${worker.busy ?? "an unknown number"} of them busy. ${grows ? "It gets" : "It loses"} as many as you say; no task is lost.`],
    "The autoscaler then leaves this worker alone for the minutes below, and decides again after them.",
  ], {
    inputs: [
      {label: "Processes", name: "processes", type: "number", min: 1, max: grows ? 1000 : Math.max(1, worker.size - 1), step: 1, value: 1, required: true},
      {label: "Minutes left alone", name: "minutes", type: "number", min: 0, max: 10080, step: 1, value: 5, required: true},
    ],
    path: `admin/celery/${action}`,
    body: (answer) => ({workers: [worker.worker], processes: Number(answer.processes), hold_seconds: Number(answer.minutes) * 60}),
    show: (outcomes, line) => {
      line.replaceChildren(`${title}: `, ...outcomes.flatMap((one) => [name(one.worker),
        ` ${one.outcome}: ${one.before ?? "?"} → ${one.after ?? "?"}${one.detail ? `, ${one.detail}` : ""} `]));
      line.className = "good";
    },
  });
}

// Ask for a command, send it once for each time it is confirmed, and show what came of it. A refusal is shown in the
// dialog, to be corrected there. Without an answer it may still take effect, so that it is not offered again.
async function command(action, title, lines, {inputs, path, body, show}) {
  let line = null;
  const work = async (answer) => {
    line = element("li", {}, `${action}: sent, waiting for the outcome`);
    byId("outcomes").prepend(line);
    byId("outcome").hidden = false;
    try {
      return {data: await session.data("POST", path, {body: body(answer), key: newKey()})};
    } catch (fault) {
      if (!(fault instanceof Failure)) throw fault;
      const unknown = fault.status === 504 || fault.status === 0;
      line.className = "bad";
      line.textContent = unknown
        ? `${action}: no answer. It may still take effect: inspect before you repeat it. ${fault.message}`
        : `${action}: not done. ${fault.message}`;
      if (unknown) return {data: null};
      throw fault;
    }
  };
  try {
    const answered = await confirm(title, lines, {action, inputs, work});
    if (line) byId("outcome").focus();
    if (answered?.data) await show(answered.data, line);
  } finally {
    if (line) {
      await readWorkers().catch(said);
      await readAudit().catch(said); // last, so that it shows the command with its outcome
    }
  }
}

async function hold(worker) {
  if (await change("Hold", [["The autoscaler leaves ", name(worker.worker), ` at its ${processes(worker.size)}.`]], {hold: [worker.worker]}, [MINUTES, WHY])) await inspect();
}

async function release(worker) {
  if (await change("Release", [["The autoscaler sizes ", name(worker.worker), " again from its next tick."]], {release: [worker.worker]})) await inspect();
}

async function drain(worker) {
  await command("Drain", "Drain and end a worker", [
    [name(worker.worker), ` takes no new task, finishes those that run (${worker.busy ?? "unknown"}) and ends. What it has fetched goes back to its queue.`],
    "A worker that is still busy at the deadline goes on to work, and the report says so.",
  ], {
    inputs: [
      {label: "Deadline in seconds", name: "deadline", type: "number", min: 1, max: 86400, step: 1, value: 300, required: true},
      {label: "Force: also when it is the last worker of a queue, or is emptied already", name: "force", type: "checkbox"},
    ],
    path: "admin/celery/drain_shutdown",
    body: (answer) => ({workers: [worker.worker], deadline_seconds: Number(answer.deadline), force: answer.force}),
    show: async (begun, line) => {
      try {
        await follow(begun, line);
      } catch (fault) {
        if (!(fault instanceof Failure)) throw fault;
        line.className = "bad";
        line.textContent = `Drain: begun, and its progress cannot be read: inspect before you repeat it. ${fault.message}`;
      }
    },
  });
}

// The progress of a drain until it ends, and its report.
async function follow({status_url: statusUrl}, line) {
  for (;;) {
    const now = await session.data("GET", statusUrl.replace(/^\//, ""));
    const report = Object.entries(now.report ?? {}).flatMap(([worker, one]) => [
      element("br"), name(worker), `: ${typeof one === "object" && one !== null ? Object.entries(one).filter(([, value]) => value !== null).map(([key, value]) => `${key.replaceAll("_", " ")} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ") : one}`,
    ]);
    line.replaceChildren(`Drain: ${now.state}`, ...report);
    line.className = now.state === "done" ? "good" : now.state === "running" ? "" : "bad";
    if (now.state !== "running") return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

// Columns by type of document

async function listColumns() {
  const rows = await session.data("GET", "document-type-columns");
  byId("columns").replaceChildren(...rows.map((row) => element("tr", {},
    element("td", {}, name(row.module)), element("td", {}, name(row.document_type)), element("td", {}, name(row.column)),
    element("td", {}, name(row.label)), element("td", {}, row.position),
    element("td", {}, element("button", {
      type: "button", disabled: !covers("operator"), "aria-label": `Remove ${row.column} of ${row.document_type} in ${row.module}`,
      onclick: (event) => attempt(event.currentTarget, () => removeColumn(row)),
    }, "Remove")))));
}

async function removeColumn(row) {
  const removed = await confirm("Remove a column", [["The grid of ", name(row.module), " no longer shows ", name(row.label), " for ", name(row.document_type), ". No document changes."]],
    {action: "Remove", work: () => session.fetch("DELETE", `document-type-columns/${row.id}`)});
  if (removed === null) return;
  say("The column was removed.");
  await listColumns();
}

async function addColumn() {
  const added = await confirm("Show a column", ["The grid of the module shows this column for this type of document."], {
    action: "Show",
    inputs: [
      {label: "Module", name: "module", required: true, maxlength: 100},
      {label: "Type of document", name: "document_type", required: true, maxlength: 100},
      {label: "Column", name: "column", required: true, maxlength: 100},
      {label: "Label", name: "label", maxlength: 100},
      {label: "Position", name: "position", type: "number", min: 0, max: 10000, step: 1, value: 0, required: true},
    ],
    work: ({label, position, ...body}) =>
      session.data("POST", "document-type-columns", {body: {...body, position: Number(position), ...(label ? {label} : {})}}),
  });
  if (added === null) return;
  say("The column is shown.");
  await listColumns();
}

// Audit

async function readAudit(before = null) {
  const form = new FormData(byId("audit-form"));
  const asked = new URLSearchParams({limit: "50"});
  for (const [key, value] of form) if (value) asked.set(key, key === "since" ? new Date(value).toISOString() : value);
  if (before) asked.set("before", before);
  const page = await session.envelope("GET", `admin/audit?${asked}`);
  const rows = page.data.map((row) => element("tr", {},
    element("td", {}, new Date(row.at).toLocaleString()), element("td", {}, name(row.actor)), element("td", {}, row.remote_address),
    element("td", {}, row.action), element("td", {}, name(shown(row.request))), element("td", {}, name(shown(row.size_before))),
    element("td", {}, name(shown(row.size_after))), element("td", {class: row.status < 200 ? "" : row.status < 400 ? "good" : "bad"}, `${row.outcome} (${row.status})`)));
  if (before) byId("audit").append(...rows);
  else byId("audit").replaceChildren(...(rows.length ? rows : [element("tr", {}, element("td", {colspan: 8}, "No entry matches."))]));
  byId("audit").dataset.before = page.meta.next_before ?? "";
  byId("older").disabled = !page.meta.next_before;
  const actions = new Set([...byId("actions").children].map((option) => option.value));
  for (const row of page.data) if (!actions.has(row.action) && actions.add(row.action)) byId("actions").append(element("option", {value: row.action}));
}

function shown(value) {
  return value === null || value === undefined || Object.keys(value).length === 0 ? "" : JSON.stringify(value);
}
