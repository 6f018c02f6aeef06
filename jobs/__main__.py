"""`python -m jobs build …` is `marts build …`."""

from jobs.cli.app import main

if __name__ == "__main__":
    main()
