"""Texts: regular sets of Unicode strings, where they come from, and how a syntax writes them.

Knows characters, patterns and formats. Must not know JSON values, schemas or tokens.

characters, expression, construction, automaton
                    from regular expressions over code points to minimal automata
sets                the algebra: `TextSet`
regex, formats      the sets that `pattern` and `format` mean, from inside and outside
spelling, writing   string contents as bytes, each labelled with what is true of it
"""
