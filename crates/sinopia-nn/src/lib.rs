//! Differentiable tensor operations with frozen weights, channels-last.
