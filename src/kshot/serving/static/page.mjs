// The page: three boxes around one lesson.

import { ask, download, key } from "./api.mjs";
import { Answers } from "./answers.mjs";
import { Capture } from "./capture.mjs";
import { ClassList } from "./classes.mjs";
import { Lesson } from "./lesson.mjs";
import { button, count, make } from "./parts.mjs";
import { isPicture } from "./pictures.mjs";
import { Quality } from "./quality.mjs";
import { snippet } from "./snippets.mjs";

const $ = (id) => document.getElementById(id);
const lesson = new Lesson();
let bases = [];
let keyed = false;
let trial = null;
let input = null;

// messages

function fail(cause) {
  if (cause?.name === "AbortError") return;
  if (cause?.status === 401) {
    askForKey();
    return;
  }
  $("trouble").firstElementChild.textContent = cause?.message ?? String(cause);
  $("trouble").hidden = false;
}

function calm() {
  $("trouble").hidden = true;
}

let fading = null;
function toast(text, ...actions) {
  const node = $("toast");
  node.replaceChildren(make("span", { text }), ...actions.map(([name, run]) => button(name, () => { node.hidden = true; run(); })));
  node.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => { node.hidden = true; }, 9000);
}

function askForKey() {
  keyed = true;
  $("key").hidden = false;
  if (!$("key-dialog").open) $("key-dialog").showModal();
}

$("key").addEventListener("click", askForKey);
$("key-dialog").addEventListener("close", () => {
  if ($("key-dialog").returnValue !== "use") return;
  key.set($("key-value").value.trim());
  $("key-value").value = "";
  calm();
  if (bases.length) lesson.tell();
  else start();
});
$("trouble").lastElementChild.addEventListener("click", calm);

// what people do

async function guard(work) {
  try {
    calm();
    await work();
    return true;
  } catch (cause) {
    fail(cause);
    return false;
  }
}

const undo = () => guard(() => lesson.undo());

const actions = {
  add: async (one, inputs) => {
    calm();
    await lesson.add(one.key, inputs);
  },
  rename: (one, name) => guard(async () => {
    if (!name) throw new Error("A class needs a name.");
    if (lesson.classes.some((other) => other.key !== one.key && other.name === name)) throw new Error(`There is a class ${name} already. Choose another name.`);
    await lesson.renameClass(one.key, name);
  }),
  remove: (one, example) => guard(async () => {
    await lesson.remove([example], `remove an example of ${one.name}`);
    offer(`An example of ${one.name} was removed.`, [example]);
  }),
  removeClass: (one) => guard(async () => {
    const examples = one.examples;
    await lesson.removeClass(one.key);
    if (examples.length) offer(`${one.name} was removed with ${count(examples.length, "example")}.`, examples);
  }),
  fail,
};

function offer(text, examples) {
  const forget = ["Forget for good", () => guard(async () => {
    await lesson.forget(examples);
    toast("Forgotten. Nothing of it is kept on the server, in no version.");
  })];
  toast(text, ["Undo", undo], ...(lesson.model && examples.every((one) => one.id) ? [forget] : []));
}

const list = new ClassList(lesson, $("classes"), actions);
const quality = new Quality(lesson, $("quality"), fail);
const answers = new Answers(lesson, {
  node: $("answer"), spoken: $("spoken"), fail,
  teach: (one, given) => guard(async () => {
    await lesson.add(one.key, [given]);
    toast(`Learned: that was ${one.name}.`, ["Undo", undo]);
  }),
});

$("add-class").addEventListener("click", () => list.open(lesson.addClass().key, true));
$("undo").addEventListener("click", undo);
$("new").addEventListener("click", () => restart(lesson.base));
$("name").addEventListener("change", () => guard(() => lesson.renameModel($("name").value.trim())));
$("base").addEventListener("change", () => guard(() => choose($("base").value)));

document.addEventListener("keydown", (event) => {
  const writing = event.target.closest?.("input[type=text], textarea, input[type=password]");
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && !event.shiftKey && !writing) {
    event.preventDefault();
    undo();
  }
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])].filter(isPicture);
  if (!files.length || lesson.base?.modality !== "image") return;
  event.preventDefault();
  const inTry = $("try").contains(document.activeElement);
  if (inTry && trial) trial.take(files);
  else list.capture?.take(files);
});
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());

// use it elsewhere

const language = () => document.querySelector('input[name="language"]:checked').value;
function showSnippet() {
  if (lesson.model) $("snippet").textContent = snippet(language(), { place: lesson.place, base: lesson.base, keyed });
}
for (const one of document.querySelectorAll('input[name="language"]')) one.addEventListener("change", showSnippet);
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("snippet").textContent);
    toast("Copied.");
  } catch {
    getSelection().selectAllChildren($("snippet"));
    toast("Selected: press Ctrl+C to copy it.");
  }
});
for (const one of document.querySelectorAll("[data-export]")) {
  one.addEventListener("click", () => guard(() => {
    const kind = one.dataset.export;
    return download(`${lesson.place}/export?format=${kind}`, `${lesson.name || lesson.model.id}.${kind}`);
  }));
}

// bases, models, and where the page stands

