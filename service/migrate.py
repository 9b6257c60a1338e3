"""Bring the schema up to date."""

from alembic import command
from alembic.config import Config

from service.db import engine_url
from service.revisions import scripts_folder


def configuration(database_url: str) -> Config:
    """Alembic's, without a file."""
    config = Config()
    config.set_main_option("script_location", str(scripts_folder()))
    config.set_main_option("sqlalchemy.url", engine_url(database_url).replace("%", "%%"))
    return config


def upgrade(database_url: str) -> None:
    """Run all revisions that are missing. Starts an event loop of its own."""
    command.upgrade(configuration(database_url), "head")
