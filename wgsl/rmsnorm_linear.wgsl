// out = rmsnorm(x) · wᵀ (+ b): each workgroup recomputes the norm of its tokens.
//#use project
