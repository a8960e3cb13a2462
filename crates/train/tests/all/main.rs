//! Gradients against differences and PyTorch.
mod fast_gradients;
mod nets;
mod torch_gradients;
