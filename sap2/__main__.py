"""`python -m sap2`: the command line."""

from sap2.cli import main

if __name__ == "__main__":
    main()
