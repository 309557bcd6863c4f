/**
 * manifest.json and plan.json of a bundle, read and checked: what is executed later was bounded
 * here. python/treadle/export/bundle.py describes the format; check.py makes the same checks.
 */
import { TreadleError } from "./errors.js";
import type { BundleManifest } from "./types.js";

export const FORMAT = 1;

/** Where a weight lies: (shard, offset, length) in the order of its rows. */
export type Piece = readonly [shard: number, offset: number, length: number];

export interface Weight {
  readonly format: string;
  readonly rows: number;
  readonly cols: number;
  readonly experts: number;
  readonly pieces: readonly Piece[];
}

/** The CPU tier: plans in `file`, and what binds them. */
export interface CpuTier {
  readonly file: string;
  /** In the plans' order; null where no plan reads it. */
  readonly params: readonly (readonly [name: string, use: "matrix" | "vector"] | null)[];
  /** KV heads and head size of every layer. */
  readonly states: readonly (readonly [number, number])[];
  readonly plans: readonly CpuPlan[];
}

export interface CpuPlan {
  readonly workers: number;
  readonly rows: number;
  readonly slots: number;
  readonly offset: number;
  readonly length: number;
}

export interface WeightPlan {
  readonly weights: ReadonlyMap<string, Weight>;
  readonly shards: readonly string[];
  /** Records by tier, as they stand in the file. */
  readonly tiers: { readonly [tier: string]: unknown };
}

const PATH = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
const HASH = /^[0-9a-f]{64}$/;
const MOST = 2 ** 48;
const NEEDED = ["plan.json", "tokenizer.json", "vocab.bin"];
const ALIGNMENT = 256;

/** Weights a block, and bytes of it. */
export const BLOCKS: Readonly<Record<string, readonly [number, number]>> = {
  f32: [1, 4],
  f16: [1, 2],
  bf16: [1, 2],
  q4_0: [32, 18],
  q4_1: [32, 20],
  q8_0: [32, 34],
  q4_k: [256, 144],
  q5_k: [256, 176],
  q6_k: [256, 210],
};

/** Reads fields of one file, and names file and field of what is wrong. */
class Fields {
  constructor(
    readonly file: string,
    readonly value: unknown,
  ) {}

  fail(at: string, text: string, hint = "fetch the bundle again"): TreadleError {
    return new TreadleError("model_format_error", text, { at: `${this.file}, ${at}`, hint });
  }

  get(path: readonly (string | number)[]): unknown {
    let found = this.value;
    for (const key of path) {
      if (typeof found !== "object" || found === null || !Object.hasOwn(found, key)) {
        throw this.fail(path.join("/"), "is missing");
      }
      found = (found as Record<string | number, unknown>)[key];
    }
    return found;
  }

  number(path: readonly (string | number)[], low = 0, high = MOST): number {
    const found = this.get(path);
    if (typeof found === "number" && Number.isInteger(found) && found >= low && found <= high) {
      return found;
    }
    throw this.fail(path.join("/"), `is ${brief(found)}, expected a whole number from ${low} to ${high}`);
  }

  text(path: readonly (string | number)[], pattern?: RegExp): string {
    const found = this.get(path);
    if (typeof found === "string" && (!pattern || pattern.test(found))) return found;
    throw this.fail(path.join("/"), `is ${brief(found)}, expected ${pattern ? String(pattern) : "text"}`);
  }

  list(path: readonly (string | number)[]): readonly unknown[] {
    const found = this.get(path);
    if (Array.isArray(found)) return found;
    throw this.fail(path.join("/"), `is ${brief(found)}, expected a list`);
  }

  keys(path: readonly (string | number)[]): readonly string[] {
    const found = this.get(path);
    if (typeof found === "object" && found !== null && !Array.isArray(found)) return Object.keys(found);
    throw this.fail(path.join("/"), `is ${brief(found)}, expected an object`);
  }
}

function brief(value: unknown): string {
  return (JSON.stringify(value) ?? "missing").slice(0, 80);
}

function parsed(file: string, bytes: Uint8Array): Fields {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new TreadleError("model_format_error", "is not JSON", { at: file, cause, hint: "fetch it again" });
  }
  const fields = new Fields(file, value);
  fields.keys([]);
  return fields;
}

/** Throws `model_format_error` naming the field. */
export function parseManifest(bytes: Uint8Array): BundleManifest {
  const fields = parsed("manifest.json", bytes);
  const format = fields.number(["format"]);
  if (format !== FORMAT) {
    throw fields.fail("format", `is ${format}, this runtime reads ${FORMAT}`, "update treadle or export again");
  }
  fields.text(["model", "name"]);
  fields.text(["model", "family"]);
  fields.number(["limits", "vocab"], 1, 2 ** 24);
  fields.number(["limits", "context"], 1, 2 ** 31);
  fields.number(["limits", "page"], 1, 4096);
  const sizes = new Map<string, number>();
  fields.list(["files"]).forEach((_, i) => {
    const path = fields.text(["files", i, "path"], PATH);
    if (sizes.has(path) || path === "manifest.json") {
      throw fields.fail(`files/${i}/path`, `${path} appears twice`);
    }
    fields.text(["files", i, "sha256"], HASH);
    sizes.set(path, fields.number(["files", i, "bytes"]));
  });
  const template = fields.get(["chat", "template"]);
  const wanted = template === null ? NEEDED : [...NEEDED, fields.text(["chat", "template"], PATH)];
  for (const path of wanted) if (!sizes.has(path)) throw fields.fail("files", `${path} is missing`);
  if (fields.get(["chat", "bos"]) !== null) fields.number(["chat", "bos"], 0, 2 ** 24);
  fields.list(["chat", "eos"]).forEach((_, i) => fields.number(["chat", "eos", i], 0, 2 ** 24));
  fields.keys(["chat", "tools"]);
  if (!fields.keys(["tiers"]).length) throw fields.fail("tiers", "are none");
  return fields.value as BundleManifest;
}

