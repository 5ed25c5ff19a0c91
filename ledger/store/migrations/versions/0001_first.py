"""The first schema; a database without a log has no revision."""

revision = "1"
down_revision = None


def upgrade() -> None:
    """Made by `ledger.store.upgrade.create` alone: no database was ever migrated to it."""
