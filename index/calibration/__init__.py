"""Calibration: from measured similarities and logits to error rates and likelihood ratios.

Every model is fitted from arrays and a seed, is a frozen dataclass, and survives a round
trip through JSON unchanged. No neural network is needed here.
"""
