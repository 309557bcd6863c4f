/** The whole package: models in a tab, and the grammar engine for itself. */
export * from "./grammar.js";
export * from "./treadle.js";
