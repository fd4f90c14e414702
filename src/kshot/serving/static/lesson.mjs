// What is being taught: classes with examples, the model the server made of them, and how to undo.
//
// Examples and classes are never changed in place, so a snapshot is a shallow copy. The server has a model as soon as
// two classes have an example; until then the examples stay in this page.

import { ask } from "./api.mjs";

let counter = 0;
const fresh = () => `k${++counter}`;

export class Lesson extends EventTarget {
  constructor() {
    super();
    this.reset();
  }

  reset(base = null) {
    this.base = base;
    this.name = "";
    this.model = null; // {id, version}
    this.order = []; // examples as the server orders them
    this.classes = [{ key: fresh(), name: "Class 1", examples: [] }, { key: fresh(), name: "Class 2", examples: [] }];
    this.past = [];
    this.took = null;
    this.tail = Promise.resolve();
    this.tell();
  }

  get filled() {
    return this.classes.filter((one) => one.examples.length);
  }

  class(key) {
    return this.classes.find((one) => one.key === key);
  }

  tell() {
    this.dispatchEvent(new Event("change"));
  }

  // One change after another; a change that fails leaves everything as it was.
  change(text, work, undoable = true) {
    const run = async () => {
      const before = this.snapshot();
      try {
        const start = performance.now();
        await work();
        this.took = performance.now() - start;
        if (undoable) this.past.push({ ...before, text });
      } catch (cause) {
        this.put(before);
        throw cause;
      } finally {
        this.tell();
      }
    };
    const done = this.tail.then(run, run);
    this.tail = done.catch(() => {});
    return done;
  }

  snapshot() {
    return { model: this.model, order: this.order, classes: this.classes };
  }

  put({ model, order, classes }) {
    Object.assign(this, { model, order, classes });
  }

  replace(key, next) {
    this.classes = this.classes.map((one) => (one.key === key ? { ...one, ...next } : one));
  }

  addClass() {
    let number = this.classes.length + 1;
    while (this.classes.some((one) => one.name === `Class ${number}`)) number += 1;
    const made = { key: fresh(), name: `Class ${number}`, examples: [] };
    this.classes = [...this.classes, made];
    this.tell();
    return made;
  }

  add(key, inputs) {
    const label = this.class(key).name;
    const many = inputs.length === 1 ? "an example" : `${inputs.length} examples`;
    return this.change(`add ${many} of ${label}`, async () => {
      const made = inputs.map((input) => ({ key: fresh(), id: null, input }));
      const name = this.class(key).name;
      this.replace(key, { examples: [...this.class(key).examples, ...made] });
      this.tell();
      if (!this.model) return this.create();
      const told = await this.post("examples", { examples: made.map(({ input }) => ({ input, label: name })) });
      this.named([...this.order, ...made], told);
    });
  }

  remove(examples, text) {
    const gone = new Set(examples.map((one) => one.key));
    return this.change(text, async () => {
      const ids = this.order.filter((one) => gone.has(one.key)).map((one) => one.id);
      this.classes = this.classes.map((one) => ({ ...one, examples: one.examples.filter((e) => !gone.has(e.key)) }));
      if (!this.model || !ids.length) return;
      if (this.filled.length < 2) return this.unmake();
      const query = ids.map((id) => `id=${encodeURIComponent(id)}`).join("&");
      const told = await ask("DELETE", `${this.place}/examples?${query}`);
      this.named(this.order.filter((one) => !gone.has(one.key)), told);
    });
  }

  removeClass(key) {
    const { name, examples } = this.class(key);
    if (!examples.length) {
      this.classes = this.classes.filter((one) => one.key !== key);
      this.tell();
      return Promise.resolve();
    }
    const done = this.remove(examples, `remove class ${name}`);
    return done.then(() => {
      this.classes = this.classes.filter((one) => one.key !== key);
      this.tell();
    });
  }

