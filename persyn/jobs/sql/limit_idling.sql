-- Let Postgres end this transaction once it idles, so that a process stopped in it gives up its locks.
-- Called by protocol.limit_idling.
-- Index: none; no table is read.
SELECT set_config('idle_in_transaction_session_timeout', :patience_ms, true);
