-- Hold what follows in this transaction to the indexes, as hold_to_claim.sql does for a claim.
-- Called by protocol.waiting and protocol.next_group.
-- Index: none; no table is read.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true);
