"""Durable jobs at work: `task` says what a kind of job does, `working` does it chunk by chunk, `leases` keeps other
workers off what one is at, `starting` and `catalogue` are what routes and commands call.
"""
