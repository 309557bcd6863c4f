/** The page: puts the parts together and keeps buttons in step with what is possible. */
import type { ChatBody } from "../src/treadle.js";
import { Chat, type Mode } from "./chat.js";
import { DevicePanel } from "./device.js";
import { $, h } from "./dom.js";
import { Models, type Loaded } from "./models.js";
import { SchemaPanel } from "./schema.js";

const IDEAS: readonly (readonly [string, Mode, string])[] = [
  ["Text", "text", "Explain in two sentences how a loom works."],
  ["JSON", "json", "Invent a sailor with a name, an age, an e-mail address and skills."],
  ["Tools", "tools", "What is 17 * 23 + 4?"],
];

const field = $<HTMLTextAreaElement>("prompt");
const sliders = ["temperature", "top_p", "max_tokens"] as const;

const schema = new SchemaPanel();
const device = new DevicePanel();
const chat = new Chat(schema, settings, refresh);
const models = new Models(opened);
let ready = false;

function settings(): Partial<ChatBody> {
  const number = (id: string) => Number($<HTMLInputElement>(id).value);
  const seed = $<HTMLInputElement>("seed").value;
  return {
    temperature: number("temperature"),
    top_p: number("top_p"),
    max_tokens: number("max_tokens"),
    ...(seed ? { seed: Math.trunc(Number(seed)) } : {}),
  };
}

function opened(loaded: Loaded | undefined): void {
  ready = loaded !== undefined;
  chat.engine = loaded?.engine;
  device.show(loaded?.engine, loaded?.seconds ?? 0);
  if (loaded) {
    const most = $<HTMLInputElement>("max_tokens");
    most.max = String(Math.max(64, Math.floor(loaded.engine.manifest.limits.context / 2 / 16) * 16));
    field.placeholder = "Write something";
    $("spoken").textContent = `${loaded.engine.manifest.model.name} is ready.`;
  } else field.placeholder = "Load the model, then write something";
  refresh();
  if (ready) field.focus();
}

function mode(): Mode {
  return document.querySelector<HTMLInputElement>("input[name=mode]:checked")!.value as Mode;
}

function setMode(wanted: Mode): void {
  document.querySelector<HTMLInputElement>(`input[name=mode][value=${wanted}]`)!.checked = true;
  if (wanted === "json") choose("shape");
}

function refresh(): void {
  field.disabled = !ready;
  $<HTMLButtonElement>("send").disabled = !ready || chat.busy;
  $("send").hidden = chat.busy;
  $("stop").hidden = !chat.busy;
  $("hello").hidden = !chat.empty;
  $("ideas").hidden = !ready;
  $("fresh").hidden = chat.empty;
  grow();
  if (!chat.busy) void device.refresh();
}

function grow(): void {
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight, innerHeight * 0.34)}px`;
}

async function send(): Promise<void> {
  const text = field.value.trim();
  if (!text || !ready || chat.busy) return;
  field.value = "";
  const log = $("log");
  const answer = chat.send(text, mode());
  log.scrollTop = log.scrollHeight;
  await answer;
  field.focus();
}

/** The system message goes first, when there is one. */
const systemField = $<HTMLTextAreaElement>("system");
systemField.addEventListener("change", () => (chat.system = systemField.value.trim()));

$<HTMLFormElement>("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  void send();
});
field.addEventListener("input", grow);
field.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  void send();
});
$("stop").addEventListener("click", () => chat.stop());
$("fresh").addEventListener("click", () => {
  chat.clear();
  field.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if ($("side").classList.contains("open")) toggleSide(false);
  else chat.stop();
});
for (const input of document.querySelectorAll<HTMLInputElement>("input[name=mode]")) {
  input.addEventListener("change", () => setMode(mode()));
}

for (const id of sliders) {
  const slider = $<HTMLInputElement>(id);
  const show = () => ($(`${id}-value`).textContent = slider.value);
  slider.addEventListener("input", show);
  show();
}

for (const [kind, wanted, text] of IDEAS) {
  const use = () => {
    setMode(wanted);
    field.value = text;
    void send();
  };
  const button = h("button", { type: "button", onclick: use }, h("small", {}, kind), text);
  $("ideas").append(h("li", {}, button));
}

const tabs = [...document.querySelectorAll<HTMLButtonElement>("[role=tab]")];

function choose(name: string): void {
  for (const tab of tabs) {
    const chosen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    $(tab.getAttribute("aria-controls")!).hidden = !chosen;
  }
  if (name === "device") void device.refresh();
}

for (const [i, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab.id.slice(4)));
  tab.addEventListener("keydown", (event) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    const next = tabs[(i + step + tabs.length) % tabs.length]!;
    choose(next.id.slice(4));
    next.focus();
  });
}

function toggleSide(open: boolean): void {
  $("side").classList.toggle("open", open);
  $("drawer").setAttribute("aria-expanded", String(open));
  (open ? tabs.find((tab) => tab.tabIndex === 0) : $("drawer"))?.focus();
}
$("drawer").addEventListener("click", () => toggleSide(!$("side").classList.contains("open")));

refresh();
void models.add("bundle/");
// After the first visit the page opens without a network.
if ("serviceWorker" in navigator) void keep().catch(() => undefined);

async function keep(): Promise<void> {
  await navigator.serviceWorker.register("sw.js");
  await navigator.serviceWorker.ready;
  // The model served here was asked for before anybody listened.
  const cache = await caches.open("treadle-page");
  await cache.add("bundle/manifest.json");
}
