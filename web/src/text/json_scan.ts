/** Reading JSON that arrives in pieces, only as far as tool calls need it. */

export const SPACE = " \t\r\n";

export function trimStart(text: string, chars = SPACE): string {
  let at = 0;
  while (at < text.length && chars.includes(text[at]!)) at += 1;
  return text.slice(at);
}

export function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && SPACE.includes(text[end - 1]!)) end -= 1;
  return text.slice(0, end);
}

export function trim(text: string): string {
  return trimEnd(trimStart(text));
}

/**
 * Finds the end of one JSON value in text that arrives in pieces. A number or literal ends at the
 * first character that cannot belong to it. The value's grammar is not checked.
 */
export class ValueScan {
  done = false;
  #kind: "" | "text" | "nested" | "bare" = "";
  #depth = 0;
  #inText = false;
  #escaped = false;

  /** Length of the part of `piece` that belongs to the value; the first piece begins it. */
  push(piece: string): number {
    for (let i = 0; i < piece.length; i += 1) {
      const char = piece[i]!;
      if (this.#kind === "") this.#begin(char);
      else if (this.#inText) this.#text(char);
      else if (this.#kind === "nested") this.#nested(char);
      else if (",}]".includes(char) || SPACE.includes(char)) {
        this.done = true;
        return i;
      }
      if (this.done) return i + 1;
    }
    return piece.length;
  }

  #begin(char: string): void {
    if (char === '"') [this.#kind, this.#inText] = ["text", true];
    else if (char === "{" || char === "[") [this.#kind, this.#depth] = ["nested", 1];
    else this.#kind = "bare";
  }

  #text(char: string): void {
    if (this.#escaped) this.#escaped = false;
    else if (char === "\\") this.#escaped = true;
    else if (char === '"') {
      this.#inText = false;
      this.done = this.#kind === "text";
    }
  }

  #nested(char: string): void {
    if (char === '"') this.#inText = true;
    else if (char === "{" || char === "[") this.#depth += 1;
    else if (char === "}" || char === "]") {
      this.#depth -= 1;
      this.done = this.#depth === 0;
    }
  }
}

/** End of the JSON value that begins at `at`, checked; -1 = none, or not whole yet. */
export function jsonEnd(text: string, at: number): number {
  const scan = new ValueScan();
  const end = at + scan.push(text.slice(at));
  if (end === at) return -1;
  try {
    JSON.parse(text.slice(at, end));
  } catch {
    return -1;
  }
  return end;
}
