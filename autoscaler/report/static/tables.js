// Workers, queues, actions and the steps of the decisions. Rows are made once, and a cell is written when it changes.
import { bytes, change, element, moment, name, number, OUTCOMES, percent, seconds, setText, span, UNKNOWN } from "./words.js";

const STEPS = ["recommendation", "stabilization", "blockage", "cooldown", "step", "min and max", "ceiling", "companion", "gates"];
const MAX_ACTIONS = 100;

function asRecords(columns, rows) {
  return rows.map((row) => Object.fromEntries(columns.map((column, place) => [column, row[place]])));
}

class Rows {
  constructor(body, kinds) {
    this.body = body;
    this.kinds = kinds;
    this.rows = new Map();
  }

  show(entries) {
    const kept = new Set();
    entries.forEach(([key, cells], place) => {
      kept.add(key);
      let row = this.rows.get(key);
      if (!row) {
        row = this.make(key);
        this.rows.set(key, row);
      }
      if (this.body.children[place] !== row.node) this.body.insertBefore(row.node, this.body.children[place] ?? null);
      cells.forEach((cell, number) => row.write(number, cell));
    });
    for (const [key, row] of this.rows) {
      if (kept.has(key)) continue;
      row.node.remove();
      this.rows.delete(key);
    }
  }

  make(key) {
    const node = element("tr");
    const before = [];
    const cells = this.kinds.map((kind, place) => {
      const cell = element(place === 0 ? "th" : "td", kind);
      if (place === 0) {
        cell.scope = "row";
        cell.append(name(key));
        cell.className = "name";
      }
      node.append(cell);
      return cell;
    });
    return {
      node,
      write: (place, text) => {
        if (before[place] === text) return;
        before[place] = text;
        if (place === 0) return;
        if (typeof text === "function") text(cells[place]);
        else cells[place].textContent = text;
      },
    };
  }
}

export class Tables {
  constructor() {
    const at = (id) => document.getElementById(id);
    this.at = at;
    this.workers = new Rows(at("workers"), ["name", "", "", "num", "num", "num", "num", "", "", "words", "num", "words", "words"]);
    this.queues = new Rows(at("queues"), ["name", "num", "num", "num", "num", "num", "words"]);
    this.pools = new Map();
    this.groups = new Map();
    this.reasons = {};
    this.lastActions = new Map();
    // What nobody sees is written when it comes into view: a hundred rows a tick cost more than all charts.
    this.parts = new Map();
    this.watch = new IntersectionObserver((seen) => {
      for (const one of seen) this.parts.get(one.target).seen = one.isIntersecting;
      if (this.tick) this.show(this.tick);
    }, { rootMargin: "200px" });
    for (const [id, show] of [["workers", "showWorkers"], ["queues", "showQueues"], ["why", "showWhy"]]) {
      const section = at(id).closest("section");
      this.parts.set(section, { seen: false, tick: null, show });
      this.watch.observe(section);
    }
    at("workers-filter").addEventListener("input", () => this.filter());
  }

  show(tick) {
    this.tick = tick;
    for (const part of this.parts.values()) {
      if ((!part.seen && part.tick !== null) || part.tick === tick) continue;
      part.tick = tick;
      this[part.show](tick, asRecords(tick.worker_columns, tick.workers), asRecords(tick.queue_columns, tick.queues));
    }
  }

  // The words of the reasons come once, maybe after the first tick.
  explain(words) {
    this.reasons = words;
    for (const shown of this.groups.values()) {
      shown.text = "";
      if (shown.fill) shown.fill();
    }
  }

  note(actions) {
    for (const action of actions) this.lastActions.set(action.worker, action);
  }

  showWorkers(_, workers) {
    const widest = Math.max(1, ...workers.map((one) => Math.max(one.upper ?? 0, one.target ?? 0, (one.processes ?? 0) + (one.retiring ?? 0))));
    this.workers.show(workers.map((one) => [one.worker, this.cells(one, widest)]));
    setText(this.at("workers-count"), String(workers.length));
    this.filter();
  }

  cells(one, widest) {
    const free = one.processes === null || one.busy === null ? null : Math.max(0, one.processes - Math.max(0, one.busy - (one.retiring ?? 0)));
    const cpu = one.cpu_ratio === null ? UNKNOWN : `${percent(one.cpu_ratio)}${one.cpu_cores === null ? "" : ` of ${number(one.cpu_cores, 2)}`}`;
    const memory = one.memory_bytes === null ? UNKNOWN : `${bytes(one.memory_bytes)}${one.memory_limit_bytes === null ? "" : ` of ${bytes(one.memory_limit_bytes)}`}`;
    const shrinks = one.companion === true ? "any time (companion)" : one.companion === false ? "while idle: no companion" : one.companion;
    const last = this.lastActions.get(one.worker);
    return [
      one.worker, one.pool, this.pool(one, widest), number(one.target), number(free), number(one.fetched), number(one.scheduled),
      cpu, memory, shrinks, one.uptime_seconds === null ? UNKNOWN : span(one.uptime_seconds),
      one.answers ? (one.reason ?? UNKNOWN) : "does not answer",
      last ? `${moment(last.at)} ${change(last)} ${OUTCOMES[last.result] ?? last.result}` : UNKNOWN,
    ];
  }

