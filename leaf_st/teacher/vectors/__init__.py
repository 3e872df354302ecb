"""A teacher whose vectors exist already: a table of texts and vectors, such as the export of a vector database."""
