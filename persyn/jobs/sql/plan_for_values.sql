-- Let Postgres plan each statement of this transaction for the values that it gets: only so it sees which parts of a
-- filter do not matter, and that the small index of dead jobs will do for `state` = 'dead'.
-- Called by operators, before a statement with a filter.
-- Index: none; no table is read.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true);
