/** The conversation: asks the engine, shows what comes, and lets one stop, edit and try again. */
import type { ChatBody, Engine, MessageBody, ToolCall, TreadleError } from "../src/treadle.js";
import { $, duration, h, rate } from "./dom.js";
import type { SchemaPanel } from "./schema.js";
import { run, TOOLS } from "./tools.js";
import { assistantTurn, userTurn, type Shown } from "./turns.js";

export type Mode = "text" | "json" | "tools";

const ROUNDS = 4; // of calls and answers for one message

/** What the settings say of a request. */
export type Settings = () => Partial<ChatBody>;

interface Answer {
  text: string;
  calls: ToolCall[];
  tokens: number;
  cached: number;
  firstMs: number;
  perSecond: number;
}

export class Chat {
  #engine: Engine | undefined;
  #messages: MessageBody[] = [];
  #abort: AbortController | undefined;
  /** What goes before the conversation. */
  system = "";
  readonly #schema: SchemaPanel;
  readonly #settings: Settings;
  readonly #changed: () => void;

  constructor(schema: SchemaPanel, settings: Settings, changed: () => void) {
    this.#schema = schema;
    this.#settings = settings;
    this.#changed = changed;
  }

  get busy(): boolean {
    return this.#abort !== undefined;
  }

  get empty(): boolean {
    return this.#messages.length === 0;
  }

  set engine(engine: Engine | undefined) {
    this.stop();
    this.#engine = engine;
  }

  stop(): void {
    this.#abort?.abort();
  }

  clear(): void {
    this.stop();
    this.#cut(0);
  }

