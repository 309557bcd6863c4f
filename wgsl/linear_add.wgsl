// out = y + x · wᵀ (+ b): a projection that lands on the residual.
//#use project
