// Where an input is given: drawn, picked, dropped, pasted, taken by the camera, or written. Once for examples, once to try.

import { Pad } from "./drawing.mjs";
import { button, choices, make } from "./parts.mjs";
import { Camera, isPicture, pictureOf } from "./pictures.mjs";

// give(inputs): examples were given. ask(input or null): the input to try changed. fail(error): tell the user.
export class Capture {
  constructor(base, { live, give, ask = () => {}, fail }) {
    Object.assign(this, { base, live, give, ask, fail });
    this.target = "";
    this.node = make("div", { className: "capture" });
    this.build = { image: () => this.buildImage(), text: () => this.buildText() }[base.modality] ?? (() => this.buildText());
    this.build();
  }

  // The class that examples go to.
  aim(name) {
    this.target = name;
    if (this.live) return;
    for (const one of this.node.querySelectorAll("[data-add]")) one.textContent = `Add to ${name}`;
    this.pad?.name(`Draw an example of ${name}`);
    this.words?.setAttribute("aria-label", `An example of ${name}`);
  }

  stop() {
    clearInterval(this.watching);
    this.camera?.stop();
  }

  focus() {
    (this.words ?? (this.way === "draw" ? this.pad.canvas : this.node.querySelector("button")))?.focus();
  }

  async guard(work) {
    try {
      await work();
    } catch (cause) {
      this.fail(cause);
    }
  }

  // texts and rows of numbers

  buildText() {
    const row = this.base.modality === "vector";
    const rule = row ? `${this.base.row.inputs} numbers, with commas between` : "";
    const hint = this.live ? "Answered while you type." : row ? `One example a line: ${rule}.` : "One example a line; paste as many as you like. Enter adds them.";
    this.words = make("textarea", {
      rows: 3, placeholder: row ? rule : this.live ? "Write something new" : "Write an example of this class", maxLength: 200_000, spellcheck: false,
      "aria-label": this.live ? "Text to try" : "An example",
      on: {
        input: () => this.live && this.guard(() => this.ask(this.lines()[0] ?? null)),
        keydown: (event) => {
          if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          if (!this.live) this.guard(() => this.giveLines());
        },
        paste: (event) => event.stopPropagation(),
      },
    });
    this.node.append(this.words);
    if (!this.live) this.node.append(make("div", { className: "actions" }, button("Add", () => this.guard(() => this.giveLines()), { className: "primary", data: { add: "" } })));
    this.node.append(make("p", { className: "hint", text: hint }));
  }

  lines() {
    const text = this.words.value.trim();
    if (!text) return [];
    if (this.base.modality === "vector") return text.split("\n").filter((line) => line.trim()).map((line) => this.numbers(line));
    return this.live ? [text] : text.split("\n").map((line) => line.trim()).filter(Boolean);
  }

  numbers(line) {
    const found = line.split(/[,;\s]+/).filter(Boolean).map(Number);
    const wanted = this.base.row.inputs;
    if (found.length !== wanted || found.some((x) => !Number.isFinite(x))) {
      if (this.live) return null;
      throw new Error(`"${line}" is not ${wanted} numbers. Write ${wanted} numbers with commas between.`);
    }
    return found;
  }

  async giveLines() {
    const found = this.lines();
    if (!found.length) throw new Error("There is nothing written yet. Write an example first.");
    await this.give(found);
    this.words.value = "";
    this.words.focus();
  }

  // pictures

  buildImage() {
    this.camera = new Camera();
    this.way = this.base.image.ink ? "draw" : "files";
    const ways = [["draw", "Draw"], ["files", "Pictures"], ["camera", "Camera"]];
    this.panels = { draw: this.drawing(), files: this.files(), camera: this.filming() };
    this.tabs = choices(this.live ? "How to give the input" : "How to give examples", ways, this.way, (way) => this.show(way));
    this.node.append(this.tabs, ...Object.values(this.panels));
    this.show(this.way);
  }

  show(way) {
    if (this.way === "camera" && way !== "camera") this.stopFilming();
    this.way = way;
    for (const [name, panel] of Object.entries(this.panels)) panel.hidden = name !== way;
    const checked = this.tabs.querySelector(`input[value="${way}"]`);
    if (checked) checked.checked = true;
    if (this.live) this.ask(way === "draw" && !this.pad.empty ? this.drawn() : null);
  }

  drawn() {
    return this.pad.picture(this.base.image.size);
  }

