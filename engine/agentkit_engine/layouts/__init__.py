"""Layouts: how templates come to lie on rows. A checkpoint says which ones it knows.

Knows templates, the grammar and how a checkpoint writes. Must not know models, probabilities or
what is done with a row.

canvas      where literals and slots lie, in tokens; training lays out the same
forms       one row as denoising sees it: pins, regions and how it is read back
slots       regions of fixed width between pinned literals
floating    one automaton over the whole row
infilling   a hole between two texts, for either layout
joined      several calls in one row
excluding   the schema of another value than a rejected one
maker       all of these for one checkpoint, compiled once
"""
