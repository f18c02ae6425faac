"""Calibration: from measured similarities and logits to statements with an error rate. Pure
functions, no model.

Every model is fitted from arrays and a seed, is a frozen dataclass, and survives a
round trip through JSON unchanged.
"""
