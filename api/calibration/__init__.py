"""Calibrations made and looked at: the job that embeds reference images as they may be delivered, and the measuring."""
