-- Whoever was in an account before its owner recovered it may have linked an account of an
-- organization's provider. It signs nobody in until the owner confirms it.
ALTER TABLE sso_identities ADD COLUMN held_at BIGINT; -- NULL of one that counts
