/**
 * The plan of a WebGPU tier as plan.json holds it, checked: whatever passes here runs without a
 * name that leads nowhere. A plan is data; nothing of it is executed but the kernels it names.
 */
import { TreadleError } from "./errors.js";
import { expression, type Expression } from "./expr.js";

/** Rows `row .. row + rows` of a tensor, at byte `offset` of a weight buffer. */
export interface WeightPart {
  readonly tensor: string;
  readonly row: number;
  readonly rows: number;
  readonly offset: number;
  /** What the tensor is stored as where the buffer holds float32 of it. */
  readonly widen: "" | "f16" | "bf16";
}

export interface BufferPlan {
  readonly size: Expression;
  readonly weights: readonly WeightPart[];
  /** Which part of its weights' blocks the buffer holds; "": whole rows. */
  readonly plane: "" | "quants" | "scales" | "pairs";
  /** Holds KV pages: P of them, one after another. */
  readonly kv: boolean;
}

export interface KernelPlan {
  readonly text: string;
  readonly access: readonly ("read" | "write")[];
  /** Whether the block of run-time sizes follows the storage buffers. */
  readonly uniform: boolean;
}

export interface StepPlan {
  readonly kernel: string;
  readonly bind: readonly string[];
  readonly grid: readonly [Expression, Expression, Expression];
}

export const LISTS = ["decode", "batch", "prefill", "sample"] as const;
export type ListName = (typeof LISTS)[number];
export type ForwardName = Exclude<ListName, "sample">;

/** The state before the head: where each list leaves a row of `width` a token, and its norm. */
export interface HiddenPlan {
  readonly states: Readonly<Record<ForwardName, string>>;
  readonly norm: string;
  readonly eps: number;
  readonly width: number;
}

export interface Plan {
  readonly vocab: number;
  readonly page: number;
  readonly buffers: ReadonlyMap<string, BufferPlan>;
  readonly kernels: ReadonlyMap<string, KernelPlan>;
  readonly lists: Readonly<Record<ListName, readonly StepPlan[]>>;
  /** Missing in bundles of before. */
  readonly hidden: HiddenPlan | undefined;
}

/** A tier's record and its kernel file. Throws `model_format_error` naming the field. */
export function readPlan(record: unknown, kernels: string): Plan {
  const root = object(record, "tier");
  const texts = modules(kernels);
  const buffers = new Map<string, BufferPlan>();
  for (const [name, value] of Object.entries(object(root["buffers"], "buffers"))) {
    const spec = object(value, `buffers.${name}`);
    const parts = spec["weights"] === undefined ? [] : list(spec["weights"], `buffers.${name}`);
    const plane = spec["plane"] ?? "";
    if (plane !== "" && plane !== "quants" && plane !== "scales" && plane !== "pairs") throw bad(`buffers.${name}`, "is no plane");
    buffers.set(name, {
      size: expression(text(spec["size"], `buffers.${name}.size`)),
      weights: parts.map((part) => weightPart(part, `buffers.${name}.weights`)),
      plane,
      kv: spec["kv"] === true,
    });
  }
  const table = new Map<string, KernelPlan>();
  for (const [name, value] of Object.entries(object(root["kernels"], "kernels"))) {
    const at = `kernels.${name}`;
    const spec = object(value, at);
    const body = texts.get(name);
    if (body === undefined) throw bad(at, "has no text");
    const access = list(spec["bindings"], at).map((entry) => {
      const kind = list(entry, at)[1];
      if (kind !== "read" && kind !== "write") throw bad(at, "binds neither to read nor to write");
      return kind;
    });
    table.set(name, { text: body, access, uniform: spec["uniform"] === true });
  }
  const steps = object(root["steps"], "steps");
  const lists = {} as Record<ListName, readonly StepPlan[]>;
  for (const name of LISTS) {
    lists[name] = list(steps[name], `steps.${name}`).map((step, i) =>
      stepPlan(step, `steps.${name}.${i}`, buffers, table),
    );
  }
  for (const name of ["batch", "draws", "mask", "drawn", "told", "entries", "logits"]) {
    if (!buffers.has(name)) throw bad("buffers", `has no ${name}`);
  }
  const hidden = root["hidden"] === undefined ? undefined : hiddenPlan(object(root["hidden"], "hidden"), buffers);
  return { vocab: count(root["vocab"], "vocab"), page: count(root["page"], "page"), buffers, kernels: table, lists, hidden };
}

