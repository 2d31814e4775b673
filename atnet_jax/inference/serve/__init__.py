"""Web page that predicts the expression in one clip at a time: `atnet serve RUN`.

The server is meant for the computer it runs on. By default it listens on 127.0.0.1 only. It stores
no clip and processes clips in a separate process, which it can kill.

The server limits the size of an upload, the time per clip, the number of waiting clips and the size
of a decoded picture; `atnet_jax.inference.predict` limits the number of frames. Memory is not
limited, because JAX reserves far more address space than it uses. If memory runs out, the system
kills the process of the clip, and the server starts another.
"""
