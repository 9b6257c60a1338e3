"""The Dockerfile keeps what it promises, as far as reading it can tell; `make docker-check` builds and runs it."""

import re
from pathlib import Path

import service
from service.settings import SECRETS, Settings

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", "")
INSTRUCTIONS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
LAST_STAGE = INSTRUCTIONS[max(i for i, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM") :]


def said(word: str) -> list[str]:
    """What the last stage says after this word."""
    return [rest for name, rest in LAST_STAGE if name == word]


def test_the_image_runs_as_a_user_with_a_number_that_is_not_roots() -> None:
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", said("USER")[-1])


def test_the_image_sets_only_settings_that_exist_and_no_secret() -> None:
    names = set(re.findall(r"([A-Z_]+)=", " ".join(said("ENV")))) - {"PATH"}
    ours = {name for name in names if not name.startswith("PYTHON")}
    assert ours <= {name.upper() for name in Settings.model_fields} - {name.upper() for name in SECRETS}


def test_the_image_says_which_version_it_is() -> None:
    assert f"VERSION={service.__version__}" in said("ARG")
    assert 'image.version="${VERSION}"' in said("LABEL")[0]


def test_whatever_is_fetched_has_the_version_that_was_tested() -> None:
    installs = [step for _, line in INSTRUCTIONS for step in line.split("&&") if re.search(r"pip .*install", step)]
    assert len(installs) > 2
    for step in installs:
        assert "-c constraints.txt" in step or "--no-deps" in step, step


def test_nothing_but_package_registries_is_needed_to_build_it() -> None:
    steps = [rest for word, rest in INSTRUCTIONS if word in {"RUN", "ADD"}]
    assert not [step for step in steps if re.search(r"https?://|\b(curl|wget|git|apt-get)\b", step)]


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    copied = {
        name
        for word, rest in INSTRUCTIONS
        if word == "COPY" and "--from" not in rest
        for name in rest.split()[:-1]
    }
    shown = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {line[1:] for line in shown if line.startswith("!")} == copied
    assert "*" in shown
    assert all((ROOT / name).exists() for name in copied)


def test_the_base_is_the_same_in_both_stages_and_has_the_python_of_the_tests() -> None:
    bases = {rest.split()[0] for word, rest in INSTRUCTIONS if word == "FROM"}
    assert len(bases) == 1
    assert bases.pop().startswith("python:3.11-slim-")
