// Values as text. Unknown is a dash and never 0.
export const UNKNOWN = "–";

export function number(value, digits = 1) {
  if (value === null || value === undefined) return UNKNOWN;
  return Number.isInteger(value) ? String(value) : value.toFixed(digits);
}

export function seconds(value) {
  if (value === null || value === undefined) return UNKNOWN;
  return value < 10 ? `${number(value)} s` : span(value);
}

export function span(value) {
  if (value === null || value === undefined) return UNKNOWN;
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.floor(value / 60)} min`;
  if (value < 172800) return `${Math.floor(value / 3600)} h`;
  return `${Math.floor(value / 86400)} d`;
}

export function percent(value) {
  return value === null || value === undefined ? UNKNOWN : `${(100 * value).toFixed(value > 0.999 && value < 1 ? 2 : 1)} %`;
}

export function bytes(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const mib = value / 1048576;
  return mib < 1024 ? `${Math.round(mib)} MiB` : `${(mib / 1024).toFixed(1)} GiB`;
}

export function clock(epoch) {
  return new Date(epoch * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

export function moment(epoch) {
  const then = new Date(epoch * 1000);
  const today = new Date().toDateString() === then.toDateString();
  return today ? clock(epoch) : `${then.toLocaleDateString()} ${clock(epoch)}`;
}

export function change(action) {
  return `${number(action.before)} → ${number(action.target)}`;
}

export const OUTCOMES = {
  done: "done",
  refused: "refused by the worker",
  begun: "begun: the worker is emptied first",
  unknown: "no answer: it may still happen",
};

// The only way text gets into the page: what a worker or a queue is called stays text.
export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function name(text) {
  return element("bdi", "", text);
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
