"""The OpenAI-style HTTP server over the engine."""
