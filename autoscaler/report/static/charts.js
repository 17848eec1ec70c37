// Three plots over one time axis: tasks, processes, wait. Drawn by uPlot, which stands beside this file unchanged.
import { change, clock, element, number, name, OUTCOMES, seconds } from "./words.js";

const uPlot = window.uPlot;
const PAUSED = 1, OUTAGE = 2, STANDBY = 4;
const SPANS = [[PAUSED, "--paused"], [OUTAGE, "--outage"], [STANDBY, "--standby"]];
const NEAR_PIXELS = 9;

function colour(variable) {
  return getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
}

function total(...columns) {
  return columns[0].map((_, place) => columns.reduce((sum, column) => sum === null || column[place] === null ? null : sum + column[place], 0));
}

export class Charts {
  constructor(nodes, tip) {
    this.nodes = nodes;
    this.tip = tip;
    this.plots = [];
    this.window = null;
    this.target = null;
    this.hovered = null;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.build());
    new ResizeObserver(() => this.resize()).observe(nodes.tasks);
  }

  show(window, target) {
    const again = this.plots.length === 0 || (target === null) !== (this.target === null);
    this.window = window;
    this.target = target;
    if (again) this.build();
    else this.update();
  }

  update() {
    const data = this.data();
    this.plots.forEach((plot, place) => plot.setData(data[place]));
  }

  data() {
    const { times, columns } = this.window;
    const limit = times.map(() => this.target);
    return [
      [times, total(columns.waiting, columns.fetched, columns.running), total(columns.fetched, columns.running), columns.running],
      [times, columns.upper, columns.lower, columns.processes, columns.target],
      [times, columns.age, limit],
    ];
  }

  build() {
    this.plots.forEach((plot) => plot.destroy());
    if (this.window === null) return;
    const data = this.data();
    const area = (variable) => ({ stroke: colour(variable), fill: `${colour(variable)}b0`, width: 1, points: { show: false } });
    const line = (variable, more = {}) => ({ stroke: colour(variable), width: 2, points: { show: false }, ...more });
    const steps = uPlot.paths.stepped({ align: 1 });
    const bounds = { stroke: "transparent", points: { show: false }, paths: steps };
    const made = [
      [this.nodes.tasks, 160, data[0], [area("--waiting"), area("--fetched"), area("--running")], []],
      [this.nodes.processes, 160, data[1],
        [bounds, bounds, line("--processes", { paths: steps }), line("--target", { paths: steps, dash: [4, 4], width: 1.5 })],
        [{ series: [1, 2], fill: colour("--band") }]],
    ];
    this.nodes.wait.parentElement.hidden = this.target === null;
    if (this.target !== null) {
      made.push([this.nodes.wait, 100, data[2], [{ ...area("--age") }, line("--limit", { dash: [6, 4], width: 1.5 })], []]);
    }
    this.plots = made.map(([node, height, values, series, bands]) => this.plot(node, height, values, series, bands));
  }

  plot(node, height, values, series, bands) {
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--grid"), width: 1 }, font: "12px system-ui, sans-serif" };
    return new uPlot({
      width: Math.max(200, node.clientWidth),
      height,
      legend: { show: false },
      cursor: { sync: { key: "autoscaler" }, points: { show: false }, drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, Math.max(1, Math.ceil((high ?? 1) * 1.08))] } },
      axes: [{ ...axis, size: 30, values: "{HH}:{mm}", space: 70, incrs: [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 14400] }, { ...axis, size: 54 }],
      series: [{}, ...series],
      bands,
      hooks: {
        drawClear: [(plot) => this.shade(plot)],
        draw: node === this.nodes.processes ? [(plot) => this.mark(plot)] : [],
        setCursor: [(plot) => this.hover(plot)],
      },
    }, values, node);
  }

  resize() {
    const width = Math.max(200, this.nodes.tasks.clientWidth);
    this.plots.forEach((plot) => { if (plot.width !== width) plot.setSize({ width, height: plot.height }); });
  }

  shade(plot) {
    const { times, columns, step } = this.window;
    const { ctx, bbox } = plot;
    const fills = SPANS.map(([bit, variable]) => [bit, colour(variable)]);
    ctx.save();
    for (const [bit, fill] of fills) {
      ctx.fillStyle = fill;
      for (let begin = 0; begin < times.length; begin += 1) {
        if (!(columns.flags[begin] & bit)) continue;
        let end = begin;
        while (end + 1 < times.length && columns.flags[end + 1] & bit) end += 1;
        const left = plot.valToPos(times[begin], "x", true);
        const right = Math.max(left + 2, plot.valToPos(times[end] + step, "x", true));
        ctx.fillRect(Math.max(left, bbox.left), bbox.top, Math.min(right, bbox.left + bbox.width) - Math.max(left, bbox.left), bbox.height);
        begin = end;
      }
    }
    ctx.restore();
  }

  mark(plot) {
    const { ctx, bbox } = plot;
    const size = 5 * devicePixelRatio;
    const fills = { grow: colour("--grow"), shrink: colour("--shrink"), failed: colour("--failed") };
    ctx.save();
    for (const action of this.window.actions) {
      const x = plot.valToPos(action.at, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      const done = action.result === "done", grows = action.target > (action.before ?? 0);
      ctx.fillStyle = !done ? fills.failed : grows ? fills.grow : fills.shrink;
      const y = bbox.top + bbox.height - size * 1.4;
      ctx.beginPath();
      if (!done) ctx.rect(x - size * 0.8, y - size * 0.8, size * 1.6, size * 1.6);
      else {
        const tip = grows ? -size : size;
        ctx.moveTo(x, y + tip);
        ctx.lineTo(x - size, y - tip);
        ctx.lineTo(x + size, y - tip);
      }
      ctx.fill();
    }
    ctx.restore();
  }

  hover(plot) {
    const { left, top, idx } = plot.cursor;
    const own = plot.cursor.event !== undefined && plot.cursor.event !== null;
    if (left === undefined || left < 0 || idx === null || idx === undefined) {
      if (this.hovered === plot) this.tip.hidden = true;
      return;
    }
    if (!own && this.hovered !== plot) return;
    this.hovered = plot;
    const frame = plot.over.getBoundingClientRect();
    this.tip.replaceChildren(...this.described(plot, left, idx));
    this.tip.hidden = false;
    const x = frame.left + left, y = frame.top + top;
    this.tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - this.tip.offsetWidth - 8))}px`;
    this.tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - this.tip.offsetHeight - 8))}px`;
  }

  described(plot, left, place) {
    const { times, columns, actions } = this.window;
    const at = (column) => number(columns[column][place]);
    const lines = [element("p", "when", clock(times[place]))];
    lines.push(element("p", "", `${at("waiting")} waiting, ${at("fetched")} fetched, ${at("running")} running, ${at("scheduled")} ahead of their ETA`));
    lines.push(element("p", "", `${at("processes")} processes, target ${at("target")}, bounds ${at("lower")} to ${at("upper")}`));
    if (this.target !== null) lines.push(element("p", "", `oldest task waits ${seconds(columns.age[place])}`));
    const near = actions.filter((one) => Math.abs(plot.valToPos(one.at, "x") - left) <= NEAR_PIXELS);
    for (const action of near.slice(-4)) lines.push(this.action(action));
    return lines;
  }

  action(action) {
    const line = element("p", "", `${clock(action.at)} `);
    const reason = action.reason ? `: ${action.reason}, ${action.why ?? ""}` : "";
    line.append(name(action.worker), ` ${change(action)}, ${OUTCOMES[action.result] ?? action.result}${reason}`);
    return line;
  }
}