  // Out of every version that the server keeps, for good.
  forget(examples) {
    return this.change("forget", async () => {
      if (!this.model) return;
      const query = examples.map((one) => `id=${encodeURIComponent(one.id)}`).join("&");
      const told = await ask("DELETE", `${this.place}/examples?${query}&forget=true`);
      this.model = { ...this.model, version: told.version };
      const gone = new Set(examples.map((one) => one.key));
      this.past = this.past.filter((one) => !one.order.some((e) => gone.has(e.key)));
    }, false);
  }

  renameClass(key, name) {
    const before = this.class(key).name;
    if (before === name) return Promise.resolve();
    return this.change(`call ${before} ${name}`, async () => {
      const known = this.model && this.class(key).examples.length;
      this.replace(key, { name });
      if (!known) return;
      const told = await this.post("classes/rename", { from: before, to: name });
      this.named(this.order, told);
    });
  }

  renameModel(name) {
    this.name = name;
    if (!this.model) return Promise.resolve();
    return this.change("rename", () => ask("PATCH", this.place, { name }), false);
  }

  rebase(base) {
    return this.change(`move to ${base.name}`, async () => {
      if (this.model) this.named(this.order, await this.post("rebase", { base: base.name }));
      this.base = base;
    }, false);
  }

  undo() {
    const last = this.past.at(-1);
    if (!last) return Promise.resolve();
    return this.change("undo", async () => {
      const now = this.model;
      const names = new Map(this.classes.map((one) => [one.key, one]));
      this.put(last);
      for (const [key, one] of names) {
        if (!last.classes.some((c) => c.key === key) && !one.examples.length) this.classes = [...this.classes, one];
      }
      this.model = now;
      if (now && last.model && now.id === last.model.id) {
        const told = await ask("POST", `${this.place}/versions/${last.model.version}/restore`);
        this.named(last.order, told);
      } else {
        if (now) await this.unmake();
        await this.create();
      }
      this.past = this.past.slice(0, -1);
    }, false);
  }

  get place() {
    return `/v1/models/${this.model.id}`;
  }

  post(what, body) {
    return ask("POST", `${this.place}/${what}`, body);
  }

  async create() {
    if (this.filled.length < 2) return;
    const order = this.filled.flatMap((one) => one.examples);
    const examples = this.filled.flatMap((one) => one.examples.map(({ input }) => ({ input, label: one.name })));
    const told = await ask("POST", "/v1/models", { base: this.base.name, name: this.name, examples });
    this.model = { id: told.id };
    this.named(order, told);
  }

  async unmake() {
    await ask("DELETE", this.place);
    this.model = null;
    this.order = [];
    this.classes = this.classes.map((one) => ({ ...one, examples: one.examples.map((e) => ({ ...e, id: null })) }));
  }

  // Take over the ids that the server gave, in its order.
  named(order, told) {
    const ids = new Map(order.map((one, place) => [one.key, told.examples[place]]));
    const take = (one) => (ids.has(one.key) ? { ...one, id: ids.get(one.key) } : one);
    this.order = order.map(take);
    this.classes = this.classes.map((one) => ({ ...one, examples: one.examples.map(take) }));
    this.model = { id: told.id ?? this.model.id, version: told.version };
  }

  // A model that the server has already.
  async open(id, bases) {
    const told = await ask("GET", `/v1/models/${encodeURIComponent(id)}`);
    const base = bases.find((one) => one.name === told.base);
    if (!base) throw new Error(`This model was taught on the base ${told.base}, which is not served here now.`);
    this.reset(base);
    this.name = told.name;
    const order = told.examples.map((one) => ({ key: fresh(), id: one.id, input: null, label: String(one.label) }));
    this.classes = told.classes.map((label) => ({
      key: fresh(), name: String(label), examples: order.filter((one) => one.label === String(label)),
    }));
    this.order = order;
    this.model = { id: told.id, version: told.version };
    this.tell();
  }

  // The input of an example; of a model that was opened it is fetched when somebody looks.
  async input(example) {
    if (example.input !== null) return example.input;
    const told = await ask("GET", `${this.place}/examples/${example.id}`);
    example.input = told.input; // a cache: what the example is does not change
    return told.input;
  }

  byId(id) {
    return this.order.find((one) => one.id === id);
  }
}
