"""Retrieve: look up data at the time of the answer instead of storing it in the weights.

One module per paper: retrievers, generation that reads what was retrieved, trust in the sources,
and systems that cache, query or route. Splits are made by document, never by row, so that no test
answer stands in the training text. Modules are imported by name; nothing is imported here.
"""
