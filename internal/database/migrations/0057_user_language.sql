-- The language in which somebody has read the pages at their last sign-in; empty for the
-- tenant's. Letters that no visit of theirs asks for are written in it.
ALTER TABLE users ADD COLUMN language TEXT NOT NULL DEFAULT '';
