// The third box: bars, the verdict, and the examples that are the reason.

import { ask } from "./api.mjs";
import { button, make, percent, short } from "./parts.mjs";

const MOST_BARS = 8;
const POINTS = "Points: how many in a hundred surer (+) or less sure (−) the answer is with that example than without it.";
const SLOW = 400; // milliseconds from which reasons are asked for only after a pause

export class Answers {
  // teach(name, input): what was tried becomes an example.
  constructor(lesson, { node, spoken, teach, fail }) {
    Object.assign(this, { lesson, node, spoken, teach, fail });
    this.input = null;
    this.slow = false;
    this.latest = 0;
    this.busy = false;
  }

  // Ask for an input, or show nothing. While a request is under way only the newest input waits.
  async show(input) {
    this.input = input;
    if (input === null || !this.lesson.model) {
      this.latest += 1;
      this.node.hidden = true;
      return;
    }
    this.waiting = true;
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.waiting && this.input !== null && this.lesson.model) {
        this.waiting = false;
        await this.once(this.input).catch(async (cause) => {
          if (cause.status !== 429 && cause.status !== 503) throw cause;
          await new Promise((go) => { setTimeout(go, 500); }); // asked too often while drawing: the newest input is asked again
          this.waiting = true;
        });
      }
    } catch (cause) {
      this.fail(cause);
    } finally {
      this.busy = false;
    }
  }

  async once(input) {
    const place = this.lesson.place;
    const mine = ++this.latest;
    const start = performance.now();
    let told;
    if (!this.slow) told = await this.reasons(place, input);
    if (!told) told = (await ask("POST", `${place}/predict`, { inputs: [input] })).predictions[0];
    else this.slow = performance.now() - start > SLOW;
    if (mine !== this.latest) return;
    this.draw(told, input);
    clearTimeout(this.pause);
    if (this.slow) {
      this.pause = setTimeout(async () => {
        const more = await this.reasons(place, input);
        if (more && mine === this.latest) this.draw(more, input);
      }, SLOW);
    }
  }

  // null where the learner cannot say why.
  async reasons(place, input) {
    try {
      return await ask("POST", `${place}/explain`, { input });
    } catch (cause) {
      if (cause.status === 422) return null;
      throw cause;
    }
  }

  draw(told, input) {
    const sure = told.probabilities[String(told.label)];
    const title = told.unknown
      ? make("p", { className: "verdict" }, "Unknown", make("small", { text: `Like none of the classes. If it had to be one: ${told.label}.` }))
      : make("p", { className: "verdict" }, String(told.label), make("small", { text: doubt(told, sure) }));
    this.node.replaceChildren(title, this.bars(told), ...this.why(told), this.more(told, input));
    this.node.classList.toggle("unsure", told.unknown);
    this.node.hidden = false;
    clearTimeout(this.speaking);
    const said = told.unknown ? "Unknown: like none of the classes." : `${told.label}, ${percent(sure)} sure.`;
    this.speaking = setTimeout(() => { this.spoken.textContent = said; }, 700);
  }

  bars(told) {
    const all = Object.entries(told.probabilities);
    const shown = all.length <= MOST_BARS ? all : all.toSorted((a, b) => b[1] - a[1]).slice(0, MOST_BARS);
    const rows = shown.map(([label, share]) => bar(label, share, percent(share), !told.unknown && label === String(told.label)));
    const strange = strangeness(told);
    const able = this.lesson.base.calibrated;
    const unknown = bar("unknown", strange, able ? (told.unknown ? "yes" : "no") : "–", told.unknown);
    unknown.classList.add("unknown");
    unknown.title = "How little this looks like any class. Over half it counts as unknown.";
    const why = able ? null : make("p", { className: "quiet", text: "This base was never calibrated, so it cannot tell what is unknown and always names a class." });
    return make("div", { className: "bars" }, ...rows, unknown, why);
  }

  why(told) {
    const nearest = (told.nearest ?? told.evidence ?? []).slice(0, 3);
    if (!nearest.length) return [];
    const given = new Map((told.evidence ?? []).map((one) => [one.id, one.contribution]));
    const list = make("ul", { className: this.lesson.base.modality === "image" ? "why" : "why words" });
    for (const one of nearest) list.append(this.reason(one, given.get(one.id) ?? 0));
    const title = told.unknown ? "The closest examples, none close enough" : "Because of these examples, the closest";
    const points = list.querySelector(".points") && make("p", { className: "quiet", text: POINTS });
    return [make("h3", { text: title }), list, points].filter(Boolean);
  }

  reason(one, contribution) {
    const example = this.lesson.byId(one.id);
    const moved = Math.abs(contribution) < 0.005 ? "" : `${contribution > 0 ? "+" : "−"}${Math.abs(100 * contribution).toFixed(contribution > 0.095 ? 0 : 1)} points`;
    const under = make("span", { className: "under", text: String(one.label) });
    if (moved) under.append(make("span", { className: "quiet points", text: moved }));
    return make("li", {}, this.shown(example, `Example of ${one.label}`), under);
  }

  shown(example, alt) {
    if (this.lesson.base.modality === "image") {
      const image = make("img", { alt });
      if (example) this.lesson.input(example).then((input) => { image.src = input; }, this.fail);
      return image;
    }
    const quote = make("q");
    if (example) this.lesson.input(example).then((input) => { quote.textContent = short(String(input), 120); }, this.fail);
    return quote;
  }

  more(told, input) {
    const row = make("div", { className: "row" });
    for (const one of this.lesson.filled.slice(0, 12)) row.append(button(one.name, () => this.teach(one, input), { "aria-label": `It is ${one.name}: add it as an example` }));
    return make("div", { className: "teach" }, make("p", { className: "quiet", text: "Wrong, or worth learning? Say what it is, and it becomes an example:" }), row);
  }
}

function doubt(told, sure) {
  const among = told.set && told.set.length > 1 ? `, or ${told.set.filter((one) => one !== told.label).slice(0, 3).join(", ")}` : "";
  if (strangeness(told) > 0.35) return `${percent(sure)} sure among these classes, but it looks little like their examples${among}.`;
  return sure > 0.9 ? `${percent(sure)} sure${among}` : `${percent(sure)} sure${among}. More examples make it surer.`;
}

// 0 where the input fits as well as the examples themselves, one half where it is just unknown.
function strangeness(told) {
  if (told.familiarity === undefined) return told.unknown ? 1 : 0;
  const share = (0.5 * (1 - told.familiarity)) / Math.max(1 - told.unknown_below, 1e-6);
  return Math.min(1, Math.max(0, share));
}

function bar(label, share, figure, best) {
  const fill = make("div", { className: "fill" });
  fill.style.width = `${100 * share}%`;
  const track = make("div", {
    className: "track", role: "meter", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": String(Math.round(100 * share)),
    "aria-valuetext": figure,
  }, fill);
  return make("div", { className: best ? "bar best" : "bar" }, make("b", { text: label, title: label }), track, make("span", { className: "figure", text: figure }));
}
