// A pad to draw on, with a pen, a finger, a mouse, or the arrow keys.

const STEP = 0.06;

export class Pad {
  // ink: "bright" for bases that were trained on bright ink on dark paper, which also want a tidy, centred drawing.
  constructor(label, onChange, onEnter = () => {}) {
    this.strokes = [];
    this.ink = null;
    this.onChange = onChange;
    this.onEnter = onEnter;
    this.pen = null; // where the arrow keys are
    this.down = false;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "pad";
    this.canvas.width = this.canvas.height = 512;
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.name(label);
    this.listen();
  }

  name(label) {
    this.canvas.setAttribute(
      "aria-label",
      `${label}. Without a pointer: arrow keys move the pen, Space lowers or lifts it, Enter is done, Delete clears.`,
    );
  }

  get empty() {
    return !this.strokes.some((stroke) => stroke.length > 1);
  }

  clear() {
    this.strokes = [];
    this.pen = null;
    this.down = false;
    this.paint();
    this.onChange();
  }

  listen() {
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    let drawing = false;
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      drawing = true;
      this.pen = null;
      this.canvas.setPointerCapture(event.pointerId);
      const [x, y] = at(event);
      this.strokes.push([[x, y], [x + 0.001, y]]); // a tap is a dot
      this.changed();
      event.preventDefault();
      this.canvas.focus({ preventScroll: true });
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!drawing) return;
      const moves = event.getCoalescedEvents?.() ?? [];
      for (const move of moves.length ? moves : [event]) this.strokes.at(-1).push(at(move));
      this.changed();
    });
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, () => (drawing = false));
    this.canvas.addEventListener("keydown", (event) => this.typed(event));
    this.canvas.addEventListener("blur", () => this.paint());
    this.canvas.addEventListener("focus", () => this.paint());
  }

  typed(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in moves) {
      this.pen ??= [0.5, 0.5];
      const [dx, dy] = moves[event.key];
      this.pen = [clip(this.pen[0] + dx * STEP), clip(this.pen[1] + dy * STEP)];
      if (this.down) this.strokes.at(-1).push(this.pen);
    } else if (event.key === " ") {
      this.pen ??= [0.5, 0.5];
      this.down = !this.down;
      if (this.down) this.strokes.push([this.pen]);
    } else if (event.key === "Enter") {
      this.down = false;
      this.onEnter();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.clear();
    } else return;
    event.preventDefault();
    this.changed();
  }

  changed() {
    this.paint();
    this.onChange();
  }

  paint() {
    const size = this.canvas.width;
    const context = this.canvas.getContext("2d");
    render(context, size, this.strokes, this.ink, size * 0.045);
    if (!this.strokes.length && !this.pen) {
      Object.assign(context, { fillStyle: "#8a8a86", font: "30px system-ui, sans-serif", textAlign: "center" });
      context.fillText("Draw here", size / 2, size / 2);
    }
    if (this.pen && document.activeElement === this.canvas) {
      context.beginPath();
      context.arc(this.pen[0] * size, this.pen[1] * size, this.down ? 9 : 13, 0, 7);
      context.lineWidth = 4;
      context.strokeStyle = this.ink === "bright" ? "#888" : "#777";
      context.stroke();
    }
  }

  // A PNG in the form of the base: `size` pixels a side.
  picture(size) {
    const tidy = this.ink !== null;
    const scale = 4;
    const large = sheet(size * scale);
    const strokes = tidy ? centred(this.strokes) : this.strokes;
    render(large.getContext("2d"), size * scale, strokes, this.ink, size * scale * (tidy ? 0.075 : 0.035));
    const small = sheet(size);
    const context = small.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(large, 0, 0, size, size);
    return small.toDataURL("image/png");
  }
}

const clip = (x) => Math.min(0.97, Math.max(0.03, x));

function sheet(size) {
  const made = document.createElement("canvas");
  made.width = made.height = size;
  return made;
}

function render(context, size, strokes, ink, width) {
  context.fillStyle = ink === "bright" ? "#000" : "#fff";
  context.fillRect(0, 0, size, size);
  context.strokeStyle = ink === "bright" ? "#fff" : "#000";
  Object.assign(context, { lineWidth: width, lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    context.beginPath();
    stroke.forEach(([x, y], place) => (place ? context.lineTo(x * size, y * size) : context.moveTo(x * size, y * size)));
    context.stroke();
  }
}

// The drawing in the middle, its longer side over 70 % of the page, so that place and size do not matter.
function centred(strokes) {
  const xs = strokes.flat().map((point) => point[0]);
  const ys = strokes.flat().map((point) => point[1]);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = 0.7 / Math.max(right - left, bottom - top, 0.12);
  const move = (x, low, high) => 0.5 + (x - (low + high) / 2) * scale;
  return strokes.map((stroke) => stroke.map(([x, y]) => [move(x, left, right), move(y, top, bottom)]));
}
