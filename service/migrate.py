"""Bring the schema up to date."""

from alembic import command
from alembic.config import Config

from service.engines import engine_url
from service.revisions import HEAD, scripts_folder


def configuration(database_url: str) -> Config:
    """Alembic's, without a file."""
    config = Config()
    config.set_main_option("script_location", str(scripts_folder()))
    config.set_main_option("sqlalchemy.url", engine_url(database_url).replace("%", "%%"))
    return config


def upgrade(database_url: str, revision: str = HEAD) -> None:
    """Run the revisions that are missing, up to that one. Starts an event loop of its own.

    A schema that a newer release made is left as it is.
    """
    command.upgrade(configuration(database_url), revision)
