"""`python -m verifier_cli`: the same as `glassbook-verify`."""

from verifier_cli.cli import main

if __name__ == "__main__":
    main()
