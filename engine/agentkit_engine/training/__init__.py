"""Training: the corpus, the objective, and what makes the embedded checkpoint. Needs no data."""
