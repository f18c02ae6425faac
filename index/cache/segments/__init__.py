"""What is searched: a `view` of one generation is a `sealed` and a `growing` segment, each with its
rows, codes and `facts`. `replay` enters changes of the log.
"""
