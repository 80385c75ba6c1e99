-- The end of a past generation is kept with the rights of the tables' owner
-- depends: 0020_signal_partitions
-- oldest code: 0008

-- migrate: apply
-- Whoever may replay an ECG needed the right to write results for it, and could have written any.
ALTER FUNCTION keep_generation() SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp;

-- migrate: rollback
ALTER FUNCTION keep_generation() SECURITY INVOKER;
ALTER FUNCTION keep_generation() RESET search_path;
