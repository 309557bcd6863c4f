/** The panel that holds the schema: an editor, examples, and what is wrong with either side. */
import { check, syntaxFault } from "./check.js";
import { $, h } from "./dom.js";

const EXAMPLES: Record<string, object> = {
  Person: {
    type: "object",
    properties: {
      name: { type: "string", maxLength: 40 },
      age: { type: "integer", minimum: 0, maximum: 120 },
      email: { type: "string", pattern: "^[a-z]{2,12}@[a-z]{2,12}\\.(com|org)$" },
      skills: { type: "array", items: { type: "string", maxLength: 24 }, minItems: 1, maxItems: 4 },
    },
    required: ["name", "age", "email", "skills"],
    additionalProperties: false,
  },
  Recipe: {
    type: "object",
    properties: {
      title: { type: "string", maxLength: 60 },
      minutes: { type: "integer", minimum: 5, maximum: 240 },
      vegetarian: { type: "boolean" },
      ingredients: {
        type: "array",
        minItems: 2,
        maxItems: 6,
        items: {
          type: "object",
          properties: {
            item: { type: "string", maxLength: 30 },
            grams: { type: "integer", minimum: 1, maximum: 2000 },
          },
          required: ["item", "grams"],
          additionalProperties: false,
        },
      },
    },
    required: ["title", "minutes", "vegetarian", "ingredients"],
    additionalProperties: false,
  },
  Verdict: {
    type: "object",
    properties: {
      mood: { enum: ["pleased", "neutral", "annoyed"] },
      confidence: { type: "number", minimum: 0, maximum: 1 },
      reason: { type: "string", maxLength: 120 },
    },
    required: ["mood", "confidence", "reason"],
    additionalProperties: false,
  },
};

export class SchemaPanel {
  readonly #editor = $<HTMLTextAreaElement>("schema");
  #pick = "Person";

  constructor() {
    for (const name of Object.keys(EXAMPLES)) {
      $("examples").append(h("button", { type: "button", onclick: () => this.#show(name) }, name));
    }
    this.#editor.addEventListener("input", () => this.#tell());
    this.#show("Person");
  }

  get name(): string {
    return this.#pick;
  }

  /** The schema; undefined while its text is not one. */
  get value(): Record<string, unknown> | undefined {
    const text = this.#editor.value;
    if (syntaxFault(text)) return undefined;
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  }

  /** Says whether an answer, whole or not yet, satisfies the schema. */
  judge(answer: string, whole: boolean): HTMLElement | null {
    const schema = this.value;
    if (!schema) return null;
    const syntax = syntaxFault(answer);
    const fault = syntax ? null : check(JSON.parse(answer) as unknown, schema);
    const good = !syntax && !fault;
    const waiting = syntax && !whole;
    const text = good
      ? "valid"
      : waiting
        ? "being written"
        : syntax
          ? `line ${syntax.line}, column ${syntax.column}: ${syntax.text}`
          : `${fault?.at || "/"} ${fault?.text}`;
    const mark = () => h("span", { class: `mark ${good || waiting ? "good" : "bad"}` }, text);
    $("answer-state").replaceChildren(mark());
    return mark();
  }

  /** What the engine itself says of the schema, where it refuses it. */
  refused(text: string): void {
    this.#state(false, text);
  }

  #show(name: string): void {
    this.#pick = name;
    this.#editor.value = JSON.stringify(EXAMPLES[name], null, 2);
    this.#tell();
  }

  #tell(): void {
    const fault = syntaxFault(this.#editor.value);
    if (fault) this.#state(false, `Line ${fault.line}, column ${fault.column}: ${fault.text}`);
    else if (!this.value) this.#state(false, "A schema is a JSON object");
    else this.#state(true, "A JSON object; it is compiled with the next message");
  }

  #state(good: boolean, text: string): void {
    const mark = h("span", { class: `mark ${good ? "good" : "bad"}` }, good ? "ok" : "wrong");
    $("schema-state").replaceChildren(mark, ` ${text}`);
    this.#editor.setAttribute("aria-invalid", String(!good));
  }
}
