-- What one browser has done to an account is disowned together.
ALTER TABLE alarms ADD COLUMN browser_hash BYTEA; -- of the browser it was done in; NULL if it was none