async function choose(name) {
  const base = bases.find((one) => one.name === name);
  if (lesson.filled.length && base.modality !== lesson.base.modality) {
    $("base").value = lesson.base.name;
    throw new Error(`${base.name} takes other inputs than these examples. Press New first, then choose it.`);
  }
  if (lesson.filled.length) {
    await lesson.rebase(base);
    toast(`The same examples, now on ${base.name}.`);
    setUp();
  } else restart(base);
}

function restart(base) {
  $("toast").hidden = true; // its buttons are about the model before
  lesson.reset(base);
  input = null;
  setUp();
  list.open(lesson.classes[0].key);
}

function setUp() {
  const base = lesson.base;
  document.body.classList.toggle("bright-ink", base.image?.ink === "bright");
  document.body.classList.toggle("dark-ink", base.image?.ink !== "bright");
  $("base").value = base.name;
  $("name").value = lesson.name;
  for (const one of document.querySelectorAll("[data-export]")) one.hidden = !base.exports.includes(one.dataset.export);
  list.use(base);
  trial?.stop();
  trial = new Capture(base, {
    live: true, fail,
    ask: (given) => {
      input = given;
      return answers.show(given);
    },
  });
  $("try-input").replaceChildren(trial.node);
  const about = [base.task && `The base ${base.name} is for ${base.task}.`, base.image && "Pictures are made small in this page before they are sent.", "Examples go to this server and nowhere else."];
  $("about").textContent = about.filter(Boolean).join(" ");
}

let seen = "";
lesson.addEventListener("change", () => {
  if (!lesson.base) return;
  const { model } = lesson;
  const mark = model ? `${model.id} ${model.version}` : "";
  const place = model ? `#${model.id}` : "";
  if (location.hash !== place) history.replaceState(null, "", location.pathname + place);
  list.draw();
  const last = lesson.past.at(-1);
  $("undo").disabled = !last;
  $("undo").title = last ? `Undo: ${last.text}` : "";
  $("undo").setAttribute("aria-label", last ? `Undo: ${last.text}` : "Undo");
  $("name").disabled = false;
  $("next").textContent = next();
  $("elsewhere").hidden = !model;
  $("try-input").hidden = !model;
  $("try-empty").hidden = Boolean(model);
  $("try-empty").textContent = "Nothing to try yet. Give two classes an example each, then try something new here.";
  $("status").textContent = status();
  document.title = `${lesson.name || "kshot"}: teach by example`;
  if (!model) quality.ask();
  if (mark === seen) return;
  seen = mark;
  quality.ask();
  showSnippet();
  answers.show(model ? input : null);
});

function status() {
  if (!lesson.model) return "";
  const examples = lesson.filled.reduce((sum, one) => sum + one.examples.length, 0);
  const time = lesson.took === null ? "" : ` The last change took ${Math.max(1, Math.round(lesson.took))} ms.`;
  return `Knows ${count(lesson.filled.length, "class", "classes")} from ${count(examples, "example")}.${time}`;
}

function next() {
  const empty = lesson.classes.find((one) => !one.examples.length);
  const verb = { image: "Draw, pick or photograph", text: "Write", vector: "Enter" }[lesson.base.modality] ?? "Give";
  if (!lesson.model) {
    if (!lesson.filled.length) return `Name two classes. ${verb} an example of ${lesson.classes[0]?.name ?? "the first"}, then one of the other.`;
    return empty ? `Now an example of ${empty.name}. With that it starts to answer.` : "Add a second class: telling apart needs two.";
  }
  const few = lesson.filled.reduce((a, b) => (b.examples.length < a.examples.length ? b : a));
  if (few.examples.length < 5) return `It answers already: try it. Five of each make it surer; next, ${few.name} (${few.examples.length}).`;
  return "Try it with something new. Where it is wrong, say what it is.";
}

async function start() {
  await guard(async () => {
    bases = (await ask("GET", "/v1/bases")).bases.filter((one) => one.answers.includes("classes"));
    if (!bases.length) throw new Error("This server has no base that answers with classes. Start it with: kshot serve --base glyphs");
    // a newcomer does not know what a base called "glyphs" takes
    const takes = { image: "pictures", text: "texts", vector: "rows of numbers" };
    const told = (one) => (takes[one.modality] && takes[one.modality] !== one.name ? `${one.name} (${takes[one.modality]})` : one.name);
    $("base").replaceChildren(...bases.map((one) => make("option", { value: one.name, text: told(one) })));
    $("base").closest("label").hidden = bases.length < 2;
    keyed ||= Boolean(key.get());
    $("key").hidden = !keyed;
    const id = location.hash.slice(1);
    if (!id) return restart(bases[0]);
    return open(id);
  });
}

async function open(id) {
  try {
    await lesson.open(id, bases);
    setUp();
    list.open(lesson.classes[0].key);
  } catch (cause) {
    if (cause.status === 401) throw cause;
    restart(bases[0]);
    if (cause.status !== 404) throw cause;
    throw new Error("The model in this address is not here any more. This is a new one.");
  }
}

window.addEventListener("hashchange", () => {
  const id = location.hash.slice(1);
  if (bases.length && id !== (lesson.model?.id ?? "")) guard(() => (id ? open(id) : restart(lesson.base)));
});
window.addEventListener("pagehide", () => { trial?.stop(); list.capture?.stop(); });
start();
