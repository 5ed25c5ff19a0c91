"""Reading a published log: from a URL or a folder, trusting nothing but a policy.

publiclog   the seam: what can be asked of any published log, and `open_log(where)`
urllog      over HTTP: bounded, retried, never a label or token in a URL
folderlog   from a folder: recomputes the index and makes its proofs itself
authentic   tiles and entries, each checked up to the root of a checkpoint
register    the register of sources read in full, with the proof that none is missing
view        one opened checkpoint and all that is proven under it
seen        the last checkpoint seen, kept in a file
"""