  // A bar as wide as the widest pool: size, the busy and the retiring part of it, and the target.
  pool(one, widest) {
    const key = [one.worker, one.processes, one.busy, one.retiring, one.target, widest].join("\0");
    const before = this.pools.get(one.worker);
    if (before && before.key === key) return before.write;
    const share = (count) => `${(100 * (count ?? 0)) / widest}%`;
    const text = one.processes === null ? UNKNOWN : `${one.busy ?? UNKNOWN} of ${one.processes} busy${one.retiring ? `, ${one.retiring} retiring` : ""}`;
    const write = (cell) => {
      let bar = cell.firstChild;
      if (!bar) {
        bar = element("div", "pool");
        const track = element("div", "track");
        track.setAttribute("aria-hidden", "true");
        for (const part of ["size", "busy", "retiring", "goal"]) track.append(element("i", part));
        bar.append(track, element("span"));
        cell.append(bar);
      }
      const [size, busy, retiring, goal] = bar.firstChild.children;
      size.style.width = share(one.processes);
      busy.style.width = share(Math.max(0, (one.busy ?? 0) - (one.retiring ?? 0)));
      retiring.style.left = share(one.processes);
      retiring.style.width = share(one.retiring);
      goal.style.left = `calc(${share(one.target)} - 3px)`;
      goal.hidden = one.target === null;
      setText(bar.lastChild, text);
    };
    this.pools.set(one.worker, { key, write });
    return write;
  }

  showQueues(tick, _, queues) {
    const groupOf = new Map();
    for (const group of tick.groups) for (const place of group.queues) groupOf.set(place, group);
    this.queues.show(queues.map((one, place) => {
      const group = groupOf.get(place);
      const priorities = one.by_priority ?? [];
      return [one.queue, [
        one.queue, number(one.waiting), priorities.length > 1 ? priorities.join(" · ") : UNKNOWN, one.waiting === 0 ? "none" : seconds(one.age),
        group && group.arrivals !== null ? `${number(group.arrivals, 2)}/s` : UNKNOWN, seconds(group ? group.service : null),
        one.error ?? (group ? "consumed" : "not consumed"),
      ]];
    }));
    setText(this.at("queues-count"), String(queues.length));
  }

  showWhy(tick, workers, queues) {
    const host = this.at("why");
    const kept = new Set();
    tick.groups.forEach((group, place) => {
      kept.add(group.id);
      let shown = this.groups.get(group.id);
      if (!shown) {
        shown = this.makeGroup(place < 3);
        host.append(shown.node);
        this.groups.set(group.id, shown);
      }
      const text = JSON.stringify([group, group.workers.length]);
      if (shown.text === text) return;
      shown.text = text;
      this.fillGroup(shown, group, queues, workers);
    });
    for (const [key, shown] of this.groups) {
      if (kept.has(key)) continue;
      shown.node.remove();
      this.groups.delete(key);
    }
  }

  makeGroup(open) {
    const node = element("details", "group");
    node.open = open;
    const summary = element("summary"), counts = element("p", "hint"), list = element("ol", "steps");
    node.append(summary, counts, list);
    const shown = { node, summary, counts, list, text: "" };
    node.addEventListener("toggle", () => { if (shown.fill) shown.fill(); });
    return shown;
  }

  fillGroup(shown, group, queues, workers) {
    const names = group.queues.map((place) => queues[place].queue);
    const title = names.length ? names.join(", ") : `no queue (${group.workers.map((place) => workers[place].worker).join(", ")})`;
    const final = group.steps.length ? group.steps[group.steps.length - 1][0] : group.counts[3];
    shown.summary.replaceChildren(name(title), `: ${final} of ${group.counts[3]} processes, ${group.workers.length} worker${group.workers.length === 1 ? "" : "s"}`);
    shown.fill = () => {
      if (!shown.node.open) return;
      const [waiting, fetched, running, processes] = group.counts;
      const known = !group.partial ? "" : " Not all of it could be read: these are the least.";
      const [up, down] = group.cooldowns ?? [0, 0];
      setText(shown.counts, `${waiting} waiting, ${fetched} fetched and ${running} running for ${processes} processes; a task takes ${seconds(group.service)}, ` +
        `${group.arrivals === null ? UNKNOWN : number(group.arrivals, 2)} arrive a second. Cooldown left: ${seconds(up)} up, ${seconds(down)} down.${known}`);
      shown.list.replaceChildren(...group.steps.map((step, place) => this.step(step, place, group)));
    };
    shown.fill();
  }

  step([processes, reason, lowest, highest], place, group) {
    const before = place ? group.steps[place - 1][0] : group.counts[3];
    const item = element("li", processes !== before || (reason && place) ? "changed" : "");
    item.append(element("span", "step", STEPS[place]), element("b", "", number(processes)));
    const range = lowest === undefined || lowest === null ? "" : `must be ${lowest} to ${highest}`;
    const why = reason ? `${reason}: ${this.reasons[reason] ?? ""}` : place ? "no change" : "";
    item.append(element("span", "why", [why, range].filter(Boolean).join("; ")));
    return item;
  }

  showActions(actions) {
    setText(this.at("actions-count"), String(actions.length));
    if (!this.at("actions-details").open) return;
    this.at("actions").replaceChildren(...actions.slice(-MAX_ACTIONS).reverse().map((one) => {
      const row = element("tr");
      const worker = element("td", "name");
      worker.append(name(one.worker));
      const outcome = `${OUTCOMES[one.result] ?? one.result}${one.detail ? `: ${one.detail}` : ""}`;
      row.append(element("td", "", moment(one.at)), worker, element("td", "", change(one)), element("td", "words", outcome),
        element("td", "words", one.reason ? `${one.reason}: ${one.why ?? ""}` : UNKNOWN));
      return row;
    }));
  }

  filter() {
    const text = this.at("workers-filter").value.toLowerCase();
    if (text === "" && this.filtered === undefined) return;
    this.filtered = text === "" ? undefined : text;
    for (const [key, row] of this.workers.rows) row.node.hidden = !key.toLowerCase().includes(text);
  }
}
