/** Two small tools for the model to call: a calculator and the date. */
import type { ToolBody } from "../src/treadle.js";

export const TOOLS: ToolBody[] = [
  {
    type: "function",
    function: {
      name: "calculate",
      description: "The value of an arithmetic expression with + - * / ^ and brackets",
      parameters: {
        type: "object",
        properties: { expression: { type: "string", pattern: "^[0-9+*/^(). -]{1,60}$" } },
        required: ["expression"],
        additionalProperties: false,
      },
    },
  },
  {
    type: "function",
    function: {
      name: "today",
      description: "Today's date",
      parameters: { type: "object", properties: {}, additionalProperties: false },
    },
  },
];

/** The result of a call as text; never throws. */
export function run(name: string, args: string): string {
  try {
    const given = JSON.parse(args || "{}") as { expression?: string };
    if (name === "calculate") return String(calculate(given.expression ?? ""));
    return name === "today" ? new Date().toDateString() : `there is no tool ${name}`;
  } catch (error) {
    return `that did not work: ${(error as Error).message}`;
  }
}

/** Precedence climbing over numbers and the five operators; powers bind to the right. */
export function calculate(text: string): number {
  const tokens = text.match(/\d+\.?\d*|\.\d+|[-+*/^()]/g) ?? [];
  if (tokens.join("") !== text.replaceAll(" ", "")) throw new Error("that is no expression");
  let at = 0;
  let depth = 0;
  const binding: Record<string, number> = { "+": 1, "-": 1, "*": 2, "/": 2, "^": 4 };
  const atom = (): number => {
    const token = tokens[at++];
    if (token === "-") return -level(3);
    if (token === "(") {
      if ((depth += 1) > 50) throw new Error("too many brackets");
      const inner = level(1);
      if (tokens[at++] !== ")") throw new Error("a bracket is missing");
      return inner;
    }
    const value = Number(token);
    if (token === undefined || Number.isNaN(value)) throw new Error("a number is missing");
    return value;
  };
  const level = (least: number): number => {
    let left = atom();
    for (let sign = tokens[at]; sign !== undefined && (binding[sign] ?? 0) >= least; sign = tokens[at]) {
      at += 1;
      const right = level(binding[sign]! + (sign === "^" ? 0 : 1));
      if (sign === "+") left += right;
      else if (sign === "-") left -= right;
      else if (sign === "*") left *= right;
      else if (sign === "/") left /= right;
      else left **= right;
    }
    return left;
  };
  const value = level(1);
  if (at < tokens.length) throw new Error(`${tokens[at]} is left over`);
  return Number(value.toPrecision(12));
}
