/** What only conversations with tools need: a chunk that is loaded with the first of them. */
export { CallReader } from "./reader.js";
export { callTag } from "./tags.js";
export { adapt, markers } from "./tools.js";
