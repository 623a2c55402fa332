"""Scheduling: many works share one model.

Knows works, forwards and those who wait. Must not know what is being filled.

work        what is done with a model, as a generator that asks for its forwards
scheduler   the face: works from tasks of any event loop, and from plain threads
worker      the thread that owns the model
batching    which requests share a forward
waiting     how results reach those who wait
costs       what a forward takes on this device
"""
