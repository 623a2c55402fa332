"""Reading schemas: from JSON Schema documents to formulas over simple statements.

Knows how JSON Schema is spelled, in five drafts. Must not know how values are written, or tokens.

drafts, document         what stands where: drafts, places, references
options                  what a reader of schemas may choose
rules, objects, arrays, strings, numbers, values, combinations, unevaluated, names
                         what each keyword says
keywords, reader         all of it together
"""
