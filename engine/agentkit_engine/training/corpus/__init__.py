"""The corpus: made-up conversations about made-up tools, a new one for every draw."""
