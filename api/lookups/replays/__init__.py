"""A stored look-up answered again, and compared with what was said."""