  drawing() {
    this.pad = new Pad(this.live ? "Draw something to try" : "Draw an example", () => {
      if (this.live && this.way === "draw") this.ask(this.pad.empty ? null : this.drawn());
    }, () => !this.live && this.guard(() => this.giveDrawing()));
    this.pad.ink = this.base.image.ink;
    this.pad.paint();
    const clear = button("Clear", () => this.pad.clear());
    const add = this.live ? null : button("Add", () => this.guard(() => this.giveDrawing()), { className: "primary", data: { add: "" } });
    return make("div", { className: "capture" }, this.pad.canvas, make("div", { className: "actions" }, add, clear));
  }

  async giveDrawing() {
    if (this.pad.empty) throw new Error("Nothing is drawn yet. Draw with the mouse, a finger or the arrow keys, then add it.");
    const drawn = this.drawn();
    const kept = this.pad.strokes;
    this.pad.clear();
    try {
      await this.give([drawn]);
    } catch (cause) {
      this.pad.strokes = kept;
      this.pad.paint();
      throw cause;
    }
  }

  files() {
    const picker = make("input", {
      type: "file", accept: "image/png,image/jpeg,image/webp,image/gif,image/bmp", multiple: !this.live, hidden: true,
      "aria-label": this.live ? "Picture to try" : "Pictures to add",
      on: { change: () => { this.take([...picker.files]); picker.value = ""; } },
    });
    this.shown = make("img", { className: "shown", alt: "The picture that is tried", hidden: true });
    const text = this.live ? "Drop or paste a picture here, or" : "Drop or paste pictures here, or";
    const drop = make("div", { className: "drop" }, this.shown, make("span", { text }), button(this.live ? "Choose a picture" : "Choose pictures", () => picker.click()), picker);
    for (const name of ["dragover", "dragleave", "drop"]) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", name === "dragover");
        if (name === "drop") {
          event.stopPropagation();
          this.take([...event.dataTransfer.files]);
        }
      });
    }
    return make("div", { className: "capture" }, drop, this.warning());
  }

  // People bring photographs first.
  warning() {
    const text = "This base was made for drawings and symbols, not for photographs: expect little of those. Dark ink on light paper is turned round for it.";
    return this.base.image.ink ? make("p", { className: "hint", text }) : null;
  }

  // Picture files from wherever they came.
  take(files) {
    return this.guard(async () => {
      const pictures = files.filter(isPicture);
      if (!pictures.length) throw new Error("That holds no picture. Use PNG, JPEG or WebP files.");
      const found = [];
      for (const file of this.live ? pictures.slice(0, 1) : pictures) found.push(await pictureOf(file, this.base.image));
      if (!this.live) return this.give(found);
      this.show("files");
      this.shown.src = found[0];
      this.shown.hidden = false;
      return this.ask(found[0]);
    });
  }

  filming() {
    const stage = make("div", { hidden: true }, this.camera.video);
    const start = button("Turn the camera on", () => this.guard(async () => {
      await this.camera.start();
      [start.hidden, stage.hidden, actions.hidden] = [true, false, false];
      if (this.live) this.watching = setInterval(() => this.guard(() => this.watch()), 350);
    }), { className: "primary" });
    let burst = null;
    const shoot = () => this.guard(async () => this.give([await pictureOf(this.camera.video, this.base.image)]));
    const take = this.live ? null : button("Take a picture", shoot, {
      className: "primary",
      on: {
        click: shoot,
        pointerdown: () => { burst = setTimeout(() => { burst = setInterval(shoot, 300); }, 450); },
        pointerup: () => { clearTimeout(burst); clearInterval(burst); },
        pointerleave: () => { clearTimeout(burst); clearInterval(burst); },
      },
    });
    const actions = make("div", { className: "actions", hidden: true }, take, button("Turn it off", () => this.stopFilming()));
    this.filmingParts = { start, stage, actions };
    const hint = this.live ? "Answered as it sees." : "Hold the button to take several. Pictures go to this server only.";
    return make("div", { className: "capture" }, make("div", { className: "actions" }, start), stage, actions, make("p", { className: "hint", text: hint }), this.warning());
  }

  stopFilming() {
    this.stop();
    const { start, stage, actions } = this.filmingParts;
    [start.hidden, stage.hidden, actions.hidden] = [false, true, true];
    if (this.live) this.ask(null);
  }

  async watch() {
    if (this.camera.stream) await this.ask(await pictureOf(this.camera.video, this.base.image));
  }
}
