-- A rule that gives the owner's role no more leaves it to the last owner. It is told once.
ALTER TABLE organization_member_roles ADD COLUMN is_kept BOOLEAN NOT NULL DEFAULT FALSE;
