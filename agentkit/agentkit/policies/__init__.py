"""Small composable rules: when a run ends, and what is done about a doubtful decision."""
