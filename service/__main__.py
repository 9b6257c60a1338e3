"""Entry point of `python -m service` and of the console script `soniox-relay`."""


def main() -> None:
    """Run one command. Expected errors are printed as one line and set the exit code."""
    from service.cli.main import run

    run()


if __name__ == "__main__":
    main()
