"""`python -m flowzoo` is the program `flowzoo`."""

from flowzoo.cli import main

if __name__ == "__main__":
    main()
