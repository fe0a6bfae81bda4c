-- An identity of another service counts only while its connection trusts whom it trusted
-- when the identity was shown, see social/trust.go.
ALTER TABLE identities ADD COLUMN trusted BYTEA; -- hash of what the connection trusted; NULL of one from before this was noted
ALTER TABLE identities ADD COLUMN proved BOOLEAN NOT NULL DEFAULT TRUE; -- the user has shown that it is theirs; false if the service's word was all there was
ALTER TABLE connections ADD COLUMN trusted_first BYTEA; -- what those of NULL were shown under; NULL while it has not changed
