// The client of the API that both pages share. The token is kept in this tab's memory alone and sent in a header:
// a reload forgets it, and no other page can use it.

export class Failure extends Error {
  constructor(status, message, data) {
    super(message);
    this.status = status;
    this.data = data;
  }
}

export class Session {
  #token = null;

  async enter(token) {
    this.#token = token;
    try {
      return await this.data("GET", "whoami");
    } catch (fault) {
      this.#token = null;
      throw fault;
    }
  }

  // The answer of one request, or a Failure in the service's own words.
  async fetch(method, path, {body, form, key} = {}) {
    const headers = {Authorization: `Bearer ${this.#token}`};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (key) headers["Idempotency-Key"] = key;
    let answer;
    try {
      answer = await fetch(path, {
        method, headers, body: form ?? (body === undefined ? undefined : JSON.stringify(body)),
        cache: "no-store", credentials: "omit", redirect: "error",
      });
    } catch {
      throw new Failure(0, "The service cannot be reached. What was asked may still have been done.", null);
    }
    if (answer.ok) return answer;
    let said = null;
    try {
      said = await answer.json();
    } catch {
      // not from the service itself: a proxy in front of it
    }
    throw new Failure(answer.status, said?.error?.detail ?? `The answer was ${answer.status}.`, said?.data ?? null);
  }

  async envelope(method, path, options) {
    return (await this.fetch(method, path, options)).json();
  }

  async data(method, path, options) {
    return (await this.envelope(method, path, options)).data;
  }
}

// A key for one command: sent again with the same key, it is done once.
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// An element. Children are elements or texts; nothing is ever read as HTML.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return made;
}

// A name that somebody else wrote: it keeps its own writing direction.
export function name(text) {
  return element("bdi", {}, text);
}

export function byId(id) {
  return document.getElementById(id);
}

// What happened, for eyes and screen readers.
export function say(text, {bad = false} = {}) {
  const line = byId("message");
  line.textContent = text;
  line.classList.toggle("bad", bad);
}

const busy = new WeakSet();

// Run what a control asks for, once at a time; a failure is said. The control is not disabled meanwhile: it would
// lose the focus, and be enabled at the end where the work has just disabled it.
export async function attempt(control, work) {
  if (control && busy.has(control)) return undefined;
  if (control) {
    busy.add(control);
    control.setAttribute("aria-busy", "true");
    say(""); // what the last command said is not of this one
  }
  try {
    return await work();
  } catch (fault) {
    if (!(fault instanceof Failure)) throw fault;
    say(fault.message, {bad: true});
    return undefined;
  } finally {
    if (control) {
      busy.delete(control);
      control.removeAttribute("aria-busy");
    }
  }
}

// Ask once. `work` is given the values of the named inputs. While it runs, and where it fails, the dialog stays open
// with what was typed and what came of it. Resolves to what `work` returns, or to null when it was cancelled.
export function confirm(title, lines, {action, inputs = [], work = (values) => values}) {
  const dialog = byId("dialog");
  const fields = inputs.map(({label, ...attributes}) => {
    const field = element("input", attributes);
    return {field, row: element("label", {class: "field"}, label, " ", field)};
  });
  const note = element("p", {role: "alert"});
  const told = (text, {bad = false} = {}) => {
    note.textContent = text;
    note.classList.toggle("bad", bad);
  };
  // Closed while its work ran, the dialog may be another's by now.
  const isOpen = () => dialog.open && note.isConnected;
  return new Promise((resolve, reject) => {
    let sent = false;
    const end = (settle, value) => {
      if (isOpen()) dialog.close();
      settle(value);
    };
    const cancel = () => (sent ? dialog.close() : end(resolve, null));
    const goes = element("button", {type: "button", class: "primary", onclick: () => go()}, action);
    const stays = element("button", {type: "button", onclick: cancel}, "Cancel");
    const sending = (value) => {
      sent = value;
      if (value) goes.setAttribute("aria-busy", "true");
      else goes.removeAttribute("aria-busy");
      stays.textContent = value ? "Close" : "Cancel"; // what was sent cannot be taken back
    };
    const go = async () => {
      if (sent) return;
      const wrong = fields.find(({field}) => !field.checkValidity());
      if (wrong) {
        told(wrong.field.validationMessage, {bad: true});
        wrong.field.focus();
        return;
      }
      sending(true);
      told("Waiting for the outcome.");
      try {
        end(resolve, await work(Object.fromEntries(fields.map(({field}) => [field.name, field.type === "checkbox" ? field.checked : field.value]))));
      } catch (fault) {
        if (fault instanceof Failure && isOpen()) told(fault.message, {bad: true});
        else end(reject, fault);
      } finally {
        sending(false);
      }
    };
    dialog.replaceChildren(
      element("h2", {id: "dialog-title"}, title),
      ...lines.map((line) => element("p", {}, ...[line].flat())),
      ...fields.map(({row}) => row),
      note,
      element("p", {class: "buttons"}, goes, stays),
    );
    dialog.oncancel = (event) => {
      event.preventDefault();
      cancel();
    };
    dialog.onclose = () => {
      if (!dialog.open && !sent) resolve(null); // a browser may close it without asking
    };
    dialog.onkeydown = (event) => {
      if (event.key === "Enter" && event.target instanceof HTMLInputElement) {
        event.preventDefault();
        go();
      }
    };
    dialog.showModal();
  });
}

// Show the form for the token, and call `begin` with who the token is.
export function askForToken(session, begin) {
  const form = byId("token-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const field = byId("token");
    attempt(byId("token-go"), async () => {
      const caller = await session.enter(field.value.trim());
      field.value = "";
      form.hidden = true;
      say("");
      byId("caller").replaceChildren(name(caller.name), `, ${caller.role.replace("_", " ")}`);
      byId("content").hidden = false;
      await begin(caller);
    });
  });
  byId("token").focus();
}
