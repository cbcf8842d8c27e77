"""Column types that several tables share."""

from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import CHAR, BigInteger, DateTime, ForeignKey, Identity, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import mapped_column

PrimaryKey = Annotated[int, mapped_column(BigInteger, Identity(always=True), primary_key=True)]
CreatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())]
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Sha256 = Annotated[str, mapped_column(CHAR(64))]
Json = Annotated[dict[str, Any], mapped_column(JSONB)]


def references(column: str, *, primary_key: bool = False, use_alter: bool = False) -> Any:
    """A bigint foreign key; rows that something refers to are never deleted under it."""
    key = ForeignKey(column, ondelete="RESTRICT", use_alter=use_alter)
    return mapped_column(BigInteger, key, primary_key=primary_key)
