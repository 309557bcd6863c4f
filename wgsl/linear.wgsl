// out = x · wᵀ (+ b), one row a thread.
//#use project
