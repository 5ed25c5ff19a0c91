"""Reading a published log: from a URL, a folder or a tar, trusting nothing but a policy.

publiclog   the seam: what can be asked of any published log
openlog     `open_log(where)`: the log that a name, or several of mirrors, stands for
urllog      over HTTP: bounded, retried, never a label or token in a URL
bounded     HTTP requests bounded in bytes, seconds, redirects and attempts (deadline: header included)
fileslog    from files: recomputes the index and makes its proofs itself
folderlog   from a folder of them
tarlog      from a tar of them, read in place
prefixlog   the first entries of a log, as it was published at that size
mirrors     several copies of one log, each file from the first that gives the right one
authentic   tiles and entries, each checked up to the root of a checkpoint
register    the register of sources read in full, with the proof that none is missing
view        one opened checkpoint and all that is proven under it
seen        the last checkpoint seen, kept in a file
"""
