-- Passwords that another system has taken are judged when they are first used.
ALTER TABLE passwords ADD COLUMN standing TEXT NOT NULL DEFAULT ''; -- 'imported': not judged yet; 'weak': judged, and to be changed
UPDATE passwords SET standing = 'imported' WHERE hash NOT LIKE '$argon2id$%';
