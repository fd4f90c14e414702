// The second box: how well the classes are told apart, by asking each example of the model without it.

import { ask } from "./api.mjs";
import { count, make, percent } from "./parts.mjs";

const WARN = 0.2; // share of a pair's examples mixed up from which people are warned

export class Quality {
  constructor(lesson, node, fail) {
    Object.assign(this, { lesson, node, fail });
    this.draw(null);
  }

  ask() {
    clearTimeout(this.soon);
    if (!this.lesson.model) return this.draw(null);
    this.soon = setTimeout(() => this.now(), 120);
  }

  async now() {
    if (!this.lesson.model) return;
    const { id, version } = this.lesson.model;
    try {
      const told = await ask("GET", `${this.lesson.place}/quality`);
      if (this.lesson.model?.id === id && this.lesson.model.version === version) this.draw(told);
    } catch (cause) {
      if (cause.status === 422) this.node.replaceChildren(make("p", { className: "quiet", text: cause.message }));
      else if (cause.status !== 404) this.fail(cause);
    }
  }

  draw(told) {
    const odd = new Map((told?.suspects ?? []).map((one) => [one.id, one.suggested]));
    this.lesson.dispatchEvent(new CustomEvent("judged", { detail: odd }));
    if (!told) return this.node.replaceChildren(this.steps());
    if (!told.judged) return this.node.replaceChildren(make("p", { className: "empty", text: "With two examples of a class it can test itself: each is asked as if it had never been seen." }));
    const rows = make("div", { className: "judged", role: "group", "aria-label": "Right answers for each class" });
    for (const one of told.classes) rows.append(this.row(one));
    const text = `${told.right} of ${told.judged} examples are answered right when left out. With so few, the true share may lie anywhere from ${Math.round(100 * told.low)} to ${percent(told.high)}.`;
    const oddities = [...odd].slice(0, 3).map(([id, label]) => this.suspect(id, label));
    return this.node.replaceChildren(rows, ...this.warnings(told), ...oddities, make("p", { className: "quiet", text }));
  }

  steps() {
    const filled = this.lesson.filled?.length ?? 0;
    const item = (text, done) => make("li", { text, className: done ? "done" : "" });
    const steps = make("ul", { className: "steps" }, item("An example of one class", filled >= 1), item("An example of another class", filled >= 2));
    return make("div", { className: "capture" }, steps, make("p", { className: "quiet", text: "Then it learns, and again after every further example. There is no button to train." }));
  }

  row(one) {
    const share = one.judged ? one.right / one.judged : 0;
    const fill = make("div", { className: "fill" });
    fill.style.width = `${100 * share}%`;
    const figure = one.judged ? `${one.right} of ${one.judged}` : "–";
    const track = make("div", {
      className: "track", role: "meter", "aria-label": `Right for ${one.label}`, "aria-valuemin": "0", "aria-valuemax": "100",
      "aria-valuenow": String(Math.round(100 * share)), "aria-valuetext": one.judged ? figure : "one example cannot be judged",
    }, fill);
    const title = one.judged ? `${figure} right when left out` : "One example cannot be left out; add another";
    return make("div", { className: "bar", title }, make("b", { text: String(one.label), title: String(one.label) }), track, make("span", { className: "figure", text: figure }));
  }

  // Pairs of classes that are mixed up often, the worst first.
  warnings(told) {
    const pairs = new Map();
    const of = new Map(told.classes.map((one) => [one.label, one]));
    for (const one of told.classes) {
      for (const { label, times } of one.confused_with) {
        const name = JSON.stringify([one.label, label].sort());
        pairs.set(name, (pairs.get(name) ?? 0) + times);
      }
    }
    return [...pairs].map(([name, times]) => {
      const [a, b] = JSON.parse(name);
      return { a, b, times, all: (of.get(a)?.judged ?? 0) + (of.get(b)?.judged ?? 0) };
    }).filter(({ times, all }) => times / all >= WARN).sort((x, y) => y.times / y.all - x.times / x.all).slice(0, 3).map(({ a, b, times, all }) =>
      make("p", { className: "warning", text: `${a} and ${b} overlap: ${times} of their ${count(all, "example")} were mixed up. Add examples that show the difference, or remove one of the two.` }));
  }

  suspect(id, label) {
    const example = this.lesson.byId(id);
    const own = this.lesson.classes.find((one) => one.examples.some((e) => e.id === id));
    const row = make("div", { className: "suspect" });
    if (this.lesson.base.modality === "image" && example) {
      const image = make("img", { alt: "" });
      this.lesson.input(example).then((input) => { image.src = input; }, this.fail);
      row.append(image);
    }
    const what = this.lesson.base.modality === "text" && example?.input ? `"${example.input.slice(0, 60)}"` : "This example";
    row.append(make("span", { text: `${what} is labelled ${own?.name ?? "?"} but looks more like ${label}. If that is a slip, remove it.` }));
    return row;
  }
}
