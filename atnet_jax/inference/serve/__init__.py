"""A page on which one clip at a time is read: `atnet serve RUN`.

It is meant for the computer it runs on: it answers at 127.0.0.1 alone unless told otherwise, keeps
nothing of what it is given, and reads clips in a process of their own, which it can end.

What is bounded: the size of an upload, the time a clip may take, how many wait, the size of a
picture that is decoded, and in `atnet_jax.inference.predict` the number of frames. Memory is not,
as JAX reserves address space far beyond what it uses; where it runs out, the system ends the
process that reads the clip, and the server starts another.
"""
