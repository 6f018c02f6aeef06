"""`python -m jobs.build …` is `marts build …`: the entrypoint of submitted jobs."""

from jobs.cli.app import main

if __name__ == "__main__":
    main("build")
