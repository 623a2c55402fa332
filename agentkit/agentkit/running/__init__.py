"""How a run goes: turns, the calls of a turn, one call, and those who watch."""