/** plan.json against the sizes of the manifest. Throws `model_format_error` naming the field. */
export function parsePlan(bytes: Uint8Array, manifest: BundleManifest): WeightPlan {
  const fields = parsed("plan.json", bytes);
  const sizes = new Map(manifest.files.map((file) => [file.path, file.bytes]));
  const shards = fields.list(["shards"]).map((_, i) => {
    const path = fields.text(["shards", i], PATH);
    if (!sizes.has(path)) throw fields.fail(`shards/${i}`, `${path} is not in the manifest`);
    return path;
  });
  const weights = new Map<string, Weight>();
  for (const name of fields.keys(["weights"])) {
    weights.set(name, weightOf(fields, name, shards.map((path) => sizes.get(path) ?? 0)));
  }
  fields.keys(["tiers"]);
  return { weights, shards, tiers: fields.get(["tiers"]) as WeightPlan["tiers"] };
}

function weightOf(fields: Fields, name: string, limits: readonly number[]): Weight {
  const at = ["weights", name];
  const format = fields.text([...at, "format"]);
  const block = Object.hasOwn(BLOCKS, format) ? BLOCKS[format] : undefined;
  if (!block) throw fields.fail(`weights/${name}/format`, `${brief(format)} is not known`, "update treadle");
  const rows = fields.number([...at, "rows"], 1, 2 ** 31);
  const cols = fields.number([...at, "cols"], 1, 2 ** 24);
  const experts = Object.hasOwn(fields.get(at) as object, "experts") ? fields.number([...at, "experts"], 1, 4096) : 1;
  let bytes = 0;
  const pieces = fields.list([...at, "pieces"]).map((_, i): Piece => {
    const [shard, offset, length] = [0, 1, 2].map((k) => fields.number([...at, "pieces", i, k])) as [
      number,
      number,
      number,
    ];
    if (!length || offset + length > (limits[shard] ?? -1) || (i === 0 && offset % ALIGNMENT)) {
      throw fields.fail(`weights/${name}/pieces/${i}`, "lies outside its shard or off its alignment");
    }
    bytes += length;
    return [shard, offset, length];
  });
  if (cols % block[0] || rows % experts || bytes !== rows * (cols / block[0]) * block[1]) {
    throw fields.fail(`weights/${name}/pieces`, `do not hold [${rows}, ${cols}] weights`);
  }
  return { format, rows, cols, experts, pieces };
}

/** The record of the CPU tier; undefined where the bundle has none. */
export function parseCpuTier(plan: WeightPlan, manifest: BundleManifest): CpuTier | undefined {
  if (!Object.hasOwn(plan.tiers, "cpu")) return undefined;
  const fields = new Fields("plan.json", plan);
  const at = ["tiers", "cpu"];
  const file = fields.text([...at, "file"], PATH);
  const size = manifest.files.find((one) => one.path === file)?.bytes;
  if (size === undefined) throw fields.fail("tiers/cpu/file", `${file} is not in the manifest`);
  const params = fields.list([...at, "params"]).map((param, i): readonly [string, "matrix" | "vector"] | null => {
    if (param === null) return null;
    const name = fields.text([...at, "params", i, 0]);
    const use = fields.text([...at, "params", i, 1], /^(matrix|vector)$/) as "matrix" | "vector";
    if (!plan.weights.has(name)) throw fields.fail(`tiers/cpu/params/${i}/0`, `${brief(name)} is no weight`);
    return [name, use];
  });
  const states = fields.list([...at, "states"]).map((_, i): readonly [number, number] => [
    fields.number([...at, "states", i, 0], 1, 4096),
    fields.number([...at, "states", i, 1], 1, 4096),
  ]);
  const plans = fields.list([...at, "plans"]).map((_, i): CpuPlan => {
    const number = (name: string, low: number, high: number) => fields.number([...at, "plans", i, name], low, high);
    const made = {
      workers: number("workers", 1, 1024),
      rows: number("rows", 1, 4096),
      slots: number("slots", 1, 4096),
      offset: number("offset", 0, size),
      length: number("length", 1, size),
    };
    if (made.offset + made.length > size) throw fields.fail(`tiers/cpu/plans/${i}`, `lies outside ${file}`);
    return made;
  });
  return { file, params, states, plans };
}
