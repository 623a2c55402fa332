"""Filling: from rows of noise to values, and how sure the model is of them.

Knows layouts, the lattice, contexts, and works that ask for forwards. Must not know sessions,
threads or agents.

settings    what may be said beside what is to be filled
denoise     rows of noise become valid drafts, one decoder forward a step
solution    one row's valid filling by its logits, through the lattice
course      what a filled row says, token by token, as a causal reader comes to it
verify      the causal encoder's word on what was denoised: propose, verify, commit
canvases    rows longer than the model's canvas, cut and carried on
turn        these in their order, for one template behind one context
deciding    the choice between calls, and the chosen ones filled
beliefs     how sure the model was of each value
outcome     what comes out
"""
