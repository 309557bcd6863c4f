/** Objects that live in the module, behind a handle. */
import type { Core } from "../core.js";
import { invalidRequest, TreadleError } from "../errors.js";

/**
 * Freed by `dispose`, or at some time after the last reference went. What an object was made from
 * may be disposed of before it: the module keeps what is still needed.
 */
export abstract class Owned {
  readonly core: Core;
  readonly #free: string;
  readonly #epoch: number;
  #handle: number;

  /** `free`: the call that frees it. For use inside the package. */
  constructor(core: Core, free: string, handle: number) {
    this.core = core;
    this.#free = free;
    this.#epoch = core.epoch;
    this.#handle = handle;
    core.watch(this, free, handle);
  }

  /** For use inside the package. Throws for an object that is gone. */
  get handle(): number {
    if (this.#handle === 0) {
      throw invalidRequest(this.constructor.name, "it was disposed of", "make a new one");
    }
    if (this.#epoch !== this.core.epoch) {
      throw new TreadleError("out_of_memory", "the module was started anew, without it", {
        at: this.constructor.name,
        hint: "make a new one",
      });
    }
    return this.#handle;
  }

  get disposed(): boolean {
    return this.#handle === 0;
  }

  /** Frees it in the module. A second call does nothing. */
  dispose(): void {
    if (this.#handle === 0) return;
    const handle = this.#handle;
    this.#handle = 0;
    this.core.dispose(this, this.#free, handle, this.#epoch);
  }
}
