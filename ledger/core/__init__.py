"""What every part agrees on, byte for byte: formats, proofs and their checks. No clock, no I/O, no logging."""
