// out = rmsnorm(x[rows]) · wᵀ, the head; CAP bounds the logits softly.
//#use project
