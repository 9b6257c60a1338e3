"""`python -m service`, and the console script `soniox-relay`."""


def main() -> None:
    """Run one command; what it raises on purpose becomes one line and an exit code."""
    from service.cli.main import run

    run()


if __name__ == "__main__":
    main()
