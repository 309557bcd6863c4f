/** Many matchers in one call. */
import type { Core } from "../core.js";
import { invalidRequest } from "../errors.js";
import { wordsOf } from "./ids.js";
import { checkRows, type MaskRows } from "./masks.js";
import type { Matcher } from "./matcher.js";

/** One call for matchers of one core; `use` gets addresses of their handles and of free words. */
function together(
  matchers: readonly Matcher[],
  lent: readonly Uint8Array[],
  use: (core: Core, handles: number, positions: number, ...lent: number[]) => number,
): number[] {
  const [first] = matchers;
  if (!first) return [];
  const { core } = first;
  if (matchers.some((matcher) => matcher.core !== core)) {
    throw invalidRequest("matchers", "they belong to several modules", "make one call a module");
  }
  const handles = new Uint8Array(Uint32Array.from(matchers, (matcher) => matcher.handle).buffer);
  const positions = new Uint8Array(handles.length);
  return core.lend([handles, positions, ...lent], (at = 0, out = 0, ...rest) => {
    const count = use(core, at, out, ...rest);
    return Array.from(core.words(out, count));
  });
}

/**
 * `fill` for many matchers of one core in one call: row `index[i]` (default: i) for matcher i.
 * Returns the positions that failed; their rows are zeros, and the error sticks to the matcher.
 */
export function fillBatch(
  matchers: readonly Matcher[],
  rows: MaskRows,
  index?: readonly number[],
): number[] {
  const [first] = matchers;
  if (!first) return [];
  const n = matchers.length;
  if (index !== undefined && index.length !== n) {
    throw invalidRequest("index", "give one row for each matcher");
  }
  const width = rows.shape[1];
  for (const matcher of matchers) checkRows(rows, 0, matcher.size);
  const targets = matchers.map((_, i) => rows.row(index?.[i] ?? i));
  const filled = new Int32Array(n * width);
  const failed = together(matchers, [], (core, handles, positions) =>
    core.call("tr_batch_fill", handles, n, core.stage(filled.byteLength), width, positions),
  );
  first.core.unstage(filled);
  targets.forEach((row, i) => { row.set(filled.subarray(i * width, (i + 1) * width)); });
  return failed;
}

/** `accept` for each pair; false for refused tokens and for failed matchers. */
export function acceptBatch(matchers: readonly Matcher[], ids: readonly number[]): boolean[] {
  if (ids.length !== matchers.length) {
    throw invalidRequest("ids", "give one token for each matcher");
  }
  const refused = new Set(
    together(matchers, [wordsOf(ids)], (core, handles, positions, tokens = 0) =>
      core.call("tr_batch_accept", handles, ids.length, tokens, positions),
    ),
  );
  return matchers.map((_, i) => !refused.has(i));
}

/**
 * The numbers of the masks that `fill` writes: equal numbers >= 0 of one compiler are equal rows,
 * for ever, so a row that a device keeps need not be sent again. -1: nothing is masked. -2: the mask
 * is not known yet, and `fill` finds it.
 */
export function maskIds(matchers: readonly Matcher[]): number[] {
  const out = new Int32Array(matchers.length);
  const [first] = matchers;
  if (!first) return [];
  together(matchers, [], (core, handles, positions) =>
    core.call("tr_batch_mask_ids", handles, out.length, core.stage(out.byteLength), positions),
  );
  first.core.unstage(out);
  return Array.from(out);
}
