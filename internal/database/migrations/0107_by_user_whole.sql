-- Indexes of what is open only are of no use where a user is deleted, and all rows of theirs
-- with them, or where the applications of a session are told that it has ended: all rows of the
-- tenant were read.
DROP INDEX sessions_by_user;
CREATE INDEX sessions_by_user ON sessions (tenant_id, user_id);

DROP INDEX grants_by_user;
CREATE INDEX grants_by_user ON grants (tenant_id, user_id, application_id);

DROP INDEX grants_by_session;
CREATE INDEX grants_by_session ON grants (tenant_id, session_id);

DROP INDEX sessions_by_organization;
CREATE INDEX sessions_by_organization ON sessions (tenant_id, organization_id, user_id) WHERE organization_id <> '';
