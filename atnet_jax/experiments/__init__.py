"""Complete runs in workdirs: one or several methods, with one or several seeds."""
