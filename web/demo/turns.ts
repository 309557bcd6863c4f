/** What one turn of the conversation looks like. */
import { h } from "./dom.js";

export interface Shown {
  readonly item: HTMLLIElement;
  /** The answer so far. */
  say(text: string, asJson: boolean): void;
  call(name: string, args: string, result?: string): void;
  foot(...parts: (Node | string)[]): void;
  fail(text: string): void;
  done(): void;
}

export function userTurn(text: string, edit: () => void): HTMLLIElement {
  const button = h("button", { type: "button", "aria-label": "Edit this message", onclick: edit }, "Edit");
  return h(
    "li",
    { class: "turn user" },
    h("span", { class: "hidden" }, "You: "),
    h("div", { class: "said" }, text),
    h("div", { class: "foot" }, button),
  );
}

export function assistantTurn(): Shown {
  const said = h("div", { class: "said" });
  const calls = h("div");
  const foot = h("div", { class: "foot" });
  const item = h(
    "li",
    { class: "turn assistant running" },
    h("span", { class: "hidden" }, "Model: "),
    calls,
    said,
    foot,
  );
  return {
    item,
    say(text, asJson) {
      said.classList.toggle("json", asJson && text !== "");
      if (asJson) said.replaceChildren(...coloured(text));
      else said.textContent = text;
    },
    call(name, args, result) {
      const head = h("span", {}, h("b", {}, name), `(${args})`);
      calls.append(h("div", { class: "call" }, head, result === undefined ? "" : h("i", {}, ` → ${result}`)));
    },
    foot: (...parts) => foot.replaceChildren(...parts),
    fail: (text) => item.append(h("p", { class: "fault", role: "alert" }, text)),
    done: () => item.classList.remove("running"),
  };
}

/** JSON, whole or not, with its parts in colours; whole JSON is laid out in lines. */
function coloured(text: string): Node[] {
  let laid = text;
  try {
    laid = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // not whole yet
  }
  const parts = laid.split(/("(?:[^"\\]|\\.)*"?(?:\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\b(?:true|false|null)\b)/);
  return parts
    .filter((part) => part !== "")
    .map((part) => {
      const kind = part.startsWith('"') ? (part.endsWith(":") ? "k" : "s") : /^[-\dtfn]/.test(part) ? "n" : "";
      return kind ? h("span", { class: kind }, part) : document.createTextNode(part);
    });
}