  /** Adds a message and answers it. Resolves when the answer stands. */
  async send(text: string, mode: Mode): Promise<void> {
    const at = this.#messages.length;
    const turn = userTurn(text, () => this.#edit(at, text));
    turn.dataset["at"] = String(at);
    $("turns").append(turn);
    this.#messages.push({ role: "user", content: text });
    await this.#answer(mode);
  }

  async #answer(mode: Mode): Promise<void> {
    const engine = this.#engine;
    if (!engine || this.busy) return;
    const start = this.#messages.length;
    const shown = assistantTurn();
    shown.item.dataset["at"] = String(start);
    $("turns").append(shown.item);
    const abort = (this.#abort = new AbortController());
    this.#changed();
    try {
      for (let round = 0; round < ROUNDS; round += 1) {
        const said = await this.#ask(engine, shown, mode, abort.signal);
        if (!said.calls.length) {
          this.#messages.push({ role: "assistant", content: said.text });
          this.#finish(shown, said, mode, start);
          break;
        }
        this.#messages.push({ role: "assistant", content: said.text || null, tool_calls: said.calls });
        for (const { id, function: called } of said.calls) {
          const result = run(called.name, called.arguments);
          shown.call(called.name, called.arguments, result);
          this.#messages.push({ role: "tool", tool_call_id: id, content: result });
        }
        if (round === ROUNDS - 1) this.#finish(shown, said, mode, start);
      }
    } catch (error) {
      this.#failed(shown, error as TreadleError, mode, start);
    } finally {
      shown.done();
      this.#abort = undefined;
      this.#changed();
    }
  }

  async #ask(engine: Engine, shown: Shown, mode: Mode, signal: AbortSignal): Promise<Answer> {
    const said: Answer = { text: "", calls: [], tokens: 0, cached: 0, firstMs: 0, perSecond: 0 };
    const schema = mode === "json" ? this.#schema.value : undefined;
    if (mode === "json" && !schema) throw new Error("the schema is not JSON yet: see the Schema panel");
    const settings = this.#settings();
    const begun = performance.now();
    let first = 0;
    const stream = await engine.chat.completions.create(
      {
        ...settings,
        messages: this.system ? [{ role: "system", content: this.system }, ...this.#messages] : this.#messages,
        stream: true,
        stream_options: { include_usage: true },
        ...(schema ? { response_format: { type: "json_schema", json_schema: { name: "answer", schema } } } : {}),
        ...(mode === "tools" ? { tools: TOOLS } : {}),
      },
      { signal },
    );
    for await (const chunk of stream) {
      const delta = chunk.choices[0]?.delta;
      if (delta?.content) {
        said.text += delta.content;
        shown.say(said.text, mode === "json");
        if (mode === "json") this.#schema.judge(said.text, false);
        this.#follow();
      }
      for (const { index, id, function: called } of delta?.tool_calls ?? []) {
        if (id) said.calls[index] = { id, type: "function", function: { name: called.name ?? "", arguments: "" } };
        said.calls[index]!.function.arguments += called.arguments;
      }
      if (delta?.content || delta?.tool_calls) {
        first ||= performance.now();
        said.tokens += 1;
        const seconds = (performance.now() - first) / 1000;
        if (seconds > 0.2) $("speed").textContent = `${rate(said.tokens / seconds)} tok/s`;
      }
      if (chunk.usage) {
        said.tokens = chunk.usage.completion_tokens;
        said.cached = chunk.usage.prompt_tokens_details.cached_tokens;
      }
    }
    said.firstMs = (first || performance.now()) - begun;
    const seconds = (performance.now() - first) / 1000;
    said.perSecond = first && said.tokens > 1 ? (said.tokens - 1) / Math.max(seconds, 1e-3) : 0;
    return said;
  }

  #finish(shown: Shown, said: Answer, mode: Mode, at: number): void {
    const verdict = mode === "json" ? this.#schema.judge(said.text, true) : null;
    const line = [
      `${said.tokens} tokens`,
      said.perSecond ? `${rate(said.perSecond)} tok/s` : "",
      `first after ${duration(said.firstMs)}`,
      said.cached ? `${said.cached} reused` : "",
    ].filter(Boolean);
    $("speed").replaceChildren(line[1] ?? "", h("span", { class: "more" }, ` · first ${duration(said.firstMs)}`));
    $("spoken").textContent = `Answer: ${said.text}`;
    shown.foot(...(verdict ? [verdict] : []), h("span", {}, line.join(" · ")), ...this.#actions(said.text, mode, at));
    this.#follow();
  }

  #failed(shown: Shown, error: TreadleError, mode: Mode, at: number): void {
    const stopped = error.code === "cancelled";
    const partial = shown.item.querySelector(".said")?.textContent ?? "";
    // What was said stays part of the conversation, so that the next message may refer to it.
    if (partial && stopped) this.#messages.push({ role: "assistant", content: partial });
    if (!stopped) {
      shown.fail(error.message);
      if (error.code === "grammar_error") this.#schema.refused(error.message);
    }
    const note = h("span", {}, stopped ? "stopped" : "no answer");
    shown.foot(note, ...this.#actions(partial, mode, at));
  }

  #actions(text: string, mode: Mode, at: number): Node[] {
    const again = () => {
      if (this.busy) return;
      this.#cut(at);
      void this.#answer(mode);
    };
    const copy = (event: Event) => {
      const button = event.currentTarget as HTMLElement;
      void navigator.clipboard.writeText(text).then(() => (button.textContent = "Copied"));
    };
    return [
      h("button", { type: "button", onclick: copy }, "Copy"),
      h("button", { type: "button", onclick: again }, "Try again"),
    ];
  }

  /** Takes a message back into the field, and forgets what came after it. */
  #edit(at: number, text: string): void {
    if (this.busy) return;
    this.#cut(at);
    const field = $<HTMLTextAreaElement>("prompt");
    field.value = text;
    field.focus();
    this.#changed();
  }

  #cut(at: number): void {
    this.#messages = this.#messages.slice(0, at);
    for (const turn of [...$("turns").children] as HTMLElement[]) {
      if (Number(turn.dataset["at"]) >= at) turn.remove();
    }
    this.#changed();
  }

  /** Stays at the end, unless the reader has gone up. */
  #follow(): void {
    const log = $("log");
    if (log.scrollHeight - log.scrollTop - log.clientHeight < 160) log.scrollTop = log.scrollHeight;
  }
}
