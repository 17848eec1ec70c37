// What the charts show: one window of /history, carried on by each tick until it is fetched again.
const MAXIMA = new Set(["waiting", "fetched", "running", "scheduled", "age", "peak"]);

export class Window {
  constructor(view) {
    this.view = view;
    this.step = view.step_seconds;
    this.length = Math.max(1, Math.round(view.span_seconds / this.step));
    this.columns = view.columns;
    this.times = [];
    for (let at = view.from, n = 0; n < this.columns.processes.length; n += 1, at += this.step) this.times.push(at);
    this.actions = view.actions;
    this.lastAt = null;
  }

  // Takes in the sample of one tick; tells whether a new slot began.
  take(at, names, sample, holdSeconds) {
    const slot = Math.floor(at / this.step) * this.step;
    const last = this.times[this.times.length - 1];
    if (slot < last) return false;
    if (slot === last) {
      names.forEach((name, place) => this.merge(name, sample[place]));
      this.lastAt = at;
      return false;
    }
    const held = this.lastAt !== null && at - this.lastAt <= holdSeconds;
    for (let next = last + this.step; next <= slot; next += this.step) {
      this.times.push(next);
      names.forEach((name, place) => {
        const column = this.columns[name];
        column.push(next === slot ? sample[place] : held ? column[column.length - 1] : null);
      });
    }
    this.lastAt = at;
    const excess = this.times.length - this.length;
    if (excess > 0) {
      this.times.splice(0, excess);
      names.forEach((name) => this.columns[name].splice(0, excess));
    }
    return true;
  }

  merge(name, value) {
    const column = this.columns[name];
    const place = column.length - 1;
    if (value === null) return;
    if (name === "flags") column[place] |= value;
    else column[place] = MAXIMA.has(name) && column[place] !== null ? Math.max(column[place], value) : value;
  }

  act(actions) {
    const oldest = this.times[0];
    this.actions = [...this.actions, ...actions].filter((one) => one.at >= oldest);
  }
}
