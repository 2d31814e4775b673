"""From records to the arrays of a composite, and to folds of it."""
