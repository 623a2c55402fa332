"""From formulas to an automaton over bytes.

Knows how values nest and are written. Must not know how schemas are spelled, or tokens.

judgement             formulas while a value is being read
making                what the walks ask of the machine
walk, objects, arrays what may come next inside an object or array
block, tries, emission pieces of an automaton, put together
values                a block for every question about a value
effort, limits        how much is tried, and how long
automaton             what comes out
"""