function hiddenPlan(spec: Record<string, unknown>, buffers: ReadonlyMap<string, BufferPlan>): HiddenPlan {
  const states = object(spec["states"], "hidden.states");
  const named = (value: unknown) => {
    const name = text(value, "hidden");
    if (!buffers.has(name)) throw bad("hidden", `names ${name}, which is no buffer`);
    return name;
  };
  const eps = spec["eps"];
  if (typeof eps !== "number" || !(eps >= 0)) throw bad("hidden.eps", "is no number");
  const [decode, batch, prefill] = [states["decode"], states["batch"], states["prefill"]].map(named);
  return {
    states: { decode: decode!, batch: batch!, prefill: prefill! },
    norm: named(spec["norm"]),
    eps,
    width: count(spec["width"], "hidden.width"),
  };
}

/** Kernel name -> module, of a file whose parts begin with `//# kernel NAME`. */
function modules(file: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const part of file.split("//# kernel ").slice(1)) {
    const end = part.indexOf("\n");
    found.set(part.slice(0, end), part.slice(end + 1));
  }
  return found;
}

function stepPlan(
  value: unknown,
  at: string,
  buffers: ReadonlyMap<string, BufferPlan>,
  kernels: ReadonlyMap<string, KernelPlan>,
): StepPlan {
  const spec = object(value, at);
  const kernel = text(spec["kernel"], `${at}.kernel`);
  const bind = list(spec["bind"], `${at}.bind`).map((name) => text(name, `${at}.bind`));
  const missing = bind.find((name) => !buffers.has(name));
  if (missing !== undefined) throw bad(`${at}.bind`, `names ${missing}, which is no buffer`);
  const known = kernels.get(kernel);
  if (!known) throw bad(`${at}.kernel`, `names ${kernel}, which is no kernel`);
  if (known.access.length !== bind.length) throw bad(`${at}.bind`, `does not fit ${kernel}`);
  const grid = list(spec["grid"], `${at}.grid`).map((size) => expression(text(size, `${at}.grid`)));
  if (grid.length !== 3) throw bad(`${at}.grid`, "has not three sizes");
  return { kernel, bind, grid: [grid[0]!, grid[1]!, grid[2]!] };
}

function weightPart(value: unknown, at: string): WeightPart {
  const spec = object(value, at);
  const number = (name: string) => count(spec[name], `${at}.${name}`);
  const widen = spec["widen"] ?? "";
  if (widen !== "" && widen !== "f16" && widen !== "bf16") throw bad(`${at}.widen`, "is no float");
  return { tensor: text(spec["tensor"], at), row: number("row"), rows: number("rows"), offset: number("offset"), widen };
}

function object(value: unknown, at: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw bad(at, "is no object");
  return value as Record<string, unknown>;
}

function list(value: unknown, at: string): readonly unknown[] {
  if (!Array.isArray(value)) throw bad(at, "is no list");
  return value as readonly unknown[];
}

function text(value: unknown, at: string): string {
  if (typeof value !== "string") throw bad(at, "is no text");
  return value;
}

function count(value: unknown, at: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw bad(at, "is no count");
  return value as number;
}

function bad(at: string, message: string): TreadleError {
  const hint = "the bundle is damaged or newer than this engine; export it again";
  return new TreadleError("model_format_error", message, { at: `plan.json, ${at}`, hint });
}
