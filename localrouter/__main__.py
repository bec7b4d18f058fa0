"""`python -m localrouter` is the command `localrouter`."""

from localrouter.cli import main

if __name__ == "__main__":
    main(prog_name="localrouter")
