"""`python -m jobs.build …` is `marts build …`: entrypoints of submitted jobs name it."""

from jobs.cli.app import main

if __name__ == "__main__":
    main("build")
