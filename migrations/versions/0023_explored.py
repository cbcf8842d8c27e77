"""Let a share of the prompts go to a teacher at random, keep the probability of each choice, and learn from them."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_BASES_BEFORE = "'router', 'budget', 'static', 'random', 'measured', 'rerouted'"


def upgrade() -> None:
    op.add_column("run", sa.Column("with_routed", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("routing_decision", sa.Column("probability", sa.Double()))
    _constrain(f"{_BASES_BEFORE}, 'explored'", "'router', 'budget', 'explored'")
    op.create_check_constraint(
        op.f("ck_routing_decision_probability"),
        "routing_decision",
        "CASE basis WHEN 'explored' THEN coalesce(probability, 0) > 0 AND probability <= 1"
        " WHEN 'router' THEN coalesce(probability, 1) > 0 AND coalesce(probability, 1) <= 1"
        " ELSE probability IS NULL END",
    )


def downgrade() -> None:
    op.drop_column("routing_decision", "probability")  # with its constraint
    # A prompt that was drawn was routed all the same, and an older version knows it as one that chance decided.
    op.execute("UPDATE routing_decision SET basis = 'random', router_id = NULL WHERE basis = 'explored'")
    _constrain(_BASES_BEFORE, "'router', 'budget'")
    op.drop_column("run", "with_routed")


def _constrain(bases: str, by_router: str) -> None:
    conditions = {
        "basis": f"basis IN ({bases})",
        "router_named": f"basis = 'rerouted' OR (basis IN ({by_router})) = (router_id IS NOT NULL)",
    }
    for name, condition in conditions.items():
        op.drop_constraint(op.f(f"ck_routing_decision_{name}"), "routing_decision")
        op.create_check_constraint(op.f(f"ck_routing_decision_{name}"), "routing_decision", condition)
