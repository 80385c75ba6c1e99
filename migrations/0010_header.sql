-- One column for all that is said of an ECG beside its samples
-- depends: 0009_compatibility
-- oldest code: 0008

-- migrate: apply
-- Rows from before have none: date, sampling_rate_hz, unit and leads say the same, and go on being written for the
-- release before.
ALTER TABLE ecg_signal ADD header json;

-- migrate: rollback
ALTER TABLE ecg_signal DROP header;
