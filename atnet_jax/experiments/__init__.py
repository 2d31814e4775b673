"""Whole runs: one method or many, with several seeds, in workdirs."""
