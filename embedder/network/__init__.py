"""Pixels -> embedding and logit: architecture, weights, devices and the model registry."""
