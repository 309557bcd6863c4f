/** From an address to a compiled WebAssembly module. */
import { invalidRequest } from "./errors.js";

/** Where the module may come from. Strings and URLs are fetched. */
export type CoreSource = string | URL | Response | BufferSource | WebAssembly.Module;

/** Fetches and compiles the module. Pass a Module to share one between workers. */
export async function compileCore(source: CoreSource): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) return source;
  if (typeof source !== "string" && !(source instanceof URL)) {
    if (!(typeof Response !== "undefined" && source instanceof Response)) {
      return WebAssembly.compile(source as BufferSource);
    }
    return compileResponse(source);
  }
  return compileResponse(await fetch(source));
}

async function compileResponse(response: Response): Promise<WebAssembly.Module> {
  if (!response.ok) {
    throw invalidRequest(response.url, `the answer has status ${response.status}`, "check the address");
  }
  // Not compileStreaming: it refuses hosts that do not name the MIME type application/wasm.
  return WebAssembly.compile(await response.arrayBuffer());
}
