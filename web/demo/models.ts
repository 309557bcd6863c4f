/** Which model: the one served with the page, others by path, or files from this machine. */
import { createEngine, store, type BundleManifest, type Engine, type Progress, type Source, type TreadleError } from "../src/treadle.js";
import { $, bytes, duration, h } from "./dom.js";

export interface Loaded {
  readonly engine: Engine;
  readonly seconds: number;
}

const PHASES = {
  download: "Fetching",
  verify: "Checking",
  upload: "Unpacking",
  compile: "Compiling",
  warmup: "Warming up",
} as const;

interface Entry {
  readonly source: Source;
  readonly name: string;
  readonly about: string;
  readonly manifest: BundleManifest;
  /** Bytes of it that this browser keeps. */
  kept: number;
}

export class Models {
  #entries: Entry[] = [];
  #current: Entry | undefined;
  #loading: AbortController | undefined;
  readonly #loaded: (loaded: Loaded | undefined) => void;
  #engine: Engine | undefined;

  constructor(loaded: (loaded: Loaded | undefined) => void) {
    this.#loaded = loaded;
    $<HTMLFormElement>("by-url").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.add($<HTMLInputElement>("url").value);
    });
    this.#files();
  }

  /** Offers a bundle by its path. */
  async add(path: string): Promise<void> {
    const base = new URL(path.endsWith("/") ? path : `${path}/`, document.baseURI);
    try {
      const response = await fetch(new URL("manifest.json", base));
      if (!response.ok) throw new Error(`${base.pathname} has no bundle (status ${response.status})`);
      this.#offer(base.href, (await response.json()) as BundleManifest);
    } catch (error) {
      this.#say("failed", (error as Error).message);
      this.#draw();
    }
  }

  async open(entry: Entry): Promise<void> {
    this.#loading?.abort();
    await this.#engine?.close().catch(() => undefined);
    this.#engine = undefined;
    this.#loaded(undefined);
    const abort = (this.#loading = new AbortController());
    this.#current = entry;
    this.#say("busy", `Opening ${entry.name}`);
    this.#draw();
    const begun = performance.now();
    try {
      const asked = new URLSearchParams(location.search).get("tier");
      const engine = await createEngine(entry.source, {
        ...(asked ? { tier: asked } : {}),
        signal: abort.signal,
        onProgress: (progress) => this.#progress(progress),
      });
      this.#engine = engine;
      this.#loading = undefined;
      const { tier, notes } = await engine.stats();
      this.#say("ready", `${engine.manifest.model.name} · ${tier}`, notes.join("\n"));
      this.#loaded({ engine, seconds: (performance.now() - begun) / 1000 });
      void this.#look(entry);
    } catch (thrown) {
      const error = thrown as TreadleError;
      if (this.#loading !== abort) return; // another was chosen meanwhile
      this.#loading = undefined;
      this.#current = undefined;
      if (error.code === "cancelled") this.#say("none", "No model yet");
      else this.#say("failed", error.message);
    }
    this.#draw();
  }

  #offer(source: Source, manifest: BundleManifest): void {
    const { model, files } = manifest;
    const size = files.reduce((sum, file) => sum + file.bytes, 0);
    const { context } = manifest.limits;
    const room = context < 1024 ? `${context} tokens` : `${Math.round(context / 1024)}k tokens`;
    const license = model.license === "unknown" ? "" : model.license;
    const about = [bytes(size), license, `context of ${room}`];
    const entry = { source, manifest, kept: 0, name: model.name, about: about.filter(Boolean).join(" · ") };
    this.#entries = [...this.#entries.filter((other) => other.source !== source), entry];
    this.#say("none", "No model yet");
    this.#draw();
    void this.#look(entry);
  }

  /** Looks up how much of a model is kept here. */
  async #look(entry: Entry): Promise<void> {
    const before = entry.kept;
    entry.kept = await store().then(({ kept }) => kept(entry.manifest)).catch(() => 0);
    if (entry.kept !== before) this.#draw();
  }

  async #remove(entry: Entry): Promise<void> {
    await store().then(({ remove }) => remove(entry.manifest)).catch(() => undefined);
    await this.#look(entry);
  }

  #files(): void {
    const input = $<HTMLInputElement>("files");
    const drop = $("drop");
    const take = async (files: readonly File[]) => {
      const manifest = files.find((file) => file.name === "manifest.json");
      if (!manifest) return this.#say("failed", "those files are no bundle: manifest.json is missing");
      try {
        this.#offer(files, JSON.parse(await manifest.text()) as BundleManifest);
      } catch (error) {
        this.#say("failed", `manifest.json: ${(error as Error).message}`);
      }
    };
    input.addEventListener("change", () => void take([...(input.files ?? [])]));
    for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]] as const) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", over);
        if (name === "drop") void dropped((event as DragEvent).dataTransfer).then(take);
      });
    }
  }

  #progress({ phase, loaded, total, bytesPerSecond, etaSeconds }: Progress): void {
    const share = total ? Math.round((loaded / total) * 100) : 0;
    const many = phase === "download" || phase === "upload";
    const parts = [
      PHASES[phase],
      many ? `${bytes(loaded)} of ${bytes(total)}` : `${share} %`,
      bytesPerSecond ? `${bytes(bytesPerSecond)}/s` : "",
      etaSeconds ? `${duration(etaSeconds * 1000)} left` : "",
    ];
    for (const bar of document.querySelectorAll<HTMLProgressElement>("progress")) {
      bar.max = Math.max(total, 1);
      bar.value = loaded;
    }
    for (const line of document.querySelectorAll(".progress-line")) {
      line.textContent = parts.filter(Boolean).join(" · ");
    }
    this.#say("busy", `${PHASES[phase]} ${share} %`);
  }

  #say(state: "none" | "busy" | "ready" | "failed", text: string, more = ""): void {
    const badge = $("badge");
    badge.dataset["state"] = state;
    badge.title = more || text;
    badge.querySelector("span")!.textContent = text;
    if (state === "failed") $("spoken").textContent = text;
    for (const place of document.querySelectorAll(".open-fault")) place.remove();
    if (state === "failed") $("start").append(h("p", { class: "fault open-fault", role: "alert" }, text));
  }

  /** Draws the cards anew; a button that had the focus keeps it. */
  #draw(): void {
    const focused = document.activeElement as HTMLElement | null;
    const place = focused?.closest<HTMLElement>("#catalog, #start");
    this.#cards();
    const buttons = [...(place?.querySelectorAll("button") ?? [])];
    (buttons.find((button) => button.textContent === focused?.textContent) ?? buttons[0])?.focus();
  }

  #cards(): void {
    $("catalog").replaceChildren(...this.#entries.map((entry) => h("li", { class: "card", "aria-current": String(entry === this.#current) }, ...this.#card(entry))));
    const [first] = this.#entries;
    const shown = this.#current ?? first;
    const fault = $("start").querySelector(".open-fault");
    const none = h("p", { class: "note" }, "No model is served with this page. Open one in the panel.");
    $("start").replaceChildren(...(shown ? this.#card(shown) : [none]), ...(fault ? [fault] : []));
    $("start").hidden = this.#engine !== undefined;
  }

  #card(entry: Entry): Node[] {
    const current = entry === this.#current;
    const loading = current && this.#loading !== undefined;
    const ready = current && this.#engine !== undefined;
    const cancel = () => this.#loading?.abort();
    const button = loading
      ? h("button", { type: "button", onclick: cancel }, "Cancel")
      : h("button", { type: "button", class: "main", disabled: ready, onclick: () => void this.open(entry) }, ready ? "In use" : "Load");
    const about = entry.kept ? `${entry.about} · kept here` : entry.about;
    const name = h("div", {}, h("b", {}, entry.name), h("small", {}, about));
    const row = h("div", { class: "who" }, name, button);
    if (!loading && entry.kept && !ready) {
      const remove = () => void this.#remove(entry);
      const label = `Remove ${bytes(entry.kept)} from this browser`;
      return [row, h("button", { type: "button", class: "quiet slim", onclick: remove }, label)];
    }
    if (!loading) return [row];
    const bar = h("progress", { "aria-label": "Loading", max: 1, value: 0 });
    return [row, bar, h("small", { class: "note progress-line" }, "Opening")];
  }
}

/** Files of what was dropped, those of a folder too. */
async function dropped(data: DataTransfer | null): Promise<File[]> {
  const entries = [...(data?.items ?? [])].map((item) => item.webkitGetAsEntry());
  const found: File[] = [];
  const visit = async (entry: FileSystemEntry | null, depth: number): Promise<void> => {
    if (entry?.isFile) {
      found.push(await new Promise((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject)));
    } else if (entry?.isDirectory && depth < 2) {
      const reader = (entry as FileSystemDirectoryEntry).createReader();
      for (;;) {
        const batch = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
        if (!batch.length) break;
        for (const inner of batch) await visit(inner, depth + 1);
      }
    }
  };
  for (const entry of entries) await visit(entry, 0);
  return found;
}
