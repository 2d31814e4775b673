"""Loading of prepared records into the arrays of a composite, and its division into folds."""
