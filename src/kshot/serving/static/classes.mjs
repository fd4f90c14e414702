// The first box: classes with their examples. One class is open, and examples go to it.

import { Capture } from "./capture.mjs";
import { button, count, make, short } from "./parts.mjs";
import { isPicture } from "./pictures.mjs";

const MOST_SHOWN = 60;

export class ClassList {
  constructor(lesson, node, actions) {
    Object.assign(this, { lesson, node, actions });
    this.cards = new Map();
    this.active = null;
    this.odd = new Map(); // example id -> what it looks more like
    lesson.addEventListener("judged", (event) => {
      this.odd = event.detail;
      this.draw();
    });
  }

  // Inputs as this base takes them.
  use(base) {
    this.capture?.stop();
    this.capture = new Capture(base, { live: false, fail: this.actions.fail, give: (inputs) => this.give(inputs) });
    this.node.replaceChildren();
    this.cards.clear();
    this.draw();
  }

  give(inputs) {
    const one = this.lesson.class(this.active);
    if (!one) throw new Error("No class is open. Choose a class first, then add examples to it.");
    return this.actions.add(one, inputs);
  }

  open(key, naming = false) {
    this.active = key;
    this.draw();
    if (naming) {
      const name = this.cards.get(key).name;
      name.focus();
      name.select();
    }
  }

  draw() {
    if (!this.capture) return;
    const { classes } = this.lesson;
    if (!classes.some((one) => one.key === this.active)) this.active = classes[0]?.key ?? null;
    for (const [key, card] of this.cards) {
      if (classes.some((one) => one.key === key)) continue;
      card.node.remove();
      this.cards.delete(key);
    }
    for (const one of classes) this.card(one);
    const here = this.cards.get(this.active);
    if (here && !here.body.contains(this.capture.node)) here.body.prepend(this.capture.node);
    const active = this.lesson.class(this.active);
    if (active) this.capture.aim(active.name);
  }

  card(one) {
    const card = this.cards.get(one.key) ?? this.makeCard(one);
    const open = one.key === this.active;
    card.node.classList.toggle("active", open);
    card.open.hidden = open;
    card.open.setAttribute("aria-label", `Add examples to ${one.name}`);
    card.gone.setAttribute("aria-label", `Remove class ${one.name}`);
    card.node.setAttribute("aria-label", `Class ${one.name}`);
    if (document.activeElement !== card.name) card.name.value = one.name;
    card.count.textContent = one.examples.length ? String(one.examples.length) : "";
    card.count.title = count(one.examples.length, "example");
    card.count.setAttribute("aria-label", count(one.examples.length, "example"));
    this.thumbs(card, one);
  }

  makeCard(one) {
    const current = () => this.lesson.class(one.key);
    const name = make("input", { type: "text", value: one.name, maxLength: 200, autocomplete: "off", "aria-label": "Name of this class" });
    name.addEventListener("change", async () => {
      const done = await this.actions.rename(current(), name.value.trim());
      if (!done) name.value = current().name;
    });
    name.addEventListener("focus", () => this.active !== one.key && this.open(one.key));
    name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      name.blur();
      this.capture.focus();
    });
    const counted = make("span", { className: "count" });
    const open = button("Add", () => { this.open(one.key); this.capture.focus(); }, { className: "bare" });
    const gone = button("Remove", () => this.actions.removeClass(current()), { className: "bare", title: "Remove this class with its examples" });
    const body = make("div");
    const thumbs = make("ul", { className: this.lesson.base.modality === "image" ? "thumbs" : "thumbs words" });
    const node = make("div", { className: "class", role: "group" }, make("div", { className: "class-head" }, name, counted, open, gone), body, thumbs);
    this.droppable(node, one.key);
    const card = { node, name, count: counted, open, gone, body, thumbs, items: new Map() };
    this.cards.set(one.key, card);
    this.node.append(node);
    return card;
  }

  droppable(node, key) {
    if (this.lesson.base.modality !== "image") return;
    for (const event of ["dragover", "dragleave", "drop"]) {
      node.addEventListener(event, (happened) => {
        happened.preventDefault();
        node.classList.toggle("over", event === "dragover");
        if (event !== "drop") return;
        this.open(key);
        this.capture.take([...happened.dataTransfer.files].filter(isPicture));
      });
    }
  }

  thumbs(card, one) {
    const shown = one.examples.slice(-MOST_SHOWN);
    const keys = new Set(shown.map((example) => example.key));
    for (const [key, item] of card.items) {
      if (keys.has(key)) continue;
      item.node.remove();
      card.items.delete(key);
    }
    card.more?.remove();
    for (const example of shown) {
      const item = card.items.get(example.key) ?? this.thumb(card, example);
      const place = one.examples.indexOf(example) + 1;
      const odd = this.odd.get(example.id);
      item.node.classList.toggle("odd", odd !== undefined);
      item.node.title = odd === undefined ? "" : `This looks more like ${odd}`;
      item.away.setAttribute("aria-label", `Remove example ${place} of ${one.name}`);
      if (item.image) item.image.alt = `Example ${place} of ${one.name}${odd === undefined ? "" : `, looks more like ${odd}`}`;
      item.run = () => this.actions.remove(this.lesson.class(one.key), this.lesson.class(one.key).examples.find((e) => e.key === example.key));
    }
    const hidden = one.examples.length - shown.length;
    if (hidden) {
      card.more = make("li", { className: "more", text: `and ${hidden} earlier` });
      card.thumbs.append(card.more);
    }
    card.thumbs.hidden = !one.examples.length;
  }

  thumb(card, example) {
    const item = {};
    item.away = button("×", () => item.run(), { className: "away" });
    if (this.lesson.base.modality === "image") {
      item.image = make("img");
      this.lesson.input(example).then((input) => { item.image.src = input; }, this.actions.fail);
      item.node = make("li", {}, item.image, item.away);
    } else {
      const text = make("span");
      this.lesson.input(example).then((input) => { text.textContent = short(Array.isArray(input) ? input.join(", ") : String(input), 160); }, this.actions.fail);
      item.node = make("li", {}, text, item.away);
    }
    card.items.set(example.key, item);
    card.thumbs.append(item.node);
    return item;
  }
}
