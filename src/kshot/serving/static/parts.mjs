// Making elements. Text is only ever set as text.

export function make(tag, settings = {}, ...children) {
  const { text, data, on, ...rest } = settings;
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(rest)) {
    if (value === false || value === null || value === undefined) continue;
    if (name in made && name !== "list" && name !== "role") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  if (text !== undefined) made.textContent = text;
  Object.assign(made.dataset, data ?? {});
  for (const [event, run] of Object.entries(on ?? {})) made.addEventListener(event, run);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const button = (text, click, settings = {}) => make("button", { type: "button", text, on: { click }, ...settings });

let groups = 0;

// Choices of which one holds, as radio buttons that look like tabs.
export function choices(label, options, chosen, pick) {
  const name = `choice-${++groups}`;
  const inputs = options.map(([value, text]) => {
    const input = make("input", { type: "radio", name, value, checked: value === chosen, on: { change: () => pick(value) } });
    return make("label", {}, input, make("span", { text }));
  });
  return make("div", { className: "tabs", role: "radiogroup", "aria-label": label }, ...inputs);
}

// "99 %" of something nearly sure would be rounded to certainty, which nothing is.
export const percent = (share) => (share > 0.99 && share < 1 ? "over 99\u00a0%" : `${Math.round(100 * share)}\u00a0%`);
export const count = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;
export const short = (text, most = 60) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
