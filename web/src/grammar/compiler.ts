/** Compilers: a grammar bound to the tokens of one model. */
import { utf8 } from "../core.js";
import { invalidRequest } from "../errors.js";
import type { Grammar } from "./grammar.js";
import { dump } from "./json.js";
import { limitsObject, type GrammarLimits } from "./limits.js";
import { Matcher } from "./matcher.js";
import { Owned } from "./owned.js";
import { wholeNumber, type Vocab } from "./vocab.js";

/** A grammar over one vocabulary. Shared by any number of matchers. */
export class Compiled extends Owned {
  readonly #size: number;

  /** `Compiler.compile` makes them. */
  constructor(vocab: Vocab, handle: number) {
    super(vocab.core, "tr_compiled_free", handle);
    this.#size = vocab.size;
  }

  /** A matcher at the start of a text. `stopTokens` default to the vocabulary's. */
  matcher(stopTokens?: readonly number[]): Matcher {
    const { core, handle } = this;
    if (stopTokens === undefined) {
      return new Matcher(core, core.call("tr_matcher_new", handle, 0, -1), this.#size);
    }
    const ids = Uint32Array.from(stopTokens, (id) => wholeNumber("stopTokens", id));
    const made = core.lend([new Uint8Array(ids.buffer)], (address = 0) =>
      core.call("tr_matcher_new", handle, address, ids.length),
    );
    return new Matcher(core, made, this.#size);
  }

  /** Bytes held by nodes, states and masks, about. */
  get memory(): number {
    return this.core.call("tr_compiled_memory", this.handle);
  }
}

/**
 * Compiles grammars for one vocabulary; equal grammars share states and masks. Compiling is parsing:
 * states and masks are computed when a matcher first needs them. The cache keeps the most recently
 * used grammars within `limits.cacheBytes`.
 */
export class Compiler extends Owned {
  readonly vocab: Vocab;

  constructor(vocab: Vocab, limits: GrammarLimits = {}) {
    const { core } = vocab;
    const text = utf8(dump(limitsObject(limits), "limits"), "limits");
    const handle = core.lend([text], (at = 0) =>
      core.call("tr_compiler", vocab.handle, at, text.length),
    );
    super(core, "tr_compiler_free", handle);
    this.vocab = vocab;
  }

  /** Throws `grammar_error` (`unsatisfiable` if nothing matches) or `limit_exceeded`. */
  compile(grammar: Grammar): Compiled {
    if (grammar.core !== this.core) {
      throw invalidRequest("grammar", "it belongs to another module", "make it with this core");
    }
    return new Compiled(this.vocab, this.core.call("tr_compile", this.handle, grammar.handle));
  }

  /** Bytes held by the cached grammars, about. */
  get memory(): number {
    return this.core.call("tr_compiler_memory", this.handle);
  }

  /** Forgets all cached grammars; those in use stay valid. */
  clear(): void {
    this.core.call("tr_compiler_clear", this.handle);
  }
}
