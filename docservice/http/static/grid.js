// The documents of a module in AG Grid Community, whose requests go to the service as they are.

import {Failure, Session, askForToken, attempt, byId, confirm, element, name, newKey, say} from "./ask.js";

const PAGE_ROWS = 100;
const POLL_MS = 1000;
const FINAL = new Set(["processed", "failed"]);
const FILTERS = {integer: "agNumberColumnFilter", datetime: "agDateColumnFilter"};
const session = new Session();
const can = {change: false};
let grid = null;
let module = "";
let listed = null;
let search = "";
let pageFault = false;
let question = null; // what the page has asked last: answers to anything else come too late to be shown

askForToken(session, async (caller) => {
  can.change = caller.role !== "viewer";
  if (!can.change) {
    byId("upload-hint").textContent = "This token is a viewer's. To upload, delete and process again takes the role operator.";
  }
  listed = listModules(caller.modules);
  wireUpload();
  await listed;
  wire();
  if (module) await show();
});

// A token that is limited to modules may use those of them that have no document yet, and no others.
async function listModules(limited) {
  const select = byId("module");
  const names = new Set();
  let after = "";
  do {
    const page = await session.envelope("GET", `modules?limit=500${after && `&after=${encodeURIComponent(after)}`}`);
    for (const entry of page.data) names.add(entry.name);
    after = page.meta.next_after ?? "";
  } while (after);
  for (const one of limited ?? []) names.add(one);
  select.append(...[...names].map((one) => element("option", {value: one}, one)));
  if (can.change && !limited) select.append(element("option", {value: ""}, "another module …"));
  module = select.value;
  if (!module) say(`There is no document yet.${can.change ? " Upload one to a module of any name." : ""}`);
}

function wire() {
  const select = byId("module");
  // Not one at a time: the module that was chosen last is shown, however long another one takes.
  select.addEventListener("change", () => attempt(null, async () => {
    say("");
    if (select.value === "" && !(await nameModule(select))) return;
    module = select.value;
    search = byId("text").value = "";
    await show();
  }));
  let timer = 0;
  byId("text").addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      search = event.target.value.trim();
      grid?.purgeInfiniteCache();
    }, 300);
  });
  byId("clear").addEventListener("click", () => {
    search = byId("text").value = "";
    grid?.setFilterModel(null);
    grid?.purgeInfiniteCache();
  });
  byId("csv").addEventListener("click", (event) => attempt(event.target, exportCsv));
  byId("file").addEventListener("click", (event) => attempt(event.target, downloadFiles));
  byId("retry").addEventListener("click", (event) => attempt(event.target, () => change("retry")));
  byId("delete").addEventListener("click", (event) => attempt(event.target, () => change("delete")));
}

// At once: what is chosen or dropped while the modules are still listed waits for them.
function wireUpload() {
  byId("files")?.addEventListener("change", (event) => {
    upload([...event.target.files]);
    event.target.value = "";
  });
  const drop = byId("drop");
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") upload([...event.dataTransfer.files]);
    });
  }
}

async function nameModule(select) {
  const answer = await confirm("Another module", ["A module begins with its first document."], {
    action: "Use it", inputs: [{label: "Name", name: "module", required: true, maxlength: 63, pattern: "[A-Za-z0-9][A-Za-z0-9_\\-]*"}],
  });
  if (answer === null) {
    select.value = module;
    return false;
  }
  const chosen = answer.module.toLowerCase();
  if (![...select.options].some((option) => option.value === chosen)) {
    select.prepend(element("option", {value: chosen}, chosen));
  }
  select.value = chosen;
  return true;
}

async function show() {
  grid?.destroy();
  grid = null;
  byId("document").hidden = true;
  const asked = question = Symbol(module);
  let columns;
  try {
    columns = await session.data("GET", `modules/${encodeURIComponent(module)}/columns`);
  } catch (fault) {
    if (question !== asked) return;
    if (!(fault instanceof Failure) || fault.status !== 404) throw fault;
    byId("total").textContent = "No document yet.";
    return;
  }
  if (question !== asked) return;
  grid = agGrid.createGrid(byId("grid"), {
    theme: "legacy",
    columnDefs: columns.map((column) => ({
      field: column.name,
      headerName: column.label,
      filter: FILTERS[column.kind] ?? "agTextColumnFilter",
      valueFormatter: column.kind === "datetime" ? ({value}) => (value ? value.slice(0, 19).replace("T", " ") : "") : undefined,
    })),
    defaultColDef: {sortable: true, resizable: true, floatingFilter: true, minWidth: 110},
    rowModelType: "infinite",
    cacheBlockSize: PAGE_ROWS,
    maxBlocksInCache: 50,
    infiniteInitialRowCount: 1,
    rowSelection: {mode: "multiRow", headerCheckbox: false, enableClickSelection: false},
    getRowId: ({data}) => String(data.id),
    ensureDomOrder: true,
    datasource: {getRows: (block) => getRows(block)},
    onSelectionChanged: chosenChanged,
    onRowDoubleClicked: ({data}) => data && attempt(null, () => showDocument(data.id)),
    onCellKeyDown: ({event, data}) => event.key === "Enter" && data && attempt(null, () => showDocument(data.id)),
  });
  chosenChanged();
}

// What the grid asks for, and the search in texts beside it.
function filterModel(ofGrid) {
  return search ? {...ofGrid, text: {filterType: "text", type: "contains", filter: search}} : ofGrid;
}

