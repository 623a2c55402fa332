"""Measuring a checkpoint: cases it never saw, how they are judged, and the tables of it."""
