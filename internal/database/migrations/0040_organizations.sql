-- Customer companies inside a tenant, their members, domains and invitations, see
-- package org.
CREATE TABLE organizations (
	tenant_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id             TEXT /*postgres COLLATE "C"*/ NOT NULL,
	name           TEXT NOT NULL,
	display_name   TEXT NOT NULL,          -- what people see; empty for the name
	slug           TEXT /*postgres COLLATE "C"*/ NOT NULL, -- what programs call it
	external_id    TEXT /*postgres COLLATE "C"*/, -- what the customer's own programs call it
	white_list     TEXT,                   -- JSON array of domains, NULL if unset
	allow_outside  BOOLEAN NOT NULL,       -- members may have addresses of any domain
	domain         TEXT NOT NULL,          -- the first one that is proved, empty without
	workspace_name TEXT NOT NULL,
	address        TEXT NOT NULL,
	website        TEXT NOT NULL,
	time_zone      TEXT NOT NULL,
	currency       TEXT NOT NULL,
	token          TEXT /*postgres COLLATE "C"*/ NOT NULL, -- names the organization in a start of sign-in; no secret
	metadata       TEXT,                   -- JSON object, NULL if unset
	policy         TEXT NOT NULL,          -- JSON of org.Policy
	branding       TEXT NOT NULL,          -- JSON of org.Branding
	is_active      BOOLEAN NOT NULL,
	search_key     TEXT NOT NULL,          -- names and slug, folded
	created_at     BIGINT NOT NULL,
	modified_at    BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, slug),
	UNIQUE (tenant_id, token),
	UNIQUE (tenant_id, external_id)
);

-- A search reads nothing but this, in the order of the list.
CREATE INDEX organizations_by_search ON organizations (tenant_id, id, search_key);

CREATE TABLE organization_members (
	tenant_id       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	organization_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id         TEXT /*postgres COLLATE "C"*/ NOT NULL,
	status          TEXT NOT NULL,         -- active or suspended
	source          TEXT NOT NULL,         -- manual, invitation, sso or scim
	break_glass     BOOLEAN NOT NULL,      -- gets in without the organization's single sign-on
	created_at      BIGINT NOT NULL,
	modified_at     BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, organization_id, user_id),
	FOREIGN KEY (tenant_id, organization_id) REFERENCES organizations (tenant_id, id) ON DELETE CASCADE,
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX organization_members_by_user ON organization_members (tenant_id, user_id, organization_id);

-- Roles of members. Those of each source are replaced as a whole; the source of
-- those given by hand is empty.
CREATE TABLE organization_member_roles (
	tenant_id       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	organization_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id         TEXT /*postgres COLLATE "C"*/ NOT NULL,
	source          TEXT /*postgres COLLATE "C"*/ NOT NULL, -- '', 'sso:<connection>', 'scim:<directory>'
	role_id         TEXT /*postgres COLLATE "C"*/ NOT NULL,
	PRIMARY KEY (tenant_id, organization_id, user_id, source, role_id),
	FOREIGN KEY (tenant_id, organization_id, user_id) REFERENCES organization_members (tenant_id, organization_id, user_id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX organization_member_roles_by_user ON organization_member_roles (tenant_id, user_id, organization_id);
CREATE INDEX organization_member_roles_by_role ON organization_member_roles (tenant_id, organization_id, role_id, user_id);

CREATE TABLE organization_domains (
	tenant_id       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	organization_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	domain          TEXT /*postgres COLLATE "C"*/ NOT NULL, -- lower case, ASCII
	token           TEXT NOT NULL,         -- to be published in the domain's DNS
	is_verified     BOOLEAN NOT NULL,
	verified_at     BIGINT,                -- when it was proved last, NULL if never
	checked_at      BIGINT NOT NULL,       -- when somebody looked last
	failures        BIGINT NOT NULL,       -- checks without success since then
	failing_since   BIGINT,                -- the first of these
	created_at      BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, organization_id, domain),
	FOREIGN KEY (tenant_id, organization_id) REFERENCES organizations (tenant_id, id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;

-- Of all organizations of a tenant one has proved a domain.
CREATE UNIQUE INDEX organization_domains_verified ON organization_domains (tenant_id, domain) WHERE is_verified;
CREATE INDEX organization_domains_due ON organization_domains (checked_at) WHERE is_verified;

CREATE TABLE organization_invitations (
	tenant_id       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id              TEXT /*postgres COLLATE "C"*/ NOT NULL,
	organization_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	email           TEXT /*postgres COLLATE "C"*/ NOT NULL, -- canonical form
	role_ids        TEXT NOT NULL,         -- JSON array
	token_hash      BYTEA NOT NULL,        -- SHA-256 of the token in the mailed link
	inviter         TEXT NOT NULL,         -- the actor, whose rights are looked at again when it is accepted
	language        TEXT NOT NULL,
	sent_at         BIGINT NOT NULL,
	expires_at      BIGINT NOT NULL,
	accepted_at     BIGINT,
	accepted_by     TEXT,                  -- id of the user
	revoked_at      BIGINT,
	created_at      BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, token_hash),
	FOREIGN KEY (tenant_id, organization_id) REFERENCES organizations (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX organization_invitations_of ON organization_invitations (tenant_id, organization_id, id);
-- An address has one invitation at a time that can be accepted.
CREATE UNIQUE INDEX organization_invitations_open ON organization_invitations (tenant_id, organization_id, email) WHERE accepted_at IS NULL AND revoked_at IS NULL;
CREATE INDEX organization_invitations_to ON organization_invitations (tenant_id, email) WHERE accepted_at IS NULL AND revoked_at IS NULL;
CREATE INDEX organization_invitations_old ON organization_invitations (expires_at);