async function getRows({startRow, endRow, sortModel, filterModel: ofGrid, successCallback, failCallback}) {
  const filters = filterModel(ofGrid);
  const asked = question = JSON.stringify([module, filters]); // the same for every block of rows
  try {
    const found = await session.data("POST", `modules/${encodeURIComponent(module)}/grid`, {
      body: {startRow, endRow, sortModel, filterModel: filters},
    });
    const last = startRow + found.rows.length;
    const ended = found.rows.length < endRow - startRow;
    successCallback(found.rows, ended ? last : found.total_capped ? -1 : found.total);
    if (question !== asked) return;
    const about = found.total_capped ? `more than ${found.total.toLocaleString()}` : found.total.toLocaleString();
    byId("total").textContent = `${about} ${found.total === 1 && !found.total_capped ? "document" : "documents"}`;
    if (pageFault) say(""); // only what a page has said: the outcome of a change stays
    pageFault = false;
  } catch (fault) {
    failCallback();
    if (!(fault instanceof Failure)) throw fault;
    if (question !== asked) return;
    pageFault = true;
    say(fault.message, {bad: true});
  }
}

function chosen() {
  return grid ? grid.getSelectedRows() : [];
}

function chosenChanged() {
  const rows = chosen();
  byId("chosen").textContent = rows.length ? `${rows.length} selected` : "";
  byId("file").disabled = !rows.length;
  byId("retry").disabled = byId("delete").disabled = !rows.length || !can.change;
}

async function showDocument(id) {
  const [detail, found] = await Promise.all([session.data("GET", `documents/${id}`), session.data("GET", `documents/${id}/text`)]);
  byId("detail").replaceChildren(...Object.entries(detail).filter(([, value]) => value !== null && value.length !== 0)
    .flatMap(([key, value]) => [element("dt", {}, key.replaceAll("_", " ")), element("dd", {}, name(Array.isArray(value) ? value.join("; ") : value))]));
  byId("document-text").textContent = found.text ?? "There is no text.";
  byId("document").hidden = false;
  byId("document").focus();
}

// Downloads

function save(blob, fileName) {
  const url = URL.createObjectURL(blob);
  element("a", {href: url, download: fileName}).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

async function exportCsv() {
  if (!module) return;
  const {sortModel, ofGrid} = {sortModel: sorting(), ofGrid: grid?.getFilterModel() ?? {}};
  const answer = await session.fetch("POST", `modules/${encodeURIComponent(module)}/grid.csv`, {
    body: {sortModel, filterModel: filterModel(ofGrid)},
  });
  save(await answer.blob(), `${module}.csv`);
}

function sorting() {
  return (grid?.getColumnState() ?? []).filter((column) => column.sort)
    .sort((one, other) => one.sortIndex - other.sortIndex).map(({colId, sort}) => ({colId, sort}));
}

async function downloadFiles() {
  for (const {id, file_name: fileName} of chosen()) {
    save(await (await session.fetch("GET", `documents/${id}/content`)).blob(), fileName);
  }
}

// Changes

async function change(action) {
  const rows = chosen();
  const what = rows.length === 1 ? `“${rows[0].title}”` : `${rows.length} documents`;
  const lines = action === "delete"
    ? [["Delete ", name(what), ", with attachments, texts and files. This cannot be undone."]]
    : [["Process ", name(what), " again. Only failed documents are sent to the workers."]];
  const title = action === "delete" ? "Delete" : "Process again";
  const path = `modules/${encodeURIComponent(module)}/documents/${action}`;
  const work = () => session.data("POST", path, {body: {ids: rows.map((row) => row.id)}, key: newKey()});
  const job = await confirm(title, lines, {action: title, work});
  if (job === null) return;
  grid.deselectAll();
  byId("grid-page").focus({preventScroll: true}); // the button is disabled now and would drop the focus
  for (;;) {
    const now = await session.data("GET", job.status_url.replace(/^\//, ""));
    say(outcome(action, now));
    if (now.state !== "running") break;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  grid?.purgeInfiniteCache(); // another module may be shown by now
}

// What a job did, which is less than it went through where documents had gone or had not failed.
function outcome(action, {state, total, done, changed}) {
  if (state === "running") return `${action === "delete" ? "Deleting" : "Sending again"}: ${done} of ${total}.`;
  if (action === "delete") return `Deleted: ${changed.toLocaleString()} ${changed === 1 ? "document" : "documents"}, attachments included.`;
  return `Sent again: ${changed} of ${total}${changed < total ? "; only failed documents are" : ""}.`;
}

// Uploads

function upload(files) {
  if (!files.length) return;
  attempt(null, async () => {
    if (!can.change) throw new Failure(403, "This token is a viewer's; to upload takes the role operator.");
    await listed;
    if (!module) {
      const select = byId("module");
      if (!(await nameModule(select))) return;
      module = select.value;
    }
    const form = new FormData();
    for (const file of files) form.append("file", file);
    say(`Uploading ${files.length} ${files.length === 1 ? "file" : "files"}.`);
    const accepted = await session.data("POST", `modules/${encodeURIComponent(module)}/documents`, {form, key: newKey()});
    say("");
    await watch(accepted);
  });
}

async function watch({documents, status_url: statusUrl}) {
  const lines = new Map(documents.map((document) => {
    const state = element("strong", {}, "received");
    byId("uploads").prepend(element("li", {}, name(document.file_name), ": ", state));
    return [document.id, state];
  }));
  if (grid) grid.purgeInfiniteCache();
  else await show();
  const left = new Set(lines.keys());
  while (left.size) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    for (const now of await session.data("GET", statusUrl.replace(/^\//, ""))) {
      const state = lines.get(now.id);
      if (!state || !left.has(now.id)) continue;
      state.textContent = now.failure ? `${now.state}: ${now.failure}` : now.state;
      state.className = now.state === "failed" ? "bad" : now.state === "processed" ? "good" : "";
      if (FINAL.has(now.state)) left.delete(now.id);
    }
  }
  grid?.purgeInfiniteCache();
}
