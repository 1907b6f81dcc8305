// The element beside a host in memory: each of its views, one after the other.
import { MemoryStore } from "/dist/index.js";
import { FakeHost } from "/dist/testing.js";

const element = document.querySelector("couplet-connect");
const told = [];
for (const name of ["couplet-paired", "couplet-state", "couplet-error"]) {
  document.addEventListener(name, ({ detail }) => told.push([name, detail.state?.state ?? detail.error?.code ?? detail.restored]));
}

const fake = new FakeHost({ name: "Study", asks: true });
const storage = new MemoryStore();

// However long a test looks at the page: what takes a second or more comes to its end only when the test lets it.
const alarm = window.setTimeout;
window.setTimeout = (call, after, ...rest) => (window.stage.still && after >= 1000 ? 0 : alarm(call, after, ...rest));

/** What a test does with it. */
window.stage = {
  still: false,
  element,
  fake,
  told,
  MemoryStore,
  options: { ...fake.connections, storage },
  /** Nobody answers, and nobody says no. */
  silent: { ...fake.connections, storage, openSocket: () => ({ readyState: 0, bufferedAmount: 0, send() {}, close() {} }) },
};

// Before the element is one, as an app may.
element.options = window.stage.options;
await import("/dist/element.js");
